"""An engine that can read below one market's root and nowhere else, for good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_ENGINE_MEMORY = "2GB"


def engine_below(root: Path) -> Any:
    """An ibis connection whose reach ends at `root`; nothing that it runs can widen it."""
    import duckdb
    import ibis

    raw = duckdb.connect(config={"memory_limit": _ENGINE_MEMORY})
    raw.execute("SET TimeZone='UTC'")
    # Sums of doubles depend on the order of the parts; one order, one result.
    raw.execute("SET preserve_insertion_order=true")
    connection = ibis.duckdb.from_connection(raw)
    raw.execute(f"SET allowed_directories=['{str(root).replace(chr(39), '')}/']")
    raw.execute("SET enable_external_access=false")
    raw.execute("SET lock_configuration=true")
    return connection
