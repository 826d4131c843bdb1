"""Stage notebooks before a run: what a valid template is, and which parameters it takes."""

from __future__ import annotations

import ast
import builtins
import json
import keyword
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

PARAMETERS_TAG = "parameters"
INJECTED_TAG = "injected-parameters"
SENTINEL_TAG = "insight-sentinel"
SENTINEL_MIME = "application/vnd.insight.sentinel+json"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LARGEST_INTEGER = 2**63 - 1


class TemplateFault(ValueError):
    """A notebook cannot serve as a stage's template, or does not take these parameters."""


def load_template(path: Path) -> NotebookNode:
    """Read a stage notebook and check that it can be run.

    Raises:
        TemplateFault: Not a valid nbformat 4 notebook with one `parameters` cell; the
            message names the file and the fix.
    """
    import nbformat

    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
    except OSError as error:
        raise TemplateFault(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise TemplateFault(f"{path}: not a notebook: {error}") from error
    if not isinstance(content, dict) or content.get("nbformat") != 4:
        raise TemplateFault(
            f"{path}: not an nbformat 4 notebook; open it in JupyterLab and save it again"
        )
    try:
        notebook: NotebookNode = nbformat.reads(text, as_version=nbformat.NO_CONVERT)
        notebook.nbformat_minor = max(5, notebook.get("nbformat_minor", 0))
        for number, cell in enumerate(notebook.cells):
            cell.setdefault("id", f"cell-{number}")
        nbformat.validate(notebook)
    except (nbformat.ValidationError, AttributeError, TypeError) as error:
        raise TemplateFault(f"{path}: not a valid notebook: {error}") from error
    tagged = [cell for cell in notebook.cells if PARAMETERS_TAG in tags(cell)]
    if len(tagged) != 1 or tagged[0].cell_type != "code":
        raise TemplateFault(
            f"{path}: {len(tagged)} cells are tagged 'parameters'; "
            "exactly one code cell must be (property inspector in JupyterLab)"
        )
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    found: list[str] = cell.metadata.get("tags", [])
    return found


def parameter_names(notebook: NotebookNode) -> list[str]:
    """Names that the `parameters` cell of a checked template assigns."""
    cell = next(cell for cell in notebook.cells if PARAMETERS_TAG in tags(cell))
    names = []
    for node in ast.parse(cell.source).body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        names += [target.id for target in targets if isinstance(target, ast.Name)]
    return names


def check_parameters(path: Path, notebook: NotebookNode, parameters: Mapping[str, Any]) -> None:
    """Check names against the template and values against what JSON can hold.

    Raises:
        TemplateFault: All faults at once.
    """
    try:
        known = parameter_names(notebook)
    except SyntaxError as error:
        raise TemplateFault(f"{path}: parameters cell: {error}") from error
    faults = []
    for name, value in parameters.items():
        if not _NAME.fullmatch(name) or keyword.iskeyword(name) or hasattr(builtins, name):
            faults.append(f"parameter {name!r} is not a plain lower-case name")
        elif name not in known:
            faults.append(f"parameter {name!r} is not in the parameters cell ({', '.join(known)})")
        faults += [f"parameter {name}{where}: {why}" for where, why in _json_faults(value)]
    if faults:
        raise TemplateFault(f"{path}: " + "; ".join(faults))


def _json_faults(value: Any, where: str = "") -> list[tuple[str, str]]:
    """What in `value` is not plain JSON, with its place."""
    kind = type(value)
    if value is None or kind is bool:
        return []
    if kind is str:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return [(where, "text with a lone surrogate; use valid Unicode")]
        return []
    if kind is int:
        small = abs(value) <= _LARGEST_INTEGER
        return [] if small else [(where, "integer beyond 64 bits; pass it as text")]
    if kind is float:
        return [] if math.isfinite(value) else [(where, f"{value} is not JSON; use null")]
    if kind is list:
        return [
            fault for i, item in enumerate(value) for fault in _json_faults(item, f"{where}[{i}]")
        ]
    if kind is dict:
        faults = [(where, f"key {key!r} is not text") for key in value if type(key) is not str]
        for key, item in value.items():
            faults += _json_faults(key, f"{where}.<key>") if type(key) is str else []
            faults += _json_faults(item, f"{where}.{key}")
        return faults
    return [(where, f"{kind.__name__} is not a JSON type; pass text, number, list or mapping")]


def add_sentinel(notebook: NotebookNode, nonce: str) -> None:
    """Append the cell that shows `nonce` once everything before it has run."""
    from nbformat.v4 import new_code_cell

    source = f"from insight_lib.runner.kernel_process import finish as _finish\n_finish({nonce!r})"
    cell = new_code_cell(source, metadata={"tags": [SENTINEL_TAG]})
    notebook.cells.append(cell)


def remove_sentinel(notebook: NotebookNode) -> None:
    """Take the sentinel cell out again."""
    notebook.cells = [cell for cell in notebook.cells if SENTINEL_TAG not in tags(cell)]


def remove_traces(notebook: NotebookNode) -> None:
    """Take out clock times and random names, so that the same run gives the same bytes."""
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if INJECTED_TAG in tags(cell):
            cell.id = INJECTED_TAG


def cell_number(notebook: NotebookNode, index: int) -> int:
    """The 1-based number that a cell has in the template, where nothing was injected."""
    return sum(INJECTED_TAG not in tags(cell) for cell in notebook.cells[: index + 1])
