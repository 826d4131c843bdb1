"""Assumption checks: outside reference, known truth, false alarms, and the gate."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import ibis
import numpy as np
import pandas as pd
import pytest
from scipy import special, stats
from statsmodels.duration.hazard_regression import PHReg

from insight_demo import WORLDS, simulate_market
from insight_demo.worlds import World
from insight_lib import features
from insight_lib.features.assumptions import (
    AssumptionTest,
    Judged,
    Restrictions,
    Unmeasured,
    attempt_check,
    calibration_table,
    check_calibration,
    check_handling,
    check_linearity,
    check_positivity,
    cross_fitted,
    judge_assumptions,
)
from insight_lib.features.competing_risks import contract_spells
from insight_lib.features.contract_assumptions import (
    ContractAssumptions,
    assumption_calibration,
    assumption_handling,
    assumption_linearity,
    assumption_positivity,
    assumption_proportional_hazards,
    assumption_tests,
    assumptions,
    calibration,
    estimate_contract_assumptions,
)
from insight_lib.features.proportional_hazards import check_proportional_hazards
from insight_lib.findings import Check, Estimate, Finding, Gate, TooFew, Verdict
from tests.cards import drawn, tabled, told
from tests.truth.helpers import (
    assert_coverage,
    assert_detection_rate,
    assert_false_alarm_rate,
    over_seeds,
)

AS_OF = date(2025, 12, 31)
WORLD = WORLDS["us-saas"]
SECTOR = Restrictions(
    sector="insurance",
    allowed_columns=frozenset({"seats", "size_band"}),
    allowed_purposes=frozenset({"retention"}),
)
ALLOWED = check_handling(("seats", "size_band"), purpose="retention", restrictions=SECTOR)
PLANTS = ("proportional_hazards", "calibration", "linearity", "positivity")


def hazards_data(
    seed: int, *, n: int = 1500, late: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, pd.DataFrame]:
    """Exponential lives; the effect of x on the log hazard is multiplied by `late` after a year.

    A third is watched from day 60 on; all up to 700 days at most.
    """
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=n), rng.random(n) < 0.4
    base = 1 / 900
    early_rate = base * np.exp(0.5 * x + 0.4 * z)
    late_rate = base * np.exp(0.5 * late * x + 0.4 * z)
    need = rng.exponential(size=n)
    life = np.where(
        need < 365 * early_rate,
        need / early_rate,
        365 + (need - 365 * early_rate) / late_rate,
    )
    watched = rng.integers(300, 700, n)
    entry = np.where(rng.random(n) < 1 / 3, 60, 0)
    leave = np.minimum(np.floor(life), watched).astype(int)
    kept = leave >= entry
    frame = pd.DataFrame({"x": x, "z": z.astype(float)})[kept].reset_index(drop=True)
    return entry[kept], leave[kept], (np.floor(life) <= watched)[kept], frame


def outcome_data(
    seed: int, *, bend: float = 0.0, n: int = 3000
) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Outcomes, their true chances, and covariates; `bend` weighs the square of x."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=n), (rng.random(n) < 0.4).astype(float)
    chance = special.expit(-1 + 0.6 * x + 0.5 * z + bend * (x**2 - 1))
    return rng.random(n) < chance, chance, pd.DataFrame({"x": x, "z": z})


def exposure_data(
    seed: int, *, never_share: float = 0.0, n: int = 3000
) -> tuple[np.ndarray, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    is_left_out = rng.random(n) < never_share
    exposed = (rng.random(n) < special.expit(0.4 * x)) & ~is_left_out
    return exposed, pd.DataFrame({"x": x, "left_out": is_left_out.astype(float)})


def judged(seed: int, plant: str = "") -> Judged:
    """All four checks on data in which at most one assumption is broken."""
    life = hazards_data(seed, late=-1.0 if plant == "proportional_hazards" else 1.0)
    happened, chance, covariates = outcome_data(
        seed + 10_000, bend=0.5 if plant == "linearity" else 0.0
    )
    said = special.expit(special.logit(chance) / (0.5 if plant == "calibration" else 1.0))
    exposed, known = exposure_data(
        seed + 20_000, never_share=0.15 if plant == "positivity" else 0.0
    )
    return judge_assumptions(
        (
            check_proportional_hazards(*life, as_of=AS_OF),
            check_calibration(happened, said, as_of=AS_OF),
            check_linearity(happened, covariates, as_of=AS_OF),
            check_positivity(exposed, known, as_of=AS_OF),
        ),
        ALLOWED,
    )


def gate(result: ContractAssumptions) -> Finding:
    return told(features, "assumptions", assumptions(result))


def checks(result: ContractAssumptions) -> list[Finding]:
    """One check per assumption, and one for the handling of data."""
    made = (
        assumption_proportional_hazards,
        assumption_calibration,
        assumption_linearity,
        assumption_positivity,
        assumption_handling,
    )
    return [told(features, check.__name__, check(result)) for check in made]


def verdict(result: Judged) -> Verdict:
    return gate(
        ContractAssumptions(judged=result, calibration=None, n_contracts=3000, as_of=AS_OF)
    ).verdict


@pytest.mark.slow
@pytest.mark.row("M3.8")
@pytest.mark.parametrize("plant", PLANTS)
def test_each_broken_assumption_alone_blocks(plant: str) -> None:
    results = over_seeds(lambda seed: judged(seed, plant), 30)
    assert_detection_rate([verdict(r) is Verdict.FAIL for r in results], 0.95)
    named = [plant in {t.assumption for t in r.failed} for r in results]
    assert_detection_rate(named, 0.95)


@pytest.mark.slow
@pytest.mark.row("M3.8")
def test_nothing_broken_passes_in_at_least_95_of_100() -> None:
    results = over_seeds(judged, 200)
    assert_false_alarm_rate([verdict(r) is Verdict.FAIL for r in results], 0.05)


@pytest.mark.row("M3.8")
@pytest.mark.parametrize(
    ("columns", "purpose", "word"),
    [
        (("seats", "age_band"), "retention", "the columns age_band"),
        (("seats",), "pricing", "the purpose pricing"),
    ],
)
def test_a_forbidden_column_or_purpose_alone_blocks(
    columns: tuple[str, ...], purpose: str, word: str
) -> None:
    handling = check_handling(columns, purpose=purpose, restrictions=SECTOR)
    result = replace(judged(1), handling=handling)
    assert verdict(judged(1)) is Verdict.PASS
    assert verdict(result) is Verdict.FAIL
    said = checks(ContractAssumptions(judged=result, calibration=None, n_contracts=9, as_of=AS_OF))
    assert word in str(said[-1].statement)


@pytest.mark.row("M3.8")
def test_what_cannot_be_tested_blocks() -> None:
    few = hazards_data(1, n=20)
    result = attempt_check(
        "proportional_hazards", lambda: check_proportional_hazards(*few, as_of=AS_OF)
    )
    assert isinstance(result, Unmeasured)
    assert "it takes 40" in result.reason
    assert verdict(judge_assumptions((result,), ALLOWED)) is Verdict.FAIL


def contracts_of(world: World, seed: int, n: int) -> ContractAssumptions:
    market = simulate_market(world, seed=seed, n_customers=n)
    customers = market.tables["customers"]
    spells = contract_spells(
        ibis.memtable(market.tables["contracts"]),
        as_of=market.world.end,
        customers=ibis.memtable(customers),
        group="size_band",
    )
    channel = customers.to_pandas().set_index("customer_id")["acquisition_channel"]
    return estimate_contract_assumptions(
        spells,
        channel == "partner",
        cause="voluntary",
        as_of=market.world.end,
        horizon_months=12,
        restrictions=SECTOR,
        columns=("seats", "size_band"),
        purpose="retention",
        minimum_cell_size=10,
        seed=1,
    )


@pytest.mark.slow
@pytest.mark.row("M3.8")
def test_the_software_firm_passes_and_late_factors_block() -> None:
    plain = over_seeds(lambda seed: contracts_of(WORLD, seed, 2500), 120)
    assert_false_alarm_rate([not r.judged.is_allowed for r in plain], 0.05)
    late = replace(WORLD, business=replace(WORLD.business, late_factors=(0.2, 1.0, 4.0)))
    broken = over_seeds(lambda seed: contracts_of(late, seed, 6000), 25)
    found = [{t.assumption for t in r.judged.failed} == {"proportional_hazards"} for r in broken]
    assert_detection_rate(found, 0.9)


def test_the_software_firm_in_words_and_pictures() -> None:
    result = contracts_of(WORLD, 1, 2500)
    opened = gate(result)
    assert isinstance(opened, Gate)
    assert (opened.verdict, opened.blocks) == (Verdict.PASS, ("prediction",))
    assert {c.verdict for c in checks(result)} == {Verdict.PASS}
    assert all(isinstance(c, Check) for c in checks(result))
    table = tabled(features, "assumption_tests", assumption_tests(result))
    assert table is not None
    assert len(table.rows) == len(result.judged.passed)
    chart = drawn(features, "calibration", calibration(result))
    assert chart is not None
    assert chart.table is not None
    assert chart.table.rows


@pytest.mark.row("M3.8")
def test_a_changing_coefficient_agrees_with_statsmodels() -> None:
    # The same test the long way: the Cox model with x times the clock as a further covariate,
    # every life cut at every event day.
    entry, leave, has_event, covariates = hazards_data(3, n=260, late=-0.5)
    x = (covariates[["x"]] - covariates["x"].mean()) / covariates["x"].std(ddof=0)
    (ours,) = check_proportional_hazards(entry, leave, has_event, x, as_of=AS_OF)
    days, counts = np.unique(leave[has_event], return_counts=True)
    clock = (np.cumsum(counts) - counts / 2) / counts.sum()
    rows = [
        (day - 0.5, day, leave[i] == day and has_event[i], x.iloc[i, 0], x.iloc[i, 0] * at)
        for day, at in zip(days, clock, strict=True)
        for i in range(len(leave))
        if entry[i] <= day <= leave[i]
    ]
    start, stop, status, plain, changing = (
        np.array(c, dtype=float) for c in zip(*rows, strict=True)
    )
    wide, narrow = (
        PHReg(stop, exog, status=status, entry=start, ties="breslow").fit()
        for exog in (np.column_stack([plain, changing]), plain[:, None])
    )
    ratio = 2 * (wide.llf - narrow.llf)
    assert stats.chi2.isf(ours.p_value, 1) == pytest.approx(ratio, rel=0.1)
    span = clock[-1] - clock[0]
    assert ours.departure.value == pytest.approx(wide.params[1] * span, rel=0.15)


@pytest.mark.slow
@pytest.mark.row("M3.8")
def test_each_test_alone_keeps_its_level() -> None:
    life = over_seeds(
        lambda s: check_proportional_hazards(*hazards_data(s, n=800), as_of=AS_OF), 300
    )
    for place in (0, 1):
        alarms = [tests[place].p_value < 0.05 for tests in life]
        assert_false_alarm_rate(alarms, 0.05, at_most=False)
        assert_coverage(
            [(t[place].departure.lower, t[place].departure.upper) for t in life], 0.0, 0.95
        )
    outcomes = [outcome_data(s, n=2000) for s in range(300)]
    said = [check_calibration(y, p, as_of=AS_OF) for y, p, _ in outcomes]
    for place in (0, 1):
        assert_false_alarm_rate([t[place].p_value < 0.05 for t in said], 0.05, at_most=False)
        assert_coverage(
            [(t[place].departure.lower, t[place].departure.upper) for t in said], 0.0, 0.95
        )
    lines = [check_linearity(y, x, as_of=AS_OF)[0] for y, _, x in outcomes]
    assert_false_alarm_rate([t.p_value < 0.05 for t in lines], 0.05, at_most=False)


def test_calibration_by_hand() -> None:
    # Half said, three in five seen: off by the log odds of 0.6.
    outcome = np.repeat([True, False], [600, 400])
    said = np.full(1000, 0.5)
    said[::2] += 1e-6  # a slope needs chances that differ
    average = check_calibration(outcome, said, as_of=AS_OF)[0]
    assert average.departure.value == pytest.approx(np.log(0.6 / 0.4), abs=1e-4)
    table = calibration_table(outcome, said, as_of=AS_OF, minimum_cell_size=400)
    assert table["customers"].tolist() == [500, 500]
    with pytest.raises(ValueError, match="between 0 and 1"):
        check_calibration(outcome, np.ones(1000), as_of=AS_OF)
    with pytest.raises(TooFew, match="100 of each"):
        check_calibration(outcome[:650], said[:650], as_of=AS_OF)


def test_too_bold_chances_have_a_slope_below_one() -> None:
    outcome, chance, _ = outcome_data(1, n=20_000)
    bold = special.expit(2 * special.logit(chance))
    spread = check_calibration(outcome, bold, as_of=AS_OF)[1].departure
    assert spread.lower < 0.5 - 1 < spread.upper


def test_positivity_by_hand() -> None:
    # 80 of 100 large accounts are left out for good; a share of 80 in 400 is outside.
    group = pd.DataFrame({"never": np.repeat([1.0, 0.0], [80, 320])})
    exposed = np.r_[np.zeros(80, bool), np.tile([True, False], 160)]
    (found,) = check_positivity(exposed, group, as_of=AS_OF)
    assert found.departure.value == pytest.approx(0.2)
    assert found.p_value == 0
    (fine,) = check_positivity(np.tile([True, False], 200), group, as_of=AS_OF)
    assert (fine.departure.value, fine.p_value) == (0.0, 1.0)


def test_linearity_measures_the_bend() -> None:
    outcome, _, covariates = outcome_data(5, bend=0.4, n=30_000)
    found = {t.subject: t for t in check_linearity(outcome, covariates, as_of=AS_OF)}
    # A band of 0 and 1 has no curve; the square of a normal number less one has deviation √2.
    assert set(found) == {"x"}
    assert found["x"].departure.value == pytest.approx(0.4 * np.sqrt(2), rel=0.2)
    with pytest.raises(TooFew, match="different values"):
        check_linearity(outcome, covariates[["z"]], as_of=AS_OF)
    with pytest.raises(ValueError, match="covariates x have missing"):
        check_linearity(outcome, covariates.assign(x=np.nan), as_of=AS_OF)


def test_holm_by_hand_and_size_decides() -> None:
    def test(p: float, size: float) -> AssumptionTest:
        return AssumptionTest(
            assumption="linearity",
            subject=f"p{p}",
            p_value=p,
            departure=Estimate(
                value=size, lower=0, upper=1, unit="ratio", n=9, as_of=AS_OF, method="-"
            ),
            scale="-",
            tolerance=0.1,
        )

    # 0.01 <= 0.05 / 3; 0.03 > 0.05 / 2 stops, though 0.04 <= 0.05 / 1.
    result = judge_assumptions(((test(0.04, 0.5), test(0.01, 0.5), test(0.03, 0.5)),), ALLOWED)
    assert [t.subject for t in result.failed] == ["p0.01"]
    harmless = judge_assumptions(((test(0.001, 0.05),),), ALLOWED)
    assert (len(harmless.failed), len(harmless.small)) == (0, 1)
    assert verdict(harmless) is Verdict.PASS


def test_cross_fitting_leaves_the_subject_out() -> None:
    # Noise covariates: a fit that had seen the outcome would rank it, this one must not.
    rng = np.random.default_rng(1)
    outcome = rng.random(400) < 0.5
    noise = pd.DataFrame(rng.normal(size=(400, 15)), columns=[f"x{i}" for i in range(15)])
    chance = cross_fitted(outcome, noise, seed=1)
    assert chance[outcome].mean() < chance[~outcome].mean() + 0.03
    assert np.array_equal(chance, cross_fitted(outcome, noise, seed=1))
