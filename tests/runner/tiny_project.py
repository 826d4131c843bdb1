"""A project small enough to read: stages and markets as asked for, notebooks that need no data."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

AS_OF = date(2024, 6, 30)
PARAMETERS = 'market = ""\nas_of = None\nsegment = None\noverrides = {}'
OPEN = """
import json, os, pathlib
request_path = pathlib.Path(os.environ["INSIGHT_RUN"])
request = json.loads(request_path.read_text())
def used(**published):
    tables = {"orders": {"version": request["versions"].get("orders"), "rows": 3, "columns": []}}
    content = {"tables": tables, "published": published, "parameters": {}}
    request_path.with_name("used.json").write_text(json.dumps(content))
used()
"""
SHOW = """
from insight_lib.findings import Finding, Prose, Verdict, show
show(Finding(id=f"{request['stage']}.one", rows=(), verdict=Verdict.MATTERS,
             statement=Prose("{market} is fine.", market=market), owner="analyst",
             evidence=("orders",)))
"""
GATE = """
from insight_lib.findings import Gate, Prose, Verdict, show
show(Gate(id=f"{request['stage']}.gate", rows=(), verdict=Verdict.FAIL, owner="steward",
          statement=Prose("Consent is missing."), evidence=("orders",), blocks=("second", "third")))
"""


@dataclass(frozen=True)
class TinyStage:
    id: str
    number: int
    needs: tuple[str, ...] = ()
    per_segment: bool = False
    publishes: tuple[str, ...] = ()
    may_publish: tuple[str, ...] = ()
    publishes_aggregates: tuple[str, ...] = ()
    reads_aggregates: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    reads_decisions: tuple[str, ...] = ()
    own_tables: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return self.id.capitalize()

    @property
    def question(self) -> str:
        return f"What does {self.id} say?"

    @property
    def notebook(self) -> str:
        return f"notebooks/{self.number:02d}_{self.id}.ipynb"


@dataclass(frozen=True)
class TinyMarket:
    id: str
    title: str = "Tiny"
    kind: str = "simulated"
    region: str = "eu"
    jurisdiction: str = "gdpr"
    currency: str = "EUR"
    zone: str = "Europe/Berlin"
    country: str = "DE"
    language: str = "de-DE"
    note: str = ""


@dataclass
class TinyRegisters:
    gates: dict[str, str] = field(default_factory=dict)

    def overridden(self, market: str, *, as_of: date) -> dict[str, str]:
        return self.gates


@dataclass
class TinyProject:
    """Has what the runner asks of `insight_lib.parameters.Project`."""

    root: Path
    stages: dict[str, TinyStage]
    markets: dict[str, TinyMarket]
    registers: TinyRegisters = field(default_factory=TinyRegisters)
    settings: dict[str, Any] = field(default_factory=dict)
    faults: dict[str, tuple[str, ...]] = field(default_factory=dict)
    today: date = AS_OF

    @property
    def reports_dir(self) -> Path:
        return self.root / "reports"

    @property
    def lake_dir(self) -> Path:
        return self.root / "data"

    def digest(self, market: str, overrides: Mapping[str, Any] | None = None) -> str:
        content = json.dumps([market, self.settings, dict(overrides or {})], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def write_manifest(self, market: str, *, as_of: date = AS_OF, version: int = 0) -> None:
        folder = self.lake_dir / self.markets[market].region / market
        folder.mkdir(parents=True, exist_ok=True)
        entry = {
            "version": version,
            "rows_in": 3,
            "loaded": 3,
            "quarantined": 0,
            "out_of_scope": 0,
            "source_digest": "",
            "reasons": {},
            "notices": [],
        }
        content = {"as_of": as_of.isoformat(), "tables": {"orders": entry}}
        (folder / "_manifest.json").write_text(json.dumps(content))

    def write_notebook(self, stage: str, *cells: str, with_ends: bool = True) -> Path:
        """Write a stage's notebook: open, then `cells`, then one finding."""
        path = self.root / self.stages[stage].notebook
        path.parent.mkdir(parents=True, exist_ok=True)
        sources = [OPEN, *cells, SHOW] if with_ends else list(cells)
        parameters = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}, id="parameters")
        notebook = new_notebook(
            cells=[
                parameters,
                *(
                    new_code_cell(textwrap.dedent(source).strip(), id=f"cell-{number}")
                    for number, source in enumerate(sources)
                ),
            ]
        )
        nbformat.write(notebook, path)
        return path

    def folder(self, market: str, stage: str) -> Path:
        return self.reports_dir / market / AS_OF.isoformat() / stage


def make_project(
    root: Path,
    *,
    stages: Sequence[TinyStage] = (TinyStage("first", 1),),
    markets: Sequence[str] = ("aa-one",),
) -> TinyProject:
    """A project whose markets have data and whose stages have a notebook that succeeds."""
    project = TinyProject(
        root=root,
        stages={stage.id: stage for stage in stages},
        markets={name: TinyMarket(name) for name in markets},
    )
    for market in markets:
        project.write_manifest(market)
    for stage in stages:
        published = ", ".join(f"{name}={{'version': 7, 'rows': 3}}" for name in stage.publishes)
        project.write_notebook(stage.id, f"used({published})")
    return project


def processes_of(driver: int) -> list[int]:
    """Living processes that the runs of a driver started, by the mark in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if f"INSIGHT_RUNNER={driver}=".encode() in environment and state not in "ZX":
            found.append(int(entry.name))
    return found


def wait_for(condition: Callable[[], object], *, seconds: float = 20.0) -> bool:
    """Wait until `condition` holds; False if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def run_driver(root: Path, body: str, *, temporary: Path | None = None) -> subprocess.Popen[str]:
    """Run `body` in a process of its own that has `project` and everything of this module.

    Args:
        temporary: Its folder for temporary files; the machine's if not given.
    """
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from tiny_project import *
from insight_lib.runner.drive import run
from insight_lib.runner.limits import Limits
from insight_lib.runner.plan import Selection
root = Path({str(root)!r})
{textwrap.dedent(body)}
"""
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | ({"TMPDIR": str(temporary)} if temporary else {}),
    )
