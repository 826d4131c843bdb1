"""How contracts end: voluntary, not renewed, not paid - as risks that compete for each contract.

Counting one way of ending while treating the others as "lost to follow-up" overstates each
of them. The Aalen-Johansen estimator gives shares that add up: ended by each cause, and
still in force.
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

from insight_lib.findings import Estimate, Measured, TooFew
from insight_lib.market_view import optional
from insight_lib.statistics import estimate_share

if TYPE_CHECKING:
    import ibis.expr.types as ir

DAYS_PER_MONTH = 365.25 / 12
UNKNOWN_CAUSE = "unknown"
_METHOD = "Aalen-Johansen (1978), accounts as independent units"
_RECENT_DUE_DAYS = 62  # two monthly payments

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def with_group(rows: ir.Table, customers: ir.Table | None, group: str | None) -> ir.Table:
    """`rows` with the column of `customers` called `group`; "all" where there is none."""
    if customers is None or group is None or group not in customers.columns:
        return rows.mutate(group=ibis.literal("all"))
    named = customers.select("customer_id", group=customers[group])
    joined = rows.left_join(named, "customer_id").drop("customer_id_right")
    return joined.mutate(group=joined.group.coalesce("unknown"))


def contract_spells(
    contracts: ir.Table,
    *,
    as_of: date,
    observed_from: date | None = None,
    customers: ir.Table | None = None,
    group: str | None = None,
) -> pd.DataFrame:
    """One row per contract: from which to which day of its life it was watched, and how it ended.

    Args:
        contracts: As in `schema.TABLES`.
        as_of: Last complete day; contracts in force then are watched up to it.
        observed_from: First day from which every end is recorded. An older contract is watched
            from then on (delayed entry); one that ended before is left out.
        customers: For the group.
        group: Column of `customers` to group by, if it is there.

    Returns:
        contract_id, customer_id, opportunity_id, group ("all" without one), entry_days,
        exit_days (days since the start), age_days (start to `as_of`), cause (missing while in
        force, "unknown" if ended without a reason), monthly_amount, seats; ordered by
        contract_id.

    Raises:
        ValueError: A contract ends before it starts.
    """
    last = ibis.date(as_of.isoformat())
    first = ibis.date((observed_from or date(1, 1, 1)).isoformat())
    known = contracts.mutate(
        end_date=optional(contracts, "end_date", "date"),
        end_reason=optional(contracts, "end_reason", "string"),
        opportunity_id=optional(contracts, "opportunity_id", "string"),
        seats=optional(contracts, "seats", "int64"),
    )
    chosen = known.filter(
        known.start_date <= last, known.end_date.isnull() | (known.end_date >= first)
    )
    is_over = chosen.end_date.notnull() & (chosen.end_date <= last)
    watched_to = ibis.ifelse(is_over, chosen.end_date, last)
    rows = chosen.select(
        "contract_id",
        "customer_id",
        "opportunity_id",
        entry_days=ibis.greatest(first.delta(chosen.start_date, unit="day"), 0),
        exit_days=watched_to.delta(chosen.start_date, unit="day"),
        age_days=last.delta(chosen.start_date, unit="day"),
        cause=ibis.ifelse(is_over, chosen.end_reason.coalesce(UNKNOWN_CAUSE), ibis.null("string")),
        monthly_amount=chosen.monthly_amount.cast("float64"),
        seats=chosen.seats,
    )
    spells = with_group(rows, customers, group).order_by("contract_id").to_pandas()
    if len(bad := spells[spells["exit_days"] < 0]):
        raise ValueError(
            f"contracts.end_date: {len(bad)} contracts end before they start, "
            f"e.g. {bad['contract_id'].iloc[0]}; correct end_date or start_date"
        )
    return spells


def life_table(entry: Ints, leave: Ints, cause: Ints, *, n_causes: int) -> tuple[Floats, Floats]:
    """Numbers at risk and ends by cause for every day of life.

    Args:
        entry: First day of life watched, one per subject.
        leave: Last day of life watched.
        cause: Number of the cause that ended it on `leave`, -1 if none did.

    Returns:
        At risk (days), and ended (days x causes).
    """
    size = int(leave.max(initial=0)) + 1
    came = np.cumsum(np.bincount(entry, minlength=size))
    gone = np.cumsum(np.bincount(leave, minlength=size))
    at_risk = came - np.concatenate([[0], gone[:-1]])
    ended = [np.bincount(leave[cause == k], minlength=size) for k in range(n_causes)]
    return at_risk.astype(float), np.stack(ended, axis=1).astype(float)


def cumulative_incidence(at_risk: Floats, ended: Floats) -> tuple[Floats, Floats]:
    """Share in force after each day, and share ended by each cause up to it.

    Aalen and Johansen (1978). Leading axes are allowed, e.g. replicates.

    Args:
        at_risk: Days on the last axis.
        ended: Days and causes on the last two.
    """
    hazard = np.divide(ended, at_risk[..., None], out=np.zeros_like(ended), where=ended > 0)
    survival = np.cumprod(1 - hazard.sum(axis=-1), axis=-1)
    before = np.concatenate([np.ones_like(survival[..., :1]), survival[..., :-1]], axis=-1)
    return survival, np.cumsum(before[..., None] * hazard, axis=-2)


def weighted_table(
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


def _influence(
    entry: Ints, leave: Ints, cause: Ints, at_risk: Floats, ended: Floats, days: Ints
) -> Floats:
    """What each subject adds to the error of each cumulative incidence: subjects x days x causes.

    First-order expansion of the Aalen-Johansen estimator in the cause-specific hazards
    (Andersen, Borgan, Gill and Keiding, 1993, IV.4).
    """
    survival, incidence = cumulative_incidence(at_risk, ended)
    before = np.concatenate([[1.0], survival[:-1]])
    hazard = np.divide(ended, at_risk[:, None], out=np.zeros_like(ended), where=ended > 0)
    total = hazard.sum(axis=1)
    own = np.divide(before, at_risk, out=np.zeros_like(before), where=at_risk > 0)
    rest = at_risk * (1 - total)
    share = np.divide(1.0, rest, out=np.zeros_like(rest), where=rest > 0)

    def summed(values: Floats) -> Floats:
        return np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])

    sum_own = summed(own[:, None] * hazard)
    sum_share = summed(share * total)
    sum_both = summed((share * total)[:, None] * incidence)
    found = np.empty((len(entry), len(days), ended.shape[1]))
    for i, day in enumerate(days):
        stop = np.maximum(np.minimum(leave, day), entry - 1) + 1
        has_ended = (cause >= 0) & (leave <= day)
        is_cause = has_ended[:, None] & (cause[:, None] == np.arange(ended.shape[1]))
        direct = is_cause * own[leave][:, None] - (sum_own[stop] - sum_own[entry])
        at_day = incidence[day]
        through = (has_ended * share[leave])[:, None] * (at_day - incidence[leave])
        through -= at_day * (sum_share[stop] - sum_share[entry])[:, None]
        through += sum_both[stop] - sum_both[entry]
        found[:, i] = direct - through
    return found


def _by_account(influence: Floats, account: pd.Series) -> Floats:
    """Influences added up within accounts, scaled for a mean taken out."""
    code, names = pd.factorize(account)
    flat = influence.reshape(len(influence), -1)
    added = np.zeros((len(names), flat.shape[1]))
    np.add.at(added, code, flat)
    scale = np.sqrt(len(names) / max(len(names) - 1, 1))
    return scale * added.reshape(len(names), *influence.shape[1:])


def _bounds(share: float, error: float, n: int, level: float) -> tuple[float, float]:
    """Interval on the log(-log) scale (Choudhury, 2002), exact where nothing or all was seen."""
    tail = (1 - level) / 2
    if share <= 0 or error <= 0:
        return (0.0, 1 - tail ** (1 / max(n, 1))) if share <= 0 else (share, share)
    if share >= 1:
        return float(tail ** (1 / max(n, 1))), 1.0
    half = stats.norm.ppf(1 - tail) * error / (share * abs(np.log(share)))
    return float(share ** np.exp(half)), float(share ** np.exp(-half))


@dataclass(frozen=True, kw_only=True)
class ChurnCauses:
    """Contracts ended by each cause, with what is still in force.

    Attributes:
        curve: month, cause, share, lower, upper, at_risk - ended by then; months with fewer at
            risk than the minimum are left out.
        hazards: tenure, cause, n_contracts (in force in that year of life), n_ended,
            exposure_months, hazard_per_month, lower, upper.
        incidence: Cause and share of contracts it has ended by the horizon, largest first.
        in_force: Share of contracts in force at the horizon.
        lead: How many more contracts the first cause ends than the second, as a share. Missing
            with one cause.
        horizon_months: Months of life the shares speak of.
        asked_months: Months that were asked for; more, where too few were watched so long.
        n_contracts, n_ended: Contracts watched, and of them ended.
    """

    curve: pd.DataFrame
    hazards: pd.DataFrame
    incidence: tuple[tuple[str, Estimate], ...]
    in_force: Estimate
    lead: Estimate | None
    horizon_months: int
    asked_months: int
    n_contracts: int
    n_ended: int


def estimate_churn_causes(
    spells: pd.DataFrame,
    *,
    as_of: date,
    horizon_months: int,
    minimum_at_risk: int,
    level: float = 0.95,
) -> ChurnCauses:
    """Estimate by which cause contracts end, when, and which cause leads.

    Args:
        spells: As from `contract_spells`; other groups filtered out by the caller.
        horizon_months: Months of life to look ahead; fewer if no longer enough are at risk.
        minimum_at_risk: Fewest contracts at risk for a month to count.

    Raises:
        TooFew: Nothing has ended, or not enough contracts are at risk for one month.
    """
    entry, leave = (spells[c].to_numpy(dtype=np.int64) for c in ("entry_days", "exit_days"))
    causes = tuple(sorted(spells["cause"].dropna().unique()))
    if not causes:
        raise TooFew(f"none of {len(spells):,} contracts has ended")
    code = pd.Categorical(spells["cause"], categories=causes).codes.astype(np.int64)
    at_risk, ended = life_table(entry, leave, code, n_causes=len(causes))
    months = np.arange(1, horizon_months + 1)
    day = np.floor(months * DAYS_PER_MONTH).astype(np.int64)
    lowest = np.minimum.accumulate(at_risk)
    enough = lowest[np.minimum(day, len(at_risk) - 1)] >= minimum_at_risk
    enough &= day < len(at_risk)
    if not enough.any():
        raise TooFew(
            f"{int(lowest[min(int(day[0]), len(lowest) - 1)]):,} contracts watched from their "
            f"start through one month; it takes {minimum_at_risk:,}"
        )
    months, day = months[enough], day[enough]
    survival, incidence = cumulative_incidence(at_risk, ended)
    influence = _by_account(
        _influence(entry, leave, code, at_risk, ended, day), spells["customer_id"]
    )
    error = np.sqrt(np.square(influence).sum(axis=0))
    n = len(spells)

    def estimate(value: float, bounds: tuple[float, float], unit: str = "share") -> Estimate:
        return Estimate(
            value=value,
            lower=bounds[0],
            upper=bounds[1],
            unit=unit,
            n=n,
            as_of=as_of,
            level=level,
            method=_METHOD,
        )

    rows = [
        (int(month), cause, share, *_bounds(share, error[i, k], int(at_risk[at]), level), int(risk))
        for i, (month, at) in enumerate(zip(months, day, strict=True))
        for risk in [at_risk[at]]
        for k, cause in enumerate(causes)
        for share in [float(incidence[at, k])]
    ]
    curve = pd.DataFrame(rows, columns=["month", "cause", "share", "lower", "upper", "at_risk"])
    end = int(day[-1])
    order = sorted(range(len(causes)), key=lambda k: (-incidence[end, k], causes[k]))
    by_cause = tuple(
        (
            causes[k],
            estimate(
                float(incidence[end, k]),
                _bounds(float(incidence[end, k]), error[-1, k], int(at_risk[end]), level),
            ),
        )
        for k in order
    )
    gone = float(incidence[end].sum())
    gone_error = float(np.sqrt(np.square(influence[:, -1].sum(axis=1)).sum()))
    low, high = _bounds(gone, gone_error, int(at_risk[end]), level)
    lead = None
    if len(causes) > 1:
        first, second = order[:2]
        apart = float(incidence[end, first] - incidence[end, second])
        difference = influence[:, -1, first] - influence[:, -1, second]
        # The first of several has to beat each of the others, so picking it raises no more
        # false alarms than comparing the two would.
        half = stats.norm.ppf(0.5 + level / 2) * np.sqrt(np.square(difference).sum())
        lead = estimate(
            apart,
            (max(apart - float(half), -1.0), min(apart + float(half), 1.0)),
            "difference",
        )
    return ChurnCauses(
        curve=curve,
        hazards=_hazards(entry, leave, code, causes, int(months[-1]), minimum_at_risk, level),
        incidence=by_cause,
        in_force=estimate(float(survival[end]), (1 - high, 1 - low)),
        lead=lead,
        horizon_months=int(months[-1]),
        asked_months=horizon_months,
        n_contracts=n,
        n_ended=int((code >= 0).sum()),
    )


def _hazards(
    entry: Ints,
    leave: Ints,
    code: Ints,
    causes: tuple[str, ...],
    horizon_months: int,
    minimum_contracts: int,
    level: float,
) -> pd.DataFrame:
    """Ends per month in force by year of life, with exact Poisson intervals (Garwood, 1936)."""
    tail = (1 - level) / 2
    # An end falls within its last day, being in force fills it.
    until = leave + np.where(code >= 0, 0.5, 1.0)
    rows = []
    for year in range(-(-horizon_months // 12)):
        start, stop = year * 365.25, (year + 1) * 365.25
        days = np.clip(np.minimum(until, stop) - np.maximum(entry, start), 0, None)
        n_contracts = int((days > 0).sum())
        if n_contracts < minimum_contracts:
            break
        exposure = float(days.sum()) / DAYS_PER_MONTH
        is_here = (leave >= start) & (leave < stop)
        for k, cause in enumerate(causes):
            count = int((is_here & (code == k)).sum())
            low = stats.chi2.ppf(tail, 2 * count) / 2 if count else 0.0
            high = stats.chi2.ppf(1 - tail, 2 * count + 2) / 2
            rows.append(
                (
                    f"Year {year + 1}",
                    cause,
                    n_contracts,
                    count,
                    exposure,
                    count / exposure,
                    low / exposure,
                    high / exposure,
                )
            )
    columns = ["tenure", "cause", "n_contracts", "n_ended", "exposure_months", "hazard_per_month"]
    return pd.DataFrame(rows, columns=[*columns, "lower", "upper"])


@dataclass(frozen=True, kw_only=True)
class PaymentEvidence:
    """Ends that the payments call involuntary, whatever reason was recorded.

    Attributes:
        voluntary: Of the ends recorded as voluntary, those after a failed payment.
        unpaid: Of the ends recorded as payment, those after a failed payment.
        n_voluntary: Ends recorded as voluntary that followed a failed payment.
    """

    voluntary: Estimate
    unpaid: Estimate
    n_voluntary: Measured


def estimate_payment_evidence(
    contracts: ir.Table, payments: ir.Table, *, as_of: date, level: float = 0.95
) -> PaymentEvidence:
    """Hold the recorded reasons against the payments due in the two months before the end.

    Raises:
        TooFew: No contract ended for one of the two reasons.
    """
    contracts = contracts.mutate(
        end_date=optional(contracts, "end_date", "date"),
        end_reason=optional(contracts, "end_reason", "string"),
    )
    ended = contracts.filter(contracts.end_date <= ibis.date(as_of.isoformat()))
    ended = ended.select("contract_id", "end_date", "end_reason")
    failed = payments.filter(payments.status == "failed").select("contract_id", "due_date")
    joined = ended.inner_join(failed, "contract_id")
    before = joined.end_date.delta(joined.due_date, unit="day")
    after = joined.filter(before.between(0, _RECENT_DUE_DAYS)).select("contract_id").distinct()
    has_failed = ended.contract_id.isin(after.contract_id)
    counts = (
        ended.group_by("end_reason")
        .agg(n=ended.count(), n_failed=has_failed.cast("int64").sum())
        .to_pandas()
        .dropna(subset=["end_reason"])
        .set_index("end_reason")
        .reindex(["voluntary", "payment"], fill_value=0)
    )
    shares = [
        estimate_share(int(row["n_failed"]), int(row["n"]), as_of=as_of, level=level)
        for _, row in counts.iterrows()
    ]
    n_voluntary = int(counts.loc["voluntary", "n"])
    return PaymentEvidence(
        voluntary=shares[0],
        unpaid=shares[1],
        n_voluntary=Measured(
            value=int(counts.loc["voluntary", "n_failed"]),
            unit="count",
            n=n_voluntary,
            as_of=as_of,
        ),
    )
