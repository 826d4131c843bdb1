"""The way of each deal through the pipeline: from stage to stage, to won, or to lost.

Deals skip stages, are won early, come back after they were lost, and are signed without being
marked. So each stage is left for wherever the deal went next, in the order of its days.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from insight_lib.features.competing_risks import (
    cumulative_incidence,
    weighted_table,
    with_group,
)
from insight_lib.findings import TooFew
from insight_lib.market_view import optional

if TYPE_CHECKING:
    import ibis.expr.types as ir

WON, LOST = "\x00won", "\x00lost"  # no stage is called so
_TAIL_AT_RISK = 10  # beyond this few, a stage's curve no longer tells old deals from older ones

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Deals:
    """Deals by stage entered.

    Attributes:
        spells: opportunity_id, customer_id, group ("all" without one), stage, stage_number, days
            (in the stage), leads_to (the next stage, `WON`, `LOST`, missing while open),
            age_days (first stage to the data date), annual_amount, currency; a deal's rows in
            the order of its way.
        n_set_aside: Deals with a stage that is left before it is entered, or closed without a
            word on how.
        n_day_unknown: Deals that are closed on a day that is not on record.
    """

    spells: pd.DataFrame
    n_set_aside: int
    n_day_unknown: int


def stage_spells(
    opportunities: ir.Table,
    *,
    as_of: date,
    contracts: ir.Table | None = None,
    customers: ir.Table | None = None,
    group: str | None = None,
) -> Deals:
    """Each deal's way through the stages entered by `as_of`.

    Args:
        opportunities: As in `schema.TABLES`; stages left after `as_of` are still open. A deal
            without a customer yet stands for an account of its own.
        contracts: A deal that a contract names is won on the day the contract starts.
        customers: For the group.
        group: Column of `customers` within which deals are taken to be alike.
    """
    last = ibis.date(as_of.isoformat())
    known = opportunities.mutate(
        left_date=optional(opportunities, "left_date", "date"),
        outcome=optional(opportunities, "outcome", "string"),
        annual_amount=optional(opportunities, "annual_amount", "float64"),
        currency=optional(opportunities, "currency", "string"),
        customer_id=optional(opportunities, "customer_id", "string"),
    )
    known = known.mutate(customer_id=known.customer_id.coalesce(known.opportunity_id))
    entered = known.filter(known.entered_date <= last)
    is_later = entered.left_date.notnull() & (entered.left_date > last)
    rows = entered.select(
        "opportunity_id",
        "customer_id",
        "stage_number",
        "currency",
        "annual_amount",
        stage=entered.pipeline_stage,
        entered=entered.entered_date.delta(last, unit="day"),  # days, the data date being zero
        left=ibis.ifelse(is_later, ibis.null("date"), entered.left_date).delta(last, unit="day"),
        outcome=ibis.ifelse(is_later, ibis.null("string"), entered.outcome),
    )
    way = with_group(rows, customers, group).to_pandas()
    way = way.sort_values(["opportunity_id", "entered", "stage_number", "stage"], ignore_index=True)
    signed = _signed(contracts, as_of=as_of)
    return _ways(way, signed)


def _signed(contracts: ir.Table | None, *, as_of: date) -> pd.Series:
    """Opportunity to the first day of the first contract that names it, the data date being 0."""
    if contracts is None or "opportunity_id" not in contracts.columns:
        return pd.Series(dtype=float)
    last = ibis.date(as_of.isoformat())
    named = contracts.filter(contracts.opportunity_id.notnull() & (contracts.start_date <= last))
    began = named.group_by("opportunity_id").agg(day=named.start_date.min())
    frame = began.mutate(day=began.day.delta(last, unit="day")).to_pandas()
    return frame.set_index("opportunity_id")["day"].astype(float)


def _ways(way: pd.DataFrame, signed: pd.Series) -> Deals:
    deal = way["opportunity_id"]
    later = deal.eq(deal.shift(-1))
    is_final = way["outcome"].isin(["won", "lost"])
    left, entered = way["left"].astype(float), way["entered"].astype(float)
    wordless = ~later & left.notna() & way["outcome"].isna() & ~deal.isin(signed.index)
    odd = set(deal[(left < entered) | wordless])
    sign_day = deal.map(signed).astype(float)
    # A deal that was advanced and shows no further stage is won if there is none.
    is_last_stage = way["stage_number"] == way["stage_number"].max()
    is_won = ~later & (
        way["outcome"].eq("won")
        | sign_day.notna()
        | (way["outcome"].eq("advanced") & is_last_stage)
    )
    is_lost = ~later & way["outcome"].eq("lost") & ~is_won
    leads_to = way["stage"].shift(-1).where(later)
    leads_to = leads_to.mask(is_won, WON).mask(is_lost, LOST)
    until = entered.shift(-1).where(later)
    until = until.fillna(left.where(~later)).fillna(sign_day.where(is_won))
    day_unknown = ~later & is_final & until.isna() & ~deal.isin(odd)
    days = (until - entered).clip(lower=0)
    days = days.mask(leads_to.isna() & left.isna(), -entered)
    usual = (
        days.mask(deal.isin(odd)).groupby([way["stage"], leads_to.fillna("")]).transform("median")
    )
    days = days.fillna(usual).fillna(-entered / 2)
    found = way.assign(
        days=np.minimum(days.round(), (-entered).where(days.notna(), 0)).astype(np.int64),
        leads_to=leads_to,
        age_days=-entered.groupby(deal).transform("min").astype(np.int64),
    )
    found = found[~deal.isin(odd)].drop(columns=["entered", "left", "outcome"])
    return Deals(
        spells=found.reset_index(drop=True),
        n_set_aside=len(odd),
        n_day_unknown=int(deal[day_unknown].nunique()),
    )


@dataclass(frozen=True)
class Race:
    """Where deals go from each stage of one group, per replicate (first axis).

    Attributes:
        survival: Per stage: replicates x days.
        steps: Increments of the incidence per stage: replicates x days x (stages and won).
        win: Chance to be won from each stage: replicates x stages.
        factor: The same, discounted by the days it takes.
        days: Mean days until won, times the chance.
        stage_days: Mean days in the stage of those who go on.
        tail: Last day with enough deals at risk, per stage.
        unresolved: Largest share of a stage's entrants whose outcome the data never show.
    """

    survival: list[Floats]
    steps: list[Floats]
    win: Floats
    factor: Floats
    days: Floats
    stage_days: Floats
    tail: list[int]
    unresolved: float


def run_race(
    deals: pd.DataFrame,
    account: Ints,
    weights: Floats,
    stages: list[str],
    daily: float,
    minimum_deals: int,
) -> Race:
    """Competing risks from each stage to every other, to won and to lost (Aalen, Johansen, 1978).

    Chances to be won solve the equations of an absorbing chain, so skipped stages and deals that
    come back are in them.

    Raises:
        TooFew: A stage was entered by fewer than `minimum_deals`.
    """
    ends = [*stages, WON, LOST]
    n = len(stages)
    survivals, steps, tails, unresolved = [], [], [], 0.0
    shape = (len(weights), n, n + 1)
    share, priced, waited = (np.zeros(shape) for _ in range(3))
    for number, stage in enumerate(stages):
        here = (deals["stage"] == stage).to_numpy()
        if here.sum() < minimum_deals:
            raise TooFew(
                f"{here.sum():,} deals of group {deals['group'].iloc[0]} entered stage {stage}; "
                f"it takes {minimum_deals:,}"
            )
        leave = deals.loc[here, "days"].to_numpy(dtype=np.int64)
        codes = {name: place for place, name in enumerate(ends)}
        cause = np.asarray(deals.loc[here, "leads_to"].map(codes).fillna(-1), dtype=np.int64)
        at_risk, ended = weighted_table(
            leave,
            cause,
            account[here],
            weights,
            n_causes=n + 2,
            entry=np.zeros(len(leave), dtype=np.int64),
        )
        survival, incidence = cumulative_incidence(at_risk, ended)
        step = np.diff(incidence[..., : n + 1], axis=1, prepend=0.0)
        day = np.arange(step.shape[1])
        # What the data never resolve is split as what they do; too much of it is refused.
        resolved = np.maximum(incidence[:, -1].sum(axis=1), 1e-12)[:, None]
        unresolved = max(unresolved, 1 - float(resolved[0, 0]))
        share[:, number] = incidence[:, -1, : n + 1] / resolved
        priced[:, number] = np.einsum("rtk,t->rk", step, daily**day) / resolved
        waited[:, number] = np.einsum("rtk,t->rk", step, day.astype(float)) / resolved
        survivals.append(survival)
        steps.append(step)
        tails.append(int(np.flatnonzero(at_risk[0] >= min(_TAIL_AT_RISK, at_risk[0, 0]))[-1]))
    # A hair less than all, so that a replicate in which deals only go round has an answer.
    stay = np.eye(n) - share[..., :n] * (1 - 1e-9)
    win = np.asarray(np.linalg.solve(stay, share[..., n:])[..., 0], dtype=np.float64)
    priced_stay = np.eye(n) - priced[..., :n] * (1 - 1e-9)
    factor = np.asarray(np.linalg.solve(priced_stay, priced[..., n:])[..., 0], dtype=np.float64)
    pending = np.einsum("rij,rj->ri", waited[..., :n], win) + waited[..., n]
    days = np.asarray(np.linalg.solve(stay, pending[..., None])[..., 0], dtype=np.float64)
    going = np.maximum(share.sum(axis=-1), 1e-12)
    return Race(survivals, steps, win, factor, days, waited.sum(axis=-1) / going, tails, unresolved)
