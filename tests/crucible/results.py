"""What came out of each world, kept per seed, stage and state of the code, and resumed.

Results are kept beside the project's other working files; what `docs/reliability.md` was made
from is published beside it, without words, so that a soak elsewhere goes on where it stood.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from insight_lib.lake.store import write_atomically
from insight_lib.parameters import load_project
from insight_lib.runner.fingerprint import CodeIndex
from tests.conftest import ROOT

FOLDER = ROOT / ".insight" / "crucible"
PUBLISHED = ROOT / "docs" / "reliability.json.gz"
WORDS = ("text", "so_what")


def fingerprints(*makers: str, also: str = "") -> dict[str, str]:
    """Stage to a hash of its notebook, the code that it imports, the parameters and the worlds.

    Stages that it rests on, or reads where they are, belong to it.

    Args:
        makers: Files of the crucible that the campaign's worlds are made by.
        also: What else they are made with.
    """
    code, project = CodeIndex(), load_project(ROOT)
    rest = hashlib.sha256(also.encode())
    here = Path(__file__).parent
    files = [here / name for name in ("world.py", "desk.py", "judge.py", *makers)]
    files += [*(ROOT / "parameters").glob("*.yaml"), *(ROOT / "insight_lib" / "lake").glob("*.py")]
    for path in sorted(files):
        rest.update(path.read_bytes())
    found = {}
    for name, stage in project.stages.items():
        parts = [rest.hexdigest()]
        waiting, seen = [name], set()
        while waiting:
            current = waiting.pop()
            if current in seen:
                continue
            seen.add(current)
            parts.append(code.notebook_digest(ROOT / project.stages[current].notebook))
            waiting += (*project.stages[current].needs, *project.stages[current].after)
        found[name] = hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]
        assert stage.id == name
    return found


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """One stage of one world.

    Attributes:
        findings: Each finding cut down to what is judged: id, kind, verdict, value, words.
        faults: What was wrong, in words; empty where all is well.
    """

    fingerprint: str
    state: str
    error: str | None
    seconds: float
    findings: Sequence[Mapping[str, Any]] = ()
    faults: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class WorldResult:
    """All stages of one world."""

    seed: int
    about: Mapping[str, Any]
    stages: Mapping[str, StageResult]
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def faults(self) -> list[str]:
        return [fault for stage in self.stages.values() for fault in stage.faults]


def path_of(campaign: str, seed: int) -> Path:
    return FOLDER / campaign / f"{seed:05d}.json"


def read(campaign: str, seed: int) -> WorldResult | None:
    """What was kept of a world here, or else published, of whatever state of the code."""
    try:
        data = json.loads(path_of(campaign, seed).read_text())
    except FileNotFoundError:
        data = _published().get(campaign, {}).get(str(seed))
    if data is None:
        return None
    stages = {name: StageResult(**stage) for name, stage in data["stages"].items()}
    return WorldResult(**{**data, "stages": stages})


def read_all(campaign: str) -> list[WorldResult]:
    """Every world of a campaign that was kept, by seed."""
    seeds = {int(path.stem) for path in (FOLDER / campaign).glob("*.json")}
    seeds |= {int(seed) for seed in _published().get(campaign, {})}
    return [result for seed in sorted(seeds) if (result := read(campaign, seed)) is not None]


@cache
def _published() -> dict[str, dict[str, Any]]:
    if not PUBLISHED.is_file():
        return {}
    found: dict[str, dict[str, Any]] = json.loads(gzip.decompress(PUBLISHED.read_bytes()))
    return found


def publish(campaigns: Mapping[str, Sequence[WorldResult]]) -> None:
    """Write what a page of reliability was made from; the same results give the same bytes."""
    content = {
        campaign: {str(world.seed): _content(world, without=WORDS) for world in worlds}
        for campaign, worlds in sorted(campaigns.items())
    }
    text = json.dumps(content, sort_keys=True, default=str)
    PUBLISHED.write_bytes(gzip.compress(text.encode(), mtime=0))
    _published.cache_clear()


def _content(world: WorldResult, *, without: Sequence[str] = ()) -> dict[str, Any]:
    def stage(result: StageResult) -> dict[str, Any]:
        found = [{k: v for k, v in f.items() if k not in without} for f in result.findings]
        return {**vars(result), "findings": found}

    return {
        "seed": world.seed,
        "about": dict(world.about),
        "extra": dict(world.extra),
        "stages": {name: stage(result) for name, result in world.stages.items()},
    }


def keep(campaign: str, result: WorldResult) -> None:
    """Write a world's results; those of stages that were not run this time stay."""
    before = read(campaign, result.seed)
    stages = {**(before.stages if before else {}), **result.stages}
    content = _content(replace(result, stages=stages))
    path = path_of(campaign, result.seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(content, indent=1, default=str))


def stale_stages(campaign: str, seed: int, now: Mapping[str, str]) -> list[str]:
    """Stages of a world that have no result of this state of the code."""
    kept = read(campaign, seed)
    stages = kept.stages if kept else {}
    return [n for n, print_ in now.items() if n not in stages or stages[n].fingerprint != print_]


def to_run(stale: Sequence[str], among: Sequence[str]) -> list[str]:
    """Stages without a result, and those that they read where they are; needed ones run anyway."""
    stages = load_project(ROOT).stages
    wanted = {*stale, *(name for stage in stale for name in stages[stage].after)}
    return [name for name in among if name in wanted]


def reduced(finding: Mapping[str, Any]) -> dict[str, Any]:
    """What is judged of a finding."""
    value = finding.get("value") or {}
    number = value.get("value")
    return {
        "id": finding["id"],
        "kind": finding["kind"],
        "verdict": finding["verdict"],
        "owner": finding["owner"],
        "value": number if number is None or math.isfinite(number) else None,
        "lower": value.get("lower"),
        "upper": value.get("upper"),
        "unit": value.get("unit"),
        "n": value.get("n"),
        "text": finding["statement"]["text"],
        "so_what": (finding.get("so_what") or {}).get("text", ""),
    }
