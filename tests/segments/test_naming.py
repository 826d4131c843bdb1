"""Names: lifts by hand and over seeds, a typical customer who is nobody, and the register."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
import pytest
import yaml

from insight_lib import segments
from insight_lib.findings import Estimate, TooFew
from insight_lib.prose import Name
from insight_lib.segments.naming import (
    Lift,
    TypicalCustomer,
    estimate_lifts,
    interviews,
    match_quotes,
    name_form,
    register_line,
    suggest_names,
    typical_customer,
)
from tests.cards import run_of, tabled
from tests.segments.test_story import groups
from tests.truth.helpers import assert_coverage, over_seeds

AS_OF = date(2024, 12, 31)
RUN = run_of("segments")


def pieces(seed: int, *, n: int = 400, shift: float = 0.0) -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(seed)
    segment = pd.Series(np.where(np.arange(n) < n // 2, "s1", "s2"), index=range(n))
    share = np.where(segment == "s1", 0.3 + shift, 0.3)
    total = rng.integers(5, 30, n)
    kids = rng.binomial(total, share)
    return pd.DataFrame({"Kids": kids, "Other": total - kids}, dtype=float), segment


def test_a_lift_by_hand() -> None:
    counts = pd.DataFrame({"Kids": [3.0] * 20 + [1.0] * 20, "Other": [1.0] * 20 + [3.0] * 20})
    segment = pd.Series(["s1"] * 20 + ["s2"] * 20)
    lifts = estimate_lifts([({"department": counts}, segment)], as_of=AS_OF, minimum_cell_size=10)
    top = lifts[0]
    assert (top.segment, top.feature) == ("s1", "Kids")
    assert top.ratio.value == pytest.approx(3.0)
    assert top.ratio.lower == pytest.approx(3.0)  # everyone is alike, so nothing is unsure


@pytest.mark.slow
@pytest.mark.row("C3.4")
def test_lifts_cover_the_truth_together() -> None:
    def all_hold(seed: int) -> tuple[float, float]:
        counts, segment = pieces(seed, shift=0.3)
        lifts = estimate_lifts([({"x": counts}, segment)], as_of=AS_OF, minimum_cell_size=1)
        (kids,) = [f for f in lifts if (f.segment, f.feature) == ("s1", "Kids")]
        return kids.ratio.lower, kids.ratio.upper

    assert_coverage(over_seeds(all_hold, 400), 2.0, 0.95, may_be_wide=True)


def test_features_of_too_few_customers_are_left_out() -> None:
    counts, segment = pieces(1)
    counts["Rare"] = [1.0] * 9 + [0.0] * 390 + [1.0]
    lifts = estimate_lifts([({"x": counts}, segment)], as_of=AS_OF, minimum_cell_size=10)
    assert "Rare" not in {f.feature for f in lifts}


def test_one_segment_has_nothing_to_compare_with() -> None:
    counts, segment = pieces(1)
    with pytest.raises(TooFew):
        estimate_lifts(
            [({"x": counts}, segment.where(segment == "s1", "s1"))],
            as_of=AS_OF,
            minimum_cell_size=1,
        )


@pytest.mark.row("C3.4")
def test_names_come_from_clear_lifts_and_differ() -> None:
    counts, segment = pieces(2, shift=0.4)
    lifts = estimate_lifts([({"department": counts}, segment)], as_of=AS_OF, minimum_cell_size=10)
    assert suggest_names(lifts, ["s1", "s2"]) == {"s1": "Kids", "s2": "Other"}
    same, segment = pieces(3)
    lifts = estimate_lifts([({"department": same}, segment)], as_of=AS_OF, minimum_cell_size=10)
    names = suggest_names(lifts, ["s1", "s2"])
    assert names == {"s1": "Close to the average", "s2": "Close to the average (s2)"}


@pytest.mark.row("C3.4")
def test_the_typical_customer_is_nobody() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "n_orders": rng.integers(1, 90, 60),
            "mean_order_amount": rng.gamma(2, 50, 60).round(2),
            "age_band": ["25-34"] * 35 + ["60+"] * 25,
        }
    )

    def typical(n: int) -> TypicalCustomer:
        return typical_customer(
            frame[:n], Name("Kids"), currency="EUR", as_of=AS_OF, minimum_cell_size=10
        )

    most = typical(52)
    assert most.n_customers == 52
    assert most.n_orders.value == frame["n_orders"][:52].median()
    assert most.age_band == "25-34"
    row = (frame["n_orders"] == most.n_orders.value) & (
        frame["mean_order_amount"] == most.mean_order_amount.value
    )
    assert not row.any()
    few = typical(8)  # too few to describe
    assert (few.n_orders, few.mean_order_amount, few.age_band) == (None, None, None)


@pytest.mark.row("C3.4")
def test_the_form_writes_the_line_that_the_register_keeps() -> None:
    means = pd.DataFrame({"department: Kids": [1.2, -0.4]}, index=["s1", "s2"])
    stored: list[str] = []
    form = name_form(
        {"s1": "Kids", "s2": "Shoes"}, means, market="de-fashion", as_of=AS_OF, store=stored.append
    )
    box = form.children[1].children[0]
    box.children[0].value = "Shoe lovers"
    box.children[1].click()
    (entry,) = yaml.safe_load(stored[0])
    assert entry == {
        "market": "de-fashion",
        "segment": "s2",
        "name": "Shoe lovers",
        "confirmed_by": "crm-lead",
        "confirmed_on": AS_OF,
        "profile": {"department: Kids": -0.4},
    }
    assert form.children[1].children[1].value == stored[0]


def test_an_empty_name_is_not_confirmed() -> None:
    with pytest.raises(ValueError, match="write a name"):
        register_line(
            market="m", segment="s1", name=" ", means={}, confirmed_by="analyst",
            confirmed_on=AS_OF,
        )  # fmt: skip


@dataclass(frozen=True)
class Said:
    text: str
    about: tuple[str, ...]
    said_on: date = date(2025, 5, 1)
    speaker: str = "customer"


def lift(segment: str, feature: str, ratio: float) -> Lift:
    value = Estimate(
        value=ratio,
        lower=ratio - 0.1,
        upper=ratio + 0.1,
        unit="ratio",
        n=90,
        as_of=AS_OF,
        method="m",
    )
    return Lift(segment=segment, kind="department", feature=feature, ratio=value)


@pytest.mark.row("C3.4")
def test_quotes_go_to_the_segment_that_they_speak_for() -> None:
    lifts = [lift("s1", "Shoes", 3.0), lift("s2", "Shoes", 1.5), lift("s2", "Kids", 2.0)]
    shoes, kids = Said("I like shoes", ("shoes",)), Said("The children grow", ("Kids",))
    newest = Said("Shoes again", ("Shoes",), date(2025, 6, 1))
    both, neither = Said("Kids' shoes", ("Kids", "Shoes")), Said("The weather", ("rain",))
    found = match_quotes([shoes, kids, newest, both, neither], lifts)
    assert {s: [q.text for q in own] for s, own in found.items()} == {
        "s1": ["Shoes again", "I like shoes"],  # of three, the newest two
        "s2": ["The children grow"],
    }
    assert match_quotes([shoes], [lift("s1", "Shoes", 1.1)]) == {}  # not clearly apart


def test_a_group_that_nobody_speaks_of_stands_without_a_word() -> None:
    lifts = (lift("s1", "Shoes", 3.0),)
    later = Said("Shoes!", ("shoes",), date(2026, 5, 1))
    said = Said("I like shoes", ("shoes",), date(2024, 5, 1))
    by_name = groups(*lifts)
    table = tabled(segments, "interviews", interviews(by_name, (said, later), RUN))
    assert table.rows[0] == ("Kids", "“I like shoes”", "customer", "1 May 2024")
    assert table.rows[1] == ("Shoes", "–", "–", "–")
    assert table.note.startswith("1 quotes")
    assert tabled(segments, "interviews", interviews(by_name, (), RUN)) is None
