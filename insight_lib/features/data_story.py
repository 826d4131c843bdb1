"""What the data lack, in words: lines that could not be read, days that they do not hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

from insight_lib.features.record import MOST_UNREAD
from insight_lib.features.record import unread_share as unread_share
from insight_lib.findings import Check, Finding, Measured, Prose, Verdict, counted
from insight_lib.orders import Coverage

_LINES = ("transactions",)

# What helps a page without an order line that it may count.
NO_LINES_TAKE = "order lines that can be read, over more days than one"


def is_whole(unread: Measured | None) -> bool:
    """Whether so few order lines could not be read that totals may be called so."""
    return unread is None or unread.value <= MOST_UNREAD


def describe_unread(unread: Measured | None) -> Finding | None:
    """How many order lines are in no figure of the page; None where all could be read."""
    if unread is None:
        return None
    is_much = not is_whole(unread)
    return Check(
        id="features.unread_lines",
        rows=("M3.3",),
        statement=Prose(
            "{share} of the order lines could not be read ({n} of {all}) and are in no figure of "
            "this page{whole}.",
            share=unread,
            n=counted(round(unread.value * unread.n), unread.n, unread.as_of),
            all=counted(unread.n, unread.n, unread.as_of),
            whole="; no total here is the whole" if is_much else "",
        ),
        verdict=Verdict.FAIL if is_much else Verdict.REVIEW,
        owner="data-engineer",
        evidence=_LINES,
        value=unread,
        good="down",
        so_what=Prose("Read the reasons in the quarantine, correct the source and load it again."),
        weight=6.0 if is_much else 1.0,
    )


def with_unread(finding: Finding, unread: Measured | None) -> Finding:
    """A total with the share of lines that are not in it; beyond a limit it decides nothing."""
    if unread is None:
        return finding
    is_much = not is_whole(unread)
    decided = (Verdict.MATTERS, Verdict.DOES_NOT_MATTER, Verdict.PASS)
    undecided = Verdict.REVIEW if finding.verdict is Verdict.PASS else Verdict.CANNOT_TELL
    return replace(
        finding,
        statement=Prose(
            "{said} Not in it: {share} of the order lines, which could not be read.",
            said=finding.statement,
            share=unread,
        ),
        verdict=undecided if is_much and finding.verdict in decided else finding.verdict,
    )


def describe_coverage(held: Coverage, *, as_of: date) -> Check | None:
    """Silences that are not the shop's rhythm; None where there is none."""
    if not held.gaps or held.first_day is None:
        return None
    begin, end = held.gaps[-1]
    n = (as_of - held.first_day).days + 1
    lost = n - held.covered((held.first_day, as_of))
    is_late = end >= as_of - timedelta(days=90)
    return Check(
        id="features.data_gaps",
        rows=("M3.3",),
        statement=Prose(
            "The data hold no order on {lost} of {n} days in a way that is not this shop's "
            "rhythm; the latest such silence is from {begin} to {end}.",
            lost=counted(lost, n, as_of),
            n=counted(n, n, as_of),
            begin=begin,
            end=end,
        ),
        verdict=Verdict.REVIEW,
        owner="data-engineer",
        evidence=_LINES,
        so_what=Prose(
            "Was the shop closed, is a delivery missing, or is a date wrong? Windows that touch "
            "the silence are not compared."
        ),
        weight=5.5 if is_late else 1.2,
    )
