"""What a deal is worth while it is still open: chance to win x time to win x contract value.

Open deals are censored, not missing: leaving them out makes recent entrants look like losers,
because losing is faster than winning. Each stage is a race between advancing and being lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse, stats

from insight_lib.features.competing_risks import (
    DAYS_PER_MONTH,
    cumulative_incidence,
    optional,
    with_group,
)
from insight_lib.findings import Estimate, Measured, TooFew

if TYPE_CHECKING:
    import ibis.expr.types as ir

_OTHER = "other stages"
_TAIL_AT_RISK = 10  # beyond this few, a stage's curve no longer tells old deals from older ones
_METHOD = "competing risks by stage, bootstrap over accounts (Efron, 1981)"

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def stage_spells(
    opportunities: ir.Table,
    *,
    as_of: date,
    customers: ir.Table | None = None,
    group: str | None = None,
) -> pd.DataFrame:
    """One row per opportunity and stage entered by `as_of`.

    Args:
        opportunities: As in `schema.TABLES`; stages left after `as_of` are still open.
        customers: For the group.
        group: Column of `customers` within which deals are taken to be alike.

    Returns:
        opportunity_id, customer_id, group ("all" without one), stage, stage_number, days,
        outcome (1 advanced or won, 0 lost, -1 open), is_won, annual_amount, currency.

    Raises:
        ValueError: A stage is left before it is entered, or left without an outcome.
    """
    last = ibis.date(as_of.isoformat())
    known = opportunities.mutate(
        left_date=optional(opportunities, "left_date", "date"),
        outcome=optional(opportunities, "outcome", "string"),
        annual_amount=optional(opportunities, "annual_amount", "float64"),
        currency=optional(opportunities, "currency", "string"),
    )
    entered = known.filter(known.entered_date <= last)
    has_left = entered.left_date.notnull() & (entered.left_date <= last)
    rows = entered.select(
        "opportunity_id",
        "customer_id",
        "stage_number",
        "currency",
        stage=entered.pipeline_stage,
        days=ibis.ifelse(has_left, entered.left_date, last).delta(entered.entered_date, unit="day"),
        outcome=ibis.cases(
            (~has_left, -1),
            (entered.outcome.isin(["advanced", "won"]), 1),
            (entered.outcome == "lost", 0),
            else_=-2,
        ),
        is_won=has_left & (entered.outcome == "won").fill_null(False),
        annual_amount=entered.annual_amount,
    )
    ordered = with_group(rows, customers, group).order_by(["opportunity_id", "stage_number"])
    found = ordered.to_pandas()
    faults = [
        f"opportunities.{column}: {len(bad)} stages {what}, e.g. of "
        f"{bad['opportunity_id'].iloc[0]}; correct {column}"
        for column, what, bad in (
            ("left_date", "are left before they are entered", found[found["days"] < 0]),
            ("outcome", "are left without an outcome", found[found["outcome"] == -2]),
        )
        if len(bad)
    ]
    if faults:
        raise ValueError("\n".join(faults))
    return found


@dataclass(frozen=True, kw_only=True)
class SalesCycle:
    """Value of a deal from the pipeline's own pace, and of what is open now.

    Attributes:
        stages: stage, n_entered, n_open, win_share of those who enter it, days (mean in the
            stage), lower and upper of the share.
        win_share: Chance that a new opportunity is won.
        days_to_win: Mean days from entry to signature, of those won.
        months: Mean discounted months in force within the horizon, over groups as deals come.
        deal_value: Discounted value of a new opportunity.
        pipeline_value: The same for all open deals together, given their stage, age and amount.
        pipeline: stage, n_open, annual_amount, win_share, value, lower, upper; stages with
            fewer open deals than the minimum are pooled.
        naive_win_share: Won of the deals that are closed - what counting closed deals says.
        horizon_months, annual_discount_rate: What the value covers, and how time is priced.
        unresolved_share: Largest share of a stage's entrants whose outcome the data never show.
        n_without_amount: Deals that state no amount; they count with their group's mean.
    """

    stages: pd.DataFrame
    win_share: Estimate
    days_to_win: Estimate
    months: Estimate
    deal_value: Estimate
    pipeline_value: Estimate
    pipeline: pd.DataFrame
    naive_win_share: Measured
    horizon_months: int
    annual_discount_rate: float
    unresolved_share: float
    n_without_amount: int


@dataclass(frozen=True)
class _Race:
    """Advancing and losing in each stage of one group, per replicate (first axis)."""

    survival: list[Floats]  # per stage: replicates x days
    advanced: list[Floats]  # increments of the incidence, per stage: replicates x days
    share: Floats  # replicates x stages: chance to advance
    factor: Floats  # the same, each discounted by the days it takes
    days: Floats  # mean days in stage of those who advance
    tail: list[int]  # last day with enough deals at risk, per stage
    unresolved: float


def estimate_sales_cycle(
    deals: pd.DataFrame,
    spells: pd.DataFrame,
    *,
    as_of: date,
    currency: str,
    horizon_months: int,
    annual_discount_rate: float,
    minimum_deals: int,
    minimum_cell_size: int,
    seed: int,
    n_replicates: int = 300,
    level: float = 0.95,
) -> SalesCycle:
    """Value open and new deals from stage conversion, time and contract survival.

    Within a group, stages are taken to be independent and amounts unrelated to outcome.
    Contract value counts the first `horizon_months` of a contract and nothing beyond.

    Args:
        deals: As from `stage_spells`.
        spells: As from `competing_risks.contract_spells`, with the same groups.
        currency: Of every amount.
        horizon_months: Months of a contract that count; no longer than contracts were watched.
        annual_discount_rate: E.g. 0.1 for ten per cent a year.
        minimum_deals: Fewest deals in a stage, and contracts at risk at the horizon, per group.
        minimum_cell_size: Fewest open deals of a published row.
        seed: Of the bootstrap.

    Raises:
        TooFew: A group has too few deals in a stage or contracts at the horizon, or no amounts.
        ValueError: Deals are in another currency.
    """
    if found := set(deals["currency"].dropna()) - {currency}:
        raise ValueError(f"opportunities.currency: {sorted(found)}, not {currency}; convert first")
    has_amount = deals["annual_amount"].notna()
    mean_amount = deals.groupby("group")["annual_amount"].transform("mean")
    deals = deals.assign(annual_amount=deals["annual_amount"].fillna(mean_amount))
    if deals["annual_amount"].isna().any():
        raise TooFew("a group has no deal with an amount")
    account, names = pd.factorize(deals["customer_id"])
    known = pd.Index(names).get_indexer(spells["customer_id"])
    missing = known < 0  # contracts of accounts without a deal in the data
    known[missing] = len(names) + np.arange(missing.sum())
    rng = np.random.default_rng(seed)
    weights = rng.poisson(1.0, (n_replicates, len(names) + int(missing.sum()))).astype(float)
    weights = np.concatenate([np.ones((1, weights.shape[1])), weights])
    daily = (1 + annual_discount_rate) ** (-1 / 365.25)
    groups = sorted(deals["group"].unique())
    stages = _stage_names(deals)
    first = deals["stage_number"] == deals["stage_number"].min()
    realised = _price_realisation(deals, spells, known, weights)
    # A replicate without any deal is nothing to divide by; it falls out of the interval.
    total = np.maximum(weights[:, account[first]].sum(axis=1), 1e-12)
    sums = {name: np.zeros(len(weights)) for name in ("win", "days", "months", "value")}
    shares, entered_days, open_parts, unresolved = [], [], [], 0.0
    for group in groups:
        mine = (deals["group"] == group).to_numpy()
        race = _race(deals[mine], account[mine], weights, stages, daily, minimum_deals)
        own = (spells["group"] == group).to_numpy()
        months = _months(spells[own], known[own], weights, horizon_months, daily, minimum_deals)
        unresolved = max(unresolved, race.unresolved)
        new = mine & first.to_numpy()
        part = weights[:, account[new]].sum(axis=1)
        amount = deals.loc[new, "annual_amount"].to_numpy()
        money = weights[:, account[new]] @ amount / 12 * realised
        won = race.share.prod(axis=1)
        sums["win"] += part * won
        sums["days"] += part * won * race.days.sum(axis=1)
        sums["months"] += part * months
        sums["value"] += money * race.factor.prod(axis=1) * months
        shares.append(part[:, None] * np.cumprod(race.share[:, ::-1], axis=1)[:, ::-1])
        entered_days.append(part[:, None] * race.days)
        open_parts.append(_open_values(deals[mine], race, stages, daily, months * realised))
    n = int(first.sum())

    def estimate(values: Floats, unit: str, *, count: int = n) -> Estimate:
        low, high = _interval(values, unit, level)
        return Estimate(
            value=float(values[0]),
            lower=low,
            upper=high,
            unit=unit,
            n=count,
            as_of=as_of,
            level=level,
            method=_METHOD,
        )

    by_stage = sum(shares) / total[:, None]
    opened = pd.concat([part[0] for part in open_parts], ignore_index=True)
    values = np.concatenate([part[1] for part in open_parts], axis=1)
    closed = deals[~deals["opportunity_id"].isin(opened["opportunity_id"])]
    n_closed = closed["opportunity_id"].nunique()
    return SalesCycle(
        stages=_stage_table(deals, stages, by_stage, sum(entered_days)[0] / total[0], level),
        win_share=estimate(sums["win"] / total, "share"),
        days_to_win=estimate(sums["days"] / np.maximum(sums["win"], 1e-12), "days"),
        months=estimate(sums["months"] / total, "months"),
        deal_value=estimate(sums["value"] / total, currency),
        pipeline_value=estimate(values.sum(axis=1), currency, count=len(opened)),
        pipeline=_pipeline_table(opened, values, minimum_cell_size, level),
        naive_win_share=Measured(
            value=float(closed["is_won"].sum() / max(n_closed, 1)),
            unit="share",
            n=n_closed,
            as_of=as_of,
        ),
        horizon_months=horizon_months,
        annual_discount_rate=annual_discount_rate,
        unresolved_share=unresolved,
        n_without_amount=int(deals.loc[~has_amount, "opportunity_id"].nunique()),
    )


def _stage_names(deals: pd.DataFrame) -> list[str]:
    order = deals.drop_duplicates("stage").sort_values(["stage_number", "stage"])
    return [str(name) for name in order["stage"]]


def _interval(values: Floats, unit: str, level: float) -> tuple[float, float]:
    """Estimate first, replicates after: normal on the scale on which the number is free."""
    z = float(stats.norm.ppf(0.5 + level / 2))
    if values[0] <= 0 or (unit == "share" and values[0] >= 1):
        return float(values.min()), float(values.max())
    kept = values[values > 0]
    if unit == "share":
        kept = kept[kept < 1]
        scale = np.log(kept / (1 - kept))
        middle = np.log(values[0] / (1 - values[0]))
        bounds = 1 / (1 + np.exp(-(middle + z * scale[1:].std(ddof=1) * np.array([-1, 1]))))
    else:
        bounds = values[0] * np.exp(z * np.log(kept)[1:].std(ddof=1) * np.array([-1, 1]))
    return float(bounds[0]), float(bounds[1])


def _weighted_table(
    leave: Ints, cause: Ints, account: Ints, weights: Floats, *, n_causes: int, entry: Ints
) -> tuple[Floats, Floats]:
    """Life tables of every replicate: at risk (replicates x days), ended (x causes)."""
    size = int(leave.max()) + 1
    n = weights.shape[1]

    def counts(at: Ints, rows: Ints) -> Floats:
        one = np.ones(len(rows))
        by_day = sparse.csr_array((one, (account[rows], at[rows])), shape=(n, size))
        return weights @ by_day

    every = np.arange(len(leave))
    gone = np.cumsum(counts(leave, every), axis=1)
    gone = np.concatenate([np.zeros((len(weights), 1)), gone[:, :-1]], axis=1)
    at_risk = np.cumsum(counts(entry, every), axis=1) - gone
    ended = [counts(leave, np.flatnonzero(cause == k)) for k in range(n_causes)]
    return at_risk, np.stack(ended, axis=-1)


def _race(
    deals: pd.DataFrame,
    account: Ints,
    weights: Floats,
    stages: list[str],
    daily: float,
    minimum_deals: int,
) -> _Race:
    survivals, steps, tails, columns, unresolved = [], [], [], [], 0.0
    for stage in stages:
        here = (deals["stage"] == stage).to_numpy()
        if here.sum() < minimum_deals:
            group = deals["group"].iloc[0]
            raise TooFew(
                f"{here.sum():,} deals of group {group} entered stage {stage}; "
                f"it takes {minimum_deals:,}"
            )
        leave = deals.loc[here, "days"].to_numpy(dtype=np.int64)
        cause = deals.loc[here, "outcome"].to_numpy(dtype=np.int64)
        at_risk, ended = _weighted_table(
            leave, cause, account[here], weights, n_causes=2, entry=np.zeros_like(leave)
        )
        survival, incidence = cumulative_incidence(at_risk, ended)
        advanced = np.diff(incidence[..., 1], axis=1, prepend=0.0)
        day = np.arange(advanced.shape[1])
        # What the data never resolve is split as what they do.
        resolved = np.maximum(incidence[:, -1].sum(axis=1), 1e-12)
        unresolved = max(unresolved, 1 - float(resolved[0]))
        share = incidence[:, -1, 1] / resolved
        factor = advanced @ daily**day / resolved
        days = advanced @ day / np.maximum(incidence[:, -1, 1], 1e-12)
        columns.append((share, factor, days))
        survivals.append(survival)
        steps.append(advanced)
        tails.append(int(np.flatnonzero(at_risk[0] >= min(_TAIL_AT_RISK, at_risk[0, 0]))[-1]))
    share, factor, days = (np.stack(c, axis=1) for c in zip(*columns, strict=True))
    return _Race(survivals, steps, share, factor, days, tails, unresolved)


def _months(
    spells: pd.DataFrame,
    account: Ints,
    weights: Floats,
    horizon_months: int,
    daily: float,
    minimum_contracts: int,
) -> Floats:
    """Mean months in force within the horizon, each discounted to the start: per replicate."""
    entry, leave = (spells[c].to_numpy(dtype=np.int64) for c in ("entry_days", "exit_days"))
    last = round(horizon_months * DAYS_PER_MONTH)
    watched = int(((leave >= last - 1) & (entry < last)).sum())
    if watched < minimum_contracts:
        raise TooFew(
            f"{watched:,} contracts were watched through month {horizon_months}; "
            f"it takes {minimum_contracts:,}: shorten the horizon"
        )
    cause = np.where(spells["cause"].notna(), 0, -1).astype(np.int64)
    at_risk, ended = _weighted_table(leave, cause, account, weights, n_causes=1, entry=entry)
    survival, _ = cumulative_incidence(at_risk, ended)
    return survival[:, :last] @ daily ** (np.arange(last) + 0.5) / DAYS_PER_MONTH


def _price_realisation(
    deals: pd.DataFrame, spells: pd.DataFrame, known: Ints, weights: Floats
) -> Floats:
    """What a year of a signed contract brings against the amount expected when it was won."""
    won = deals["is_won"].to_numpy()
    quoted = pd.Series(deals.loc[won, "annual_amount"].to_numpy(), deals["opportunity_id"][won])
    expected = spells["opportunity_id"].map(quoted[~quoted.index.duplicated()])
    is_linked = expected.notna().to_numpy()
    if not is_linked.any():
        return np.ones(len(weights))
    mine = weights[:, known[is_linked]]
    signed = mine @ (12 * spells["monthly_amount"].to_numpy()[is_linked])
    return signed / np.maximum(mine @ expected.to_numpy(dtype=float)[is_linked], 1e-12)


def _open_values(
    deals: pd.DataFrame, race: _Race, stages: list[str], daily: float, months: Floats
) -> tuple[pd.DataFrame, Floats]:
    """Open deals with their chance to win, and their value per replicate (x deals)."""
    opened = deals[deals["outcome"] == -1].reset_index(drop=True)
    values = np.zeros((len(months), len(opened)))
    win = np.zeros(len(opened))
    for number, stage in enumerate(stages):
        rows = np.flatnonzero(opened["stage"] == stage)
        age = np.minimum(opened["days"].to_numpy()[rows], race.tail[number])
        advanced, survival = race.advanced[number], race.survival[number]
        day = np.arange(advanced.shape[1])
        # Sums over the days after the age reached: total less what came up to it.
        later = advanced.sum(axis=1, keepdims=True) - np.cumsum(advanced, axis=1)
        priced = advanced * daily**day
        later_priced = priced.sum(axis=1, keepdims=True) - np.cumsum(priced, axis=1)
        left = np.maximum(survival - survival[:, -1:], 1e-12)[:, age]
        share = np.clip(later[:, age] / left, 0, 1)
        factor = np.clip(later_priced[:, age] / daily**age / left, 0, 1)
        onward = race.factor[:, number + 1 :].prod(axis=1)
        amount = opened["annual_amount"].to_numpy()[rows] / 12
        values[:, rows] = factor * (onward * months)[:, None] * amount
        win[rows] = share[0] * race.share[0, number + 1 :].prod()
    return opened.assign(win_share=win), values


def _stage_table(
    deals: pd.DataFrame, stages: list[str], by_stage: Floats, days: Floats, level: float
) -> pd.DataFrame:
    bounds = [_interval(by_stage[:, i], "share", level) for i in range(len(stages))]
    counts = deals.groupby("stage")["outcome"].agg(n_entered="size", n_open=lambda o: (o < 0).sum())
    return pd.DataFrame(
        {
            "stage": stages,
            "n_entered": counts.loc[stages, "n_entered"].to_numpy(),
            "n_open": counts.loc[stages, "n_open"].to_numpy(),
            "win_share": by_stage[0],
            "lower": [low for low, _ in bounds],
            "upper": [high for _, high in bounds],
            "days": days,
        }
    )


def _pipeline_table(
    opened: pd.DataFrame, values: Floats, minimum_cell_size: int, level: float
) -> pd.DataFrame:
    """Open deals by stage; stages with too few are pooled, with the next smallest if need be."""
    counts = opened.groupby("stage").size().sort_values(kind="stable")
    pooled = set(counts.index[counts < minimum_cell_size])
    while pooled and counts[list(pooled)].sum() < minimum_cell_size and len(pooled) < len(counts):
        pooled.add(counts.index[len(pooled)])
    label = opened["stage"].where(~opened["stage"].isin(pooled), _OTHER)
    order = opened.assign(label=label).groupby("label")["stage_number"].min().sort_values()
    rows = []
    for name in order.index:
        here = (label == name).to_numpy()
        if here.sum() < minimum_cell_size:
            continue
        total = values[:, here].sum(axis=1)
        amounts = opened.loc[here, "annual_amount"]
        win = float(np.average(opened.loc[here, "win_share"]))
        low, high = _interval(total, "", level)
        row = (name, int(here.sum()), float(amounts.sum()), win, float(total[0]), low, high)
        rows.append(row)
    columns = ["stage", "n_open", "annual_amount", "win_share", "value", "lower", "upper"]
    return pd.DataFrame(rows, columns=columns)
