"""Stage 03: what customers do and are worth, and what other markets know of them."""

from insight_lib.features.basis import by_order, lines, settled_after, summary
from insight_lib.features.borrowing import borrowed, mature_rates, repeat_rates, transfer_test

__all__ = [
    "borrowed",
    "by_order",
    "lines",
    "mature_rates",
    "repeat_rates",
    "settled_after",
    "summary",
    "transfer_test",
]
