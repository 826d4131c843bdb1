"""Contracts as they were lived: renewals in one piece, ends without a day, a late first record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pandas as pd

from insight_lib.features.competing_risks import UNKNOWN_CAUSE, life_table, with_group
from insight_lib.market_view import optional

if TYPE_CHECKING:
    import ibis.expr.types as ir

_RENEWAL_DAYS = 31  # a successor that starts so near to an end goes on with it
_TERM_DAYS = (-1, 7)  # and so near to the agreed term, where no end is on record
_MISSED_ENDS = 7.0  # by chance none of seven expected is seen once in exp(7)
_FEWEST_ENDS = 20


@dataclass(frozen=True, kw_only=True)
class Contracts:
    """Contracts by the time they were in force.

    Attributes:
        spells: contract_id (the first of a chain), customer_id, opportunity_id, group ("all"
            without one), entry_days, exit_days (days since the start), age_days (start to the
            data date), cause (missing while in force, "unknown" if ended without a reason),
            monthly_amount, seats (both of the last in a chain); ordered by contract_id.
        observed_from: First day from which ends are on record, where that is later than the
            first contract; older contracts are watched from then on (delayed entry).
        n_rows: Contracts in the data.
        n_joined: Of them, those that go on with an earlier one of the same account.
        n_day_unknown: Ended on a day that is not on record.
        n_set_aside: End before they start.
    """

    spells: pd.DataFrame
    observed_from: date | None
    n_rows: int
    n_joined: int
    n_day_unknown: int
    n_set_aside: int


def contract_records(
    contracts: ir.Table,
    *,
    as_of: date,
    observed_from: date | None = None,
    customers: ir.Table | None = None,
    group: str | None = None,
) -> Contracts:
    """Contracts as spells of accounts.

    An account's contract that starts within a month of the end of another goes on with it: a
    renewal or an upgrade is no end. A contract with a reason of ending and no day ended at its
    agreed term, or where that is still ahead, half way to the data date.

    Args:
        contracts: As in `schema.TABLES`.
        as_of: Last complete day; contracts in force then are watched up to it.
        observed_from: First day from which every end is on record; if not given, it is taken
            from the first end where contracts were in force so long before it that their like
            would surely have ended (at the rates by age seen after it).
        customers: For the group.
        group: Column of `customers` to group by, if it is there.
    """
    rows = _rows(contracts, as_of=as_of, customers=customers, group=group)
    n_rows = len(rows)
    rows = rows[~(rows["end"] < rows["start"])]
    unknown = rows["end"].isna() & rows["reason"].notna()
    term = rows["term"].where((rows["term"] <= 0) & (rows["term"] >= rows["start"]))
    rows = rows.assign(end=rows["end"].mask(unknown, term.fillna(rows["start"] / 2).round()))
    chains = _chained(rows)
    first = _first_recorded(chains) if observed_from is None else (observed_from - as_of).days
    if first is not None:
        chains = chains[~(chains["end"] < first)]
    entry = np.maximum((first if first is not None else -(10**6)) - chains["start"], 0)
    leave = chains["end"].fillna(0) - chains["start"]
    cause = chains["reason"].where(chains["reason"].notna(), UNKNOWN_CAUSE)
    spells = pd.DataFrame(
        {
            **{n: chains[n] for n in ("contract_id", "customer_id", "opportunity_id", "group")},
            "entry_days": entry.astype(np.int64),
            "exit_days": leave.astype(np.int64),
            "age_days": (-chains["start"]).astype(np.int64),
            "cause": cause.where(chains["end"].notna(), None),
            "monthly_amount": chains["monthly_amount"],
            "seats": chains["seats"],
        }
    )
    is_late = first is not None and bool((entry > 0).any())
    return Contracts(
        spells=spells.sort_values("contract_id", ignore_index=True),
        observed_from=as_of + timedelta(days=int(first)) if is_late and first is not None else None,
        n_rows=n_rows,
        n_joined=int((chains["n_rows"] - 1).sum()),
        n_day_unknown=int(unknown.sum()),
        n_set_aside=n_rows - len(rows),
    )


def _rows(
    contracts: ir.Table, *, as_of: date, customers: ir.Table | None, group: str | None
) -> pd.DataFrame:
    """Contracts begun by `as_of`; start, end and term in days, the data date being zero."""
    last = ibis.date(as_of.isoformat())
    known = contracts.mutate(
        end_date=optional(contracts, "end_date", "date"),
        end_reason=optional(contracts, "end_reason", "string"),
        opportunity_id=optional(contracts, "opportunity_id", "string"),
        seats=optional(contracts, "seats", "int64"),
        term_end_date=optional(contracts, "term_end_date", "date"),
    )
    begun = known.filter(known.start_date <= last)
    is_over = begun.end_date.notnull() & (begun.end_date <= last)
    is_ahead = begun.end_date.notnull() & (begun.end_date > last)
    rows = begun.select(
        "contract_id",
        "customer_id",
        "opportunity_id",
        start=begun.start_date.delta(last, unit="day"),
        end=ibis.ifelse(is_over, begun.end_date, ibis.null("date")).delta(last, unit="day"),
        term=begun.term_end_date.delta(last, unit="day"),
        reason=ibis.ifelse(is_ahead, ibis.null("string"), begun.end_reason),
        monthly_amount=begun.monthly_amount.cast("float64"),
        seats=begun.seats,
    )
    frame = with_group(rows, customers, group).to_pandas()
    frame = frame.astype({"start": float, "end": float, "term": float})
    return frame.sort_values(["customer_id", "start", "contract_id"], ignore_index=True)


def _chained(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per chain of an account's contracts that go on with each other."""
    several = rows["customer_id"].duplicated(keep=False)
    chains = [row | {"n_rows": 1} for row in rows[~several].to_dict("records")]
    for _, mine in rows[several].groupby("customer_id", sort=True):
        open_: list[dict[Any, Any]] = []
        for row in mine.to_dict("records"):
            before = [chain for chain in open_ if _goes_on(chain, row["start"])]
            if not before:
                open_.append(row | {"n_rows": 1})
                continue
            chain = max(before, key=lambda c: (c["start"], str(c["contract_id"])))
            last = ("end", "term", "reason", "monthly_amount", "seats")
            chain |= {name: row[name] for name in last} | {"n_rows": chain["n_rows"] + 1}
        chains += open_
    return pd.DataFrame(chains, columns=[*rows.columns, "n_rows"])


def _goes_on(chain: dict[Any, Any], start: float) -> bool:
    if np.isfinite(chain["end"]):
        return bool(abs(start - chain["end"]) <= _RENEWAL_DAYS and start > chain["start"])
    low, high = _TERM_DAYS
    return bool(low <= start - chain["term"] <= high)  # False where there is no term


def _first_recorded(chains: pd.DataFrame) -> int | None:
    """The day of the first end, if contracts before it should surely have had some."""
    ended = chains["end"].notna()
    if int(ended.sum()) < _FEWEST_ENDS:
        return None
    first = int(chains["end"].min())
    start = chains["start"].to_numpy(dtype=np.int64)
    leave = chains["end"].fillna(0).to_numpy(dtype=np.int64) - start
    entry = np.maximum(first - start, 0)
    at_risk, ends = life_table(
        entry, leave, np.where(ended.to_numpy(), 0, -1).astype(np.int64), n_causes=1
    )
    hazard = np.divide(ends[:, 0], at_risk, out=np.zeros_like(at_risk), where=at_risk > 0)
    # Few at risk at an age say little of it.
    hazard = np.where(at_risk >= _FEWEST_ENDS, hazard, 0.0)
    lived = np.cumsum(hazard)
    expected = float(lived[np.minimum(entry, len(lived) - 1)][entry > 0].sum())
    return first if expected > _MISSED_ENDS else None
