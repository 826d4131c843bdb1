"""A delivery that is refused, and a market whose file has a fault, seen from outside."""

from __future__ import annotations

import random
import shutil
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.conftest import HEADER, ROOT, ProjectFolder
from tests.test_end_to_end import insight


def flat_shop(days: int, *, seed: int = 1) -> str:
    draw = random.Random(seed)
    rows = []
    for n in range(days):
        day = date(2024, 1, 1) + timedelta(n)
        for customer in draw.sample(range(200), 20):
            number = len(rows)
            rows.append(f"o{number},1,c{customer},{day} 10:00,p{number % 9},1,{5 + number % 7}\n")
    return HEADER + "".join(rows)


@pytest.fixture(scope="module")
def morning(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small markets, run once."""
    folder = ProjectFolder(tmp_path_factory.mktemp("morning"))
    shutil.copytree(ROOT / "notebooks", folder.root / "notebooks")
    for name in ("plans", "launches", "reviews", "segment_names", "quotes", "overrides"):
        folder.write(f"parameters/registers/{name}.yaml", "[]\n")
    text = (folder.root / "parameters/markets/de-test.yaml").read_text()
    for market in ("de-test", "fr-test"):
        own = text.replace("transactions.csv", f"{market}.csv")
        folder.write(f"parameters/markets/{market}.yaml", own)
        folder.write(f"raw/{market}.csv", flat_shop(366))
    done = insight(folder.root, "run", "--stage", "features")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All 2 markets are up to date" in landing(folder.root)
    return folder.root


def landing(root: Path) -> str:
    return (root / "reports/index.html").read_text()


@pytest.mark.case("41", "43", "44")
def test_a_refused_delivery_and_a_faulty_market_are_seen_everywhere(morning: Path) -> None:
    path = morning / "raw/de-test.csv"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    done = insight(morning, "run", "--stage", "features")
    assert done.returncode == 1
    assert "the last good table stays" in done.stderr
    status = insight(morning, "status").stdout
    line = next(row for row in status.splitlines() if row.startswith("de-test"))
    assert "stale since 2024-12-31, delivery of transactions refused" in line
    assert "up to date" not in landing(morning).split("</h1>")[0]
    assert "delivery of transactions refused" in landing(morning)

    path.write_bytes(whole)  # delivered again, whole
    assert insight(morning, "run", "--stage", "features").returncode == 0
    assert "All 2 markets are up to date" in landing(morning)

    yaml = morning / "parameters/markets/fr-test.yaml"
    good = yaml.read_text()
    yaml.write_text(good.replace("currency: EUR\n", "currency: EURO\n", 1))
    assert insight(morning, "run", "--stage", "features").returncode == 1
    page = landing(morning)
    assert "1 of 2 markets needs a decision" in page
    assert "faults in parameters/markets/fr-test.yaml" in page
    assert "fr-test/2024-12-31/features/index.html" in page  # its last page is still linked
    yaml.write_text(good)
