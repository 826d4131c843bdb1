"""Notebooks read like letters: the question, the day, one `show` a section, nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest

from tests.conftest import ROOT

MOST_LINES = 80
# Still written as programs; the list only gets shorter.
PROGRAMS = {
    "09_impact",
}
LETTERS = [p for p in sorted((ROOT / "notebooks").glob("*.ipynb")) if p.stem not in PROGRAMS]


def faults(cells: list[str]) -> list[str]:
    """What makes a notebook a program."""
    source = "\n".join(cells)
    found = []
    if len([line for line in source.splitlines() if line.strip()]) > MOST_LINES:
        found.append(f"more than {MOST_LINES} lines of code")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef | ast.If | ast.For):
            found.append(f"{type(node).__name__} in line {node.lineno}")
        elif isinstance(node, ast.Name) and node.id == "isinstance":
            found.append("isinstance")
        elif isinstance(node, ast.Import):
            found.append(f"imports {node.names[0].name}")
        elif isinstance(node, ast.ImportFrom) and node.module != "insight_lib":
            found.append(f"imports from {node.module}")
    return found


def code_cells(path: Path) -> list[str]:
    notebook = nbformat.read(path, as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", LETTERS, ids=lambda path: path.stem)
def test_a_notebook_reads_like_a_letter(path: Path) -> None:
    assert faults(code_cells(path)) == []


def test_a_program_is_seen() -> None:
    assert faults(["m.show(s.found)"]) == []
    assert faults(["def f():\n    return 1"]) == ["FunctionDef in line 1"]
    assert faults(["from insight_lib.orders import sold"]) == ["imports from insight_lib.orders"]
    assert faults(["import pandas as pd"]) == ["imports pandas"]
    assert faults(["if m.has('x'):\n    m.show(1)"]) == ["If in line 1"]
    assert faults(["x = 1\n" * 81]) == ["more than 80 lines of code"]


def test_the_list_of_programs_is_of_notebooks_that_are() -> None:
    for name in PROGRAMS:
        assert faults(code_cells(ROOT / "notebooks" / f"{name}.ipynb")), f"{name} is a letter now"
