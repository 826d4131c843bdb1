"""The archive scores on its own, with the same numbers, and notices when it was changed."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from insight_lib.prediction.bundle import make_sample, write_bundle
from insight_lib.prediction.registry import ModelRefused
from insight_lib.prediction.scorer import score

NUMBERS = [
    {"name": "days_since_last_order", "type": "number", "fill": 12.0, "has_indicator": True},
    {"name": "revenue_amount", "type": "number", "fill": 80.0, "has_indicator": False},
]
TEXT = {"name": "age_band", "type": "text", "levels": ["18-24", "25-34", "(missing)"]}
HEAD = {"format": 1, "target": "lapse", "kind": "binary", "horizon_days": 28}
CALIBRATION = {"calibration": {"intercept": 0.1, "slope": 0.9}, "trained": {"as_of": "2024-12-31"}}

LOGISTIC = {
    **HEAD,
    **CALIBRATION,
    "estimator": "logistic",
    "inputs": [*NUMBERS, TEXT],
    "model": {
        "intercept": -1.0,
        "terms": [
            {
                "coefficient": 0.7,
                "transform": "signed_log",
                "lower": 0.0,
                "upper": 90.0,
                "centre": 2.5,
                "missing_coefficient": 0.4,
                "missing_centre": 0.1,
            },
            {"coefficient": -0.002, "transform": "none", "lower": 0, "upper": 900, "centre": 80.0},
            {"coefficients": [0.3, -0.2, 0.05], "unknown": 0.01},
        ],
    },
}
RULE = {
    **HEAD,
    **CALIBRATION,
    "estimator": "rule",
    "inputs": NUMBERS[:1],
    "model": {
        "driver": "days_since_last_order",
        "edges": [7.0, 30.0],
        "values": [0.1, 0.3, 0.7],
        "missing": 0.25,
        "average": 0.3,
    },
}


def unpacked(document: dict[str, Any], folder: Path) -> Path:
    write_bundle(document, {"market": "de-test"}, folder / "bundle.zip")
    with zipfile.ZipFile(folder / "bundle.zip") as archive:
        archive.extractall(folder / "out")
    return folder / "out"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Isolated: no PYTHONPATH, no working directory, so nothing of this project is found.
    return subprocess.run(
        [sys.executable, "-I", str(folder / "score.py"), *arguments],
        capture_output=True,
        text=True,
        cwd=folder.parent,
        timeout=60,
    )


@pytest.mark.row("M5.1")
@pytest.mark.parametrize("document", [LOGISTIC, RULE], ids=["logistic", "rule"])
def test_the_bundle_reproduces_scores(document: dict[str, Any], tmp_path: Path) -> None:
    folder = unpacked(document, tmp_path)
    columns = {
        "days_since_last_order": [3.0, 45.5, float("nan"), 1e6, -2.0],
        "revenue_amount": [10.0, float("nan"), 99.99, 1e9, 0.0],
        "age_band": ["18-24", "65+", None, "25-34", "18-24"],
    }
    names = ["c1", "c,2", 'c"3', "c4", "ü5"]
    with (tmp_path / "in.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["age_band", "customer_id", *list(columns)[:2], "more"])
        for i, name in enumerate(names):
            days, revenue = (columns[c][i] for c in list(columns)[:2])
            cells = ["" if v != v else repr(v) for v in (days, revenue)]
            writer.writerow([columns["age_band"][i] or "", name, *cells, "x"])
    done = run(folder, str(tmp_path / "in.csv"), str(tmp_path / "out.csv"))
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["customer_id"] for row in rows] == names
    expected = score(document, columns)
    assert len(set(np.round(expected, 6))) >= 3
    np.testing.assert_allclose([float(row["score"]) for row in rows], expected, atol=1e-6, rtol=0)


@pytest.mark.row("M5.1")
def test_the_bundle_does_not_need_the_project(tmp_path: Path) -> None:
    folder = unpacked(LOGISTIC, tmp_path)
    # Whoever imports the project meets None in its place, which is an ImportError.
    code = (
        "import runpy, sys; sys.modules['insight_lib'] = None; "
        "sys.argv = ['score.py', '--check']; "
        f"runpy.run_path({str(folder / 'score.py')!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "60 rows of the sample agree\n"), done.stderr
    (folder / "scorer.py").write_text("from insight_lib.prediction.scorer import score\n")
    sums = (folder / "SHA256SUMS").read_text().splitlines()
    digest = hashlib.sha256((folder / "scorer.py").read_bytes()).hexdigest()
    sums = [f"{digest}  scorer.py" if s.endswith("  scorer.py") else s for s in sums]
    (folder / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert "insight_lib" in done.stderr  # the block itself works


def test_the_sample_is_made_up_and_reaches_all_kinds_of_rows() -> None:
    sample = make_sample(LOGISTIC)
    assert make_sample(LOGISTIC) == sample or str(make_sample(LOGISTIC)) == str(sample)
    assert {None, "18-24", "25-34"} < set(sample["age_band"])
    assert len(set(sample["age_band"])) == 4
    assert any(v != v for v in sample["days_since_last_order"])
    assert len(np.unique(np.round(score(LOGISTIC, sample), 6))) > 30


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_bundle(LOGISTIC, {"b": 1, "a": 2}, tmp_path / "one.zip")
    second = write_bundle(LOGISTIC, {"a": 2, "b": 1}, tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert first == second == hashlib.sha256((tmp_path / "one.zip").read_bytes()).hexdigest()


@pytest.mark.row("M5.1")
@pytest.mark.parametrize("name", ["model.json", "scorer.py", "expected.csv"])
def test_a_changed_bundle_is_refused(name: str, tmp_path: Path) -> None:
    folder = unpacked(LOGISTIC, tmp_path)
    with (folder / name).open("a") as file:
        file.write("\n")
    done = run(folder, "--check")
    assert done.returncode == 2
    assert done.stderr == f"{name}: changed or missing; unpack the bundle again\n"


def test_scores_that_differ_are_seen(tmp_path: Path) -> None:
    folder = unpacked(LOGISTIC, tmp_path)
    lines = (folder / "expected.csv").read_text().splitlines()
    lines[3] = repr(float(lines[3]) + 2e-6)
    content = "\n".join(lines) + "\n"
    (folder / "expected.csv").write_text(content)
    sums = (folder / "SHA256SUMS").read_text().splitlines()
    digest = hashlib.sha256(content.encode()).hexdigest()
    sums = [f"{digest}  expected.csv" if s.endswith("expected.csv") else s for s in sums]
    (folder / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    done = run(folder, "--check")
    assert done.returncode == 2
    assert "row 3" in done.stderr
    assert done.stderr.count("where the model was made") == 1


def test_every_fault_of_a_file_is_named(tmp_path: Path) -> None:
    folder = unpacked(LOGISTIC, tmp_path)
    source = tmp_path / "in.csv"
    source.write_text("customer_id,age_band,age_band\nc1,18-24,x\n")
    done = run(folder, str(source), str(tmp_path / "out.csv"))
    assert done.returncode == 2
    for fault in (
        "'days_since_last_order': missing",
        "'revenue_amount': missing",
        "'age_band': given twice",
    ):
        assert fault in done.stderr
    source.write_text(
        "customer_id,days_since_last_order,revenue_amount,age_band\nc1,abc,1,x\nc2,1,1e,x\n"
    )
    done = run(folder, str(source), str(tmp_path / "out.csv"))
    assert "line 2, days_since_last_order: 'abc' is not a number" in done.stderr
    assert "line 3, revenue_amount: '1e' is not a number" in done.stderr
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.row("M5.6")
def test_a_high_stakes_model_does_not_leave_as_a_bundle(tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    with pytest.raises(ModelRefused, match="nobody waits outside"):
        write_bundle(LOGISTIC, {}, path, high_stakes_targets=("lapse",))
    assert not path.exists()
    write_bundle(LOGISTIC, {}, path, high_stakes_targets=("churn",))
    assert path.exists()
