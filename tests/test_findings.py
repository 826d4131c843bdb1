from dataclasses import replace
from datetime import date

import pytest

from insight_lib.findings import (
    Estimate,
    Finding,
    Gate,
    Measured,
    Need,
    Prose,
    Tile,
    TooFew,
    TypedNumber,
    Verdict,
    attempt,
    change_phrase,
    format_number,
    judge,
    not_measurable,
    show_result,
)

DAY = date(2026, 6, 30)
RATE = Estimate(
    value=0.312, lower=0.294, upper=0.33, unit="share", n=6120, as_of=DAY, method="Wilson"
)


def change(lower: float, upper: float) -> Estimate:
    return replace(RATE, value=(lower + upper) / 2, lower=lower, upper=upper, unit="change")


def test_prose_is_filled_from_results() -> None:
    prose = Prose("About {rate:in_hundred} (likely {rate:range}) by {day}.", rate=RATE, day=DAY)
    assert str(prose) == "About 31 in 100 (likely 29.4% to 33.0%) by 30 June 2026."
    assert prose.to_json()["values"]["rate"]["n"] == 6120


@pytest.mark.parametrize("template", ["About 31% return.", "Top ٣", "In {day} days, 2 more"])
def test_a_typed_number_is_an_error(template: str) -> None:
    with pytest.raises(TypedNumber):
        Prose(template, **({"day": DAY} if "{day}" in template else {}))


def test_every_field_has_a_value_and_every_value_a_field() -> None:
    with pytest.raises(KeyError):
        Prose("{rate}")
    with pytest.raises(KeyError):
        Prose("words", rate=RATE)


def test_a_range_needs_an_interval() -> None:
    with pytest.raises(ValueError, match="needs an Estimate"):
        Prose("{x:range}", x=Measured(value=1, unit="count", n=1, as_of=DAY))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.3118, "share", "31.2%"),
        (0.2, "share", "20%"),
        (-0.021, "share", "−2.1%"),
        (2.14, "points", "2.1 points"),
        (1.0, "points", "1 point"),
        (-0.01, "difference", "−1 point"),
        (1.04, "points", "1.0 points"),
        (90, "days", "90 days"),
        (1, "days", "1 day"),
        (12.34, "days", "12.3 days"),
        (1234567, "count", "1,234,567"),
        (1234.5, "EUR", "€1,234"),
        (12.5, "EUR", "€12.50"),
        (1234567, "USD", "$1.23 M"),
        (512, "JPY", "¥512"),
        (51.4, "JPY", "¥51"),
        (8100, "KES", "KES 8,100"),
        (float("nan"), "share", "unknown"),
        (-0.0002, "share", "0.0%"),
        (-0.01, "points", "0.0 points"),
        (-0.2, "EUR", "−€0.20"),
        (-0.001, "EUR", "€0.00"),
    ],
)
def test_numbers_are_written_as_readers_expect(value: float, unit: str, text: str) -> None:
    assert format_number(value, unit) == text


@pytest.mark.parametrize(
    ("lower", "upper", "verdict", "words"),
    [
        (0.03, 0.05, Verdict.MATTERS, "up 4%"),
        (-0.05, -0.03, Verdict.MATTERS, "down 4%"),
        (-0.01, 0.01, Verdict.DOES_NOT_MATTER, "too small"),
        (0.005, 0.035, Verdict.CANNOT_TELL, "not surely the 2%"),
        (-0.02, 0.06, Verdict.CANNOT_TELL, "a rise from a fall"),
    ],
)
def test_a_change_has_its_endings(lower: float, upper: float, verdict: Verdict, words: str) -> None:
    assert judge(change(lower, upper), 0.02) is verdict
    assert words in str(change_phrase(change(lower, upper), 0.02))


def finding(**changes: object) -> Finding:
    base = {
        "id": "features.rate",
        "rows": ("M3.1",),
        "statement": Prose("{rate} return.", rate=RATE),
        "verdict": Verdict.MATTERS,
        "owner": "crm-lead",
        "evidence": ("transactions",),
        "value": RATE,
    }
    return Finding(**(base | changes))  # type: ignore[arg-type]


def test_a_finding_without_an_owner_or_with_a_loose_verdict_is_refused() -> None:
    with pytest.raises(ValueError, match="owns"):
        finding(owner="")
    with pytest.raises(ValueError, match="needs go together"):
        finding(verdict=Verdict.NOT_MEASURABLE)
    with pytest.raises(ValueError, match="stage.name"):
        finding(id="Rate")
    with pytest.raises(ValueError, match="pass or fail"):
        Gate(
            id="a.b",
            rows=(),
            statement=Prose("x"),
            verdict=Verdict.REVIEW,
            owner="x",
            evidence=(),
            blocks=("segments",),
        )


def test_markup_in_values_is_escaped_for_the_notebook() -> None:
    shown = finding(statement=Prose("{name} leads", name="<script>alert()</script>"))
    assert "<script>" not in shown._repr_mimebundle_()["text/html"]


def test_direction_follows_what_is_good_and_what_is_sure() -> None:
    def direction(good: str, low: float, high: float) -> str:
        tile = Tile(label="x", value=RATE, change=change(low, high), good=good)  # type: ignore[arg-type]
        return str(tile.to_json()["direction"])

    assert direction("up", 0.01, 0.02) == "good"
    assert direction("down", 0.01, 0.02) == "bad"
    assert direction("down", -0.02, -0.01) == "good"
    assert direction("up", -0.02, 0.01) == "unsure"
    assert direction("neither", 0.01, 0.02) == "neutral"


def test_too_few_becomes_a_finding_that_says_what_it_takes() -> None:
    def otherwise(why: str) -> Finding:
        return finding(
            statement=Prose("Not here: {why}.", why=why),
            verdict=Verdict.NOT_MEASURABLE,
            needs=(Need(table="transactions", minimum_rows=100),),
        )

    def fails() -> Estimate:
        raise TooFew("nobody came")

    assert attempt(lambda: RATE, otherwise=otherwise, n=200, minimum=100) is RATE
    for result in (
        attempt(lambda: RATE, otherwise=otherwise, n=20, minimum=100),
        attempt(fails, otherwise=otherwise, n=200, minimum=100),
    ):
        assert isinstance(result, Finding)
        assert result.verdict is Verdict.NOT_MEASURABLE


def test_what_cannot_be_measured_says_why_and_what_it_takes() -> None:
    found = not_measurable(
        "segments.uses", "Who serves which use", rows=("C3.1",), needs=(Need(table="surveys"),),
        takes="a survey",
    )("nobody was asked")  # fmt: skip
    assert found.id == "segments.uses"
    assert str(found.statement) == "Who serves which use cannot be measured here: nobody was asked."
    assert str(found.so_what) == "It takes a survey."
    assert found.evidence == ("surveys",)


@pytest.mark.case("25", "130i")
@pytest.mark.parametrize(
    ("unit", "value", "lower", "upper"),
    [
        ("EUR", float("nan"), 0.0, 1.0),
        ("EUR", 1.0, float("nan"), 2.0),
        ("EUR", 1.0, 0.0, float("inf")),
        ("ratio", 3.0, 1.0, 2.0),  # beside its own interval
        ("share", 7.5, 7.0, 8.0),
        ("share", 0.0, -0.01, 0.1),
        ("change", -0.99, -1.3, -0.5),
        ("difference", 0.9, 0.8, 1.1),
        ("points", 12.0, 2.0, 750.0),
    ],
)
def test_a_number_that_cannot_be_is_refused(
    unit: str, value: float, lower: float, upper: float
) -> None:
    with pytest.raises(ValueError, match="undefined|between|outside|ordered"):
        replace(RATE, unit=unit, value=value, lower=lower, upper=upper)


@pytest.mark.case("25")
def test_a_counted_number_that_cannot_be_is_refused() -> None:
    for value, unit in ((float("nan"), "count"), (float("inf"), "USD"), (7.5, "share")):
        with pytest.raises(ValueError, match="undefined|between"):
            Measured(value=value, unit=unit, n=3, as_of=DAY)
    with pytest.raises(ValueError, match="zero or more"):
        Measured(value=1.0, unit="count", n=-1, as_of=DAY)


@pytest.mark.case("25", "35")
def test_an_undefined_part_takes_its_own_place_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def undefined(_: int) -> Finding:
        return finding(value=replace(RATE, value=float("nan")))

    shown: list[Finding] = []
    monkeypatch.setattr("insight_lib.findings.show", shown.append)
    show_result(1, undefined, lambda _: finding())
    instead, other = shown
    assert instead.verdict is Verdict.NOT_MEASURABLE
    assert "One part of this page cannot be measured here: value is nan" in str(instead.statement)
    assert str(other.statement) == "31.2% return."


@pytest.mark.case("8")
def test_what_would_help_follows_from_the_reason() -> None:
    """Seen: "orders say neither what was bought nor where. It takes more customers"."""

    def refuse() -> float:
        raise TooFew("orders do not say what was bought", takes="products with a category")

    otherwise = not_measurable(
        "segments.found",
        "Whether there are segments",
        rows=(),
        needs=(Need(table="transactions"),),
        takes="more rows",
    )
    said = attempt(refuse, otherwise=otherwise, n=100, minimum=100)
    assert isinstance(said, Finding)
    assert str(said.so_what) == "It takes products with a category."
    few = attempt(refuse, otherwise=otherwise, n=9, minimum=100)
    assert isinstance(few, Finding)
    assert str(few.so_what) == "It takes more customers."
