from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from insight_lib.runner import fingerprint as fingerprint_module
from insight_lib.runner.fingerprint import CodeIndex, fingerprint

MODULES = {
    "__init__.py": "def __getattr__(name):\n    from insight_lib.market import open_market\n",
    "market.py": "import json\nfrom insight_lib.lake import store\n",
    "lake/__init__.py": "",
    "lake/store.py": "def late():\n    from ..schema import TABLES\n",
    "schema.py": "TABLES = ()\n",
    "features/__init__.py": "from .rfm import estimate\n",
    "features/rfm.py": "import insight_lib.findings as f\n",
    "features/theme.mplstyle": "axes.grid: true\n",
    "findings.py": "",
    "other.py": "",
}


@pytest.fixture
def library(tmp_path: Path) -> Path:
    root = tmp_path / "insight_lib"
    for name, source in MODULES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return root


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    path = tmp_path / "n.ipynb"
    cells = [
        new_markdown_cell("A title"),
        new_code_cell("%matplotlib inline\nfrom insight_lib import open_market"),
        new_code_cell("import insight_lib.features\n!ls"),
    ]
    path.write_text(json.dumps(new_notebook(cells=cells)))
    return path


def test_imports_are_followed(library: Path, notebook: Path) -> None:
    assert CodeIndex(library).modules(notebook) == (
        "insight_lib",
        "insight_lib.features",
        "insight_lib.features.rfm",
        "insight_lib.findings",
        "insight_lib.lake",
        "insight_lib.lake.store",
        "insight_lib.market",
        "insight_lib.schema",
    )


def test_a_module_brings_the_door_along_only_where_the_library_itself_is_named(
    library: Path,
) -> None:
    index = CodeIndex(library)
    before = index.module_digest("insight_lib.features")
    (library / "market.py").write_text("x = 1")
    assert CodeIndex(library).module_digest("insight_lib.features") == before


@pytest.mark.parametrize("name", [name for name in MODULES if name != "other.py"])
def test_a_change_of_used_code_changes_the_digest(library: Path, notebook: Path, name: str) -> None:
    before = CodeIndex(library).notebook_digest(notebook)
    with (library / name).open("a") as file:
        file.write("# changed\n")
    assert CodeIndex(library).notebook_digest(notebook) != before


def test_a_change_of_unused_code_does_not(library: Path, notebook: Path) -> None:
    before = CodeIndex(library).notebook_digest(notebook)
    (library / "other.py").write_text("x = 1")
    assert CodeIndex(library).notebook_digest(notebook) == before


def test_outputs_and_metadata_do_not_count(library: Path, notebook: Path) -> None:
    before = CodeIndex(library).notebook_digest(notebook)
    content = json.loads(notebook.read_text())
    content["metadata"] = {"kernelspec": {"name": "x", "display_name": "x"}}
    content["cells"][1]["outputs"] = [new_output("stream", text="hello")]
    content["cells"][1]["execution_count"] = 4
    notebook.write_text(json.dumps(content))
    assert CodeIndex(library).notebook_digest(notebook) == before


@pytest.mark.parametrize("change", ["source", "order", "tags"])
def test_cells_count(library: Path, notebook: Path, change: str) -> None:
    before = CodeIndex(library).notebook_digest(notebook)
    content = json.loads(notebook.read_text())
    match change:
        case "source":
            content["cells"][0]["source"] = "Another title"
        case "order":
            content["cells"].reverse()
        case "tags":
            content["cells"][1]["metadata"]["tags"] = ["parameters"]
    notebook.write_text(json.dumps(content))
    assert CodeIndex(library).notebook_digest(notebook) != before


def test_every_input_counts() -> None:
    base: dict[str, object] = {
        "notebook": "n",
        "configuration": "c",
        "as_of": "2024-06-30",
        "segment": "",
        "versions": {"orders": 0},
        "upstream": ["u"],
    }
    changes = {
        "notebook": "m",
        "configuration": "d",
        "as_of": "2024-07-01",
        "segment": "gold",
        "versions": {"orders": 1},
        "upstream": [],
    }
    prints = {fingerprint(**(base | {name: value})) for name, value in changes.items()}  # type: ignore[arg-type]
    assert len(prints | {fingerprint(**base)}) == 7  # type: ignore[arg-type]


def test_planning_imports_nothing_heavy() -> None:
    code = (
        "import sys, insight_lib.runner.plan, insight_lib.runner.drive, insight_lib.runner.status\n"
        "heavy = {'pandas', 'numpy', 'papermill', 'nbconvert', 'nbformat', 'zmq'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_what_stands_as_it_stood_is_not_read_again(
    library: Path, notebook: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = tmp_path / "reports" / ".insight" / "code.json"  # of a project that was never run
    index = CodeIndex(library, kept=kept)
    before = index.notebook_digest(notebook)
    index.keep()
    read: list[str] = []
    monkeypatch.setattr(fingerprint_module, "_read_notebook", lambda path: read.append(path))
    parse = fingerprint_module._read_module
    monkeypatch.setattr(
        fingerprint_module,
        "_read_module",
        lambda files, package: (read.append(files[0].name), parse(files, package))[1],
    )
    assert CodeIndex(library, kept=kept).notebook_digest(notebook) == before
    assert read == []
    (library / "findings.py").write_text("x = 1")
    (library / "features" / "theme.mplstyle").write_text("axes.grid: false")
    changed = CodeIndex(library, kept=kept)
    assert changed.notebook_digest(notebook) != before
    assert sorted(read) == ["__init__.py", "findings.py"]  # a package is read for the data beside
    changed.keep()
    kept.write_text("{")  # cut off: everything is read
    read.clear()
    monkeypatch.undo()
    assert CodeIndex(library, kept=kept).notebook_digest(notebook) != before
