"""What a notebook asks of its market: show, answer, explore, publish."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import yaml

from insight_lib import segments as s
from insight_lib.analyses import Missing
from insight_lib.explore import explore
from insight_lib.findings import Finding, Measured, Prose, Verdict
from insight_lib.market import Market, open_market
from insight_lib.pages import Page
from insight_lib.run import Run
from tests.conftest import HEADER, ProjectFolder
from tests.test_market import prepare

LINES = HEADER + "".join(
    f"o{order},1,c{order % 12},2024-03-{1 + order % 28:02} 10:00,p1,2,9.50\n" for order in range(60)
)


@pytest.fixture
def market(folder: ProjectFolder) -> Market:
    prepare(folder, LINES)
    return open_market("de-test", stage="segments", root=folder.root)


def page(market: Market) -> Page:
    return market._page


def test_what_is_missing_is_said_with_what_it_takes(market: Market) -> None:
    (said,) = page(market).items(s.feedback)
    assert isinstance(said, Finding)
    assert said.verdict is Verdict.NOT_MEASURABLE
    assert "no feedback on record" in str(said.statement)
    assert [need.table for need in said.needs] == ["feedback", "customer_features"]
    assert page(market).items(s.sizes) == []  # silent: what it needs was said to be missing


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a notebook showed."""
    items: list[Any] = []
    monkeypatch.setattr("insight_lib.pages.show", lambda *more: items.extend(more))
    return items


def test_an_analysts_own_function_is_shown_like_any_other(market: Market, shown: list[Any]) -> None:
    def pieces(transactions: Any, run: Run[Any], at_least: int = 1) -> Finding:
        chosen = transactions.filter(transactions.quantity >= at_least)
        n = int(chosen.count().execute())
        return Finding(
            id="segments.pieces",
            rows=(),
            statement=Prose("{n} lines.", n=Measured(value=n, unit="count", n=n, as_of=run.as_of)),
            verdict=Verdict.DOES_NOT_MATTER,
            owner="analyst",
            evidence=("transactions",),
        )

    market.show(pieces)
    market.show(pieces, at_least=3)
    assert [str(item.statement) for item in shown] == ["60 lines.", "0 lines."]


def test_an_answer_is_the_result_or_says_what_is_missing(market: Market) -> None:
    assert len(market.answer(s.bought).execute()) == 60
    assert market.answer(s.uses) == Missing("the market has no customer features on record")


def size(transactions: Any, run: Run[Any], at_least: int = 1, is_whole: bool = True) -> Missing:
    """Reads one parameter, and has two options."""
    return Missing(f"{run.parameters.channel_capacity} {at_least} {is_whole}")


def test_controls_follow_the_hand_and_write_the_lines(market: Market) -> None:
    box = explore(page(market), size)
    at_least, is_whole, capacity = box.children[:3]
    shown = box.children[-1]
    assert (at_least.value, is_whole.value) == (1, True)
    assert (capacity.description, capacity.min, capacity.max) == (
        "channel capacity",
        1,
        4 * capacity.value,
    )

    def text() -> str:
        (output,) = shown.outputs
        return str(output["data"]["text/plain"])

    before = capacity.value
    assert text() == f"{before} 1 True"
    capacity.value = before + 1
    at_least.value = 3
    is_whole.value = False
    assert text() == f"{before + 1} 3 False"
    button, lines = box.children[-2].children
    button.click()
    assert yaml.safe_load(lines.value) == {
        "parameters": {"segments": {"channel_capacity": before + 1}}
    }
    assert "parameters/markets/de-test.yaml" in lines.value


def test_a_scheduled_run_shows_the_analysis_as_it_stands(market: Market, shown: list[Any]) -> None:
    market.explore(s.feedback)
    assert type(shown.pop()).__name__ == "VBox"
    market.request = replace(market.request, record=market.root / "used.json")
    market.explore(s.feedback)
    assert isinstance(shown.pop(), Finding)


def test_pictures_of_a_table_name_nobody(market: Market, shown: list[Any]) -> None:
    market.explore("transactions", by="currency")
    pairs, heat = shown
    drawn = {axes.get_xlabel() for axes in pairs.axes} | {axes.get_ylabel() for axes in pairs.axes}
    assert {"quantity", "amount"} <= drawn
    assert not {"customer_id", "order_id"} & drawn
    assert len(heat.axes) == 1
    with pytest.raises(ValueError, match="no column 'nothing'"):
        market.explore("transactions", by="nothing")
    with pytest.raises(ValueError, match="no column of numbers"):
        market.explore(pd.DataFrame({"name": ["a", "b"]}))


def test_scheduled_runs_do_not_import_seaborn() -> None:
    code = "import sys, insight_lib.segments, insight_lib.pages; print('seaborn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
