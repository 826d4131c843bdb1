"""What people do about models and scores, by the command line, on a market with few customers."""

from __future__ import annotations

import csv
import json
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from insight_lib.cli import app
from insight_lib.market import Refused, open_market
from insight_lib.prediction.chain import logged_inputs, rule_document, rule_rung, score_frame
from insight_lib.prediction.registry import Registry
from insight_lib.prediction.review import Stakes, add_stakes, split_released
from insight_lib.prediction.signing import read_key
from insight_lib.prediction.snapshots import Target
from tests.conftest import ProjectFolder
from tests.test_market import lines, prepare

DAY = date(2024, 12, 31)
TARGET = Target(
    id="lapse", title="stop", kind="binary", purpose="retention", horizon_days=28, unit="share"
)
GATES = {"no leak": True}


def insight(folder: ProjectFolder, *arguments: str, exit_code: int = 0) -> str:
    command = [*arguments, "--market", "de-test", "--root", str(folder.root)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == exit_code, result.output
    return result.output


def failed(folder: ProjectFolder, *arguments: str) -> str:
    return insight(folder, *arguments, exit_code=1)


def document(late: float) -> dict:
    features = pd.DataFrame({"days_since_last_order": [1.0, 2.0, late, 50.0] * 20})
    label = pd.Series([0.0, 0.0, 1.0, 1.0] * 20)
    return rule_document(features, label, target=TARGET, as_of=DAY)


@pytest.fixture
def scored(folder: ProjectFolder) -> tuple[ProjectFolder, list[str]]:
    """Two models promoted on two days; three customers scored, two of them with much at stake."""
    prepare(folder, lines("a", "b", "c"))
    market = open_market("de-test", stage="decisions", root=folder.root)
    market.table("transactions")
    registry = Registry(market.kept("models"), read_key(folder.root / ".insight/signing.key"))
    versions = [registry.register(document(late), {"n": 80}) for late in (20.0, 30.0)]
    for version, day in zip(versions, (date(2024, 6, 1), date(2024, 12, 1)), strict=True):
        registry.promote("lapse", version, day=day, why="best", gates=GATES)
    today = pd.DataFrame({"days_since_last_order": [1.0, 40.0, 60.0]}, index=["a", "b", "c"])
    found = score_frame("lapse", [rule_rung(document(30.0))], today, as_of=DAY)
    stakes = Stakes(smallest_amount=100.0, high_stakes_targets=(), n_reviewers=1)
    value = pd.Series({"a": 10.0, "b": 500.0, "c": 900.0})
    weighed = add_stakes(found.log, value, stakes=stakes, amount_targets=[])
    split = split_released(weighed, [], stakes=stakes)
    market.publish_table("scores", split.released[list(found.log.columns)])
    market.publish_table("score_log", found.log)
    market.publish_table("score_inputs", logged_inputs([found], today))
    market.publish_table("review_queue", split.queue)
    return folder, versions


@pytest.mark.row("C4.5")
def test_one_command_rolls_back_and_the_past_stays_as_it_was(
    scored: tuple[ProjectFolder, list[str]],
) -> None:
    folder, (first, second) = scored
    assert "lapse on 2024-05-31: none" in insight(folder, "models", "--on", "2024-05-31")
    assert f"lapse on 2024-11-30: {first}" in insight(folder, "models", "--on", "2024-11-30")
    assert f"lapse on 2024-12-31: {second}" in insight(folder, "models")
    words = ("--target", "lapse", "--by", "crm-lead", "--why", "calls the wrong people")
    assert f"{second} is out, {first} is live" in insight(folder, "roll-back", *words)
    after = insight(folder, "models")
    assert f"lapse on 2024-12-31: {first}" in after
    assert "calls the wrong people" in after
    assert f"lapse on 2024-12-30: {second}" in insight(folder, "models", "--on", "2024-12-30")
    insight(folder, "promote", *words, "--version", second)
    assert f"lapse on 2024-12-31: {second}" in insight(folder, "models")


@pytest.mark.row("C4.5")
def test_a_changed_model_is_refused_by_name(scored: tuple[ProjectFolder, list[str]]) -> None:
    folder, (_, second) = scored
    market = open_market("de-test", stage="decisions", root=folder.root)
    (path,) = market.kept("models").rglob(f"*{second}*")
    path.write_bytes(path.read_bytes().replace(b"lapse", b"LAPSE", 1))
    words = ("--target", "lapse", "--by", "crm-lead", "--why", "it was right")
    assert second in failed(folder, "promote", *words, "--version", second)


@pytest.mark.row("M5.6")
def test_undecided_scores_leave_by_no_door(scored: tuple[ProjectFolder, list[str]]) -> None:
    folder, _ = scored
    for stage in ("features", "impact", "prediction"):
        market = open_market("de-test", stage=stage, root=folder.root)
        for name in ("score_log", "score_inputs", "review_queue"):
            with pytest.raises(Refused, match="released"):
                market.table(name)
        assert list(market.table("scores").customer_id.to_pandas()) == ["a"]
    out = folder.root / "queue.csv"
    assert "2 scores wait" in insight(folder, "review", "--export", str(out))
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["customer_id"] for row in rows] == ["c", "b"]
    rows[0] |= {"verdict": "release", "by": "crm-lead", "why": "right"}
    rows[1] |= {"verdict": "perhaps", "by": "crm-lead", "why": "?"}
    write(out, rows)
    assert "perhaps" in failed(folder, "review", "--import", str(out))
    rows[1] |= {"verdict": "reject"}
    write(out, rows)
    assert "2 decisions kept" in insight(folder, "review", "--import", str(out))
    market = open_market("de-test", stage="decisions", root=folder.root)
    assert [d["verdict"] for d in market.decisions("reviews")] == ["release", "reject"]


def write(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.row("M5.8")
def test_why_reproduces_the_score_of_the_day(scored: tuple[ProjectFolder, list[str]]) -> None:
    folder, (_, second) = scored
    answer = insight(folder, "why", "--customer", "c")
    assert "lapse on 2024-12-31" in answer
    assert f"the registered model {second} gives the same score" in answer
    assert "no score" in failed(folder, "why", "--customer", "nobody")


@pytest.mark.row("M5.1")
def test_the_bundle_of_the_live_model_is_written(scored: tuple[ProjectFolder, list[str]]) -> None:
    folder, (_, second) = scored
    out = folder.root / "lapse.zip"
    assert second in insight(folder, "bundle", "--target", "lapse", "--to", str(out))
    assert out.stat().st_size > 1000
    assert "no live model" in failed(folder, "bundle", "--target", "value", "--to", str(out))


def test_the_log_of_use_takes_roles_and_findings_that_exist(folder: ProjectFolder) -> None:
    prepare(folder, lines("a"))
    report = folder.root / "reports/de-test/2024-12-31/features"
    report.mkdir(parents=True)
    (report / "index.html").write_text("page")
    findings = [{"id": "features.repeat"}]
    (report / "findings.json").write_text(json.dumps({"findings": findings}))
    (report / "run.json").write_text(json.dumps({"files": {}, "sizes": {}}))
    words = ["act", "--stage", "features", "--role", "crm-lead", "--unit", "North"]
    insight(folder, *words, "--finding", "features.repeat", "--action", "acted")
    for wrong in (
        ["--finding", "features.repeat", "--action", "liked"],
        ["--finding", "features.none", "--action", "acted"],
    ):
        insight(folder, *words, *wrong, exit_code=2)
    path = folder.root / "data/eu/de-test/_decisions/adoption.jsonl"
    (row,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert row == {
        "day": "2024-12-31",
        "role": "crm-lead",
        "business_unit": "North",
        "stage": "features",
        "finding_id": "features.repeat",
        "action": "acted",
    }


@pytest.mark.case("151")
def test_the_contact_list_is_written_as_it_may_be_used_now(
    folder: ProjectFolder, tmp_path: Path
) -> None:
    """Who has refused since the list was made is not on it, whatever else has failed."""
    agreed = "".join(f"{c},activation,granted,2024-01-01 10:00\n" for c in "abc")
    prepare(folder, lines("a", "b", "c"), agreed)
    market = open_market("de-test", stage="decisions", root=folder.root)
    market.table("transactions")
    read_key(folder.root / ".insight/signing.key")
    planned = {"customer_id": ["a", "b", "c"], "channel": ["call"] * 3, "value_amount": [1.0, 3, 2]}
    market.publish_table("contacts", pd.DataFrame(planned))
    prepare(folder, lines("a", "b", "c"), agreed + "b,activation,refused,2024-12-30 10:00\n")
    path = tmp_path / "list.csv"
    said = insight(folder, "contacts", "--to", str(path))
    assert "2 customers of the list" in said
    with path.open(newline="") as file:
        assert [row["customer_id"] for row in csv.DictReader(file)] == ["c", "a"]
