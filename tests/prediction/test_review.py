"""High-stakes scores do not leave before a person decided; agreement by hand."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_lib.findings import TooFew
from insight_lib.prediction.review import (
    DecisionFaults,
    Stakes,
    add_stakes,
    decision_row,
    estimate_agreement,
    judged_pairs,
    read_decisions_csv,
    review_form,
    split_released,
    write_queue_csv,
)
from tests.truth.helpers import assert_coverage, over_seeds

AS_OF = date(2024, 12, 31)
V1, V2 = "1" * 16, "2" * 16
STAKES = Stakes(smallest_amount=100.0)
VALUE = pd.Series({"a": 50.0, "b": 400.0, "c": 1000.0, "=d": 4000.0})


def scores(version: str = V1, target: str = "lapse", **change: float) -> pd.DataFrame:
    """At stake: a 25, b 100, c 100, =d 400, e unknown."""
    score = {"a": 0.5, "b": 0.25, "c": 0.1, "=d": 0.1, "e": 0.01} | change
    frame = pd.DataFrame({"customer_id": list(score), "score": list(score.values())})
    return add_stakes(
        frame.assign(target=target, version=version),
        VALUE,
        stakes=STAKES,
        amount_targets=("value",),
    )


def decide(customer: str, verdict: str = "release", *, by: str = "crm-lead", **change: Any):
    row = scores().set_index("customer_id").loc[customer].to_dict() | {"customer_id": customer}
    return decision_row(row | change, verdict=verdict, by=by, why="known customer", day=AS_OF)


def left(decisions: list[dict[str, str]], frame: pd.DataFrame | None = None, **more: Any) -> set:
    frame = scores() if frame is None else frame
    return set(split_released(frame, decisions, stakes=STAKES, **more).released["customer_id"])


@pytest.mark.row("M5.6")
def test_what_is_at_stake_by_hand() -> None:
    frame = scores().set_index("customer_id")
    assert frame["stakes_amount"].drop("e").to_dict() == {"a": 25, "b": 100, "c": 100, "=d": 400}
    assert frame["held_because"].to_dict() == {
        "a": "",
        "b": "the amount at stake is large",
        "c": "the amount at stake is large",
        "=d": "the amount at stake is large",
        "e": "what is at stake is not known",
    }
    amounts = scores(target="value", a=99.0, b=101.0).set_index("customer_id")
    assert amounts.loc[["a", "b"], "held_because"].tolist() == ["", "the amount at stake is large"]
    declared = Stakes(smallest_amount=1e9, high_stakes_targets=("lapse",))
    frame = add_stakes(scores(), VALUE, stakes=declared, amount_targets=())
    assert set(frame["held_because"]) == {"every score of this target is high-stakes"}


@pytest.mark.row("M5.6")
def test_nothing_of_high_stakes_leaves_before_the_decision() -> None:
    split = split_released(scores(), [], stakes=STAKES)
    assert split.released["customer_id"].tolist() == ["a"]
    assert split.queue["customer_id"].tolist() == ["e", "=d", "b", "c"]
    after = split_released(scores(), [decide("b"), decide("c", "reject")], stakes=STAKES)
    assert set(after.released["customer_id"]) == {"a", "b"}
    assert after.rejected["customer_id"].tolist() == ["c"]
    assert after.n_reviewed == 1


@pytest.mark.row("M5.6")
def test_a_decision_is_bound_to_its_score() -> None:
    decisions = [decide("b")]
    assert left(decisions, scores(b=0.25004)) == {"a", "b"}  # the same to four decimals
    assert left(decisions, scores(b=0.2502)) == {"a"}
    assert left(decisions, scores(version=V2)) == {"a"}
    assert left(decisions, scores(target="churn")) == {"a"}


@pytest.mark.row("M5.6")
def test_a_rejected_score_never_leaves() -> None:
    for decisions in (
        [decide("b", "reject"), decide("b")],
        [decide("b"), decide("b", "reject")],
        [decide("b", by="x"), decide("b", "reject", by="y"), decide("b", by="z")],
    ):
        assert left(decisions) == {"a"}
    # Not even where it would not have had to wait.
    assert left([decide("a", "reject")]) == set()


@pytest.mark.row("M5.6")
def test_two_reviewers_are_two_people() -> None:
    two = Stakes(smallest_amount=100.0, n_reviewers=2)
    once = split_released(scores(), [decide("b"), decide("b")], stakes=two)
    assert "b" not in set(once.released["customer_id"])
    assert once.queue.set_index("customer_id").loc["b", "n_releases"] == 1
    both = split_released(scores(), [decide("b"), decide("b", by="insight-lead")], stakes=two)
    assert "b" in set(both.released["customer_id"])


@pytest.mark.row("M5.6")
@given(
    amounts=st.lists(
        st.tuples(st.floats(0, 1), st.one_of(st.none(), st.floats(0, 1e4))), max_size=12
    ),
    verdicts=st.lists(
        st.tuples(st.integers(0, 11), st.sampled_from(["release", "reject"]), st.booleans()),
        max_size=12,
    ),
)
def test_no_order_of_decisions_lets_an_undecided_score_out(amounts, verdicts) -> None:
    ids = [f"c{i}" for i in range(len(amounts))]
    frame = pd.DataFrame(
        {"customer_id": ids, "target": "lapse", "version": V1, "score": [a for a, _ in amounts]}
    )
    value = pd.Series([np.nan if v is None else v for _, v in amounts], index=ids, dtype=float)
    frame = add_stakes(frame, value, stakes=STAKES, amount_targets=())
    decisions = [
        frame.iloc[i][["customer_id", "target", "version", "score"]].to_dict()
        | {"verdict": verdict, "by": "x", "version": V1 if is_same else V2}
        for i, verdict, is_same in verdicts
        if i < len(ids)
    ]
    split = split_released(frame, decisions, stakes=STAKES)
    # The rule once more, said the other way round.
    for name, (score, amount) in zip(ids, amounts, strict=True):
        mine = [d["verdict"] for d in decisions if d["customer_id"] == name and d["version"] == V1]
        held = amount is None or score * amount >= 100
        may_leave = "reject" not in mine and (not held or "release" in mine)
        assert (name in set(split.released["customer_id"])) == may_leave
    assert len(split.released) + len(split.queue) + len(split.rejected) == len(frame)


def test_scores_without_stakes_are_refused() -> None:
    with pytest.raises(ValueError, match="call add_stakes first"):
        split_released(scores().drop(columns="held_because"), [], stakes=STAKES)


@pytest.mark.row("M5.6")
def test_the_queue_goes_out_and_decisions_come_back(tmp_path: Path) -> None:
    queue = split_released(scores(), [], stakes=STAKES).queue
    path = tmp_path / "queue.csv"
    write_queue_csv(queue, path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["customer_id"] for row in rows] == ["e", "'=d", "b", "c"]
    assert read_decisions_csv(path, queue, day=AS_OF) == []
    for row in rows[1:3]:
        row |= {"verdict": "release", "by": "crm-lead", "why": "known"}
    write(path, rows)
    decisions = read_decisions_csv(path, queue, day=AS_OF)
    assert [d["customer_id"] for d in decisions] == ["=d", "b"]
    assert left(decisions) == {"a", "=d", "b"}


def write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.row("M5.6")
def test_every_fault_of_a_file_is_named_and_nothing_counts(tmp_path: Path) -> None:
    queue = split_released(scores(), [], stakes=STAKES).queue
    path = tmp_path / "queue.csv"
    good = {"target": "lapse", "version": V1, "verdict": "release", "by": "x", "why": "y"}
    write(
        path,
        [
            good | {"customer_id": "b", "score": "0.2500"},
            good | {"customer_id": "b", "score": "0.2500"},
            good | {"customer_id": "c", "score": "0.2000"},
            good | {"customer_id": "a", "score": "0.5000"},
            good | {"customer_id": "e", "score": "0.01", "verdict": "maybe", "by": "", "why": ""},
            good | {"customer_id": "=d", "score": "many"},
        ],
    )
    with pytest.raises(DecisionFaults) as error:
        read_decisions_csv(path, queue, day=AS_OF)
    again = "write the queue again and decide on that"
    assert error.value.faults == (
        "line 3, b lapse: decided in line 2 already",
        f"line 4, c lapse: the queue now holds {V1} 0.1000; {again}",
        "line 5, a lapse: not in the queue",
        "line 6, e lapse: verdict 'maybe': write release or reject",
        "line 6, e lapse: by: say who decides",
        "line 6, e lapse: why: give a reason in a few words",
        f"line 7, =d lapse: the queue now holds {V1} 0.1000; {again}",
    )
    path.write_text("customer_id,target\n")
    with pytest.raises(DecisionFaults, match="column 'verdict': missing"):
        read_decisions_csv(path, queue, day=AS_OF)


@pytest.mark.case("128")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_sheets_of_european_spreadsheets_are_read(
    tmp_path: Path, encoding: str, separator: str
) -> None:
    queue = split_released(scores(), [], stakes=STAKES).queue
    path = tmp_path / "queue.csv"
    header = ["customer_id", "target", "version", "score", "verdict", "by", "why"]
    row = ["b", "lapse", V1, '"0,2500"', "Release", "crm-lead", "für sie geprüft"]
    text = "\r\n".join(separator.join(cells) for cells in (header, row)) + "\r\n"
    path.write_bytes(text.encode(encoding))
    (decision,) = read_decisions_csv(path, queue, day=AS_OF, roles={"crm-lead"})
    assert (decision["customer_id"], decision["why"]) == ("b", "für sie geprüft")
    with pytest.raises(DecisionFaults, match="no role of the register"):
        read_decisions_csv(path, queue, day=AS_OF, roles={"insight-lead"})


def test_spreadsheets_find_no_formula(tmp_path: Path) -> None:
    queue = split_released(scores(), [], stakes=STAKES).queue
    names = ["=1+1", "+1", "-cmd|x", "@sum"]
    queue["customer_id"] = names
    write_queue_csv(queue, tmp_path / "queue.csv")
    with (tmp_path / "queue.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [c for c in cells if c[:1] in "=+-@" and c]
    rows = list(csv.DictReader((tmp_path / "queue.csv").open(newline="")))
    for row in rows:
        row |= {"verdict": "release", "by": "x", "why": "y"}
    write(tmp_path / "queue.csv", rows)
    decisions = read_decisions_csv(tmp_path / "queue.csv", queue, day=AS_OF)
    assert [d["customer_id"] for d in decisions] == names


def test_the_form_hands_decisions_on() -> None:
    pytest.importorskip("ipywidgets")
    queue = split_released(scores(), [], stakes=STAKES).queue
    got: list[dict[str, str]] = []
    form = review_form(queue, got.append, by="crm-lead", day=AS_OF)
    why, release, _, answer = form.children[2].children[1].children
    release.click()
    assert not got
    assert "why: give a reason" in answer.value
    why.value = "known customer"
    release.click()
    assert [d["customer_id"] for d in got] == ["b"]
    assert release.disabled
    assert left(got) == {"a", "b"}


@pytest.mark.row("M5.6")
def test_agreement_equals_kappa_by_hand() -> None:
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: agreed 35 / 50 = 0.7, chance
    # 25/50 * 30/50 + 25/50 * 20/50 = 0.5, so kappa = 0.2 / 0.5 = 0.4.
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    found = estimate_agreement(first, second, as_of=AS_OF)
    assert found.agreed.value == pytest.approx(0.7)
    assert found.kappa.value == pytest.approx(0.4)
    assert found.kappa.n == 50
    with pytest.raises(TooFew):
        estimate_agreement(["yes"], ["yes"], as_of=AS_OF)
    with pytest.raises(TooFew):
        estimate_agreement([], [], as_of=AS_OF)


@pytest.mark.row("M5.6")
def test_agreement_agrees_with_outside_references() -> None:
    cohens_kappa = pytest.importorskip("statsmodels.stats.inter_rater").cohens_kappa
    cohen_kappa_score = pytest.importorskip("sklearn.metrics").cohen_kappa_score
    rng = np.random.default_rng(4)
    first = rng.choice(["a", "b", "c"], 200, p=[0.5, 0.3, 0.2])
    second = np.where(rng.random(200) < 0.6, first, rng.choice(["a", "b", "c"], 200))
    found = estimate_agreement(list(first), list(second), as_of=AS_OF).kappa
    outside = cohens_kappa(pd.crosstab(first, second).to_numpy())
    assert found.value == pytest.approx(outside.kappa)
    assert found.value == pytest.approx(cohen_kappa_score(first, second))
    assert (found.lower, found.upper) == pytest.approx((outside.kappa_low, outside.kappa_upp))


@pytest.mark.slow
@pytest.mark.row("M5.6")
def test_the_range_of_kappa_holds_over_seeds() -> None:
    def interval(seed: int) -> tuple[float, float]:
        rng = np.random.default_rng(seed)
        first = rng.random(150) < 0.4
        second = np.where(rng.random(150) < 0.5, first, rng.random(150) < 0.4)
        found = estimate_agreement(list(map(str, first)), list(map(str, second)), as_of=AS_OF)
        return found.kappa.lower, found.kappa.upper

    # Half of the time the second repeats the first, else both draw alike: kappa is 0.5.
    assert_coverage(over_seeds(interval, 400), 0.5, 0.95, may_be_wide=True)


def test_people_are_compared_with_the_model_on_the_same_scores() -> None:
    log = scores()[["customer_id", "target", "version", "score"]]
    decisions = [decide("b"), decide("c"), decide("c", "reject"), decide("=d", version=V2)]
    # The mean of 0.5, 0.25, 0.1, 0.1 and 0.01 is 0.192: the model would release b alone.
    assert judged_pairs(decisions, log) == (["release", "reject"], ["release", "reject"])
