"""A project of version 0.2 goes on under today's code: data, models, decisions, own notebook.

`project-0.2.tar.xz` holds what 0.2 made of one small market: its files, lake, model registry,
decisions and pages, and a notebook that an analyst had added. Its files are simulated.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from insight_lib.parameter_model import Parameters
from insight_lib.upgrade import upgrade
from tests.conftest import ROOT

ARCHIVE = Path(__file__).with_name("project-0.2.tar.xz")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The old project after `git pull`: shipped files are today's, the team's own stay."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(path, tmp_path / "notebooks")
    own = yaml.safe_load((tmp_path / "parameters" / "lifecycle.yaml").read_text())["stages"][-1]
    assert own["id"] == "regulars"
    for name in ("lifecycle.yaml", "jurisdictions"):
        source, target = ROOT / "parameters" / name, tmp_path / "parameters" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    for path in (ROOT / "parameters" / "registers").glob("*.yaml"):
        if path.name != "licences.yaml":  # the one that the team has changed
            shutil.copy(path, tmp_path / "parameters" / "registers")
    with (tmp_path / "parameters" / "lifecycle.yaml").open("a") as file:
        file.write("".join(f"  {line}\n" for line in yaml.safe_dump([own]).splitlines()))
    return tmp_path


def insight(root: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "insight_lib.cli", *words],
        capture_output=True, text=True, timeout=600, cwd=root,
    )  # fmt: skip
    assert done.returncode in (0, 3), done.stdout + done.stderr
    return done.stdout


def findings(root: Path, stage: str) -> dict[str, dict[str, object]]:
    (path,) = root.glob(f"reports/ke-shop/2025-12-30/{stage}/findings.json")
    return {f["id"]: f for f in json.loads(path.read_text())["findings"]}


@pytest.mark.slow
def test_a_project_of_the_last_version_goes_on(project: Path) -> None:
    assert "1 lines changed" in insight(project, "upgrade")
    assert "0 lines changed" in insight(project, "upgrade")
    before = insight(project, "models", "--market", "ke-shop")
    assert "lapse on 2025-12-30: 6a461871f9408efa" in before
    acted = (project / "data/ke/ke-shop/_decisions/adoption.jsonl").read_text()
    assert "decisions.targeting" in acted
    said = insight(project, "run")
    for stage in ("features", "value", "segments", "prediction", "monitoring", "decisions"):
        assert f"published ke-shop {stage}" in said
        assert findings(project, stage)
    after = insight(project, "models", "--market", "ke-shop")
    assert "promote 6a461871f9408efa by run" in after, "the registry is read as it was written"
    assert (project / "data/ke/ke-shop/_decisions/adoption.jsonl").read_text() == acted
    number = findings(project, "regulars")["regulars.number"]
    assert "regulars." in str(number["statement"])
    again = insight(project, "run")
    assert "published ke-shop" not in again, "the second run finds all up to date"


def test_only_what_was_meant_is_rewritten(tmp_path: Path) -> None:
    markets = tmp_path / "parameters" / "markets"
    markets.mkdir(parents=True)
    text = (
        "currency: KES # shillings\n"
        "parameters:\n"
        "  prediction: {review_stakes_amount: 60000.0} # a year\n"
        "  channels:\n"
        "    call: {cost_amount: 120, hours: 20.0}\n"
        "    sms: {cost_amount: {amount: 2.0, currency: USD}, hours: 4.0}\n"
    )
    (markets / "ke-shop.yaml").write_text(text)
    assert list(upgrade(tmp_path)) == [
        (
            "parameters/markets/ke-shop.yaml:3: "
            "prediction: {review_stakes_amount: {amount: 60000.0, currency: KES}} # a year"
        ),
        (
            "parameters/markets/ke-shop.yaml:5: "
            "call: {cost_amount: {amount: 120, currency: KES}, hours: 20.0}"
        ),
    ]
    assert list(upgrade(tmp_path)) == []


def test_of_the_old_defaults_only_what_a_team_changed_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "parameters" / "defaults.yaml"
    path.parent.mkdir()
    entry = "  {}:\n    value: {}\n    unit: customers\n    meaning: As it was written once.\n"
    same = entry.format("minimum_cell_size", Parameters().general.minimum_cell_size)
    path.write_text("general:\n" + same + entry.format("minimum_customers", 321))
    (said,) = upgrade(tmp_path)
    assert said.startswith("parameters/defaults.yaml: 1 values")
    assert yaml.safe_load(path.read_text()) == {"general": {"minimum_customers": 321}}
    assert list(upgrade(tmp_path)) == []
    path.write_text("general:\n" + same)
    assert len(list(upgrade(tmp_path))) == 1
    assert not path.exists()
