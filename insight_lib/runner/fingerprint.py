"""What a run's result depends on, as one hash: the same fingerprint, the same result.

It covers the notebook's cells (not its outputs), the library modules that the notebook
imports directly or through others, the market's resolved configuration, the versions of
its canonical tables, the fingerprints upstream, and the versions of the packages.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGE = "insight_lib"
RESULT_PACKAGES = (
    "duckdb",
    "deltalake",
    "ibis-framework",
    "interpret-core",
    "ipykernel",
    "matplotlib",
    "numpy",
    "pandas",
    "papermill",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "seaborn",
    "sqlglot",
    "statsmodels",
)


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def package_versions() -> Mapping[str, str]:
    """Installed versions of Python and of the packages that results depend on."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in RESULT_PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


class CodeIndex:
    """Digests of notebooks and of the library code behind them, each file read once.

    Args:
        package_root: Folder of `insight_lib`; the installed one by default.
    """

    def __init__(self, package_root: Path | None = None) -> None:
        self._root = package_root or Path(__file__).resolve().parent.parent
        self._notebooks: dict[Path, tuple[str, tuple[str, ...]]] = {}
        self._modules: dict[str, tuple[str, frozenset[str]]] = {}

    def notebook_digest(self, path: Path) -> str:
        """Hash of the notebook's cells and of all library code that it imports.

        Raises:
            OSError, ValueError: The file cannot be read or is no notebook.
        """
        cells, imported = self._notebook(path)
        return _digest({"cells": cells, "code": self._code(imported)})

    def module_digest(self, name: str) -> str:
        """Hash of a library module and of all that it imports from the library."""
        return _digest(self._code([name]))

    def modules(self, path: Path) -> tuple[str, ...]:
        """Library modules that the notebook imports, directly or through others, sorted."""
        return tuple(sorted(self._code(self._notebook(path)[1])))

    def _code(self, names: Iterable[str]) -> dict[str, str]:
        """Hashes by module name, of `names` and what they import."""
        found: dict[str, str] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name], imported = self._module(name)
                waiting += imported
        return found

    def _notebook(self, path: Path) -> tuple[str, tuple[str, ...]]:
        if path not in self._notebooks:
            content = json.loads(path.read_text(encoding="utf-8"))
            cells, imported = [], set()
            for cell in content["cells"]:
                source = "".join(cell["source"])
                cells.append([cell["cell_type"], source, cell["metadata"].get("tags", [])])
                if cell["cell_type"] == "code":
                    imported |= self._imports(_python_of(source), "")
            self._notebooks[path] = (_digest(cells), tuple(sorted(imported)))
        return self._notebooks[path]

    def _module(self, name: str) -> tuple[str, frozenset[str]]:
        """Hash of a module, with the data files beside it if it is a package; its imports."""
        if name not in self._modules:
            path = self._file(name)
            assert path is not None
            source = path.read_bytes()
            digest = hashlib.sha256(source)
            if path.name == "__init__.py":
                for data in sorted(path.parent.iterdir()):
                    if data.is_file() and data.suffix not in (".py", ".pyc"):
                        digest.update(data.name.encode() + b"\0" + data.read_bytes())
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            imported = self._imports(source.decode("utf-8"), package)
            self._modules[name] = (digest.hexdigest(), frozenset(imported))
        return self._modules[name]

    def _file(self, name: str) -> Path | None:
        base = self._root.joinpath(*name.split(".")[1:])
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.is_file():
                return path
        return None

    def _imports(self, source: str, package: str) -> set[str]:
        """Library modules that `source` names in import statements, parents included."""
        return {name for name in _named(source, package) if self._file(name) is not None}


@cache
def _named(source: str, package: str) -> frozenset[str]:
    """Names of the library in import statements, of modules or of what is in them; with parents.

    The whole library is none of them unless it is named itself: it brings the door along.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return frozenset()  # it cannot run either; the run will tell
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = node.module or ""
            if node.level:
                base = ".".join([*parts, base] if base else parts)
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    ours = {name for name in names if name.split(".")[0] == PACKAGE}
    return frozenset(
        ".".join(name.split(".")[:count])
        for name in ours
        for count in range(1 if name == PACKAGE else 2, name.count(".") + 2)
    )


def _python_of(source: str) -> str:
    """The cell without IPython's magics and shell lines, which are no Python."""
    if source.lstrip().startswith("%%"):
        return ""
    return "\n".join(
        "" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines()
    )


def fingerprint(
    *,
    notebook: str,
    configuration: str,
    as_of: str,
    segment: str,
    versions: Mapping[str, str],
    upstream: Iterable[str],
) -> str:
    """Hash of everything that the result of one run depends on.

    Args:
        notebook: From `CodeIndex.notebook_digest`.
        configuration: From `Project.digest`.
        versions: State of the canonical tables.
        upstream: Fingerprints of the runs that this one reads from.
    """
    return _digest(
        {
            "notebook": notebook,
            "configuration": configuration,
            "as_of": as_of,
            "segment": segment,
            "versions": dict(versions),
            "upstream": sorted(upstream),
            "packages": dict(package_versions()),
        }
    )
