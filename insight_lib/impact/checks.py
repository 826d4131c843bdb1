"""The checks of one test as they stand on the page, each on its own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from insight_lib.findings import Check, Finding, Need, Prose, TooFew, Verdict
from insight_lib.impact.arms import ArmResult
from insight_lib.impact.carry_over import check_carry_over, earlier_tests
from insight_lib.impact.experiment import HABITS, Experiment, overlaps
from insight_lib.impact.inputs import Campaign, slug
from insight_lib.impact.integrity_story import (
    describe_attrition,
    describe_balance,
    describe_both_arms,
    describe_capped,
    describe_carry_over,
    describe_design,
    describe_follow_up,
    describe_overlap,
    describe_sample_ratio,
    describe_stratified,
)
from insight_lib.impact.market_tests import MarketTests, design_of, spend_of
from insight_lib.impact.stratification import check_stratum_balance, estimate_stratified

if TYPE_CHECKING:
    from insight_lib.market_view import MarketView


def integrity_checks(m: MarketView, tests: MarketTests, test: Experiment) -> list[Check]:
    """Whether one test can be believed; of a withheld one, only what says why."""
    as_of = m.as_of
    checks: list[Check | None] = [
        describe_sample_ratio(test, as_of=as_of),
        describe_balance(test, as_of=as_of, uneven_groups=_uneven_groups(m, test)),
        describe_attrition(test, as_of=as_of),
        *describe_follow_up(test, as_of=as_of),
    ]
    if shared := overlaps(test, tests.experiments):
        checks.append(describe_overlap(test, shared, as_of=as_of))
    if not test.faults:
        with suppress(TooFew):  # too small an arm: the effect has said so
            checks.append(describe_design(design_of(m, test), test, metric="has_ordered"))
        for result in tests.results:
            if result.experiment is test:
                checks += [
                    describe_both_arms(result, as_of=as_of),
                    describe_capped(result),
                    _stratified(m, result),
                ]
        checks.append(_carried_over(m, tests, test))
    return [check for check in checks if check is not None]


def _stratified(m: MarketView, result: ArmResult) -> Check | None:
    """Does comparing within spend bands tell the same; None where there are too few in them."""
    metric = spend_of(result)
    level = result.experiment.level_of_each(m.parameters.general.interval_level)
    effect = result.effect("revenue")
    if metric is None or effect is None or result.experiment.stratum is not None:
        return None
    if result.is_carried:  # its bands would claim a range that the result does not have
        return None
    pair = result.experiment.pair(result.arm)
    try:
        within = estimate_stratified(pair, metric, stratum="group", as_of=m.as_of, level=level)
    except TooFew:
        return None
    return describe_stratified(within, effect.change, result)


def _uneven_groups(m: MarketView, test: Experiment) -> tuple[str, ...]:
    """Spend bands within which an arm differed from control before the start."""
    if test.stratum is not None:  # then the balance itself is taken within strata
        return ()
    found: set[str] = set()
    level = (1 + m.parameters.general.interval_level) / 2  # shared with the balance of all
    for arm in test.arms:
        with suppress(TooFew):  # too few in every band
            balance = check_stratum_balance(
                test.pair(arm), list(HABITS), stratum="group", level=level
            )
            found |= set(balance.unbalanced)
    return tuple(sorted(found))


def _carried_over(m: MarketView, tests: MarketTests, test: Experiment) -> Check | None:
    """Do earlier tests still move these customers; None where no earlier one shares enough."""
    campaigns = tuple(e.campaign for e in tests.experiments if not e.faults)
    common: dict[str, Any] = {"as_of": m.as_of, "level": m.parameters.general.interval_level}
    try:
        carried = check_carry_over(
            test.campaign,
            earlier_tests(test.campaign, campaigns),
            tests.assigned.drop_duplicates(["campaign_id", "customer_id"]),
            tests.orders,
            window_days=m.parameters.impact.carry_over_window_days,
            **common,
        )
    except TooFew:
        return None
    return describe_carry_over(carried, test.campaign, as_of=m.as_of)


def unread_check(campaign: Campaign, why: str) -> Finding:
    """A test of which nothing can be told, and the reason; the others are told all the same."""
    return Finding(
        id=f"impact.unread.{slug(campaign.id)}",
        rows=("C8.1",),
        statement=Prose(
            "What {campaign} brought cannot be measured here: {why}.",
            campaign=campaign.name,
            why=why,
        ),
        verdict=Verdict.NOT_MEASURABLE,
        owner="data-engineer",
        evidence=("assignments", "campaigns", "transactions"),
        needs=(Need(table="transactions"), Need(table="assignments")),
        so_what=Prose("The other tests are told all the same."),
        weight=0.6,
    )


def aged(findings: Sequence[Finding | None]) -> list[Finding]:
    """Findings of a test that is not among the latest: below those on the page."""
    return [replace(f, weight=f.weight * 0.4) for f in findings if f is not None]
