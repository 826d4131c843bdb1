"""Consumer insight per market."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from insight_lib.market import open_market as open_market


def __getattr__(name: str) -> Any:
    if name != "open_market":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from insight_lib.market import open_market  # late: the command line starts without it

    return open_market
