"""How a parameter is declared: once, with its default, unit, meaning and bounds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from insight_lib.registers import Model


def declared(default: Any, unit: str, meaning: str, **bounds: Any) -> Any:
    """A parameter: what it is unless written otherwise, in which unit, and what it means."""
    return Field(
        default, validate_default=True, description=meaning, json_schema_extra={"unit": unit},
        **bounds,
    )  # fmt: skip


class GeneralParameters(Model):
    """What every stage uses."""

    minimum_cell_size: int = declared(
        10, "customers", "Smallest group that a published table or chart may show.", ge=5, le=1000
    )
    interval_level: float = declared(
        0.95, "share", 'Coverage of every "likely" range.', gt=0.5, lt=1
    )
    minimum_customers: int = declared(
        100,
        "customers",
        "Fewer customers than this, and a section says what it would take instead.",
        ge=20,
    )
    seed: int = declared(
        1,
        "seed",
        "Start of every random draw, so that the same inputs give the same numbers.",
        ge=0,
    )
    reporting_currency: str = declared(
        "EUR",
        "ISO 4217 code",
        "Currency that all markets are compared in, beside their own.",
        pattern=r"^[A-Z]{3}$",
    )
    conversion: Literal["market", "purchasing_power"] = declared(
        "market",
        "market or purchasing_power",
        "Whether money is converted at the market rate of the day or at purchasing power.",
    )
    free_orders_count: bool = declared(
        False,
        "yes or no",
        "Whether an order for which nothing was paid (a gift, a sample) is an order.",
    )
