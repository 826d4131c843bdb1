"""Markets as they are: seeded draws of shape, history, size, disorder and file format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from insight_lib.schema import TABLES
from tests.crucible.world import Shape, World, said_of

Generator = np.random.Generator
Tables = dict[str, pd.DataFrame]

HISTORY_DAYS = (1, 7, 45, 100, 200, 400, 800, 1826)
SIZES = (0, 1, 3, 50, 250, 1000, 5000)
SIZE_ODDS = (0.04, 0.05, 0.07, 0.28, 0.34, 0.17, 0.05)
MOST_ORDERS = 60_000
ZONES = {
    "Europe/Berlin": ("DE", "EUR"),
    "America/New_York": ("US", "USD"),
    "Africa/Nairobi": ("KE", "KES"),
    "Asia/Tokyo": ("JP", "JPY"),
    "America/Sao_Paulo": ("BR", "BRL"),
}


def draw_world(
    seed: int,
    *,
    market: str | None = None,
    kind: str | None = None,
    size: int | None = None,
    days: int | None = None,
    zone: str | None = None,
    n_disorders: int | None = None,
    has_period: bool | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> World:
    """One market: what it has, how long and how large it is, and what is odd about it.

    What is given is not drawn.
    """
    draw = np.random.default_rng([seed, 12])
    drawn_days, drawn_size = int(draw.choice(HISTORY_DAYS)), int(draw.choice(SIZES, p=SIZE_ODDS))
    days = drawn_days if days is None else days
    size = drawn_size if size is None else size
    last_day = date(2026, 5, 31) - timedelta(days=int(draw.integers(0, 200)))
    first_day = last_day - timedelta(days=days - 1)
    drawn_kind = str(draw.choice(["shop", "shop", "shop", "contracts", "both"]))
    drawn_zone = str(draw.choice(list(ZONES)))
    kind, zone = kind or drawn_kind, zone or drawn_zone
    country, currency = ZONES[zone]
    tables: Tables = {}
    if kind != "contracts":
        tables |= shop_tables(draw, size, first_day, days, currency)
    if kind != "shop":
        tables |= contract_tables(draw, size, first_day, last_day, currency)
    tables |= optional_tables(draw, size, first_day, days, tables, currency)
    names = []
    odds = 0.14 if n_disorders is None else n_disorders / len(DISORDERS)
    for disorder in DISORDERS:
        if draw.random() < odds:
            tables = disorder(draw, tables)
            names.append(disorder.__name__)
    name = market or f"{country.lower()}-draw{seed}"
    if has_period is None:
        has_period = bool(draw.random() < 0.7)
    if currency == "JPY":  # has no smaller coin
        tables = {n: whole_amounts(frame) for n, frame in tables.items()}
    said = said_of(
        name,
        first_day=first_day,
        last_day=last_day if has_period else None,
        parameters=parameters,
        currency=currency,
        zone=zone,
        country=country,
        hemisphere="southern" if country == "BR" else "northern",
    )
    shapes = {table: draw_shape(draw) for table in tables}
    truth = {"kind": kind, "days": days, "size": size, "disorders": names}
    return World(id=name, tables=tables, said=said, shapes=shapes, truth=truth)


def whole_amounts(frame: pd.DataFrame) -> pd.DataFrame:
    """Amounts without a fraction."""
    money = [c for c in frame.columns if c.endswith("amount")]
    return frame.assign(**{c: frame[c].round() for c in money})


def draw_shape(draw: Generator) -> Shape:
    """How one table's files are written."""
    if draw.random() < 0.3:
        return Shape(format="parquet", typed=bool(draw.random() < 0.6), parts=_parts(draw))
    decimal = str(draw.choice([".", ".", ","]))
    delimiter = str(draw.choice([";", "\t", "|"] if decimal == "," else [",", ";", "\t"]))
    return Shape(
        delimiter=delimiter,
        decimal=decimal,
        encoding=str(draw.choice(["utf-8", "utf-8", "latin-1", "utf-16"])),
        day_format=str(draw.choice(["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y"])),
        parts=_parts(draw),
    )


def _parts(draw: Generator) -> int:
    return int(draw.choice([1, 1, 2, 5]))


def shop_tables(draw: Generator, size: int, first_day: date, days: int, currency: str) -> Tables:
    """Order lines and products, with gamma rates and lognormal prices."""
    n_products = int(draw.choice([1, 5, 60, 300]))
    n_stores = int(draw.choice([1, 1, 4, 30]))
    mean_rate = min(float(draw.choice([0.004, 0.02, 0.08])), MOST_ORDERS / max(1, size * days))
    rates = draw.gamma(1.0, mean_rate, size)
    starts = np.where(draw.random(size) < 0.5, 0, draw.integers(0, max(1, days), size))
    counts = draw.poisson(rates * (days - starts))
    customer = np.repeat(np.arange(size), counts)
    n_orders = len(customer)
    day = starts[customer] + (draw.random(n_orders) * (days - starts[customer])).astype(int)
    seconds = draw.integers(0, 86_400, n_orders)
    at = pd.Timestamp(first_day) + pd.to_timedelta(day, "D") + pd.to_timedelta(seconds, "s")
    n_lines = draw.choice([1, 1, 2, 4], n_orders)
    order = np.repeat(np.arange(n_orders), n_lines)
    n = len(order)
    price = np.round(draw.lognormal(2.0, float(draw.choice([0.3, 1.0, 2.0])), n_products), 2)
    popularity = draw.dirichlet(np.full(n_products, 0.5))
    product = draw.choice(n_products, n, p=popularity)
    pieces = draw.choice([1, 1, 1, 2, 6], n)
    lines = pd.DataFrame(
        {
            "order_id": [f"O{i:06d}" for i in order],
            "line_id": [str(i) for i in range(n)],
            "customer_id": [f"QX{i:05d}" for i in customer[order]],
            "ordered_at": at[order],
            "product_id": [f"P{i:03d}" for i in product],
            "quantity": pieces.astype(float),
            "amount": np.round(price[product] * pieces, 2),
            "currency": currency,
        }
    )
    if draw.random() < 0.15:
        lines.loc[draw.random(n) < 0.2, "customer_id"] = None  # not known at the till
    if draw.random() < 0.5:
        lines["store_id"] = [f"S{i}" for i in draw.integers(0, n_stores, n_orders)[order]]
    if draw.random() < 0.3:
        lines["channel"] = draw.choice(["web", "store"], n_orders)[order]
    if draw.random() < 0.3:
        off = np.where(draw.random(n) < 0.2, 0.1, 0.0)
        lines["discount_amount"] = np.round(lines["amount"] * off, 2)
    tables = {"transactions": lines}
    if draw.random() < 0.7:
        products = pd.DataFrame({"product_id": [f"P{i:03d}" for i in range(n_products)]})
        groups = int(draw.choice([1, 3, 12]))
        if draw.random() < 0.8:
            products["department"] = [f"dep{i % groups}" for i in range(n_products)]
        if draw.random() < 0.5:
            products["category"] = [f"cat{i % (3 * groups)}" for i in range(n_products)]
        if draw.random() < 0.3:
            products["brand"] = draw.choice(["own", "other"], n_products)
        tables["products"] = products
    return tables


def contract_tables(
    draw: Generator, size: int, first_day: date, last_day: date, currency: str
) -> Tables:
    """Contracts with ends, and sometimes payments and a pipeline."""
    days = (last_day - first_day).days + 1
    start = draw.integers(-400, max(1, days), size)
    life = draw.exponential(500, size).astype(int) + 1
    end = start + life
    is_ended = end < days
    begin = pd.Timestamp(first_day)
    frame = pd.DataFrame(
        {
            "contract_id": [f"K{i:05d}" for i in range(size)],
            "customer_id": [f"QX{i:05d}" for i in range(size)],
            "start_date": begin + pd.to_timedelta(start, "D"),
            "term_end_date": begin + pd.to_timedelta(start + 365, "D"),
            "end_date": (begin + pd.to_timedelta(end, "D")).where(is_ended),
            "monthly_amount": np.round(draw.lognormal(4, 0.8, size), 2),
            "currency": currency,
        }
    )
    if draw.random() < 0.7:
        reason = draw.choice(["voluntary", "non_renewal", "payment"], size)
        frame["end_reason"] = pd.Series(reason, dtype=object).where(is_ended)
    if draw.random() < 0.5:
        frame["seats"] = draw.integers(1, 90, size)
        frame["plan"] = draw.choice(["basic", "plus"], size)
    tables = {"contracts": frame}
    if draw.random() < 0.4:
        due = [
            (row.contract_id, row.customer_id, row.start_date + pd.Timedelta(days=30 * month))
            for row in frame.itertuples()
            for month in range(1, 6)
        ]
        paid = pd.DataFrame(due, columns=["contract_id", "customer_id", "due_date"])
        paid["due_date"] = pd.to_datetime(paid["due_date"])
        paid = paid[paid["due_date"] <= pd.Timestamp(last_day)].reset_index(drop=True)
        late = draw.random(len(paid))
        paid["payment_id"] = [f"Y{i:06d}" for i in range(len(paid))]
        paid["paid_date"] = (paid["due_date"] + pd.Timedelta(days=9)).where(late < 0.95)
        paid["amount"] = 10.0
        paid["currency"] = currency
        paid["status"] = np.select([late < 0.8, late < 0.95], ["paid", "late"], "failed")
        tables["payments"] = paid
    if draw.random() < 0.4:
        tables["opportunities"] = _pipeline(draw, size, begin, days, currency)
    return tables


def _pipeline(
    draw: Generator, size: int, begin: pd.Timestamp, days: int, currency: str
) -> pd.DataFrame:
    rows = []
    for deal in range(size):
        day = int(draw.integers(0, max(1, days)))
        for number, stage in enumerate(("lead", "offer", "closing"), start=1):
            stay = int(draw.exponential(30)) + 1
            is_open = day + stay >= days
            outcome = None
            if not is_open:
                goes_on = draw.random() < 0.6
                outcome = ("won" if number == 3 else "advanced") if goes_on else "lost"
            rows.append(
                {
                    "opportunity_id": f"D{deal:05d}",
                    "pipeline_stage": stage,
                    "stage_number": number,
                    "entered_date": begin + pd.Timedelta(days=day),
                    "left_date": None if is_open else begin + pd.Timedelta(days=day + stay),
                    "outcome": outcome,
                    "annual_amount": float(np.round(draw.lognormal(8, 1), 2)),
                    "currency": currency,
                }
            )
            if outcome != "advanced":
                break
            day += stay
    columns = ["opportunity_id", "pipeline_stage", "stage_number", "entered_date", "left_date"]
    frame = pd.DataFrame(rows, columns=[*columns, "outcome", "annual_amount", "currency"])
    for column in ("entered_date", "left_date"):
        frame[column] = pd.to_datetime(frame[column])
    return frame


def optional_tables(
    draw: Generator, size: int, first_day: date, days: int, tables: Tables, currency: str
) -> Tables:
    """What a market may have beside its orders or contracts."""
    found: Tables = {}
    people = [f"QX{i:05d}" for i in range(size)]
    begin = pd.Timestamp(first_day)
    if draw.random() < 0.6:
        frame = pd.DataFrame({"customer_id": pd.Series(people, dtype=object)})
        if draw.random() < 0.6:
            frame["acquisition_channel"] = draw.choice(["search", "friend", "shop"], size)
        if draw.random() < 0.6:
            frame["age_band"] = draw.choice(["18-24", "25-34", "60+"], size)
            frame.loc[draw.random(size) < 0.2, "age_band"] = None
        if draw.random() < 0.4:
            frame["subregion"] = draw.choice(["north", "south", "east"], size)
        if draw.random() < 0.4:
            frame["first_seen_date"] = begin + pd.to_timedelta(draw.integers(0, days, size), "D")
        found["customers"] = frame
    if draw.random() < 0.4 and days > 20:
        found |= _campaign(draw, people, begin, days, currency)
    if draw.random() < 0.3:
        purposes = ["analytics", "modelling", "activation"]
        n = 2 * size
        found["consents"] = pd.DataFrame(
            {
                "customer_id": draw.choice(people, n) if size else [],
                "purpose": draw.choice(purposes, n),
                "decision": draw.choice(["granted", "granted", "refused"], n),
                "decided_at": _instants(draw, begin, days, n),
            }
        ).drop_duplicates(["customer_id", "purpose", "decided_at", "decision"])
    if draw.random() < 0.3:
        n = 5 * size
        found["interactions"] = pd.DataFrame(
            {
                "event_id": [f"E{i:06d}" for i in range(n)],
                "customer_id": draw.choice(people, n) if size else [],
                "occurred_at": _instants(draw, begin, days, n),
                "touchpoint": draw.choice(["app", "web", "email", "call"], n),
                "event_type": draw.choice(["visit", "click"], n),
            }
        )
    if draw.random() < 0.2:
        found["surveys"] = pd.DataFrame(
            {
                "survey_id": "wave1",
                "respondent_id": people,
                "customer_id": people,
                "asked_at": _instants(draw, begin, days, size),
                "question": "satisfaction",
                "answer": draw.integers(0, 11, size).astype(float),
            }
        )
    return found


def _campaign(
    draw: Generator, people: list[str], begin: pd.Timestamp, days: int, currency: str
) -> Tables:
    size = len(people)
    start = begin + pd.Timedelta(days=int(days * draw.choice([0.2, 0.6, 0.9])))
    arms = [["control", "mail"], ["control", "a", "b"], ["mail"]][int(draw.integers(0, 3))]
    campaigns = pd.DataFrame(
        {
            "campaign_id": ["C1"],
            "campaign_type": ["offer"],
            "start_date": [start],
            "end_date": [start + pd.Timedelta(days=int(draw.choice([7, 28])))],
        }
    )
    if draw.random() < 0.5:
        campaigns["cost_per_contact_amount"] = 0.5
        campaigns["currency"] = currency
    assignments = pd.DataFrame(
        {
            "campaign_id": "C1",
            "customer_id": people,
            "arm": draw.choice(arms, size),
            "is_randomised": bool(draw.random() < 0.8),
        }
    )
    if draw.random() < 0.5:
        assignments["assigned_at"] = start
    if draw.random() < 0.3:
        assignments["planned_share"] = 1 / len(arms)
    return {"campaigns": campaigns, "assignments": assignments}


def _instants(draw: Generator, begin: pd.Timestamp, days: int, n: int) -> pd.Series:
    seconds = draw.integers(0, 86_400 * days, n)
    return pd.Series(begin + pd.to_timedelta(seconds, "s"))


# What is odd about files: each takes the tables and gives them back with one thing wrong.


def _with_lines(tables: Tables, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Tables:
    if "transactions" not in tables or tables["transactions"].empty:
        return tables
    return tables | {"transactions": change(tables["transactions"].copy())}


def returns_after(draw: Generator, tables: Tables) -> Tables:
    """Some lines come back later, as negative lines of an order of their own."""

    def change(lines: pd.DataFrame) -> pd.DataFrame:
        back = lines[draw.random(len(lines)) < 0.1].copy()
        back["order_id"] = "R" + back["order_id"]
        back["ordered_at"] = back["ordered_at"] + pd.Timedelta(days=9)
        back[["quantity", "amount"]] = -back[["quantity", "amount"]]
        return pd.concat([lines, back], ignore_index=True)

    return _with_lines(tables, change)


def returns_before(draw: Generator, tables: Tables) -> Tables:
    """Returns of what was bought before the file begins."""

    def change(lines: pd.DataFrame) -> pd.DataFrame:
        chosen = draw.random(len(lines)) < 0.05
        lines.loc[chosen, ["quantity", "amount"]] *= -1
        return lines

    return _with_lines(tables, change)


def zero_amounts(draw: Generator, tables: Tables) -> Tables:
    """Gifts and samples."""

    def change(lines: pd.DataFrame) -> pd.DataFrame:
        lines.loc[draw.random(len(lines)) < 0.1, "amount"] = 0.0
        return lines

    return _with_lines(tables, change)


def a_gap(draw: Generator, tables: Tables) -> Tables:
    """A stretch of days of which nothing was delivered."""

    def change(lines: pd.DataFrame) -> pd.DataFrame:
        if lines.empty:
            return lines
        first, last = lines["ordered_at"].min(), lines["ordered_at"].max()
        start = first + (last - first) * draw.random() * 0.8
        inside = lines["ordered_at"].between(start, start + (last - first) * 0.15)
        return lines[~inside].reset_index(drop=True)

    return _with_lines(tables, change)


def delivered_twice(draw: Generator, tables: Tables) -> Tables:
    """The same rows again."""

    def change(lines: pd.DataFrame) -> pd.DataFrame:
        again = lines[draw.random(len(lines)) < 0.2]
        return pd.concat([lines, again], ignore_index=True)

    return _with_lines(tables, change)


def from_the_future(draw: Generator, tables: Tables) -> Tables:
    """A few rows with a year that cannot be."""

    def change(lines: pd.DataFrame) -> pd.DataFrame:
        chosen = lines.index[draw.random(len(lines)) < 0.01]
        lines.loc[chosen, "ordered_at"] = lines.loc[chosen, "ordered_at"] + pd.Timedelta(days=3653)
        return lines

    return _with_lines(tables, change)


def odd_names(draw: Generator, tables: Tables) -> Tables:
    """Products and departments with quotes, braces, umlauts and markup in their names."""
    if "products" not in tables:
        return tables
    products = tables["products"].copy()
    for column in [c for c in ("department", "category", "brand") if c in products]:
        products[column] = products[column] + " {käse} <b>'x'</b> & \"y\"; 100%"
    return tables | {"products": products}


def odd_ids(draw: Generator, tables: Tables) -> Tables:
    """Order numbers with blanks, quotes and leading zeros."""

    def change(lines: pd.DataFrame) -> pd.DataFrame:
        lines["order_id"] = "00 'a/" + lines["order_id"]
        return lines

    return _with_lines(tables, change)


def one_level(draw: Generator, tables: Tables) -> Tables:
    """Every trait of customers has one value."""
    if "customers" not in tables:
        return tables
    people = tables["customers"].copy()
    for column in people.columns.difference(["customer_id", "first_seen_date"]):
        people[column] = "same"
    return tables | {"customers": people}


def second_currency(draw: Generator, tables: Tables) -> Tables:
    """A share of the lines is in another currency."""

    def change(lines: pd.DataFrame) -> pd.DataFrame:
        foreign = lines["order_id"].str[-1].isin(["1", "2"])
        lines.loc[foreign, "currency"] = "GBP"
        return lines

    return _with_lines(tables, change)


def places_close(draw: Generator, tables: Tables) -> Tables:
    """A store has no sales in the second half."""

    def change(lines: pd.DataFrame) -> pd.DataFrame:
        if "store_id" not in lines or lines.empty:
            return lines
        first, last = lines["ordered_at"].min(), lines["ordered_at"].max()
        is_gone = (lines["store_id"] == "S0") & (lines["ordered_at"] > first + (last - first) / 2)
        return lines[~is_gone].reset_index(drop=True)

    return _with_lines(tables, change)


def clock_changes(draw: Generator, tables: Tables) -> Tables:
    """Orders in the hour that the clock skips or repeats, and around new year."""

    def change(lines: pd.DataFrame) -> pd.DataFrame:
        moments = ["2026-03-29 02:30", "2025-10-26 02:30", "2025-12-31 23:59", "2026-01-01 00:00"]
        chosen = lines.index[draw.random(len(lines)) < 0.02]
        times = pd.to_datetime(draw.choice(moments, len(chosen)))
        inside = (times >= lines["ordered_at"].min()) & (times <= lines["ordered_at"].max())
        lines.loc[chosen[inside], "ordered_at"] = times[inside]
        return lines

    return _with_lines(tables, change)


def a_whale(draw: Generator, tables: Tables) -> Tables:
    """One order that is larger than all others together."""

    def change(lines: pd.DataFrame) -> pd.DataFrame:
        if len(lines):
            lines.loc[lines.index[len(lines) // 2], "amount"] = float(lines["amount"].sum() + 100)
        return lines

    return _with_lines(tables, change)


def bad_rows(draw: Generator, tables: Tables) -> Tables:
    """Rows whose amount or day cannot be read."""

    def change(lines: pd.DataFrame) -> pd.DataFrame:
        lines.loc[draw.random(len(lines)) < 0.03, "amount"] = None
        lines.loc[draw.random(len(lines)) < 0.02, "ordered_at"] = None
        return lines

    return _with_lines(tables, change)


def unknown_partners(draw: Generator, tables: Tables) -> Tables:
    """Traits for customers who never ordered, orders of customers without traits."""
    if "customers" not in tables:
        return tables
    people = tables["customers"]
    kept = people[draw.random(len(people)) < 0.5]
    strangers = kept.assign(customer_id="Z" + kept["customer_id"].astype(str))
    return tables | {"customers": pd.concat([kept, strangers], ignore_index=True)}


def few_columns(draw: Generator, tables: Tables) -> Tables:
    """Of the columns that a market may lack, half are not there."""
    found = {}
    for name, frame in tables.items():
        schema = TABLES[name]
        needed = {column.name for column in schema.columns if column.required} | set(schema.key)
        gone = [c for c in frame.columns if c not in needed and draw.random() < 0.5]
        found[name] = frame.drop(columns=gone)
    return found


DISORDERS: tuple[Callable[[Generator, Tables], Tables], ...] = (
    returns_after,
    returns_before,
    zero_amounts,
    a_gap,
    delivered_twice,
    from_the_future,
    odd_names,
    odd_ids,
    one_level,
    second_currency,
    places_close,
    clock_changes,
    a_whale,
    bad_rows,
    unknown_partners,
    few_columns,
)
