"""What the company learns, and what is due, as tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from insight_lib.findings import Estimate, Table, format_number, format_range
from insight_lib.impact.adoption import Adoption, Resistance
from insight_lib.impact.agenda import Change, Item
from insight_lib.impact.calendar import Update
from insight_lib.impact.forecasts import EVERYONE, ForecastRecord
from insight_lib.impact.gaps import Gap
from insight_lib.impact.postmortem import PostMortem


def forecast_table(records: Sequence[ForecastRecord]) -> Table:
    """Bias and error by target and group."""
    rows = tuple(
        (
            r.target,
            bias.group,
            f"{bias.bias.n:,}",
            format_number(bias.bias.value, "share"),
            format_range(bias.bias),
            format_number(bias.error, "share"),
            "yes" if bias.stands else "no",
        )
        for r in records
        for bias in (r.total, *r.by_group)
    )
    return Table(
        title="Forecast against what came",
        columns=("Target", "Group", "Customers", "Off by", "Likely", "Error", "Beyond chance"),
        rows=rows,
        note="Off by: forecast over actual. Error: typical miss per customer, as a share of the "
        f"mean that came. Group {EVERYONE}: all customers. Groups too small to show are left out.",
    )


def reliability_table(record: ForecastRecord) -> Table:
    """Mean forecast and what came, by fifth of the forecast."""
    unit = "share" if record.kind == "binary" else "count"
    decimals = None if unit == "share" else 1
    return Table(
        title=f"{record.target}: forecast and outcome by fifth of the forecast",
        columns=("Fifth", "Customers", "Mean forecast", "Mean outcome"),
        rows=tuple(
            (
                f"{number}",
                f"{int(row['customers']):,}",
                format_number(float(row["forecast"]), unit, decimals),
                format_number(float(row["actual"]), unit, decimals),
            )
            for number, row in enumerate(record.reliability.to_dict("records"), start=1)
        ),
    )


def evidence_table(result: PostMortem) -> Table:
    """Every test behind a post-mortem, with its range and its limit."""
    return Table(
        title=f"{result.name}: what is on record",
        columns=("Area", "Test", "Seen", "Likely", "Limit", "Wrong"),
        rows=tuple(
            (
                e.area.capitalize(),
                e.name,
                format_number(e.seen.value, e.seen.unit),
                format_range(e.seen) if isinstance(e.seen, Estimate) else "counted",
                format_number(e.limit.value, e.limit.unit),
                "yes" if e.is_bad else "no",
            )
            for e in result.evidence
        ),
        note="A test with a range counts as wrong when the whole range lies beyond the limit; the "
        "first two when chance is as good as ruled out.",
    )


def updates_table(updates: Sequence[Update]) -> Table:
    """The calendar of updates."""
    return Table(
        title="When each model is due",
        columns=("Model", "Learned up to", "Due", "Because of", "State"),
        rows=tuple(
            (
                u.target,
                u.trained_as_of.isoformat(),
                u.due.isoformat(),
                f"{u.because}: {u.reason}" if u.reason else u.because,
                "late" if u.is_overdue else "on time",
            )
            for u in updates
        ),
    )


def agenda_table(title: str, items: Sequence[Item]) -> Table | None:
    """The items of an agenda; None where there are none."""
    if not items:
        return None
    return Table(
        title=f"Agenda: {title}",
        columns=("What happened", "Stage", "Finding", "Before", "Now", "Owner"),
        rows=tuple(
            (
                item.change.capitalize(),
                item.stage,
                item.finding_id.split(".", 1)[-1]
                if item.change is Change.VALUE
                else item.statement or "all of it",
                item.before or "–",
                item.after or "–",
                item.owner,
            )
            for item in items
        ),
    )


def adoption_table(adoption: Adoption) -> Table:
    """Use by business unit and role."""

    def change(estimate: Estimate | None) -> str:
        if estimate is None:
            return "too few before"
        sign = "+" if estimate.value > 0 else ""
        return sign + format_number(estimate.value, "share")

    return Table(
        title="Who uses the reports",
        columns=(
            "Business unit",
            "Role",
            "Opened",
            "Acted",
            "Set aside",
            "Acted on",
            "Likely",
            "Opened, against the quarter before",
        ),
        rows=tuple(
            (
                u.unit,
                u.role,
                f"{u.opened:,}",
                f"{u.acted:,}",
                f"{u.overridden:,}",
                format_number(u.acted_share.value, "share"),
                format_range(u.acted_share),
                change(u.opened_change),
            )
            for u in adoption.units
        ),
        note=f"Groups too small to show: {adoption.hidden_groups}.",
    )


def resistance_table(resistance: Sequence[Resistance]) -> Table | None:
    """Advice that is set aside; None where none is."""
    if not resistance:
        return None
    return Table(
        title="Advice that is set aside",
        columns=("Finding", "Stage", "Decisions", "Set aside", "Share", "Likely"),
        rows=tuple(
            (
                r.finding_id,
                r.stage,
                f"{r.decided:,}",
                f"{r.overridden:,}",
                format_number(r.share.value, "share"),
                format_range(r.share),
            )
            for r in resistance
        ),
    )


def gaps_table(gaps: Sequence[Gap], *, present: Collection[str]) -> Table | None:
    """Every gap with what it would take; None where there is none.

    Args:
        present: Tables that the market has.
    """
    if not gaps:
        return None
    return Table(
        title="What we cannot measure yet",
        columns=("Table", "State", "Columns", "Rows at least", "Questions", "By itself", "Which"),
        rows=tuple(
            (
                gap.table,
                "too little" if gap.table in present else "missing",
                ", ".join(gap.columns) or "as in the contract",
                f"{gap.minimum_rows:,}" if gap.minimum_rows else "any",
                f"{len(gap.blocks)}",
                f"{gap.alone}",
                ", ".join(sorted({b.id for b in gap.blocks})),
            )
            for gap in gaps
        ),
    )
