"""`python -m insight_demo FOLDER MARKET --seed N --customers N`: simulate one market's files."""

from __future__ import annotations

import argparse
from pathlib import Path

from insight_demo import simulate_to


def main() -> None:
    """Simulate a market into a folder."""
    parser = argparse.ArgumentParser(prog="python -m insight_demo")
    parser.add_argument("folder", type=Path)
    parser.add_argument("market")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--customers", type=int, required=True)
    given = parser.parse_args()
    simulate_to(given.folder, given.market, given.seed, n_customers=given.customers)


if __name__ == "__main__":
    main()
