"""Deliveries: which files were seen, in which order, and what a new one may replace.

The newest delivery of a row wins; a delivery that lost rows does not replace a whole one; a
file that is no longer there takes no row with it unless its source says that every delivery is
the whole table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from insight_lib.lake.faults import SourceFault
from insight_lib.schema import TableSchema

_CHUNK_BYTES = 2**20
# A new delivery that holds a tenth fewer rows than the last one has lost some.
_LARGEST_LOSS_SHARE = 0.1
# A delivery of which more rows than this are refused is not the one that was declared.
_LARGEST_REFUSED_SHARE = 0.5
# Both rules speak of files, not of a handful of rows.
_FEWEST_ROWS = 10
_REASONS_SHOWN = 3
REPEATED = ": the same "
# End of the reason for which a row is set aside that is in the table once already.
COPY = f"{REPEATED}row again"
# A market has to have something in these; another table may well be empty.
_NEVER_EMPTY = ("transactions", "customers", "contracts", "products")


@dataclass(frozen=True, kw_only=True)
class FileSeen:
    """A file as an ingest met it; `delivery` counts ingests that brought something new."""

    name: str
    size: int
    stamp: tuple[int, ...]
    sha256: str
    delivery: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"stamp": list(self.stamp)}


def look_at(files: list[Path], before: tuple[Mapping[str, Any], ...]) -> tuple[FileSeen, ...]:
    """What stands there now; a file is read to tell its content only if its stamp has changed.

    Args:
        before: What an earlier ingest saw.
    """
    known = {entry["name"]: entry for entry in before}
    latest = max((entry["delivery"] for entry in before), default=0)
    seen = []
    for file in files:
        stat = file.stat()
        # The time of the last change of the inode cannot be set back, as that of the file can.
        stamp = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        entry = known.get(file.name)
        is_same = entry is not None and tuple(entry["stamp"]) == stamp
        content = entry["sha256"] if entry is not None and is_same else _sha256(file)
        is_known = entry is not None and entry["sha256"] == content
        delivery = entry["delivery"] if entry is not None and is_known else latest + 1
        seen.append(
            FileSeen(
                name=file.name, size=stat.st_size, stamp=stamp, sha256=content, delivery=delivery
            )
        )
    return tuple(seen)


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        while chunk := handle.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def check_replaceable(
    where: str,
    schema: TableSchema,
    *,
    rows_in: int,
    in_scope: int,
    loaded: int,
    quarantined: int,
    reasons: Mapping[str, int],
    rows_before: int | None,
    may_lose: bool,
) -> None:
    """Keep the last good table from a delivery that would lose rows, or a refusal.

    Args:
        rows_before: Rows that the last good table holds; None before the first.
        may_lose: The declaration has changed, or a person said that the files are the whole.

    Raises:
        SourceFault: What is wrong, and what to do.
    """
    first = "; ".join(f"{reason} ({n:,})" for reason, n in list(reasons.items())[:_REASONS_SHOWN])
    lost = quarantined - sum(n for reason, n in reasons.items() if reason.endswith(COPY))
    if schema.name == "consents" and lost:
        raise SourceFault(
            f"{where}: {lost:,} of {rows_in:,} rows could not be loaded: {first}; "
            "a lost refusal leaves a person opted in, so none is loaded; correct the rows"
        )
    stays = "; the last good table stays" if rows_before else ""
    if quarantined and (quarantined == rows_in or not loaded):
        raise SourceFault(
            f"{where}: 0 of {rows_in:,} rows could be loaded{stays}; {first}; "
            "deliver it again, or correct its declaration"
        )
    if not rows_in and (rows_before or schema.name in _NEVER_EMPTY):
        raise SourceFault(f"{where}: a header and no row{stays}; deliver it again")
    # The same row again is a copy that costs nothing, and is asked about where it is not.
    refused = quarantined - sum(n for why, n in reasons.items() if REPEATED in why)
    if refused >= _FEWEST_ROWS and refused > _LARGEST_REFUSED_SHARE * in_scope:
        raise SourceFault(
            f"{where}: {quarantined:,} of {rows_in:,} rows could not be loaded{stays}: {first}; "
            "deliver it again, or correct its declaration"
        )
    if rows_before and not loaded and not may_lose:
        raise SourceFault(
            f"{where}: 0 of {rows_in:,} rows could be loaded{stays}; no row is in scope; "
            "deliver it again, or correct its declaration"
        )
    loss = (rows_before or 0) - loaded
    if not may_lose and loss >= max(_FEWEST_ROWS, _LARGEST_LOSS_SHARE * (rows_before or 0)):
        raise SourceFault(
            f"{where}: {loaded:,} rows where {rows_before or 0:,} stood before{stays}; deliver it "
            "whole, declare `delivery: changes` or `window`, or run `insight ingest --rebuild` "
            "if the rest is really gone"
        )
