"""What a notebook says: estimates, prose built from them, findings, gates and checks.

A number can reach a reader in one way only: as a field of a `Prose` template that is
filled from an `Estimate`, a `Measured` value, a date or a name. A digit typed into a
template is an error, so a sentence cannot outlive the data it was written about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from typing import Any, Literal, TypeVar

from insight_lib.prose import (
    SIGNIFICANT_DIGITS as SIGNIFICANT_DIGITS,
)
from insight_lib.prose import (
    UNIT_BOUNDS as UNIT_BOUNDS,
)
from insight_lib.prose import (
    Estimate as Estimate,
)
from insight_lib.prose import (
    Measured as Measured,
)
from insight_lib.prose import (
    Prose as Prose,
)
from insight_lib.prose import (
    TypedNumber as TypedNumber,
)
from insight_lib.prose import (
    Undefined as Undefined,
)
from insight_lib.prose import (
    Value as Value,
)
from insight_lib.prose import (
    counted as counted,
)
from insight_lib.prose import (
    format_number as format_number,
)
from insight_lib.prose import (
    format_range as format_range,
)
from insight_lib.prose import (
    format_value as format_value,
)
from insight_lib.prose import (
    rounded,
)
from insight_lib.prose import (
    unit_of_difference as unit_of_difference,
)

R = TypeVar("R")

FINDING_MIME = "application/vnd.insight.finding+json"
TABLE_MIME = "application/vnd.insight.table+json"
TILES_MIME = "application/vnd.insight.tiles+json"
CHART_MIME = "application/vnd.insight.chart+json"


class Verdict(StrEnum):
    """The word that a reader acts on."""

    MATTERS = "matters"
    DOES_NOT_MATTER = "does not matter"
    CANNOT_TELL = "cannot tell yet"
    PASS = "pass"  # noqa: S105 - a verdict, not a password
    REVIEW = "review"
    FAIL = "fail"
    NOT_MEASURABLE = "not measurable"


class TooFew(ValueError):
    """Too few observations for an estimate; says how many there are and how many it takes.

    Attributes:
        takes: What would help, after "It takes", where the place that raises it knows better
            than the one that asked for the estimate.
    """

    def __init__(self, why: str, *, takes: str | None = None) -> None:
        super().__init__(why)
        self.takes = takes


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a measurement lacks: a table, its columns, and how many rows would do."""

    table: str
    columns: tuple[str, ...] = ()
    minimum_rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing the data say, how sure we are, and who does what about it.

    Attributes:
        id: `stage.name`, unique on its page.
        rows: Lifecycle rows that it answers, e.g. `("M3.1",)`.
        statement: The sentence; numbers only from results.
        value: The estimate behind the sentence, if it has one.
        good: Which direction of `value` is good news.
        weight: Rank on the page, larger first; within one page only.
        evidence: Canonical or published tables that the statement rests on.
        needs: What is missing, for a finding that is not measurable.
        analysis: Function that found it, with its module.
        parameters: `section.name` of each parameter that the analysis read.
    """

    id: str
    rows: tuple[str, ...]
    statement: Prose
    verdict: Verdict
    owner: str
    evidence: tuple[str, ...]
    value: Measured | None = None
    target: Measured | None = None
    good: Literal["up", "down", "neither"] = "neither"
    so_what: Prose | None = None
    due: date | None = None
    weight: float = 1.0
    needs: tuple[Need, ...] = ()
    analysis: str = ""
    parameters: tuple[str, ...] = ()
    kind: Literal["finding", "gate", "check"] = field(default="finding", init=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z]+(\.[a-z0-9_]+)+", self.id):
            raise ValueError(f"finding id {self.id!r}: write stage.name in lower case")
        if not self.owner:
            raise ValueError(f"finding {self.id}: name the role that owns it")
        if (self.verdict is Verdict.NOT_MEASURABLE) != bool(self.needs):
            raise ValueError(f"finding {self.id}: 'not measurable' and needs go together")

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "id": self.id,
            "rows": list(self.rows),
            "statement": self.statement.to_json(),
            "verdict": self.verdict.value,
            "owner": self.owner,
            "evidence": list(self.evidence),
            "value": self.value.to_json() if self.value else None,
            "target": self.target.to_json() if self.target else None,
            "good": self.good,
            "so_what": self.so_what.to_json() if self.so_what else None,
            "due": f"{self.due:%Y-%m-%d}" if self.due else None,
            "weight": rounded(self.weight),
            "needs": [
                {
                    "table": need.table,
                    "columns": list(need.columns),
                    "minimum_rows": need.minimum_rows,
                }
                for need in self.needs
            ],
            "analysis": self.analysis,
            "parameters": list(self.parameters),
        }

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        from html import escape

        text = f"{self.verdict.value.capitalize()}: {self.statement}"
        so_what = f"<br><small>{escape(f'{self.owner}: {self.so_what}')}</small>"
        return {
            FINDING_MIME: self.to_json(),
            "text/plain": text,
            "text/html": f"<p><b>{escape(self.verdict.value.capitalize())}.</b> "
            f"{escape(str(self.statement))}{so_what if self.so_what else ''}</p>",
        }


@dataclass(frozen=True, kw_only=True)
class Gate(Finding):
    """A finding that stops the stages in `blocks` until it passes or an override is on record."""

    blocks: tuple[str, ...]
    kind: Literal["finding", "gate", "check"] = field(default="gate", init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.verdict not in (Verdict.PASS, Verdict.FAIL):
            raise ValueError(f"gate {self.id}: the verdict is pass or fail, not {self.verdict}")

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"blocks": list(self.blocks)}


@dataclass(frozen=True, kw_only=True)
class Check(Finding):
    """A finding about the method: pass, review or fail, with its advice in `so_what`."""

    kind: Literal["finding", "gate", "check"] = field(default="check", init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.verdict not in (
            Verdict.PASS,
            Verdict.REVIEW,
            Verdict.FAIL,
            Verdict.NOT_MEASURABLE,
        ):
            raise ValueError(f"check {self.id}: {self.verdict} is not a check's verdict")


def judge(change: Estimate, smallest_change_that_matters: float) -> Verdict:
    """Say whether a change matters, against the smallest one that would (three endings).

    Args:
        change: The change with its interval, zero meaning none.
        smallest_change_that_matters: Positive, in the unit of `change`.

    Returns:
        `MATTERS` if the whole interval is at least that far from zero on one side,
        `DOES_NOT_MATTER` if the whole interval lies inside it, else `CANNOT_TELL`.
    """
    if smallest_change_that_matters <= 0:
        raise ValueError("smallest_change_that_matters must be positive")
    if change.lower >= smallest_change_that_matters or change.upper <= (
        -smallest_change_that_matters
    ):
        return Verdict.MATTERS
    if -smallest_change_that_matters < change.lower and change.upper < smallest_change_that_matters:
        return Verdict.DOES_NOT_MATTER
    return Verdict.CANNOT_TELL


def change_phrase(change: Estimate, smallest_change_that_matters: float) -> Prose:
    """A change in words, with the ending that `judge` gives it: "up 6.2% (likely …)".

    Four endings in words, because a change may be sure and yet not known to be large enough.
    """
    word = "up" if change.value > 0 else "down"
    match judge(change, smallest_change_that_matters):
        case Verdict.MATTERS:
            return Prose("{word} {change:size} (likely {change:range})", word=word, change=change)
        case Verdict.DOES_NOT_MATTER:
            return Prose(
                "a change too small to act on (likely {change:range})",
                change=change,
            )
    if change.excludes(0):
        enough = Measured(
            value=smallest_change_that_matters,
            unit=change.unit,
            n=change.n,
            as_of=change.as_of,
        )
        return Prose(
            "{word} {change:size} (likely {change:range}), not surely the {enough} that would "
            "change a decision",
            word=word,
            change=change,
            enough=enough,
        )
    return Prose("we cannot yet tell a rise from a fall (likely {change:range})", change=change)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One number of the row of tiles: value, range, n, comparison and which way is good.

    Attributes:
        change: Against what it is compared with; its direction is coloured.
        smallest_change_that_matters: In the unit of `change`; the colour then follows `judge`.
            Without it, any change beyond chance counts.
    """

    label: str
    value: Measured
    note: Prose | None = None
    good: Literal["up", "down", "neither"] = "neither"
    change: Measured | None = None
    smallest_change_that_matters: float | None = None

    def to_json(self) -> dict[str, Any]:
        value = self.value
        likely = f"likely {format_range(value)} · " if isinstance(value, Estimate) else ""
        return {
            "label": self.label,
            "value": format_number(value.value, value.unit),
            "range": f"{likely}{value.n:,} customers",
            "note": str(self.note) if self.note else None,
            "good": self.good,
            "direction": self._direction(),
        }

    def _direction(self) -> str:
        change, smallest = self.change, self.smallest_change_that_matters
        if change is None or self.good == "neither":
            return "neutral"
        if isinstance(change, Estimate) and smallest is not None:
            verdict = judge(change, smallest)
        elif isinstance(change, Estimate) and not change.excludes(0):
            verdict = Verdict.CANNOT_TELL
        else:
            is_enough = change.value != 0 and abs(change.value) >= (smallest or 0)
            verdict = Verdict.MATTERS if is_enough else Verdict.DOES_NOT_MATTER
        if verdict is Verdict.MATTERS:
            return "good" if (change.value > 0) == (self.good == "up") else "bad"
        return "unsure" if verdict is Verdict.CANNOT_TELL else "neutral"


@dataclass(frozen=True)
class Tiles:
    """The row of tiles under the findings."""

    tiles: tuple[Tile, ...]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        tiles = [tile.to_json() for tile in self.tiles]
        return {
            TILES_MIME: {"tiles": tiles},
            "text/plain": "\n".join(f"{t['label']}: {t['value']} ({t['range']})" for t in tiles),
        }


@dataclass(frozen=True, kw_only=True)
class Table:
    """A small published table: aggregates only, cells as the reader sees them.

    Attributes:
        title: What the table holds.
        columns: Header of each column.
        rows: Cells, formatted; the first cell of a row is its header.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        if bad := [row for row in self.rows if len(row) != len(self.columns)]:
            raise ValueError(f"table {self.title!r}: row {bad[0]} does not fit {self.columns}")

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "columns": list(self.columns),
            "rows": [list(row) for row in self.rows],
            "note": self.note,
        }

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        from html import escape

        head = "".join(f"<th>{escape(c)}</th>" for c in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in self.rows
        )
        return {
            TABLE_MIME: self.to_json(),
            "text/plain": "\n".join(" | ".join(row) for row in (self.columns, *self.rows)),
            "text/html": f"<table><caption>{escape(self.title)}</caption><thead><tr>{head}</tr>"
            f"</thead><tbody>{body}</tbody></table>",
        }


def not_measurable(
    name: str,
    what: str,
    *,
    rows: tuple[str, ...],
    needs: tuple[Need, ...],
    takes: str,
    owner: str = "data-engineer",
) -> Callable[[str], Finding]:
    """For what this market's data may not answer: from the reason to the finding.

    Args:
        name: Id of the finding, `stage.name`.
        what: Start of the sentence: "{what} cannot be measured here".
        takes: What it would take, after "It takes".
    """
    return lambda why: Finding(
        id=name,
        rows=rows,
        statement=Prose("{what} cannot be measured here: {why}.", what=what, why=why),
        verdict=Verdict.NOT_MEASURABLE,
        owner=owner,
        evidence=tuple(need.table for need in needs),
        needs=needs,
        so_what=Prose("It takes {takes}.", takes=takes),
        weight=0.4,
    )


def attempt(
    estimate: Callable[[], R], *, otherwise: Callable[[str], Finding], n: int, minimum: int
) -> R | Finding:
    """The result of `estimate`, or the finding that says why there is none.

    Args:
        otherwise: Makes the "not measurable" finding from the reason.
        n: Customers there are.
        minimum: Customers it takes, from the market's parameters.

    What would help is said by the error where it knows, else by `otherwise`.
    """
    try:
        if n < minimum:
            raise TooFew(f"{n:,} customers, and it takes {minimum:,}", takes="more customers")
        return estimate()
    except (TooFew, Undefined) as error:
        found = otherwise(str(error))
        takes = error.takes if isinstance(error, TooFew) else None
        return replace(found, so_what=Prose("It takes {takes}.", takes=takes)) if takes else found


def show_result(result: R | Finding, *describe: Callable[[R], Any]) -> None:
    """Show what each of `describe` makes of a result, or the finding that stands for it.

    What comes out undefined for these data takes its own place on the page, and no other's.
    """
    if isinstance(result, Finding):
        show(result)
        return
    for make in describe:
        try:
            made = make(result)
        except Undefined as error:
            name = re.sub(r"[^a-z0-9]+", "_", getattr(make, "__name__", "").lower()).strip("_")
            line = getattr(getattr(make, "__code__", None), "co_firstlineno", 0)
            made = not_measurable(
                f"undefined.{name or 'part'}_{line}",
                "One part of this page",
                rows=(),
                needs=(Need(table="transactions"),),
                takes="data in which it is defined",
            )(str(error))
        show(made)


def show(*items: Any) -> None:
    """Display findings, tiles, tables and charts in the notebook, in this order.

    None is passed over: a chart of which nothing may be shown.
    """
    from IPython.display import display

    for item in items:
        if item is None:
            continue
        if isinstance(item, Iterable) and not isinstance(item, str | Mapping):
            show(*item)
        else:
            display(item)
