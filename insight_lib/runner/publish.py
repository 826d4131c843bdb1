"""Outputs appear whole or not at all, and the last good ones stay until then.

A run's files are written and synced in a folder of their own, which then changes places
with the published one in one step. `run.json` holds the hash of every other file.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from insight_lib.runner.processes import IS_LINUX

RECORD_NAME = "run.json"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_PREVIOUS = ".previous"


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file and wait until the disk has it."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Wait until the disk has the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Replace one file by a whole new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    partial.unlink(missing_ok=True)
    try:
        write_synced(partial, content)
        partial.replace(path)
        sync_directory(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def publish(
    target: Path, *, staged: Path, files: Mapping[str, bytes], record: Mapping[str, Any]
) -> dict[str, Any]:
    """Publish `files` and their record as the folder `target`.

    Args:
        staged: Folder to prepare them in, on the same file system; gone afterwards.
        record: What `run.json` says, without `files`.

    Returns:
        The record as written, with the hash of every file.

    Raises:
        OSError: The disk is full or broken; `target` is as it was.
    """
    staged.mkdir(parents=True)
    try:
        hashes, sizes = {}, {}
        for name, content in sorted(files.items()):
            write_synced(staged / name, content)
            hashes[name] = hashlib.sha256(content).hexdigest()
            sizes[name] = len(content)
        full = dict(record) | {"files": hashes, "sizes": sizes}
        text = json.dumps(full, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
        write_synced(staged / RECORD_NAME, text.encode() + b"\n")
        sync_directory(staged)
        target.parent.mkdir(parents=True, exist_ok=True)
        _swap(staged, target)
        sync_directory(target.parent)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return full


def _swap(staged: Path, target: Path) -> None:
    if not target.exists():
        staged.rename(target)
        return
    if exchange(staged, target):
        return
    previous = target.with_name(target.name + _PREVIOUS)
    shutil.rmtree(previous, ignore_errors=True)
    target.rename(previous)
    staged.rename(target)
    shutil.rmtree(previous, ignore_errors=True)


def exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step; False where the system cannot."""
    if not IS_LINUX:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    paths = (os.fsencode(one), os.fsencode(other))
    if libc.renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OSError(code, os.strerror(code), str(other))


def recover(reports: Path) -> None:
    """Finish what a kill between two renames left (only where folders cannot change places)."""
    for previous in reports.glob(f"*/*/*{_PREVIOUS}"):
        target = previous.with_name(previous.name.removesuffix(_PREVIOUS))
        if target.exists():
            shutil.rmtree(previous, ignore_errors=True)
        else:
            previous.rename(target)


def read_record(target: Path, *, deep: bool = False) -> dict[str, Any] | None:
    """The record of a published folder, or None if the folder is not whole.

    Sizes are always compared. Hashes are compared if `deep`, or if a file is newer than
    the record, which is written last.
    """
    path = target / RECORD_NAME
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        written_ns = path.stat().st_mtime_ns
        for name, expected in record["files"].items():
            stat = (target / name).stat()
            if stat.st_size != record["sizes"][name]:
                return None
            if (deep or stat.st_mtime_ns > written_ns) and _hash(target / name) != expected:
                return None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return record


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
