"""How long contracts last, why they end, and whether the reasons on record are right."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Literal, cast

import pandas as pd

from insight_lib.charts import Caption, Chart, plot_dots, plot_line
from insight_lib.features.competing_risks import (
    ChurnCauses,
    PaymentEvidence,
    estimate_churn_causes,
    estimate_payment_evidence,
)
from insight_lib.features.contract_records import Contracts, contract_records
from insight_lib.features.moves import Judged, judged
from insight_lib.findings import Estimate, Measured
from insight_lib.prose import Name
from insight_lib.statistics import in_points

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.parameter_model import ValueParameters
    from insight_lib.run import Run

Cause = Literal["voluntary", "non_renewal", "payment", "unknown"]
Part = Literal["joined", "observed_from", "day_unknown", "set_aside"]
# As a chart names them; cards have their own words.
CAUSE_NAMES = {
    "voluntary": "Cancelling",
    "non_renewal": "Not renewing",
    "payment": "Failed payment",
    "unknown": "No reason on record",
}
_MOST_STAY = 0.9  # of contracts; above it, ends are no matter
_MOST_WRONG = 0.05  # of the reasons on record


def signed(
    contracts: ir.Table, run: Run[ValueParameters], customers: ir.Table | None = None
) -> Contracts:
    """Contracts as spells of accounts, by the group of accounts."""
    return contract_records(
        contracts,
        as_of=run.as_of,
        observed_from=run.parameters.contracts_observed_from,
        customers=customers,
        group=run.parameters.account_group,
    )


@dataclass(frozen=True, kw_only=True)
class RecordedContracts:
    """What was done to the contracts' records before anything was counted.

    Attributes:
        parts: What was done, each with its count or day in the field of its name.
    """

    case: Literal["no day", "late records", "whole"]
    n: int
    parts: tuple[Part, ...]
    joined: int
    observed_from: date | None
    day_unknown: int
    set_aside: int


def recorded_contracts(signed: Contracts) -> RecordedContracts | None:
    """Contracts joined, watched late, without a day, or left out; None if nothing was done."""
    found: dict[Part, object] = {
        "joined": signed.n_joined,
        "observed_from": signed.observed_from,
        "day_unknown": signed.n_day_unknown,
        "set_aside": signed.n_set_aside,
    }
    if not any(found.values()):
        return None
    is_faulty = bool(signed.n_day_unknown or signed.n_set_aside)
    is_late = signed.observed_from is not None
    return RecordedContracts(
        case="no day" if is_faulty else "late records" if is_late else "whole",
        n=signed.n_rows,
        parts=tuple(part for part, value in found.items() if value),
        joined=signed.n_joined,
        observed_from=signed.observed_from,
        day_unknown=signed.n_day_unknown,
        set_aside=signed.n_set_aside,
    )


def churn(signed: Contracts, run: Run[ValueParameters]) -> ChurnCauses:
    """By which cause contracts end, and when.

    Raises:
        TooFew: As `estimate_churn_causes`.
    """
    run.require_customers(len(signed.spells))
    return estimate_churn_causes(
        signed.spells,
        horizon_months=run.parameters.churn_horizon_months,
        minimum_at_risk=run.parameters.minimum_contracts_at_risk,
        **run.range,
    )


@dataclass(frozen=True, kw_only=True)
class Survival:
    """How many contracts are still in force, and what ended the others.

    Attributes:
        months, asked: The horizon, and the one asked for where too few were watched so long.
        causes: Largest first, each with its share in the field of its name.
    """

    case: Judged
    in_force: Estimate
    months: Measured
    asked: Measured
    is_cut: bool
    causes: tuple[Cause, ...]
    voluntary: Estimate | None = None
    non_renewal: Estimate | None = None
    payment: Estimate | None = None
    unknown: Estimate | None = None


def _months(churn: ChurnCauses) -> Measured:
    stay = churn.in_force
    return Measured(value=churn.horizon_months, unit="months", n=stay.n, as_of=stay.as_of)


def contract_survival(churn: ChurnCauses) -> Survival:
    """The share in force at the horizon."""
    stay, months = churn.in_force, _months(churn)
    is_cut = churn.horizon_months < churn.asked_months
    unsure = is_cut or stay.lower < _MOST_STAY
    return Survival(
        case="matters"
        if stay.upper < _MOST_STAY
        else "cannot tell yet"
        if unsure
        else "does not matter",
        in_force=stay,
        months=months,
        asked=replace(months, value=churn.asked_months),
        is_cut=is_cut,
        causes=tuple(cast("Cause", cause) for cause, _ in churn.incidence),
        **dict(churn.incidence),
    )


@dataclass(frozen=True, kw_only=True)
class LeadingCause:
    """Which way of ending leads.

    Attributes:
        share: Of contracts, that the first cause ends.
        value: How many more that is than the second ends; the share where there is no second.
        lead: The same in points.
        curve: As in `ChurnCauses`, with causes as a chart names them.
    """

    case: Literal["one reason", "matters", "does not matter", "cannot tell yet"]
    first: Cause
    second: Cause | None
    share: Estimate
    value: Estimate
    lead: Estimate | None
    months: Measured
    curve: pd.DataFrame

    @property
    def remedy(self) -> Cause:
        """The cause to do something about."""
        return self.first

    def draw(self, caption: Caption) -> Chart:
        """Contracts ended by each cause, by month of life."""
        return plot_line(
            self.curve, caption=caption, x="month", y="share", unit="share", series="cause",
            lower="lower", upper="upper", highlight=CAUSE_NAMES[self.first],
            x_title="Months since the start of the contract",
        )  # fmt: skip


def churn_cause(churn: ChurnCauses, run: Run[ValueParameters]) -> LeadingCause:
    """The cause that ends most contracts, and by how much it leads."""
    return leading_cause(churn, run.parameters.smallest_churn_gap_that_matters)


def leading_cause(churn: ChurnCauses, smallest_change_that_matters: float) -> LeadingCause:
    """The same, judged by the smallest lead that matters, as a share of contracts."""
    lead, (first, share) = churn.lead, churn.incidence[0]
    return LeadingCause(
        case="one reason" if lead is None else judged(lead, smallest_change_that_matters),
        first=cast("Cause", first),
        second=None if lead is None else cast("Cause", churn.incidence[1][0]),
        share=share,
        value=share if lead is None else lead,
        lead=None if lead is None else in_points(lead),
        months=_months(churn),
        curve=churn.curve.assign(cause=churn.curve["cause"].map(CAUSE_NAMES)),
    )


@dataclass(frozen=True, kw_only=True)
class Hazards:
    """Ends per month in force, by year of life and cause, and where they are most.

    Attributes:
        rows: As `ChurnCauses.hazards`, with a label.
    """

    label: Name
    rate: Measured
    rows: pd.DataFrame

    def draw(self, caption: Caption) -> Chart:
        """Ends per month in force, by year of life and cause."""
        return plot_dots(
            self.rows, caption=caption, label="label", value="hazard_per_month", lower="lower",
            upper="upper", unit="share", n="n_contracts", highlight=[self.label], is_sorted=False,
        )  # fmt: skip


def churn_hazards(churn: ChurnCauses) -> Hazards:
    """How often contracts end, by cause and year of the contract."""
    named = churn.hazards["cause"].map(CAUSE_NAMES)
    rows = churn.hazards.assign(label=churn.hazards["tenure"] + " · " + named)
    top = rows.sort_values(["hazard_per_month", "label"]).iloc[-1]
    return Hazards(
        label=Name(str(top["label"])),
        rate=Measured(
            value=float(top["hazard_per_month"]),
            unit="share",
            n=churn.n_contracts,
            as_of=churn.in_force.as_of,
        ),
        rows=rows,
    )


@dataclass(frozen=True, kw_only=True)
class RecordedReasons:
    """Whether recorded reasons agree with what the payments say.

    Attributes:
        wrong: Ends recorded as cancelling that followed a failed payment.
        voluntary: The same as a share.
    """

    case: Literal["pass", "review", "fail"]
    wrong: Measured
    voluntary: Estimate


def churn_reasons(
    run: Run[ValueParameters],
    contracts: ir.Table | None = None,
    payments: ir.Table | None = None,
    signed: Contracts | None = None,
) -> RecordedReasons | None:
    """The reasons on record against the payments; None without either.

    Raises:
        TooFew: As `estimate_payment_evidence`.
    """
    if contracts is None or payments is None or signed is None:
        return None
    run.require_customers(len(signed.spells))
    return recorded_reasons(estimate_payment_evidence(contracts, payments, **run.range))


def recorded_reasons(evidence: PaymentEvidence) -> RecordedReasons:
    """What the payments say of the reasons."""
    is_unsure = evidence.voluntary.upper > _MOST_WRONG or evidence.unpaid.upper < 1 - _MOST_WRONG
    is_wrong = evidence.voluntary.lower > _MOST_WRONG
    return RecordedReasons(
        case="fail" if is_wrong else "review" if is_unsure else "pass",
        wrong=evidence.n_voluntary,
        voluntary=evidence.voluntary,
    )
