"""What a simulated market is made of: every planted truth is a field that a test can set."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A latent kind of customer. Tuples follow the world's order of what they share out.

    Attributes:
        rate_per_week: Mean orders (shop) or product sessions per seat (business) a week.
        spend_amount: Mean order value (shop) or monthly price of a seat (business).
        department_mix, tier_mix, channel_mix, age_mix: Relative shares.
        attitudes: Mean agreement 1-5 with each of `ATTITUDES`.
        visit_lift: Rise of the chance of a visit in a campaign, share.
        order_lift: Extra orders per treated customer in a campaign window.
        concept_factor: Order rate after the concept change, times before.
        seats: Mean seats of an account (business).
    """

    name: str
    share: float
    rate_per_week: float
    spend_amount: float
    department_mix: tuple[float, ...] = ()
    tier_mix: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channel_mix: tuple[float, ...] = ()
    age_mix: tuple[float, ...] = (1.0,)
    attitudes: tuple[float, float, float, float] = (3.0, 3.0, 3.0, 3.0)
    visit_lift: float = 0.05
    order_lift: float = 0.02
    concept_factor: float = 1.0
    seats: float = 0.0


ATTITUDES = ("satisfaction", "price_matters", "style_matters", "sustainability_matters")


@dataclass(frozen=True, kw_only=True)
class Department:
    """A department: what it sells, for how much, when, and how much comes back.

    Attributes:
        price_amount: Middle price, currency of the world.
        season: Height of its yearly wave, 0 for none.
        peak_day: Day of the northern year (0-364) when it sells most.
        return_share: Share of pieces that come back.
    """

    name: str
    global_category: str
    types: tuple[str, ...]
    price_amount: float
    season: float = 0.0
    peak_day: int = 0
    return_share: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Season:
    """The rhythm of buying. `peak_day` is northern; a southern world turns it by half a year.

    Attributes:
        amplitude: Height of the yearly wave, share of the mean.
        weekly: Factor per weekday, Monday first.
        events: (name, month, day, days before it that are busier, factor).
        holiday_factor: Factor on public holidays.
    """

    amplitude: float = 0.25
    peak_day: int = 315
    weekly: tuple[float, ...] = (0.9, 0.85, 0.9, 1.0, 1.15, 1.3, 0.9)
    events: tuple[tuple[str, int, int, int, float], ...] = ()
    holiday_factor: float = 0.6


@dataclass(frozen=True, kw_only=True)
class Buying:
    """BG/NBD (Fader, Hardie & Lee, 2005) with gamma-gamma spend (Fader & Hardie, 2013).

    Attributes:
        r: Shape of the gamma mixing of order rates; the segment's mean rate sets its scale.
        a, b: Beta mixing of the chance to drop out after each repeat order.
        regularity: Erlang shape of gaps; 1 is Poisson buying.
        spend_p, spend_q: Shapes of order value within and mixing across customers.
        spend_model: `price_points` fills baskets of listed products up to about the drawn
            order value; `gamma_gamma` makes every order one line of exactly that value.
        return_days: Mean days from order to return.
    """

    r: float = 1.2
    a: float = 0.8
    b: float = 7.0
    regularity: int = 1
    spend_p: float = 6.25
    spend_q: float = 3.74
    spend_model: str = "price_points"
    return_days: float = 11.0


@dataclass(frozen=True, kw_only=True)
class Pricing:
    """Log-log price response of a product's weekly pieces.

    Attributes:
        own: Own price elasticity per tier (value, core, premium).
        cross: Elasticity to the price of the product's declared substitute.
        competitor: Elasticity to the competitor's price of the same product.
        display, mailer: Rise of log pieces under the promotion.
        promotion_share: Share of product-weeks on promotion.
        out_of_stock_share: Share of product-store-weeks without stock.
        availability_weeks: Last weeks for which availability and stock are kept.
    """

    own: tuple[float, float, float] = (-2.6, -2.0, -1.4)
    cross: float = 0.6
    competitor: float = 0.5
    display: float = 0.25
    mailer: float = 0.35
    promotion_share: float = 0.08
    out_of_stock_share: float = 0.03
    availability_weeks: int = 13
    n_products: int = 120


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """A campaign; `targeting` above 0 sends it to recent buyers instead of drawing lots."""

    name: str
    campaign_type: str
    channel: str
    start: date
    days: int = 14
    treated_share: float = 0.5
    reach: float = 0.6
    cost_amount: float = 0.5
    arms: tuple[tuple[str, float], ...] = (("message_a", 1.0), ("message_b", 1.0))
    targeting: float = 0.0
    visit_share: float = 0.12


@dataclass(frozen=True, kw_only=True)
class Programme:
    """An intervention in some subregions from a day on; the rest are its controls."""

    start: date
    subregions: tuple[str, ...]
    lift: float


@dataclass(frozen=True, kw_only=True)
class Retail:
    """A shop: its assortment, channels and what moves its customers."""

    departments: tuple[Department, ...]
    channels: tuple[str, ...]
    brands: tuple[str, ...]
    competitor: str
    price_style: str
    buying: Buying = Buying()
    pricing: Pricing = Pricing()
    campaigns: tuple[Campaign, ...] = ()
    programme: Programme | None = None
    order_lift_scale: float = 1.0
    closed_weekdays: tuple[int, ...] = ()
    lead_weeks: int = 9
    lead_effect: float = 0.12
    drift_date: date | None = None
    drift_app_shift: float = 0.5
    concept_date: date | None = None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A pipeline stage: chance to advance, and gamma time in stage (mean, shape)."""

    name: str
    conversion: float
    mean_days: float
    shape: float = 2.0


@dataclass(frozen=True, kw_only=True)
class Business:
    """Contracts: competing ways to end, and the pipeline before them.

    Attributes:
        voluntary_per_month, payment_per_month: Cause-specific hazards, constant in time.
        non_renewal_share: Chance at the end of each term.
        hazard_factors: Multiplies the three per segment.
        late_factors: Multiplies the voluntary hazard of each segment again after the first
            year; unequal ones break proportional hazards.
        term_months: Months of a term.
    """

    stages: tuple[Stage, ...]
    plans: tuple[str, ...]
    voluntary_per_month: float = 0.008
    payment_per_month: float = 0.004
    non_renewal_share: float = 0.14
    hazard_factors: tuple[float, ...] = (1.6, 1.0, 0.5)
    late_factors: tuple[float, ...] = (1.0, 1.0, 1.0)
    term_months: int = 12
    late_share: float = 0.09


@dataclass(frozen=True, kw_only=True)
class Consent:
    """Consent by value: the chance to refuse is logistic in the standardised log value."""

    basis: str  # opt_in or opt_out
    refuse_intercept: float = -1.2
    refuse_slope: float = 0.4
    withdraw_share: float = 0.04
    purposes: tuple[str, ...] = ("analytics", "modelling", "activation")
    purpose_steps: tuple[float, ...] = (0.0, 0.2, 0.8)  # added to the intercept


@dataclass(frozen=True, kw_only=True)
class Provider:
    """A third-party source: gamma latency, share of records matched and revised."""

    name: str
    every_days: int
    latency_hours: float
    latency_shape: float
    coverage: float
    revision_share: float


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What is wrong with the data, each with its known size; zeros switch it off."""

    duplicate_share: float = 0.002  # exact copies of order lines and events
    late_share: float = 0.02  # events that arrive days late
    late_days: float = 3.0
    household_missing: float = 0.08  # completely at random
    age_missing_by_channel: float = 0.15  # at random given the channel: last channel only
    income_missing_top: float = 0.35  # not at random: the top band hides itself
    crm_noise: float = 0.20
    crm_lag_days: int = 21
    typo_share: float = 0.08
    identity_missing: float = 0.15
    unlinked_share: float = 0.10
    misclassified_share: float = 0.15
    untagged_language_share: float = 0.04


@dataclass(frozen=True, kw_only=True)
class World:
    """A simulated market and everything that is true of it."""

    id: str
    title: str
    country: str
    language: str
    zone: str
    currency: str
    exponent: int
    is_southern: bool
    start: date
    end: date  # last complete day
    n_customers: int
    segments: tuple[Segment, ...]
    age_bands: tuple[str, ...]
    subregions: tuple[tuple[str, float], ...]
    acquisition: tuple[tuple[str, float], ...]
    population_people: int
    consent: Consent
    providers: tuple[Provider, ...]
    season: Season = Season()
    retail: Retail | None = None
    business: Business | None = None
    faults: Faults = Faults()
    segment_separation: float = 1.0
    future_days: int = 364
    acquisition_pace: tuple[float, ...] = ()  # order rate by channel against the segment's
    app_use_by_age: tuple[float, ...] = (1.0,)
    interactions_per_year: float = 40.0
    interaction_days: int = 365
    approval_share: float = 0.62
    approval_gap: float = -0.12  # of women against men, same merit
    survey_response: tuple[float, ...] = (0.3,)  # by age band
    survey_age_slope: float = 0.25  # answer per age band
    has_third_party_cookies: bool = True
    school_breaks: tuple[tuple[int, int, int, int], ...] = ()  # month, day to month, day
    harvest: tuple[int, int] | None = None  # first and last month
    payday: int = 0  # day of the month; 0 is the last
    note: str = field(default="simulated data")

    @property
    def days(self) -> int:
        """Days of history, both ends counted."""
        return (self.end - self.start).days + 1

    @property
    def shop(self) -> Retail:
        if self.retail is None:
            raise ValueError(f"market {self.id!r} has no shop; set World.retail")
        return self.retail

    @property
    def firm(self) -> Business:
        if self.business is None:
            raise ValueError(f"market {self.id!r} has no contracts; set World.business")
        return self.business

    def day(self, when: date) -> int:
        """Days from the start of the history."""
        return (when - self.start).days

    def blended(self) -> tuple[Segment, ...]:
        """The segments drawn towards their mean: 1 leaves them apart, 0 makes one of all.

        Above 1 they stand further apart, no share, rate or amount below zero.
        """
        total = sum(segment.share for segment in self.segments)
        weights = [segment.share / total for segment in self.segments]
        names = ("department_mix", "tier_mix", "channel_mix", "attitudes", "age_mix")
        numbers = ("rate_per_week", "spend_amount", "visit_lift", "order_lift", "concept_factor")

        def towards(own: float, values: list[float]) -> float:
            mean = sum(w * v for w, v in zip(weights, values, strict=True))
            return max(0.0, mean + self.segment_separation * (own - mean))

        def blend(segment: Segment) -> Segment:
            changed: dict[str, Any] = {}
            for name in names:
                rows = [getattr(other, name) for other in self.segments]
                changed[name] = tuple(
                    towards(value, [row[i] for row in rows])
                    for i, value in enumerate(getattr(segment, name))
                )
            for name in (*numbers, "seats"):
                changed[name] = towards(
                    getattr(segment, name), [getattr(other, name) for other in self.segments]
                )
            return replace(segment, **changed)

        return tuple(blend(segment) for segment in self.segments)


def quiet(world: World) -> World:
    """The same world as pure BG/NBD: no season, campaign, programme, lead, drift or fault.

    Estimators of the purchase process recover `Buying` from it exactly but for chance.
    """
    flat = Season(amplitude=0.0, weekly=(1.0,) * 7, events=(), holiday_factor=1.0)
    retail = world.retail and replace(
        world.retail,
        campaigns=(),
        programme=None,
        lead_effect=0.0,
        drift_date=None,
        concept_date=None,
        closed_weekdays=(),
    )
    none = dict.fromkeys(Faults.__dataclass_fields__, 0)
    return replace(
        world,
        season=flat,
        retail=retail,
        faults=Faults(**none),
        segment_separation=0.0,
        acquisition_pace=(),
    )
