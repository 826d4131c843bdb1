"""What a notebook asks of its market: show, answer, explore and publish analyses."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
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
    from insight_lib.words import Words


_PATIENCE_SECONDS = 1.0


class Holdings:
    """A market's tables and registers by name, as analyses need them, and the market itself.

    `market` is for what is neither: decisions, kept folders, findings and aggregates of others.
    """

    def __init__(self, market: Market) -> None:
        self._market = market

    def known(self) -> Iterable[str]:
        return {"market", *TABLES, *self._market.project.published, *Registers.model_fields}

    def get(self, name: str) -> Any:
        """A table, or a register; of one that names markets, this market's entries."""
        market = self._market
        if name == "market":
            return market
        if name in Registers.model_fields:
            entries = getattr(market.registers, name)
            if isinstance(entries, tuple):
                return tuple(e for e in entries if getattr(e, "market", market.id) == market.id)
            return entries
        if market.has(name):
            return market.table(name)
        return Missing(
            market.lacking(name, f"the market has no {name.replace('_', ' ')} on record")
        )


class Page:
    """The analyses of one notebook, shown in the words of its stage."""

    def __init__(self, market: Market, package: ModuleType) -> None:
        self.market, self.package = market, package
        self.analyses = Analyses(package, self.run, Holdings(market))

    @cached_property
    def run(self) -> Run[Any]:
        market = self.market
        general = market.parameters.general
        return Run(
            stage=market.stage.id,
            market=market.id,
            title=market.title,
            as_of=market.as_of,
            currency=market.currency,
            general=general,
            parameters=getattr(market.parameters, market.stage.section, general),
        )

    def items(self, analysis: Analysis, **changes: Any) -> list[Any]:
        """The finding, chart and table of an analysis, or that it has no answer here."""
        answer, name = self.analyses.answer(analysis, **changes), analysis.__name__
        if name not in self.words.cards:
            return [answer.value]
        return [item for result in _each(answer.value) for item in self._of(name, result, answer)]

    def items_of(self, key: str, analysis: Analysis) -> list[Any]:
        """The same, of the results of an analysis that bear one key."""
        answer = self.analyses.answer(analysis)
        mine = [one for one in _each(answer.value) if getattr(one, "key", None) == key]
        return [item for one in mine for item in self._of(analysis.__name__, one, answer)]

    def _of(self, name: str, result: Any, answer: Answer) -> Iterator[Any]:
        card, words = self.words.cards[name], self.words
        held = tuple(table for table in answer.tables if table in self.market.versions)
        others = {*held, "market", *Registers.model_fields}
        absent = tuple(table for table in answer.tables if table not in others)

        def missing(result: Missing) -> Iterator[Any]:
            if card.what:
                yield words.missing(name, result, self.run, absent or held)

        if isinstance(result, Missing):
            yield from missing(result)
            return
        if card.is_said:
            try:
                found = words.finding(name, result, self.run, held)
                yield replace(
                    found, analysis=answer.analysis, parameters=self._named(answer.parameters)
                )
            except Undefined as error:
                yield from missing(Missing(str(error), key=getattr(result, "key", None)))
        with suppress(Undefined):  # a chart without a number in its title is none
            yield words.chart(name, result, self.run, self.source(answer))
        yield words.table(name, result, self.run)

    def _named(self, parameters: Iterable[str]) -> tuple[str, ...]:
        return tuple(f"{self.market.stage.section}.{name}" for name in sorted(parameters))

    @cached_property
    def words(self) -> Words:
        from insight_lib.words import read_words

        return read_words(self.package)

    def source(self, answer: Answer) -> str:
        """The tables that an answer stands on, as a chart names them."""
        from insight_lib.charts import source_line

        versions = self.market.versions
        tables = {name: versions[name] for name in answer.tables if name in versions}
        return source_line(tables, as_of=self.run.as_of)

    def tiles(self, analyses: Iterable[Analysis]) -> Tiles | None:
        """One row of the numbers that these analyses carry; what is missing is left out."""
        tiles = [
            self.words.tile(analysis.__name__, result, self.run)
            for analysis in analyses
            for result in _each(self.analyses.answer(analysis).value)
            if not isinstance(result, Missing)
        ]
        return Tiles(tuple(tiles)) if tiles else None


def _each(value: Any) -> Iterable[Any]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


@contextmanager
def _said_if_slow(name: str) -> Iterator[None]:
    """To a person who waits longer than `_PATIENCE_SECONDS`, what is being worked out."""
    import threading

    from IPython import get_ipython
    from IPython.display import display

    if os.environ.get("INSIGHT_RUN") or get_ipython() is None:
        yield
        return
    told: list[Any] = []

    def say() -> None:
        words = {"text/plain": f"working out {name} …"}
        told.append(display(words, raw=True, display_id=True))

    timer = threading.Timer(_PATIENCE_SECONDS, say)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        for handle in told:
            handle.update({"text/plain": ""}, raw=True)


class Pages:
    """The verbs of a market that show analyses; `market.Market` is the rest of it."""

    @cached_property
    def _page(self) -> Page:
        market: Any = self
        return Page(market, importlib.import_module(f"insight_lib.{market.stage.home}"))

    def show(self, *items: Any, **changes: Any) -> None:
        """Show analyses with their sentence, chart and table; findings and charts as they are.

        Args:
            changes: Options of the analysis, or parameters of its stage, for this once.
        """
        for item in items:
            if callable(item):
                with _said_if_slow(item.__name__):
                    made = self._page.items(item, **changes)
                show(*made)
            else:
                show(item)

    def each(self, of: Analysis, *analyses: Analysis) -> None:
        """Show several analyses together for each result of the first, by its `key`."""
        for one in _each(self.answer(of)):
            for analysis in analyses:
                if key := getattr(one, "key", None):
                    show(*self._page.items_of(key, analysis))

    def tiles(self, *analyses: Analysis) -> None:
        """Show the numbers of these analyses in one row."""
        show(self._page.tiles(analyses))

    def answer(self, analysis: Analysis, **changes: Any) -> Any:
        """What an analysis found here, or `Missing`."""
        return self._page.analyses.answer(analysis, **changes).value

    def explore(self, what: Analysis | str | Any, *, by: str | None = None) -> None:
        """Sliders and menus over an analysis; pictures of a table or a frame.

        Args:
            what: An analysis, the name of a table, or a frame.
            by: Of a table, a column of few values to tell rows apart.

        A scheduled run has nobody to turn them: it shows the analysis as it stands.
        """
        import insight_lib.explore as desk

        market: Any = self
        if market.request.record:
            show(*(self._page.items(what) if callable(what) else []))
        elif callable(what):
            show(desk.explore(self._page, what))
        else:
            table = market.table(what) if isinstance(what, str) else what
            frame = table.to_pandas() if hasattr(table, "to_pandas") else table
            show(desk.pictures(frame, by=by), desk.heat_map(frame))

    def publish(self, *analyses: Any) -> None:
        """Write the tables and aggregates that these analyses make, under their names.

        A name and a frame are written as `publish_table` writes them.
        """
        market: Any = self
        if analyses and isinstance(analyses[0], str):
            market.publish_table(*analyses)
            return
        for analysis in analyses:
            table = self.answer(analysis)
            if isinstance(table, Missing) or table is None:
                continue
            name = analysis.__name__
            if name in market.stage.publishes_aggregates:
                market.publish_aggregate(name, table)
            else:
                market.publish_table(name, table)

    def data_checks(self, *said: str) -> list[Any]:
        """What was loaded, set aside and kept, as far as this page rests on it.

        Args:
            said: Tables of which the page itself says how many rows could not be loaded.
        """
        from insight_lib.data_checks import describe_data

        market: Any = self
        return list(describe_data(market, said=said))

    def confirm(self, analysis: Analysis) -> None:
        """Show the form of an analysis to a person; a scheduled run has nobody to ask."""
        market: Any = self
        result = self.answer(analysis)
        if market.request.record is None and not isinstance(result, Missing):
            show(result.form(market.add_to_register))
