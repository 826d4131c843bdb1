"""The assumptions of a churn model on contracts, tested on the market's own contracts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from insight_lib.charts import Caption, Chart, Mark, plot_dots
from insight_lib.features.assumptions import (
    Assumption,
    AssumptionTest,
    Judged,
    Restrictions,
    Scale,
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
from insight_lib.features.contract_records import Contracts
from insight_lib.features.proportional_hazards import check_proportional_hazards
from insight_lib.findings import Estimate, Measured
from insight_lib.prose import Name

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.parameter_model import ValueParameters
    from insight_lib.run import Run

_ASSUMPTIONS: tuple[Assumption, ...] = (
    "proportional_hazards",
    "calibration",
    "linearity",
    "positivity",
)


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


def assumed(
    signed: Contracts, run: Run[ValueParameters], customers: ir.Table | None = None
) -> ContractAssumptions | None:
    """What a churn model assumes, tested; None where no sector asks for it."""
    p = run.parameters
    if not p.sector or customers is None:
        return None
    people = customers.to_pandas().set_index("customer_id")
    has_channel = "acquisition_channel" in people
    channel = people["acquisition_channel"] if has_channel else people.index
    return estimate_contract_assumptions(
        signed.spells,
        channel == "partner",
        cause="voluntary",
        horizon_months=p.horizon_months,
        restrictions=Restrictions(
            sector=p.sector,
            allowed_columns=frozenset(p.sector_columns),
            allowed_purposes=frozenset(p.sector_purposes),
        ),
        columns=("seats", "size_band"),
        purpose="retention",
        minimum_cell_size=run.smallest_cell,
        seed=run.seed,
        **run.range,
    )


@dataclass(frozen=True, kw_only=True)
class ModelGate:
    """Whether a churn model may be built: no assumption is broken or untested, and it is allowed.

    Attributes:
        broken: Conditions that are not met.
        of: All there are.
    """

    case: Literal["pass", "fail"]
    broken: Measured
    of: int


def assumptions(assumed: ContractAssumptions | None) -> ModelGate | None:
    """The gate before prediction."""
    if assumed is None:
        return None
    judged = assumed.judged
    n_broken = len({t.assumption for t in judged.failed}) + len(judged.unmeasured)
    n_broken += not judged.handling.is_allowed
    return ModelGate(
        case="pass" if judged.is_allowed else "fail",
        broken=Measured(value=n_broken, unit="count", n=assumed.n_contracts, as_of=assumed.as_of),
        of=len(_ASSUMPTIONS) + 1,
    )


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """One assumption of a churn model: whether it holds, and on what it was tested.

    Attributes:
        why: Reason where it could not be tested.
        names: Columns on which it fails.
        departure: The largest, of those that decide.
    """

    case: Literal["untested", "fails", "small", "holds"]
    why: Name | None
    names: tuple[Name, ...]
    departure: Estimate | None


def _assumed(result: ContractAssumptions | None, assumption: Assumption) -> Assumed | None:
    if result is None:
        return None
    judged = result.judged
    failed, small, passed = (
        [t for t in tests if t.assumption == assumption]
        for tests in (judged.failed, judged.small, judged.passed)
    )
    shown = failed or small or passed
    why = next((u.reason for u in judged.unmeasured if u.assumption == assumption), None)
    tested: Literal["fails", "small", "holds"] = (
        "fails" if failed else "small" if small else "holds"
    )
    return Assumed(
        case="untested" if why is not None else tested,
        why=None if why is None else Name(why),
        names=tuple(Name(test.subject.replace("_", " ")) for test in failed),
        departure=max((t.departure for t in shown), key=lambda d: abs(d.value), default=None),
    )


def assumption_proportional_hazards(assumed: ContractAssumptions | None) -> Assumed | None:
    """Whether what drives leaving does so equally early and late."""
    return _assumed(assumed, "proportional_hazards")


def assumption_calibration(assumed: ContractAssumptions | None) -> Assumed | None:
    """Whether predicted chances come true as often as they say."""
    return _assumed(assumed, "calibration")


def assumption_linearity(assumed: ContractAssumptions | None) -> Assumed | None:
    """Whether risks follow a straight line."""
    return _assumed(assumed, "linearity")


def assumption_positivity(assumed: ContractAssumptions | None) -> Assumed | None:
    """Whether nearly everyone could have been in either group."""
    return _assumed(assumed, "positivity")


@dataclass(frozen=True, kw_only=True)
class AllowedUse:
    """Whether the sector allows the columns and the purpose of a model."""

    case: Literal["allowed", "columns", "purpose", "columns and purpose"]
    sector: Name
    purpose: Name
    columns: tuple[Name, ...]
    n_columns: int


def assumption_handling(assumed: ContractAssumptions | None) -> AllowedUse | None:
    """How a churn model would handle data, held against the sector."""
    if assumed is None:
        return None
    handling = assumed.judged.handling
    faults = ["columns"] * bool(handling.forbidden_columns)
    faults += ["purpose"] * (not handling.is_purpose_allowed)
    return AllowedUse(
        case=" and ".join(faults) or "allowed",  # type: ignore[arg-type]
        sector=Name(handling.sector),
        purpose=Name(handling.purpose),
        columns=tuple(map(Name, handling.forbidden_columns)),
        n_columns=handling.n_columns,
    )


@dataclass(frozen=True, kw_only=True)
class OneTest:
    """One test with its size and verdict."""

    assumption: Assumption
    subject: Name
    departure: Estimate
    scale: Scale
    verdict: Literal["fails", "small", "holds"]


@dataclass(frozen=True, kw_only=True)
class AssumptionTests:
    """Every test, by assumption and what it was made on."""

    table: tuple[OneTest, ...]


def assumption_tests(assumed: ContractAssumptions | None) -> AssumptionTests | None:
    """Every test with its size, range and verdict."""
    if assumed is None:
        return None
    judged = assumed.judged
    verdicts: tuple[tuple[Literal["fails", "small", "holds"], tuple[AssumptionTest, ...]], ...] = (
        ("fails", judged.failed),
        ("small", judged.small),
        ("holds", judged.passed),
    )
    rows = [
        OneTest(
            assumption=test.assumption,
            subject=Name(test.subject.replace("_", " ")),
            departure=test.departure,
            scale=test.scale,
            verdict=verdict,
        )
        for verdict, tests in verdicts
        for test in tests
    ]
    return AssumptionTests(table=tuple(sorted(rows, key=lambda r: (r.assumption, r.subject))))


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Seen less said, by group of predicted chance.

    Attributes:
        n_off: Groups of which the range misses what was said.
        n: All groups.
        rows: group, difference, lower, upper (points), customers.
    """

    n_off: int
    n_groups: int
    rows: pd.DataFrame

    def draw(self, caption: Caption) -> Chart:
        """Share of contracts ended less share predicted to end."""
        return plot_dots(
            self.rows, caption=caption, label="group", value="difference", lower="lower",
            upper="upper", unit="points", n="customers", is_sorted=False,
            reference=Mark(at=0.0, text=caption.reference),
        )  # fmt: skip


def calibration(assumed: ContractAssumptions | None) -> Calibration | None:
    """How far predicted chances miss; None where that could not be tested."""
    if assumed is None or assumed.calibration is None:
        return None
    table = assumed.calibration
    said = table["predicted_share"]
    off = table.assign(
        difference=100 * (table["observed_share"] - said),
        lower=100 * (table["lower"] - said),
        upper=100 * (table["upper"] - said),
    )
    n_off = int(((off["lower"] > 0) | (off["upper"] < 0)).sum())
    return Calibration(n_off=n_off, n_groups=len(off), rows=off)
