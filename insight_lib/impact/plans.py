"""Every campaign with a plan, judged on its own: met, missed, unsure, or not to be judged yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from insight_lib.analyses import Missing
from insight_lib.findings import Estimate, TooFew
from insight_lib.impact.agenda import Pages
from insight_lib.impact.effects import estimate_effect
from insight_lib.impact.experiment import build_experiment
from insight_lib.impact.inputs import (
    Campaign,
    list_campaigns,
    load_orders,
    local_days,
    slug,
    with_arm,
)
from insight_lib.impact.market_tests import drawn, metrics_of
from insight_lib.impact.postmortem import (
    Feed,
    Limits,
    PlanEnding,
    PostMortem,
    Records,
    contacts_on_record,
    failed_data_checks,
    feed_lags,
    hold_post_mortem,
    plan_ending,
)
from insight_lib.prose import Name
from insight_lib.registers import Plan

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.market_view import MarketView
    from insight_lib.parameter_model import LearningParameters
    from insight_lib.run import Run


@dataclass(frozen=True, kw_only=True)
class JudgedPlans:
    """What became of the plans.

    Attributes:
        endings: Names of campaigns by what became of their plan.
        post_mortems: Of those that fell short by their middle.
        unjudged: Name and reason of those that cannot be judged.
        n_customers: Behind those judged.
    """

    endings: Mapping[PlanEnding, tuple[str, ...]]
    post_mortems: tuple[PostMortem, ...]
    unjudged: tuple[tuple[str, str], ...]
    n_customers: int


@dataclass(frozen=True, kw_only=True)
class PlanData:
    """What plans are judged by, as frames; None of what the market does not have."""

    table: pd.DataFrame
    assigned: pd.DataFrame
    orders: pd.DataFrame
    responses: pd.DataFrame | None
    people: pd.DataFrame | None


def planned(plans: tuple[Plan, ...]) -> tuple[Plan, ...]:
    """Plans of the market's campaigns.

    Raises:
        TooFew: There is none.
    """
    if not plans:
        raise TooFew("no campaign has a plan that was written down before it began")
    return plans


def plan_data(
    campaigns: ir.Table,
    assignments: ir.Table,
    transactions: ir.Table,
    run: Run[LearningParameters],
    responses: ir.Table | None = None,
    customers: ir.Table | None = None,
) -> PlanData:
    """The market's campaigns, who was assigned to them, what they ordered and answered."""
    people = None if customers is None else customers.select("customer_id").to_pandas()
    free = run.general.free_orders_count
    return PlanData(
        table=campaigns.to_pandas(),
        assigned=assignments.to_pandas(),
        orders=load_orders(transactions, free_orders_count=free),
        responses=None if responses is None else responses.to_pandas(),
        people=people,
    )


def judged_plans(
    planned: tuple[Plan, ...], plan_data: PlanData, pages: Pages, market: MarketView
) -> JudgedPlans:
    """Judge each campaign of the market that has a plan; one that cannot be takes no other."""
    m, data, findings = market, plan_data, pages.now
    campaigns = {c.id: c for c in list_campaigns(data.table, data.assigned, as_of=m.as_of)}
    endings: dict[PlanEnding, list[str]] = {ending: [] for ending in PlanEnding}
    fell_short, unjudged, n = [], [], 0
    for plan in planned:
        try:
            campaign = _test_of(plan, campaigns)
            arm = _arm_of(plan, campaign)
            change, n_mine = _change(m, plan, campaign, arm, data)
        except TooFew as error:
            unjudged.append((with_arm(plan.campaign, plan.arm), str(error)))
            continue
        n += n_mine
        endings[plan_ending(change, plan.expected_lift)].append(with_arm(campaign.name, plan.arm))
        records = _records(m, campaign, arm, data, findings)
        found = hold_post_mortem(plan, campaign, change, records, limits=_limits(m))
        if found is not None:
            fell_short.append(found)
    return JudgedPlans(
        endings={ending: tuple(names) for ending, names in endings.items()},
        post_mortems=tuple(fell_short),
        unjudged=tuple(unjudged),
        n_customers=n,
    )


@dataclass(frozen=True, kw_only=True)
class PlansMet:
    """How many plans of campaigns, or of their arms, were surely met, surely not, or may be.

    Attributes:
        endings: Those that some plan had.
        n: Customers behind those judged.
    """

    case: Literal["all met", "some missed", "open"]
    endings: tuple[PlanEnding, ...]
    met: tuple[Name, ...]
    missed: tuple[Name, ...]
    unsure: tuple[Name, ...]
    n: int

    @property
    def n_plans(self) -> int:
        return len((*self.met, *self.missed, *self.unsure))

    @property
    def is_one(self) -> bool:
        return self.n_plans == 1

    @property
    def n_met(self) -> int:
        return len(self.met)

    @property
    def n_missed(self) -> int:
        return len(self.missed)

    @property
    def n_unsure(self) -> int:
        return len(self.unsure)

    @property
    def has_met(self) -> bool:
        return bool(self.met)

    @property
    def has_missed(self) -> bool:
        return bool(self.missed)

    @property
    def has_unsure(self) -> bool:
        return bool(self.unsure)


def plans_met(judged_plans: JudgedPlans) -> PlansMet | None:
    """What became of the plans that could be judged; None where none could."""
    ending = {k: tuple(Name(name) for name in v) for k, v in judged_plans.endings.items() if v}
    if not ending:
        return None
    open_or_met: Literal["all met", "open"] = "all met" if [*ending] == [PlanEnding.MET] else "open"
    return PlansMet(
        case="some missed" if PlanEnding.MISSED in ending else open_or_met,
        endings=tuple(e for e in PlanEnding if e in ending),
        met=ending.get(PlanEnding.MET, ()),
        missed=ending.get(PlanEnding.MISSED, ()),
        unsure=ending.get(PlanEnding.UNSURE, ()),
        n=judged_plans.n_customers,
    )


def post_mortem(judged_plans: JudgedPlans) -> tuple[PostMortem, ...]:
    """Each campaign that fell short of its plan; `Missing` for each that cannot be judged."""
    found: list[Any] = list(judged_plans.post_mortems)
    found += [Missing(f"{plan}: {why}", key=slug(plan)) for plan, why in judged_plans.unjudged]
    return tuple(found)


def _test_of(plan: Plan, campaigns: Mapping[str, Campaign]) -> Campaign:
    campaign = campaigns.get(plan.campaign)
    if campaign is None:
        raise TooFew("no customer is assigned to it, or it has not begun")
    if not campaign.is_over:
        raise TooFew(f"it runs until {campaign.end:%Y-%m-%d}")
    if not campaign.is_by_lot:
        raise TooFew("it was not drawn by lot")
    if not campaign.is_randomised:
        raise TooFew(f"none of its arms is called control ({', '.join(campaign.arms)})")
    return campaign


def _arm_of(plan: Plan, campaign: Campaign) -> str:
    """The arm that a plan is about; what one arm brought says nothing of another."""
    arms = [arm for arm in campaign.arms if arm != "control"]
    if plan.arm is None and len(arms) > 1:
        raise TooFew(
            f"it has the arms {', '.join(arms)}, and its plan names none; write `arm` into "
            "parameters/registers/plans.yaml"
        )
    if plan.arm is not None and plan.arm not in arms:
        raise TooFew(f"its plan is about the arm {plan.arm}, and it has {', '.join(arms)}")
    return plan.arm or arms[0]


def _change(
    m: MarketView, plan: Plan, campaign: Campaign, arm: str, data: PlanData
) -> tuple[Estimate, int]:
    """One arm less those left alone on the plan's metric, and how many customers."""
    test = build_experiment(
        campaign,
        data.assigned,
        data.orders,
        data.responses,
        people=data.people,
        plan_share=plan.planned_control_share,
        pre_period_days=m.parameters.impact.pre_period_days,
        zone=m.zone,
        as_of=m.as_of,
    )
    pair = test.pair(arm)
    metrics = {metric.column: metric for metric in metrics_of(m, pair)}
    metric = metrics.get(plan.metric)
    if metric is None:
        raise TooFew(f"nothing is recorded of {plan.metric}, which its plan is about")
    change = estimate_effect(pair, metric, arm=arm, **drawn(m)).change
    return change, len(pair)


def _limits(m: MarketView) -> Limits:
    p = m.parameters.learning
    return Limits(
        smallest_reached_share=p.smallest_reached_share,
        largest_contaminated_share=p.largest_contaminated_share,
        largest_outside_share=p.largest_outside_share,
        largest_start_delay_days=p.largest_start_delay_days,
        largest_late_share=p.largest_late_share,
        late_after_days=p.late_after_days,
        largest_silent_share=p.largest_silent_share,
    )


def _records(
    m: MarketView,
    campaign: Campaign,
    arm: str,
    data: PlanData,
    findings: Sequence[Mapping[str, Any]],
) -> Records:
    """What is on record of one arm of a campaign: customers, responses, feeds, contacts."""
    types = list(m.parameters.learning.contact_event_types)
    everyone = data.assigned[data.assigned["campaign_id"] == campaign.id]
    everyone = everyone.drop_duplicates("customer_id")
    mine = everyone[everyone["arm"].isin(["control", arm])]
    bought = set(data.orders.loc[data.orders["day"] < pd.Timestamp(campaign.start), "customer_id"])
    is_gone = pd.Series(False, index=mine.index)
    if data.people is not None:
        # Who had ordered and is no customer any more went missing; a prospect did not.
        is_known = mine["customer_id"].isin(set(data.people["customer_id"]))
        is_gone = ~is_known & mine["customer_id"].isin(bought)
    arms = mine[["customer_id"]].assign(is_treated=mine["arm"] != "control", is_followed=~is_gone)
    days, interactions = None, None
    lags: dict[Feed, pd.Series] = {}
    if data.responses is not None:
        is_contact = data.responses["response_type"].isin(types)
        answers = data.responses[(data.responses["campaign_id"] == campaign.id) & ~is_contact]
        days = local_days(answers["responded_at"], m.zone)
    if m.has("interactions"):
        events = m.table("interactions")
        if "received_at" in events.columns:
            lags["interactions"] = feed_lags(
                events, campaign, occurred="occurred_at", received="received_at", zone=m.zone
            )
        interactions = events.filter(events.event_type.isin(types)).to_pandas()
    if m.has("provider_log"):
        lags["providers"] = feed_lags(
            m.table("provider_log"),
            campaign,
            occurred="covers_to",
            received="delivered_at",
            zone=m.zone,
        )
    channels = {}
    if "channel" in data.table:
        channels = data.table.set_index("campaign_id")["channel"].dropna().to_dict()
    return Records(
        arms=arms,
        responses=days,
        lags_days=lags,
        contacts=contacts_on_record(
            campaign,
            data.responses,
            interactions,
            channel=channels.get(campaign.id),
            event_types=types,
            zone=m.zone,
        ),
        failed_checks=failed_data_checks(findings),
        n_in_other_arms=len(everyone) - len(mine),
    )
