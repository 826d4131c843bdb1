"""What a notebook says: estimates, prose built from them, findings, gates and checks.

A number can reach a reader in one way only: as a field of a `Prose` template that is
filled from an `Estimate`, a `Measured` value, a date or a name. A digit typed into a
template is an error, so a sentence cannot outlive the data it was written about.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any, Literal, TypeVar, Union

R = TypeVar("R")

FINDING_MIME = "application/vnd.insight.finding+json"
TABLE_MIME = "application/vnd.insight.table+json"
TILES_MIME = "application/vnd.insight.tiles+json"
CHART_MIME = "application/vnd.insight.chart+json"

# findings.json promises the same bytes for the same inputs; engines add floats in
# parallel, so the last few of a double's 17 digits are not theirs to promise.
SIGNIFICANT_DIGITS = 10


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
    """Too few observations for an estimate; says how many there are and how many it takes."""


class TypedNumber(ValueError):
    """A digit was typed into a sentence instead of coming from a result."""


def _rounded(value: float) -> float | None:
    if not math.isfinite(value):
        return None
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A number counted in the data: exact for these rows, so without an interval.

    `unit` is one of `share` (0-1), `points` (percentage points, 0-100), `count`, `days`,
    `weeks`, `months`, `ratio`, `index`, `score`, or an ISO 4217 code for money.
    """

    value: float
    unit: str
    n: int
    as_of: date

    def to_json(self) -> dict[str, Any]:
        return {
            "value": _rounded(self.value),
            "unit": self.unit,
            "n": self.n,
            "as_of": f"{self.as_of:%Y-%m-%d}",
        }


@dataclass(frozen=True, kw_only=True)
class Estimate(Measured):
    """A number inferred from data, with its interval at `level` and the method's source."""

    lower: float
    upper: float
    method: str
    level: float = 0.95

    def __post_init__(self) -> None:
        if not self.lower <= self.upper:
            raise ValueError(f"interval {self.lower} to {self.upper} is not ordered")
        if not 0 < self.level < 1:
            raise ValueError(f"level {self.level} is not between 0 and 1")

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside the interval."""
        return not self.lower <= value <= self.upper

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {
            "lower": _rounded(self.lower),
            "upper": _rounded(self.upper),
            "level": self.level,
            "method": self.method,
        }


Value = Union[Measured, Estimate, date, str, "Prose"]


def _decimals(*values: float) -> int:
    """Decimals that show two significant digits of the smallest distance worth showing."""
    finite = [abs(v) for v in values if math.isfinite(v)]
    size = max(finite, default=0.0)
    if size >= 100 or all(math.isclose(v, round(v), abs_tol=1e-9) for v in finite):
        return 0
    return 1 if size >= 10 else 2


def format_number(value: float, unit: str, decimals: int | None = None) -> str:
    """Write one number in its unit, as a reader expects it: `31.2%`, `$1,240`, `12 days`."""
    if not math.isfinite(value):
        return "unknown"
    text = _written(value, unit, decimals)
    # What rounds to nothing has no sign.
    return text.removeprefix("−") if re.fullmatch(r"−\D*0(\.0+)?\D*", text) else text


def _written(value: float, unit: str, decimals: int | None) -> str:
    if unit == "share":
        percent = value * 100
        is_whole = math.isclose(percent, round(percent), abs_tol=1e-9)
        places = decimals if decimals is not None else (0 if is_whole else 1)
        return f"{percent:.{places}f}%".replace("-", "−")
    if unit == "points":
        is_whole = math.isclose(value, round(value), abs_tol=1e-9)
        places = decimals if decimals is not None else (0 if is_whole else 1)
        return f"{value:.{places}f} points".replace("-", "−")
    if re.fullmatch(r"[A-Z]{3}", unit):
        return _money(value, unit, decimals)
    places = decimals if decimals is not None else (0 if unit == "count" else _decimals(value))
    if unit in ("ratio", "days", "weeks", "months") and decimals is None and abs(value) >= 2:
        places = min(places, 1)
    text = f"{value:,.{places}f}".replace("-", "−")
    if unit in ("count", "ratio", "index", "score"):
        return text
    singular = unit[:-1] if unit.endswith("s") and text in ("1", "−1") else unit
    return f"{text} {singular}"


def _money(value: float, currency: str, decimals: int | None) -> str:
    from babel.numbers import get_currency_symbol

    symbol = get_currency_symbol(currency, locale="en")
    size = abs(value)
    for divisor, suffix in ((1e9, " bn"), (1e6, " M")):
        if size >= divisor:
            amount = f"{size / divisor:,.2f}{suffix}"
            break
    else:
        places = decimals if decimals is not None else (0 if size >= 100 else 2)
        if places and currency in ("JPY", "KRW", "CLP", "VND", "ISK"):
            places = 0
        amount = f"{size:,.{places}f}"
    space = " " if len(symbol) > 2 else ""
    return f"{'−' if value < 0 else ''}{symbol}{space}{amount}"


def format_range(estimate: Estimate) -> str:
    """The interval as words: `29.4% to 33.0%`."""
    unit = estimate.unit
    if unit == "points":
        low = format_number(estimate.lower, unit).removesuffix(" points")
        return f"{low} to {format_number(estimate.upper, unit)}"
    if unit == "share":
        bounds = (estimate.lower * 100, estimate.upper * 100)
        places = 0 if _decimals(*bounds) == 0 and max(map(abs, bounds)) < 100 else 1
        low = format_number(estimate.lower, unit, places)
        return f"{low} to {format_number(estimate.upper, unit, places)}"
    if unit == "count" or re.fullmatch(r"[A-Z]{3}", unit):
        return f"{format_number(estimate.lower, unit)} to {format_number(estimate.upper, unit)}"
    places = _decimals(estimate.lower, estimate.upper)
    low = f"{estimate.lower:,.{places}f}".replace("-", "−")
    return f"{low} to {format_number(estimate.upper, unit, places)}"


def format_value(value: Value, style: str = "") -> str:
    """Write a value for a sentence.

    Styles: none (the value), `range` (the interval), `full` (value and interval),
    `in_hundred` (a share as "31 in 100"), `n` (how many it rests on), `size` (without
    its sign), `signed` (with a plus or minus).
    """
    if isinstance(value, str | Prose):
        return str(value)
    if isinstance(value, date):
        return f"{value.day} {value:%B %Y}"
    match style:
        case "":
            return format_number(value.value, value.unit)
        case "size":
            return format_number(abs(value.value), value.unit)
        case "signed":
            sign = "+" if value.value > 0 else ""
            return sign + format_number(value.value, value.unit)
        case "n":
            return f"{value.n:,}"
        case "in_hundred":
            if value.unit != "share":
                raise ValueError(f"in_hundred needs a share, got {value.unit}")
            return f"{value.value * 100:.0f} in 100"
    if not isinstance(value, Estimate):
        raise ValueError(f"style {style!r} needs an Estimate with an interval")
    match style:
        case "range":
            return format_range(value)
        case "full":
            return f"{format_number(value.value, value.unit)} (likely {format_range(value)})"
    raise ValueError(
        f"unknown style {style!r}; use range, full, in_hundred, n, size, signed or none"
    )


@dataclass(frozen=True, init=False)
class Prose:
    """A sentence whose numbers are fields: `Prose("About {rate:in_hundred} return.", rate=rate)`.

    Raises:
        TypedNumber: The template holds a digit outside a field.
        KeyError: A field has no value, or a value has no field.
    """

    template: str
    values: tuple[tuple[str, Value], ...]

    def __init__(self, template: str, /, **values: Value) -> None:
        literal, fields = "", set()
        for text, name, style, _ in string.Formatter().parse(template):
            literal += text
            if name is not None:
                if name not in values:
                    raise KeyError(f"no value for {{{name}}} in {template!r}")
                fields.add(name)
                format_value(values[name], style or "")
        if re.search(r"\d", literal):
            raise TypedNumber(
                f"digit typed into {template!r}; pass it as a value so that it follows the data"
            )
        if unused := set(values) - fields:
            raise KeyError(f"values {sorted(unused)} are not used in {template!r}")
        object.__setattr__(self, "template", template)
        object.__setattr__(self, "values", tuple(sorted(values.items())))

    def __str__(self) -> str:
        values = dict(self.values)
        return "".join(
            text + (format_value(values[name], style or "") if name is not None else "")
            for text, name, style, _ in string.Formatter().parse(self.template)
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "text": str(self),
            "template": self.template,
            "values": {
                name: value.to_json() if isinstance(value, Measured | Prose) else str(value)
                for name, value in self.values
            },
        }


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
            "weight": _rounded(self.weight),
            "needs": [
                {
                    "table": need.table,
                    "columns": list(need.columns),
                    "minimum_rows": need.minimum_rows,
                }
                for need in self.needs
            ],
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


def attempt(
    estimate: Callable[[], R], *, otherwise: Callable[[str], Finding], n: int, minimum: int
) -> R | Finding:
    """The result of `estimate`, or the finding that says why there is none.

    Args:
        otherwise: Makes the "not measurable" finding from the reason.
        n: Customers there are.
        minimum: Customers it takes, from the market's parameters.
    """
    try:
        if n < minimum:
            raise TooFew(f"{n:,} customers, and it takes {minimum:,}")
        return estimate()
    except TooFew as error:
        return otherwise(str(error))


def show_result(result: R | Finding, *describe: Callable[[R], Any]) -> None:
    """Show what each of `describe` makes of a result, or the finding that stands for it."""
    if isinstance(result, Finding):
        show(result)
    else:
        show(*(make(result) for make in describe))


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
