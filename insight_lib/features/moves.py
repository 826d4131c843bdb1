"""What a change is called: judged by the smallest that matters, and where it surely went."""

from __future__ import annotations

from typing import Literal, cast

from insight_lib.findings import Estimate, Measured, judge

Judged = Literal["matters", "does not matter", "cannot tell yet"]
Move = Literal["up", "down", "too small", "surely up", "surely down", "not known", "not defined"]


def judged(change: Estimate, smallest: float) -> Judged:
    """Whether a change matters, as `findings.judge` says."""
    return cast("Judged", judge(change, smallest).value)


def move_of(change: Estimate | None, smallest: float) -> Move:
    """Where it went; a change may be sure and yet not known to be large enough."""
    if change is None:
        return "not defined"
    match judged(change, smallest):
        case "matters":
            return "up" if change.value > 0 else "down"
        case "does not matter":
            return "too small"
    if change.excludes(0):
        return "surely up" if change.value > 0 else "surely down"
    return "not known"


def enough(change: Estimate | None, smallest: float) -> Measured | None:
    """The smallest change that matters, as it stands in a sentence."""
    if change is None:
        return None
    return Measured(value=smallest, unit=change.unit, n=change.n, as_of=change.as_of)
