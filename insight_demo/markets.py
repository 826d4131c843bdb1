"""The five simulated markets: one shop model in four countries, and a software firm."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType

from insight_demo.worlds import (
    Business,
    Buying,
    Campaign,
    Consent,
    Department,
    Programme,
    Provider,
    Retail,
    Season,
    Segment,
    Stage,
    World,
)

AGE_BANDS = ("18-24", "25-34", "35-44", "45-59", "60+")
CHANNELS = ("web", "app", "store")
START, END = date(2023, 1, 2), date(2025, 12, 31)  # weeks are counted from a Monday

# name, global category, types, price against a 40 unit middle, season, peak day, returns
_DEPARTMENTS = (
    ("Outerwear", "clothing.coats", ("Parka", "Trench coat", "Rain jacket"), 2.6, 0.7, 330, 0.16),
    ("Knitwear", "clothing.knitwear", ("Cardigan", "Merino jumper", "Vest"), 1.2, 0.5, 340, 0.12),
    (
        "Dresses",
        "clothing.dresses",
        ("Midi dress", "Shirt dress", "Wrap dress"),
        1.5,
        0.4,
        150,
        0.3,
    ),
    ("Shirts", "clothing.tops", ("T-shirt", "Blouse", "Oxford shirt"), 0.7, 0.2, 160, 0.1),
    ("Trousers", "clothing.trousers", ("Jeans", "Chinos", "Leggings"), 1.2, 0.05, 270, 0.22),
    ("Shoes", "footwear", ("Trainers", "Ankle boots", "Sandals"), 2.0, 0.1, 280, 0.25),
    ("Kids", "clothing.children", ("Kids jacket", "Kids jeans", "Kids tee"), 0.6, 0.15, 235, 0.06),
    ("Accessories", "accessories", ("Scarf", "Leather belt", "Tote bag"), 0.6, 0.25, 345, 0.04),
)

# name, share, orders per week, order value (units of 40), departments, tiers, channels, ages,
# attitudes, visit lift, order lift, rate after the concept change
_SEGMENTS = (
    (
        "loyal basics", 0.26, 0.30, 2.6, (1, 2, 1, 4, 4, 2, 0.5, 1), (2, 7, 1), (4, 2, 4),
        (1, 2, 4, 5, 2), (7.6, 3.0, 2.6, 3.4), 0.04, 0.01, 1.0,
    ),
    (
        "trend seekers", 0.20, 0.38, 3.9, (2, 1, 5, 3, 2, 4, 0.2, 3), (1, 4, 5), (3, 6, 1),
        (5, 5, 2, 1, 0.2), (7.0, 2.2, 4.5, 3.0), 0.12, 0.06, 0.6,
    ),
    (
        "bargain hunters", 0.24, 0.16, 2.0, (1, 1, 2, 5, 3, 2, 2, 2), (7, 3, 0.4), (5, 4, 1),
        (4, 4, 3, 2, 1), (6.4, 4.6, 2.4, 2.4), 0.09, 0.04, 1.0,
    ),
    (
        "families", 0.18, 0.22, 3.2, (2, 1, 0.5, 2, 2, 2, 9, 0.5), (4, 5, 1), (4, 3, 3),
        (0.4, 4, 6, 1.5, 0.3), (7.2, 3.8, 2.2, 3.6), 0.06, 0.02, 1.0,
    ),
    (
        "seasonal classics", 0.12, 0.045, 4.4, (6, 4, 2, 1, 2, 3, 0.3, 2), (1, 5, 5), (1, 0.3, 6),
        (0.1, 0.2, 0.8, 3, 8), (8.2, 2.6, 3.0, 4.2), 0.01, 0.0, 1.0,
    ),
)  # fmt: skip


def _segments(unit: float, *, pace: float = 1.0, lift: float = 1.0) -> tuple[Segment, ...]:
    return tuple(
        Segment(
            name=name,
            share=share,
            rate_per_week=rate * pace,
            spend_amount=spend * unit,
            department_mix=departments,
            tier_mix=tiers,
            channel_mix=channels,
            age_mix=ages,
            attitudes=attitudes,
            visit_lift=visit * lift,
            order_lift=order * lift,
            concept_factor=concept,
        )
        for (
            name, share, rate, spend, departments, tiers, channels, ages, attitudes, visit, order,
            concept,
        ) in _SEGMENTS
    )  # fmt: skip


def _departments(unit: float) -> tuple[Department, ...]:
    return tuple(
        Department(
            name=name,
            global_category=category,
            types=types,
            price_amount=price * unit,
            season=season,
            peak_day=peak,
            return_share=returns,
        )
        for name, category, types, price, season, peak, returns in _DEPARTMENTS
    )


def _campaigns(cost: float, message_b: float, *, last: bool) -> tuple[Campaign, ...]:
    """Three drawn by lot, one sent to recent buyers; `last` keeps the last year's only."""
    arms = (("message_a", 1.2), ("message_b", message_b))
    every = (
        Campaign(
            name="autumn-2024", campaign_type="newsletter", channel="email",
            start=date(2024, 9, 16), arms=arms, cost_amount=cost / 10,
        ),
        Campaign(
            name="spring-2025", campaign_type="newsletter", channel="email",
            start=date(2025, 3, 10), arms=arms, cost_amount=cost / 10,
        ),
        Campaign(
            name="coupon-2025", campaign_type="coupon", channel="app",
            start=date(2025, 6, 2), days=21, arms=(("coupon", 1.4),), cost_amount=cost / 4,
        ),
        Campaign(
            name="catalogue-2025", campaign_type="catalogue", channel="post",
            start=date(2025, 10, 6), arms=(("catalogue", 1.0),), cost_amount=cost, targeting=1.0,
        ),
    )  # fmt: skip
    return every[1:] if last else every


def _retail(
    unit: float,
    style: str,
    competitor: str,
    brands: tuple[str, ...],
    *,
    message_b: float = 0.8,
    closed_weekdays: tuple[int, ...] = (),
    programme: Programme | None = None,
    nascent: bool = False,
) -> Retail:
    return Retail(
        departments=_departments(unit),
        channels=CHANNELS,
        brands=brands,
        competitor=competitor,
        price_style=style,
        campaigns=_campaigns(unit / 20, message_b, last=nascent),
        programme=programme,
        closed_weekdays=closed_weekdays,
        drift_date=date(2025, 7, 1),
        concept_date=None if nascent else date(2025, 9, 1),
        buying=Buying(),
    )


_PROVIDERS = (
    Provider(
        name="panel-daily", every_days=1, latency_hours=7.0, latency_shape=4.0, coverage=0.55,
        revision_share=0.02,
    ),
    Provider(
        name="audience-weekly", every_days=7, latency_hours=60.0, latency_shape=2.0, coverage=0.82,
        revision_share=0.12,
    ),
    Provider(
        name="credit-monthly", every_days=30, latency_hours=150.0, latency_shape=9.0, coverage=0.35,
        revision_share=0.005,
    ),
)  # fmt: skip
# Print brings the fewest customers and the slowest buyers: every other channel dominates it.
_ACQUISITION = (
    ("search", 0.28),
    ("social", 0.20),
    ("referral", 0.11),
    ("store", 0.15),
    ("print", 0.06),
    ("marketplace", 0.20),
)
_ACQUISITION_PACE = (1.0, 0.95, 1.25, 1.1, 0.55, 0.85)
_APP_USE = (1.8, 1.5, 1.0, 0.6, 0.25)
_SURVEY = (0.10, 0.16, 0.24, 0.36, 0.50)

DE_FASHION = World(
    id="de-fashion", title="Germany · fashion", country="DE", language="de-DE",
    zone="Europe/Berlin", currency="EUR", exponent=2, is_southern=False, start=START, end=END,
    n_customers=5000, segments=_segments(40), age_bands=AGE_BANDS,
    subregions=(("Nord", 0.18), ("Ost", 0.17), ("Süd", 0.31), ("West", 0.34)),
    acquisition=_ACQUISITION, acquisition_pace=_ACQUISITION_PACE, population_people=69_400_000,
    consent=Consent(basis="opt_in", refuse_intercept=-0.7), providers=_PROVIDERS,
    season=Season(events=(("Weihnachten", 12, 24, 24, 1.45), ("Black Friday", 11, 29, 4, 1.8))),
    retail=_retail(
        40, "point_90", "Nordmode", ("Alster & Co", "Kranich", "Feldweg", "Studio Linde"),
        closed_weekdays=(6,),
        programme=Programme(start=date(2025, 4, 1), subregions=("Nord",), lift=0.15),
    ),
    app_use_by_age=_APP_USE, survey_response=_SURVEY,
    school_breaks=((2, 3, 2, 14), (4, 14, 4, 26), (7, 10, 8, 25), (10, 6, 10, 18), (12, 22, 1, 5)),
    harvest=(8, 10), payday=0,
)  # fmt: skip

BR_FASHION = World(
    id="br-fashion", title="Brazil · fashion", country="BR", language="pt-BR",
    zone="America/Sao_Paulo", currency="BRL", exponent=2, is_southern=True, start=START, end=END,
    n_customers=5000, segments=_segments(120, pace=0.9, lift=1.2), age_bands=AGE_BANDS,
    subregions=(("Sudeste", 0.44), ("Nordeste", 0.25), ("Sul", 0.16), ("Centro-Oeste", 0.15)),
    acquisition=_ACQUISITION, acquisition_pace=_ACQUISITION_PACE, population_people=154_000_000,
    consent=Consent(basis="opt_in", refuse_intercept=-1.3), providers=_PROVIDERS,
    season=Season(events=(("Natal", 12, 24, 24, 1.45), ("Dia das Mães", 5, 11, 8, 1.4))),
    retail=_retail(
        120, "point_90", "Casa Aurora", ("Ipê", "Maré Alta", "Jacarandá", "Ateliê Sol"),
        message_b=0.2,
        programme=Programme(start=date(2025, 4, 1), subregions=("Sul",), lift=0.10),
    ),
    app_use_by_age=_APP_USE, survey_response=_SURVEY,
    school_breaks=((12, 15, 1, 31), (7, 7, 7, 25)), harvest=(2, 5), payday=5,
)  # fmt: skip

JP_FASHION = World(
    id="jp-fashion", title="Japan · fashion", country="JP", language="ja-JP",
    zone="Asia/Tokyo", currency="JPY", exponent=0, is_southern=False, start=START, end=END,
    n_customers=5000, segments=_segments(5200, pace=1.1, lift=0.8), age_bands=AGE_BANDS,
    subregions=(("Kanto", 0.36), ("Kansai", 0.22), ("Chubu", 0.20), ("Kyushu", 0.22)),
    acquisition=_ACQUISITION, acquisition_pace=_ACQUISITION_PACE, population_people=105_000_000,
    consent=Consent(basis="opt_out", refuse_intercept=-2.2), providers=_PROVIDERS,
    season=Season(events=(("Hatsu-uri", 1, 5, 4, 1.6), ("Golden Week", 5, 5, 7, 1.25))),
    retail=_retail(
        5200, "point_yen", "Hoshi Mode", ("Kumo", "Aozora", "Tsubame", "Mori no Ito"),
        message_b=1.1,
        programme=Programme(start=date(2025, 4, 1), subregions=("Kansai",), lift=0.08),
    ),
    app_use_by_age=_APP_USE, survey_response=_SURVEY,
    school_breaks=((3, 25, 4, 6), (7, 21, 8, 31), (12, 25, 1, 7)), harvest=(9, 10), payday=25,
)  # fmt: skip

KE_FASHION = World(
    id="ke-fashion", title="Kenya · fashion", country="KE", language="en-KE",
    zone="Africa/Nairobi", currency="KES", exponent=2, is_southern=True, start=date(2024, 12, 2),
    end=END, n_customers=320, segments=_segments(3400, pace=0.8), age_bands=AGE_BANDS,
    subregions=(("Nairobi", 0.52), ("Mombasa", 0.28), ("Kisumu", 0.20)),
    acquisition=_ACQUISITION, acquisition_pace=_ACQUISITION_PACE, population_people=29_000_000,
    consent=Consent(basis="opt_in", refuse_intercept=-1.0), providers=_PROVIDERS[:2],
    season=Season(amplitude=0.10, events=(("Christmas", 12, 24, 21, 1.6),)),
    retail=_retail(
        3400, "point_50", "Savanna Style", ("Baobab", "Zuri", "Pwani", "Kijani"),
        message_b=0.4, nascent=True,
    ),
    app_use_by_age=_APP_USE, survey_response=_SURVEY,
    school_breaks=((4, 5, 4, 28), (8, 2, 8, 25), (10, 24, 1, 5)), harvest=(7, 9), payday=0,
)  # fmt: skip

US_SAAS = World(
    id="us-saas", title="United States · software", country="US", language="en-US",
    zone="America/New_York", currency="USD", exponent=2, is_southern=False, start=START, end=END,
    n_customers=2500,
    segments=(
        Segment(
            name="small", share=0.55, rate_per_week=1.2, spend_amount=35, seats=8,
            attitudes=(6.8, 4.2, 3.0, 2.4), visit_lift=0.08,
        ),
        Segment(
            name="middle", share=0.33, rate_per_week=1.8, spend_amount=45, seats=40,
            attitudes=(7.2, 3.4, 3.0, 2.8), visit_lift=0.05,
        ),
        Segment(
            name="enterprise", share=0.12, rate_per_week=2.4, spend_amount=60, seats=220,
            attitudes=(7.8, 2.6, 3.0, 3.4), visit_lift=0.02,
        ),
    ),
    age_bands=("all",), subregions=(("East", 0.42), ("Central", 0.26), ("West", 0.32)),
    acquisition=(("inbound", 0.40), ("outbound", 0.22), ("partner", 0.18), ("marketplace", 0.20)),
    population_people=620_000,
    consent=Consent(basis="opt_out", refuse_intercept=-2.5), providers=_PROVIDERS[1:],
    season=Season(amplitude=0.05, weekly=(1.3, 1.35, 1.35, 1.3, 1.1, 0.3, 0.3)),
    business=Business(
        stages=(
            Stage(name="qualified", conversion=0.72, mean_days=14),
            Stage(name="demo", conversion=0.70, mean_days=18),
            Stage(name="proposal", conversion=0.68, mean_days=24),
            Stage(name="negotiation", conversion=0.75, mean_days=30),
        ),
        plans=("Team", "Business", "Enterprise"),
    ),
    survey_response=(0.28,), harvest=(9, 11), payday=15,
    school_breaks=((6, 15, 8, 25), (12, 21, 1, 3)),
    interactions_per_year=60.0, has_third_party_cookies=False,
)  # fmt: skip

WORLDS: Mapping[str, World] = MappingProxyType(
    {
        world.id: world
        for world in (DE_FASHION, BR_FASHION, JP_FASHION, KE_FASHION, US_SAAS)
    }
)  # fmt: skip
