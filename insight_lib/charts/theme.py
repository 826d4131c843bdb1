"""The hand all charts are drawn in: palette, type, and the step from figure to small, safe SVG.

A chart is drawn twice, for a desk and for a phone, because a drawing that is scaled to a
phone takes its letters with it. Colours are CSS variables with the light palette as
fallback, so an embedded chart follows the page into dark mode.
"""

from __future__ import annotations

import io
import re
import textwrap
import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from insight_lib.findings import CHART_MIME, Prose, Table, format_number, format_value

WIDE, NARROW = 720, 340
INK, SOFT, LINE, PAPER = "#14213d", "#5b6577", "#dfe3ea", "#fefefe"
MARK, ACCENT, GOOD, BAD, UNSURE = "#838fa2", "#0b6e99", "#1a7f4b", "#b3261e", "#8a6100"
PALETTE = {
    INK: "ink",
    SOFT: "soft",
    LINE: "line",
    PAPER: "paper",
    MARK: "mark",
    ACCENT: "accent",
    GOOD: "good",
    BAD: "bad",
    UNSURE: "unsure",
}
TEXT_SIZE, SMALL_SIZE = 12.5, 11.5

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": SMALL_SIZE,
    "text.color": INK,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.spines.bottom": False,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.formatter.use_locale": False,
    "figure.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 1.0,
    "lines.linewidth": 2.2,
    "lines.solid_capstyle": "round",
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.bottom": False,
    "ytick.left": False,
}

Draw = Callable[[int], Figure]


@dataclass(frozen=True, kw_only=True)
class Caption:
    """The words around a chart.

    Attributes:
        id: Unique on its page; letters, digits, `-` and `_`.
        title: The finding, in about ten words.
        subtitle: Measure, market and period.
        source: Tables and snapshot that it stands on.
        reading: How to read it, and what it does not say.
        alt: What a listener should hear; the title if left out.
        reference: What the line that things are compared with is called.
        labels: What is drawn, in words, by its case.
    """

    id: str
    title: Prose
    subtitle: str
    source: str
    reading: Prose
    alt: Prose | None = None
    reference: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][\w-]*", self.id):
            raise ValueError(f"chart id {self.id!r}: use letters, digits, - and _")


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A labelled line: an event at a moment, or a level to compare with."""

    at: Any
    text: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A finished chart: words, two drawings (desk and phone) and the numbers behind it."""

    id: str
    title: Prose
    subtitle: str
    alt: Prose
    source: str
    reading: Prose
    svg: str
    svg_narrow: str
    table: Table | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "title": str(self.title),
            "subtitle": self.subtitle,
            "alt": str(self.alt),
            "source": self.source,
            "reading": str(self.reading),
            "svg": self.svg,
            "svg_narrow": self.svg_narrow,
            "table": self.table.to_json() if self.table else None,
        }

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {
            CHART_MIME: self.to_json(),
            "image/svg+xml": self.svg,
            "text/plain": f"{self.title}\n{self.subtitle}\n{self.alt}",
        }


def render_chart(draw: Draw, *, caption: Caption, table: Table) -> Chart:
    """Draw a form at both widths and join it with its words and numbers."""
    return Chart(
        id=caption.id,
        title=caption.title,
        subtitle=caption.subtitle,
        alt=caption.alt or caption.title,
        source=caption.source,
        reading=caption.reading,
        svg=_render(draw, WIDE),
        svg_narrow=_render(draw, NARROW),
        table=table,
    )


def _render(draw: Draw, width: int) -> str:
    with (
        matplotlib.rc_context(STYLE | {"svg.hashsalt": "insight"}),
        warnings.catch_warnings(),
    ):
        # The reader's own fonts draw the text; ours only measures it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(draw(width)).print_svg(buffer, metadata=nothing)
    return _tidy(buffer.getvalue())


_SVG = "{http://www.w3.org/2000/svg}"
_KEPT = ("d", "x", "y", "transform", "viewBox", "style")
_DROPPED_STYLE = ("font-family", "stroke-miterlimit", "stroke-linejoin")


def _tidy(svg: str) -> str:
    """Reduce matplotlib's SVG to shapes and text: no ids, links, style sheets or metadata."""
    root = ElementTree.fromstring(svg)  # noqa: S314  (our own drawing)
    shapes = {
        f"#{path.get('id')}": path
        for defs in root.iter(f"{_SVG}defs")
        for path in defs.iter(f"{_SVG}path")
    }
    out = ElementTree.Element(
        "svg", {"xmlns": _SVG[1:-1], "viewBox": root.get("viewBox", ""), "role": "img"}
    )
    defined = set(shapes.values())
    for node in root.iter():
        name = node.tag.removeprefix(_SVG)
        attributes = {key: node.get(key, "") for key in _KEPT if node.get(key)}
        if name == "use":
            shape = shapes[node.get("{http://www.w3.org/1999/xlink}href", "")]
            x, y = attributes.pop("x", "0"), attributes.pop("y", "0")
            attributes |= {"d": shape.get("d", ""), "transform": f"translate({x} {y})"}
            attributes["style"] = f"{shape.get('style', '')};{attributes.get('style', '')}"
            name = "path"
        elif name not in ("path", "text") or node in defined:
            continue
        turn = attributes.pop("transform", "")
        if name == "text" and (place := re.fullmatch(r"translate\((\S+) (\S+)\)", turn)):
            attributes |= {"x": place[1], "y": place[2]}
        elif turn and not turn.startswith("rotate(-0"):
            attributes["transform"] = turn
        if name == "path":
            if not attributes.get("d"):  # a line outside the picture has no path
                continue
            attributes["d"] = re.sub(r"\s+", " ", _short(attributes["d"])).strip()
        attributes = {k: _short(v) if k in "xy" else v for k, v in attributes.items()}
        attributes["style"] = _style(attributes.get("style", ""))
        if name == "path" and attributes["style"] == "fill:none":
            continue
        ElementTree.SubElement(out, name, attributes).text = node.text if name == "text" else None
    return ElementTree.tostring(out, encoding="unicode")


def _short(numbers: str) -> str:
    return re.sub(r"-?\d+\.\d+", lambda m: f"{float(m[0]):.1f}".removesuffix(".0"), numbers)


def _style(style: str) -> str:
    pairs = (part.split(":", 1) for part in style.split(";") if ":" in part)
    kept = {k.strip(): v.strip() for k, v in pairs if k.strip() not in _DROPPED_STYLE}
    kept.setdefault("fill", INK)
    for key in ("fill", "stroke"):
        if name := PALETTE.get(kept.get(key, "")):
            kept[key] = f"var(--{name},{kept[key]})"
    return ";".join(f"{key}:{value}" for key, value in kept.items())


def clean_text(text: str) -> str:
    """One line without control, surrogate or direction-changing characters."""
    kept = (" " if c.isspace() else c for c in text)
    return " ".join("".join(c for c in kept if unicodedata.category(c)[0] != "C").split())


def text_width(text: str, size: float = TEXT_SIZE, *, is_bold: bool = False) -> float:
    """About how many pixels `text` takes; rather more than common screen fonts need."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return size * ((0.68 if is_bold else 0.6) * (len(text) - wide) + 1.05 * wide)


def fit_text(text: object, width: float, *, lines: int = 2, size: float = TEXT_SIZE) -> str:
    """Wrap `text` into `width` pixels and at most `lines` lines, with an ellipsis if cut."""
    text = clean_text(str(text))
    if text_width(text, size) <= width:
        return text
    characters = max(int(width / (text_width(text, size) / len(text))), 4)
    wrapped = textwrap.wrap(text, characters)
    if len(wrapped) > lines:
        last = " ".join(wrapped[lines - 1 :])[: characters - 1].rstrip()
        wrapped = [*wrapped[: lines - 1], f"{last}…"]
    return "\n".join(wrapped)


def add_axes(figure: Figure, *, left: float, right: float, top: float, bottom: float) -> Axes:
    """Axes with margins in pixels."""
    width, height = figure.get_size_inches() * 72
    return figure.add_axes(
        (
            left / width,
            bottom / height,
            (width - left - right) / width,
            (height - top - bottom) / height,
        )
    )


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many pixels: one point is one pixel of the drawing."""
    return Figure(figsize=(width / 72, height / 72))


def tick_labels(ticks: Sequence[float], unit: str) -> list[str]:
    """Ticks as a reader expects them, with as few decimals as tell them apart."""
    for decimals in range(4):
        texts = [format_number(tick, unit, decimals) for tick in ticks]
        if len(set(texts)) == len(texts):
            break
    return [text.removesuffix(" points") for text in texts]


def column_title(name: str) -> str:
    """`spend_amount` as a table header: `Spend amount`."""
    return clean_text(name.replace("_", " ")).capitalize()


def source_line(tables: Mapping[str, int], *, as_of: date) -> str:
    """Where the figures come from: tables with their snapshot."""
    named = ", ".join(f"{name} (snapshot {version})" for name, version in sorted(tables.items()))
    return f"{named}; to {format_value(as_of)}."
