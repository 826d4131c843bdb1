"""One test drawn by lot: its customers, arms and follow-up, and whether it ran fair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd
from scipy import stats

from insight_lib.findings import TooFew
from insight_lib.impact.design import (
    Attrition,
    Balance,
    SampleRatio,
    check_attrition,
    check_balance,
    check_sample_ratio,
)
from insight_lib.impact.inputs import (
    Campaign,
    campaign_frame,
    local_moments,
    with_age,
    with_arm,
)

HABITS = ("revenue_before", "orders_before")
CONTACTED = "all contacted"
SURE = 0.001  # a fault of the lottery and not chance, as for the sample ratio
_DAY = pd.Timedelta(days=1)
_FEWEST_DAYS = 7
_MOST_LATE_SHARE = 0.01
_FEWEST_JOINED = 0.5  # of what other spellings of the ids would join


@dataclass(frozen=True, kw_only=True)
class FollowUp:
    """How long each customer's outcomes are counted, and from when.

    Attributes:
        is_equal: Customers entered on days of their own and are each followed for `days` from
            their assignment; else all are followed over the campaign's days.
        n_short: Left out, as the data end before their follow-up does.
        n_late: Assigned after the campaign's last day.
        n_assigned: Customers assigned.
        entry_p: How rare it is that the arms' days of entry lie so far apart by lot.
    """

    is_equal: bool
    days: int
    last_day: date
    n_short: int = 0
    n_late: int = 0
    n_assigned: int = 0
    entry_p: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Integrity:
    """Whether the lottery, the log and the joins can be believed; comes before every result.

    Attributes:
        ratio: Arms against the plan; None where no plan is on record.
        uneven_p: How rare arms this unequal are, had they been planned equal.
        balance: Arms before the start; within strata where these are declared.
        attrition: Customers lost by arm; None where nothing could tell who was lost.
        trait_p: By trait, how rare its spread over the arms is by lot.
        n_both: Customers found in more than one arm.
        is_known_before: Whether anything is known of the customers from before the start.
    """

    follow_up: FollowUp
    ratio: SampleRatio | None
    uneven_p: float
    balance: Balance
    attrition: Attrition | None
    trait_p: Mapping[str, float]
    n_both: int
    is_known_before: bool

    @property
    def unbalanced(self) -> tuple[str, ...]:
        """What surely differed between the arms before, habits first."""
        table = self.balance.table
        habits = sorted(set(table.loc[table["p_value"] < SURE, "column"]))
        traits = sorted(t for t, p in self.trait_p.items() if p < SURE)
        return tuple(str(name).replace("_", " ") for name in (*habits, *traits))

    @property
    def faults(self) -> tuple[str, ...]:
        """Why nothing of the test may be read; empty where it may."""
        found = []
        if self.ratio is not None and self.ratio.is_broken:
            found.append("its arms are not as large as planned")
        if self.unbalanced:
            found.append(f"the arms differed before it began, in {', '.join(self.unbalanced)}")
        follow = self.follow_up
        if follow.n_late > _MOST_LATE_SHARE * max(follow.n_assigned, 1):
            found.append("customers were assigned after its end")
        if self.attrition is not None and self.attrition.p_value < SURE:
            found.append("customers went missing from one arm more than from others")
        if follow.entry_p < SURE:
            found.append("the arms were filled on different days")
        return tuple(found)

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Checks of the lottery that could not be made, as they stand in a sentence."""
        found = []
        if self.ratio is None:
            found.append("its arms against planned shares")
        if not self.is_known_before:
            found.append("whether its arms were alike before")
        return tuple(found)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What has to be cleared up before money follows the result."""
        found = []
        if self.ratio is None and not self.is_known_before:
            found.append(
                "nothing could show whether its lottery was fair, as no planned shares are on "
                "record and nothing is known of its customers from before"
            )
        if self.ratio is None and self.uneven_p < SURE:
            found.append("its arms are unequal and no planned shares are on record")
        elif self.ratio is not None and self.ratio.is_warning and not self.ratio.is_broken:
            found.append("its arms are hardly as large as planned")
        if self.n_both:
            found.append("customers stand in more than one arm")
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One test drawn by lot.

    Attributes:
        frame: One row per customer who stands in one arm and was followed, as from
            `inputs.campaign_frame`, with declared traits and `stratum` where given.
        both_ways: The same with customers of several arms counted in the one assigned first,
            and, where that is not known, once in each; empty where there are none.
        to_the_end: The same, counted from the assignment to the campaign's end; None unless
            customers entered on days of their own.
        entries: Moment from which each customer counts.
    """

    campaign: Campaign
    frame: pd.DataFrame
    follow_up: FollowUp
    integrity: Integrity
    both_ways: tuple[pd.DataFrame, ...]
    to_the_end: pd.DataFrame | None
    entries: pd.Series
    stratum: str | None = None

    @property
    def arms(self) -> tuple[str, ...]:
        """Contacted arms, by name."""
        return tuple(sorted(set(self.frame["arm"]) - {"control"}))

    @property
    def faults(self) -> tuple[str, ...]:
        return self.integrity.faults

    def pair(self, arm: str, frame: pd.DataFrame | None = None) -> pd.DataFrame:
        """One arm beside those left alone."""
        rows = self.frame if frame is None else frame
        return rows[rows["arm"].isin(["control", arm])]

    def level_of_each(self, level: float) -> float:
        """The level of one arm's ranges, so that those of all arms hold together (Bonferroni)."""
        return 1 - (1 - level) / max(len(self.arms), 1)

    def name(self, arm: str) -> str:
        """The arm as it stands in a sentence: the campaign's name where it is the only one."""
        return with_arm(self.campaign.name, arm if len(self.arms) > 1 else None)


def planned_shares(
    assigned: pd.DataFrame, *, plan_share: float | None, market_share: float | None
) -> dict[str, float] | None:
    """Share per arm that was planned; None where nobody wrote it down.

    What stands beside the assignments goes first, then the plan of the campaign, then the
    market's rule for tests of two arms.

    Args:
        assigned: One campaign's assignments: arm and, where it is recorded, planned_share.
        plan_share: Of the control group, from the register of plans.
        market_share: Of the control group in tests of two arms.
    """
    arms = sorted(assigned["arm"].unique())
    if "planned_share" in assigned and assigned["planned_share"].notna().any():
        shares = assigned.groupby("arm")["planned_share"].median()
        if shares.notna().all() and shares.gt(0).all():
            total = float(shares.sum())
            # Written as percentages, as weights, or as shares: their ratio is the plan.
            return {str(arm): float(share) / total for arm, share in shares.items()}
    if "control" not in arms:
        return None
    if plan_share is not None and len(arms) > 2:
        # The plan speaks of those left alone; how the others were to be shared it does not say.
        return {"control": plan_share, CONTACTED: 1 - plan_share}
    share = plan_share if plan_share is not None else market_share
    if share is None or len(arms) != 2:
        return None
    return {arm: share if arm == "control" else 1 - share for arm in arms}


def _against_plan(counts: Mapping[str, int], plan: Mapping[str, float]) -> SampleRatio | None:
    """Arms against their planned shares; None where they are not the same arms."""
    if CONTACTED in plan and CONTACTED not in counts:
        counts = {
            "control": counts.get("control", 0),
            CONTACTED: sum(n for arm, n in counts.items() if arm != "control"),
        }
    if set(plan) != set(counts):
        return None
    return check_sample_ratio(counts, plan)


def _uneven_p(counts: Mapping[str, int]) -> float:
    """How rare such arms are under the usual designs: all equal, or half of all left alone."""
    found = [check_sample_ratio(counts).p_value]
    others = len(counts) - 1
    if "control" in counts and others > 1:
        half = {arm: 0.5 if arm == "control" else 0.5 / others for arm in counts}
        found.append(check_sample_ratio(counts, half).p_value)
    return max(found)


def follow_up_of(
    campaign: Campaign, assigned: pd.DataFrame, *, zone: str, as_of: date
) -> tuple[FollowUp, pd.Series]:
    """From when and how long each customer is followed.

    Whoever was assigned before the start counts from the start. Where customers entered later,
    outcomes from before a customer's assignment are none of the treatment's doing, and whoever
    entered early would be seen longer: so all are followed for the same number of days, which
    is the campaign's length, or, where the data end too soon, the longest that four of five
    customers have.
    """
    start = pd.Timestamp(campaign.start)
    mine = assigned.set_index("customer_id")
    moments = pd.Series(start, index=mine.index)
    if "assigned_at" in mine and mine["assigned_at"].notna().any():
        local = local_moments(mine["assigned_at"], zone)
        moments = local.where(local.notna() & (local > start), start)
    first_day_over = start + _DAY
    after_end = moments >= pd.Timestamp(campaign.end) + _DAY
    n_late = int(after_end.sum())
    if not (moments >= first_day_over).any():
        last = min(campaign.end, as_of)
        days = (last - campaign.start).days + 1
        moments[:] = start
        return FollowUp(is_equal=False, days=days, last_day=last, n_assigned=len(mine)), moments
    left = (pd.Timestamp(as_of) + _DAY - moments) / _DAY
    days = campaign.days
    if (left >= days).mean() < 0.5:
        days = max(min(days, int(np.floor(np.quantile(left, 0.2)))), 1)
    kept = moments[(left >= days) & ~after_end]
    if kept.empty:
        raise TooFew(f"all {len(mine):,} customers were assigned after its end")
    arm = mine["arm"] if len(mine) == len(moments) else None
    entry_p = 1.0
    if arm is not None:
        groups = [moments[arm == a].astype("int64").to_numpy() for a in sorted(set(arm))]
        if len(groups) > 1 and min(map(len, groups)) > 0 and moments.nunique() > 1:
            entry_p = float(stats.kruskal(*groups).pvalue)
    return (
        FollowUp(
            is_equal=True,
            days=days,
            last_day=as_of,
            n_short=int((left < days).sum()),
            n_late=n_late,
            n_assigned=len(mine),
            entry_p=entry_p,
        ),
        kept,
    )


def build_experiment(
    campaign: Campaign,
    assignments: pd.DataFrame,
    orders: pd.DataFrame,
    responses: pd.DataFrame | None,
    *,
    people: pd.DataFrame | None,
    plan_share: float | None = None,
    market_share: float | None = None,
    traits: Sequence[str] = (),
    strata: Sequence[str] = (),
    pre_period_days: int,
    zone: str,
    as_of: date,
    level: float = 0.95,
) -> Experiment:
    """Lay out one test and look whether it ran fair.

    Args:
        assignments: campaign_id, customer_id, arm, and assigned_at and planned_share if known.
        people: Customers that the market knows, with traits, one row each; None without.
        strata: Columns of `people` within which the lottery had shares of its own.

    Raises:
        TooFew: The data begin too late, no assigned customer is known under this id, or an arm
            is empty.
    """
    mine = assignments[assignments["campaign_id"] == campaign.id].copy()
    _check_ids(mine, orders, people)
    n_arms = mine.groupby("customer_id")["arm"].nunique()
    both = set(n_arms.index[n_arms > 1])
    once = mine[~mine["customer_id"].isin(both)].drop_duplicates("customer_id")
    follow, entries = follow_up_of(campaign, once, zone=zone, as_of=as_of)

    def laid_out(rows: pd.DataFrame, entries: pd.Series, days: float | None) -> pd.DataFrame:
        rows = rows[rows["customer_id"].isin(entries.index)]
        frame = campaign_frame(
            campaign,
            rows,
            orders,
            responses,
            pre_period_days=pre_period_days,
            entries=entries,
            days=days,
        )
        return _with_traits(frame, people, traits=traits, strata=strata)

    frame = laid_out(once, entries, float(follow.days))
    if not (frame["arm"] == "control").any() or not (frame["arm"] != "control").any():
        raise TooFew(f"{campaign.name} has no customer in one of its arms who can be followed")
    both_ways = []
    ways = _first_arms(mine, both) if both else []
    if ways:
        for rows in ways:
            entry = follow_up_of(campaign, rows, zone=zone, as_of=as_of)[1]
            both_ways.append(laid_out(rows, entry, float(follow.days)))
    to_the_end = None
    if follow.is_equal and campaign.is_over:
        to_the_end = _to_the_end(campaign, frame, orders, entries)
    return Experiment(
        campaign=campaign,
        frame=frame,
        follow_up=follow,
        integrity=_integrity(
            frame, once, follow,
            people=people,
            orders=orders,
            campaign=campaign,
            n_both=len(both),
            ways=ways or [once],
            plan=planned_shares(once, plan_share=plan_share, market_share=market_share),
            traits=traits,
            has_strata="stratum" in frame,
            level=level,
        ),
        both_ways=tuple(both_ways),
        to_the_end=to_the_end,
        entries=entries,
        stratum="stratum" if "stratum" in frame else None,
    )  # fmt: skip


def _check_ids(mine: pd.DataFrame, orders: pd.DataFrame, people: pd.DataFrame | None) -> None:
    """Customers of a campaign have to be customers: ids written differently join nothing."""
    known = set(orders["customer_id"].astype(str))
    if people is not None:
        known |= set(people["customer_id"].astype(str))
    ids = set(mine["customer_id"].astype(str))
    found = len(ids & known)

    def plain(text: str) -> str:
        return text.strip().lower().removesuffix(".0").lstrip("0") or "0"

    plain_known = {plain(i) for i in known}
    alike = sum(plain(i) in plain_known for i in ids)
    if found == 0 or found < _FEWEST_JOINED * alike:
        hint = (
            f"; {alike:,} would be if leading zeros, decimals and case were written alike"
            if alike > found
            else ""
        )
        raise TooFew(
            f"{found:,} of {len(ids):,} assigned customers are found among orders or "
            f"customers under the same id{hint}"
        )


def _first_arms(mine: pd.DataFrame, both: set[str]) -> list[pd.DataFrame]:
    """Assignments with each customer in one arm: the first where that is known, else each."""
    of_both = mine["customer_id"].isin(both)
    if "assigned_at" in mine and mine.loc[of_both, "assigned_at"].notna().all():
        ordered = mine.sort_values(["customer_id", "assigned_at", "arm"], kind="stable")
        return [ordered.drop_duplicates("customer_id")]
    is_control = mine["arm"] == "control"
    return [
        mine.assign(key=key)
        .sort_values(["customer_id", "key", "arm"], kind="stable")
        .drop_duplicates("customer_id")
        .drop(columns="key")
        for key in (is_control, ~is_control)
    ]


def _with_traits(
    frame: pd.DataFrame,
    people: pd.DataFrame | None,
    *,
    traits: Sequence[str],
    strata: Sequence[str],
) -> pd.DataFrame:
    if people is None:
        return frame
    known = people.drop_duplicates("customer_id").set_index("customer_id")
    wanted = [c for c in dict.fromkeys((*traits, *strata)) if c in known]
    for column in wanted:
        frame[f"trait_{column}"] = frame["customer_id"].map(known[column])
    if strata and all(c in known for c in strata):
        parts = [frame[f"trait_{c}"].astype(object).fillna("unknown").astype(str) for c in strata]
        frame["stratum"] = pd.concat(parts, axis=1).agg(", ".join, axis=1)
    return frame


def _to_the_end(
    campaign: Campaign, frame: pd.DataFrame, orders: pd.DataFrame, entries: pd.Series
) -> pd.DataFrame:
    """Outcomes from the assignment to the campaign's last day."""
    mine = with_age(orders, entries[entries.index.isin(frame["customer_id"])])
    inside = (mine["age"] >= 0) & (mine["day"] <= pd.Timestamp(campaign.end))
    sums = mine[inside].groupby("customer_id")["orders"].sum()
    ordered = frame["customer_id"].map(sums).fillna(0.0) > 0
    return frame[["customer_id", "arm", "is_treated"]].assign(has_ordered=ordered.astype(float))


def _integrity(
    frame: pd.DataFrame,
    once: pd.DataFrame,
    follow: FollowUp,
    *,
    people: pd.DataFrame | None,
    orders: pd.DataFrame,
    campaign: Campaign,
    n_both: int,
    ways: Sequence[pd.DataFrame],
    plan: Mapping[str, float] | None,
    traits: Sequence[str],
    has_strata: bool,
    level: float,
) -> Integrity:
    # A customer of several arms was planned into one of them: the arms are as planned if they are
    # so in any way of counting.
    uneven, ratios = [], []
    for rows in ways:
        counts = {str(arm): int(n) for arm, n in rows["arm"].value_counts().items()}
        with suppress(TooFew):
            uneven.append(_uneven_p(counts))
            # Shares of their own by stratum have no one share to be held against.
            if plan and not has_strata and (seen := _against_plan(counts, plan)) is not None:
                ratios.append(seen)
    ratio = max(ratios, key=lambda r: r.p_value) if ratios else None
    uneven_p = max(uneven, default=1.0)
    trait_p = {} if has_strata else _trait_p(frame, traits)
    return Integrity(
        follow_up=follow,
        ratio=ratio,
        uneven_p=1.0 if has_strata else uneven_p,
        # Half of the false alarms that may be are left to what is seen within groups.
        balance=check_balance(_within(frame), list(HABITS), level=(1 + level) / 2),
        attrition=_attrition(once, people, orders, campaign),
        trait_p=trait_p,
        n_both=n_both,
        is_known_before=bool(trait_p) or bool(frame["orders_long_before"].gt(0).any()),
    )


def _attrition(
    once: pd.DataFrame, people: pd.DataFrame | None, orders: pd.DataFrame, campaign: Campaign
) -> Attrition | None:
    """Customers lost by arm: whoever had ordered and is no customer any more.

    A prospect who was never a customer is not lost; where all are prospects, or there is no list of
    customers, nothing can tell.
    """
    before = orders[orders["day"] < pd.Timestamp(campaign.start)]
    had_ordered = once["customer_id"].isin(set(before["customer_id"]))
    if people is None or not had_ordered.any():
        return None
    is_known = once["customer_id"].isin(set(people["customer_id"]))
    return check_attrition(once.assign(is_followed=is_known | ~had_ordered))


def _within(frame: pd.DataFrame) -> pd.DataFrame:
    """Habits less those of the stratum, so that arms are compared within strata."""
    if "stratum" not in frame:
        return frame
    means = frame.groupby("stratum")[list(HABITS)].transform("mean")
    own = frame.groupby("stratum")["is_treated"].transform("mean")
    weight = np.where(frame["is_treated"], 1 - own, own)
    # Overlap weights: each stratum counts where it holds both arms.
    centred = frame[list(HABITS)].sub(means).mul(weight, axis=0)
    return frame.assign(**{c: centred[c] for c in HABITS})


def _trait_p(frame: pd.DataFrame, traits: Sequence[str]) -> dict[str, float]:
    """Chi-square of each trait against the arms, levels too rare put together."""
    found = {}
    for trait in traits:
        column = f"trait_{trait}"
        if column not in frame:
            continue
        values = frame[column].astype(object).fillna("unknown").astype(str)
        sizes = values.map(values.value_counts())
        table = pd.crosstab(values.where(sizes >= 20, "other"), frame["arm"])
        if min(table.shape) < 2:
            continue
        result = stats.chi2_contingency(table, correction=False)
        if result.expected_freq.min() >= 1:
            found[trait] = float(result.pvalue)
    return found


def provisional_until(experiment: Experiment, *, return_days: int, as_of: date) -> date | None:
    """Day until which returns may still change the result; None if their time has passed.

    Args:
        return_days: Days after which nearly all that comes back has come back, as from
            `orders.settling_days`.
    """
    due = experiment.follow_up.last_day + timedelta(days=return_days)
    if experiment.follow_up.is_equal:
        last = experiment.entries.max() + pd.Timedelta(days=experiment.follow_up.days)
        due = last.date() + timedelta(days=return_days)
    return due if return_days and due > as_of else None


def overlaps(experiment: Experiment, others: Sequence[Experiment]) -> dict[str, int]:
    """Customers of a test who stand in another one that ran on the same days, by its name."""
    mine, found = set(experiment.frame["customer_id"]), {}
    for other in others:
        here, there = experiment.campaign, other.campaign
        if other is experiment or there.start > here.end or there.end < here.start:
            continue
        if shared := len(mine & set(other.frame["customer_id"])):
            found[there.name] = shared
    return found
