"""What a page holds, read from an executed notebook and its run record."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from markupsafe import Markup

from insight_lib.findings import (
    CHART_MIME,
    FINDING_MIME,
    TABLE_MIME,
    TILES_MIME,
    Estimate,
    Measured,
    Verdict,
    format_number,
    format_range,
    format_value,
)
from insight_lib.report.sanitise import Heading, clean_html, clean_svg, read_markdown

TOP_FINDINGS = 5
_SHAPES = {
    Verdict.MATTERS: "matters",
    Verdict.DOES_NOT_MATTER: "quiet",
    Verdict.CANNOT_TELL: "unsure",
    Verdict.PASS: "pass",
    Verdict.REVIEW: "unsure",
    Verdict.FAIL: "stops",
    Verdict.NOT_MEASURABLE: "quiet",
}


@dataclass(frozen=True, kw_only=True)
class Block:
    """One thing on a page: `kind` names the template's macro, `data` is what it places."""

    kind: str
    data: Any


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading of the notebook and what stands under it."""

    id: str
    title: str
    blocks: list[Block] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class FindingView:
    """A finding in the words a reader sees."""

    id: str
    statement: str
    word: str
    shape: str
    owner: str
    so_what: str
    due: str
    stands_on: tuple[str, ...]
    blocks: str
    needs: tuple[str, ...]
    section: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything the template places, in the order a reader meets it."""

    headline: FindingView | None
    top: Sequence[FindingView]
    tiles: Mapping[str, Any] | None
    opening: Sequence[Block]
    sections: Sequence[Section]
    checks: Sequence[FindingView]
    not_measurable: Sequence[FindingView]
    method: Sequence[Section]


_LONG_CELL = 24  # characters; shorter words stand well under a number's head


def read_page(
    notebook: Mapping[str, Any],
    *,
    run: Mapping[str, Any],
    findings: Sequence[Mapping[str, Any]],
    with_code: bool,
) -> Page:
    """Arrange a notebook as a page.

    Args:
        notebook: The executed notebook.
        run: Its run record.
        findings: Its findings as JSON, in notebook order.
        with_code: Analyst edition: code, and outputs of other kinds, stay between the rest.
    """
    ranked = sorted(findings, key=_rank)
    top = [f for f in ranked if _leads(f)][:TOP_FINDINGS]
    shown_above = () if with_code else {f.get("id") for f in findings if not _stays(f, top)}
    reader = _Reader(shown_above=set(shown_above), with_code=with_code, run=run)
    for cell in notebook["cells"]:
        reader.read(cell)
    sections = [s for s in reader.sections if s.blocks]
    kept = {section.id for section in sections}
    places = {finding: place for finding, place in reader.places.items() if place in kept}
    views = {id(f): describe_finding(f, run=run, places=places) for f in findings}
    return Page(
        headline=views[id(top[0])] if top else None,
        top=[views[id(f)] for f in (*top[1:], *(f for f in ranked if _is_closed(f)))],
        tiles=reader.tiles,
        opening=reader.opening,
        sections=[s for s in sections if not _is_method(s)],
        checks=[
            views[id(f)] for f in ranked if f.get("kind") in ("gate", "check") and not _lacks(f)
        ],
        not_measurable=[views[id(f)] for f in ranked if _lacks(f)],
        method=[s for s in sections if _is_method(s)],
    )


def _rank(finding: Mapping[str, Any]) -> tuple[bool, bool, float]:
    is_gate = finding.get("kind") == "gate"
    return (not is_gate, finding.get("verdict") != Verdict.FAIL, -(finding.get("weight") or 0.0))


def _lacks(finding: Mapping[str, Any]) -> bool:
    return finding.get("verdict") == Verdict.NOT_MEASURABLE


def _leads(finding: Mapping[str, Any]) -> bool:
    return finding.get("kind") == "finding" and not _lacks(finding)


def _is_closed(finding: Mapping[str, Any]) -> bool:
    return finding.get("kind") == "gate" and finding.get("verdict") == Verdict.FAIL


def _stays(finding: Mapping[str, Any], top: Sequence[Mapping[str, Any]]) -> bool:
    return _leads(finding) and not any(finding is other for other in top)


def _is_method(section: Section) -> bool:
    return section.title.casefold() in ("method", "how it is measured")


class _Reader:
    """Walks the cells once and puts each output where it belongs."""

    def __init__(self, *, shown_above: set[Any], with_code: bool, run: Mapping[str, Any]) -> None:
        self.shown_above, self.with_code, self.run = shown_above, with_code, run
        self.sections: list[Section] = []
        self.opening: list[Block] = []
        self.tiles: Mapping[str, Any] | None = None
        self.places: dict[str, str] = {}
        self._level = 2
        self._has_title = False
        self._charts = 0

    @property
    def _blocks(self) -> list[Block]:
        return self.sections[-1].blocks if self.sections else self.opening

    def read(self, cell: Mapping[str, Any]) -> None:
        if cell["cell_type"] == "markdown":
            for piece in read_markdown(cell["source"]):
                if isinstance(piece, Heading):
                    self._open(piece)
                else:
                    self._blocks.append(Block(kind="prose", data=piece))
        elif cell["cell_type"] == "code":
            if self.with_code and cell["source"].strip():
                self._blocks.append(Block(kind="code", data=_highlighted(cell["source"])))
            for output in cell.get("outputs", ()):
                self._blocks.extend(self._output(output))

    def _open(self, heading: Heading) -> None:
        if heading.level == 1 and not self._has_title:
            self._has_title = True
        elif heading.level <= 2:
            self.sections.append(Section(id=f"s{len(self.sections) + 1}", title=heading.text))
            self._level = 2
        elif self.sections:
            self._level = min(heading.level, self._level + 1, 6)
            self._blocks.append(Block(kind=f"h{self._level}", data=heading.text))
        else:
            bold = Markup("<p><b>{}</b></p>").format(heading.text)
            self.opening.append(Block(kind="prose", data=bold))

    def _output(self, output: Mapping[str, Any]) -> Iterator[Block]:
        data = output.get("data") or {}
        if isinstance(data.get(FINDING_MIME), Mapping):
            finding = data[FINDING_MIME]
            if self.sections:
                self.places.setdefault(str(finding.get("id")), self.sections[-1].id)
            if finding.get("id") not in self.shown_above:
                view = describe_finding(finding, run=self.run, places={})
                yield Block(kind="finding", data=view)
        elif isinstance(data.get(TILES_MIME), Mapping):
            if self.tiles is None:
                self.tiles = data[TILES_MIME]
            else:
                yield Block(kind="tiles", data=data[TILES_MIME])
        elif isinstance(data.get(CHART_MIME), Mapping):
            self._charts += 1
            yield Block(kind="chart", data=_chart(data[CHART_MIME], number=self._charts))
        elif isinstance(data.get(TABLE_MIME), Mapping):
            yield Block(kind="table", data=data[TABLE_MIME])
        elif self.with_code:
            yield from _foreign(output, data)


def _chart(chart: Mapping[str, Any], *, number: int) -> dict[str, Any]:
    label = str(chart.get("alt") or chart.get("title") or "")
    wide = clean_svg(str(chart.get("svg") or ""), label=label)
    narrow = clean_svg(str(chart.get("svg_narrow") or ""), label=label)
    source = str(chart.get("source") or "").removeprefix("Source:").strip()
    return {**chart, "source": source, "number": number, "wide": wide, "narrow": narrow}


def _foreign(output: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[Block]:
    """Outputs that are not ours, for the analyst edition; never a traceback."""
    if output["output_type"] == "stream":
        yield Block(kind="text", data=_joined(output.get("text")))
    elif output["output_type"] == "error":
        name = re.sub(r"\W", "", str(output.get("ename")))
        yield Block(kind="text", data=f"This cell stopped with {name}; the run's log has the rest.")
    elif "text/html" in data:
        yield Block(kind="html", data=clean_html(_joined(data["text/html"])))
    elif "image/png" in data:
        source = "".join(_joined(data["image/png"]).split())
        if re.fullmatch(r"[A-Za-z0-9+/]+=*", source):
            yield Block(kind="image", data=source)
    elif "image/svg+xml" in data:
        label = _joined(data.get("text/plain")) or "Drawing made in the notebook"
        yield Block(kind="html", data=clean_svg(_joined(data["image/svg+xml"]), label=label))
    elif "text/plain" in data:
        yield Block(kind="text", data=_joined(data["text/plain"]))


def _joined(text: Any) -> str:
    return "".join(map(str, text)) if isinstance(text, list) else str(text or "")


def _highlighted(source: str) -> Markup:
    from pygments import highlight
    from pygments.formatters.html import HtmlFormatter
    from pygments.lexers.python import PythonLexer

    html = highlight(source, PythonLexer(), HtmlFormatter(nowrap=True))
    return Markup(html.rstrip())  # noqa: S704  (pygments escapes what it colours)


def describe_finding(
    finding: Mapping[str, Any], *, run: Mapping[str, Any], places: Mapping[str, str]
) -> FindingView:
    """Put a finding's JSON into the words of the page.

    Args:
        finding: `Finding.to_json()`.
        run: The run record, for the snapshots that it stands on.
        places: Section id by finding id, for the link to the evidence.
    """
    verdict = Verdict(finding.get("verdict") or Verdict.CANNOT_TELL)
    return FindingView(
        id=str(finding.get("id", "")),
        statement=_sentence(finding.get("statement")),
        word="Stops here" if _is_closed(finding) else verdict.value.capitalize(),
        shape=_SHAPES[verdict],
        owner=format_role(str(finding.get("owner") or "")),
        so_what=_sentence(finding.get("so_what")),
        due=format_date(finding.get("due")),
        stands_on=tuple(_stands_on(finding, run)),
        blocks=", ".join(finding.get("blocks") or ()) if _is_closed(finding) else "",
        needs=tuple(_need(need) for need in finding.get("needs") or ()),
        section=places.get(str(finding.get("id")), ""),
    )


def _sentence(prose: Any) -> str:
    return str(prose.get("text", "")) if isinstance(prose, Mapping) else ""


def _stands_on(finding: Mapping[str, Any], run: Mapping[str, Any]) -> Iterator[str]:
    value, target = read_measured(finding.get("value")), read_measured(finding.get("target"))
    if value is not None:
        shown = format_number(value.value, value.unit)
        if isinstance(value, Estimate):
            shown += f", likely {format_range(value)} ({value.level:.0%} range; {value.method})"
        yield f"Value {shown}; {value.n:,} counted; data to {format_value(value.as_of)}"
    if target is not None:
        yield f"Target {format_number(target.value, target.unit)}"
    snapshots = {**(run.get("tables") or {}), **(run.get("published") or {})}
    for table in finding.get("evidence") or ():
        version = (snapshots.get(table) or {}).get("version")
        yield f"Table {table}" + (f", snapshot {version}" if version is not None else "")
    if rows := finding.get("rows"):
        yield f"Answers {', '.join(rows)}"


def _need(need: Mapping[str, Any]) -> str:
    text = f"table {need.get('table')}"
    if columns := need.get("columns"):
        text += f" with {', '.join(columns)}"
    if (minimum := need.get("minimum_rows")) is not None:
        text += f", at least {minimum:,} rows"
    return text


def read_measured(value: Any) -> Measured | Estimate | None:
    """Rebuild a value from its JSON; none if it is missing or was not finite."""
    if not isinstance(value, Mapping) or value.get("value") is None:
        return None
    kept = {key: value[key] for key in ("value", "unit", "n")}
    kept["as_of"] = date.fromisoformat(value["as_of"])
    if value.get("lower") is None or value.get("upper") is None:
        return Measured(**kept)
    bounds = {key: value[key] for key in ("lower", "upper", "level", "method")}
    return Estimate(**kept, **bounds)


def format_date(text: Any) -> str:
    """`2017-12-31` as `31 December 2017`; nothing for nothing."""
    return format_value(date.fromisoformat(str(text)[:10])) if text else ""


def format_role(role: str) -> str:
    """A role's id as words, `crm-lead` as `CRM lead`; words without a vowel are initials."""
    if not re.fullmatch(r"[a-z0-9]+([-_][a-z0-9]+)*", role):
        return role
    words = [w if re.search("[aeiouy]", w) else w.upper() for w in re.split("[-_]", role)]
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as dotted names and exact values."""
    if isinstance(value, Mapping) and value:
        for key in sorted(value):
            yield from flatten(value[key], f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def word_columns(table: Mapping[str, Any]) -> list[int]:
    """Columns of a table that hold sentences or names and read from the left, not numbers."""
    columns = list(zip(*table.get("rows", ()), strict=False))
    return [
        place
        for place, cells in enumerate(columns)
        if sum(any(c.isdigit() for c in str(cell)[:8]) for cell in cells) < len(cells) / 2
        and any(len(str(cell)) > _LONG_CELL for cell in cells)
    ]
