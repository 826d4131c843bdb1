"""No number on a shipped page changes unless the changelog says so."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from tests.goldens.pages import MARKETS, differences, pages_of, read


@pytest.mark.slow
@pytest.mark.parametrize("market", MARKETS)
def test_the_shipped_pages_say_what_they_said(market: str, tmp_path: Path) -> None:
    now = json.loads(json.dumps(pages_of(market, tmp_path)))
    assert list(differences(read(market), now)) == []


def test_a_number_that_changes_is_seen() -> None:
    """Planted: a value, a verdict, an order, a row of a chart, a sum that was published."""
    kept = read("us-saas")
    assert list(differences(kept, copy.deepcopy(kept))) == []
    stage = next(name for name, page in kept.items() if page["charts"] and page["published"])

    def planted(change: object) -> list[str]:
        changed = copy.deepcopy(kept)
        change(changed[stage])  # type: ignore[operator]
        return list(differences(kept, changed))

    def number(page: dict) -> None:  # type: ignore[type-arg]
        valued = next(f for f in page["findings"] if f["value"] and f["value"]["value"])
        valued["value"]["value"] *= 1.001

    def verdict(page: dict) -> None:  # type: ignore[type-arg]
        page["findings"][0]["verdict"] = "planted"

    def order(page: dict) -> None:  # type: ignore[type-arg]
        page["findings"].reverse()

    def chart(page: dict) -> None:  # type: ignore[type-arg]
        next(rows for rows in page["charts"] if rows).pop()

    def published(page: dict) -> None:  # type: ignore[type-arg]
        next(iter(page["published"].values()))["rows"] += 1

    for change in (number, verdict, order, chart, published):
        assert planted(change), change.__name__
