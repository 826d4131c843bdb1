"""Simulated markets that know the truth.

>>> from insight_lib.demo import WORLDS, simulate_market
>>> market = simulate_market(WORLDS["ke-fashion"], seed=1)
>>> market.tables["customers"].num_rows
320
"""

from insight_lib.demo.market import (
    SimulatedMarket,
    simulate_market,
    simulate_to,
    stream_transactions,
    write_market,
)
from insight_lib.demo.markets import WORLDS
from insight_lib.demo.worlds import World, quiet

__all__ = [
    "WORLDS",
    "SimulatedMarket",
    "World",
    "quiet",
    "simulate_market",
    "simulate_to",
    "stream_transactions",
    "write_market",
]
