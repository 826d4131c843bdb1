"""Carry-over: what an earlier test still does, seen where planted and not where there is none."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from insight_lib.findings import TooFew, Verdict
from insight_lib.impact.carry_over import check_carry_over, earlier_tests, longest_washout
from insight_lib.impact.inputs import Campaign
from insight_lib.impact.integrity_story import describe_carry_over
from tests.truth.helpers import assert_detection_rate, assert_false_alarm_rate, over_seeds

AS_OF = date(2025, 6, 30)
FIRST = date(2025, 1, 1)


def campaign(name: str, start: date, days: int = 14) -> Campaign:
    return Campaign(
        id=name,
        kind="mail",
        start=start,
        end=start + timedelta(days=days - 1),
        cost_amount=1.0,
        is_randomised=True,
        n_assigned=0,
    )


WINTER, EARLY = campaign("winter", date(2025, 1, 6)), campaign("early", date(2025, 2, 17))
PRESENT = campaign("spring", date(2025, 6, 2))


def history(
    seed: int, *, lasting: float = 0.0, lasting_days: int = 200, mixed: float = 0.0, n: int = 1_200
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Assignments of three tests, and daily orders; only `early` leaves something behind.

    Args:
        lasting: Relative rise of the pace of those contacted in `early`, for `lasting_days`
            from its end.
        mixed: Relative rise of the pace in the present test's window of those contacted in both.
    """
    rng = np.random.default_rng(seed)
    pace = rng.gamma(2.0, 0.02, n)
    arms = {c.id: rng.random(n) < 0.5 for c in (WINTER, EARLY, PRESENT)}
    days = np.arange((AS_OF - FIRST).days + 1)
    rate = np.repeat(pace[:, None], len(days), axis=1)
    end = (EARLY.end - FIRST).days
    after = (days > end) & (days <= end + lasting_days)
    rate *= 1 + lasting * arms["early"][:, None] * after
    inside = (days >= (PRESENT.start - FIRST).days) & (days <= (PRESENT.end - FIRST).days)
    rate *= 1 + (0.3 + mixed * arms["early"])[:, None] * arms["spring"][:, None] * inside
    counts = rng.poisson(rate)
    who, day = np.nonzero(counts)
    orders = pd.DataFrame(
        {
            "customer_id": who,
            "day": pd.Timestamp(FIRST) + pd.to_timedelta(day, unit="D"),
            "orders": counts[who, day],
            "revenue": 20.0 * counts[who, day],
        }
    )
    assigned = [
        pd.DataFrame(
            {
                "campaign_id": name,
                "customer_id": np.arange(n),
                "arm": np.where(arm, "mail", "control"),
            }
        )
        for name, arm in arms.items()
    ]
    return pd.concat(assigned, ignore_index=True), orders


def look(seed: int, **planted: float) -> tuple[bool, bool, int]:
    """Whether `early` is said to last, whether it is said to mix, and the washout in days."""
    assigned, orders = history(seed, **planted)  # type: ignore[arg-type]
    earlier = earlier_tests(PRESENT, (PRESENT, EARLY, WINTER))
    found = check_carry_over(PRESENT, earlier, assigned, orders, window_days=28, as_of=AS_OF)
    assert [c.earlier for c in found] == ["early", "winter"]
    lasts = any(c.is_lasting for c in found)
    return lasts, any(c.is_mixed for c in found), longest_washout(found)


@pytest.mark.slow
@pytest.mark.row("C8.1")
def test_a_quiet_history_rarely_alarms_and_a_loud_one_is_heard() -> None:
    quiet = over_seeds(look, 200)
    assert_false_alarm_rate([lasts or mixes for lasts, mixes, _ in quiet], 0.05)
    loud = over_seeds(lambda seed: look(seed, lasting=0.6), 40)
    assert_detection_rate([lasts for lasts, *_ in loud], 0.9)
    crossed = over_seeds(lambda seed: look(seed, mixed=2.0), 40)
    assert_detection_rate([mixes for _, mixes, _ in crossed], 0.9)


@pytest.mark.slow
@pytest.mark.row("C8.1")
def test_the_washout_follows_how_long_the_effect_lasts() -> None:
    short = [wait for *_, wait in over_seeds(lambda s: look(s, lasting=2.0, lasting_days=28), 30)]
    assert np.median(short) == 28
    gone = [wait for *_, wait in over_seeds(look, 30)]
    assert_false_alarm_rate([wait > 0 for wait in gone], 0.15)  # three sequences, 5 % each
    whole = [wait for *_, wait in over_seeds(lambda s: look(s, lasting=2.0), 30)]
    assert np.median(whole) == (PRESENT.start - EARLY.end).days - 1


def test_two_windows_by_hand() -> None:
    """In the 28 days before the start those contacted earlier ordered twice, the others once."""
    ids = [f"c{i:03d}" for i in range(160)]
    early = ["mail", "control"] * 80
    now = ["mail", "mail", "control", "control"] * 40
    assigned = pd.DataFrame(
        {
            "campaign_id": ["early"] * 160 + ["spring"] * 160,
            "customer_id": ids * 2,
            "arm": early + now,
        }
    )
    eve = pd.Timestamp(PRESENT.start) - pd.Timedelta(days=1)
    late = pd.Timestamp(PRESENT.start)
    orders = pd.DataFrame(
        {
            "customer_id": ids * 2,
            "day": [eve] * 160 + [late] * 160,
            "orders": [2 if arm == "mail" else 1 for arm in early] + [1] * 160,
            "revenue": 1.0,
        }
    )
    common = {"window_days": 28, "as_of": AS_OF}
    found = check_carry_over(PRESENT, (EARLY,), assigned, orders, **common)[0]
    assert found.lasting.value == pytest.approx(1.0)
    assert found.interaction.value == pytest.approx(0.0)
    assert found.gap_days == 91
    assert found.is_lasting
    assert not found.is_mixed
    assert found.washout_days == 91  # not seen in the first window, but there at the end
    check = describe_carry_over([found], PRESENT, as_of=AS_OF)
    assert check.verdict is Verdict.REVIEW
    assert str(check.statement) == "early still moved customers when spring began."
    assert "Wait more than 91 days" in str(check.so_what)
    still = orders.assign(orders=1)
    quiet = check_carry_over(PRESENT, (EARLY,), assigned, still, **common)
    assert describe_carry_over(quiet, PRESENT, as_of=AS_OF).verdict is Verdict.PASS
    with pytest.raises(TooFew, match="shares enough customers"):
        check_carry_over(PRESENT, (WINTER,), assigned, orders, **common)
