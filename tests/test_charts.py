"""Charts: small, safe, deterministic SVG whose words and numbers follow the data."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from insight_lib.charts import (
    Caption,
    Chart,
    Mark,
    plot_bars,
    plot_deviations,
    plot_dots,
    plot_fan,
    plot_heatmap,
    plot_histogram,
    plot_line,
    plot_panels,
    plot_tracking,
    plot_waterfall,
)
from insight_lib.charts.theme import NARROW, WIDE, fit_text, text_width
from insight_lib.findings import CHART_MIME, Prose

CAPTION = Caption(
    id="spend",
    title=Prose("Loyal families spend most"),
    subtitle="Spend per household",
    source="transactions, snapshot 4",
    reading=Prose("Longer is more."),
)
GROUPS = pd.DataFrame({
    "group": ["Bargain", "Loyal", "New"],
    "amount": [96.0, 412.0, 187.0],
    "low": [86.0, 388.0, 174.0],
    "high": [107.0, 437.0, 201.0],
    "diff": [-2.2, 3.1, 0.4],
    "diff_low": [-4.0, 1.0, -0.3],
    "diff_high": [-0.5, 5.0, 1.1],
    "customers": [5630, 2570, 4310],
})  # fmt: skip
WEEKS = pd.DataFrame({
    "week": pd.date_range("2017-01-02", periods=20, freq="W-MON"),
    "sales": [float(v) for v in range(100, 120)],
    "expected": [float(v) for v in range(101, 121)],
})  # fmt: skip
WEEKS = WEEKS.assign(low=WEEKS.expected - 5, high=WEEKS.expected + 5)
TWO = pd.concat([
    WEEKS.assign(shop="North"),
    WEEKS.assign(shop="South", sales=WEEKS.sales + 0.5),
])  # fmt: skip


def bars(frame: pd.DataFrame = GROUPS) -> Chart:
    return plot_bars(
        frame, caption=CAPTION, label="group", value="amount", lower="low", upper="high",
        n="customers", unit="EUR", highlight=["Loyal"], reference=Mark(at=150, text="average"),
    )  # fmt: skip


def deviations() -> Chart:
    return plot_deviations(
        GROUPS, caption=CAPTION, label="group", value="diff", lower="diff_low",
        upper="diff_high", unit="points", target="target",
    )  # fmt: skip


def dots() -> Chart:
    return plot_dots(
        GROUPS, caption=CAPTION, label="group", value="amount", lower="low", upper="high",
        unit="EUR",
    )  # fmt: skip


def waterfall() -> Chart:
    return plot_waterfall(
        [("More customers", 120.0), ("Fewer orders", -80.0)],
        caption=CAPTION, start=("Last year", 1000.0), end="This year", unit="USD",
    )  # fmt: skip


def line() -> Chart:
    return plot_line(
        TWO, caption=CAPTION, x="week", y="sales", series="shop", unit="count",
        highlight="North", lower="low", upper="high",
        events=[Mark(at=date(2017, 2, 1), text="New shop"),
                Mark(at=date(2017, 2, 8), text="Sale")],
        reference=Mark(at=110, text="goal"),
    )  # fmt: skip


def fan() -> Chart:
    frame = WEEKS.assign(sales=WEEKS.sales.where(WEEKS.index < 12))
    return plot_fan(
        frame, caption=CAPTION, x="week", actual="sales", expected="expected",
        bands=[("low", "high")], unit="count",
    )  # fmt: skip


def tracking() -> Chart:
    return plot_tracking(
        WEEKS, caption=CAPTION, x="week", actual="sales", expected="expected", unit="count"
    )


def histogram() -> Chart:
    return plot_histogram(
        [3, 5, 2], [0, 7, 14, 21], caption=CAPTION, unit="days", x_title="days between orders",
        marks=[Mark(at=7, text="middle")], highlight=(0, 7),
    )  # fmt: skip


def heatmap() -> Chart:
    frame = pd.DataFrame(
        [[1.0, 0.5], [0.75, np.nan]], index=pd.Index(["Jan", "Feb"], name="cohort"),
        columns=["first", "second"],
    )  # fmt: skip
    return plot_heatmap(frame, caption=CAPTION, unit="share", decimals=0)


def panels() -> Chart:
    return plot_panels(TWO, caption=CAPTION, panel="shop", x="week", y="sales", unit="count")


FORMS: list[Callable[[], Chart]] = [
    bars, deviations, dots, waterfall, line, fan, tracking, histogram, heatmap, panels,
]  # fmt: skip


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter() if
            node.tag.endswith("text")]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_the_same_data_give_the_same_bytes(form: Callable[[], Chart]) -> None:
    assert form().to_json() == form().to_json()


@pytest.mark.parametrize("form", FORMS)
def test_drawings_hold_shapes_and_text_only(form: Callable[[], Chart]) -> None:
    chart = form()
    for svg in (chart.svg, chart.svg_narrow):
        names = {node.tag.rpartition("}")[2] for node in ElementTree.fromstring(svg).iter()}
        assert names <= {"svg", "path", "text"}
        assert " id=" not in svg
        assert "href" not in svg
        assert "font-family" not in svg
        assert len(svg) < 20_000


@pytest.mark.parametrize("form", FORMS)
def test_every_colour_follows_the_page(form: Callable[[], Chart]) -> None:
    for svg in (form().svg, form().svg_narrow):
        without_variables = re.sub(r"var\(--\w+,#[0-9a-f]{6}\)", "", svg)
        assert not re.findall(r"#[0-9a-f]{6}", without_variables)
        assert "var(--ink," in svg


@pytest.mark.parametrize("form", FORMS)
def test_letters_are_large_enough_on_a_phone(form: Callable[[], Chart]) -> None:
    for svg, width in ((form().svg, WIDE), (form().svg_narrow, NARROW)):
        view = [float(v) for v in (ElementTree.fromstring(svg).get("viewBox") or "").split()]
        assert view[2] == width
        sizes = [float(s) for s in re.findall(r"font-size:([\d.]+)px", svg)]
        assert min(sizes) * min(width, 326) / width >= 10 or width == WIDE
        assert min(sizes) >= 11


@pytest.mark.parametrize("form", FORMS)
def test_texts_stay_inside_and_apart(form: Callable[[], Chart]) -> None:
    """Boxes estimated a little larger than the screen draws them; edges may touch."""
    for svg in (form().svg, form().svg_narrow):
        root = ElementTree.fromstring(svg)
        _, _, width, height = (float(v) for v in (root.get("viewBox") or "").split())
        boxes = []
        for node in root.iter():
            if not node.tag.endswith("text"):
                continue
            style = dict(part.split(":", 1) for part in node.get("style", "").split(";"))
            size = float(style["font-size"].removesuffix("px"))
            wide = text_width("".join(node.itertext()), size) * 0.92
            left = float(node.get("x", "nan"))
            left -= {"middle": wide / 2, "end": wide}.get(style.get("text-anchor", ""), 0)
            base = float(node.get("y", "nan"))
            boxes.append((left, base - size * 0.72, left + wide, base))
        for i, (left, top, right, bottom) in enumerate(boxes):
            assert left >= -3
            assert right <= width + 3
            assert top >= -1
            assert bottom <= height + 1
            for other in boxes[:i]:
                meet_x = min(right, other[2]) - max(left, other[0])
                meet_y = min(bottom, other[3]) - max(top, other[1])
                assert meet_x <= 1 or meet_y <= 1, texts(svg)[i]


def test_bundle_serves_page_lab_and_terminal() -> None:
    bundle = bars()._repr_mimebundle_(include=None, exclude=None)
    assert set(bundle) == {CHART_MIME, "image/svg+xml", "text/plain"}
    data = bundle[CHART_MIME]
    assert data["title"] == data["alt"] == "Loyal families spend most"
    assert data["table"]["rows"][0] == ["Loyal", "€412", "€388 to €437", "2,570"]


def test_bars_are_sorted_and_proportional() -> None:
    chart = bars()
    assert [row[0] for row in chart.table.rows] == ["Loyal", "New", "Bargain"]  # type: ignore[union-attr]
    assert [t for t in texts(chart.svg) if t in ("Loyal", "New", "Bargain")] == [
        "Loyal", "New", "Bargain",
    ]  # fmt: skip
    lengths = []
    for node in ElementTree.fromstring(chart.svg).iter():
        if node.tag.endswith("path") and re.search(
            r"fill:var\(--(accent|mark)", node.get("style", "")
        ):
            xs = [float(x) for x in re.findall(r"[ML] (-?[\d.]+) ", node.get("d", ""))]
            lengths.append(max(xs) - min(xs))
    assert lengths == pytest.approx([412 * lengths[0] / 412, 187 * lengths[0] / 412,
                                     96 * lengths[0] / 412], abs=0.3)  # fmt: skip


def test_deviation_is_coloured_only_where_its_range_leaves_the_target() -> None:
    fills = re.findall(r"fill:var\(--(good|bad|mark)", deviations().svg)
    assert fills == ["good", "mark", "bad"]
    swapped = plot_deviations(
        GROUPS, caption=CAPTION, label="group", value="diff", unit="points", target="goal",
        good="down",
    )  # fmt: skip
    assert re.findall(r"fill:var\(--(good|bad|mark)", swapped.svg) == ["bad", "bad", "good"]


def test_waterfall_ends_at_the_sum() -> None:
    rows = waterfall().table.rows  # type: ignore[union-attr]
    assert rows[0] == ("Last year", "$1,000")
    assert rows[-1] == ("This year", "$1,040")
    assert rows[1] == ("More customers", "+$120")


def test_cells_not_yet_observed_stay_empty() -> None:
    chart = heatmap()
    assert chart.table is not None
    assert chart.table.rows == (("Jan", "100%", "50%"), ("Feb", "75%", ""))
    assert len(re.findall(r"<path [^>]*fill:var", chart.svg)) == 3


def test_missing_future_is_not_drawn_as_zero() -> None:
    table = fan().table
    assert table is not None
    assert table.rows[-1][1] == ""
    assert table.rows[0][1:] == ("100", "101", "96 to 106")


def test_histogram_needs_one_edge_more_than_counts() -> None:
    with pytest.raises(ValueError, match="3 counts need 4 edges"):
        plot_histogram([1, 2, 3], [0, 1, 2], caption=CAPTION, unit="days", x_title="days")


def test_names_from_data_stay_text() -> None:
    odd = ["<script>alert(1)</script>", "$5 & $6 \\frac{1}{2}", "a\x00\u202eb\nc"]
    shown = "".join(texts(bars(GROUPS.assign(group=odd)).svg))
    assert "<script>alert(1)" in shown
    assert "$5 & $6 \\frac{1}{2}" in shown
    assert "ab c" in shown


def test_long_names_are_wrapped_then_cut() -> None:
    assert fit_text("Bargain hunters who come rarely", 130) == "Bargain hunters\nwho come rarely"
    assert fit_text("Bargain hunters who come rarely", 90) == "Bargain\nhunters who…"
    cut = fit_text("x" * 200, 100, lines=1)
    assert cut.endswith("…")
    assert text_width(cut) <= 100


def test_a_chart_id_must_be_plain() -> None:
    with pytest.raises(ValueError, match="chart id"):
        Caption(id="a b", title=Prose("x"), subtitle="", source="", reading=Prose("x"))


@pytest.mark.parametrize("values", [[0.0], [5.0], [np.nan, 1.0, 2.0]])
def test_short_and_flat_series_can_be_drawn(values: list[float]) -> None:
    frame = pd.DataFrame({"week": range(len(values)), "sales": values})
    assert plot_line(frame, caption=CAPTION, x="week", y="sales", unit="count").svg


@pytest.mark.parametrize("n_events", [1, 5])
def test_event_labels_never_meet_and_take_no_room_unused(n_events: int) -> None:
    def heights(step_days: int) -> tuple[float, set[str]]:
        marks = [
            Mark(at=date(2017, 1, 9) + timedelta(days=i * step_days), text=f"Event no {i}")
            for i in range(n_events)
        ]
        chart = plot_line(WEEKS, caption=CAPTION, x="week", y="sales", unit="count", events=marks)
        root = ElementTree.fromstring(chart.svg)
        labels = [n for n in root.iter() if "".join(n.itertext()).startswith("Event")]
        tops = {n.get("y", "") for n in labels if n.tag.endswith("text")}
        return float((root.get("viewBox") or "").split()[3]), tops

    close, close_tops = heights(1)
    apart, apart_tops = heights(21)
    assert len(close_tops) == n_events
    assert len(apart_tops) == 1
    assert close - apart == pytest.approx(16 * (n_events - 1))
