"""Who may be read for what: consent and licence, as the rules that `open_market` puts to work."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING

from insight_lib.registers import Licence
from insight_lib.schema import TableSchema

if TYPE_CHECKING:
    import ibis.expr.types as ir


def refusal(licence: Licence, *, purpose: str, country: str, today: date) -> str | None:
    """Why a licence does not allow a use, with the field that says so, or None.

    Permission is a matter of today, whatever day the data are looked at for: an earlier
    `as_of` does not bring back a licence that has ended.
    """
    if purpose not in licence.uses:
        return f'the licence does not grant {purpose} (`uses`). "{licence.clause}"'
    if "all" not in licence.territories and country not in licence.territories:
        return f"the licence does not cover {country} (`territories`)"
    if licence.expires and today > licence.expires:
        return f"the licence expired on {licence.expires} (`expires`)"
    return None


def as_known(
    schema: TableSchema, table: ir.Table, has_come: Callable[[ir.Value], ir.BooleanValue]
) -> ir.Table:
    """The rows of a canonical table, and of them the values, that were known at a day's end.

    Consents are not cut: what a person decides counts from then on, for every day.

    Args:
        has_come: Whether a day or an instant is not after that day, on the market's clock.
    """
    import ibis

    if schema.name == "consents":
        return table

    def is_known(known_from: str) -> ir.BooleanValue:
        # A value whose day was not written down is known from the row's own day: hiding it
        # would turn an end without a date, or a failed payment, into none.
        return has_come(table[known_from]) | table[known_from].isnull()

    later = {
        column.name: ibis.ifelse(is_known(column.known_from), table[column.name], None)
        for column in schema.columns
        if column.known_from and column.known_from in table.columns and column.name in table.columns
    }
    if schema.time and schema.time in table.columns:
        moment = table[schema.time]
        table = table.filter(has_come(moment) | moment.isnull())
    return table.mutate(**later) if later else table


def with_consent(
    table: ir.Table, customer: str, then: ir.Table, consents: ir.Table, *, rule: str
) -> ir.Table:
    """The rows of a table that consent allows.

    Whoever has refused since then is out too; whoever agreed since then is not yet in. A row
    without a customer is about nobody, so nobody has to agree.

    Args:
        customer: Column of `table` with the customer.
        then: Decisions on the purpose up to the day in question.
        consents: All decisions on the purpose.
        rule: `opt_in` or `opt_out`.
    """
    refused = _last_said(then, "refused").union(_last_said(consents, "refused"))
    nobody = table[customer].isnull()
    is_out = table[customer].isin(refused.customer_id)
    if rule == "opt_in":
        agreed = _last_said(then, "granted")
        return table.filter(nobody | (table[customer].isin(agreed.customer_id) & ~is_out))
    return table.filter(nobody | ~is_out)


def _last_said(consents: ir.Table, decision: str) -> ir.Table:
    """Customers whose last decision was this; a refusal at the same instant outweighs a grant."""
    latest = consents.group_by("customer_id").agg(decided_at=consents.decided_at.max())
    last = consents.join(latest, ["customer_id", "decided_at"])
    by_customer = last.group_by("customer_id").agg(has_refused=(last.decision == "refused").any())
    wanted = by_customer.has_refused if decision == "refused" else ~by_customer.has_refused
    return by_customer.filter(wanted).select("customer_id")
