"""Sentences as data: one card per analysis in the `words.yaml` of a stage.

A card says whose rows it answers, who owns the answer, and for each case that a result can be in
the verdict, the sentence and the next step; and what stands around its chart, table and tile.
Cards are checked when they are read: fields exist on the result and are of the kind that their
style asks for, every case can be reached, no digit is typed, and no words come from a result. A
second language is a second file (`words.de.yaml`) that holds the same cards' texts again.
"""

from __future__ import annotations

import inspect
import re
import string
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import Field, field_validator

from insight_lib.analyses import Analysis, Missing, analyses_of
from insight_lib.charts import Caption, Chart
from insight_lib.findings import (
    Check,
    Finding,
    Gate,
    Need,
    Table,
    Tile,
    Undefined,
    Verdict,
    counted,
)
from insight_lib.language import Language, language
from insight_lib.prose import Estimate, Measured, Name, Prose, Value, format_value
from insight_lib.registers import Id, Model
from insight_lib.run import Run
from insight_lib.strict_yaml import Document, Fault, load
from insight_lib.yaml_models import unknown, validate

_NEEDS_RANGE = ("range", "full")
_NEEDS_NUMBER = ("in_hundred", "n", "size", "signed")
_SHARED = "shared"
_SAID_BY_RUN = {"market": Name, "as_of": date}


class CardFaults(ValueError):
    """Every fault of a stage's cards, as `file:line: card: got …, expected …; fix: …`."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = tuple(sorted(faults))
        super().__init__("\n".join(map(str, self.faults)))


class Ending(Model):
    """What a card says in one case; what it leaves out is as on the card."""

    verdict: Literal[tuple(v.value for v in Verdict)] | None = None  # type: ignore[valid-type]
    says: str | None = None
    then: str | None = None
    owner: Id | None = None
    value: str | None = None
    good: Literal["up", "down", "neither"] | None = None
    weight: float | None = Field(default=None, gt=0)
    due_days: int | str | None = None


class ChartWords(Model):
    """Around a chart that the result draws; `labels` are of what it draws, by case."""

    title: str
    subtitle: str
    reading: str
    alt: str | None = None
    reference: str = ""
    labels: dict[str, str] = {}


class TableWords(Model):
    """Around the result's `table`: headings by field of its rows; columns without values go.

    A field may say its style (`share:range`; `share:` is the value alone).
    """

    title: str
    columns: dict[str, str]
    note: str = ""


class TileWords(Model):
    """One number of the row of tiles; `value` and `change` are fields of the result."""

    label: str
    value: str
    note: str | None = None
    change: str | None = None
    smallest_change: str | None = None


class Card(Ending):
    """Everything that is said of one analysis.

    Attributes:
        rows: Of the lifecycle, that it answers.
        id: Of the finding, where it is not called as the analysis is: `{key}.choice` where the
            key does not come last; with a dot and no field (`features.customer_value`) the whole
            of it, without the stage.
        owner: Role that answers for it; a result that has an `owner` of its own names it.
        what: Start of "… cannot be measured here"; a card without it keeps silent then.
        takes: What it would take, where the analysis itself does not know better.
        cases: By the result's `case`; text alone is the next step.
        clauses: By field, the words that each of its values puts in the field's place.
    """

    id: str | None = Field(default=None, pattern=r"^[a-z0-9_.{}]+$")
    rows: tuple[str, ...] = ()
    what: str | None = None
    takes: str | None = None
    kind: Literal["finding", "check", "gate"] = "finding"
    blocks: tuple[Id, ...] = ()
    target: str | None = None
    cases: dict[str, Ending] = {}
    clauses: dict[str, dict[str, str]] = {}
    chart: ChartWords | None = None
    table: TableWords | None = None
    tile: TileWords | None = None

    @field_validator("cases", mode="before")
    @classmethod
    def _step_alone(cls, cases: Any) -> Any:
        if not isinstance(cases, dict):
            return cases
        return {n: {"then": e} if isinstance(e, str) else e for n, e in cases.items()}

    def ending(self, case: str | None) -> Ending:
        """What holds in a case, with the card's own words where the case has none."""
        chosen = self.cases[str(case)] if self.cases else self
        own = {name: getattr(chosen, name) for name in Ending.model_fields}
        if own["verdict"] is None and case in [v.value for v in Verdict]:
            own["verdict"] = case
        return Ending(**{n: getattr(self, n) if v is None else v for n, v in own.items()})

    @property
    def is_said(self) -> bool:
        """Whether it has a sentence; a chart, a table or a tile may stand without one."""
        return any(ending.says for ending in (self, *self.cases.values()))

    def texts(self) -> Iterator[tuple[str, str]]:
        """Every sentence, with the place where it stands."""
        for where, part in (("", self), *((f"cases.{n}.", e) for n, e in self.cases.items())):
            for name in ("says", "then"):
                if text := getattr(part, name):
                    yield where + name, text
        for field, words in self.clauses.items():
            yield from ((f"clauses.{field}.{value}", text) for value, text in words.items())
        for name in ("chart", "table", "tile"):
            for field, text in dict(getattr(self, name) or {}).items():
                if isinstance(text, str) and field not in ("value", "change", "smallest_change"):
                    yield f"{name}.{field}", text
        for value, text in (self.chart.labels if self.chart else {}).items():
            yield f"chart.labels.{value}", text
        for name in ("what", "takes"):
            if text := getattr(self, name):
                yield name, text


@dataclass(frozen=True)
class Words:
    """A stage's cards in one language."""

    cards: Mapping[str, Card]
    written_in: Language

    def id(self, name: str, result: Any, run: Run[Any]) -> str:
        """Of the finding of a result, or of its absence: stage, analysis, key."""
        own, key = self.cards[name].id or name, getattr(result, "key", None)
        if "{" in own:
            fields = {n: getattr(result, n, None) or "" for _, n, _, _ in _parsed(own) if n}
            return f"{run.stage}.{own.format(**fields).strip('.')}"
        stage = None if "." in own else run.stage
        return ".".join(filter(None, (stage, own, key)))

    def finding(self, name: str, result: Any, run: Run[Any], tables: tuple[str, ...]) -> Finding:
        """A result in words.

        Args:
            name: Of the card and its analysis.
            tables: That the result stands on.

        Raises:
            Undefined: A number that the sentence needs is not one.
        """
        card = self.cards[name]
        ending = card.ending(_word(getattr(result, "case", None)))
        say = _Sayer(card, result, run, self.written_in)
        due = ending.due_days
        days = say.field(due) if isinstance(due, str) else due
        days = days.value if isinstance(days, Measured) else days
        made: dict[str, Any] = {
            "id": self.id(name, result, run),
            "rows": card.rows,
            "statement": say(ending.says or ""),
            "verdict": Verdict(ending.verdict or ""),
            "owner": getattr(result, "owner", None) or ending.owner,
            "evidence": tables,
            "value": say.number(ending.value),
            "target": say.number(card.target),
            "good": ending.good or "neither",
            "so_what": say(ending.then) if ending.then else None,
            "due": run.as_of + timedelta(days=int(days)) if days is not None else None,
            "weight": ending.weight if ending.weight is not None else 1.0,
        }
        if card.kind == "gate":
            return Gate(**made, blocks=card.blocks)
        return Check(**made) if card.kind == "check" else Finding(**made)

    def missing(
        self, name: str, result: Missing, run: Run[Any], tables: tuple[str, ...]
    ) -> Finding:
        """That an analysis has no answer here, why, and what it would take."""
        card = self.cards[name]
        what = _Sayer(card, SimpleNamespace(**result.known), run, self.written_in)(card.what or "")
        return Finding(
            id=self.id(name, result, run),
            rows=card.rows,
            statement=Prose("{what} cannot be measured here: {why}.", what=what, why=result.why),
            verdict=Verdict.NOT_MEASURABLE,
            owner="data-engineer",
            evidence=tables,
            needs=tuple(Need(table=table) for table in tables) or (Need(table="transactions"),),
            so_what=Prose("It takes {takes}.", takes=result.takes or card.takes or "more data"),
            weight=0.4,
        )

    def chart(self, name: str, result: Any, run: Run[Any], source: str) -> Chart | None:
        """The chart that a result draws, or none where nothing of it may be shown."""
        words = self.cards[name].chart
        if words is None:
            return None
        say = _Sayer(self.cards[name], result, run, self.written_in)
        caption = Caption(
            id="-".join(filter(None, (name, getattr(result, "key", None)))),
            title=say(words.title),
            subtitle=str(say(words.subtitle)),
            source=source,
            reading=say(words.reading),
            alt=say(words.alt) if words.alt else None,
            reference=str(say(words.reference)),
            labels={value: str(say(text)) for value, text in words.labels.items()},
        )
        chart: Chart | None = result.draw(caption)
        return chart

    def table(self, name: str, result: Any, run: Run[Any]) -> Table | None:
        """The result's table, or none where it has no rows."""
        card = self.cards[name]
        rows = result.table if card.table else ()
        if card.table is None or not rows:
            return None
        say = _Sayer(card, result, run, self.written_in)
        headings = {
            column: heading
            for column, heading in card.table.columns.items()
            if any(getattr(row, column.partition(":")[0]) is not None for row in rows)
        }
        cells = [_Sayer(card, row, run, self.written_in).cell for row in rows]
        return Table(
            title=str(say(card.table.title)),
            columns=tuple(headings.values()),
            rows=tuple(tuple(cell(column) for column in headings) for cell in cells),
            note=str(say(card.table.note)),
        )

    def tile(self, name: str, result: Any, run: Run[Any]) -> Tile:
        """The result's number in the row of tiles."""
        card = self.cards[name]
        words = card.tile
        if words is None:
            raise LookupError(f"card {name} has no tile; write one, or show the analysis")
        say = _Sayer(card, result, run, self.written_in)
        smallest = say.field(words.smallest_change) if words.smallest_change else None
        value = say.number(words.value)
        if value is None:
            raise Undefined(f"{words.value} is not known")
        return Tile(
            label=str(say(words.label)),
            value=value,
            note=say(words.note) if words.note else None,
            good=card.good or "neither",
            change=say.number(words.change),
            smallest_change_that_matters=smallest,
        )


class _Sayer:
    """Fills the fields of a card's texts from one result."""

    def __init__(self, card: Card, result: Any, run: Run[Any], written_in: Language) -> None:
        self._card, self._result, self._run, self._tongue = card, result, run, written_in

    def __call__(self, template: str) -> Prose:
        names = {n for _, n, _, _ in _parsed(template) if n is not None}
        values = {name: self._value(name) for name in names}
        return Prose(template, self._tongue, **values)

    def field(self, name: str) -> Any:
        return getattr(self._result, name)

    def number(self, name: str | None) -> Measured | None:
        if name is None or (value := self.field(name)) is None:
            return None
        return value if isinstance(value, Measured) else self._counted(value)

    def cell(self, name: str) -> str:
        """A field as it stands in a table."""
        name, is_styled, style = name.partition(":")
        if self.field(name) is None:
            return "–"
        value = self._value(name)
        style = "full" if isinstance(value, Estimate) and not is_styled else style
        return format_value(value, style, written_in=self._tongue)

    def _value(self, name: str) -> Value:
        if name == "market":
            return self._run.title
        if name == "as_of":
            return self._run.as_of
        value = self.field(name)
        if value is None:
            raise Undefined(f"{name.replace('_', ' ')} is not known")
        if name in self._card.clauses:
            words = self._card.clauses[name]
            if isinstance(value, tuple):
                return self._tongue.listed([str(self(words[str(_word(v))])) for v in value])
            return self(words[str(_word(value))])
        if isinstance(value, tuple):
            return self._tongue.listed(value)
        return self._counted(value) if isinstance(value, int) else value

    def _counted(self, value: int) -> Measured:
        return counted(value, getattr(self._result, "n", value), self._run.as_of)


def _word(value: Any) -> str | None:
    """A case or a clause's value as the card writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return value.value if isinstance(value, Enum) else value


@cache
def read_words(package: ModuleType, code: str = "en") -> Words:
    """The checked cards of a package: `words.yaml`, and `words-*.yaml` where it has several stages.

    Raises:
        CardFaults: All that is wrong in them.
    """
    faults: list[Fault] = []
    cards: dict[str, Card] = {}
    for path in sorted(Path(package.__path__[0]).glob("words*.yaml")):
        if "." in path.stem:
            continue  # another language
        document = _document(path, faults)
        spoken = document.data or {}
        own = _cards(document, spoken, faults)
        _check(package, own, document, faults)
        cards |= own
        other = path.with_suffix(f".{code}.yaml")
        if code != "en" and other.is_file() and not faults:
            document = _document(other, faults)
            said = document.data or {}
            names = sorted(said.keys() - spoken.keys())
            faults += [_at(document, name, unknown("", name, spoken)) for name in names]
            merged = {n: _merged(c, said[n]) for n, c in spoken.items() if n in said}
            translated = _cards(document, merged, faults)
            _check(package, translated, document, faults)
            cards |= translated
    if faults:
        raise CardFaults(faults)
    return Words(cards, language(code))


def _document(path: Path, faults: list[Fault]) -> Document:
    document = load(path, f"{path.parent.name}/{path.name}")
    faults += document.faults
    return document


def _merged(one: Any, other: Any) -> Any:
    """Texts of another language over a card; what it does not say stays as it is."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one | {k: _merged(one.get(k), v) for k, v in other.items()}
    # A case of text alone is its next step.
    return one | {"then": other} if isinstance(one, dict) else other


def _cards(document: Document, data: Mapping[str, Any], faults: list[Fault]) -> dict[str, Card]:
    """Cards by name; a clause that names one of the lists in `shared` is that list."""
    shared = data.get(_SHARED) or {}
    data = {name: card for name, card in data.items() if name != _SHARED}
    for card in data.values():
        clauses = (card.get("clauses") if isinstance(card, dict) else None) or {}
        for field, words in clauses.items():
            if isinstance(words, str) and words in shared:
                clauses[field] = shared[words]
    made = {n: validate(Card, document, c, faults=faults, prefix=(n,)) for n, c in data.items()}
    return {name: card for name, card in made.items() if card is not None}


def _at(document: Document, place: str, fault: Fault) -> Fault:
    line = document.line(tuple(place.split(".")))
    return Fault(document.file, line, place, fault.got, fault.expected, fault.fix)


def _check(
    package: ModuleType, cards: Mapping[str, Card], document: Document, faults: list[Fault]
) -> None:
    stage = analyses_of(package)
    for name, card in cards.items():
        if name not in stage:
            faults.append(_at(document, name, unknown("", name, stage)))
            continue
        for place, got, expected, fix in _faults_of(card, result_type(stage[name])):
            fault = Fault(document.file, 0, "", got, expected, fix)
            faults.append(_at(document, f"{name}.{place}".rstrip("."), fault))


def _faults_of(card: Card, result: Any) -> Iterator[tuple[str, str, str, str]]:
    """Place, what is there, what should be, and what to do."""
    row = next(iter(get_args(kind_of(result, "table"))), None)
    for place, text in card.texts():
        if digits := re.search(r"\d\S*", _literal(text)):
            yield place, repr(digits[0]), "no typed digit", "take the number from the result"
        of_row = place.startswith("clauses.") and not kind_of(result, place.split(".")[1])
        for _, name, style, _ in _parsed(text):
            if name is not None and name not in card.clauses:
                owner = row if of_row else result
                yield from ((place, *f) for f in _field_faults(owner, name, style or ""))
    for field, words in card.clauses.items():
        kind = kind_of(result, field) or kind_of(row, field)
        yield from _cases_faults(f"clauses.{field}", words, kind, field)
    case = kind_of(result, "case")
    if card.cases or case is not None:
        yield from _cases_faults("cases", card.cases, case, "case")
    for where in card.cases or (None,):
        yield from _ending_faults(card, where, result)
    if card.chart and not hasattr(result, "draw"):
        yield "chart", "a chart", "a result with draw(caption)", "write it, or drop the chart"
    if card.table and row is None:
        yield "table", "a table", "a result with `table: tuple[Row, ...]`", "write it, or drop it"
    for column in card.table.columns if card.table and row else ():
        name, _, style = column.partition(":")
        if name not in card.clauses:
            yield from ((f"table.columns.{column}", *f) for f in _field_faults(row, name, style))


def _ending_faults(
    card: Card, case: str | None, result: Any
) -> Iterator[tuple[str, str, str, str]]:
    ending = card.ending(case)
    place = f"cases.{case}" if case else ""
    # A card with `what` alone says only why there is no answer.
    if ending.says is None and not (card.chart or card.table or card.tile or card.what):
        yield place, "nothing to say", "says", "write the sentence"
    if ending.says is not None and ending.verdict is None:
        yield place, "no verdict", "one of the verdicts", "write verdict:"
    if ending.says is not None and ending.owner is None and kind_of(result, "owner") is not Name:
        yield place, "no owner", "a role", "write owner:, or give the result an owner (Name)"
    for name in filter(None, (ending.value, card.target)):
        yield from ((place, *f) for f in _field_faults(result, name, "", is_number=True))


def _cases_faults(
    place: str, words: Mapping[str, Any], kind: Any, field: str
) -> Iterator[tuple[str, str, str, str]]:
    """Cases that no result is in, and values that no case is for."""
    values = _values(kind)
    if values is None:
        expected = f"{field} to be a Literal, an enum or a bool"
        yield place, f"{_shown(kind)}", expected, f"annotate {field} with the values it can take"
        return
    for name in words:
        if name not in values:
            yield f"{place}.{name}", repr(name), f"one of {', '.join(values)}", "drop or rename it"
    for value in values:
        if value not in words:
            yield place, f"nothing for {value!r}", "a case for each value", f"add {value}:"


def _values(kind: Any) -> list[str] | None:
    if get_origin(kind) is tuple:
        return _values(get_args(kind)[0])
    if kind is bool:
        return ["true", "false"]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [member.value for member in kind]
    if get_origin(kind) is Literal:
        return [_word(value) or "" for value in get_args(kind)]
    return None


def _field_faults(
    result: Any, name: str, style: str, *, is_number: bool = False
) -> Iterator[tuple[str, str, str]]:
    kind = _SAID_BY_RUN.get(name) or kind_of(result, name)
    if kind is None:
        fields = sorted({*_SAID_BY_RUN, *dir(result), *getattr(result, "__annotations__", {})})
        fields = [f for f in fields if not f.startswith("_")]
        yield f"{{{name}}}", f"a field of {_shown(result)}", unknown("", name, fields).fix
        return
    is_class = isinstance(kind, type)
    is_measured = is_class and issubclass(kind, Measured)
    is_estimate = is_class and issubclass(kind, Estimate)
    is_named = kind is Name or (get_origin(kind) is tuple and get_args(kind)[0] is Name)
    if style in _NEEDS_RANGE and not is_estimate:
        yield f"{{{name}:{style}}}", "an Estimate", f"{name} is {_shown(kind)}: use another style"
    elif (style in _NEEDS_NUMBER or is_number) and not (is_measured or kind is int):
        yield f"{{{name}}}", "a number", f"{name} is {_shown(kind)}: use a Measured or an Estimate"
    elif not (is_measured or is_named or kind in (int, date)):
        fix = f"{name} is {_shown(kind)}: give it a clause, or mark a name of the data as Name"
        yield f"{{{name}}}", "a number, a date or a Name", fix


def _parsed(text: str) -> Iterator[tuple[str, str | None, str | None, str | None]]:
    """Literal text and the field after it, with its style."""
    return iter(string.Formatter().parse(text))


def _literal(text: str) -> str:
    return "".join(literal for literal, *_ in _parsed(text))


def _shown(kind: Any) -> str:
    return getattr(kind, "__name__", None) or str(kind)


def result_type(analysis: Analysis) -> Any:
    """What an analysis returns: one of many, and what may be missing, as the thing itself."""
    kind = _evaluated(
        analysis.__annotations__.get("return"), vars(sys.modules[analysis.__module__])
    )
    kind = _without_none(kind)
    return _without_none(get_args(kind)[0]) if get_origin(kind) in (tuple, list) else kind


def kind_of(owner: Any, name: str) -> Any:
    """The annotation of a field or property of a result, None where it has no such field."""
    for cls in getattr(owner, "__mro__", ()):
        module = vars(sys.modules[cls.__module__])
        own = inspect.get_annotations(cls)
        if name in own:
            return _without_none(_evaluated(own[name], module))
        made = cls.__dict__.get(name)
        getter = getattr(made, "fget", None) or getattr(made, "func", None)
        if isinstance(made, property | cached_property) and getter:
            return _without_none(_evaluated(getter.__annotations__.get("return"), module))
    return None


def _evaluated(annotation: Any, names: dict[str, Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, names)  # noqa: S307 - our own annotations
    except NameError:  # imported for the type checker alone
        return Any


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        some = [part for part in get_args(kind) if part not in (type(None), Missing)]
        return some[0] if len(some) == 1 else kind
    return kind
