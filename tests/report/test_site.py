"""The index: what it says of the cells, what it keeps out, and how large it gets."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from payloads import PAYLOADS, dangers, dump_dom
from report_sample import sample_findings

from insight_lib.report.site import MAX_SEARCHED, SiteCell, StageHead, render_site

TITLES = (
    "Objectives", "Sources", "Features", "Segments", "Prediction", "Governance", "Activation",
    "Operations", "Impact", "Scale", "Foresight", "Portfolio",
)  # fmt: skip
STAGES = [
    StageHead(id=title.lower(), number=number, title=title)
    for number, title in enumerate(TITLES, start=1)
]
FINDINGS = [finding.to_json() for finding in sample_findings()]


def site_cell(**changes: Any) -> SiteCell:
    cell = SiteCell(
        market_id="us-grocery", market_title="United States · grocery", kind="real", region="us",
        stage_id="features", segment=None, as_of="2017-12-31", state="published",
        href="us-grocery/2017-12-31/features/index.html", findings=FINDINGS,
    )  # fmt: skip
    return replace(cell, **changes)


def parts(html: str) -> tuple[str, list[Any], str]:
    """The page without scripts, its search data, and its script."""
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)
    assert data is not None
    assert "<" not in data[1]
    assert script is not None
    return re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL), json.loads(data[1]), script[1]


@pytest.mark.parametrize(("states", "headline"), [
    ((), "No market has been run yet"),
    (("published",), "The only market is up to date"),
    (("failed",), "The only market needs a decision"),
    (("published", "published"), "All 2 markets are up to date"),
    (("published", "gate", "failed"), "2 of 3 markets need a decision"),
    (("published", "gate"), "1 of 2 markets needs a decision"),
    (("published", "stale", "blocked"), "2 of 3 markets wait for a new run"),
])  # fmt: skip
def test_headline_follows_the_cells(states: tuple[Any, ...], headline: str) -> None:
    cells = [
        site_cell(market_id=f"m{i}", market_title=f"M{i}", state=state)
        for i, state in enumerate(states)
    ]
    assert f"<h1>{headline}</h1>" in render_site(cells, STAGES)


def test_lede_counts_pages_and_findings() -> None:
    html = render_site([site_cell(), site_cell(stage_id="sources", as_of="2018-01-07")], STAGES)
    assert "2 pages with 14 findings, data to 7 January 2018." in html


def test_each_state_has_its_word_and_class() -> None:
    states = ("published", "stale", "gate", "failed", "blocked", "running")
    cells = [
        site_cell(stage_id=stage.id, state=state)
        for stage, state in zip(STAGES, states, strict=False)
    ]
    html = render_site(cells, STAGES)
    row = re.search(r"<tbody>.*</tbody>", html, re.DOTALL)
    assert row is not None
    shown = re.findall(r'<td class="(\w+)"><a [^>]*>(\w+)', row[0])
    assert shown == [("published", "7"), *((state, state) for state in states[1:])]
    assert row[0].count('class="absent"') == len(STAGES) - len(states)


def test_failures_and_closed_gates_come_first_with_their_reason() -> None:
    html = render_site(
        [
            site_cell(stage_id="sources", state="failed", error="TooFewCustomers: 3\nTraceback"),
            site_cell(state="gate"),
        ],
        STAGES,
    )
    said = html[: html.index("<table")]
    assert "1 run failed" in said
    assert "United States · grocery · Sources" in said
    assert "TooFewCustomers: 3" in said
    assert "Traceback" not in html
    assert "1 gate waits for a decision" in said
    assert "Too many households share a loyalty card" in said


def test_a_gate_with_an_override_in_force_does_not_wait() -> None:
    assert "waits for a decision" not in render_site([site_cell(state="published")], STAGES)


def test_what_matters_shows_one_finding_per_market_soonest_due_first() -> None:
    later = [FINDINGS[0] | {"due": "2018-06-30", "statement": {"text": "Later"}}]
    html = render_site(
        [
            site_cell(market_id="a", market_title="A", findings=later),
            site_cell(market_id="b", market_title="B"),
        ],
        STAGES,
    )
    said = html[html.index("What matters") : html.index("<table")]
    assert said.index("One household in six") < said.index("Later")
    assert said.count("<li>") == 2
    assert "Owner: Category manager, by 31 January 2018" in said


def test_segments_stand_under_their_market() -> None:
    html = render_site([site_cell(segment="Loyal families"), site_cell()], STAGES)
    rows = re.findall(r"<tr title.*?</th>", html, flags=re.DOTALL)
    assert "United States · grocery" in rows[0]
    assert 'class="seg"' in rows[1]
    assert "Loyal families" in rows[1]


def test_simulated_markets_say_so() -> None:
    assert '<small class="sim">simulated</small>' in render_site([site_cell(kind="simulated")], [])
    assert '<small class="sim">' not in render_site([site_cell()], STAGES)


def test_revenue_only_if_a_cell_carries_it() -> None:
    assert '<th scope="col">Revenue</th>' not in render_site([site_cell()], STAGES)
    revenue = FINDINGS[0] | {
        "id": "impact.revenue",
        "value": {"value": 4.21e6, "unit": "USD", "n": 2469, "as_of": "2017-12-31",
                  "lower": 4.1e6, "upper": 4.3e6, "level": 0.95, "method": "m"},
    }  # fmt: skip
    html = render_site([site_cell(findings=[revenue])], STAGES)
    assert "<td>$4.21 M<small>likely $4.10 M to $4.30 M</small></td>" in html


def test_search_data_point_at_their_cells() -> None:
    html = render_site([site_cell(stage_id="sources"), site_cell()], STAGES)
    _, data, _ = parts(html)
    assert len(data) == 2 * len(FINDINGS)
    assert {(row, column) for row, column, *_ in data} == {(0, 1), (0, 2)}
    assert data[0][2:] == ["One household in six brings 38.2% of revenue.", "Category manager",
                           "matters", "features.stock_up_share"]  # fmt: skip


def test_policy_allows_the_one_script_and_nothing_else() -> None:
    html = render_site([site_cell()], STAGES)
    _, _, script = parts(html)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html
    assert "default-src 'none'" in html
    assert "http:" not in html
    assert "https:" not in html


@pytest.mark.parametrize("href", [
    "javascript:alert(1)", "//evil.example/x", "https://evil.example", "a b/ü.html", "a\"b'c",
])  # fmt: skip
def test_addresses_stay_inside_the_site(href: str) -> None:
    page, _, _ = parts(render_site([site_cell(href=href)], STAGES))
    for address in re.findall(r'href="(.*?)"', page):
        assert re.fullmatch(r"#\w+|[\w@%-][\w./@%-]*", address)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_payload_acts_in_the_index(payload: str) -> None:
    finding = FINDINGS[0] | {
        "id": payload, "owner": payload, "statement": {"text": payload}, "verdict": "matters",
    }  # fmt: skip
    gate = finding | {"kind": "gate", "verdict": "fail"}
    cells = [
        site_cell(market_id=payload, market_title=payload, region=payload, segment=payload,
                  href=payload, findings=[finding, gate], state=state, error=payload,
                  stage_id=stage)
        for state, stage in (("failed", "features"), ("gate", "sources"), ("published", "scale"))
    ]  # fmt: skip
    heads = [*STAGES, StageHead(id=payload, number=99, title=payload)]
    html = render_site(cells, heads)
    _, data, script = parts(html)
    assert "document.title" not in script
    assert len(data) == 6
    assert dangers(html, scripts=frozenset({script})) == []


def test_two_hundred_markets_stay_under_a_megabyte() -> None:
    cells = [
        site_cell(market_id=f"m-{i}", market_title=f"Market number {i}", stage_id=stage.id,
                  href=f"m-{i}/2017-12-31/{stage.id}/index.html", findings=FINDINGS[:4])
        for i in range(200) for stage in STAGES
    ]  # fmt: skip
    html = render_site(cells, STAGES)
    assert len(html.encode()) < 1_000_000
    assert html.count("<script") == 2
    _, data, _ = parts(html)
    assert len(data) == MAX_SEARCHED
    left_out = 200 * 12 * 4 - MAX_SEARCHED
    assert f"leaves out the {left_out:,} least weighty findings" in html
    assert {(row, column) for row, column, *_ in data} == {
        (row, column) for row in range(200) for column in range(12)
    }


def test_the_same_cells_give_the_same_bytes() -> None:
    cells = [site_cell(), site_cell(market_id="de", market_title="Germany")]
    assert render_site(cells, STAGES) == render_site(cells[::-1], STAGES)


def test_one_headline_and_tables_with_scope() -> None:
    html = render_site([site_cell()], STAGES)
    assert html.count("<h1") == 1
    assert all("scope=" in head for head in re.findall(r"<th[ >][^>]*>?", html))
    assert '<label for="query">' in html


def test_the_search_works_in_a_browser(tmp_path: Path) -> None:
    cells = [
        site_cell(),
        site_cell(market_id="jp", market_title="Japan · fashion", findings=[],
                  href="jp/2017-12-31/features/index.html"),
    ]  # fmt: skip
    html = render_site(cells, STAGES)
    under_policy = dump_dom(html, tmp_path)
    assert '<div id="find">' in under_policy  # the policy let the script run
    typed = (
        "<script>const q=document.getElementById('query');q.value='crm LATE';"
        "q.dispatchEvent(new Event('input'))</script></body>"
    )
    without_policy = re.sub(r"<meta http-equiv.*?>", "", html).replace("</body>", typed)
    dom = dump_dom(without_policy, tmp_path)
    hits = re.search(r'<ul id="hits">(.*?)</ul>', dom)
    assert hits is not None
    assert hits[1].count("<li>") == 1
    assert '<a href="us-grocery/2017-12-31/features/index.html">Half of all baskets' in hits[1]
    rows = re.findall(r"<tr title=.*?>", dom)
    assert ["hidden" in row for row in rows] == [True, False]
