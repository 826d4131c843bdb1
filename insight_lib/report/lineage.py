"""Where a published finding comes from: analysis, tables and their versions, files by hash."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class NoFinding(LookupError):
    """The page has no finding of this id; names those that it has."""


def explain(page: Path, finding_id: str) -> Iterator[str]:
    """Lines that lead from a finding of a published page to the files that it rests on.

    Args:
        page: Folder of the edition, with `findings.json` and `run.json`.

    Raises:
        NoFinding: The page has no such finding.
    """
    findings = json.loads((page / "findings.json").read_text(encoding="utf-8"))["findings"]
    record = json.loads((page / "run.json").read_text(encoding="utf-8"))
    by_id = {finding["id"]: finding for finding in findings}
    if finding_id not in by_id:
        raise NoFinding(
            f"{page.parent.name}/{page.name} has no finding {finding_id!r}; it has "
            f"{', '.join(sorted(by_id)) or 'none'}"
        )
    finding = by_id[finding_id]
    yield f"{finding_id}: {finding['statement']['text']}"
    yield f"  page       {record['market']['id']} · {record['stage']['id']} · {record['as_of']}"
    yield f"  run        {record['run_id']}, code {record['code_revision'] or 'not in git'}"
    if analysis := finding.get("analysis"):
        yield f"  analysis   {analysis}"
    values = _parameters(record, finding.get("parameters", ()))
    for name, value in values.items():
        yield f"  parameter  {name} = {json.dumps(value, ensure_ascii=False)}"
    for name in finding["evidence"]:
        if name in record["tables"]:
            yield from _table(name, record["tables"][name])


def _parameters(record: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """Values of the parameters that the analysis read, by name."""
    known = {
        f"{section}.{name}": value
        for section, values in record["parameters"].items()
        for name, value in values.items()
    }
    return {name: known[name] for name in names if name in known}


def _table(name: str, table: Mapping[str, Any]) -> Iterator[str]:
    yield f"  table      {name}, version {table['version']}: {table['rows']:,} rows read"
    if made_by := table.get("made_by"):
        inputs = ", ".join(f"{n} version {v}" for n, v in sorted(table["inputs"].items()))
        yield f"    made by  stage {made_by}{f' from {inputs}' if inputs else ''}"
    for file in table.get("files", ()):
        yield f"    file     {file['name']}  sha256 {file['sha256']}"
