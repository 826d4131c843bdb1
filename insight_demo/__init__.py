"""Simulated markets that know the truth.

>>> from insight_demo import WORLDS, simulate_market
>>> market = simulate_market(WORLDS["ke-fashion"], seed=1)
>>> market.tables["customers"].num_rows
320

`market.truth` holds, by customer, product, contract or document, what made the tables; and
`market.scalars` the whole `World` with the planted dates, names and counts:

| frame | what is true |
|---|---|
| customers | segment, order rate, dropout, order value, whether active, orders of the year after |
| customers_complete | traits before anything went missing |
| campaign_effects, assignments | lift by campaign, arm and segment; who bought because of it |
| products, rhythm, returns | elasticities; season, driver and its early signal; return shares |
| excluded_groups | share of each age band without an order in a year |
| approvals, consents, crm_flags | approval and refusal chances; activity, its lag and noise |
| identities | person of each record, typos, records that a cookie alone joins |
| survey_answers, feedback, transcripts | everyone's answers; true segment; topic and sentiment |
| hazards, incidence, contracts, pipeline | causes of ending, when and why; stage conversion |

A test sets a truth by `dataclasses.replace` on the world; `quiet(world)` switches all but the
purchase process off.
"""

from insight_demo.market import (
    SimulatedMarket,
    simulate_market,
    simulate_to,
    stream_transactions,
    write_market,
)
from insight_demo.markets import WORLDS
from insight_demo.worlds import World, quiet

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
