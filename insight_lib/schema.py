"""The canonical tables: columns, types, units, tags and the contract each row must meet.

A market has the tables it has. Money is a decimal with a currency beside it; instants
are UTC; local columns (`_local`) keep the market's own clock beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Type(StrEnum):
    """Column types; the value is the engine's name for the type."""

    TEXT = "VARCHAR"
    INTEGER = "BIGINT"
    NUMBER = "DOUBLE"
    MONEY = "DECIMAL(18,4)"
    BOOLEAN = "BOOLEAN"
    DATE = "DATE"
    INSTANT = "TIMESTAMPTZ"  # UTC
    LOCAL = "TIMESTAMP"  # the market's own clock, no zone


class Tag(StrEnum):
    """What a column is, for access, minimisation and erasure."""

    IDENTIFIER = "identifier"  # names one person, account or thing
    PERSONAL = "personal"  # about one person
    SENSITIVE = "sensitive"  # protected attribute; held apart, needs a grant


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a canonical table.

    Attributes:
        required: A missing value sends the row to quarantine.
        minimum: Smallest value allowed, for numbers.
        allowed: Values allowed, for text.
        unit: `share`, `days`, `count`, `currency` (see the table's currency column), …
        known_from: Column with the day or instant from which the value is known; before it,
            a reader of an earlier day sees nothing.
    """

    name: str
    type: Type
    meaning: str
    required: bool = False
    unit: str = ""
    tags: frozenset[Tag] = frozenset()
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str, ...] = ()
    known_from: str | None = None


@dataclass(frozen=True, kw_only=True)
class TableSchema:
    """A canonical table: its columns, its key, and the column that links it to a customer."""

    name: str
    meaning: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    time: str | None = None
    customer: str | None = None

    def column(self, name: str) -> Column:
        """The column called `name`.

        Raises:
            KeyError: The table has no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.name} has no column {name!r}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


_ID = frozenset({Tag.IDENTIFIER})
_PERSON = frozenset({Tag.IDENTIFIER, Tag.PERSONAL})
_PERSONAL = frozenset({Tag.PERSONAL})
_SENSITIVE = frozenset({Tag.PERSONAL, Tag.SENSITIVE})


def _text(name: str, meaning: str, **kw: object) -> Column:
    return Column(name=name, type=Type.TEXT, meaning=meaning, **kw)  # type: ignore[arg-type]


def _number(name: str, meaning: str, unit: str, **kw: object) -> Column:
    return Column(name=name, type=Type.NUMBER, meaning=meaning, unit=unit, **kw)  # type: ignore[arg-type]


def _count(name: str, meaning: str, **kw: object) -> Column:
    return Column(name=name, type=Type.INTEGER, meaning=meaning, unit="count", **kw)  # type: ignore[arg-type]


def _money(name: str, meaning: str, **kw: object) -> Column:
    return Column(name=name, type=Type.MONEY, meaning=meaning, unit="currency", **kw)  # type: ignore[arg-type]


def _instant(name: str, meaning: str, **kw: object) -> Column:
    return Column(name=name, type=Type.INSTANT, meaning=meaning, **kw)  # type: ignore[arg-type]


def _local(name: str, meaning: str) -> Column:
    return Column(name=name, type=Type.LOCAL, meaning=meaning)


def _date(name: str, meaning: str, **kw: object) -> Column:
    return Column(name=name, type=Type.DATE, meaning=meaning, **kw)  # type: ignore[arg-type]


def _flag(name: str, meaning: str, **kw: object) -> Column:
    return Column(name=name, type=Type.BOOLEAN, meaning=meaning, **kw)  # type: ignore[arg-type]


def _customer(required: bool = True) -> Column:
    return _text("customer_id", "pseudonymous customer", required=required, tags=_PERSON)


def _currency() -> Column:
    return _text("currency", "ISO 4217 code of the money columns", required=True)


_TABLES = (
    TableSchema(
        name="customers",
        meaning="one row per customer (person, household or account)",
        key=("customer_id",),
        time="first_seen_date",
        customer="customer_id",
        columns=(
            _customer(),
            _date("first_seen_date", "first contact, local date", tags=_PERSONAL),
            _text("acquisition_channel", "how the customer came", tags=_PERSONAL),
            _text("age_band", "age band", tags=_PERSONAL),
            _text("income_band", "income band", tags=_PERSONAL),
            _text("household_size", "people in the household", tags=_PERSONAL),
            _text("household_type", "composition of the household", tags=_PERSONAL),
            _text("children", "number of children, banded", tags=_PERSONAL),
            _text("home_ownership", "owner or renter", tags=_PERSONAL),
            _text("marital_status", "marital status", tags=_PERSONAL),
            _text("subregion", "part of the market", tags=_PERSONAL),
            _text("industry", "industry of a business account"),
            _text("size_band", "size of a business account"),
        ),
    ),
    TableSchema(
        name="transactions",
        meaning="order lines; returns have negative quantity and amount",
        key=("order_id", "line_id"),
        time="ordered_at",
        customer="customer_id",
        columns=(
            _text("order_id", "order or basket", required=True, tags=_ID),
            _text("line_id", "line within the order", required=True, tags=_ID),
            _customer(required=False),
            _instant("ordered_at", "instant of the order, UTC", required=True),
            _local("ordered_local", "the same on the market's clock"),
            _text("product_id", "product", required=True, tags=_ID),
            _text("store_id", "store or channel site", tags=_ID),
            _text("channel", "where it was bought"),
            _number("quantity", "pieces; negative for returns", "count", required=True),
            _money("amount", "paid by the customer, tax included", required=True),
            _money("discount_amount", "taken off the list price, positive", minimum=0),
            _money("coupon_amount", "of it by coupon, positive", minimum=0),
            _currency(),
        ),
    ),
    TableSchema(
        name="products",
        meaning="one row per product",
        key=("product_id",),
        columns=(
            _text("product_id", "product", required=True, tags=_ID),
            _text("department", "top level of the local taxonomy"),
            _text("category", "category in the local taxonomy"),
            _text("product_type", "lowest level of the local taxonomy"),
            _text("global_category", "category in the global taxonomy"),
            _text("brand", "brand or private label"),
            _text("manufacturer_id", "manufacturer", tags=_ID),
            _text("package_size", "as printed"),
            _text("price_tier", "price tier", allowed=("value", "core", "premium")),
        ),
    ),
    TableSchema(
        name="interactions",
        meaning="touchpoint events",
        key=("event_id",),
        time="occurred_at",
        customer="customer_id",
        columns=(
            _text("event_id", "event", required=True, tags=_ID),
            _customer(required=False),
            _instant("occurred_at", "instant of the event, UTC", required=True),
            _instant("received_at", "instant it reached us, UTC"),
            _local("occurred_local", "the same on the market's clock"),
            _text("touchpoint", "app, web, store, e-mail, call, …", required=True),
            _text("event_type", "view, visit, open, click, contact, …", required=True),
            _text("session_id", "session", tags=_ID),
        ),
    ),
    TableSchema(
        name="campaigns",
        meaning="one row per campaign",
        key=("campaign_id",),
        time="start_date",
        columns=(
            _text("campaign_id", "campaign", required=True, tags=_ID),
            _text("campaign_type", "kind of campaign", required=True),
            _text("channel", "channel it runs on"),
            _date("start_date", "first day, local", required=True),
            _date("end_date", "last day, local", required=True),
            _money("cost_per_contact_amount", "cost of one contact", minimum=0),
            _text("currency", "ISO 4217 code of the money columns"),
        ),
    ),
    TableSchema(
        name="assignments",
        meaning="who was put into which arm of a campaign, by lot or by choice",
        # With the arm: a customer in two arms is a fault of the test, and is to be said there.
        key=("campaign_id", "customer_id", "arm"),
        time="assigned_at",
        customer="customer_id",
        columns=(
            _text("campaign_id", "campaign", required=True, tags=_ID),
            _customer(),
            _text("arm", "treatment arm, or control", required=True),
            _flag("is_randomised", "whether the arm was drawn by lot", required=True),
            _instant("assigned_at", "instant of the assignment, UTC"),
            _number(
                "planned_share",
                "share of the campaign's customers that this arm was planned to hold",
                "share",
                minimum=0,
                maximum=1,
            ),
        ),
    ),
    TableSchema(
        name="responses",
        meaning="what a customer did in answer to a campaign",
        key=("response_id",),
        time="responded_at",
        customer="customer_id",
        columns=(
            _text("response_id", "response", required=True, tags=_ID),
            _text("campaign_id", "campaign", required=True, tags=_ID),
            _customer(),
            _instant("responded_at", "instant of the response, UTC", required=True),
            _text("response_type", "redemption, visit, conversion, …", required=True),
            _text("coupon_id", "coupon redeemed", tags=_ID),
            _money("amount", "money that came with it"),
            _text("currency", "ISO 4217 code of the money columns"),
        ),
    ),
    TableSchema(
        name="coupons",
        meaning="which coupon of a campaign is good for which product",
        key=("coupon_id", "product_id", "campaign_id"),
        columns=(
            _text("coupon_id", "coupon", required=True, tags=_ID),
            _text("product_id", "product", required=True, tags=_ID),
            _text("campaign_id", "campaign", required=True, tags=_ID),
        ),
    ),
    TableSchema(
        name="prices",
        meaning="price and promotion of a product at a place in a week, ours or a competitor's",
        key=("product_id", "store_id", "week_start_date", "seller", "display", "mailer"),
        time="week_start_date",
        columns=(
            _text("product_id", "product", required=True, tags=_ID),
            _text("store_id", "store or channel site", required=True, tags=_ID),
            _date("week_start_date", "first day of the week, local", required=True),
            _text("seller", "us, or the competitor's name", required=True),
            _money("price_amount", "shelf price", minimum=0),
            _text("currency", "ISO 4217 code of the money columns"),
            _text("display", "promotion inside the store, 'none' if not", required=True),
            _text("mailer", "promotion in the mailer, 'none' if not", required=True),
            _number("market_share", "share of category sales", "share", minimum=0, maximum=1),
        ),
    ),
    TableSchema(
        name="consents",
        meaning="what a person allowed or refused, per purpose, as a history",
        key=("customer_id", "purpose", "decided_at", "decision"),
        time="decided_at",
        customer="customer_id",
        columns=(
            _customer(),
            _text(
                "purpose",
                "what the data may be used for",
                required=True,
                allowed=("analytics", "modelling", "activation", "fairness"),
            ),
            _text("decision", "granted or refused", required=True, allowed=("granted", "refused")),
            _instant("decided_at", "instant of the decision, UTC", required=True),
            _text("wording_version", "version of the consent text shown"),
        ),
    ),
    TableSchema(
        name="identities",
        meaning="identifiers that belong, or may belong, to a customer",
        key=("record_id",),
        customer="customer_id",
        columns=(
            _text("record_id", "record", required=True, tags=_ID),
            _customer(required=False),
            _text("source", "system that holds the record", required=True),
            _text("email", "e-mail address", tags=_PERSON),
            _text("phone", "phone number", tags=_PERSON),
            _text("device_id", "device", tags=_PERSON),
            _text("loyalty_id", "loyalty card", tags=_PERSON),
            _text("cookie_id", "third-party cookie", tags=_PERSON),
        ),
    ),
    TableSchema(
        name="surveys",
        meaning="one row per person asked and question; answer missing if no reply",
        key=("survey_id", "respondent_id", "question"),
        time="asked_at",
        customer="customer_id",
        columns=(
            _text("survey_id", "survey wave", required=True, tags=_ID),
            _text("respondent_id", "person asked", required=True, tags=_PERSON),
            _customer(required=False),
            _instant("asked_at", "instant of the invitation, UTC", required=True),
            _text("question", "question", required=True),
            _number("answer", "answer as a number", "score"),
            _text("stratum", "design stratum"),
            _number("design_weight", "inverse sampling probability", "ratio", minimum=0),
        ),
    ),
    TableSchema(
        name="population",
        meaning="known margins of the population",
        key=("variable", "level"),
        columns=(
            _text("variable", "variable of the margin", required=True),
            _text("level", "level of the variable", required=True),
            _count("people", "people at this level", required=True, minimum=0),
        ),
    ),
    TableSchema(
        name="contracts",
        meaning="contracts of business accounts; end missing while in force",
        key=("contract_id",),
        time="start_date",
        customer="customer_id",
        columns=(
            _text("contract_id", "contract", required=True, tags=_ID),
            _customer(),
            _text("opportunity_id", "opportunity that it came from", tags=_ID),
            _date("start_date", "first day, local", required=True),
            _date("term_end_date", "last day of the agreed term, local", required=True),
            _date("end_date", "day it ended, local", known_from="end_date"),
            _text(
                "end_reason",
                "why it ended",
                allowed=("voluntary", "non_renewal", "payment"),
                known_from="end_date",
            ),
            _money("monthly_amount", "recurring charge per month", required=True, minimum=0),
            _currency(),
            _count("seats", "seats paid for", minimum=0),
            _text("plan", "plan or tier"),
        ),
    ),
    TableSchema(
        name="opportunities",
        meaning="sales pipeline: one row per opportunity and stage entered",
        key=("opportunity_id", "pipeline_stage"),
        time="entered_date",
        customer="customer_id",
        columns=(
            _text("opportunity_id", "opportunity", required=True, tags=_ID),
            _customer(required=False),  # a lead may not be a customer yet
            _text("pipeline_stage", "stage of the pipeline", required=True),
            _count("stage_number", "order of the stage, from 1", required=True, minimum=1),
            _date("entered_date", "day it entered the stage, local", required=True),
            _date(
                "left_date",
                "day it left the stage, local; missing while open",
                known_from="left_date",
            ),
            _text(
                "outcome",
                "how it left the stage; missing while open",
                allowed=("advanced", "lost", "won"),
                known_from="left_date",
            ),
            _money("annual_amount", "expected contract value per year", minimum=0),
            _text("currency", "ISO 4217 code of the money columns"),
        ),
    ),
    TableSchema(
        name="payments",
        meaning="payments due and what became of them",
        key=("payment_id",),
        time="due_date",
        customer="customer_id",
        columns=(
            _text("payment_id", "payment", required=True, tags=_ID),
            _text("contract_id", "contract", required=True, tags=_ID),
            _customer(),
            _date("due_date", "day it was due, local", required=True),
            _date("paid_date", "day it was paid, local", known_from="paid_date"),
            _money("amount", "amount due", required=True, minimum=0),
            _currency(),
            _text(
                "status",
                "what became of it",
                required=True,
                allowed=("paid", "late", "failed"),
                known_from="paid_date",
            ),
        ),
    ),
    TableSchema(
        name="attributes",
        meaning="sensitive attributes, held apart from all else, for fairness audits only",
        key=("customer_id", "attribute"),
        customer="customer_id",
        columns=(
            _customer(),
            _text("attribute", "gender, ethnicity, disability, …", required=True),
            _text("attribute_value", "its value", required=True, tags=_SENSITIVE),
        ),
    ),
    TableSchema(
        name="crm_flags",
        meaning="what the CRM says about a customer",
        key=("customer_id", "flag", "flagged_at"),
        time="flagged_at",
        customer="customer_id",
        columns=(
            _customer(),
            _text("flag", "name of the flag", required=True),
            _flag("flag_value", "its value", required=True),
            _instant("flagged_at", "instant it was set, UTC", required=True),
        ),
    ),
    TableSchema(
        name="provider_log",
        meaning="deliveries of third-party data",
        key=("provider", "delivery_id"),
        time="delivered_at",
        columns=(
            _text("provider", "provider", required=True),
            _text("delivery_id", "delivery", required=True, tags=_ID),
            _instant("covers_from", "first instant covered, UTC", required=True),
            _instant("covers_to", "last instant covered, UTC", required=True),
            _instant("delivered_at", "instant of the delivery, UTC", required=True),
            _count("records", "records delivered", required=True, minimum=0),
            _count("revised_records", "of them revisions of earlier ones", minimum=0),
            _count("matched_records", "of them matched to our customers", minimum=0),
        ),
    ),
    TableSchema(
        name="transcripts",
        meaning="calls, chats, reviews and posts",
        key=("document_id",),
        time="occurred_at",
        customer="customer_id",
        columns=(
            _text("document_id", "document", required=True, tags=_ID),
            _customer(required=False),
            _instant("occurred_at", "instant, UTC", required=True),
            _text("channel", "call, chat, review, social", required=True),
            _text("language", "BCP 47 tag, if known"),
            _text("body", "text; may hold personal data", required=True, tags=_PERSONAL),
        ),
    ),
    TableSchema(
        name="availability",
        meaning="what can be bought where and when",
        key=("product_id", "store_id", "available_date"),
        time="available_date",
        columns=(
            _text("product_id", "product", required=True, tags=_ID),
            _text("store_id", "store or channel site", required=True, tags=_ID),
            _date("available_date", "day, local", required=True),
            _flag("is_available", "whether it could be bought", required=True),
        ),
    ),
    TableSchema(
        name="inventory",
        meaning="stock and replenishment",
        key=("product_id", "store_id", "stock_date"),
        time="stock_date",
        columns=(
            _text("product_id", "product", required=True, tags=_ID),
            _text("store_id", "store or warehouse", required=True, tags=_ID),
            _date("stock_date", "day, local", required=True),
            _number("units_on_hand", "pieces in stock", "count", required=True),
            _number("lead_time_days", "days from order to shelf", "days", minimum=0),
        ),
    ),
    TableSchema(
        name="feedback",
        meaning="what the field says of segments and insights",
        key=("feedback_id",),
        time="given_at",
        customer="customer_id",
        columns=(
            _text("feedback_id", "feedback", required=True, tags=_ID),
            _instant("given_at", "instant, UTC", required=True),
            _text("role", "role of the person who gave it", required=True),
            _text("subject", "finding or segment it is about", required=True),
            _customer(required=False),
            _text("verdict", "agree, disagree, misclassified, …", required=True),
            _text("proposed_segment", "where the customer belongs instead"),
        ),
    ),
    TableSchema(
        name="adoption",
        meaning="opens of reports and actions taken, by role",
        key=("event_id",),
        time="occurred_at",
        columns=(
            _text("event_id", "event", required=True, tags=_ID),
            _instant("occurred_at", "instant, UTC", required=True),
            _text("role", "role of the reader", required=True),
            _text("business_unit", "business unit of the reader"),
            _text("stage", "stage of the report", required=True),
            _text("finding_id", "finding acted on"),
            _text("action", "opened, acted, overridden", required=True),
        ),
    ),
    TableSchema(
        name="fx_rates",
        meaning="exchange rates by day",
        key=("rate_date", "base_currency", "quote_currency"),
        time="rate_date",
        columns=(
            _date("rate_date", "day of the rate", required=True),
            _text("base_currency", "one unit of this", required=True),
            _text("quote_currency", "is worth this many of that", required=True),
            _number("rate", "quote units per base unit", "ratio", required=True, minimum=0),
            _number("purchasing_power_rate", "the same at purchasing power parity", "ratio"),
        ),
    ),
    TableSchema(
        name="calendar",
        meaning="days that change what people buy: holidays, school terms, paydays, harvest",
        key=("calendar_date", "event"),
        time="calendar_date",
        columns=(
            _date("calendar_date", "day, local", required=True),
            _text("event", "name of the day or period", required=True),
            _text("event_type", "holiday, school, harvest, payday, …", required=True),
        ),
    ),
)

TABLES: Mapping[str, TableSchema] = MappingProxyType({table.name: table for table in _TABLES})
