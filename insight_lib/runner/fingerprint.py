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
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from insight_lib.runner.publish import replace_file

# A digest, and the names of the library in import statements.
Found = tuple[str, tuple[str, ...]]
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
        kept: File that keeps the digests from one command to the next; a file whose size and
            time of change are as they were is not read again.
    """

    def __init__(self, package_root: Path | None = None, *, kept: Path | None = None) -> None:
        self._root = package_root or Path(__file__).resolve().parent.parent
        self._kept = kept
        self._seen = _read(kept)
        self._notebooks: dict[Path, tuple[str, tuple[str, ...]]] = {}
        self._modules: dict[str, tuple[str, frozenset[str]]] = {}
        self._files: dict[str, Path | None] = {}
        self._is_new = False

    def keep(self) -> None:
        """Keep what was read for the next command."""
        if self._kept is not None and self._is_new:
            with suppress(OSError):  # a folder that cannot be written to is slower, not wrong
                self._kept.parent.mkdir(parents=True, exist_ok=True)
                replace_file(self._kept, json.dumps(self._seen).encode())
            self._is_new = False

    def _known(self, files: Iterable[Path], make: Callable[[], Found]) -> Found:
        """What `make` reads of files, unless they stand as they did when it was read last."""
        stats = [(str(file), file.stat()) for file in files]
        stamp = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
        path = stats[0][0]
        before = self._seen.get(path)
        if before is not None and before["stamp"] == stamp:
            return before["digest"], tuple(before["names"])
        digest, names = make()
        self._seen[path] = {"stamp": stamp, "digest": digest, "names": list(names)}
        self._is_new = True
        return digest, names

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
            digest, names = self._known([path], lambda: _read_notebook(path))
            self._notebooks[path] = (digest, tuple(sorted(self._modules_of(names))))
        return self._notebooks[path]

    def _module(self, name: str) -> tuple[str, frozenset[str]]:
        """Hash of a module, with the data files beside it if it is a package; its imports."""
        if name not in self._modules:
            path = self._file(name)
            assert path is not None
            files, package = [path], name.rpartition(".")[0]
            if path.name == "__init__.py":
                beside = sorted(path.parent.iterdir())
                files += [f for f in beside if f.is_file() and f.suffix not in (".py", ".pyc")]
                package = name
            digest, names = self._known(files, lambda: _read_module(files, package))
            self._modules[name] = (digest, self._modules_of(names))
        return self._modules[name]

    def _modules_of(self, names: Iterable[str]) -> frozenset[str]:
        """Of names in import statements, those of library modules."""
        return frozenset(name for name in names if self._file(name) is not None)

    def _file(self, name: str) -> Path | None:
        if name not in self._files:
            base = self._root.joinpath(*name.split(".")[1:])
            places = (base / "__init__.py", base.with_suffix(".py"))
            self._files[name] = next((path for path in places if path.is_file()), None)
        return self._files[name]


def _read(kept: Path | None) -> dict[str, Any]:
    """Digests of earlier commands; none where the file is not whole."""
    try:
        content = json.loads(kept.read_text(encoding="utf-8")) if kept else {}
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _read_notebook(path: Path) -> Found:
    """Digest of a notebook's cells, and the names in their import statements."""
    content = json.loads(path.read_text(encoding="utf-8"))
    cells: list[Any] = []
    names: set[str] = set()
    for cell in content["cells"]:
        source = "".join(cell["source"])
        cells.append([cell["cell_type"], source, cell["metadata"].get("tags", [])])
        if cell["cell_type"] == "code":
            names |= _named(_python_of(source), "")
    return _digest(cells), tuple(sorted(names))


def _read_module(files: Sequence[Path], package: str) -> Found:
    """Digest of a module and the data beside it, and the names in its import statements."""
    path, *beside = files
    source = path.read_bytes()
    digest = hashlib.sha256(source)
    for data in beside:
        digest.update(data.name.encode() + b"\0" + data.read_bytes())
    return digest.hexdigest(), tuple(sorted(_named(source.decode("utf-8"), package)))


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
