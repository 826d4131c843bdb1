"""A fitted model as a plain JSON object: the same model gives the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]

ESTIMATORS = ("rule", "logistic", "additive", "boosting", "forest")
"""From the simplest to explain to the hardest; the board prefers the earlier."""


def canonical_bytes(document: Mapping[str, Any]) -> bytes:
    """The document's bytes: keys sorted, floats at full precision, no NaN.

    Raises:
        ValueError: A number is not finite.
    """
    return json.dumps(
        document, sort_keys=True, allow_nan=False, ensure_ascii=False, separators=(",", ":")
    ).encode()


def digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical bytes, in hexadecimal."""
    return hashlib.sha256(canonical_bytes(document)).hexdigest()


def count_terms(document: Mapping[str, Any]) -> int:
    """How many numbers decide a score: coefficients, table cells, leaves or rates."""
    model = document["model"]
    match document["estimator"]:
        case "rule":
            return len(model.get("values", ("scale",))) + 1
        case "logistic":
            return 1 + sum(len(t.get("coefficients", (0,))) for t in model["terms"])
        case "additive":
            return 1 + sum(_cells(term["scores"]) for term in model["terms"])
    return sum(sum(f < 0 for f in tree["feature"]) for tree in model["trees"])


def _cells(table: Any) -> int:
    return sum(map(_cells, table)) if isinstance(table, list) else 1
