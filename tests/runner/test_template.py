from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook
from tiny_project import PARAMETERS

from insight_lib.runner.template import (
    TemplateFault,
    add_sentinel,
    cell_number,
    check_parameters,
    load_template,
    parameter_names,
    remove_sentinel,
)


def write(path: Path, *cells: object, **changes: object) -> Path:
    content = dict(new_notebook(cells=list(cells))) | changes
    path.write_text(json.dumps(content))
    return path


def parameters_cell() -> object:
    return new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})


def test_outputs_of_the_template_are_not_trusted(tmp_path: Path) -> None:
    old = new_code_cell("1", outputs=[nbformat.v4.new_output("stream", text="old")])
    old.execution_count = 3
    notebook = load_template(write(tmp_path / "t.ipynb", parameters_cell(), old))
    assert notebook.cells[1].outputs == []
    assert notebook.cells[1].execution_count is None


def test_names_come_from_the_parameters_cell(tmp_path: Path) -> None:
    notebook = load_template(write(tmp_path / "t.ipynb", new_code_cell("x = 1"), parameters_cell()))
    assert parameter_names(notebook) == ["market", "as_of", "segment", "overrides"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("not json", "not a notebook"),
        ("[]", "nbformat 4"),
        ('{"nbformat": 3, "worksheets": []}', "nbformat 4"),
        ('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{}]}', "not a valid"),
        ('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}', "0 cells"),
    ],
)
def test_a_bad_notebook_is_refused_by_name(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "bad.ipynb"
    path.write_text(text)
    with pytest.raises(TemplateFault, match=expected) as caught:
        load_template(path)
    assert "bad.ipynb" in str(caught.value)


def test_two_parameters_cells_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.ipynb", parameters_cell(), parameters_cell())
    with pytest.raises(TemplateFault, match="2 cells are tagged"):
        load_template(path)


def test_all_bad_parameters_are_named_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "t.ipynb", parameters_cell())
    notebook = load_template(path)
    bad = {
        "market": float("nan"),
        "print": 1,
        "class": 1,
        "m=0;__import__('os')": 1,
        "as_of": ("tuple",),
        "segment": "\ud800",
        "overrides": {"a": [1, {"b": 2**70}], "c": float("inf")},
        "unknown": 1,
    }
    with pytest.raises(TemplateFault) as caught:
        check_parameters(path, notebook, bad)
    message = str(caught.value)
    for part in (
        "nan is not JSON",
        "'print' is not a plain",
        "'class' is not a plain",
        "__import__",
        "tuple is not a JSON type",
        "lone surrogate",
        "overrides.a[1].b: integer beyond",
        "inf is not JSON",
        "'unknown' is not in the parameters cell",
    ):
        assert part in message


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(value=values)
def test_accepted_values_arrive_exactly(value: object) -> None:
    from papermill.translators import PythonTranslator

    notebook = new_notebook(cells=[parameters_cell()])
    check_parameters(Path("t.ipynb"), notebook, {"overrides": value})
    namespace: dict[str, object] = {"float": float}
    exec(PythonTranslator.codify({"overrides": value}), namespace)
    arrived = namespace["overrides"]
    assert arrived == value
    assert type(arrived) is type(value)


def test_the_sentinel_comes_last_and_goes_again() -> None:
    notebook = new_notebook(cells=[parameters_cell(), new_code_cell("1")])
    add_sentinel(notebook, "abc")
    assert "'abc'" in notebook.cells[-1].source
    remove_sentinel(notebook)
    assert len(notebook.cells) == 2


def test_cells_are_numbered_as_in_the_template() -> None:
    injected = new_code_cell("", metadata={"tags": ["injected-parameters"]})
    notebook = new_notebook(cells=[parameters_cell(), injected, new_code_cell("1")])
    assert cell_number(notebook, 2) == 2
