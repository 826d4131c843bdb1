"""Every test of a market, from its tables to results, each part on its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from insight_lib.findings import Estimate, TooFew
from insight_lib.impact.arms import ArmResult, Release, estimate_test
from insight_lib.impact.design import (
    Design,
    NextTest,
    plan_next_test,
    plan_test,
    pooled_deviation,
    remaining_deviation,
)
from insight_lib.impact.effects import Metric, usual_metrics
from insight_lib.impact.experiment import (
    Experiment,
    build_experiment,
    provisional_until,
)
from insight_lib.impact.groups import SPEND_BANDS, GroupAnswers, answer_by_traits
from insight_lib.impact.guard_rails import (
    GuardResult,
    add_guard_columns,
    check_guard_rails,
    usual_guard_rails,
)
from insight_lib.impact.inputs import (
    PRE_PERIOD_COLUMNS,
    Campaign,
    choose_targeted,
    guard_sums,
    list_campaigns,
    load_orders,
    planning_frame,
    refused_between,
    targeted_frame,
    weekly_arrivals,
    why_no_test,
)
from insight_lib.impact.returns import Return, return_of_change, return_of_model, returns_by_group
from insight_lib.impact.sequential import Monitoring, looks_while_outcomes_arrive, monitor
from insight_lib.impact.stratification import value_bands
from insight_lib.impact.targeted import Targeted, estimate_targeted
from insight_lib.impact.uplift import (
    ContactValue,
    TargetingRule,
    Uplift,
    estimate_uplift,
    evaluate_targeting,
    value_per_contact,
)
from insight_lib.orders import settling_days
from insight_lib.statistics import estimate_share

if TYPE_CHECKING:
    from insight_lib.market_view import MarketView

TABLES = ("campaigns", "assignments", "transactions")
_SPEND_TAKES = "a test in which customers of every arm spent something"


@dataclass(frozen=True, kw_only=True)
class MarketTests:
    """All campaigns of a market as they stand on the data's day.

    Attributes:
        campaigns: All with days in the data, latest first.
        assigned: One row per customer and arm of a campaign.
        results: Arms of each test that is over and ran fair, latest test first.
        withheld: Tests that did not run fair.
        unread: Tests that could not be laid out, and why.
        shares: Of customers who answered, by campaign without a control group.
        lacking: Why a table that was delivered may not be read.
    """

    campaigns: tuple[Campaign, ...]
    assigned: pd.DataFrame
    orders: pd.DataFrame
    experiments: tuple[Experiment, ...] = ()
    results: tuple[ArmResult, ...] = ()
    unread: tuple[tuple[Campaign, str], ...] = ()
    shares: tuple[tuple[Campaign, Estimate], ...] = ()
    lacking: str = ""

    @property
    def running(self) -> tuple[Campaign, ...]:
        return tuple(c for c in self.campaigns if c.is_randomised and not c.is_over)

    @property
    def withheld(self) -> tuple[Experiment, ...]:
        return tuple(e for e in self.experiments if e.faults)

    @property
    def current(self) -> tuple[ArmResult, ...]:
        """Arms of the latest test that can be read, and of those that ran beside it."""
        if not self.results:
            return ()
        latest = self.results[0].experiment.campaign
        return tuple(r for r in self.results if r.experiment.campaign.end >= latest.start)

    def assigned_to(self, campaign: Campaign) -> pd.DataFrame:
        """Assignments of one campaign."""
        return self.assigned[self.assigned["campaign_id"] == campaign.id]

    def why_none(self) -> str:
        """Why there is no result to read."""
        if self.lacking:
            return self.lacking
        if self.withheld:
            names = ", ".join(e.campaign.name for e in self.withheld)
            return f"the result of {names} is withheld, as it did not run fair"
        named = [u for u in self.unread if u[0].n_assigned] or list(self.unread)
        if named and not self.running:
            return f"{named[0][0].name}: {named[0][1]}"
        if self.running:
            return f"{self.running[0].name} still runs until {self.running[0].end:%Y-%m-%d}"
        return why_no_test(self.campaigns)


def read_tests(m: MarketView) -> MarketTests:
    """Lay out every campaign of a market; one that cannot be read never takes the others."""
    if not all(m.has(t) for t in TABLES):
        lacking = "; ".join(words for t in TABLES if (words := m.lacking(t, "")))
        return MarketTests(
            campaigns=(), assigned=pd.DataFrame(), orders=pd.DataFrame(), lacking=lacking
        )
    lines = m.table("transactions")
    orders, assigned = orders_of(m), m.table("assignments").to_pandas()
    p, zone = m.parameters.impact, m.zone
    table = m.table("campaigns").to_pandas()
    campaigns = list_campaigns(table, assigned, as_of=m.as_of)
    responses = m.table("responses").to_pandas() if m.has("responses") else None
    people = _people(m, (*p.test_traits, *p.test_strata))
    plans = {x.campaign: x.planned_control_share for x in m.registers.plans if x.market == m.id}
    lag_days = settling_days(lines)
    experiments, results, unread = [], [], _not_to_be_read(table, assigned)
    for campaign in campaigns:
        if not campaign.is_randomised or not campaign.is_over:
            continue
        try:
            experiment = build_experiment(
                campaign,
                assigned,
                orders,
                responses,
                people=people,
                plan_share=plans.get(campaign.id),
                market_share=p.planned_control_share,
                traits=p.test_traits,
                strata=p.test_strata,
                pre_period_days=p.pre_period_days,
                zone=zone,
                as_of=m.as_of,
                level=m.parameters.general.interval_level,
            )
        except TooFew as error:
            unread.append((campaign, str(error)))
            continue
        experiment.frame["group"] = value_bands(experiment.frame["revenue_long_before"])
        experiments.append(experiment)
        if experiment.faults:
            continue
        try:
            results += _arms(m, experiment, orders, return_days=lag_days)
        except TooFew as error:
            unread.append((campaign, str(error)))
    return MarketTests(
        campaigns=campaigns,
        assigned=assigned,
        orders=orders,
        experiments=tuple(experiments),
        results=tuple(results),
        unread=tuple(unread),
        shares=_answers(campaigns, assigned, responses, m),
    )


def _not_to_be_read(table: pd.DataFrame, assigned: pd.DataFrame) -> list[tuple[Campaign, str]]:
    """Campaigns without days that can be read: they end before they start, or have no row."""
    found = []
    for row in table.to_dict("records"):
        start, end = (pd.Timestamp(row[name]).date() for name in ("start_date", "end_date"))
        if end < start:
            found.append((_nameless(row["campaign_id"]), "it ends before it starts"))
    for name in sorted(set(assigned["campaign_id"]) - set(table["campaign_id"])):
        why = "customers are assigned to it, and it has not begun or its row is in quarantine"
        found.append((_nameless(name), why))
    return found


def _nameless(name: object) -> Campaign:
    """A campaign of which nothing but the name can be used."""
    return Campaign(
        id=str(name), kind="", start=date.min, end=date.min, cost_amount=None,
        is_randomised=False, n_assigned=0, is_over=False,
    )  # fmt: skip


def _people(m: MarketView, wanted: Sequence[str]) -> pd.DataFrame | None:
    if not m.has("customers"):
        return None
    table = m.table("customers")
    columns = [c for c in dict.fromkeys(wanted) if c in table.columns]
    return table.select("customer_id", *columns).to_pandas()


def orders_of(m: MarketView) -> pd.DataFrame:
    """Orders of the market, counted as it declares."""
    free = m.parameters.general.free_orders_count
    return load_orders(m.rows("transactions"), free_orders_count=free)


def metrics_of(m: MarketView, frame: pd.DataFrame) -> list[Metric]:
    """What a test is judged by, with the market's smallest changes that matter."""
    p = m.parameters.impact
    return usual_metrics(
        frame,
        currency=m.currency,
        smallest_share_change=p.smallest_share_change_that_matters,
        smallest_relative_change=p.smallest_relative_change_that_matters,
    )


def drawn(m: MarketView) -> dict[str, Any]:
    """Day, level and seed of the market, as every estimate takes them."""
    general = m.parameters.general
    return {"as_of": m.as_of, "level": general.interval_level, "seed": general.seed}


def _arms(
    m: MarketView, experiment: Experiment, orders: pd.DataFrame, *, return_days: int
) -> list[ArmResult]:
    until = provisional_until(experiment, return_days=return_days, as_of=m.as_of)
    results = estimate_test(
        experiment,
        metrics_of(m, experiment.frame),
        orders,
        provisional_until=until,
        **drawn(m),
    )
    return [replace(r, guards=_guards(m, r)) for r in results]


def _guards(m: MarketView, result: ArmResult) -> tuple[GuardResult, ...]:
    """Guard-rails of one arm; none where none can be judged."""
    p, campaign = m.parameters.impact, result.experiment.campaign
    last = campaign.end
    if result.experiment.follow_up.is_equal:
        last = min(campaign.end + timedelta(days=result.experiment.follow_up.days), m.as_of)
    window = {"first": campaign.start, "last": last}
    pair = result.experiment.pair(result.arm)
    watched = add_guard_columns(pair, guard_sums(m.table("transactions"), **window))
    if m.has("consents"):
        refused = refused_between(m.table("consents"), zone=m.zone, **window)
        watched["has_refused"] = watched["customer_id"].isin(refused).astype(float)
    try:
        rails = usual_guard_rails(
            watched,
            most_returns_rise=p.most_returns_rise,
            most_discount_rise=p.most_discount_rise,
            most_orders_fall=p.most_orders_fall,
            most_refusals_rise=p.most_refusals_rise,
        )
        return check_guard_rails(watched, rails, stratum=result.experiment.stratum, **drawn(m))
    except TooFew:
        return ()


def _answers(
    campaigns: Sequence[Campaign],
    assigned: pd.DataFrame,
    responses: pd.DataFrame | None,
    m: MarketView,
) -> tuple[tuple[Campaign, Estimate], ...]:
    """Share of customers who answered, of each campaign without anyone left alone."""
    if responses is None:
        return ()
    contacts = set(m.parameters.learning.contact_event_types)
    answers = responses[~responses["response_type"].isin(contacts)]
    found = []
    for campaign in campaigns:
        if campaign.is_randomised or "control" in campaign.arms:
            continue
        mine = set(assigned.loc[assigned["campaign_id"] == campaign.id, "customer_id"])
        who = set(answers.loc[answers["campaign_id"] == campaign.id, "customer_id"])
        if who & mine and len(mine) >= m.parameters.general.minimum_cell_size:
            share = estimate_share(
                len(who & mine), len(mine), as_of=m.as_of,
                level=m.parameters.general.interval_level,
            )  # fmt: skip
            found.append((campaign, share))
    return tuple(found)


def spend_of(result: ArmResult) -> Metric | None:
    """Spend per customer as the arm is judged by it; None where it cannot be told."""
    effect = result.effect("revenue")
    return effect.metric if effect else None


def contact_value(m: MarketView, result: ArmResult) -> ContactValue | None:
    """What a contact of an arm leaves; None where it has no cost, or spend cannot be told."""
    effect, cost = result.effect("revenue"), result.experiment.campaign.cost_amount
    if effect is None or cost is None:
        return None
    return value_per_contact(
        effect.change,
        arm=result.arm,
        n_contacts=result.n_contacted,
        cost_amount=cost,
        margin_share=m.parameters.impact.gross_margin_share,
    )


def _whole(result: ArmResult) -> None:
    """Arms drawn with shares of their own by stratum compare within strata only.

    Raises:
        TooFew: The test has declared strata.
    """
    if result.experiment.stratum is not None:
        raise TooFew("its lottery had shares of its own by stratum, and this compares whole arms")


def groups_of(m: MarketView, result: ArmResult) -> tuple[GroupAnswers, ...]:
    """Does an arm work differently by spend before, or by any trait that is declared.

    Raises:
        TooFew: No split has two groups that are large enough.
    """
    _whole(result)
    traits = {"group": SPEND_BANDS}
    traits |= {f"trait_{c}": c.replace("_", " ") for c in m.parameters.impact.test_traits}
    pair = result.experiment.pair(result.arm)
    return answer_by_traits(pair, result.effects[0].metric, traits, **drawn(m))


def daily_looks(m: MarketView, tests: MarketTests, result: ArmResult) -> Monitoring:
    """What looking every day would have shown.

    Raises:
        TooFew: Customers entered on days of their own, or nothing is known from before.
    """
    _whole(result)
    campaign = result.experiment.campaign
    if result.experiment.follow_up.is_equal:
        raise TooFew(f"customers of {campaign.name} entered on days of their own")
    pair = result.experiment.pair(result.arm)
    arrived = tests.orders.merge(pair[["customer_id", "is_treated"]], on="customer_id")
    inside = arrived["day"].between(pd.Timestamp(campaign.start), pd.Timestamp(campaign.end))
    scale = campaign.days / m.parameters.impact.pre_period_days
    return monitor(
        looks_while_outcomes_arrive(
            arrived[inside].rename(columns={"orders": "value"}),
            n_treated=int(pair["is_treated"].sum()),
            n_control=int((~pair["is_treated"]).sum()),
            days=list(pd.date_range(campaign.start, campaign.end)),
            planned_variance=scale * float(pair["orders_before"].var()),
        ),
        unit="ratio",
        smallest_change_that_matters=m.parameters.impact.smallest_share_change_that_matters,
        level=m.parameters.general.interval_level,
    )


def rank_customers(m: MarketView, result: ArmResult) -> tuple[Uplift, TargetingRule | None]:
    """Who answers because of an arm, and whether choosing by cost is worth it.

    Raises:
        TooFew: An arm has fewer than two hundred customers.
    """
    _whole(result)
    pair, features = result.experiment.pair(result.arm), list(PRE_PERIOD_COLUMNS)
    outcome, spend = result.effects[0].metric, spend_of(result)
    best = estimate_uplift(pair, features, outcome=outcome.column, unit=outcome.unit, **drawn(m))[0]
    cost = result.experiment.campaign.cost_amount
    if cost is None or spend is None:
        return best, None
    by_spend = estimate_uplift(pair, features, outcome="revenue", unit=m.currency, **drawn(m))[0]
    rule = evaluate_targeting(
        pair,
        by_spend.scores,
        revenue="revenue",
        cost_amount=cost,
        margin_share=m.parameters.impact.gross_margin_share,
        unit=m.currency,
        as_of=m.as_of,
        level=m.parameters.general.interval_level,
    )
    return best, rule


def returns_of(
    m: MarketView, tests: MarketTests, ranked: Mapping[str, tuple[Uplift, TargetingRule | None]]
) -> tuple[tuple[Return, ...], tuple[str, ...]]:
    """The return of each arm that may be read, and of the model that chooses; what may be kept.

    Args:
        ranked: By name of the arm, as from `rank_customers`.

    Raises:
        TooFew: No test that may be read says what a contact costs.
    """
    found: list[Return] = []
    released = []
    p = m.parameters.impact
    why, takes = "no test that may be read says what a contact costs", ""
    for result in tests.results:
        cost, spend = result.experiment.campaign.cost_amount, result.effect("revenue")
        if not cost:
            continue
        if spend is None:
            why, takes = f"what {result.name} did to spend cannot be told", _SPEND_TAKES
            continue
        if result.is_carried or result.provisional_until:
            on = "a few customers" if result.is_carried else "returns to come"
            why = f"what {result.name} did to spend hangs on {on}"
            takes = "more customers" if result.is_carried else "days for returns to come in"
            continue
        # The change that the page tells, so that no two sentences disagree.
        found.append(
            return_of_change(
                spend.change, line=result.name, cost_amount=cost, margin_share=p.gross_margin_share
            )
        )
        if result.release is Release.ROLL_OUT:
            released.append(result.name)
    if not found:
        raise TooFew(why, takes=takes or None)
    latest = next(iter(tests.current), None)
    rule = ranked[latest.name][1] if latest and latest.name in ranked else None
    if latest is not None and rule is not None and ranked[latest.name][0].is_better:
        found.append(
            return_of_model(
                rule.against_all,
                line="the model that chooses",
                n_customers=len(latest.experiment.frame),
                cost_amount=p.model_cost_amount,
            )
        )
        released.append("the model that chooses")
    return tuple(found), tuple(released)


def design_of(m: MarketView, experiment: Experiment) -> Design:
    """What the test could show of the share who ordered.

    Raises:
        TooFew: It has no customers.
    """
    frame, p = experiment.frame, m.parameters.impact
    arm = max(experiment.arms, key=lambda a: (len(experiment.pair(a)), a))
    pair = experiment.pair(arm)
    return plan_test(
        standard_deviation=pooled_deviation(frame["has_ordered"].to_numpy(dtype=float)),
        n_customers=len(pair),
        treated_share=float(pair["is_treated"].mean()),
        smallest_effect_that_matters=p.smallest_share_change_that_matters,
        unit="share",
        power=p.test_power,
        as_of=m.as_of,
        level=m.parameters.general.interval_level,
    )


def returns_by_band(m: MarketView, result: ArmResult) -> tuple[Return, ...]:
    """The return of one arm by what customers spent before.

    Raises:
        TooFew: A contact costs nothing, spend cannot be told, or no band is large enough.
    """
    _whole(result)
    spend = spend_of(result)
    if spend is None:
        raise TooFew(f"what {result.name} did to spend cannot be told", takes=_SPEND_TAKES)
    if result.is_carried or result.provisional_until:
        raise TooFew(f"the gain of {result.name} in spend is not to be counted on yet")
    return returns_by_group(
        result.experiment.pair(result.arm),
        spend,
        group="group",
        cost_amount=result.experiment.campaign.cost_amount or 0.0,
        margin_share=m.parameters.impact.gross_margin_share,
        **drawn(m),
    )


def compare_chosen(m: MarketView, tests: MarketTests) -> tuple[Campaign, Targeted, float]:
    """The largest campaign sent by choice: its comparison, and the change that would matter.

    Raises:
        TooFew: There is none with room before and after it, or too few customers.
    """
    if tests.orders.empty:
        raise TooFew("there are no campaigns with orders to compare")
    p = m.parameters.impact
    windows = {"window_days": p.targeted_window_days, "n_windows": p.targeted_windows}
    first_day = tests.orders["day"].min().date()
    chosen = choose_targeted(tests.campaigns, first_day=first_day, as_of=m.as_of, **windows)
    customers = targeted_frame(chosen, tests.assigned, tests.orders, **windows)
    result = estimate_targeted(
        customers,
        history=[f"h{age}" for age in range(1, p.targeted_windows)],
        unit=m.currency,
        as_of=m.as_of,
        level=m.parameters.general.interval_level,
    )
    spend = float(customers.loc[~customers["is_chosen"], "after"].mean())
    return chosen, result, max(p.smallest_relative_change_that_matters * spend, 1e-9)


def plan_tests(m: MarketView, tests: MarketTests) -> list[NextTest]:
    """What the next test takes, for each measure that this market's customers differ in.

    Raises:
        TooFew: Too few customers or too short data.
    """
    p, general = m.parameters.impact, m.parameters.general
    revenue = tests.orders if len(tests.orders) else orders_of(m)
    latest = next(iter(tests.current), None)
    window_days = latest.experiment.follow_up.days if latest else p.targeted_window_days
    recent = planning_frame(
        revenue, as_of=m.as_of, window_days=window_days, pre_period_days=p.pre_period_days
    )
    if len(recent) < general.minimum_customers:
        raise TooFew(
            f"{len(recent):,} customers ordered in the last year, and it takes "
            f"{general.minimum_customers:,}"
        )
    arrivals = weekly_arrivals(revenue, as_of=m.as_of)
    plans = []
    for metric in metrics_of(m, recent.assign(is_treated=False)):
        values = recent[metric.column].to_numpy(dtype=float)
        # Shares are compared as they are, so nothing of the time before is taken out of them.
        if metric.kind == "share" or metric.before is None:
            deviation = pooled_deviation(values)
        else:
            deviation = remaining_deviation(values, recent[metric.before].to_numpy(dtype=float))
        if not deviation > 0:
            continue
        plans.append(
            plan_next_test(
                metric_name=metric.name,
                standard_deviation=deviation,
                smallest_effect_that_matters=metric.smallest_change_that_matters,
                unit=metric.unit,
                n_available=len(recent),
                customers_per_week=arrivals,
                window_days=window_days,
                longest_weeks=p.longest_test_weeks,
                power=p.test_power,
                as_of=m.as_of,
                level=general.interval_level,
            )
        )
    if not plans:
        raise TooFew("customers do not differ in anything that a test would move")
    return plans
