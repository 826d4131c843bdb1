"""The only ways by which markup that may hold data reaches a page: all by allow-list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from html import unescape
from typing import Any
from xml.etree import ElementTree

import mistune
import nh3
from markupsafe import Markup

_TABLE_TAGS = {"table", "caption", "colgroup", "col", "thead", "tbody", "tfoot", "tr", "th", "td"}
_PROSE_TAGS = {
    "p", "br", "hr", "b", "strong", "i", "em", "s", "sub", "sup", "small", "code", "pre",
    "blockquote", "ul", "ol", "li", "dl", "dt", "dd",
}  # fmt: skip
_ATTRIBUTES = {
    "*": {"style"},
    "a": {"href"},
    "img": {"src", "alt"},
    "table": {"border", "class"},
    "col": {"span"},
    "th": {"scope", "colspan", "rowspan"},
    "td": {"colspan", "rowspan"},
}
_ATTRIBUTE_VALUES = {
    "style": r"text-align: ?(left|right|center);?",
    "href": r"#[\w-]+",
    "src": r"data:image/png;base64,[A-Za-z0-9+/=\s]+",
    "class": "dataframe",
    "border": r"\d",
    "scope": r"(col|row)(group)?",
    "span": r"\d{1,4}",
    "colspan": r"\d{1,4}",
    "rowspan": r"\d{1,4}",
}
# What neither belongs in a page nor can be seen, but bends how text is read or parsed.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def drop_unseen(text: str) -> str:
    """Remove control characters, lone surrogates and characters that turn text around."""
    return _UNSEEN.sub("", text)


def _attribute(_: str, name: str, value: str) -> str | None:
    pattern = _ATTRIBUTE_VALUES.get(name)
    return value if pattern is None or re.fullmatch(pattern, value) else None


def clean_html(markup: str) -> Markup:
    """Keep tables, prose and PNG images of `markup`; drop whatever could act or load."""
    clean = nh3.clean(
        drop_unseen(markup),
        tags=_TABLE_TAGS | _PROSE_TAGS | {"a", "img", "span", "div"},
        clean_content_tags={"script", "style"},
        attributes=_ATTRIBUTES,
        attribute_filter=_attribute,
        url_schemes={"data"},
        link_rel=None,
    )
    clean = re.sub(r"<img(?! [^>]*\bsrc=)[^>]*>", "", clean)
    clean = re.sub(r"<img(?![^>]*\balt=)", '<img alt="Image made in the notebook"', clean)
    return Markup(clean)  # noqa: S704  (the sanitiser is what makes it safe)


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A heading of a markdown cell, as plain text."""

    level: int
    text: str


@lru_cache(maxsize=1)
def _markdown() -> tuple[mistune.Markdown, mistune.HTMLRenderer]:
    # A renderer of None makes mistune return its tokens.
    parser = mistune.create_markdown(renderer=None, plugins=["table", "strikethrough"])
    renderer = mistune.HTMLRenderer(escape=True)
    for plugin in ("table", "strikethrough"):
        mistune.create_markdown(renderer=renderer, plugins=[plugin])
    return parser, renderer


def read_markdown(source: str) -> Iterator[Heading | Markup]:
    """Split a markdown cell into its headings and the prose between them, as safe HTML."""
    parser, renderer = _markdown()
    tokens, state = parser.parse(drop_unseen(source))
    prose: list[dict[str, Any]] = []

    def flush() -> Iterator[Markup]:
        html = clean_html(renderer(prose, state))
        prose.clear()
        if html.strip():
            yield html

    for token in tokens:
        if isinstance(token, dict) and token["type"] == "heading":
            yield from flush()
            inline = renderer([{"type": "paragraph", "children": token["children"]}], state)
            text = unescape(nh3.clean(inline, tags=set())).strip()
            yield Heading(level=token["attrs"]["level"], text=text)
        elif isinstance(token, dict):
            prose.append(token)
    yield from flush()


_SVG_ELEMENTS = {"svg", "g", "path", "rect", "line", "circle", "ellipse", "polyline", "polygon"}
_SVG_TEXT = {"text", "tspan"}
_SVG_ATTRIBUTES = {
    "d", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "rx", "ry", "width", "height",
    "points", "transform", "viewBox", "fill", "stroke", "stroke-width", "stroke-dasharray",
    "opacity", "fill-opacity", "text-anchor", "font-size", "font-weight", "dx", "dy", "style",
}  # fmt: skip
_SVG_STYLES = {
    "fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-dashoffset", "stroke-linecap",
    "stroke-opacity", "opacity", "fill-opacity", "font-size", "font-weight", "font-style",
    "text-anchor",
}  # fmt: skip
_SVG_VALUE = re.compile(r"(?!.*(?:url|expression|javascript))[-+#\w.,%() \n]*", re.IGNORECASE)


def clean_svg(svg: str, *, label: str) -> Markup:
    """Keep the shapes and text of a drawing, named `label` for listeners.

    Anything else in it (scripts, links, styles sheets, foreign objects, handlers) is dropped;
    what is not well-formed XML, or declares entities, gives an empty string.
    """
    if "<!" in svg:
        return Markup("")
    try:
        # Without declarations there are no entities to expand.
        root = ElementTree.fromstring(drop_unseen(svg))  # noqa: S314
    except ElementTree.ParseError:
        return Markup("")
    drawing = _clean_element(root)
    if drawing is None or drawing.tag != "svg":
        return Markup("")
    drawing.set("role", "img")
    drawing.set("aria-label", drop_unseen(label))
    markup = ElementTree.tostring(drawing, encoding="unicode")
    return Markup(markup)  # noqa: S704  (rebuilt from allowed parts, escaped by the writer)


def _clean_element(node: ElementTree.Element) -> ElementTree.Element | None:
    name = node.tag.rpartition("}")[2] if isinstance(node.tag, str) else ""
    if name not in _SVG_ELEMENTS | _SVG_TEXT:
        return None
    kept = {}
    for key, value in node.attrib.items():
        value = _clean_style(value) if key == "style" else value
        pattern = r"[-+\w.,:;#%() \n]*" if key == "style" else _SVG_VALUE
        if key in _SVG_ATTRIBUTES and re.fullmatch(pattern, value):
            kept[key] = value
    out = ElementTree.Element(name, kept)
    out.text = node.text if name in _SVG_TEXT else None
    for child in node:
        clean = _clean_element(child)
        if clean is not None:
            clean.tail = child.tail if name in _SVG_TEXT else None
            out.append(clean)
    return out


def _clean_style(style: str) -> str:
    pairs = (part.split(":", 1) for part in style.split(";") if ":" in part)
    return ";".join(
        f"{key.strip()}:{value.strip()}"
        for key, value in pairs
        if key.strip() in _SVG_STYLES and _SVG_VALUE.fullmatch(value.strip())
    )
