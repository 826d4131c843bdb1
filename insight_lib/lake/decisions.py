"""What people decided about a market's models and scores, line by line, in its own region.

One file per subject, `_decisions/<subject>.jsonl`: only ever added to, each line flushed to
disk before the next. Runs read it and never write it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from insight_lib.lake.store import LakeError, locked

FOLDER = "_decisions"
_WAIT_SECONDS = 30.0


def read_decisions(root: Path, subject: str) -> list[dict[str, Any]]:
    """The decisions on a subject, oldest first; none if there is no file.

    A last line without an end was never finished and does not count.

    Raises:
        LakeError: A finished line is no JSON object; says which.
    """
    path = root / FOLDER / f"{subject}.jsonl"
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(path.read_text().split("\n")[:-1], start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise LakeError(f"{path}:{number}: not a decision; take the line out or mend it")
        found.append(row)
    return found


def append_decisions(root: Path, subject: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add decisions in one write.

    Raises:
        LakeError: Another process holds the market for too long.
    """
    text = "".join(json.dumps(dict(row), sort_keys=True) + "\n" for row in rows)
    with locked(root, wait_seconds=_WAIT_SECONDS):
        folder = root / FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{subject}.jsonl"
        kept = path.read_bytes() if path.is_file() else b""
        whole = kept[: kept.rfind(b"\n") + 1]  # a torn last line goes
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            file.truncate(len(whole))
            file.seek(len(whole))
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())


def decisions_digest(root: Path, subjects: Sequence[str]) -> str:
    """sha256 of what was decided on some subjects; a new decision makes runs stale."""
    digest = hashlib.sha256()
    for subject in sorted(subjects):
        path = root / FOLDER / f"{subject}.jsonl"
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"{subject} {len(content)} ".encode() + content)
    return digest.hexdigest()
