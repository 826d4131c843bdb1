"""Where a model may run: never outside the rule, and the cheapest that fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_lib.market_model import Residency
from insight_lib.prediction.deployment import advise_deployment, estimate_memory
from insight_lib.registers import Site

REGION = Residency(rule="in_region", countries=("AT", "FR"), clause="Art. 45")
COUNTRIES = ["DE", "FR", "AT", "US", "KE"]


def site(name: str, *countries: str, cost: float = 100, memory: float = 8, kind="cloud") -> Site:
    return Site(
        title=name.title(),
        kind=kind,
        countries=countries,
        memory_gib=memory,
        monthly_cost_amount=cost,
        currency="EUR",
        markets=("de-test",),
    )


OWN = site("cellar", "DE", cost=400, kind="on_premise")
NEAR = site("near", "FR", cost=150)
FAR = site("afar", "US", cost=20)
SPREAD = site("spread", "FR", "US", cost=30)


def advise(*sites: Site, residency: Residency = REGION, memory: float = 4.0):
    named = {one.title.lower(): one for one in sites}
    return advise_deployment(named, residency=residency, country="DE", memory_gib=memory)


@pytest.mark.row("M5.1")
def test_the_cheapest_allowed_site_is_advised_and_each_refusal_has_its_reason() -> None:
    found = advise(OWN, NEAR, FAR, SPREAD)
    assert found.advised == NEAR
    assert found.allowed == (NEAR, OWN)
    reason = (
        "data would reach US; personal data stay in DE and the countries that its law "
        "accepts (Art. 45)"
    )
    assert {r.id: r.reasons for r in found.refused} == {"afar": (reason,), "spread": (reason,)}


@pytest.mark.row("M5.1")
def test_each_rule() -> None:
    assert (
        advise(OWN, NEAR, FAR, residency=Residency(rule="in_country", clause="s. 50")).advised
        == OWN
    )
    assert advise(OWN, NEAR, FAR, residency=Residency(rule="free", clause="none")).advised == FAR


def test_a_site_that_nobody_described_is_no_site() -> None:
    with pytest.raises(ValueError, match="countries"):
        site("somewhere", cost=1)


def test_what_it_would_take() -> None:
    small = advise(site("small", "DE", memory=3), FAR)
    assert small.advised is None
    assert small.takes == "1.0 GiB more memory at Small"
    assert advise(FAR).takes == "a site in DE or a country its law accepts with 4.0 GiB of memory"
    strict = advise(FAR, residency=Residency(rule="in_country", clause="s. 50"))
    assert strict.takes == "a site in DE with 4.0 GiB of memory"


def test_memory_grows_with_customers_and_with_the_model() -> None:
    small = {"inputs": [{"name": "a"}], "model": {}}
    large = {"inputs": [{"name": "a"}], "model": {"trees": list(range(100_000))}}
    base = estimate_memory(small, n_customers=1000)
    assert base < estimate_memory(small, n_customers=10_000_000)
    assert base < estimate_memory(large, n_customers=1000)
    # 10 million customers by 2 numbers of 8 bytes, 4 copies: 0.6 GiB, and the runtime of 0.2.
    assert estimate_memory(small, n_customers=10_000_000) == pytest.approx(0.79, abs=0.01)


@pytest.mark.row("M5.1")
@given(
    sites=st.dictionaries(
        st.sampled_from("abcdefgh"),
        st.builds(
            Site,
            title=st.just("a site"),
            kind=st.sampled_from(["on_premise", "hybrid", "cloud"]),
            countries=st.lists(st.sampled_from(COUNTRIES), min_size=1, max_size=3, unique=True).map(
                tuple
            ),
            memory_gib=st.sampled_from([1.0, 4.0, 16.0]),
            monthly_cost_amount=st.integers(0, 500).map(float),
            currency=st.just("EUR"),
            markets=st.just(("de-test",)),
        ),
        max_size=8,
    ),
    rule=st.sampled_from(["in_country", "in_region", "free"]),
    region=st.lists(st.sampled_from(COUNTRIES), max_size=3).map(tuple),
    country=st.sampled_from(COUNTRIES),
    memory=st.sampled_from([0.5, 4.0, 8.0]),
)
def test_never_outside_the_rule(sites, rule, region, country, memory) -> None:
    residency = Residency(rule=rule, countries=region, clause="s. 50")
    found = advise_deployment(sites, residency=residency, country=country, memory_gib=memory)
    may = {"in_country": {country}, "in_region": {country, *region}, "free": set(COUNTRIES)}[rule]
    fitting = [s for s in sites.values() if set(s.countries) <= may]
    fitting = [s for s in fitting if s.memory_gib >= memory]
    assert sorted(found.allowed, key=repr) == sorted(fitting, key=repr)
    assert len(found.allowed) + len(found.refused) == len(sites)
    assert all(r.reasons for r in found.refused)
    if fitting:
        assert found.advised is not None
        cheapest = min(s.monthly_cost_amount for s in fitting)
        assert found.advised.monthly_cost_amount == cheapest
    else:
        assert found.advised is None
        assert found.takes
