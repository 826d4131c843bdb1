"""Which way to describe customers the data are ripe for: RFM, customer value or behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from insight_lib.features.record import Record
from insight_lib.findings import Estimate, Measured, TooFew, format_value
from insight_lib.statistics import estimate_share

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.features.worth import Worth
    from insight_lib.parameter_model import ValueParameters
    from insight_lib.run import Run

FactName = Literal[
    "history",
    "customers who bought again",
    "repeat customers",
    "events per customer",
    "customers with events",
    "customers",
]
Rule = Literal["value", "behaviour", "few events", "no events", "none"]
Lack = Literal["short", "few", "short and few"]


class Approach(StrEnum):
    """The families of features, the most demanding first."""

    CUSTOMER_VALUE = "customer value"
    BEHAVIOUR = "behaviour"
    RFM = "recency, frequency and spend"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class MaturityThresholds:
    """What each approach takes; a market at a threshold passes it.

    Attributes:
        value_history_days, value_repeat_rate, value_repeaters: For customer value: history,
            share of customers with a second purchase day, and how many of them.
        behaviour_events: For behaviour: events per customer and 90 days.
        behaviour_customers: Customers with any event.
        rfm_history_days, rfm_customers: For RFM.
    """

    value_history_days: int = 365
    value_repeat_rate: float = 0.2
    value_repeaters: int = 300
    behaviour_events: float = 3.0
    behaviour_customers: int = 100
    rfm_history_days: int = 90
    rfm_customers: int = 100


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One fact about the data against its threshold.

    Attributes:
        approach: For which it is asked.
        measured: What the data hold.
        needed: The threshold, same unit.
    """

    name: FactName
    approach: Approach
    measured: Measured
    needed: Measured

    @property
    def is_met(self) -> bool:
        """Whether the data reach the threshold (equal is enough)."""
        return self.measured.value >= self.needed.value

    @property
    def is_close(self) -> bool:
        """Whether the range of the fact lies on both sides of the threshold."""
        fact = self.measured
        return isinstance(fact, Estimate) and fact.lower < self.needed.value <= fact.upper

    @property
    def met(self) -> Literal["close", "yes", "no"]:
        return "close" if self.is_close else "yes" if self.is_met else "no"


@dataclass(frozen=True, kw_only=True)
class Maturity:
    """How ripe the data are, and the rule that fired.

    Attributes:
        approach: The first whose facts are all met.
        facts: All facts, whether met or not.
        rule: The rule that fired.
        missing: What the next more demanding approach lacks.
        is_close: Whether a fact that decided could as well lie on the other side.
    """

    approach: Approach
    facts: tuple[Fact, ...]
    rule: Rule
    missing: tuple[Fact, ...]
    is_close: bool

    @property
    def lack(self) -> Lack:
        """What values lack: history, repeat purchases, or both."""
        short = any(fact.name == "history" for fact in self.missing)
        few = any(fact.name != "history" for fact in self.missing)
        return "short and few" if short and few else "short" if short else "few"


@dataclass(frozen=True, kw_only=True)
class MaturityFacts:
    """What the rules look at.

    Attributes:
        history_days: First purchase day to the data date, both counted.
        repeaters: Customers with a second purchase day.
        events: Events per customer and 90 days; zero without event data.
        customers_with_events: Of them.
    """

    history_days: int
    customers: int
    repeaters: int
    events: float
    customers_with_events: int
    as_of: date


def measure_maturity(
    summary: ir.Table,
    interactions: ir.Table | None,
    *,
    as_of: date,
    unit_days: int = 7,
) -> MaturityFacts:
    """Count in the engine what the rules look at.

    Args:
        summary: As from `purchases.purchase_summary`, with the same `unit_days`.
        interactions: customer_id and occurred_at, if the market has them; the last 90 days
            up to `as_of` are counted.
    """
    import ibis

    totals = summary.agg(
        customers=summary.count(),
        repeaters=(summary.frequency > 0).sum(),
        age=summary.age.max(),
    ).to_pandas()
    customers = int(totals["customers"][0])
    events, with_events = 0.0, 0
    if interactions is not None and customers:
        since = ibis.date(as_of.isoformat()).delta(interactions.occurred_at.date(), unit="day")
        recent = interactions.filter(
            interactions.customer_id.notnull() & since.between(0, _EVENT_DAYS - 1)
        )
        counted = recent.agg(events=recent.count(), who=recent.customer_id.nunique()).to_pandas()
        events = int(counted["events"][0]) / customers
        with_events = int(counted["who"][0])
    return MaturityFacts(
        history_days=round(float(totals["age"][0]) * unit_days) + 1 if customers else 0,
        customers=customers,
        repeaters=int(totals["repeaters"][0] or 0) if customers else 0,
        events=events,
        customers_with_events=with_events,
        as_of=as_of,
    )


_EVENT_DAYS = 90


def choose_approach(
    facts: MaturityFacts, *, thresholds: MaturityThresholds, level: float = 0.95
) -> Maturity:
    """Take the most demanding approach that the data are ripe for.

    Customer value takes a long history and enough repeat customers; behaviour takes events,
    not purchases, so it serves young markets; RFM takes least.

    Raises:
        TooFew: There is no customer at all.
    """
    if facts.customers == 0:
        raise TooFew("no customer has bought yet")
    n, as_of, t = facts.customers, facts.as_of, thresholds

    def fact(
        name: FactName, approach: Approach, value: float | Estimate, needed: float, unit: str
    ) -> Fact:
        measured = (
            value
            if isinstance(value, Estimate)
            else Measured(value=value, unit=unit, n=n, as_of=as_of)
        )
        return Fact(
            name=name,
            approach=approach,
            measured=measured,
            needed=Measured(value=needed, unit=unit, n=n, as_of=as_of),
        )

    repeat_rate = estimate_share(facts.repeaters, n, as_of=as_of, level=level)
    value, behaviour, rfm = Approach.CUSTOMER_VALUE, Approach.BEHAVIOUR, Approach.RFM
    all_facts = (
        fact("history", value, facts.history_days, t.value_history_days, "days"),
        fact("customers who bought again", value, repeat_rate, t.value_repeat_rate, "share"),
        fact("repeat customers", value, facts.repeaters, t.value_repeaters, "count"),
        fact("events per customer", behaviour, facts.events, t.behaviour_events, "score"),
        fact(
            "customers with events",
            behaviour,
            facts.customers_with_events,
            t.behaviour_customers,
            "count",
        ),
        fact("history", rfm, facts.history_days, t.rfm_history_days, "days"),
        fact("customers", rfm, n, t.rfm_customers, "count"),
    )
    lacking: tuple[Fact, ...] = ()
    looked_at: list[Fact] = []
    for approach in (value, behaviour, rfm):
        asked = [f for f in all_facts if f.approach is approach]
        looked_at += asked
        unmet = tuple(f for f in asked if not f.is_met)
        if not unmet:
            chosen = approach
            break
        lacking = lacking or unmet
    else:
        chosen = Approach.NONE
    return Maturity(
        approach=chosen,
        facts=all_facts,
        rule=_rule(chosen, facts),
        missing=lacking,
        is_close=any(f.is_close for f in looked_at),
    )


def _rule(chosen: Approach, facts: MaturityFacts) -> Rule:
    match chosen:
        case Approach.CUSTOMER_VALUE:
            return "value"
        case Approach.BEHAVIOUR:
            return "behaviour"
        case Approach.RFM:
            return "few events" if facts.customers_with_events else "no events"
    return "none"


def ripeness(
    summary: ir.Table,
    record: Record,
    run: Run[ValueParameters],
    interactions: ir.Table | None = None,
    contracts: ir.Table | None = None,
) -> Maturity | None:
    """How ripe the data are; None where contracts, or holes in the data, decide alone.

    Raises:
        TooFew: Fewer customers than `general.minimum_customers`.
    """
    if contracts is not None or record.hole:
        return None
    facts = measure_maturity(summary, interactions, as_of=run.as_of)
    run.require_customers(facts.customers)
    fields = MaturityThresholds.__dataclass_fields__
    thresholds = MaturityThresholds(**{name: getattr(run.parameters, name) for name in fields})
    return choose_approach(facts, thresholds=thresholds, level=run.level)


def why_unripe(result: Maturity) -> str | None:
    """Why customers are not to be forecast one by one, or None where they may be."""
    if result.approach is Approach.CUSTOMER_VALUE:
        return None
    unmet = [f for f in result.facts if f.approach is Approach.CUSTOMER_VALUE and not f.is_met]
    return "; ".join(
        f"{fact.name}: {format_value(fact.measured)}, and it takes {format_value(fact.needed)}"
        for fact in unmet
    )


@dataclass(frozen=True, kw_only=True)
class Ripe:
    """The description that the data carry, the rule that fired, and what the next one lacks.

    Attributes:
        use: What to do with it; a forecast that its own test does not back sets no budget.
        first: The first fact, behind the sentence.
        lacking, fact, needed, measured: What the next more demanding approach lacks first.
    """

    case: Literal["matters", "cannot tell yet"]
    approach: Approach
    use: Literal["value", "rank", "no value", "behaviour", "rfm", "none"]
    rule: Rule
    lack: Lack
    is_close: bool
    first: Measured
    table: tuple[Fact, ...]
    lacking: Approach | None
    name: FactName | None
    needed: Measured | None
    measured: Measured | None

    @property
    def has_lacking(self) -> bool:
        return self.lacking is not None


def maturity(ripeness: Maturity | None, worth: Worth | None = None) -> Ripe | None:
    """Which way to describe customers the data are ripe for."""
    if ripeness is None:
        return None
    return ripe_for(ripeness, None if worth is None else worth.carries_budgets)


def ripe_for(result: Maturity, carries_budgets: bool | None) -> Ripe:
    """What to say of the ripeness of the data.

    Args:
        carries_budgets: Whether the page's own forecast may set budgets; None where it has none.
    """
    lacking = result.missing[0] if result.missing else None
    unsure = result.is_close or carries_budgets is None
    return Ripe(
        case="cannot tell yet" if unsure else "matters",
        approach=result.approach,
        use=_use(result.approach, carries_budgets),
        rule=result.rule,
        lack=result.lack,
        is_close=result.is_close,
        first=result.facts[0].measured,
        table=result.facts,
        lacking=None if lacking is None else lacking.approach,
        name=None if lacking is None else lacking.name,
        needed=None if lacking is None else lacking.needed,
        measured=None if lacking is None else lacking.measured,
    )


def _use(
    approach: Approach, carries_budgets: bool | None
) -> Literal["value", "rank", "no value", "behaviour", "rfm", "none"]:
    match approach:
        case Approach.CUSTOMER_VALUE:
            if carries_budgets is None:
                return "no value"
            return "value" if carries_budgets else "rank"
        case Approach.BEHAVIOUR:
            return "behaviour"
        case Approach.RFM:
            return "rfm"
    return "none"
