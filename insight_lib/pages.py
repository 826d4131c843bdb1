"""What a notebook asks of its market: show, answer, explore and publish analyses."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

from insight_lib.analyses import Analyses, Analysis, Answer, Missing
from insight_lib.findings import Tiles, Undefined, show
from insight_lib.registers import Registers
from insight_lib.run import Run
from insight_lib.schema import TABLES

if TYPE_CHECKING:
    from insight_lib.market import Market


class Holdings:
    """A market's tables and registers by name, as analyses need them."""

    def __init__(self, market: Market) -> None:
        self._market = market

    def known(self) -> Iterable[str]:
        return {*TABLES, *self._market.project.published, *Registers.model_fields}

    def get(self, name: str) -> Any:
        """A table, or the entries of a register that are this market's and not of later days."""
        market = self._market
        if name in Registers.model_fields:
            entries = getattr(market.registers, name)
            if isinstance(entries, tuple):
                return tuple(e for e in entries if getattr(e, "market", market.id) == market.id)
            return entries
        if market.has(name):
            return market.table(name)
        return Missing(market.lacking(name, f"the market has no table of {name}"))


class Page:
    """The analyses of one notebook, shown in the words of its stage."""

    def __init__(self, market: Market, package: ModuleType) -> None:
        self.market, self.package = market, package
        self.analyses = Analyses(package, self.run, Holdings(market))

    @cached_property
    def run(self) -> Run[Any]:
        market = self.market
        return Run(
            market=market.id,
            title=market.title,
            as_of=market.as_of,
            currency=market.currency,
            general=market.parameters.general,
            parameters=getattr(market.parameters, market.stage.parameters or market.stage.id),
        )

    def items(self, analysis: Analysis, **changes: Any) -> list[Any]:
        """The finding, chart and table of an analysis, or that it has no answer here."""
        from insight_lib.words import read_words

        words, name = read_words(self.package), analysis.__name__
        answer = self.analyses.answer(analysis, **changes)
        if name not in words.cards:
            return [answer.value]
        made: list[Any] = []
        for result in _each(answer.value):
            made += self._of(name, result, answer)
        return made

    def _of(self, name: str, result: Any, answer: Answer) -> list[Any]:
        from insight_lib.words import read_words

        words = read_words(self.package)
        card, run = words.cards[name], self.run

        def missing(why: str, takes: str | None = None) -> list[Any]:
            return [words.missing(name, why, takes, answer.tables)] if card.what else []

        if isinstance(result, Missing):
            return missing(result.why, result.takes)
        parts: list[Callable[[], Any]] = [
            lambda: words.finding(name, result, run, answer.tables) if card.is_said else None,
            lambda: words.chart(name, result, run, self.source(answer)),
            lambda: words.table(name, result, run),
        ]
        made: list[Any] = []
        for part in parts:
            try:
                made.append(part())
            except Undefined as error:
                made += missing(str(error)) if part is parts[0] else []
        return made

    def source(self, answer: Answer) -> str:
        from insight_lib.charts import source_line

        versions = self.market.versions
        tables = {name: versions[name] for name in answer.tables if name in versions}
        return source_line(tables, as_of=self.run.as_of)

    def tiles(self, analyses: Iterable[Analysis]) -> Tiles | None:
        """One row of the numbers that these analyses carry; what is missing is left out."""
        from insight_lib.words import read_words

        words = read_words(self.package)
        tiles = [
            words.tile(analysis.__name__, result, self.run)
            for analysis in analyses
            for result in _each(self.analyses.answer(analysis).value)
            if not isinstance(result, Missing)
        ]
        return Tiles(tuple(tiles)) if tiles else None


def _each(value: Any) -> Iterable[Any]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


class Pages:
    """The verbs of a market that show analyses; `market.Market` is the rest of it."""

    @cached_property
    def _page(self) -> Page:
        market: Any = self
        return Page(
            market,
            importlib.import_module(f"insight_lib.{market.stage.package or market.stage.id}"),
        )

    def show(self, *items: Any, **changes: Any) -> None:
        """Show analyses with their sentence, chart and table; findings and charts as they are.

        Args:
            changes: Options of the analysis, or parameters of its stage, for this once.
        """
        for item in items:
            show(*(self._page.items(item, **changes) if callable(item) else [item]))

    def tiles(self, *analyses: Analysis) -> None:
        """Show the numbers of these analyses in one row."""
        show(self._page.tiles(analyses))

    def answer(self, analysis: Analysis, **changes: Any) -> Any:
        """What an analysis found here, or `Missing`."""
        return self._page.analyses.answer(analysis, **changes).value

    def confirm(self, analysis: Analysis) -> None:
        """Show the form of an analysis to a person; a scheduled run has nobody to ask."""
        market: Any = self
        result = self.answer(analysis)
        if market.request.record is None and not isinstance(result, Missing):
            show(result.form(market.add_to_register))
