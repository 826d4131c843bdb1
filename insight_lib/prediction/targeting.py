"""Whom to contact when hours are short: the plan with the largest expected value.

Each customer gets at most one contact, each channel has so many contacts as its hours allow.
That is a transportation problem (Hitchcock, 1941), whose best plan needs no halves of a
contact (Hoffman and Kruskal, 1956), so a linear programme solves it exactly. Only the best
customers of each short channel can be in it, as many as there are contacts in all: whoever
else was in could be exchanged for one of them who is not; a million customers take seconds.

The value of a contact has to be what the contact *changes*. With a score that says who will
buy anyway, the plan spends its hours on customers who need no call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, sparse, stats

from insight_lib.findings import Estimate, Measured, TooFew
from insight_lib.prediction.performance import Recalibration

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A way to contact customers, with what it can do in the window.

    Attributes:
        hours: Working hours there are; None where contacts take no one's time.
        cost_amount: Of one contact, beyond the hours.
    """

    id: str
    title: str
    hours: float | None
    minutes_per_contact: float
    cost_amount: float

    def __post_init__(self) -> None:
        hours = self.hours if self.hours is not None else 0.0
        if hours < 0 or self.cost_amount < 0 or self.minutes_per_contact <= 0:
            raise ValueError(
                f"channel {self.id!r}: hours and cost must not be negative, minutes per contact "
                f"must be positive; got {self.hours}, {self.cost_amount}, "
                f"{self.minutes_per_contact}"
            )

    def contacts(self, n_customers: int) -> int:
        """Whole contacts in the window."""
        if self.hours is None:
            return n_customers
        return min(n_customers, math.floor(self.hours * 60 / self.minutes_per_contact + 1e-9))


RuleName = Literal["no consent", "contacted lately", "contacted often enough", "open complaint"]
RULES: tuple[RuleName, ...] = get_args(RuleName)


@dataclass(frozen=True, kw_only=True)
class ContactRules:
    """Who is not contacted, whatever the value."""

    rest_days: int
    most_contacts: int


@dataclass(frozen=True, kw_only=True)
class RuleCount:
    """Customers that a rule removes, and those that no other rule would have removed."""

    rule: RuleName
    removed: Measured
    removed_alone: Measured


@dataclass(frozen=True, kw_only=True)
class Eligibility:
    """Customers who may be contacted, and whom each rule removes.

    Attributes:
        not_recorded: Rules that cannot bite, because nothing of what they ask is on record.
    """

    customers: tuple[str, ...]
    n_all: int
    rules: tuple[RuleCount, ...]
    not_recorded: tuple[RuleName, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ChannelPlan:
    """What a channel does in the plan.

    Attributes:
        hour_worth: What one more hour would bring; None where hours are not short by nature.
        waiting: Customers who come next with that hour, the most valuable first.
    """

    channel: Channel
    n_contacts: int
    n_possible: int
    value: Measured
    hour_worth: Measured | None
    waiting: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Targeting:
    """The plan and what it is worth.

    Attributes:
        contacts: customer_id, channel, value_amount (expected, after cost), most valuable first.
        value: Expected value of the plan after cost; the interval holds chance and what is
            not known of the scores' calibration.
        at_random, by_recency: The same hours spent on customers drawn by lot, and on those
            who bought last (None where that is not known).
    """

    contacts: pd.DataFrame
    channels: tuple[ChannelPlan, ...]
    value: Estimate
    at_random: Measured
    by_recency: Measured | None
    n_eligible: int


def apply_contact_rules(
    customers: pd.DataFrame, rules: ContactRules, *, as_of: date
) -> Eligibility:
    """Who may be contacted.

    Args:
        customers: Index customer_id; has_consent (for activation; missing counts as no),
            days_since_contact (missing: never), n_contacts (in the window),
            has_open_complaint (missing counts as yes: it has not been looked at). A column of
            contacts or complaints that is absent is not recorded: its rules are named as such.

    Raises:
        KeyError: Consent is missing.
    """
    needed = ("has_consent",)
    if absent := [c for c in needed if c not in customers.columns]:
        raise KeyError(f"contact rules need the columns {', '.join(absent)}")

    def flag(column: str, missing: bool) -> NDArray[np.bool_]:
        values = customers[column].astype("boolean").fillna(missing)
        return values.to_numpy(dtype=bool)

    broken: dict[RuleName, NDArray[np.bool_]] = {"no consent": ~flag("has_consent", False)}
    if "days_since_contact" in customers:
        since = customers["days_since_contact"].to_numpy(dtype=float, na_value=np.inf)
        broken["contacted lately"] = since < rules.rest_days
    if "n_contacts" in customers:
        count = customers["n_contacts"].to_numpy(dtype=float, na_value=0.0)
        broken["contacted often enough"] = count >= rules.most_contacts
    if "has_open_complaint" in customers:
        broken["open complaint"] = flag("has_open_complaint", True)
    times = np.sum(list(broken.values()), axis=0)
    n = len(customers)

    def counted(mask: NDArray[np.bool_]) -> Measured:
        return Measured(value=float(mask.sum()), unit="count", n=n, as_of=as_of)

    return Eligibility(
        customers=tuple(sorted(str(c) for c in customers.index[times == 0])),
        n_all=n,
        rules=tuple(
            RuleCount(rule=name, removed=counted(mask), removed_alone=counted(mask & (times == 1)))
            for name, mask in broken.items()
        ),
        not_recorded=tuple(name for name in RULES if name not in broken),
    )


def estimate_targeting(
    probability: pd.Series,
    gain_amount: pd.DataFrame,
    channels: Sequence[Channel],
    *,
    eligible: Sequence[str],
    currency: str,
    as_of: date,
    recalibration: Recalibration | None = None,
    days_since_last_order: pd.Series | None = None,
    n_draws: int = 400,
    seed: int = 0,
    level: float = 0.95,
) -> Targeting:
    """The plan with the largest expected value under the hours there are.

    Args:
        probability: Calibrated chance per customer that a contact brings its gain.
        gain_amount: The same customers by channel id: what it brings then, before cost.
        channels: Any order; the plan does not depend on it, nor on that of customers.
        eligible: Customers left by `apply_contact_rules`.
        recalibration: How sure the scores' calibration is; without it the interval holds
            chance alone.
        days_since_last_order: For the rule of thumb "most recent buyers first".

    Raises:
        TooFew: No customer may be contacted.
        ValueError: A probability outside 0-1 or missing, or a channel without gains.
    """
    _check(probability, gain_amount, channels)
    ids = sorted(set(eligible) & set(probability.index))
    if not ids:
        raise TooFew("no customer may be contacted")
    ordered = sorted(channels, key=lambda c: c.id)
    chance = probability.loc[ids].to_numpy(dtype=float)
    gains = gain_amount.loc[ids, [c.id for c in ordered]].to_numpy(dtype=float)
    costs = np.array([c.cost_amount for c in ordered])
    net = chance[:, None] * gains - costs
    capacity = np.array([c.contacts(len(ids)) for c in ordered], dtype=np.int64)
    chosen = choose_contacts(net, capacity)
    best = _value(net, chosen)
    plans = []
    for k, channel in enumerate(ordered):
        worth, waiting = None, tuple[str, ...]()
        if channel.hours is not None:
            wider = capacity.copy()
            wider[k] = replace(channel, hours=channel.hours + 1).contacts(len(ids))
            more = choose_contacts(net, wider)
            worth = _money(_value(net, more) - best, len(ids), currency, as_of)
            entrants = np.flatnonzero((more >= 0) & (chosen < 0))
            ranked = sorted(entrants, key=lambda i: (-net[i, more[i]], ids[i]))
            waiting = tuple(ids[i] for i in ranked)
        mine = chosen == k
        plans.append(
            ChannelPlan(
                channel=channel,
                n_contacts=int(mine.sum()),
                n_possible=int(capacity[k]),
                value=_money(float(net[mine, k].sum()), int(mine.sum()), currency, as_of),
                hour_worth=worth,
                waiting=waiting,
            )
        )
    picked = np.flatnonzero(chosen >= 0)
    contacts = pd.DataFrame(
        {
            "customer_id": [ids[i] for i in picked],
            "channel": [ordered[chosen[i]].id for i in picked],
            "value_amount": net[picked, chosen[picked]],
        }
    ).sort_values(["value_amount", "customer_id"], ascending=[False, True], ignore_index=True)
    recent = None
    if days_since_last_order is not None:
        days = days_since_last_order.reindex(ids).to_numpy(dtype=float, na_value=np.inf)
        recent = _money(
            _in_turn(net, capacity, np.argsort(days, kind="stable")), len(ids), currency, as_of
        )
    gain = gains[picked, chosen[picked]]
    return Targeting(
        contacts=contacts,
        channels=tuple(plans),
        value=_interval(
            best,
            chance[picked],
            gain,
            recalibration,
            currency=currency,
            as_of=as_of,
            n_draws=n_draws,
            seed=seed,
            level=level,
        ),
        at_random=_money(_by_lot(net, capacity), len(ids), currency, as_of),
        by_recency=recent,
        n_eligible=len(ids),
    )


def choose_contacts(net: Floats, capacity: Ints) -> Ints:
    """Channel of each customer in the best plan, -1 for none.

    Args:
        net: Customers by channels, expected value of a contact less its cost.
        capacity: Contacts per channel.

    Returns:
        One channel index per customer; a contact without a positive value is never made.
    """
    n = len(net)
    # A channel with room for everyone is always there to fall back on.
    is_free = capacity >= n
    fallback = np.where(is_free, net, -np.inf).max(axis=1, initial=-np.inf)
    floor = np.maximum(fallback, 0.0)
    extra = net - floor[:, None]
    short = np.flatnonzero(~is_free & (capacity > 0))
    chosen = np.full(n, -1, dtype=np.int64)
    if is_free.any():
        free = np.where(is_free, net, -np.inf).argmax(axis=1)
        chosen[fallback > 0] = free[fallback > 0]
    total = int(capacity[short].sum())
    if not total:
        return chosen
    best = [np.lexsort((np.arange(n), -extra[:, k]))[:total] for k in short]
    rows = np.unique(np.concatenate(best))
    row, column = np.nonzero(extra[np.ix_(rows, short)] > 0)
    if not len(row):
        return chosen
    worth = extra[rows[row], short[column]]
    size = np.arange(len(row))
    ones = np.ones(len(row))
    limits = sparse.vstack(
        [
            sparse.csr_matrix((ones, (row, size)), shape=(len(rows), len(row))),
            sparse.csr_matrix((ones, (column, size)), shape=(len(short), len(row))),
        ]
    )
    solved = optimize.linprog(
        -worth,
        A_ub=limits,
        b_ub=np.concatenate([np.ones(len(rows)), capacity[short]]),
        bounds=(0, 1),
        method="highs-ds",
    )
    if not solved.success:
        raise RuntimeError(f"the contact plan could not be solved: {solved.message}")
    used = solved.x > 0.5
    chosen[rows[row[used]]] = short[column[used]]
    return chosen


def _check(probability: pd.Series, gain_amount: pd.DataFrame, channels: Sequence[Channel]) -> None:
    faults = []
    if not channels:
        faults.append("there is no channel")
    if len({c.id for c in channels}) < len(channels):
        faults.append("two channels have the same id")
    if bad := [c.id for c in channels if c.id not in gain_amount.columns]:
        faults.append(f"gain_amount lacks the channels {', '.join(bad)}")
    elif gain_amount.loc[:, [c.id for c in channels]].isna().to_numpy().any():
        faults.append("gain_amount has missing values; use zero where a contact brings nothing")
    values = probability.to_numpy(dtype=float, na_value=np.nan)
    if outside := int((~((values >= 0) & (values <= 1))).sum()):
        faults.append(f"{outside} probabilities are missing or outside 0 to 1")
    if not probability.index.is_unique:
        faults.append("a customer stands twice in probability")
    elif not gain_amount.index.is_unique or not probability.index.isin(gain_amount.index).all():
        faults.append("gain_amount must hold every customer of probability once")
    if faults:
        raise ValueError("; ".join(faults))


def _value(net: Floats, chosen: Ints) -> float:
    picked = np.flatnonzero(chosen >= 0)
    return float(net[picked, chosen[picked]].sum())


def _money(value: float, n: int, currency: str, as_of: date) -> Measured:
    return Measured(value=value, unit=currency, n=n, as_of=as_of)


def _by_lot(net: Floats, capacity: Ints) -> float:
    """Mean over all plans that fill the hours with customers drawn by lot."""
    total = float(capacity.sum())
    made = capacity * min(1.0, len(net) / total) if total else capacity
    return float((made * net.mean(axis=0)).sum())


def _in_turn(net: Floats, capacity: Ints, order: Ints) -> float:
    """Customers in the given order, each on the best channel that still has room."""
    left = capacity.copy()
    value = 0.0
    for turn, i in enumerate(order):
        if not (left[capacity < len(net)] > 0).any():
            # Only channels with room for everyone are left.
            free = np.where(capacity >= len(net), net[order[turn:]], -np.inf).max(axis=1)
            return value + float(free[np.isfinite(free)].sum())
        k = int(np.where(left > 0, net[i], -np.inf).argmax())
        left[k] -= 1
        value += float(net[i, k])
    return value


def _interval(
    best: float,
    chance: Floats,
    gain: Floats,
    recalibration: Recalibration | None,
    *,
    currency: str,
    as_of: date,
    n_draws: int,
    seed: int,
    level: float,
) -> Estimate:
    """What the plan may bring: chance of each contact, and calibrations the reference allows."""
    variance = float((np.square(gain) * chance * (1 - chance)).sum())
    if recalibration is not None and len(chance):
        rng = np.random.default_rng(seed)
        # The scores come calibrated: draws move around what they say.
        around = replace(recalibration, intercept=0.0, slope=1.0)
        totals = [float(around.drawn(rng).share(chance) @ gain) for _ in range(n_draws)]
        variance += float(np.var(totals, ddof=1))
    half = float(stats.norm.ppf(0.5 + level / 2)) * math.sqrt(variance)
    return Estimate(
        value=best,
        lower=best - half,
        upper=best + half,
        unit=currency,
        n=len(chance),
        as_of=as_of,
        level=level,
        method="expected value of the plan; chance and calibration (Cox, 1958)",
    )
