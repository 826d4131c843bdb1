"""The assumptions of a churn model on contracts, tested on the market's own contracts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from insight_lib.features.assumptions import (
    AssumptionTest,
    Judged,
    Restrictions,
    attempt_check,
    calibration_table,
    check_calibration,
    check_handling,
    check_linearity,
    check_positivity,
    cross_fitted,
    judge_assumptions,
)
from insight_lib.features.competing_risks import DAYS_PER_MONTH
from insight_lib.features.proportional_hazards import check_proportional_hazards


@dataclass(frozen=True, kw_only=True)
class ContractAssumptions:
    """Verdict over all assumptions, with the calibration behind it.

    Attributes:
        judged: Every test, taken together.
        calibration: As from `assumptions.calibration_table`; missing if it could not be tested.
        n_contracts: Contracts tested.
        as_of: Last complete day.
    """

    judged: Judged
    calibration: pd.DataFrame | None
    n_contracts: int
    as_of: date


def contract_covariates(spells: pd.DataFrame) -> pd.DataFrame:
    """Log seats (missing: the middle) and one column per group but the largest."""
    seats = spells["seats"].astype(float).clip(lower=1)
    if seats.isna().all():
        seats = seats.fillna(1.0)
    columns = {"log_seats": np.log(seats.fillna(seats.median()))}
    counts = spells["group"].value_counts()
    reference = min(counts.index, key=lambda name: (-counts[name], str(name)))
    for name in sorted(set(counts.index) - {reference}):
        columns[f"group {name}"] = (spells["group"] == name).astype(float)
    return pd.DataFrame(columns, index=spells.index)


def estimate_contract_assumptions(
    spells: pd.DataFrame,
    is_exposed: pd.Series,
    *,
    cause: str,
    as_of: date,
    horizon_months: int,
    restrictions: Restrictions,
    columns: tuple[str, ...],
    purpose: str,
    minimum_cell_size: int,
    seed: int,
    level: float = 0.95,
) -> ContractAssumptions:
    """Test what a churn model on seats and group assumes.

    Proportional hazards on the ends by `cause`; calibration and linearity on any end within
    the horizon, among contracts old enough to have been watched through it; positivity of
    being exposed, given the same covariates.

    Args:
        spells: As from `competing_risks.contract_spells`.
        is_exposed: Per customer_id, whether the account is in the group that a model would
            compare with the others, e.g. came by a partner.
        cause: The cause whose hazard the model would describe.
        restrictions: The sector's, with the columns it allows.
        columns: Columns that the model would read.
        purpose: What the model is for.
        seed: Of the folds.
    """
    covariates = contract_covariates(spells)
    entry, leave = (spells[c].to_numpy(dtype=int) for c in ("entry_days", "exit_days"))
    horizon = int(horizon_months * DAYS_PER_MONTH)
    is_old = (spells["age_days"].to_numpy() > horizon) & (entry == 0)
    outcome = (spells["cause"].notna().to_numpy() & (leave <= horizon))[is_old]
    exposed = spells["customer_id"].map(is_exposed).eq(True).to_numpy()

    def calibration() -> tuple[AssumptionTest, ...]:
        chance = cross_fitted(outcome, covariates[is_old], seed=seed)
        return check_calibration(outcome, chance, as_of=as_of, level=level)

    judged = judge_assumptions(
        (
            attempt_check(
                "proportional_hazards",
                lambda: check_proportional_hazards(
                    entry,
                    leave,
                    (spells["cause"] == cause).to_numpy(),
                    covariates,
                    as_of=as_of,
                    level=level,
                ),
            ),
            attempt_check("calibration", calibration),
            attempt_check(
                "linearity",
                lambda: check_linearity(outcome, covariates[is_old], as_of=as_of, level=level),
            ),
            attempt_check(
                "positivity",
                lambda: check_positivity(exposed, covariates, as_of=as_of, level=level),
            ),
        ),
        check_handling(columns, purpose=purpose, restrictions=restrictions),
    )
    is_tested = not any(u.assumption == "calibration" for u in judged.unmeasured)
    return ContractAssumptions(
        judged=judged,
        calibration=(
            calibration_table(
                outcome,
                cross_fitted(outcome, covariates[is_old], seed=seed),
                as_of=as_of,
                minimum_cell_size=minimum_cell_size,
                level=level,
            )
            if is_tested
            else None
        ),
        n_contracts=len(spells),
        as_of=as_of,
    )
