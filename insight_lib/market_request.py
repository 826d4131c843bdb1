"""What one run reads: written by the runner for its kernel, or made up interactively."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

from insight_lib.door.rule import Refused
from insight_lib.lake.links import set_aside
from insight_lib.lake.store import (
    LakeError,
    latest_usual_version,
    market_root,
    read_manifest,
)
from insight_lib.market_model import MarketConfig
from insight_lib.parameters import Project


@dataclass(frozen=True)
class Request:
    """What one run reads: who, for what, up to which day, at which versions."""

    market: str
    stage: str
    as_of: date
    segment: str | None
    role: str
    versions: Mapping[str, int]
    record: Path | None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_overrides(self) -> bool:
        return bool(self.overrides)


def run_request(market: str, stage: str) -> Request | None:
    """The request that the runner wrote for this kernel, if it is for this market and stage."""
    path = os.environ.get("INSIGHT_RUN")
    if not path:
        return None
    data = json.loads(Path(path).read_text())
    if data["market"] != market or data["stage"] != stage:
        raise Refused(
            f"this run is for {data['market']}/{data['stage']}; it may not open {market}/{stage}"
        )
    return Request(
        market=market,
        stage=stage,
        as_of=date.fromisoformat(data["as_of"]),
        segment=data["segment"],
        role=data["role"],
        versions=MappingProxyType(data["versions"]),
        record=Path(path).with_name("used.json"),
    )


def interactive_request(
    project: Project,
    config: MarketConfig,
    stage: str,
    role: str,
    segment: str | None,
    as_of: date | None,
) -> Request:
    """The newest data and published tables up to a day, for a notebook opened by a person.

    Raises:
        LakeError: The market has no data yet.
    """
    manifest = read_manifest(project.lake_dir, config.region, config.id)
    if manifest is None or manifest.as_of is None:
        raise LakeError(f"{config.id} has no data yet; run `insight ingest --market {config.id}`")
    apart = set_aside(manifest)
    versions = {name: version for name, version in manifest.versions.items() if name not in apart}
    root = market_root(project.lake_dir, config.region, config.id)
    day = as_of or manifest.as_of
    for other in project.stages.values():
        for name in (*other.publishes, *other.may_publish):
            own = segment and other.per_segment and name != "segments"
            suffix = f"@{segment}" if own else ""
            version = latest_usual_version(root / f"{name}{suffix}", as_of=day)
            if version is not None:
                versions[name] = version
    return Request(
        market=config.id,
        stage=stage,
        as_of=manifest.as_of,
        segment=segment,
        role=role,
        versions=MappingProxyType(versions),
        record=None,
    )
