"""What is recorded of people, against what is true of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from insight_demo import WORLDS, SimulatedMarket, simulate_market
from insight_demo.worlds import ATTITUDES
from tests.demo.conftest import frame, truth
from tests.truth.helpers import assert_unbiased, over_seeds

WORLD = WORLDS["de-fashion"]


def near(count: int, n: int, share: float) -> bool:
    """Whether a count is what `share` of `n` gives, but for chance (1 in 10 000)."""
    return bool(stats.binomtest(count, n, share).pvalue > 1e-4)


def test_values_are_missing_by_the_planted_mechanism(germany: SimulatedMarket) -> None:
    seen, whole = frame(germany, "customers"), truth(germany, "customers_complete")
    faults = germany.world.faults
    missing = seen.isna()
    assert near(missing.household_size.sum(), len(seen), faults.household_missing)
    from_last = whole.acquisition_channel == "marketplace"
    assert not missing.age_band[~from_last].any()
    assert near(missing.age_band[from_last].sum(), from_last.sum(), faults.age_missing_by_channel)
    top = whole.income_band == "high"
    assert near(missing.income_band[top].sum(), top.sum(), faults.income_missing_top)
    assert near(missing.income_band[~top].sum(), (~top).sum(), 0.02)
    for column in ("household_size", "age_band", "income_band"):
        kept = seen[column].notna()
        assert (seen[column][kept] == whole[column][kept]).all()


def test_noise_columns_tell_nothing(germany: SimulatedMarket) -> None:
    rows = frame(germany, "customers").merge(truth(germany, "customers"), on="customer_id")
    for column in germany.scalars["noise_columns"]:
        table = pd.crosstab(rows[column], rows.segment)
        assert stats.chi2_contingency(table).pvalue > 1e-3


def test_the_seasonal_segment_sits_in_the_oldest_band(germany: SimulatedMarket) -> None:
    known = truth(germany, "excluded_groups").set_index("age_band").no_order_in_year_share
    assert known["60+"] > 3 * known["25-34"]
    whole = truth(germany, "customers_complete").merge(
        truth(germany, "customers"), on="customer_id"
    )
    seasonal = (whole.segment == "seasonal classics").groupby(whole.age_band).mean()
    assert seasonal["60+"] > 0.5 > 0.1 > seasonal["25-34"]


def test_refusal_rises_with_value_as_planted(germany: SimulatedMarket) -> None:
    known = truth(germany, "consents").set_index("customer_id")
    first = (
        frame(germany, "consents")
        .sort_values("decided_at")
        .drop_duplicates(["customer_id", "purpose"])
    )
    for purpose in germany.world.consent.purposes:
        rows = first[first.purpose == purpose].set_index("customer_id")
        share = known[f"refuse_{purpose}_share"].reindex(rows.index)
        refused = rows.decision == "refused"
        spread = np.sqrt((share * (1 - share)).sum())
        assert abs(refused.sum() - share.sum()) < 4 * spread
        value = known.value_z.reindex(rows.index)
        assert value[refused].mean() > value[~refused].mean() + 0.1
    flat = replace(WORLD, consent=replace(WORLD.consent, refuse_slope=0.0))
    level = truth(simulate_market(flat, seed=1, n_customers=300), "consents").refuse_analytics_share
    assert level.nunique() == 1


def test_refusing_one_purpose_refuses_the_later_ones(germany: SimulatedMarket) -> None:
    last = (
        frame(germany, "consents")
        .sort_values("decided_at")
        .drop_duplicates(["customer_id", "purpose"], keep="last")
    )
    refused = (
        last.pivot_table(index="customer_id", columns="purpose", values="decision", aggfunc="first")
        == "refused"
    )
    assert (refused.modelling[refused.analytics]).all()
    assert (refused.activation[refused.modelling]).all()


def test_opt_out_markets_write_down_refusals_alone() -> None:
    consents = frame(simulate_market(WORLDS["jp-fashion"], seed=1), "consents")
    assert set(consents.decision) == {"refused"}
    assert set(consents.wording_version) == {"v1", "v2"}


def test_crm_flags_are_late_and_wrong_as_planted(germany: SimulatedMarket) -> None:
    known, flags = truth(germany, "crm_flags"), frame(germany, "crm_flags")
    active = flags[flags.flag == "active_buyer"].reset_index(drop=True)
    assert (active.customer_id == known.customer_id).all()
    assert (active.flag_value == (known.was_active ^ known.is_wrong)).all()
    assert near(known.is_wrong.sum(), len(known), germany.world.faults.crm_noise)
    # The last quarter end, from the order lines themselves.
    day = pd.Timestamp(germany.world.end)
    asked = day - pd.Timedelta(days=germany.world.faults.crm_lag_days)
    lines = frame(germany, "transactions").query("quantity > 0")
    ordered = lines.ordered_local.dt.normalize()
    recent = lines[(ordered >= asked - pd.Timedelta(days=90)) & (ordered < asked)].customer_id
    last = known[known.flagged_at.dt.date == day.date()]
    assert set(last[last.was_active].customer_id) == set(recent)


def test_approvals_differ_by_gender_alike_in_merit(germany: SimulatedMarket) -> None:
    known = truth(germany, "approvals").set_index("customer_id")
    flags = (
        frame(germany, "crm_flags").query("flag == 'instalment_approved'").set_index("customer_id")
    )
    approved = flags.flag_value.reindex(known.index).astype(float)
    spread = np.sqrt((known.approval_share * (1 - known.approval_share)).sum())
    assert abs(approved.sum() - known.approval_share.sum()) < 4 * spread
    by_gender = approved.groupby(known.gender).mean()
    assert by_gender["female"] - by_gender["male"] == pytest.approx(
        germany.scalars["approval_gap"], abs=0.06
    )
    fair = simulate_market(replace(WORLD, approval_gap=0.0), seed=1)
    shares = truth(fair, "approvals").groupby("gender").approval_share.mean()
    assert shares["female"] == pytest.approx(shares["male"], abs=0.03)


def test_identity_records_belong_to_the_known_person(market: SimulatedMarket) -> None:
    records, known = frame(market, "identities"), truth(market, "identities")
    faults = market.world.faults
    assert (records.record_id == known.record_id).all()
    linked = records.customer_id.notna()
    assert (records.customer_id[linked] == known.person_id[linked]).all()
    own = records.source != "ad network"
    assert near((~linked[own]).sum(), own.sum(), faults.unlinked_share)
    assert not linked[~own].any()
    has_email = records.email.notna()
    assert near((~has_email[own]).sum(), own.sum(), faults.identity_missing)
    assert near(known.has_typo.sum(), has_email.sum(), faults.typo_share)
    right = records[has_email & ~known.has_typo].assign(person=known.person_id)
    assert right.groupby("person").email.nunique().max() == 1
    assert right.groupby("email").person.nunique().max() == 1
    assert records.email.dropna().str.contains(r"@example\.(?:com|org|net)$").all()


def test_removing_cookies_loses_what_only_they_join(market: SimulatedMarket) -> None:
    records, known = frame(market, "identities"), truth(market, "identities")
    keys = ["email", "phone", "device_id", "loyalty_id", "cookie_id"]
    has_cookie = market.world.has_third_party_cookies
    assert records.cookie_id.notna().any() == has_cookie
    shared = [records[key].notna() & records.duplicated(key, keep=False) for key in keys]
    by_cookie_alone = shared[-1] & ~np.any(shared[:-1], axis=0) & (records.source == "ad network")
    assert (by_cookie_alone == known.joins_by_cookie_alone).all()
    assert by_cookie_alone.any() == has_cookie


def test_mistyped_addresses_are_not_the_right_one(germany: SimulatedMarket) -> None:
    records, known = frame(germany, "identities"), truth(germany, "identities")
    right = records[~known.has_typo].assign(person=known.person_id).dropna(subset="email")
    right = right.drop_duplicates("person").set_index("person").email
    wrong = records[known.has_typo].assign(person=known.person_id)
    both = wrong[wrong.person.isin(right.index)]
    assert len(both) > 50
    assert (both.email.to_numpy() != right.reindex(both.person).to_numpy()).all()


def survey_means(seed: int) -> tuple[float, float, float]:
    """Mean satisfaction: naive, weighted to the population's age bands, and true."""
    market = simulate_market(WORLD, seed=seed)
    rows = frame(market, "surveys").query("question == 'satisfaction'").dropna(subset="answer")
    margin = frame(market, "population").query("variable == 'age_band'").set_index("level").people
    by_band = rows.groupby("stratum").answer.mean()
    weighted = float(np.average(by_band[margin.index], weights=margin))
    return (
        float(rows.answer.mean()),
        weighted,
        float(truth(market, "survey_answers").satisfaction.mean()),
    )


def test_the_survey_is_biased_and_its_margins_remove_the_bias() -> None:
    naive, weighted, true = zip(*over_seeds(survey_means, 12), strict=True)
    assert_unbiased(weighted, true, detectable=0.12)
    assert np.mean(np.array(naive) - np.array(true)) > 0.1


def test_everyone_asked_is_a_row_and_attitudes_tell_segments_apart(
    germany: SimulatedMarket,
) -> None:
    rows = frame(germany, "surveys")
    assert set(rows.question) == set(ATTITUDES)
    assert 0.1 < rows.answer.notna().mean() < 0.5
    answers = truth(germany, "survey_answers").merge(truth(germany, "customers"), on="customer_id")
    price = answers.groupby("segment").price_matters.mean()
    assert price["bargain hunters"] > price["trend seekers"] + 1


@pytest.mark.parametrize("market_id", ["de-fashion", "us-saas"])
def test_one_rule_misclassifies_the_planted_share(market_id: str) -> None:
    market = simulate_market(WORLDS[market_id], seed=2)
    rows, known = frame(market, "feedback"), truth(market, "feedback").set_index("customer_id")
    wrong = rows.verdict == "misclassified"
    assert near(wrong.sum(), len(rows), market.world.faults.misclassified_share)
    whole = frame(market, "customers").set_index("customer_id").acquisition_channel
    assert set(whole.reindex(rows.customer_id[wrong])) == {"marketplace"}
    assert (
        rows.proposed_segment[wrong]
        == known.true_segment.reindex(rows.customer_id[wrong]).to_numpy()
    ).all()
    assert rows.proposed_segment[~wrong].isna().all()


def test_app_use_depends_on_age_and_voice_on_value(germany: SimulatedMarket) -> None:
    events = frame(germany, "interactions").merge(
        truth(germany, "customers_complete"), on="customer_id"
    )
    app = (events.touchpoint == "app").groupby(events.age_band).mean()
    assert app["18-24"] > 2 * app["60+"]
    known = truth(germany, "customers").set_index("customer_id").value_z
    counts = events.groupby(["touchpoint", "customer_id"]).size()
    alive = truth(germany, "customers").query("is_alive").customer_id
    for point, is_informative in (("voice", True), ("iot", False)):
        n = counts[point].reindex(alive, fill_value=0)
        rho = stats.spearmanr(n, known[alive]).statistic
        assert (rho > 0.2) if is_informative else abs(rho) < 0.1


def test_late_events_arrive_days_later(germany: SimulatedMarket) -> None:
    events = frame(germany, "interactions")
    lag = events.received_at - events.occurred_at
    late = lag > pd.Timedelta(days=1)
    assert late.sum() == germany.scalars["interactions_late"]
    assert near(late.sum(), len(events), germany.world.faults.late_share)
    assert (lag[~late] < pd.Timedelta(minutes=10)).all()


def test_the_dominated_channel_buys_slowest(germany: SimulatedMarket) -> None:
    rows = frame(germany, "customers").merge(truth(germany, "customers"), on="customer_id")
    by_channel = rows.groupby("acquisition_channel").rate_per_week.agg(["mean", "size"])
    assert by_channel["mean"].idxmin() == by_channel["size"].idxmin() == "print"
