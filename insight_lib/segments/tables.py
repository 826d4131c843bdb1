"""Results as tiles and small tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from insight_lib.findings import (
    Measured,
    Prose,
    Table,
    Tile,
    Tiles,
    format_number,
    format_value,
)
from insight_lib.segments.attitudes import SideBySide
from insight_lib.segments.crosswalk import Crosswalk
from insight_lib.segments.naming import Quote, TypicalCustomer
from insight_lib.segments.solution import Solution

_IN_WORDS = {
    "n_orders": "orders",
    "mean_order_amount": "spend per order",
    "days_since_last_order": "last order ago",
    "discount_share": "taken off by discounts",
}


def segment_tiles(
    sizes: Mapping[str, int], revenue: Mapping[str, float], names: Mapping[str, str], *,
    unit: str, as_of: date,
) -> Tiles:  # fmt: skip
    """Share of customers per segment, with revenue per customer; the four largest."""
    total = sum(sizes.values())
    largest = sorted(sizes, key=lambda s: (-sizes[s], s))[:4]
    return Tiles(
        tuple(
            Tile(
                label=names[s],
                value=Measured(value=sizes[s] / total, unit="share", n=sizes[s], as_of=as_of),
                note=Prose(
                    "{each} per customer",
                    each=Measured(value=revenue[s] / sizes[s], unit=unit, n=sizes[s], as_of=as_of),
                ),
            )
            for s in largest
        )
    )


def typical_table(
    typical: Sequence[TypicalCustomer], names: Mapping[str, str], *, units: Mapping[str, str]
) -> Table:
    """The typical customers side by side; medians, so nobody in particular."""
    traits = sorted({t for c in typical for t in c.commonest})

    def cell(customer: TypicalCustomer, column: str) -> str:
        value = customer.medians.get(column)
        return "–" if value is None else format_number(value, units[column])

    return Table(
        title="The typical customer of each group",
        columns=(
            "Group", "Customers", *(_IN_WORDS.get(c, c.replace("_", " ")) for c in units),
            *(t.replace("_", " ") for t in traits),
        ),
        rows=tuple(
            (
                names[c.segment],
                f"{c.n_customers:,}",
                *(cell(c, column) for column in units),
                *(c.commonest.get(t, "–") for t in traits),
            )
            for c in typical
        ),
        note="Medians and commonest traits, each taken on its own: no real person.",
    )  # fmt: skip


def candidates_table(result: Solution) -> Table:
    """Every grouping tried, and why it is or is not published."""

    def row(number: int) -> tuple[str, ...]:
        c = result.candidates[number]
        return (
            f"{c.k} by {c.method}",
            f"{c.silhouette:.2f}",
            f"{c.chance_silhouette:.2f}",
            "–" if c.valley is None else f"{c.valley:.2f}",
            f"{min(c.jaccard):.2f}" if c.jaccard else "–",
            "–" if c.kept is None else format_value(c.kept, "full"),
            "chosen" if c is result.chosen else c.fault or "could be published",
        )

    return Table(
        title="Groupings tried, under the same yardsticks",
        columns=(
            "Groups", "Distinct", "By chance", "Valley", "Comes back", "Left next half year",
            "Result",
        ),
        rows=tuple(row(i) for i in range(len(result.candidates))),
        note="Silhouette, its mean by chance, valley between groups against the deepest of one "
        "cloud (more than one counts), smallest Jaccard overlap, part of a plan's gain that is "
        "left in the half year after.",
    )  # fmt: skip


def criteria_table(result: SideBySide) -> Table:
    """The three solutions under both uses."""
    return Table(
        title="Which kind of group serves which use",
        columns=("Groups by", "Number", "Distinct", "Told from traits", "Tells next orders"),
        rows=tuple(
            (
                c.solution,
                str(c.k),
                f"{c.silhouette:.2f}",
                format_value(c.targetable, "full"),
                format_value(c.predictive, "full"),
            )
            for c in result.criteria
        ),
        note="Acquisition needs groups told from traits; retention, groups that tell next orders.",
    )


def restated_table(result: Crosswalk, names: Mapping[str, str], *, currency: str) -> Table:
    """Revenue under the old and the new definition."""
    rows = tuple(
        (
            f"{row['definition']}: {names.get(row['segment'], row['segment'])}",
            f"{row['n_customers']:,}",
            format_number(float(row["amount"]), currency),
        )
        for row in result.restated.to_dict("records")
    )
    return Table(
        title="Revenue under both definitions",
        columns=("Definition and group", "Customers", "Revenue"),
        rows=rows,
    )


def quotes_table(
    matched: Mapping[str, Sequence[Quote]], names: Mapping[str, str], *, n_quotes: int
) -> Table:
    """What interviews say of each group, in the words of people who stay unnamed.

    Args:
        matched: Quotes per segment, as from `naming.match_quotes`.
        n_quotes: Quotes that the register holds for this market.
    """
    rows = [
        (names[segment], f"“{quote.text}”", quote.speaker, format_value(quote.said_on))
        for segment in sorted(names)
        for quote in matched.get(segment, ())
    ]
    silent = [names[s] for s in sorted(names) if s not in matched]
    rows += [(name, "no interview speaks of what sets them apart", "–", "–") for name in silent]
    return Table(
        title="What people say in interviews",
        columns=("Group", "In their words", "Who", "When"),
        rows=tuple(rows),
        note=f"{n_quotes} quotes in parameters/registers/quotes.yaml for this market.",
    )
