"""What the field says of segments: where the rules go wrong, and what a change would do.

A rule is looked for in one half of the feedback and judged on the other, so a proposal that
only fits the noise it was found in has no effect there and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from insight_lib.findings import Estimate, Measured, TooFew
from insight_lib.prose import Name
from insight_lib.statistics import estimate_share

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.run import Run

_FEWEST = 100
_TRAITS = ("acquisition_channel", "age_band", "subregion", "household_type", "industry")


@dataclass(frozen=True, kw_only=True)
class RuleError:
    """How wrong the customers of one rule are, e.g. `acquisition_channel = marketplace`.

    Attributes:
        wrong: Share of the rule's customers that the field calls misclassified.
        contribution: Share of all customers with feedback that this rule has wrong.
        p_value: Against all other customers (Fisher, 1922), for all rules together.
    """

    rule: str
    column: str
    value: str
    wrong: Estimate
    contribution: Estimate
    p_value: float


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A rule change: customers of the rule go where the field puts them.

    Attributes:
        moves: Published segment to proposed one.
        gain: Customers put right less customers put wrong, as a share of the held-out half.
    """

    rule: RuleError
    moves: tuple[tuple[str, str], ...]
    gain: Estimate
    is_adopted: bool


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Precision of the segments by the field's word, by rule, and the proposal if any."""

    precision: Estimate
    rules: tuple[RuleError, ...]
    proposal: Proposal | None
    n_found_in: Measured

    @property
    def case(self) -> Literal["change", "no gain", "nothing stands out"]:
        if self.proposal is None:
            return "nothing stands out"
        return "change" if self.proposal.is_adopted else "no gain"

    @property
    def rule(self) -> Name | None:
        return Name(self.proposal.rule.rule) if self.proposal else None

    @property
    def wrong(self) -> Estimate | None:
        """Of the rule's customers, those whom the field calls misclassified."""
        return self.proposal.rule.wrong if self.proposal else None

    @property
    def gain(self) -> Estimate | None:
        return self.proposal.gain if self.proposal else None


def estimate_audit(
    feedback: pd.DataFrame,
    traits: pd.DataFrame,
    *,
    as_of: date,
    minimum_cell_size: int,
    seed: int = 0,
    level: float = 0.95,
) -> Audit:
    """Find the rule that goes wrong, propose a change, and try it on the held-out half.

    Args:
        feedback: One row per customer: customer_id, published, verdict (`agree` or
            `misclassified`), proposed_segment (missing if agreed).
        traits: customer_id and the categorical columns that rules speak of.
        minimum_cell_size: Rules with fewer customers are not looked at.

    Raises:
        TooFew: Too few customers with feedback.
    """
    given = feedback[feedback["verdict"].isin(["agree", "misclassified"])]
    frame = given.merge(traits, on="customer_id", how="left").sort_values("customer_id")
    if len(frame) < _FEWEST:
        raise TooFew(f"{len(frame)} customers with feedback, and it takes {_FEWEST}")
    frame = frame.reset_index(drop=True)
    frame["is_wrong"] = frame["verdict"] == "misclassified"
    columns = [c for c in traits.columns if c != "customer_id"]
    half = np.random.default_rng(seed).permutation(len(frame)) < len(frame) // 2
    found_in, held_out = frame[half], frame[~half]
    rules = _rules(frame, columns, as_of, minimum_cell_size, level)
    suspects = _rules(found_in, columns, as_of, minimum_cell_size, level)
    # The rule is sought among those that are worse than the rest.
    worst = min(
        (r for r in suspects if r.wrong.value > found_in["is_wrong"].mean()),
        key=lambda r: (r.p_value, r.rule),
        default=None,
    )
    return Audit(
        precision=estimate_share(
            int((~frame["is_wrong"]).sum()), len(frame), as_of=as_of, level=level
        ),
        rules=tuple(rules),
        proposal=_propose(worst, found_in, held_out, as_of, level) if worst else None,
        n_found_in=Measured(value=float(half.sum()), unit="count", n=int(half.sum()), as_of=as_of),
    )


def _rules(
    frame: pd.DataFrame, columns: Sequence[str], as_of: date, minimum: int, level: float
) -> list[RuleError]:
    masks = []
    for column in columns:
        for value in sorted(frame[column].dropna().astype(str).unique()):
            mask = (frame[column].astype(str) == value).to_numpy()
            if min(mask.sum(), (~mask).sum()) >= minimum:
                masks.append((column, value, mask))
    wrong = frame["is_wrong"].to_numpy()
    rules = []
    for column, value, mask in masks:
        inside, outside = int(wrong[mask].sum()), int(wrong[~mask].sum())
        table = [[inside, int(mask.sum()) - inside], [outside, int((~mask).sum()) - outside]]
        p = float(stats.fisher_exact(table)[1])
        rules.append(
            RuleError(
                rule=f"{column.replace('_', ' ')} = {value}",
                column=column,
                value=value,
                wrong=estimate_share(inside, int(mask.sum()), as_of=as_of, level=level),
                contribution=estimate_share(inside, len(frame), as_of=as_of, level=level),
                p_value=min(1.0, p * len(masks)),
            )
        )
    return sorted(rules, key=lambda r: (r.p_value, -r.wrong.value, r.rule))


def _propose(
    rule: RuleError, found_in: pd.DataFrame, held_out: pd.DataFrame, as_of: date, level: float
) -> Proposal:
    mine = found_in[found_in[rule.column].astype(str) == rule.value]
    moves = []
    for published, members in sorted(mine.groupby("published")):
        proposed = members.loc[members["is_wrong"], "proposed_segment"].dropna().value_counts()
        if len(proposed) and proposed.max() > (~members["is_wrong"]).sum():
            best = min(proposed.index[proposed == proposed.max()])
            moves.append((str(published), str(best)))
    target = dict(moves)
    in_rule = (held_out[rule.column].astype(str) == rule.value).to_numpy()
    moved = in_rule & held_out["published"].isin(list(target)).to_numpy()
    wrong = held_out["is_wrong"].to_numpy()
    right_after = (held_out["published"].map(target) == held_out["proposed_segment"]).to_numpy()
    # +1: wrong before and right after; -1: right before, so wrong after; 0 else.
    change = np.where(moved & wrong & right_after, 1.0, 0.0) - np.where(moved & ~wrong, 1.0, 0.0)
    n = len(change)
    half = float(stats.t.ppf(0.5 + level / 2, n - 1)) * float(change.std(ddof=1)) / np.sqrt(n)
    gain = Estimate(
        value=float(change.mean()),
        lower=float(change.mean()) - half,
        upper=float(change.mean()) + half,
        unit="difference",
        n=n,
        as_of=as_of,
        level=level,
        method="mean of paired changes on held-out feedback",
    )
    return Proposal(
        rule=rule,
        moves=tuple(moves),
        gain=gain,
        is_adopted=bool(moves) and rule.p_value <= 1 - level and gain.lower > 0,
    )


def feedback(feedback: ir.Table, people: pd.DataFrame, run: Run[Any]) -> Audit:
    """What the field says of each customer's group, by its last word.

    Raises:
        TooFew: Too few customers with feedback.
    """
    said = feedback.to_pandas()
    said = said[said["subject"].str.startswith("segment:") & said["customer_id"].notna()]
    said = said.sort_values("given_at").groupby("customer_id").tail(1)
    said["published"] = said["subject"].str.removeprefix("segment:")
    traits = people[[c for c in _TRAITS if c in people]].reset_index()
    return estimate_audit(
        said, traits, minimum_cell_size=run.smallest_cell, seed=run.seed, **run.range
    )
