"""What keeps a line of the lifecycle cheap: few parameters, short functions, no words in code."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

from insight_lib.analyses import analyses_of
from tests.conftest import ROOT
from tests.test_words import STAGES

MOST_PARAMETERS = 6
MOST_LINES = 60
LIBRARY = ROOT / "insight_lib"
# Functions that were longer when the budget came; the list only gets shorter.
LONG = Path(__file__).with_name("long_functions.txt")


def long_functions(root: Path) -> set[str]:
    """`path name` of every function with more than `MOST_LINES` lines."""
    return {
        f"{path.relative_to(root).as_posix()} {node.name}"
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MOST_LINES
    }


def test_no_new_function_is_long_and_the_list_only_gets_shorter() -> None:
    known = set(LONG.read_text().splitlines())
    found = long_functions(LIBRARY)
    assert not found - known, "split it by idea"
    assert not known - found, "it is short now: take it off tests/long_functions.txt"


def test_a_long_function_is_seen(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("def f():\n" + "    x = 1\n" * MOST_LINES)
    assert long_functions(tmp_path) == {"planted.py f"}


@pytest.mark.parametrize("name", STAGES)
def test_an_analysis_takes_few_parameters(name: str) -> None:
    package = importlib.import_module(f"insight_lib.{name}")
    many = {
        name: len(inspect.signature(analysis).parameters)
        for name, analysis in analyses_of(package).items()
        if len(inspect.signature(analysis).parameters) > MOST_PARAMETERS
    }
    assert not many, "group them into a result"
