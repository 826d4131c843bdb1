"""An analysis is a function whose parameters name what it needs; asking for it is all a page does.

A parameter names a table, a register, another analysis of the stage, or `run`. One that defaults
to None may be missing; one with another default is an option that a reader may turn. What a market
lacks is found by walking the names, so "not measurable" needs no code of its own.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from types import ModuleType
from typing import Any, Protocol, TypeVar

from insight_lib.findings import TooFew, Undefined
from insight_lib.run import Run

Analysis = Callable[..., Any]
T = TypeVar("T")


class UnknownNeed(NameError):
    """An analysis asks for what is no table, register or analysis; names the nearest that is."""


@dataclass(frozen=True)
class Missing:
    """Why an analysis has no answer here, and what it would take where that is known.

    Attributes:
        key: Of which of several results, where an analysis has more than one.
        known: Fields of the result that its card may name all the same.
    """

    why: str
    takes: str | None = None
    key: str | None = None
    known: Mapping[str, Any] = field(default_factory=dict)


def attempted(make: Callable[[], T], key: str | None = None, **known: Any) -> T | Missing:
    """One of several results, or why there is none.

    Args:
        known: Fields that its card may name even then, such as what it is about.
    """
    try:
        return make()
    except TooFew as error:
        return Missing(str(error), error.takes, key, known)
    except Undefined as error:
        return Missing(str(error), key=key, known=known)


@dataclass(frozen=True)
class Answer:
    """What an analysis found, and what that stands on, through others too.

    Attributes:
        analysis: Its function, with the module.
        value: Its result, or `Missing`.
        tables: Tables and registers that were opened for it.
        parameters: Of the stage, those that were read.
    """

    analysis: str
    value: Any
    tables: tuple[str, ...]
    parameters: frozenset[str]


class Source(Protocol):
    """What a market holds, by name."""

    def known(self) -> Iterable[str]:
        """Every table and register that a market can have."""

    def get(self, name: str) -> Any:
        """A table or register, or `Missing`."""


def analyses_of(package: ModuleType) -> dict[str, Analysis]:
    """A stage's analyses by name: the functions that its package lists in `__all__`."""
    named = {name: getattr(package, name) for name in package.__all__}
    return {name: value for name, value in named.items() if inspect.isfunction(value)}


def faults(package: ModuleType, known: Iterable[str]) -> Iterator[str]:
    """Every need of a stage's analyses that nothing has, and a circle if there is one."""
    known, stage = frozenset(known), analyses_of(package)
    graph = {
        name: [need for need in needs(analysis) if need in stage and need != name]
        for name, analysis in stage.items()
    }
    for name, analysis in stage.items():
        for need in needs(analysis):
            if need not in known and need not in graph[name]:
                yield str(_unknown(analysis, need, {*stage, *known}))
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"analyses need each other in a circle: {' → '.join(error.args[1])}"


def needs(analysis: Analysis) -> list[str]:
    """Names of the tables, registers and analyses that an analysis takes, in its order."""
    return [
        name
        for name, parameter in inspect.signature(analysis).parameters.items()
        if name != "run" and parameter.default in (inspect.Parameter.empty, None)
    ]


def options(analysis: Analysis) -> dict[str, Any]:
    """The options of an analysis, with their defaults."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(analysis).parameters.items()
        if parameter.default not in (inspect.Parameter.empty, None)
    }


def _unknown(analysis: Analysis, name: str, known: Iterable[str]) -> UnknownNeed:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
    return UnknownNeed(
        f"analysis {analysis.__name__}: no table, register or analysis is called {name!r}; "
        f"the nearest name is {near[0]!r}"
    )


class Analyses:
    """The analyses of a page on one market, each worked out once."""

    def __init__(
        self,
        package: ModuleType,
        run: Run[Any],
        source: Source,
        worked_out: Mapping[Analysis, Answer] | None = None,
    ) -> None:
        self.package, self.run, self._source = package, run, source
        self._worked_out = dict(worked_out or {})

    def answer(self, analysis: Analysis, **changes: Any) -> Answer:
        """What an analysis found.

        Args:
            changes: Options of the analysis, or parameters of the stage, for this answer alone.

        Raises:
            UnknownNeed: It, or one that it needs, asks for what there is not.
            TypeError: A change is neither.
        """
        mine = {name: changes.pop(name) for name in options(analysis) if name in changes}
        if changes:
            return self._changed(analysis, changes).answer(analysis, **mine)
        if mine:
            return self._work_out(analysis, mine)
        if analysis not in self._worked_out:
            self._worked_out[analysis] = self._work_out(analysis, {})
        return self._worked_out[analysis]

    def _changed(self, analysis: Analysis, changes: Mapping[str, Any]) -> Analyses:
        """These analyses under other parameters; what did not read them stays worked out."""
        fields = type(self.run.parameters).model_fields
        for name in changes:
            if name not in fields:
                known = sorted({*options(analysis), *fields})
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
                raise TypeError(
                    f"{analysis.__name__} has no option {name!r}, and its stage no such "
                    f"parameter; the nearest name is {near[0]!r}"
                )
        kept = {a: k for a, k in self._worked_out.items() if not k.parameters & changes.keys()}
        return Analyses(self.package, self.run.changed(changes), self._source, kept)

    def _work_out(self, analysis: Analysis, given: Mapping[str, Any]) -> Answer:
        values, read = dict(given), set[str]()
        tables: dict[str, None] = {}
        missing: Missing | None = None
        for name, parameter in inspect.signature(analysis).parameters.items():
            if name == "run":
                values[name] = self.run.recording(read)
            if name in values or parameter.default not in (inspect.Parameter.empty, None):
                continue
            inner = self._need(analysis, name)
            if isinstance(inner.value, Missing) and parameter.default is None:
                continue
            read |= inner.parameters
            tables |= dict.fromkeys(inner.tables)
            if isinstance(inner.value, Missing):
                missing = missing or inner.value
            else:
                values[name] = inner.value
        if missing is None:
            value = attempted(lambda: analysis(**values))
        named = f"{analysis.__module__}.{analysis.__qualname__}"
        return Answer(named, missing or value, tuple(tables), frozenset(read))

    def _need(self, analysis: Analysis, name: str) -> Answer:
        own = analysis.__globals__.get(name) if analysis.__module__ == "__main__" else None
        # An analysis that bears a table's name takes the table.
        inner = own or analyses_of(self.package).get(name)
        if inner and name != analysis.__name__:
            return self.answer(inner)
        if name not in self._source.known():
            raise _unknown(analysis, name, {*analyses_of(self.package), *self._source.known()})
        return Answer(name, self._source.get(name), (name,), frozenset())
