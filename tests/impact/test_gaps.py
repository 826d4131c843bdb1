"""Data gaps: take a table away, and exactly the findings that need it appear."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_lib.findings import Finding, Measured, Need, Prose, Verdict
from insight_lib.impact.gaps import collect_gaps

TABLES = ("transactions", "campaigns", "responses", "surveys")
needs_of = st.dictionaries(
    st.sampled_from([f"impact.f{i}" for i in range(8)]),
    st.sets(st.sampled_from(TABLES), min_size=1),
    min_size=1,
)


def page(needs: dict[str, set[str]], tables: set[str]) -> list[dict[str, Any]]:
    """What a stage would publish with these tables: each finding, or what it lacks."""
    found = []
    for name, wanted in needs.items():
        lacking = tuple(
            Need(table=t, columns=(f"{t}_id",), minimum_rows=100) for t in sorted(wanted - tables)
        )
        finding = Finding(
            id=name,
            rows=("M7.1",),
            statement=Prose("{name} cannot be measured yet.", name=name),
            verdict=Verdict.NOT_MEASURABLE if lacking else Verdict.MATTERS,
            owner="analyst",
            evidence=(),
            needs=lacking,
            value=Measured(value=1, unit="count", n=1, as_of=date(2025, 1, 1)),
            so_what=Prose("It would take a table."),
        )
        found.append({"stage": "impact", "as_of": "2025-01-01"} | finding.to_json())
    return found


@pytest.mark.row("M7.4")
@given(needs=needs_of, removed=st.sampled_from(TABLES))
def test_removing_a_table_lists_exactly_the_findings_that_need_it(
    needs: dict[str, set[str]], removed: str
) -> None:
    assert collect_gaps(page(needs, set(TABLES))) == ()
    gaps = collect_gaps(page(needs, set(TABLES) - {removed}))
    blocked = {name for name, wanted in needs.items() if removed in wanted}
    if not blocked:
        assert gaps == ()
        return
    (gap,) = gaps
    assert gap.table == removed
    assert {b.id for b in gap.blocks} == blocked
    assert gap.alone == len(blocked)
    assert (gap.columns, gap.minimum_rows) == ((f"{removed}_id",), 100)


@pytest.mark.row("M7.4")
@given(needs=needs_of, tables=st.sets(st.sampled_from(TABLES)))
def test_every_need_of_every_finding_appears_and_nothing_else(
    needs: dict[str, set[str]], tables: set[str]
) -> None:
    gaps = collect_gaps(page(needs, tables))
    seen = {(gap.table, b.id) for gap in gaps for b in gap.blocks}
    assert seen == {(t, name) for name, wanted in needs.items() for t in wanted - tables}
    sizes = [len(gap.blocks) for gap in gaps]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.row("M7.4")
def test_from_published_pages(tmp_path: Path) -> None:
    """As the door hands them out: read back from findings.json of several stages."""
    pages = {
        "impact": page({"impact.a": {"campaigns", "responses"}, "impact.b": {"campaigns"}}, set()),
        "value": page({"value.c": {"campaigns"}, "value.d": {"surveys"}}, {"surveys"}),
    }
    findings = []
    for stage, rows in pages.items():
        path = tmp_path / stage / "findings.json"
        path.parent.mkdir()
        path.write_text(json.dumps({"findings": rows}))
        read = json.loads(path.read_text())["findings"]
        findings += [f | {"stage": stage} for f in read]
    campaigns, responses = collect_gaps(findings)
    assert (campaigns.table, len(campaigns.blocks), campaigns.alone) == ("campaigns", 3, 2)
    assert {(b.stage, b.id) for b in campaigns.blocks} == {
        ("impact", "impact.a"),
        ("impact", "impact.b"),
        ("value", "value.c"),
    }
    assert (responses.table, responses.alone) == ("responses", 0)
    assert campaigns.blocks[0].takes == "It would take a table."
    assert campaigns.blocks[0].rows == ("M7.1",)
