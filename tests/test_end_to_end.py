"""What a user does: run, look, run again, break a market, look again."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

ARTEFACTS = ROOT / "artefacts"


def insight(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "insight_lib.cli", *arguments, "--root", str(root)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=root)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small simulated markets, ingested and run once."""
    root = tmp_path_factory.mktemp("shop")
    shutil.copytree(ROOT / "parameters", root / "parameters")
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    for path in (root / "parameters/markets").glob("*.yaml"):
        if path.stem == "us-saas":
            continue
        if path.stem == "ke-fashion":
            path.write_text(re.sub(r"customers: \d+", "customers: 500", path.read_text()))
        else:
            path.unlink()
    done = insight(root, "run")
    assert done.returncode == 0, done.stdout + done.stderr
    return root


def pages(root: Path) -> list[Path]:
    return sorted(root.glob("reports/*/*/*/index.html"))


def findings(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.glob("reports/**/findings.json")}


def test_every_stage_of_every_market_has_its_page(shop: Path) -> None:
    stages = len(list((shop / "notebooks").glob("*.ipynb")))
    assert len(pages(shop)) == 2 * stages
    index = (shop / "reports/index.html").read_text()
    for page in pages(shop):
        assert page.relative_to(shop / "reports").as_posix() in index
        text = page.read_text()
        assert "Simulated" in text
        assert text.count("<h1") == 1
        assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", text)
        assert "Traceback" not in text


def test_nothing_changed_nothing_runs(shop: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in pages(shop)}
    done = insight(shop, "run")
    assert done.returncode == 0
    assert {p: p.stat().st_mtime_ns for p in pages(shop)} == before
    assert "up to date" in done.stdout


def test_the_same_inputs_give_the_same_bytes(shop: Path) -> None:
    before = findings(shop)
    assert insight(shop, "run", "--force", "--skip-ingest").returncode == 0
    assert findings(shop) == before


def test_status_and_open_answer(shop: Path) -> None:
    status = insight(shop, "status").stdout
    assert status.count("published") == len(pages(shop))
    path = insight(shop, "open", "ke-fashion", "features", "--path-only").stdout.strip()
    assert Path(path).is_file()
    missing = insight(
        shop, "open", "ke-fashion", "features", "--as-of", "2020-01-01", "--path-only"
    )
    assert missing.returncode == 1
    assert "insight run" in missing.stderr


def test_one_broken_market_stops_nothing_else(shop: Path) -> None:
    path = shop / "parameters/markets/us-saas.yaml"
    good = path.read_text()
    path.write_text(good.replace("zone: ", "zone: Nowhere/"))
    try:
        done = insight(shop, "run", "--set", "features.rfm_groups=4")
        assert done.returncode == 1
        assert "us-saas.yaml:" in done.stderr
        assert "IANA" in done.stderr
        assert re.search(r"ke-fashion\s+features\s+published", done.stdout)
        assert insight(shop, "check").returncode == 2
    finally:
        path.write_text(good)


def test_a_wrong_option_is_named(shop: Path) -> None:
    for arguments, part in [
        (["run", "--market", "ke-fashon"], "did you mean ke-fashion?"),
        (["run", "--set", "features.rfm_group=4"], "did you mean features.rfm_groups?"),
        (["run", "--set", "nonsense"], "section.name=value"),
        (["run", "--stage", "featurs"], "features"),
        (["run", "--as-of", "2024-02-30"], "write YYYY-MM-DD"),
        (["open", "ke-fashion", "features", "--as-of", "soon"], "write YYYY-MM-DD"),
    ]:
        done = insight(shop, *arguments)
        assert done.returncode == 2, arguments
        assert part in done.stderr
        assert "Traceback" not in done.stderr


def test_no_identifier_of_a_customer_is_on_a_page(shop: Path) -> None:
    import pyarrow.parquet as pq

    for market in ("ke-fashion", "us-saas"):
        table = pq.read_table(shop / "data/_simulated" / market / "customers.parquet")
        identifiers = set(table["customer_id"].to_pylist())
        for path in (shop / "reports" / market).rglob("*.*"):
            words = set(re.findall(r"[\w-]+", path.read_text()))
            assert not identifiers & words, path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("desk", ["--window-size=1280,3000"]),
        ("phone", ["--window-size=390,3000"]),
        ("dark", ["--window-size=1280,3000", "--blink-settings=preferredColorScheme=0"]),
    ],
)
def test_pages_are_drawn_by_a_browser(
    shop: Path, tmp_path: Path, name: str, options: list[str]
) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no Chromium on this machine; install Debian's package to look at the pages")
    ARTEFACTS.mkdir(exist_ok=True)
    for page in [shop / "reports/index.html", pages(shop)[0]]:
        picture = ARTEFACTS / f"{page.parent.name}-{name}.png"
        picture.unlink(missing_ok=True)
        subprocess.run(
            [
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--no-first-run",
                "--disable-sync",
                f"--user-data-dir={tmp_path / 'profile'}",
                f"--screenshot={picture}",
                *options,
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
        assert picture.stat().st_size > 20_000
