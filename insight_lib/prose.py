"""Numbers with their intervals, and sentences that take numbers from results alone.

A digit typed into a template is an error, so a sentence cannot outlive the data it was
written about.
"""

from __future__ import annotations

import math
import re
import string
from dataclasses import dataclass
from datetime import date
from typing import Any, NewType, Union

from insight_lib.language import Language, language

# findings.json promises the same bytes for the same inputs; engines add floats in
# parallel, so the last few of a double's 17 digits are not theirs to promise.
SIGNIFICANT_DIGITS = 10


class TypedNumber(ValueError):
    """A digit was typed into a sentence instead of coming from a result."""


def rounded(value: float) -> float | None:
    """As findings.json holds it: `SIGNIFICANT_DIGITS`, and nothing where it is not finite."""
    if not math.isfinite(value):
        return None
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


# What a number of a unit can be; a unit that is not named here has no bounds.
UNIT_BOUNDS = {
    "share": (0.0, 1.0),
    "difference": (-1.0, 1.0),
    "points": (-100.0, 100.0),
    "change": (-1.0, math.inf),
}
# Sums of floats end a few bits beside the bound that they mean.
_ROUNDING = 1e-9


class Undefined(ValueError):
    """A number that is not one, or that its unit cannot have: the caller's own branch."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A number counted in the data: exact for these rows, so without an interval.

    `unit` is one of `share` (0-1), `difference` (of two shares, -1 to 1, written in points),
    `points` (percentage points), `change` (relative to what was before, at least -1), `return`
    (profit per unit spent, written in percent), `count`, `days`, `weeks`, `months`, `ratio`,
    `index`, `score`, or an ISO 4217 code for money.

    Raises:
        ValueError: Not finite, outside what the unit can be, or about fewer than zero.
    """

    value: float
    unit: str
    n: int
    as_of: date

    def __post_init__(self) -> None:
        self._refuse_outside("value")
        if self.n < 0:
            raise ValueError(f"n is {self.n}; a number rests on zero or more")

    def _refuse_outside(self, name: str) -> None:
        number = getattr(self, name)
        if not math.isfinite(number):
            raise Undefined(f"{name} is {number}; an undefined result has no estimate: say why")
        low, high = UNIT_BOUNDS.get(self.unit, (-math.inf, math.inf))
        if not low - _ROUNDING <= number <= high + _ROUNDING:
            raise Undefined(f"{name} {number:g} is not between {low:g} and {high:g} ({self.unit})")

    def to_json(self) -> dict[str, Any]:
        return {
            "value": rounded(self.value),
            "unit": self.unit,
            "n": self.n,
            "as_of": f"{self.as_of:%Y-%m-%d}",
        }


def unit_of_difference(unit: str) -> str:
    """Unit of the difference of two numbers of a unit."""
    return "difference" if unit == "share" else unit


def counted(value: float, n: int, as_of: date) -> Measured:
    """A count, as it stands in a sentence."""
    return Measured(value=float(value), unit="count", n=n, as_of=as_of)


@dataclass(frozen=True, kw_only=True)
class Estimate(Measured):
    """A number inferred from data, with its interval at `level` and the method's source."""

    lower: float
    upper: float
    method: str
    level: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse_outside("lower")
        self._refuse_outside("upper")
        if not self.lower <= self.upper:
            raise ValueError(f"interval {self.lower} to {self.upper} is not ordered")
        slack = _ROUNDING * max(abs(self.lower), abs(self.upper), 1.0)
        if not self.lower - slack <= self.value <= self.upper + slack:
            raise Undefined(f"{self.value} lies outside {self.lower} to {self.upper}")
        if not 0 < self.level < 1:
            raise ValueError(f"level {self.level} is not between 0 and 1")

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside the interval."""
        return not self.lower <= value <= self.upper

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {
            "lower": rounded(self.lower),
            "upper": rounded(self.upper),
            "level": self.level,
            "method": self.method,
        }


Value = Union[Measured, Estimate, date, str, "Prose"]

# What something is called in the data: the only text that a sentence takes from a result.
Name = NewType("Name", str)


def _decimals(*values: float) -> int:
    """Decimals that show two significant digits of the smallest distance worth showing."""
    finite = [abs(v) for v in values if math.isfinite(v)]
    size = max(finite, default=0.0)
    if size >= 100 or all(math.isclose(v, round(v), abs_tol=1e-9) for v in finite):
        return 0
    return 1 if size >= 10 else 2


def format_number(
    value: float, unit: str, decimals: int | None = None, *, written_in: Language | None = None
) -> str:
    """Write one number in its unit, as a reader expects it: `31.2%`, `$1,240`, `12 days`."""
    tongue = written_in or language("en")
    if not math.isfinite(value):
        return tongue.unknown
    text = _written(value, unit, decimals, tongue)
    # What rounds to nothing has no sign.
    return text.removeprefix("−") if re.fullmatch(r"−\D*0([.,]0+)?\D*", text) else text


def _written(value: float, unit: str, decimals: int | None, tongue: Language) -> str:
    if unit == "difference":
        return _written(value * 100, "points", decimals, tongue)
    if unit in ("share", "change", "return", "points"):
        number = value if unit == "points" else value * 100
        is_whole = math.isclose(number, round(number), abs_tol=1e-9)
        places = decimals if decimals is not None else (0 if is_whole else 1)
        text = f"{number:.{places}f}"
        return tongue.counted(text, unit) if unit == "points" else tongue.percent(text)
    if re.fullmatch(r"[A-Z]{3}", unit):
        return _money(value, unit, decimals, tongue)
    places = decimals if decimals is not None else (0 if unit == "count" else _decimals(value))
    if unit in ("ratio", "days", "weeks", "months") and decimals is None and abs(value) >= 2:
        places = min(places, 1)
    text = f"{value:,.{places}f}"
    if unit in ("count", "ratio", "index", "score"):
        return tongue.number(text)
    return tongue.counted(text, unit)


def _money(value: float, currency: str, decimals: int | None, tongue: Language) -> str:
    size = abs(value)
    suffix, divisor = next(
        ((suffix, least) for suffix, least in tongue.large.items() if size >= least), ("", 1)
    )
    if suffix:
        places = 2
    elif currency in ("JPY", "KRW", "CLP", "VND", "ISK"):
        places = 0
    else:
        places = decimals if decimals is not None else (0 if size >= 100 else 2)
    text = f"{size / divisor:,.{places}f}"
    return f"{'−' if value < 0 else ''}{tongue.money(text, currency, suffix)}"


def format_range(estimate: Estimate, *, written_in: Language | None = None) -> str:
    """The interval as words: `29.4% to 33.0%`."""
    tongue, unit = written_in or language("en"), estimate.unit

    def written(value: float, places: int | None = None) -> str:
        return format_number(value, unit, places, written_in=tongue)

    low, high = written(estimate.lower), written(estimate.upper)
    if unit in ("points", "difference"):
        low = re.sub(r"(?<=\d) \D+$", "", low)
    elif unit in ("share", "change", "return"):
        bounds = (estimate.lower * 100, estimate.upper * 100)
        places = 0 if _decimals(*bounds) == 0 and max(map(abs, bounds)) < 100 else 1
        low, high = written(estimate.lower, places), written(estimate.upper, places)
    elif unit != "count" and not re.fullmatch(r"[A-Z]{3}", unit):
        places = _decimals(estimate.lower, estimate.upper)
        low = tongue.number(f"{estimate.lower:,.{places}f}")
        high = written(estimate.upper, places)
    return tongue.range.format(low=low, high=high)


def format_value(value: Value, style: str = "", *, written_in: Language | None = None) -> str:
    """Write a value for a sentence.

    Styles: none (the value), `range` (the interval), `full` (value and interval),
    `in_hundred` (a share as "31 in 100"), `n` (how many it rests on), `size` (without
    its sign), `signed` (with a plus or minus), `capital` (a name that begins a sentence), or
    what is counted, in the plural (`customers`).
    """
    tongue = written_in or language("en")
    if isinstance(value, str | Prose):
        text = str(value)
        return text[:1].upper() + text[1:] if style == "capital" else text
    if isinstance(value, date):
        return tongue.day(value)

    def written(number: float) -> str:
        return format_number(number, value.unit, written_in=tongue)

    match style:
        case "":
            return written(value.value)
        case "size":
            return written(abs(value.value))
        case "signed":
            return ("+" if value.value > 0 else "") + written(value.value)
        case "n":
            return tongue.number(f"{value.n:,}")
        case "in_hundred":
            if value.unit != "share":
                raise ValueError(f"in_hundred needs a share, got {value.unit}")
            return tongue.in_hundred.format(number=f"{value.value * 100:.0f}")
        case noun if noun in tongue.nouns:
            return tongue.counted(f"{value.value:,.0f}", noun)
    if not isinstance(value, Estimate):
        raise ValueError(f"style {style!r} needs an Estimate with an interval")
    match style:
        case "range":
            return format_range(value, written_in=tongue)
        case "full":
            return tongue.likely.format(
                value=written(value.value), range=format_range(value, written_in=tongue)
            )
    raise ValueError(
        f"unknown style {style!r}; use range, full, in_hundred, n, size, signed, capital, "
        f"none, or one of {', '.join(tongue.nouns)}"
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
    written_in: Language

    def __init__(
        self, template: str, written_in: Language | None = None, /, **values: Value
    ) -> None:
        tongue = written_in or language("en")
        literal, fields = "", set()
        for text, name, style, _ in string.Formatter().parse(template):
            literal += text
            if name is not None:
                if name not in values:
                    raise KeyError(f"no value for {{{name}}} in {template!r}")
                fields.add(name)
                format_value(values[name], style or "", written_in=tongue)
        if re.search(r"\d", literal):
            raise TypedNumber(
                f"digit typed into {template!r}; pass it as a value so that it follows the data"
            )
        if unused := set(values) - fields:
            raise KeyError(f"values {sorted(unused)} are not used in {template!r}")
        object.__setattr__(self, "template", template)
        object.__setattr__(self, "values", tuple(sorted(values.items())))
        object.__setattr__(self, "written_in", tongue)

    def __str__(self) -> str:
        values = dict(self.values)
        return "".join(
            text
            + (
                format_value(values[name], style or "", written_in=self.written_in)
                if name is not None
                else ""
            )
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
