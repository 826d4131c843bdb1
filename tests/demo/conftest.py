from __future__ import annotations

import pandas as pd
import pytest

from insight_demo import WORLDS, SimulatedMarket, simulate_market


@pytest.fixture(scope="session", params=sorted(WORLDS))
def market(request: pytest.FixtureRequest) -> SimulatedMarket:
    """Every shipped market once."""
    return simulate_market(WORLDS[request.param], seed=11)


@pytest.fixture(scope="session")
def germany() -> SimulatedMarket:
    return simulate_market(WORLDS["de-fashion"], seed=11)


@pytest.fixture(scope="session")
def software() -> SimulatedMarket:
    return simulate_market(WORLDS["us-saas"], seed=11)


def frame(market: SimulatedMarket, name: str) -> pd.DataFrame:
    """A table as pandas, planted copies removed and money as floats."""
    found = market.tables[name].to_pandas().drop_duplicates(ignore_index=True)
    for column in found:
        if column.endswith("amount"):
            found[column] = found[column].astype(float)
    return found


def truth(market: SimulatedMarket, name: str) -> pd.DataFrame:
    return market.truth[name].to_pandas()
