"""Analyses are worked out by the names of what they need, each once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from insight_lib.analyses import Analyses, Missing, UnknownNeed, faults
from insight_lib.findings import TooFew, Undefined
from insight_lib.pages import Pages
from insight_lib.run import Run
from tests.cards import run_of

TABLES = {"transactions": [3, 1, 2], "products": None}
CALLS: list[str] = []


class Held:
    def known(self) -> Iterable[str]:
        return TABLES

    def get(self, name: str) -> Any:
        return Missing(f"no {name}") if TABLES[name] is None else TABLES[name]


def total(transactions: list[int]) -> int:
    CALLS.append("total")
    return sum(transactions)


def share(total: int, transactions: list[int], top: int = 1) -> float:
    return sum(sorted(transactions)[-top:]) / total


def by_product(products: Any, total: int) -> Any:
    return products


def with_products(total: int, by_product: Any = None) -> tuple[int, Any]:
    return total, by_product


def costly(total: int, run: Run[Any]) -> float:
    CALLS.append("costly")
    return run.parameters.activation_cost_revenue_share * total


def too_few(total: int) -> int:
    raise TooFew("2 customers, and it takes 9", takes="more customers")


def undefined(total: int) -> int:
    raise Undefined("value is nan")


def on_top(too_few: int, undefined: int) -> int:
    return 1


def stage(*analyses: Any) -> ModuleType:
    module = ModuleType("stage")
    for analysis in analyses:
        setattr(module, analysis.__name__, analysis)
    module.__all__ = [a.__name__ for a in analyses]
    return module


ALL = (total, share, by_product, with_products, costly, too_few, undefined, on_top)


@pytest.fixture
def analyses() -> Analyses:
    CALLS.clear()
    return Analyses(stage(*ALL), run_of("segments"), Held())


def test_each_is_worked_out_once(analyses: Analyses) -> None:
    assert analyses.answer(share).value == 0.5
    assert analyses.answer(with_products).value == (6, None)
    assert CALLS == ["total"]
    assert analyses.answer(share).tables == ("transactions",)


def test_what_a_market_lacks_is_found_by_walking_the_names(analyses: Analyses) -> None:
    answer = analyses.answer(by_product)
    assert answer.value == Missing("no products")
    assert answer.tables == ("products", "transactions")
    assert analyses.answer(on_top).value == Missing("2 customers, and it takes 9", "more customers")
    assert analyses.answer(undefined).value == Missing("value is nan")
    assert analyses.answer(with_products).tables == ("transactions",)  # it does without products


def test_an_option_or_a_parameter_is_changed_for_one_answer(analyses: Analyses) -> None:
    assert analyses.answer(share, top=2).value == pytest.approx(5 / 6)
    assert analyses.answer(share).value == 0.5
    before = analyses.answer(costly).value
    assert analyses.answer(costly, activation_cost_revenue_share=0.5).value == 3.0
    assert analyses.answer(costly).value == before
    assert CALLS == ["total", "costly", "costly"]  # the total did not read the parameter
    with pytest.raises(TypeError, match="nearest name is 'top'"):
        analyses.answer(share, tob=2)
    with pytest.raises(ValueError, match="activation_cost_revenue_share"):
        analyses.answer(costly, activation_cost_revenue_share=7)


def test_a_misspelt_need_names_analysis_parameter_and_nearest(analyses: Analyses) -> None:
    def misspelt(transaction: Any) -> Any:
        return transaction

    with pytest.raises(UnknownNeed, match=r"misspelt: .*'transaction'.*'transactions'"):
        analyses.answer(misspelt)
    assert len(list(faults(stage(*ALL, misspelt), TABLES))) == 1


def test_a_circle_is_named() -> None:
    def hen(egg: int) -> int:
        return egg

    def egg(hen: int) -> int:
        return hen

    (said,) = faults(stage(hen, egg), TABLES)
    assert "circle: " in said
    assert list(faults(stage(*ALL), TABLES)) == []


def test_an_analysis_that_bears_a_tables_name_takes_the_table() -> None:
    def transactions(transactions: list[int]) -> int:
        return len(transactions)

    found = Analyses(stage(transactions), run_of("segments"), Held())
    assert found.answer(transactions).value == 3


def test_an_analysts_own_function_is_an_analysis(analyses: Analyses) -> None:
    def last(transactions: list[int], run: Run[Any]) -> tuple[int, date]:
        return transactions[-1], run.as_of

    assert analyses.answer(last).value == (2, date(2024, 12, 31))


def test_analyses_are_shown_together_for_each_result_of_the_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Shown(Pages):
        _page = SimpleNamespace(items_of=lambda key, analysis: [f"{analysis.__name__} {key}"])

        def answer(self, analysis: Any, **changes: Any) -> Any:
            return SimpleNamespace(key="a"), Missing("no b", key="b"), SimpleNamespace()

    Shown().each(total, share, costly)
    said = capsys.readouterr().out.splitlines()
    assert said == ["share a", "costly a", "share b", "costly b"]
