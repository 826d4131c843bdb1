"""What a deal is worth while it is still open: chance to win x time to win x contract value.

Open deals are censored, not missing: leaving them out makes recent entrants look like losers,
because losing is faster than winning. Each stage is a race between advancing and being lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from insight_lib.features.competing_risks import (
    DAYS_PER_MONTH,
    cumulative_incidence,
    weighted_table,
)
from insight_lib.features.pipeline_paths import LOST, WON, Race, run_race
from insight_lib.findings import Estimate, Measured, TooFew
from insight_lib.statistics import estimate_share

_OTHER = "other stages"
_MOST_UNRESOLVED = 0.2  # of a stage's entrants; beyond it, a value would be a guess
_FEWEST_OLD = 30
_METHOD = "competing risks by stage, bootstrap over accounts (Efron, 1981)"

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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
        old_win_share: Won of the deals so old that nearly all of their like are closed: a count
            that no model is in. None where there are too few.
        pooled_groups: Groups with too few deals or contracts, taken as one.
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
    old_win_share: Estimate | None
    pooled_groups: tuple[str, ...]
    horizon_months: int
    annual_discount_rate: float
    unresolved_share: float
    n_without_amount: int


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
        deals: `Deals.spells`, as from `pipeline_paths.stage_spells`.
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
    if not (deals["leads_to"] == WON).any():
        raise TooFew("no deal is marked as won, and no contract names the deal that it came from")
    stages = _stage_names(deals)
    deals, spells, pooled = _with_small_groups_pooled(
        deals, spells, stages, minimum=minimum_deals, horizon_months=horizon_months
    )
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
    first = ~deals["opportunity_id"].duplicated()
    realised = _price_realisation(deals, spells, known, weights)
    # A replicate without any deal is nothing to divide by; it falls out of the interval.
    total = np.maximum(weights[:, account[first]].sum(axis=1), 1e-12)
    sums = {name: np.zeros(len(weights)) for name in ("win", "days", "months", "value")}
    shares, entered_days, open_parts, unresolved = [], [], [], 0.0
    for group in sorted(deals["group"].unique()):
        mine = (deals["group"] == group).to_numpy()
        race = run_race(deals[mine], account[mine], weights, stages, daily, minimum_deals)
        own = (spells["group"] == group).to_numpy()
        months = _months(spells[own], known[own], weights, horizon_months, daily, minimum_deals)
        unresolved = max(unresolved, race.unresolved)
        part = weights[:, account[mine & first.to_numpy()]].sum(axis=1)
        for number, stage in enumerate(stages):  # where deals come in
            new = mine & first.to_numpy() & (deals["stage"] == stage).to_numpy()
            here = weights[:, account[new]]
            came = here.sum(axis=1)
            money = here @ deals.loc[new, "annual_amount"].to_numpy() / 12 * realised
            sums["win"] += came * race.win[:, number]
            sums["days"] += came * race.days[:, number]
            sums["value"] += money * race.factor[:, number] * months
        sums["months"] += part * months
        shares.append(part[:, None] * race.win)
        entered_days.append(part[:, None] * race.stage_days)
        open_parts.append(_open_values(deals[mine], race, stages, daily, months * realised))
    if unresolved > _MOST_UNRESOLVED:
        won, n_deals = (deals["leads_to"] == WON).sum(), int(first.sum())
        still = n_deals - int(deals["leads_to"].isin([WON, LOST]).sum())
        raise TooFew(
            f"most deals stay open past the end of the data: surely won are {won:,} of "
            f"{n_deals:,}, at most {won + still:,}"
        )
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
    closed = deals[deals["leads_to"].isin([WON, LOST])]
    n_closed = len(closed)
    return SalesCycle(
        stages=_stage_table(deals, stages, by_stage, sum(entered_days)[0] / total[0], level),
        win_share=estimate(sums["win"] / total, "share"),
        days_to_win=estimate(sums["days"] / np.maximum(sums["win"], 1e-12), "days"),
        months=estimate(sums["months"] / total, "months"),
        deal_value=estimate(sums["value"] / total, currency),
        pipeline_value=estimate(values.sum(axis=1), currency, count=len(opened)),
        pipeline=_pipeline_table(opened, values, minimum_cell_size, level),
        naive_win_share=Measured(
            value=float((closed["leads_to"] == WON).sum() / max(n_closed, 1)),
            unit="share",
            n=n_closed,
            as_of=as_of,
        ),
        horizon_months=horizon_months,
        annual_discount_rate=annual_discount_rate,
        old_win_share=_old_cohort(deals, as_of=as_of, level=level),
        pooled_groups=pooled,
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
    at_risk, ended = weighted_table(leave, cause, account, weights, n_causes=1, entry=entry)
    survival, _ = cumulative_incidence(at_risk, ended)
    return survival[:, :last] @ daily ** (np.arange(last) + 0.5) / DAYS_PER_MONTH


def _price_realisation(
    deals: pd.DataFrame, spells: pd.DataFrame, known: Ints, weights: Floats
) -> Floats:
    """What a year of a signed contract brings against the amount expected when it was won."""
    won = (deals["leads_to"] == WON).to_numpy()
    quoted = pd.Series(deals.loc[won, "annual_amount"].to_numpy(), deals["opportunity_id"][won])
    expected = spells["opportunity_id"].map(quoted[~quoted.index.duplicated()])
    is_linked = expected.notna().to_numpy()
    if not is_linked.any():
        return np.ones(len(weights))
    mine = weights[:, known[is_linked]]
    signed = mine @ (12 * spells["monthly_amount"].to_numpy()[is_linked])
    return signed / np.maximum(mine @ expected.to_numpy(dtype=float)[is_linked], 1e-12)


def _open_values(
    deals: pd.DataFrame, race: Race, stages: list[str], daily: float, months: Floats
) -> tuple[pd.DataFrame, Floats]:
    """Open deals with their chance to win, and their value per replicate (x deals)."""
    opened = deals[deals["leads_to"].isna()].reset_index(drop=True)
    values = np.zeros((len(months), len(opened)))
    win = np.zeros(len(opened))
    onward = np.concatenate([race.factor, np.ones((len(months), 1))], axis=1)
    winning = np.append(race.win[0], 1.0)
    for number, stage in enumerate(stages):
        rows = np.flatnonzero(opened["stage"] == stage)
        if not len(rows):
            continue
        age = np.minimum(opened["days"].to_numpy()[rows], race.tail[number])
        step, survival = race.steps[number], race.survival[number]
        day = np.arange(step.shape[1])
        amount = opened["annual_amount"].to_numpy()[rows] / 12
        left = np.maximum(survival - survival[:, -1:], 1e-12)[:, age]
        # Sums over the days after the age reached: total less what came up to it.
        worth = _after(np.einsum("rtk,rk->rt", step * (daily**day)[:, None], onward))
        chance = _after(step[:1] @ winning)
        factor = np.clip(worth[:, age] / daily**age / left, 0, 1)
        values[:, rows] = factor * months[:, None] * amount
        win[rows] = np.clip(chance[0, age] / left[0], 0, 1)
    return opened.assign(win_share=win), values


def _after(steps: Floats) -> Floats:
    found: Floats = steps.sum(axis=1, keepdims=True) - np.cumsum(steps, axis=1)
    return found


def _with_small_groups_pooled(
    deals: pd.DataFrame,
    spells: pd.DataFrame,
    stages: list[str],
    *,
    minimum: int,
    horizon_months: int,
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """Groups that are too small to stand alone, taken as one with the next smallest if need be."""
    last = round(horizon_months * DAYS_PER_MONTH)
    watched = spells[(spells["exit_days"] >= last - 1) & (spells["entry_days"] < last)]

    def size(names: set[str]) -> int:
        mine = deals[deals["group"].isin(names)]
        by_stage = mine.groupby("stage").size().reindex(stages, fill_value=0)
        return min(int(by_stage.min()), int(watched["group"].isin(names).sum()))

    groups = sorted(deals["group"].unique(), key=lambda name: (size({name}), str(name)))
    small = {name for name in groups if size({name}) < minimum}
    if not small or len(groups) == 1:
        return deals, spells, ()
    for name in groups:
        if size(small) >= minimum:
            break
        small.add(name)
    label = "all" if len(small) == len(groups) else " and ".join(sorted(map(str, small)))
    deals = deals.assign(group=deals["group"].where(~deals["group"].isin(small), label))
    is_small = spells["group"].isin(small) if label != "all" else np.ones(len(spells), dtype=bool)
    spells = spells.assign(group=spells["group"].where(~is_small, label))
    return deals, spells, tuple(sorted(map(str, small)))


def _old_cohort(deals: pd.DataFrame, *, as_of: date, level: float) -> Estimate | None:
    """Won of the deals that began so long ago that nine in ten of the closed took less."""
    if "age_days" not in deals:
        return None
    by_deal = deals.groupby("opportunity_id").agg(
        days=("days", "sum"), age=("age_days", "first"), end=("leads_to", "last")
    )
    closed = by_deal[by_deal["end"].isin([WON, LOST])]
    if closed.empty:
        return None
    old = by_deal[by_deal["age"] >= np.quantile(closed["days"], 0.98)]
    if len(old) < _FEWEST_OLD:
        return None
    return estimate_share(int((old["end"] == WON).sum()), len(old), as_of=as_of, level=level)


def _stage_table(
    deals: pd.DataFrame, stages: list[str], by_stage: Floats, days: Floats, level: float
) -> pd.DataFrame:
    bounds = [_interval(by_stage[:, i], "share", level) for i in range(len(stages))]
    is_open = deals["leads_to"].isna()
    counts = is_open.groupby(deals["stage"]).agg(n_entered="size", n_open="sum")
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
