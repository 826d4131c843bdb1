"""Why a model predicts worse, and for whom, in words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from insight_lib.findings import Finding, Measured, Prose, Verdict, counted
from insight_lib.prediction.explain import in_words
from insight_lib.prediction.monitoring_story import listed
from insight_lib.prediction.root_cause import CauseName, RootCause, SliceRise
from insight_lib.prediction.snapshots import Target

_EVIDENCE = ("transactions", "customers")
CAUSE_WORDS: dict[CauseName, str] = {
    "missingness": "inputs went missing",
    "base rate": "it has become more or less frequent for everyone",
    "mix": "customers are others than before",
    "behaviour": "customers alike behave differently than before",
}
_CAUSE_ADVICE: dict[CauseName, str] = {
    "missingness": "Repair the feed; a new model would only learn to do without it.",
    "base rate": "Set the level of the scores anew; who ranks above whom can stay.",
    "mix": "These customers are harder to tell; retrain so that the model learns from them.",
    "behaviour": "Retrain on recent months; older ones teach what no longer holds.",
}


def _relative(result: RootCause) -> Prose:
    """By how much errors changed, as a share of before; nothing where there were none before."""
    if not result.before > 0:
        return Prose(" Before, there were no errors to compare with.")
    rise = result.rise
    change = rise.value / result.before
    return Prose(
        " In all, errors changed by {rise:signed}.",
        rise=Measured(value=max(change, -1.0), unit="change", n=rise.n, as_of=rise.as_of),
    )


def describe_root_cause(result: RootCause, *, target: Target) -> Finding:
    """Why the model predicts worse, if it does."""
    leading = result.leading
    as_of, n = result.rise.as_of, result.rise.n
    rise = _relative(result)
    if leading is not None:
        names = f" ({listed(leading.names)})" if leading.names else ""
        return Finding(
            id=f"monitoring.cause.{target.id}",
            rows=("M7.6",),
            statement=Prose(
                "Why who will {title} is predicted {word}: {cause}{names}.",
                title=target.title,
                word="worse" if result.rise.value > 0 else "no better",
                cause=CAUSE_WORDS[leading.name],
                names=names,
            ),
            verdict=Verdict.MATTERS,
            owner="data-engineer" if leading.name == "missingness" else "insight-lead",
            evidence=_EVIDENCE,
            value=leading.rise,
            good="down",
            so_what=Prose(
                "{advice} It brings {share} of what made errors larger.{rise}",
                advice=_CAUSE_ADVICE[leading.name],
                share=Measured(value=leading.share, unit="share", n=n, as_of=as_of),
                rise=rise,
            ),
            weight=3,
        )
    is_worse = result.rise.lower > 0
    return Finding(
        id=f"monitoring.cause.{target.id}",
        rows=("M7.6",),
        statement=Prose(
            "{answer}",
            answer="The model predicts worse, but no cause is clear yet."
            if is_worse
            else "The model does not clearly predict worse than before, so there is no cause to "
            "name.",
        ),
        verdict=Verdict.CANNOT_TELL if is_worse else Verdict.DOES_NOT_MATTER,
        owner="insight-lead",
        evidence=_EVIDENCE,
        value=result.rise,
        good="down",
        so_what=Prose(
            "{advice}{rise}",
            rise=rise,
            advice="Look again with the next labels." if is_worse else "No action.",
        ),
        weight=1.5,
    )


def describe_slices(slices: Sequence[SliceRise], *, target: Target, as_of: date) -> Finding | None:
    """The customers for whom it got worse most; nothing if none stands out."""
    clear: list[SliceRise] = [s for s in slices if s.is_clear]
    if not clear:
        return None
    top = max(clear, key=lambda s: (s.rise.value * s.rise.n, s.column, s.value))
    return Finding(
        id=f"monitoring.slice.{target.id}",
        rows=("M7.6",),
        statement=Prose(
            "Errors grew {most}for customers with {column} {value}.",
            most="most " if len(clear) > 1 else "",
            column=in_words(top.column),
            value=top.value,
        ),
        verdict=Verdict.MATTERS,
        owner="analyst",
        evidence=_EVIDENCE,
        value=top.extra,
        good="down",
        so_what=Prose(
            "Look there: {n} customers. Of {all} groups compared together, {clear} stood out.",
            clear=counted(len(clear), top.rise.n, as_of),
            n=counted(top.rise.n, top.rise.n, as_of),
            all=counted(len(slices), top.rise.n, as_of),
        ),
        weight=2.5,
    )
