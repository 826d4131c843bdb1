from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from tiny_project import AS_OF, TinyStage, make_project

from insight_lib.runner.ledger import Cell
from insight_lib.runner.plan import Plan, Selection, SelectionFault, make_plan
from insight_lib.runner.publish import publish

STAGES = (
    TinyStage("third", 3, needs=("second",)),
    TinyStage("first", 1, per_segment=True, publishes=("feats",)),
    TinyStage("second", 2, needs=("first",)),
    TinyStage("alone", 4),
)


def cells(plan: Plan) -> list[str]:
    return [str(node.cell) for node in plan.nodes]


def cell(stage: str, market: str = "aa-one", segment: str = "") -> Cell:
    return Cell(market, stage, segment, AS_OF.isoformat())


def test_each_comes_after_what_it_needs(tmp_path: Path) -> None:
    plan = make_plan(make_project(tmp_path, stages=STAGES, markets=["bb", "aa"]), Selection())
    assert cells(plan) == [
        f"{market} {stage}"
        for market in ("aa", "bb")
        for stage in ("first", "second", "third", "alone")
    ]
    assert plan.by_cell[cell("third", "aa")].needs == (cell("second", "aa"),)


def test_what_a_stage_needs_is_planned_with_it(tmp_path: Path) -> None:
    project = make_project(tmp_path, stages=STAGES)
    assert cells(make_plan(project, Selection(stages=("second",)))) == [
        "aa-one first",
        "aa-one second",
    ]


def test_a_stage_without_notebook_is_looked_through(tmp_path: Path) -> None:
    project = make_project(tmp_path, stages=STAGES)
    (tmp_path / project.stages["second"].notebook).unlink()
    plan = make_plan(project, Selection(stages=("third",)))
    assert plan.by_cell[cell("third")].needs == (cell("first"),)
    with pytest.raises(SelectionFault, match="'second' has no notebook yet"):
        make_plan(project, Selection(stages=("second",)))


def test_segments_are_planned_where_a_stage_has_them(tmp_path: Path) -> None:
    project = make_project(tmp_path, stages=STAGES)
    plan = make_plan(project, Selection(segments=("gold",)))
    assert cells(plan)[:2] == ["aa-one first", "aa-one second"]
    assert cells(plan)[-1] == "aa-one first@gold"
    only = make_plan(project, Selection(stages=("first",), segments=("gold",)))
    assert cells(only) == ["aa-one first@gold"]
    assert only.nodes[0].folder.name == "first@gold"


@pytest.mark.parametrize(
    "selection",
    [
        Selection(markets=("nowhere",)),
        Selection(stages=("nothing",)),
        Selection(segments=("../x",)),
    ],
)
def test_unknown_names_are_refused(tmp_path: Path, selection: Selection) -> None:
    with pytest.raises(SelectionFault):
        make_plan(make_project(tmp_path, stages=STAGES), selection)


def test_a_circle_is_refused(tmp_path: Path) -> None:
    stages = (TinyStage("one", 1, needs=("two",)), TinyStage("two", 2, needs=("one",)))
    with pytest.raises(SelectionFault, match="needs itself"):
        make_plan(make_project(tmp_path, stages=stages), Selection())


def test_a_market_without_data_says_so(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    (tmp_path / "data" / "eu" / "aa-one" / "_manifest.json").unlink()
    (node,) = make_plan(project, Selection()).nodes
    assert node.fault is not None
    assert "insight ingest --market aa-one" in node.fault


def test_a_day_after_the_data_is_a_fault(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    (node,) = make_plan(project, Selection(), as_of=date(2024, 7, 1)).nodes
    assert node.fault is not None
    assert "after the last complete day" in node.fault
    assert make_plan(project, Selection(), as_of=date(2024, 6, 1)).nodes[0].fault is None


def prints(plan: Plan) -> dict[str, str]:
    return {str(node.cell): node.fingerprint for node in plan.nodes}


@pytest.mark.parametrize("change", ["notebook", "data", "settings", "overrides"])
def test_a_change_reaches_what_depends_on_it(tmp_path: Path, change: str) -> None:
    project = make_project(tmp_path, stages=STAGES, markets=["aa", "bb"])
    before = prints(make_plan(project, Selection()))
    selection = Selection()
    match change:
        case "notebook":
            project.write_notebook("second", "changed = 1")
            expected = {f"{m} {s}" for m in ("aa", "bb") for s in ("second", "third")}
        case "data":
            project.write_manifest("aa", version=1)
            expected = {f"aa {s}" for s in ("first", "second", "third", "alone")}
        case "settings":
            project.settings["minimum"] = 1
            expected = set(before)
        case "overrides":
            selection = Selection(overrides={"features.repeat_window_days": 60})
            expected = set(before)
    after = prints(make_plan(project, selection))
    assert {name for name in before if before[name] != after[name]} == expected


def test_a_whole_record_with_the_fingerprint_is_up_to_date(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    (node,) = make_plan(project, Selection()).nodes
    assert not node.is_up_to_date
    record = {"fingerprint": node.fingerprint}
    publish(node.folder, staged=tmp_path / "s", files={"index.html": b"x"}, record=record)
    assert make_plan(project, Selection()).nodes[0].is_up_to_date
    (node.folder / "index.html").write_bytes(b"y")
    assert not make_plan(project, Selection()).nodes[0].is_up_to_date


ACROSS = (
    TinyStage("first", 1, publishes_aggregates=("rates",)),
    TinyStage("borrow", 2, needs=("first",), reads_aggregates=("rates",)),
)


def test_reading_other_markets_comes_after_them_and_depends_on_them(tmp_path: Path) -> None:
    project = make_project(tmp_path, stages=ACROSS, markets=["aa", "bb"])
    before = make_plan(project, Selection())
    borrow = before.by_cell[cell("borrow", "aa")]
    assert borrow.needs == (cell("first", "aa"),)
    assert borrow.after == (cell("first", "bb"),)
    assert before.by_cell[cell("first", "aa")].after == ()
    project.write_manifest("bb", version=1)  # only the other market's data change
    changed = make_plan(project, Selection())
    assert changed.by_cell[cell("borrow", "aa")].fingerprint != borrow.fingerprint
    assert (
        changed.by_cell[cell("first", "aa")].fingerprint
        == before.by_cell[cell("first", "aa")].fingerprint
    )


def test_one_market_alone_does_not_run_the_others(tmp_path: Path) -> None:
    project = make_project(tmp_path, stages=ACROSS, markets=["aa", "bb"])
    plan = make_plan(project, Selection(markets=("aa",)))
    assert cells(plan) == ["aa first", "aa borrow"]
    assert plan.by_cell[cell("borrow", "aa")].after == ()


def test_a_lake_made_again_from_other_data_is_not_the_same(tmp_path: Path) -> None:
    project = make_project(tmp_path, stages=STAGES)
    before = make_plan(project, Selection()).by_cell[cell("first")]
    manifest = project.lake_dir / "eu" / "aa-one" / "_manifest.json"
    manifest.write_text(manifest.read_text().replace('"source_digest": ""', '"source_digest": "x"'))
    after = make_plan(project, Selection()).by_cell[cell("first")]
    assert after.versions == before.versions
    assert after.fingerprint != before.fingerprint


def test_a_segments_run_comes_after_the_stage_that_says_who_is_in_it(tmp_path: Path) -> None:
    stages = (
        TinyStage("first", 1, per_segment=True, publishes=("feats",)),
        TinyStage("groups", 2, needs=("first",), may_publish=("segments",)),
    )
    project = make_project(tmp_path, stages=stages)
    plan = make_plan(project, Selection(stages=("first",), segments=("gold",)))
    assert cells(plan) == ["aa-one first", "aa-one groups", "aa-one first@gold"]
    assert plan.by_cell[cell("first", segment="gold")].needs == (cell("groups"),)


BESIDE = (
    TinyStage("first", 1),
    TinyStage("borrow", 2, needs=("first",), reads_aggregates=("rates",)),
    TinyStage("giver", 1, publishes_aggregates=("rates",)),
    TinyStage("review", 3, after=("first", "borrow")),
)


def test_a_stage_that_reads_others_comes_after_them_and_does_without(tmp_path: Path) -> None:
    project = make_project(tmp_path, stages=BESIDE, markets=["aa", "bb"])
    before = make_plan(project, Selection())
    review = before.by_cell[cell("review", "aa")]
    assert review.needs == ()
    assert review.after == (cell("first", "aa"), cell("borrow", "aa"))
    project.write_manifest("bb", version=1)  # reaches it through what borrow reads
    changed = make_plan(project, Selection())
    assert changed.by_cell[cell("review", "aa")].fingerprint != review.fingerprint


def test_planned_alone_it_rests_on_what_is_published(tmp_path: Path) -> None:
    project = make_project(tmp_path, stages=BESIDE, markets=["aa", "bb"])
    plan = make_plan(project, Selection())
    alone = make_plan(project, Selection(stages=("review",)))
    assert cells(alone) == ["aa review", "bb review"]
    review = alone.by_cell[cell("review", "aa")]
    assert review.after == ()
    assert review.fingerprint != plan.by_cell[review.cell].fingerprint  # nothing is published yet
    for node in plan.nodes:
        publish(
            node.folder,
            staged=tmp_path / "staged",
            files={"index.html": b"page"},
            record={"fingerprint": node.fingerprint},
        )
    alone = make_plan(project, Selection(stages=("review",)))
    assert alone.by_cell[review.cell].fingerprint == plan.by_cell[review.cell].fingerprint


def test_the_whole_market_is_planned_where_something_rests_on_it_through_others(
    tmp_path: Path,
) -> None:
    stages = (
        TinyStage("first", 1, per_segment=True, publishes=("feats",)),
        TinyStage("groups", 2, needs=("first",), may_publish=("segments",)),
        TinyStage("value", 3, needs=("first",), per_segment=True),
        TinyStage("model", 4, needs=("value",), per_segment=True),
        TinyStage("watch", 5, needs=("model",)),
    )
    project = make_project(tmp_path, stages=stages)
    plan = make_plan(project, Selection(segments=("gold",)))
    assert "aa-one value" in cells(plan)
    assert "aa-one value@gold" in cells(plan)
    assert cells(plan).count("aa-one watch") == 1


def test_what_was_found_on_an_earlier_day_is_an_input_too(tmp_path: Path) -> None:
    project = make_project(tmp_path, stages=BESIDE, markets=["aa"])
    before = make_plan(project, Selection()).by_cell[cell("review", "aa")]
    folder = before.folder.parent.parent / "2000-01-01" / "first"
    folder.mkdir(parents=True)
    (folder / "findings.json").write_text("{}")
    after = make_plan(project, Selection()).by_cell[before.cell]
    assert after.fingerprint != before.fingerprint
