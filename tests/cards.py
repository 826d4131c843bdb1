"""Results put into words without a market: what a stage's cards make of them."""

from __future__ import annotations

from datetime import date
from functools import cache
from types import ModuleType
from typing import Any

from insight_lib.charts import Chart
from insight_lib.findings import Finding, Table
from insight_lib.parameters import load_project
from insight_lib.run import Run
from insight_lib.words import read_words
from tests.conftest import ROOT

AS_OF = date(2024, 12, 31)


@cache
def run_of(section: str, as_of: date = AS_OF) -> Run[Any]:
    """A run with the shipped parameters."""
    parameters = load_project(ROOT).resolve("de-fashion")
    return Run(
        stage=section,
        market="de-test",
        title="Testland",
        as_of=as_of,
        currency="EUR",
        general=parameters.general,
        parameters=getattr(parameters, section),
    )


def told(package: ModuleType, name: str, result: Any) -> Finding:
    """The finding of one result."""
    return read_words(package).finding(name, result, _run(package), ("transactions",))


def drawn(package: ModuleType, name: str, result: Any) -> Chart | None:
    return read_words(package).chart(name, result, _run(package), "transactions (snapshot 0)")


def tabled(package: ModuleType, name: str, result: Any) -> Table | None:
    return read_words(package).table(name, result, _run(package))


def _run(package: ModuleType) -> Run[Any]:
    return run_of(package.__name__.rpartition(".")[2])
