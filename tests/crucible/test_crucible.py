"""A share of the crucible; `make soak` runs the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.crucible import results
from tests.crucible.desk import put_through
from tests.crucible.draws import draw_world
from tests.crucible.judge import judge
from tests.crucible.known import Claim
from tests.crucible.relations import RELATIONS, compare
from tests.crucible.results import StageResult, WorldResult, fingerprints


def faults_of(seed: int, root: Path) -> list[str]:
    world = draw_world(seed)
    stages = judge(put_through(root, [world]), world, fingerprints())
    return [fault for stage in stages.values() for fault in stage.faults]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3, 4, 7, 12, 16])
def test_no_draw_crashes_or_says_what_is_undefined(seed: int, tmp_path: Path) -> None:
    assert faults_of(seed, tmp_path) == []


def test_a_stage_that_crashes_is_found(tmp_path: Path) -> None:
    """Planted: a notebook that raises, and one that passes a NaN on to its page."""
    from unittest import mock

    from insight_lib.data_checks import describe_data

    world = draw_world(3, size=3)
    with mock.patch("insight_lib.data_checks.describe_data", side_effect=KeyError("planted")):
        stages = judge(put_through(tmp_path, [world], stages=["impact"]), world, fingerprints())
    assert "planted" in " ".join(stages["impact"].faults)
    assert describe_data is not None


FINDING = {
    "id": "features.revenue",
    "kind": "finding",
    "verdict": "matters",
    "owner": "analyst",
    "value": 0.2,
    "lower": 0.1,
    "upper": 0.3,
    "unit": "change",
    "n": 100,
    "text": "",
    "so_what": "",
}


@pytest.mark.parametrize(
    ("relation", "change"),
    [
        ("in_several_files", {"value": 0.2001}),
        ("in_several_files", {"verdict": "cannot tell yet"}),
        ("ids_renamed", {"value": 0.29}),
        ("ids_renamed", {"verdict": "does not matter"}),
        ("ids_renamed", {"owner": "crm-lead"}),
        ("money_a_hundredfold", {"value": 20.0}),
    ],
)
def test_two_runs_that_part_are_told_apart(relation: str, change: dict[str, object]) -> None:
    one, two = {"features": [FINDING]}, {"features": [FINDING | change]}
    assert compare(one, one, RELATIONS[relation])[0] == {}
    assert compare(one, two, RELATIONS[relation])[0] != {}


def test_a_claim_is_made_not_made_or_not_measurable() -> None:
    claim = Claim(stage="features", ids=r"features\.revenue", says=("matters",), direction=1)
    assert claim.made([FINDING]) is True
    assert claim.made([FINDING | {"value": -0.2}]) is False
    assert claim.made([FINDING | {"verdict": "cannot tell yet"}]) is False
    assert claim.made([FINDING | {"verdict": "not measurable"}]) is None
    assert claim.made([FINDING | {"id": "features.other"}]) is None
    rare = replace(claim, ids="features.other", is_rare=True)
    assert rare.made([FINDING]) is False
    assert rare.made([]) is None
    lean = Claim(stage="features", ids=r"features\.revenue", says=("matters",), beyond=0.25)
    assert lean.made([FINDING]) is False
    assert lean.made([FINDING | {"lower": 0.26}]) is True


def test_a_soak_goes_on_from_what_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path / "kept")
    monkeypatch.setattr(results, "PUBLISHED", tmp_path / "published.json.gz")
    results._published.cache_clear()
    stage = StageResult(
        fingerprint="f", state="published", error=None, seconds=1.0, findings=[FINDING]
    )
    world = WorldResult(seed=7, about={"share": 0.5}, stages={"features": stage})
    results.keep("known/any", world)
    results.publish({"known/any": results.read_all("known/any")})
    first = results.PUBLISHED.read_bytes()
    results.path_of("known/any", 7).unlink()
    assert results.stale_stages("known/any", 7, {"features": "f"}) == []
    assert results.stale_stages("known/any", 7, {"features": "g"}) == ["features"]
    (again,) = results.read_all("known/any")
    assert again.stages["features"].findings[0]["value"] == FINDING["value"]
    assert "text" not in again.stages["features"].findings[0]
    results.publish({"known/any": [again]})
    assert results.PUBLISHED.read_bytes() == first
    results._published.cache_clear()
