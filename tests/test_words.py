"""Cards: what is wrong in them is said when they are read, and every case can be spoken."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from datetime import date
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest

from insight_lib import segments
from insight_lib.analyses import Missing, faults
from insight_lib.findings import Estimate, Measured, Undefined, Verdict
from insight_lib.parameters import load_project
from insight_lib.prose import Name
from insight_lib.registers import Registers
from insight_lib.schema import TABLES
from insight_lib.words import CardFaults, read_words
from tests.cards import run_of
from tests.conftest import ROOT

AS_OF = date(2025, 3, 31)
NUMBERS = count()
STAGES = sorted({path.parent.name for path in (ROOT / "insight_lib").glob("*/words*.yaml")})
CODE = """
from dataclasses import dataclass
from typing import Literal

from insight_lib.analyses import Missing
from insight_lib.findings import Estimate, Measured
from insight_lib.prose import Name

@dataclass(frozen=True, kw_only=True)
class Row:
    name: Name
    share: Estimate

@dataclass(frozen=True, kw_only=True)
class Late:
    case: Literal["many", "few"]
    share: Estimate
    days: Measured
    n: int
    names: tuple[Name, ...]
    why: Literal["slow", "lost"]
    free: str
    table: tuple[Row, ...] = ()

def late(transactions, run) -> tuple[Late | Missing, ...] | None:
    raise NotImplementedError

__all__ = ["late"]
"""
CARD = """\
late:
  what: How many are late
  rows: [M3.1]
  owner: crm-lead
  value: share
  says: "{share:in_hundred} of {n:customers} are late (likely {share:range}): {names}."
  then: They are {why} after {days}.
  cases:
    many: {verdict: matters, due_days: days}
    few: {verdict: does not matter}
  clauses:
    why: {slow: slow to pay, lost: lost}
  table:
    title: Late by shop
    columns: {name: Shop, share: Late}
"""


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(card: str = CARD, code: str = CODE, **others: str) -> ModuleType:
        name = "invented" + "".join(chr(97 + int(digit)) for digit in str(next(NUMBERS)))
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").write_text(code)
        (folder / "words.yaml").write_text(card)
        for language, text in others.items():
            (folder / f"words.{language}.yaml").write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    return make


def result(module: ModuleType, **changes: object) -> object:
    share = Estimate(value=0.25, lower=0.2, upper=0.31, unit="share", n=80, as_of=AS_OF, method="m")
    given = {
        "case": "many",
        "share": share,
        "days": Measured(value=1, unit="days", n=80, as_of=AS_OF),
        "n": 80,
        "names": (Name("Ulm"), Name("Kiel"), Name("Bonn")),
        "why": "lost",
        "free": "",
        "table": (module.Row(name=Name("Ulm"), share=share),),
    }
    return module.Late(**given | changes)


def test_a_result_is_put_into_words(stage: Callable[..., ModuleType]) -> None:
    module = stage()
    words, run = read_words(module), run_of("segments", AS_OF)
    found = words.finding("late", result(module), run, ("transactions",))
    assert str(found.statement) == (
        "25 in 100 of 80 customers are late (likely 20% to 31%): Ulm, Kiel and Bonn."
    )
    assert str(found.so_what) == "They are lost after 1 day."
    assert (found.verdict, found.due) == (Verdict.MATTERS, date(2025, 4, 1))
    few = words.finding("late", result(module, case="few", n=1), run, ())
    assert "of 1 customer are" in str(few.statement)
    assert (few.verdict, few.due) == (Verdict.DOES_NOT_MATTER, None)
    table = words.table("late", result(module), run)
    assert table is not None
    assert table.rows == (("Ulm", "25% (likely 20% to 31%)"),)
    with pytest.raises(Undefined, match="share is not known"):
        words.finding("late", result(module, share=None), run, ())
    with pytest.raises(Undefined, match="why is not known"):
        words.finding("late", result(module, why=None), run, ())


def test_a_card_may_say_only_why_there_is_no_answer(stage: Callable[..., ModuleType]) -> None:
    words = read_words(stage("late:\n  what: How many are late\n  cases: {many: {}, few: {}}\n"))
    assert not words.cards["late"].is_said
    said = words.missing("late", Missing("nobody is", key="ulm"), run_of("segments"), ())
    assert str(said.statement) == "How many are late cannot be measured here: nobody is."
    assert said.id == "segments.late.ulm"


def test_an_id_and_what_is_absent_may_name_what_they_are_about(
    stage: Callable[..., ModuleType],
) -> None:
    card = CARD.replace(
        "late:\n  what: How many are late", 'late:\n  id: "{key}.late"\n  what: "{names}"'
    )
    words, run = read_words(stage(card)), run_of("segments")
    absent = Missing("nobody is", key="ulm", known={"names": (Name("Ulm"),)})
    said = words.missing("late", absent, run, ())
    assert said.id == "segments.ulm.late"
    assert str(said.statement) == "Ulm cannot be measured here: nobody is."
    assert words.id("late", Missing("nobody is"), run) == "segments.late"


def test_a_column_has_its_own_style(stage: Callable[..., ModuleType]) -> None:
    card = CARD.replace("share: Late}", "'share:in_hundred': Late, 'share:range': Likely}")
    module = stage(card)
    table = read_words(module).table("late", result(module), run_of("segments"))
    assert table is not None
    assert table.columns == ("Shop", "Late", "Likely")
    assert table.rows == (("Ulm", "25 in 100", "20% to 31%"),)
    with pytest.raises(CardFaults, match="an Estimate"):
        read_words(stage(CARD.replace("name: Shop", "'name:range': Shop")))


def test_what_is_drawn_is_called_by_the_card(stage: Callable[..., ModuleType]) -> None:
    module = stage(
        CARD + "  chart: {title: Late, subtitle: a, reading: b, labels: {slow: Slow to pay}}\n"
    )
    module.Late.draw = lambda self, caption: caption.labels
    with pytest.raises(CardFaults, match="no typed digit"):
        read_words(
            stage(CARD + "  chart: {title: a, subtitle: a, reading: b, labels: {slow: top 3}}\n")
        )
    labels = read_words(module).chart("late", result(module), run_of("segments"), "s")
    assert labels == {"slow": "Slow to pay"}


def test_an_id_is_of_the_stage_unless_the_card_writes_it_whole(
    stage: Callable[..., ModuleType],
) -> None:
    run = run_of("segments", AS_OF)
    for own, whole in (("slow", "segments.slow"), ("features.slow", "features.slow")):
        module = stage(CARD.replace("late:\n", f"late:\n  id: {own}\n", 1))
        assert read_words(module).id("late", result(module), run) == whole


def test_a_column_may_say_its_style(stage: Callable[..., ModuleType]) -> None:
    columns = 'columns: {name: Shop, "share:": Late, "share:range": Likely}'
    module = stage(CARD.replace("columns: {name: Shop, share: Late}", columns))
    table = read_words(module).table("late", result(module), run_of("segments", AS_OF))
    assert table is not None
    assert (table.columns, table.rows) == (
        ("Shop", "Late", "Likely"),
        (("Ulm", "25%", "20% to 31%"),),
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{names}.", "{nams}.", "did you mean names"),
        ("{names}.", "more than 5.", "'5.'"),
        ("slow to pay", "slow for 9 days", "no typed digit"),
        ("Late by shop", "Late by shop, top 3", "no typed digit"),
        ("{n:customers}", "{n:range}", "an Estimate"),
        ("{names}", "{names:signed}", "a number"),
        ("{names}", "{free}", "a Name"),
        ("{names}", "{case}", "a Name"),
        ("many: {", "most: {", "drop or rename it"),
        ("    few: {verdict: does not matter}\n", "", "add few:"),
        ("lost: lost", "gone: lost", "add lost:"),
        ("  owner: crm-lead\n", "", "no owner"),
        ("verdict: matters, ", "", "no verdict"),
        ("value: share", "value: names", "a number"),
        ("name: Shop", "shop: Shop", "shop"),
        ("name: Shop", '"name:range": Shop', "an Estimate"),
        ("what:", "wat:", "did you mean what"),
        ("late:\n  what", "lat:\n  what", "did you mean late"),
        ("  table:\n", "  chart: {title: a, subtitle: b, reading: c}\n  table:\n", "draw(caption)"),
    ],
)
def test_what_is_wrong_in_a_card_is_said_when_it_is_read(
    stage: Callable[..., ModuleType], old: str, new: str, said: str
) -> None:
    assert old in CARD
    module = stage(CARD.replace(old, new, 1))
    with pytest.raises(CardFaults) as error:
        read_words(module)
    assert said in str(error.value)
    assert "words.yaml:" in str(error.value)


def test_a_result_may_name_its_owner(stage: Callable[..., ModuleType]) -> None:
    code = CODE.replace("    n: int\n", '    n: int\n    owner: Name = Name("analyst")\n')
    module = stage(CARD.replace("  owner: crm-lead\n", ""), code)
    found = read_words(module).finding("late", result(module), run_of("segments", AS_OF), ())
    assert found.owner == "analyst"


def test_all_faults_of_a_file_at_once(stage: Callable[..., ModuleType]) -> None:
    card = CARD.replace("{names}.", "{nams}.").replace("lost: lost", "gone: lost")
    with pytest.raises(CardFaults) as error:
        read_words(stage(card))
    assert len(error.value.faults) == 3


def test_a_second_language_is_a_second_file(stage: Callable[..., ModuleType]) -> None:
    german = """\
late:
  says: "{share:in_hundred} von {n:customers} sind zu spät (wohl {share:range}): {names}."
  then: Sie sind {why} nach {days}.
  clauses:
    why: {slow: langsam, lost: verloren}
"""
    module = stage(de=german)
    run = run_of("segments", AS_OF)
    found = read_words(module, "de").finding("late", result(module), run, ())
    assert str(found.statement) == (
        "25 von 100 von 80 Kundinnen und Kunden sind zu spät (wohl 20\xa0% bis 31\xa0%): "
        "Ulm, Kiel und Bonn."
    )
    assert str(found.so_what) == "Sie sind verloren nach 1 Tag."
    assert found.verdict is Verdict.MATTERS
    assert found.due == date(2025, 4, 1)
    wrong = stage(de=german.replace("{names}", "{namen}"))
    with pytest.raises(CardFaults, match=r"words\.de\.yaml:2"):
        read_words(wrong, "de")


def test_a_column_may_be_words_around_fields_of_its_row(stage: Callable[..., ModuleType]) -> None:
    code = CODE.replace(
        "    share: Estimate\n\n",
        "    share: Estimate\n    size: Literal['few', 'many'] = 'few'\n\n",
        1,
    )
    card = CARD.replace(
        "  table:", '    size: {few: hardly any, many: "{share} of all"}\n  table:'
    ).replace("share: Late}", "size: Late}")
    module = stage(card, code=code)
    share = Estimate(value=0.25, lower=0.2, upper=0.31, unit="share", n=80, as_of=AS_OF, method="m")
    rows = [module.Row(name=Name("Ulm"), share=share, size=size) for size in ("few", "many")]
    table = read_words(module).table("late", result(module, table=tuple(rows)), run_of("segments"))
    assert table is not None
    assert [row[1] for row in table.rows] == ["hardly any", "25% of all"]
    with pytest.raises(CardFaults, match="did you mean share"):
        read_words(stage(card.replace("{share} of all", "{shar} of all"), code=code))


@pytest.mark.parametrize("name", STAGES)
def test_the_cards_and_needs_of_a_stage_are_whole(name: str) -> None:
    package = importlib.import_module(f"insight_lib.{name}")
    assert read_words(package).cards
    known = {"market", *TABLES, *load_project(ROOT).published, *Registers.model_fields}
    assert list(faults(package, known)) == []


def test_the_german_card_of_segments() -> None:
    words = read_words(segments, "de")
    assert words.cards["found"].what == "Ob es Segmente gibt"
    assert words.cards["moves"].what == read_words(segments).cards["moves"].what
