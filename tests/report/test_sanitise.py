"""No name in the data becomes anything but text: payloads × every way into a page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from nbformat import v4
from payloads import PAYLOADS, dangers, dump_dom
from report_sample import cell, harvest, join, run_record, text

from insight_lib.findings import CHART_MIME, FINDING_MIME, TABLE_MIME, TILES_MIME, Table
from insight_lib.report.page import Pages, render_pages
from insight_lib.report.sanitise import clean_html, clean_svg, drop_unseen, read_markdown

SINKS = 47


def canary(number: int, payload: str) -> str:
    return f"K{number}K{payload}"


def hostile_report(payload: str) -> tuple[Pages, int]:
    """A report in which every value that comes from data or people is `payload`."""
    used = 0

    def p() -> str:
        nonlocal used
        used += 1
        return canary(used, payload)

    finding = {
        "kind": "finding", "id": p(), "rows": [p()], "statement": {"text": p()},
        "verdict": "matters", "owner": p(), "evidence": [p()], "value": {
            "value": 1.0, "unit": "count", "n": 3, "as_of": "2017-12-31", "lower": 0.5,
            "upper": 2.0, "level": 0.95, "method": p()},
        "target": None, "good": "up", "so_what": {"text": p()}, "due": None, "weight": 9,
        "needs": [],
    }  # fmt: skip
    lead = finding | {"id": "a.b", "weight": 10, "statement": {"text": p()}}
    lacking = finding | {
        "id": "a.c", "verdict": "not measurable", "statement": {"text": p()},
        "needs": [{"table": p(), "columns": [p()], "minimum_rows": 3}],
    }  # fmt: skip
    gate = finding | {"id": "a.d", "kind": "gate", "verdict": "fail", "blocks": [p()]}
    table = {"title": p(), "columns": [p(), p()], "rows": [[p(), p()]], "note": p()}
    drawing = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><text x="1" y="1">'
        f"{p()}</text></svg>"
    )
    chart = {
        "id": p(), "title": p(), "subtitle": p(), "alt": p(), "source": p(), "reading": p(),
        "svg": drawing, "svg_narrow": drawing, "table": table | {"title": p()},
    }  # fmt: skip
    tiles = {"tiles": [{"label": p(), "value": p(), "range": p(), "note": p(), "good": "up",
                        "direction": payload}]}  # fmt: skip
    stopped = v4.new_code_cell("stop()", outputs=[
        v4.new_output("error", ename=payload, evalue=payload, traceback=[payload]),
        v4.new_output("stream", name="stdout", text=p()),
    ])  # fmt: skip
    bundles: list[dict[str, Any]] = [
        {FINDING_MIME: lead}, {FINDING_MIME: finding}, {FINDING_MIME: lacking},
        {FINDING_MIME: gate}, {TILES_MIME: tiles}, {CHART_MIME: chart}, {TABLE_MIME: table},
        {"text/html": p()}, {"text/html": f"<table><tr><td>{p()}</td></tr></table>"},
        {"text/plain": p()}, {"text/markdown": payload, "text/plain": p()},
        {"application/javascript": payload, "text/latex": payload},
        {"image/svg+xml": f"<svg>{payload}</svg>", "text/plain": payload},
        {"image/png": payload}, {"image/jpeg": payload}, {"text/vnd.mermaid": payload},
        {"application/vnd.jupyter.widget-view+json": {"model_id": payload}},
    ]  # fmt: skip
    code = cell(f"name = {p()!r}", *bundles)
    code.outputs[0].metadata = {"image/png": {"width": payload, "height": payload}}
    code.metadata["tags"] = [payload.replace(",", " ")]
    notebook = join([
        text(f"# Title\n\n{p()}"), text(f"## {p()}\n\n{p()}"), code, stopped,
        v4.new_raw_cell(payload),
    ])  # fmt: skip
    run = run_record(id=payload, title=p(), zone=p(), currency=p(), note=p(), region=p())
    run |= {
        "segment": p(), "code_revision": p(), "overrides": {"x": p()},
        "tables": {p(): {"version": p(), "rows": p()}},
        "parameters": {"a": {payload: p()}}, "packages": {"pandas": p()},
    }  # fmt: skip
    run["stage"] = {"id": "x", "number": 1, "title": p(), "question": p()}
    return render_pages(notebook, run=run, findings=harvest(notebook)), used


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_payload_acts_in_any_sink(payload: str) -> None:
    pages, used = hostile_report(payload)
    assert used >= SINKS
    assert dangers(pages.stakeholder) == []
    assert dangers(pages.analyst) == []


def test_there_are_enough_different_payloads() -> None:
    assert len(set(PAYLOADS)) >= 150


def test_every_sink_reaches_the_page() -> None:
    pages, used = hostile_report("x")
    heard = {int(n) for n in re.findall(r"K(\d+)Kx", pages.analyst)}
    # A lead's or chart's id is no text; the drawing's name replaces the page's own.
    assert len(set(range(1, used + 1)) - heard) <= 2
    assert len(set(map(int, re.findall(r"K(\d+)Kx", pages.stakeholder)))) >= SINKS - 8


def test_the_reader_of_dangers_can_find_them() -> None:
    found = [payload for payload in PAYLOADS if dangers(f"<p>{payload}</p>")]
    assert len(found) >= 120


def test_a_hostile_name_is_shown_word_for_word() -> None:
    pages, _ = hostile_report("<script>alert(1)</script>")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in pages.stakeholder


def test_a_real_browser_finds_nothing_to_run(tmp_path: Path) -> None:
    """Even without the page's policy, and after the browser's own repair of the markup."""
    pages = [hostile_report(payload)[0].analyst for payload in PAYLOADS[::3]]
    bodies = [re.sub(r"(?s)^.*?<body>|</body>.*$", "", page) for page in pages]
    calm = "<!doctype html><title>calm</title>"
    dom = dump_dom(calm + "".join(bodies), tmp_path)
    assert "<title>calm</title>" in dom
    assert dangers(re.sub(r"(?s)^.*?<body>", "", dom)) == []
    assert "<title>HIT</title>" in dump_dom(calm + PAYLOADS[0], tmp_path)


WIDE_TABLE = (
    '<table><caption>T</caption><colgroup><col span="2"></colgroup><thead><tr>'
    '<th scope="colgroup" colspan="2">A</th></tr></thead><tbody><tr><td rowspan="2">1</td>'
    "<td>2</td></tr></tbody><tfoot><tr><td>3</td></tr></tfoot></table>"
)
FRAME = pd.DataFrame({"name": ["Meat & fish", "a < b", "“é” 日本"], "n": [1, 20, 300]})


@pytest.mark.parametrize("table", [
    FRAME.to_html(), FRAME.to_html(border=0, index=False),
    FRAME.set_index(["name", "n"]).to_html(),
    Table(title="T", columns=("a", "b"), rows=(("x & y", "1"),))._repr_mimebundle_()["text/html"],
    WIDE_TABLE,
])  # fmt: skip
def test_benign_tables_keep_every_byte(table: str) -> None:
    assert clean_html(table) == table


def test_benign_prose_keeps_every_byte() -> None:
    prose = '<p>a <b>b</b> <em>c</em> <code>d</code> <a href="#s1">e</a></p>'
    assert clean_html(prose) == prose


def test_images_are_png_data_with_a_name() -> None:
    good = '<img src="data:image/png;base64,iVBORw0KGgo=" alt="Map">'
    assert clean_html(good) == good
    assert 'alt="Image made in the notebook"' in clean_html(good.replace(' alt="Map"', ""))
    assert clean_html('<img src="https://evil.example/x.png" alt="x">') == ""
    assert clean_html('<img src="data:image/svg+xml;base64,AAAA">') == ""


def test_markdown_is_split_at_its_headings() -> None:
    pieces = list(read_markdown("before\n\n## A *b* & `c`\n\n| x |\n|---|\n| 1 |\n\nC\n---\n"))
    assert [getattr(piece, "text", None) for piece in pieces] == [None, "A b & c", None, "C"]
    assert "<table>" in str(pieces[2])


def test_markdown_code_is_not_a_heading() -> None:
    pieces = list(read_markdown("```\n# not a heading\n```"))
    assert len(pieces) == 1
    assert "# not a heading" in str(pieces[0])


@pytest.mark.parametrize("svg", [
    "", "<svg>", "<p>x</p>", "<svg><g></svg>", "<!DOCTYPE svg><svg/>",
    '<!DOCTYPE s [<!ENTITY a "x">]><svg>&a;</svg>', "plain",
])  # fmt: skip
def test_what_is_not_plain_svg_is_not_drawn(svg: str) -> None:
    assert clean_svg(svg, label="x") == ""


def test_svg_keeps_shapes_and_drops_what_acts() -> None:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9" onload="x()">'
        '<script>x()</script><path d="M 0 0 L 1 1" style="fill:var(--ink,#14213d);'
        'background:url(x);stroke:url(#a)" onclick="x()"/>'
        '<text x="1" y="2"><tspan>a &lt;b&gt;</tspan> c</text></svg>'
    )
    assert clean_svg(svg, label='say "it"') == (
        '<svg viewBox="0 0 9 9" role="img" aria-label="say &quot;it&quot;">'
        '<path d="M 0 0 L 1 1" style="fill:var(--ink,#14213d)" />'
        '<text x="1" y="2"><tspan>a &lt;b&gt;</tspan> c</text></svg>'
    )


def test_unseen_characters_are_dropped_and_letters_of_all_scripts_stay() -> None:
    assert drop_unseen("a\x00\u202eb\ud800\u2066c\x1b[0m") == "abc[0m"
    kept = "שלום عربي 日本\n\tnaïve 👩‍👩‍👧"
    assert drop_unseen(kept) == kept
