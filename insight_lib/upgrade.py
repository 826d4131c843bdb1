"""Bring a project that an earlier version wrote up to what this one reads, line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

# Since 0.3 an amount says in which currency; before, it was the market's.
_BARE_AMOUNT = re.compile(r"\b(review_stakes_amount|cost_amount): (\d+(?:\.\d+)?)(?=[,}\s]|$)")
_CURRENCY = re.compile(r"^currency:\s*([A-Z]{3})\b", re.MULTILINE)


def upgrade(root: Path) -> Iterator[str]:
    """Rewrite the market files of a project where an earlier version meant what is now said.

    Comments and layout stay; a file that needs nothing is not touched.

    Yields:
        Each changed line as `file:line: what it says now`.
    """
    for path in sorted((root / "parameters" / "markets").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        currency = _CURRENCY.search(text)
        if currency is None:
            continue
        now = _BARE_AMOUNT.sub(rf"\1: {{amount: \2, currency: {currency[1]}}}", text)
        if now == text:
            continue
        path.write_text(now, encoding="utf-8")
        for number, (old, new) in enumerate(
            zip(text.splitlines(), now.splitlines(), strict=True), start=1
        ):
            if old != new:
                yield f"{path.relative_to(root)}:{number}: {new.strip()}"
