"""Findings out of an executed notebook, and what its gates stop."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from insight_lib.findings import FINDING_MIME, Verdict

if TYPE_CHECKING:
    from nbformat import NotebookNode


class HarvestFault(ValueError):
    """The findings of a notebook cannot be published."""


@dataclass(frozen=True)
class FailedGate:
    """A gate that did not pass, and the stages that it stops."""

    id: str
    blocks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "blocks": list(self.blocks)}


def harvest(notebook: NotebookNode) -> list[dict[str, Any]]:
    """Findings, gates and checks that the notebook shows, in its order.

    Raises:
        HarvestFault: There is none, one is malformed, or two have the same id.
    """
    found: list[dict[str, Any]] = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            finding = output.get("data", {}).get(FINDING_MIME)
            if finding is None:
                continue
            if not (isinstance(finding, dict) and isinstance(finding.get("id"), str)):
                raise HarvestFault("an output has the findings' type but no id; use findings.show")
            found.append(json.loads(json.dumps(finding)))
    if not found:
        raise HarvestFault("the notebook shows no finding; end each section in findings.show(...)")
    counts = Counter(finding["id"] for finding in found)
    if repeated := sorted(name for name, count in counts.items() if count > 1):
        raise HarvestFault(f"finding ids shown more than once: {', '.join(repeated)}")
    return found


def failed_gates(findings: Sequence[Mapping[str, Any]]) -> list[FailedGate]:
    """Gates among `findings` whose verdict is fail."""
    return [
        FailedGate(finding["id"], tuple(finding.get("blocks", ())))
        for finding in findings
        if finding.get("kind") == "gate" and finding.get("verdict") == Verdict.FAIL.value
    ]


def render_findings(
    findings: Sequence[Mapping[str, Any]],
    *,
    market: str,
    stage: str,
    segment: str | None,
    as_of: str,
) -> bytes:
    """The content of `findings.json`: the same bytes for the same findings."""
    content = {
        "market": market,
        "stage": stage,
        "segment": segment,
        "as_of": as_of,
        "findings": list(findings),
    }
    try:
        text = json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise HarvestFault(f"a finding holds a number that JSON cannot: {error}") from error
    return (text + "\n").encode("utf-8")
