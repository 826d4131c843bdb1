"""Arrows point one way, files stay readable, templates are committed clean."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from insight_lib.parameters import load_project
from tests.conftest import ROOT

LIBRARY = ROOT / "insight_lib"
STAGES = {
    "objectives",
    "sources",
    "features",
    "segments",
    "prediction",
    "governance",
    "activation",
    "operations",
    "impact",
    "scale",
    "foresight",
    "portfolio",
}
BASE = {
    "schema",
    "findings",
    "prose",
    "charts",
    "statistics",
    "orders",
    "registers",
    "parameters",
    "parameter_model",
    "parameter_names",
    "market_model",
    "strict_yaml",
}
MAY_IMPORT = {
    "schema": set(),
    "language": set(),
    "prose": {"language"},
    "findings": {"prose"},
    "run": {"findings", "parameter_model"},
    "analyses": {"findings", "run"},
    "words": {
        "analyses",
        "charts",
        "findings",
        "language",
        "prose",
        "registers",
        "run",
        "strict_yaml",
        "yaml_models",
    },
    "pages": {
        "analyses",
        "charts",
        "data_checks",
        "explore",
        "findings",
        "market",
        "registers",
        "run",
        "schema",
        "words",
    },
    "yaml_models": {"strict_yaml"},
    "explore": {"analyses", "charts", "pages", "schema"},
    "strict_yaml": set(),
    "statistics": {"findings"},
    "orders": {"findings"},
    "charts": {"findings"},
    "registers": {"schema"},
    "market_model": {"schema", "registers"},
    "parameter_model": {"registers"},
    "lifecycle_model": {"registers"},
    "parameter_names": {"schema", "market_model", "parameter_model"},
    "parameters": {
        "schema",
        "registers",
        "market_model",
        "lifecycle_model",
        "parameter_model",
        "parameter_names",
        "strict_yaml",
        "today",
        "yaml_models",
    },
    "today": set(),
    "rates": {"findings"},
    "market_view": {"market_model", "parameter_model", "registers"},
    "data_checks": {"findings", "lake", "market"},
    "market_request": {"parameters", "market_model", "lake", "door"},
    "door": {
        "lake",
        "lifecycle_model",
        "market_model",
        "market_request",
        "parameters",
        "registers",
        "schema",
    },
    "lake": {"schema", "parameters", "registers", "market_model", "today"},
    "market": {
        "door",
        "lifecycle_model",
        "parameter_model",
        "schema",
        "parameters",
        "registers",
        "market_model",
        "market_request",
        "lake",
        "pages",
    },
    "simulation": set(),
    "upgrade": {"parameter_model"},
    "runner": {
        "lifecycle_model",
        "parameter_model",
        "findings",
        "parameters",
        "registers",
        "market_model",
        "lake",
        "report",
    },
    "report": {"findings", "charts"},
    "cli_models": BASE | {"lake", "market", "prediction"},
    "cli": BASE | {"cli_models"} | {"lake", "market", "runner", "report", "simulation", "upgrade"},
    **{
        stage: {
            "schema",
            "findings",
            "prose",
            "charts",
            "statistics",
            "orders",
            "rates",
            "market_view",
            "analyses",
            "run",
            "registers",
            "parameter_model",
            "market_model",
        }
        for stage in STAGES
    },
}
FILES = sorted(LIBRARY.rglob("*.py"))


def package(path: Path) -> str:
    part = path.relative_to(LIBRARY).parts[0]
    return part.removesuffix(".py")


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "insight_lib":
                names = [f"insight_lib.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("insight_lib.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(LIBRARY)))
def test_arrows_point_one_way(path: Path) -> None:
    own = package(path)
    if own == "__init__":
        return
    wrong = imported(path) - {own} - MAY_IMPORT[own]
    assert not wrong, f"{path.relative_to(ROOT)} may not import {', '.join(sorted(wrong))}"


def test_a_wrong_arrow_is_seen(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("def f():\n    from insight_lib.market import open_market\n")
    assert imported(planted) - MAY_IMPORT["features"] == {"market"}


def test_the_simulator_is_a_package_of_its_own_that_the_library_never_imports() -> None:
    for path in FILES:
        assert not re.search(r"^\s*(import|from) insight_demo", path.read_text(), re.M), path
    for path in sorted((ROOT / "insight_demo").glob("*.py")):
        assert imported(path) <= {"schema"}, path


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(LIBRARY)))
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 600, "split it by idea"


def test_nothing_that_computes_reads_the_clock() -> None:
    clock = re.compile(r"(datetime|date|Timestamp|time)\.(now|today|utcnow|time)\(|CURRENT_DATE")
    for path in FILES:
        if package(path) not in ("runner", "report", "cli", "today"):
            assert not clock.search(path.read_text()), path


def test_the_command_line_starts_light() -> None:
    code = (
        "import sys, insight_lib.cli, insight_lib.runner.status\n"
        "heavy = {'pandas', 'numpy', 'papermill', 'ibis', 'duckdb', 'matplotlib', 'nbconvert'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_every_stage_has_its_notebook_and_the_other_way_round() -> None:
    stages = load_project(ROOT).stages.values()
    assert {ROOT / stage.notebook for stage in stages} == set(NOTEBOOKS)
    for stage in stages:
        assert stage.notebook == f"notebooks/{stage.number:02}_{stage.id}.ipynb"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_templates_are_clean(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    parameters = [c for c in code if "parameters" in c.metadata.get("tags", [])]
    assert len(parameters) == 1
    names = re.findall(r"^(\w+) =", parameters[0].source, re.MULTILINE)
    assert names == ["market", "as_of", "segment", "overrides"]
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_no_number_is_typed_into_a_template(path: Path) -> None:
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "markdown":
            assert not re.search(r"\d", cell.source), cell.source


def test_no_key_and_no_data_are_under_version_control() -> None:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT)
    if listed.returncode:
        pytest.skip("not a git checkout, so nothing is under version control here")
    tracked = listed.stdout.splitlines()
    assert not [f for f in tracked if f.startswith((".insight/", "data/")) or f.endswith(".key")]
