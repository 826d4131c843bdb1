"""Who agreed to what it is for: by the law of the market, then and ever since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from insight_lib.door.as_of import has_come
from insight_lib.door.rule import Refused, Rule
from insight_lib.schema import TABLES

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.door.door import Door
    from insight_lib.registers import Purpose


def customer_column(name: str, table: ir.Table) -> str | None:
    """The column of a table that names the customer, if it has one."""
    schema = TABLES.get(name)
    column = schema.customer if schema else "customer_id"
    return column if column and column in table.columns else None


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


def agreeing(door: Door, table: ir.Table, customer: str, purpose: Purpose) -> ir.Table:
    """The rows of a table whose customers agree to a purpose, as the market's law has it.

    Raises:
        Refused: The law asks for consent and there are no consents.
    """
    rule = door.jurisdiction.consent[purpose]
    if "consents" not in door.request.versions:
        if rule == "opt_in":
            raise Refused(
                f"{door.config.id}: {door.config.jurisdiction} asks for consent to {purpose} "
                "and there is no consents table; declare a source for it"
            )
        return table  # opt-out, and nobody has opted out
    consents = door.open("consents")
    consents = consents.filter(consents.purpose == purpose)
    then = consents.filter(has_come(door, consents.decided_at))
    return with_consent(table, customer, then, consents, rule=rule)


class Consenting(Rule):
    """Customers who agree to the stage's purpose, and to the one that a table was made for."""

    def restrict(self, door: Door, name: str, table: ir.Table) -> ir.Table:
        customer = customer_column(name, table)
        if customer is None or name == "consents":
            return table
        table = agreeing(door, table, customer, door.stage.purpose)
        owner = door.project.publisher(name)
        if owner and name in owner.used_for:  # made to be used so, whoever reads it
            table = agreeing(door, table, customer, owner.used_for[name])
        return table
