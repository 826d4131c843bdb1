"""Which model is in use from today on, since when, where it may run, and what it gives others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Literal

import pandas as pd

from insight_lib.analyses import Missing, attempted
from insight_lib.findings import Measured, TooFew
from insight_lib.prediction.board import Board
from insight_lib.prediction.boards import Allowed, made
from insight_lib.prediction.chain import Conditions
from insight_lib.prediction.checked import Leaks
from insight_lib.prediction.deployment import (
    Deployment,
    advise_deployment,
    estimate_memory,
    sites_of,
)
from insight_lib.prediction.fit import stack
from insight_lib.prediction.loaded import Keeper
from insight_lib.prediction.pooled import pooled_rows
from insight_lib.prediction.promotion import Standing, decide_promotion
from insight_lib.prediction.registry import Event, Registry
from insight_lib.prose import Name

if TYPE_CHECKING:
    from insight_lib.market_model import Residency
    from insight_lib.parameter_model import PredictionParameters
    from insight_lib.registers import Site
    from insight_lib.run import Run

_SHOWN_DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class Registered:
    """What became of the model of one target."""

    key: str
    title: Name
    standing: Standing

    @property
    def why_not(self) -> str:
        """Why it is not in use, in words; empty if it is."""
        return self.standing.why_not


def registered(
    boards: tuple[Board | Missing, ...],
    leaks: Leaks,
    allowed: Allowed,
    registry: Registry,
    market: Keeper,
    run: Run[PredictionParameters],
) -> tuple[Registered | Missing, ...]:
    """Learn each model that was taken anew, register it, and let it score if every gate does.

    Raises:
        TooFew: For a target: as `decide_promotion`.
    """
    p = run.parameters
    conditions = Conditions(
        smallest_training_customers=p.smallest_training_customers,
        smallest_positives=p.smallest_positives,
    )

    def decided(board: Board) -> Registered:
        target = board.target
        standing = decide_promotion(
            registry,
            board,
            allowed.known,
            name=f"{target.id}@{market.segment}" if market.segment else target.id,
            market=run.market,
            as_of=run.as_of,
            conditions=conditions,
            smallest_auc=p.smallest_auc,
            has_leaks=leaks.speak_against(target),
            has_overrides=market.request.has_overrides,
            seed=run.seed,
            most_rows=p.most_training_rows,
            monotone=p.monotone.get(target.id),
            correction=p.corrections.get(target.id, 1.0),
        )
        return Registered(key=board.key, title=Name(target.title), standing=standing)

    return tuple(attempted(partial(decided, board), board.key) for board in made(boards))


def used(
    boards: tuple[Board | Missing, ...], registered: tuple[Registered | Missing, ...]
) -> tuple[Board, ...]:
    """The targets whose model scores customers from now on.

    Raises:
        TooFew: There is none.
    """
    live = {one.key for one in registered if isinstance(one, Registered) and one.standing.is_used}
    found = tuple(board for board in made(boards) if board.key in live)
    if not found:
        raise TooFew("no new model is put to use", takes="a model that passes the gates below")
    return found


@dataclass(frozen=True, kw_only=True)
class Live:
    """Which version scores a target from now on, and why not the new one where it does not.

    Attributes:
        name: The target, with the segment of a segment's own model.
        version: That scores from now on.
        before, since: What was live before, and from when.
        why_not: Why the new one stays out.
        n: Customer records that the new one learned from.
    """

    key: str
    name: Name
    case: Literal["none", "now", "kept", "stays"]
    title: Name
    version: Name | None
    before: Name | None
    since: date | None
    why_not: Name | None
    n: int

    @property
    def has_before(self) -> bool:
        return self.before is not None

    @property
    def is_out(self) -> bool:
        return self.why_not is not None


def live(registered: tuple[Registered | Missing, ...]) -> tuple[Live, ...]:
    """For each target which model is in use from now on."""
    found = [one for one in registered if isinstance(one, Registered)]
    return tuple(live_of(one.standing, one.key, one.title) for one in found)


def live_of(standing: Standing, key: str, title: Name) -> Live:
    """What the registry decided on one target."""
    decided, champion = standing.decided, standing.champion
    is_new = champion is None or champion.version != decided.version
    case: Literal["none", "now", "kept", "stays"]
    if decided.live_version is None:
        case = "none"
    elif decided.is_done:
        case = "now" if is_new else "kept"
    else:
        case = "stays"
    why_not = standing.why_not or "; ".join(decided.reasons)
    return Live(
        key=key,
        name=Name(decided.target.replace("@", "_").replace("-", "_")),
        case=case,
        title=title,
        version=_short(decided.live_version),
        before=_short(champion.version) if champion else None,
        since=champion.since if champion else None,
        why_not=Name(why_not) if decided.reasons else None,
        n=standing.n,
    )


def _short(version: str | None) -> Name | None:
    return Name(version[:_SHOWN_DIGITS]) if version else None


@dataclass(frozen=True, kw_only=True)
class EventRow:
    """One decision on a model."""

    day: date
    target: Name
    action: Literal["promote", "roll_back"]
    version: Name
    by: Name
    why: Name


@dataclass(frozen=True, kw_only=True)
class History:
    """What runs and people decided on the models of a market, newest first."""

    table: tuple[EventRow, ...]


def history(
    registry: Registry,
    run: Run[PredictionParameters],
    registered: tuple[Registered | Missing, ...] | None = None,  # noqa: ARG001 - decided before
) -> History:
    """What was decided before today, and what this run promoted."""
    events = [
        event
        for name in registry.targets()
        for event in registry.history(name)
        if event.day < run.as_of or (event.day == run.as_of and event.action == "promote")
    ]
    return history_of(events)


def history_of(events: Sequence[Event]) -> History:
    """Events as a table."""
    return History(
        table=tuple(
            EventRow(
                day=e.day,
                target=Name(e.target),
                action="promote" if e.action == "promote" else "roll_back",
                version=Name(e.version[:_SHOWN_DIGITS]),
                by=Name(e.by),
                why=Name(e.why),
            )
            for e in sorted(events, key=lambda e: e.day, reverse=True)
        )
    )


@dataclass(frozen=True, kw_only=True)
class Law:
    """Where the personal data of a market may go.

    Attributes:
        country: ISO 3166 code of the market.
    """

    country: str
    residency: Residency


def law(market: Keeper) -> Law:
    """Of the market's jurisdiction."""
    return Law(country=market.config.country, residency=market.jurisdiction.residency)


@dataclass(frozen=True, kw_only=True)
class SiteRow:
    """May the model run at one site, at what cost, and if not, why."""

    title: Name
    kind: Literal["on_premise", "hybrid", "cloud"]
    verdict: Literal["advised", "allowed", "forbidden", "too small"]
    cost: Measured
    why_not: Name


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where the model may run, and where it should.

    Attributes:
        site, cost: The advised one, and what it costs a month.
        n_forbidden, n_sites: Sites where personal data may not go, of all.
        takes: What it would take, where none is allowed.
        n: Customers scored.
    """

    case: Literal["nowhere", "some forbidden", "all may"]
    site: Name | None
    cost: Measured | None
    n_forbidden: int
    n_sites: int
    takes: Name
    n: int
    table: tuple[SiteRow, ...]


def deployment(
    infrastructure: Mapping[str, Site],
    law: Law,
    run: Run[PredictionParameters],
    allowed: Allowed | None = None,
    registered: tuple[Registered | Missing, ...] | None = None,
) -> Where | None:
    """Where the largest model in use may run; nothing if none is in use.

    Raises:
        TooFew: As `sites_of`.
    """
    found = [one.standing for one in registered or () if isinstance(one, Registered)]
    documents = [standing.document for standing in found if standing.is_used]
    if allowed is None or not documents:
        return None
    sites, currency = sites_of(run.market, infrastructure)
    n = len(allowed.today.features)
    memory = max(estimate_memory(document, n_customers=n) for document in documents)
    advice = advise_deployment(
        sites, residency=law.residency, country=law.country, memory_gib=memory
    )
    return where(advice, currency=currency, n=n, as_of=run.as_of)


def where(found: Deployment, *, currency: str, n: int, as_of: date) -> Where:
    """What the advice on sites comes to."""
    forbidden = sum(r.is_forbidden for r in found.refused)

    def cost(site: Site) -> Measured:
        return Measured(value=site.monthly_cost_amount, unit=currency, n=n, as_of=as_of)

    rows = [
        SiteRow(
            title=Name(site.title),
            kind=site.kind,
            verdict="advised" if site == found.advised else "allowed",
            cost=cost(site),
            why_not=Name(""),
        )
        for site in found.allowed
    ]
    rows += [
        SiteRow(
            title=Name(r.site.title),
            kind=r.site.kind,
            verdict="forbidden" if r.is_forbidden else "too small",
            cost=cost(r.site),
            why_not=Name("; ".join(r.reasons)),
        )
        for r in found.refused
    ]
    advised = found.advised
    return Where(
        case="nowhere" if advised is None else "some forbidden" if forbidden else "all may",
        site=Name(advised.title) if advised else None,
        cost=cost(advised) if advised else None,
        n_forbidden=forbidden,
        n_sites=len(rows),
        takes=Name(found.takes),
        n=n,
        table=tuple(rows),
    )


def pooled_models(
    boards: tuple[Board | Missing, ...],
    allowed: Allowed,
    market: Keeper,
    run: Run[PredictionParameters],
) -> pd.DataFrame | None:
    """Coefficients for other markets, as `pooled.pooled_rows`; none of a segment.

    A category of one market is not that of another, and amounts are in other currencies.
    """
    shared = []
    for board in made(boards):
        target = board.target
        if target.kind != "binary" or target.id == "category" or market.segment:
            continue
        training = stack(allowed.known, target)
        try:
            shared.append(
                pooled_rows(
                    training.features.set_axis(training.customer_id),
                    pd.Series(training.label),
                    target=target.id,
                    horizon_days=target.horizon_days,
                    smallest_positives=run.parameters.smallest_positives,
                )
            )
        except TooFew:
            continue
    return pd.concat(shared, ignore_index=True) if shared else None


def past_scores(boards: tuple[Board | Missing, ...]) -> pd.DataFrame | None:
    """What the chosen models said of later days and what came: `board.Board.past` by target."""
    parts = [b.past.assign(target=b.target.id, kind=b.target.kind) for b in made(boards)]
    return pd.concat(parts, ignore_index=True) if parts else None
