"""What the pages of the stage work out between their tables and their sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ibis
import pandas as pd
import pytest

from insight_lib import prediction
from insight_lib.analyses import Missing
from insight_lib.findings import TooFew
from insight_lib.prediction.contacting import eligible, ranked
from insight_lib.prediction.marks import Held, held
from insight_lib.prediction.registry import Registry
from insight_lib.prediction.released import contract_value, limits, split, worth
from insight_lib.prediction.review import Stakes
from insight_lib.prediction.scoring import Scoring, scoring
from insight_lib.prediction.snapshots import Snapshot
from insight_lib.prediction.watch import Watched, models, rollback, watch
from tests.cards import run_of
from tests.prediction.test_performance import surprise
from tests.prediction.test_stakes import KNOWN, LAPSE, TODAY, VALUE

AS_OF = date(2025, 12, 31)
RUN = run_of("prediction", AS_OF)
NOBODY = pd.DataFrame(columns=["target", "n"])


def market(*, record: Path | None = Path("used.json"), has_overrides: bool = False) -> Any:
    request = SimpleNamespace(record=record, has_overrides=has_overrides)
    return SimpleNamespace(request=request, segment=None, consenting=lambda table, _: table)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path, bytes(range(32)), [])


def watched_model(document: Mapping[str, Any], version: str | None) -> Watched:
    return Watched(target=LAPSE, document=document, version=version, seen={})


def with_marks(auc: float) -> Held:
    day = surprise(1).realised
    estimate = replace(day.auc, value=auc, lower=auc - 0.02, upper=auc + 0.02)
    days = (replace(day, auc=estimate),)
    return held("lapse", "stop ordering", days, smallest_auc=0.6, largest_gap=0.1)


def registered(registry: Registry) -> tuple[dict[str, Any], str]:
    document = {"target": "lapse", "inputs": [], "trained": {"as_of": "2025-06-30", "n": 900}}
    version = registry.register(document, {})
    registry.promote("lapse", version, day=date(2025, 7, 1), why="good", gates={"good": True})
    return document, version


@pytest.mark.parametrize(
    ("changes", "auc", "is_live"),
    [
        ({}, 0.52, False),
        ({}, 0.7, True),
        ({"has_overrides": True}, 0.52, True),
        ({"record": None}, 0.52, True),
    ],
)
def test_only_a_usual_run_takes_a_weak_model_out_of_use(
    registry: Registry, changes: dict[str, Any], auc: float, is_live: bool
) -> None:
    document, version = registered(registry)
    models = (watched_model(document, version), watched_model(document, None))
    found = rollback(models, (with_marks(auc),), registry, market(**changes), RUN)
    assert len(found) == (0 if changes else 1)
    assert (registry.live("lapse", on=AS_OF) is not None) == is_live
    states = prediction.model_states(models[:1], registry, (), found, RUN)
    assert states is not None
    assert states["is_live"].tolist() == [is_live]
    assert states["trained_as_of"].tolist() == [date(2025, 6, 30)]
    assert prediction.model_states((), registry, (), found, RUN) is None


def test_a_stand_in_is_watched_until_a_model_is_in_use(registry: Registry) -> None:
    today = replace(TODAY, labels=TODAY.labels[[]])
    days = [replace(KNOWN[0], cut=date(2025, month, 1)) for month in (1, 4, 7)]
    with pytest.raises(TooFew, match="3 past days with outcomes, and it takes 4"):
        watch([*days, today], (LAPSE,), RUN)
    days.append(replace(KNOWN[0], cut=date(2025, 9, 30)))
    (found,) = models(registry, RUN, watch([*days, today], (LAPSE,), RUN))
    assert isinstance(found, Watched)
    assert found.version is None
    assert list(found.seen) == [s.cut for s in days if s.cut >= found.learned_until]
    assert prediction.watched((found, Missing("too few", key="value"))) == (found,)
    assert models(registry, RUN) == ()


def scored(registry: Registry, *targets: Any, today: Snapshot = TODAY) -> Scoring:
    return scoring([*KNOWN, today], targets, NOBODY, registry, market(), RUN)


def test_whatever_scored_somebody_is_registered(registry: Registry) -> None:
    found = scored(registry, LAPSE, VALUE)
    assert [one.target for one in found.scored] == ["lapse", "value"]
    assert found.leaving == "lapse"
    assert len(found.log) == 2 * len(TODAY.features)
    for version in found.log["version"].unique():
        assert registry.load(version)[1]["rung"] == "rule"
    held = prediction.made_again(
        prediction.score_log(found), prediction.score_inputs(found), registry, RUN
    )
    assert held.case == "same"
    few = replace(TODAY, applies=TODAY.applies & False)
    with pytest.raises(TooFew, match="no customer to whom"):
        scored(registry, LAPSE, today=few)


def test_what_is_at_stake_in_a_leaver_is_what_they_spend_who_stay(registry: Registry) -> None:
    found = scored(registry, LAPSE, VALUE)
    kept = prediction.spend_if_kept(found, RUN)
    nothing = contract_value(RUN)
    assert nothing.empty
    at_stake = worth(found, nothing, kept)
    assert at_stake.leaving.equals(kept.amount)
    assert at_stake.other.equals(found.by_target["value"])
    assert worth(found, nothing).leaving.equals(found.by_target["value"])
    parts = split(found, at_stake, Stakes(smallest_amount=None), [], RUN)
    assert len(parts.queue) == len(found.log)  # no limit is known, so every score waits
    with pytest.raises(TooFew, match="no forecast of spend"):
        prediction.spend_if_kept(scored(registry, LAPSE), RUN)


def test_contracts_in_force_are_worth_their_fee_over_the_horizon() -> None:
    table = ibis.memtable(
        pd.DataFrame(
            {
                "customer_id": ["a", "a", "b"],
                "monthly_amount": [10.0, 20.0, 5.0],
                "end_date": [None, None, date(2025, 1, 1)],
            }
        )
    )
    days = RUN.parameters.horizon_days
    assert contract_value(RUN, table).to_dict() == pytest.approx({"a": 30 * days / (365.25 / 12)})


def test_an_amount_that_cannot_be_converted_is_no_limit() -> None:
    assert limits(RUN).smallest_amount == RUN.parameters.review_stakes_amount.amount
    assert limits(replace(RUN, currency="TWD")).smallest_amount is None
    with pytest.raises(TooFew, match="no rate to TWD"):
        prediction.channels(replace(RUN, currency="TWD"))


def test_contacts_and_complaints_count_as_far_as_they_are_on_record(registry: Registry) -> None:
    found = scored(registry, LAPSE)
    ids = list(TODAY.features.index[:4])
    sent = ibis.memtable(
        pd.DataFrame(
            {
                "customer_id": ids[:2],
                "arm": ["control", "mail"],
                "assigned_at": [datetime(2025, 12, 30, tzinfo=UTC)] * 2,
            }
        )
    )
    flags = ibis.memtable(
        pd.DataFrame(
            {
                "customer_id": [ids[2], ids[3], ids[3]],
                "flag": "open_complaint",
                "flag_value": [True, True, False],
                "flagged_at": pd.to_datetime(["2025-12-01", "2025-12-01", "2025-12-20"]),
            }
        )
    )
    rules = eligible(found, market(), RUN, sent, flags)
    assert set(ids) - set(rules.customers) == {ids[1], ids[2]}
    silent = eligible(found, market(), RUN)
    assert len(silent.customers) == len(TODAY.features)
    assert "open complaint" in silent.not_recorded


def test_no_list_without_scores_on_leaving(registry: Registry) -> None:
    with pytest.raises(TooFew, match="nobody is scored on leaving"):
        ranked(scored(registry, VALUE), None, RUN)


def test_columns_that_name_somebody_are_not_read() -> None:
    named = replace(TODAY, features=TODAY.features.assign(email="a@b.com"))
    found = prediction.allowed([named])
    assert [r.column for r in found.refused] == ["email"]
    assert found.columns == list(TODAY.features.columns)
    assert prediction.identifiers(found).n == len(found.columns) + 1
