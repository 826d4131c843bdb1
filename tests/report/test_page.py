"""The page: order, headings, names, numbers, bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest
from nbconvert.exporters import HTMLExporter
from report_sample import (
    Report,
    cell,
    harvest,
    join,
    run_record,
    sample_notebook,
    text,
)

from insight_lib.findings import CHART_MIME, FINDING_MIME, TABLE_MIME, TILES_MIME, Verdict
from insight_lib.report.content import flatten, format_role, read_page
from insight_lib.report.page import Pages, render_pages


class Outline(HTMLParser):
    """Tags with attributes, headings, ids and the text a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._skipped = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._skipped += tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self._skipped -= tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def named(self, *names: str) -> Iterator[dict[str, str | None]]:
        return (attrs for tag, attrs in self.tags if tag in names)


def render(report: Report) -> Pages:
    notebook, run, findings = report
    return render_pages(notebook, run=run, findings=findings)


@pytest.fixture
def pages(report: Report) -> Pages:
    return render(report)


@pytest.fixture(params=["stakeholder", "analyst"])
def html(request: pytest.FixtureRequest, pages: Pages) -> str:
    return getattr(pages, request.param)


def test_headline_is_the_strongest_finding(html: str) -> None:
    assert "<h1>One household in six brings 38.2% of revenue</h1>" in html
    assert html.count("<h1") == 1


def test_without_findings_the_headline_is_the_question() -> None:
    html = render((join([text("# Features")]), run_record(), [])).stakeholder
    assert "<h1>What do households do that sets the valuable ones apart?</h1>" in html


def test_summary_comes_before_the_first_figure(html: str) -> None:
    first_figure = html.index("<figure")
    for said in ("Half of all baskets come within", "Small baskets may", "Repeat within 90 days",
                 "Protect the weekly stock-up range", "Too many households share"):  # fmt: skip
        assert html.index(said) < first_figure


def test_top_five_by_weight_and_the_rest_in_their_section(pages: Pages) -> None:
    page = read_page(sample_notebook(), run=run_record(), findings=harvest(sample_notebook()),
                     with_code=False)  # fmt: skip
    assert page.headline is not None
    assert [page.headline.id, *(view.id for view in page.top)] == [
        "features.stock_up_share", "features.gap", "features.fee", "features.weekend",
        "features.meat", "features.identity",
    ]  # fmt: skip
    said = "About 27 in 100 baskets"
    html = pages.stakeholder
    assert html.count(said) == 1
    assert html.index('<section id="s2">') < html.index(said) < html.index('<section id="s3">')


def test_headings_are_nested_and_the_notebook_title_is_not_repeated(html: str) -> None:
    levels = [int(tag[1]) for tag, _ in Outline(html).tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert 3 in levels
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert not re.search(r"<h\d>Features<", html)


def test_order_of_the_end(pages: Pages) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", pages.stakeholder)
    assert titles == [
        "Who brings the revenue", "How often they come", "What fills the basket",
        "Gates and checks", "Not measurable here", "Method", "Run record",
    ]  # fmt: skip


def test_what_is_not_measurable_says_what_it_would_take(html: str) -> None:
    shown = Outline(html).text
    assert "Margin per household cannot be computed" in shown
    assert "table prices with unit_cost_amount, at least 1,000 rows" in shown


def test_a_closed_gate_says_what_it_stops(html: str) -> None:
    assert "Stops here" in html
    assert "Stops prediction." in html


def test_no_number_or_word_of_ours_is_lost(html: str) -> None:
    shown = Outline(html).text

    def said() -> Iterator[str]:
        for each in sample_notebook().cells:
            for output in each.get("outputs", ()):
                data = output.data
                if FINDING_MIME in data:
                    yield data[FINDING_MIME]["statement"]["text"].removesuffix(".")
                    yield (data[FINDING_MIME]["so_what"] or {"text": ""})["text"]
                for tile in data.get(TILES_MIME, {}).get("tiles", ()):
                    yield from (tile["label"], tile["value"], tile["range"])
                chart = data.get(CHART_MIME, {})
                yield from (str(chart.get(key, "")) for key in ("title", "subtitle", "source"))
                for table in (data.get(TABLE_MIME), chart.get("table")):
                    for row in table["rows"] if table else ():
                        yield from row

    statements = [" ".join(part.split()) for part in said() if part]
    assert len(statements) > 300
    assert [part for part in statements if part not in shown] == []


def test_the_basis_of_a_finding_is_named(html: str) -> None:
    shown = Outline(html).text
    assert "Value 38.2%, likely 36.1% to 40.4% (95% range; Wilson (1927))" in shown
    assert "Table transactions, snapshot 4" in shown
    assert "Target 35.0%" in shown or "Target 35%" in shown


def test_run_record_is_complete(html: str) -> None:
    shown = Outline(html).text
    for value in ("20180101T061200-us-grocery-features-4f1c", "3f2c9ab", "1,469,307",
                  "features.window_days 90", "smallest_change_that_matters 0.02",
                  'features.excluded ["COUPON/MISC ITEMS"]', "week_start monday",
                  "pandas 3.1.1"):  # fmt: skip
        assert value in shown.replace("  ", " ") or re.sub(r"\s", "", value) in re.sub(
            r"\s", "", shown
        )


def test_strip_names_market_period_and_clock(html: str) -> None:
    shown = Outline(html).text
    for value in ("United States · grocery", "Features", "31 December 2017", "USD",
                  "America/New_York", "2,469 customers"):  # fmt: skip
        assert value in shown
    assert "Simulated" not in shown


@pytest.mark.parametrize("edition", ["stakeholder", "analyst"])
def test_simulated_markets_say_so(report: Report, edition: str) -> None:
    notebook, _, findings = report
    pages = render((notebook, run_record(kind="simulated"), findings))
    assert '<span class="badge">Simulated data</span>' in getattr(pages, edition)


def test_segment_is_named(report: Report) -> None:
    notebook, run, findings = report
    html = render((notebook, run | {"segment": "Loyal families"}, findings)).stakeholder
    assert "Segment <b>Loyal families</b>" in html


def test_code_only_in_the_analyst_edition(pages: Pages) -> None:
    assert "plot_spend" not in pages.stakeholder
    assert "<pre" not in pages.stakeholder
    assert "Meat &amp; fish" not in pages.stakeholder
    assert "plot_spend" in pages.analyst
    assert '<table border="1" class="dataframe">' in pages.analyst
    assert '<span class="c1"># last complete day</span>' in pages.analyst


def test_tracebacks_are_never_shown(report: Report) -> None:
    from nbformat import v4

    broken = cell("1 / 0")
    broken.outputs = [v4.new_output("error", ename="ZeroDivisionError", evalue="secret canary",
                                    traceback=["canary line"])]  # fmt: skip
    pages = render((join([broken]), run_record(), []))
    assert "canary" not in pages.analyst + pages.stakeholder
    assert "This cell stopped with ZeroDivisionError" in pages.analyst


def test_policy_language_and_landmarks(html: str) -> None:
    outline = Outline(html)
    policies = [a["content"] for a in outline.named("meta") if a.get("http-equiv")]
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert policies == [f"{policy}; base-uri 'none'; form-action 'none'"]
    assert ("html", {"lang": "en"}) in outline.tags
    tags = [tag for tag, _ in outline.tags]
    for tag in ("header", "nav", "main", "footer"):
        assert tags.count(tag) == 1
    assert "script" not in tags
    assert "link" not in tags
    assert "http:" not in html
    assert "https:" not in html


def test_every_drawing_speaks(html: str) -> None:
    drawings = list(Outline(html).named("svg"))
    assert len(drawings) == 8
    assert all(a["role"] == "img" and len(a["aria-label"] or "") > 20 for a in drawings)
    assert all(a.get("alt") for a in Outline(html).named("img"))


def test_tables_have_scope_and_links_lead_somewhere(html: str) -> None:
    outline = Outline(html)
    ours = re.sub(r'<table border="1".*?</table>', "", html, flags=re.DOTALL)
    heads = list(Outline(ours).named("th"))
    assert len(heads) > 50
    assert all(head.get("scope") in ("col", "row") for head in heads)
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [a["href"] or "" for a in outline.named("a")]
    assert {t[1:] for t in targets if t.startswith("#")} <= set(ids)
    assert {t for t in targets if not t.startswith("#")} <= {
        "analyst.html", "index.html", "../../../index.html",
    }  # fmt: skip


def test_the_same_notebook_gives_the_same_bytes(report: Report) -> None:
    assert render(report) == render((sample_notebook(), run_record(), harvest(sample_notebook())))


def test_a_third_of_the_lab_page_at_most(report: Report) -> None:
    notebook, _, _ = report
    lab, _ = HTMLExporter(template_name="lab").from_notebook_node(notebook)

    def without_figures(html: str) -> int:
        return len(re.sub(r"<svg.*?</svg>", "", html, flags=re.DOTALL).encode())

    for html in (render(report).stakeholder, render(report).analyst):
        assert without_figures(html) * 3 <= without_figures(lab)


def test_empty_headings_leave_no_trace() -> None:
    cells = [text("## Nothing here"), text("## Something"), text("- a point")]
    html = render((join(cells), run_record(), [])).stakeholder
    assert "Nothing here" not in html
    assert "Something" in html


def test_deep_headings_do_not_jump() -> None:
    html = render((join([text("## A"), text("##### B\n\nwords")]), run_record(), [])).stakeholder
    assert "<h3>B</h3>" in html


@pytest.mark.parametrize("broken", [
    {FINDING_MIME: {}}, {CHART_MIME: {}}, {TABLE_MIME: {}}, {TILES_MIME: {}},
    {CHART_MIME: {"svg": "<svg><g></svg>", "title": "T"}}, {"image/png": "not base64!"},
])  # fmt: skip
def test_incomplete_outputs_do_not_stop_the_page(broken: dict[str, Any]) -> None:
    notebook = join([text("## A"), cell("x", broken)])
    pages = render((notebook, run_record(), harvest(notebook)))
    assert pages.stakeholder.rstrip().endswith("</html>")


def test_a_page_without_a_complete_record_is_still_a_page(report: Report) -> None:
    notebook, _, findings = report
    assert "<h1>" in render((notebook, {"as_of": "2017-12-31"}, findings)).stakeholder


def test_every_verdict_has_its_word_and_shape() -> None:
    notebook = sample_notebook()
    findings = harvest(notebook)
    html = render((notebook, run_record(), findings)).stakeholder
    assert {finding["verdict"] for finding in findings} == {verdict.value for verdict in Verdict}
    for word in ("Matters", "Does not matter", "Cannot tell yet", "Pass", "Review", "Stops here",
                 "Not measurable"):  # fmt: skip
        assert re.search(rf'<span class="verdict \w+">{word}</span>', html)


def test_settings_are_shown_exactly() -> None:
    assert list(flatten({"b": {"x": 0.1, "y": None}, "a": [1, "é"], "empty": {}})) == [
        ("a", '[1, "é"]'), ("b.x", "0.1"), ("b.y", "null"), ("empty", "{}"),
    ]  # fmt: skip


@pytest.mark.parametrize(("role", "words"), [
    ("crm-lead", "CRM lead"), ("category-manager", "Category manager"), ("finance", "Finance"),
    ("Data owner", "Data owner"), ("", ""),
])  # fmt: skip
def test_roles_are_shown_as_words(role: str, words: str) -> None:
    assert format_role(role) == words


def test_a_source_line_names_itself_once(report: Report) -> None:
    notebook, run, findings = report
    for each in notebook.cells:
        for output in each.get("outputs", ()):
            if CHART_MIME in output.data:
                output.data[CHART_MIME] |= {"source": "Source: orders"}
    html = render((notebook, run, findings)).stakeholder
    assert html.count("<figcaption>Source: orders</figcaption>") == 4
