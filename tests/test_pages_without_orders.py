"""A delivery that was refused, or holds one day: every page stands and says so."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, TRANSACTIONS_YAML, ProjectFolder

DAYS = [f"{day:02d}.{month:02d}.2024" for month in range(1, 7) for day in range(1, 29)]


def run(folder: ProjectFolder) -> dict[str, dict[str, str]]:
    """Statement by id of every stage of every market, after one whole run."""
    shutil.copytree(ROOT / "notebooks", folder.root / "notebooks")
    command = [sys.executable, "-m", "insight_lib.cli", "run", "--root", str(folder.root)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=folder.root, check=False
    )
    for word in (" failed ", " blocked "):
        assert word not in done.stdout, done.stdout + done.stderr
    return {
        path.parent.name: {
            f["id"]: f["statement"]["text"] for f in json.loads(path.read_text())["findings"]
        }
        for path in sorted(Path(folder.root).glob("reports/*/*/*/findings.json"))
    }


def without_period(folder: ProjectFolder, format_: str) -> None:
    folder.market(sources=TRANSACTIONS_YAML.replace("%Y-%m-%d %H:%M", format_))
    path = folder.root / "parameters/markets/de-test.yaml"
    kept = [line for line in path.read_text().splitlines() if not line.startswith("period")]
    path.write_text("\n".join(kept) + "\n")


@pytest.mark.case("18")
def test_a_refused_first_delivery_is_said_on_every_page(folder, write_lines) -> None:
    """Seen: features and impact failed, four stages blocked, no page at all."""
    without_period(folder, "%d.%m.%Y %H:%M")
    lines = [f"o{i},1,c{i % 40},{day} 10:00,p1,1,9.99\n" for i, day in enumerate(DAYS)]
    turned = [f"x{i},1,c{i},{i:02d}/../,p1,1,1\n".replace("/../", ".25.2024 10:00") for i in (1, 2)]
    write_lines("".join(lines + turned * 30))
    found = run(folder)
    assert len(found) == len(list((ROOT / "notebooks").glob("*.ipynb")))
    for stage in ("features", "value", "segments", "prediction", "impact"):
        assert any("refused" in text for text in found[stage].values()), stage


@pytest.mark.case("34")
def test_one_day_has_pages_that_say_so(folder, write_lines) -> None:
    """Seen: "no data", failed, and five stages blocked."""
    without_period(folder, "%Y-%m-%d %H:%M")
    write_lines("".join(f"o{i},1,c{i},2024-03-01 10:00,p1,1,9.99\n" for i in range(60)))
    found = run(folder)
    assert "no complete day of orders yet" in found["features"]["features.revenue"]
    assert "complete day" in found["segments"]["segments.found"]
    assert "complete day" in found["prediction"]["prediction.snapshots"]
