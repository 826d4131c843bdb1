"""What a market's YAML may say: every fault is one line with file, line, value and next step."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date

import pytest

from insight_lib.door.licence import refusal
from insight_lib.parameters import load_project
from insight_lib.registers import Licence
from tests.conftest import ProjectFolder

PATH = "parameters/markets/de-test.yaml"


def changed(folder: ProjectFolder, old: str, new: str) -> list[str]:
    """The faults of the market after one change of its YAML."""
    path = folder.root / PATH
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return [str(fault) for fault in folder.load().faults.get("de-test", ())]


@pytest.mark.case("45")
def test_a_market_cannot_call_itself_another(folder: ProjectFolder) -> None:
    (fault,) = changed(folder, "title:", "id: fr-test\ntitle:")
    assert f"{PATH}:1: id: got 'fr-test', expected the file's name, de-test" in fault


@pytest.mark.case("50")
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("last_day: 2024-12-31", "last_day: 2999-12-31", "expected a day up to "),
        ("country: DE", "country: UK", "the United Kingdom is GB"),
        ("country: DE", "country: QQ", "ISO 3166"),
        ("currency: EUR\n", "currency: XXQ\n", "ISO 4217"),
        ("title: Testland · shop", 'title: "   "', "a title with words"),
    ],
)
def test_what_cannot_be_is_refused(folder: ProjectFolder, old: str, new: str, words: str) -> None:
    (fault,) = changed(folder, old, new)
    assert words in fault
    assert fault.startswith(f"{PATH}:")


@pytest.mark.case("50")
def test_a_file_that_would_be_passed_over_is_named(folder: ProjectFolder) -> None:
    (folder.root / PATH).rename(folder.root / "parameters/markets/de-test.yml")
    (fault,) = folder.load().faults["de-test"]
    assert "rename it to de-test.yaml" in str(fault)


@pytest.mark.case("49")
def test_a_deep_file_is_one_line(folder: ProjectFolder) -> None:
    (fault,) = changed(folder, "title:", "a: " + "[" * 3000 + "\ntitle:")
    assert "more than 50 levels" in fault
    assert len(fault) < 300


@pytest.mark.case("48")
@pytest.mark.parametrize("how", ["sum", "multiply"])
def test_texts_are_not_added_up(folder: ProjectFolder, how: str) -> None:
    (fault,) = changed(folder, "product_id: product", f"product_id: {{{how}: [product, line]}}")
    assert "product_id is text; use from or join" in fault


@pytest.mark.case("58")
@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("prediction: {high_stakes_targets: [laps]}", "did you mean lapse?"),
        ("prediction: {corrections: {valeu: 1.1}}", "did you mean value?"),
        ("prediction: {known_from: {ordred_at: later}}", "did you mean ordered_at?"),
        ("prediction: {monotone: {lapse: {gap_ration: 1}}}", "did you mean gap_ratio?"),
        ("features: {engagement_cohort: age_bnad}", "did you mean age_band?"),
        ("learning: {forecast_group_column: age_bnad}", "did you mean age_band?"),
    ],
)
def test_names_inside_values_are_checked(
    folder: ProjectFolder, parameters: str, words: str
) -> None:
    (fault,) = changed(folder, "sources:", f"parameters:\n  {parameters}\nsources:")
    assert words in fault


@pytest.mark.case("138")
def test_a_licence_is_a_matter_of_today() -> None:
    licence = Licence(
        licensor="the company itself",
        uses=("analytics",),
        clause="until the year ends",
        may_redistribute=False,
        territories=("all",),
        expires=date(2024, 12, 31),
    )
    use = {"purpose": "analytics", "country": "DE"}
    assert refusal(licence, **use, today=date(2024, 12, 31)) is None
    assert "expired on 2024-12-31" in str(refusal(licence, **use, today=date(2025, 1, 1)))


@pytest.mark.case("138")
def test_what_ended_since_makes_a_page_stale(folder: ProjectFolder) -> None:
    path = folder.root / "parameters/registers/licences.yaml"
    path.write_text(path.read_text() + "  expires: 2024-12-31\n")
    before = load_project(folder.root, today=date(2024, 12, 31)).digest("de-test")
    assert load_project(folder.root, today=date(2024, 12, 31)).digest("de-test") == before
    assert load_project(folder.root, today=date(2025, 1, 1)).digest("de-test") != before


@pytest.mark.case("55")
def test_a_poor_terminal_stops_nothing(folder: ProjectFolder) -> None:
    folder.write("raw/transactions.csv", "order,line\n")
    environment = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "insight_lib.cli", "run", "--root", str(folder.root)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert "UnicodeEncodeError" not in done.stdout + done.stderr
    assert done.returncode in (1, 2)


@pytest.mark.case("51")
def test_an_unknown_segment_is_refused_before_anything_runs(folder: ProjectFolder) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "insight_lib.cli", "run", "--root", str(folder.root)),
            *("--segment", "nobody"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "--segment 'nobody': de-test has none yet" in done.stderr
    assert not (folder.root / "reports").exists()
