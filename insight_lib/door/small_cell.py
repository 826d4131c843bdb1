"""What may leave a market: aggregates alone, without persons and without small cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from insight_lib.door.rule import Refused
from insight_lib.schema import TABLES, Tag

if TYPE_CHECKING:
    from collections.abc import Collection

    import pandas as pd

_LARGEST_AGGREGATE = 1_000


def tagged(*tags: Tag, whole: bool = False) -> set[str]:
    """Names of the canonical columns that bear any of these tags, or all where `whole`."""
    wanted = set(tags)
    return {
        column.name
        for schema in TABLES.values()
        for column in schema.columns
        if (wanted <= column.tags if whole else wanted & column.tags)
    }


def refuse_nameless(name: str, columns: Collection[str]) -> None:
    """Let a derived table be written, or not.

    Raises:
        Refused: It names persons without `customer_id`, so consent could not follow it.
    """
    persons = tagged(Tag.IDENTIFIER, Tag.PERSONAL, whole=True)
    if "customer_id" not in columns and persons & set(columns):
        raise Refused(
            f"{name!r} names persons without customer_id, so consent could not follow it; "
            "add customer_id or drop the column"
        )


def for_others(name: str, frame: pd.DataFrame, *, minimum_cell_size: int) -> pd.DataFrame:
    """The rows of an aggregate that other markets may see.

    Args:
        frame: Text and numbers, with a column `n` of the customers behind each row.

    Raises:
        Refused: It has no `n`, holds a column that names or describes one person, or is larger
            than an aggregate is.
    """
    personal = tagged(Tag.IDENTIFIER, Tag.PERSONAL, Tag.SENSITIVE)
    if "n" not in frame or (bad := sorted(personal & set(frame.columns))):
        what = "has no column n" if "n" not in frame else f"holds {', '.join(bad)}"
        raise Refused(f"aggregate {name!r} {what}; only aggregates cross borders")
    kept = frame[frame["n"] >= minimum_cell_size]
    if len(kept) > _LARGEST_AGGREGATE:
        raise Refused(f"aggregate {name!r} has {len(kept):,} rows; that is not an aggregate")
    return kept
