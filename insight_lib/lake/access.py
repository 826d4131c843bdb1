"""Who may be read for what: consent and licence, as the rules that `open_market` puts to work."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from insight_lib.registers import Licence

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
