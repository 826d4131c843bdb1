from __future__ import annotations

import json

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from insight_lib.findings import FINDING_MIME
from insight_lib.runner.harvest import (
    FailedGate,
    HarvestFault,
    failed_gates,
    harvest,
    render_findings,
)


def notebook(*findings: object) -> NotebookNode:
    outputs = [new_output("display_data", data={FINDING_MIME: finding}) for finding in findings]
    return new_notebook(cells=[new_code_cell("", outputs=outputs)])


def test_findings_come_in_the_notebook_s_order() -> None:
    found = harvest(notebook({"id": "b.two", "n": 1}, {"id": "a.one"}))
    assert [finding["id"] for finding in found] == ["b.two", "a.one"]


def test_none_is_a_failure() -> None:
    with pytest.raises(HarvestFault, match="shows no finding"):
        harvest(notebook())


def test_an_id_shown_twice_is_a_failure() -> None:
    with pytest.raises(HarvestFault, match=r"more than once: a\.one"):
        harvest(notebook({"id": "a.one"}, {"id": "a.two"}, {"id": "a.one"}))


@pytest.mark.parametrize("finding", [{}, {"id": 3}, ["id"], "text"])
def test_a_malformed_finding_is_a_failure(finding: object) -> None:
    with pytest.raises(HarvestFault, match="no id"):
        harvest(notebook(finding))


def test_the_bytes_are_the_same_whatever_the_order_of_keys() -> None:
    head = {"market": "m", "stage": "s", "segment": None, "as_of": "2024-06-30"}
    one = render_findings([{"id": "a.b", "text": "Ä"}], **head)  # type: ignore[arg-type]
    other = render_findings([{"text": "Ä", "id": "a.b"}], **head)  # type: ignore[arg-type]
    assert one == other
    assert json.loads(one)["findings"][0]["text"] == "Ä"


def test_a_number_that_json_cannot_hold_is_a_failure() -> None:
    with pytest.raises(HarvestFault, match="JSON cannot"):
        render_findings(
            [{"id": "a.b", "value": float("nan")}],
            market="m",
            stage="s",
            segment=None,
            as_of="2024-06-30",
        )


def test_only_failing_gates_stop() -> None:
    findings = [
        {"id": "g.no", "kind": "gate", "verdict": "fail", "blocks": ["features"]},
        {"id": "g.yes", "kind": "gate", "verdict": "pass", "blocks": ["features"]},
        {"id": "c.no", "kind": "check", "verdict": "fail"},
    ]
    assert failed_gates(findings) == [FailedGate("g.no", ("features",))]
