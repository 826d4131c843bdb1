"""What a market's YAML and a jurisdiction's YAML may say."""

from __future__ import annotations

import re
from datetime import date
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from insight_lib.registers import CountryCode, Id, Model, Purpose, Sentence
from insight_lib.schema import TABLES, Type

_NUMBERS = (Type.MONEY, Type.NUMBER, Type.INTEGER)


@cache
def _zones() -> frozenset[str]:
    from zoneinfo import available_timezones

    return frozenset(available_timezones())


@cache
def _countries() -> frozenset[str]:
    from babel.core import get_global

    # Babel's list of territories holds made-up and joint ones, too; those have no currency.
    return frozenset(get_global("territory_currencies")) - {"UK", "QQ", "ZZ", "EU", "UN", "QO"}


TEST_CURRENCIES = frozenset({"XTS", "XXX", "XXQ"})


class ColumnSource(Model):
    """Where one canonical column comes from: exactly one of the first seven.

    Attributes:
        from_: A column of the source.
        constant: The same text for every row.
        sum: Source columns added up (missing counts as zero).
        multiply: Source columns multiplied, e.g. pieces and price (none may be missing).
        join: Source columns joined (by the unit separator, so that parts cannot run into each
            other); missing ones are passed over.
        row_number: The row's position in the source, for sources without a key.
        weeks_since: A day, added to seven days times (the number in `column` less one).
        values: Source value to canonical value; a value not listed is a fault of the row.
        format: How dates and instants are written (strptime), for text sources.
        zone: Zone of instants written without one; the market's zone if not given.
        sign: `reversed` where the source writes with the other sign, e.g. discounts as -2.50.
    """

    from_: str | None = Field(default=None, alias="from")
    constant: str | None = None
    sum: tuple[str, ...] = ()
    multiply: tuple[str, ...] = ()
    join: tuple[str, ...] = ()
    row_number: bool = False
    weeks_since: date | None = None
    column: str | None = None
    values: dict[str, str] = {}
    format: str | None = None
    zone: str | None = None
    sign: Literal["as_is", "reversed"] = "as_is"

    @model_validator(mode="after")
    def _one_origin(self) -> ColumnSource:
        given = [
            self.from_ is not None,
            self.constant is not None,
            bool(self.sum),
            bool(self.multiply),
            bool(self.join),
            self.row_number,
            self.weeks_since is not None,
        ]
        if sum(given) != 1:
            raise ValueError(
                "exactly one of from, constant, sum, multiply, join, row_number or weeks_since"
            )
        if (self.weeks_since is None) != (self.column is None):
            raise ValueError("weeks_since and column go together")
        if self.zone and self.zone not in _zones():
            raise ValueError(f"zone {self.zone!r} is not an IANA time zone")
        return self

    @property
    def used(self) -> tuple[str, ...]:
        """Source columns that it reads."""
        single = [c for c in (self.from_, self.column) if c]
        return (*single, *self.sum, *self.multiply, *self.join)


class Source(Model):
    """One source of a canonical table.

    Attributes:
        location: `package://name/path` (a file of an installed package), `simulated://`,
            or a path below the project, with `*` for several files of one shape.
        filter: Keep only rows whose source column has this value, e.g. one country of a file
            that holds several. Counted as out of scope, not as quarantined.
        exclude: Leave out rows whose source column has one of these values, e.g. lines that
            are fees or postage. Counted as out of scope.
        delivery: `full`: the files are the whole table, and a row that is not in them has ended.
            `changes`: files hold what is new or changed. `window`: files hold the last days.
            Not declared: like `full`, but a file that is no longer there takes no row with it.
        newest_by: Source column that says which of several rows with one key is the newest.
        newest_file: Pattern whose first group, found in the file's name, says which file is
            newer. Without either, the file that was first loaded last.
    """

    location: str
    format: Literal["csv", "parquet"]
    licence: Id
    columns: dict[str, ColumnSource] = Field(min_length=1)
    unused: tuple[str, ...] = ()
    filter: dict[str, str] = {}
    exclude: dict[str, tuple[str, ...]] = {}
    delivery: Literal["full", "changes", "window"] | None = None
    newest_by: str | None = None
    newest_file: str | None = None
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    quote: str = Field(default='"', min_length=1, max_length=1)
    decimal: Literal[".", ","] = "."
    encoding: Literal["utf-8", "latin-1", "utf-16"] = "utf-8"
    missing: tuple[str, ...] = ("",)

    @field_validator("location")
    @classmethod
    def _safe_location(cls, value: str) -> str:
        if re.search(r"(^|/)\.\.(/|$)|\\|[\0-\x1f]|%2e", value, re.IGNORECASE):
            raise ValueError("a location inside the project, without '..'")
        if value.startswith(("package://", "simulated://")):
            if not re.fullmatch(r"(package|simulated)://[\w-]+(/[^/]+)+", value):
                raise ValueError("package://name/path, without an empty part")
        elif not value.strip() or value.startswith(("/", "~")) or "://" in value:
            raise ValueError("a path below the project, e.g. raw/orders.csv")
        return value

    @field_validator("newest_file")
    @classmethod
    def _is_pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"a regular expression ({error})") from error
        return value

    @model_validator(mode="after")
    def _one_order(self) -> Source:
        if self.newest_by and self.newest_file:
            raise ValueError("newest_by or newest_file, not both")
        return self

    @property
    def used(self) -> tuple[str, ...]:
        """Source columns that the mapping reads, each once, in order."""
        names = [*(c for source in self.columns.values() for c in source.used)]
        names += [*self.filter, *self.exclude, *([self.newest_by] if self.newest_by else [])]
        return tuple(dict.fromkeys(names))


class Period(Model):
    """First and last complete day of the data; rows outside go to quarantine."""

    first_day: date
    last_day: date

    @model_validator(mode="after")
    def _ordered(self) -> Period:
        if self.last_day < self.first_day:
            raise ValueError(f"last_day {self.last_day} is before first_day {self.first_day}")
        return self


class Simulation(Model):
    """How a simulated market is made; each of its `tables` is a source of its own."""

    seed: int = Field(ge=0)
    customers: int = Field(ge=20, le=10_000_000)
    tables: tuple[str, ...] = Field(min_length=1)


class MarketConfig(Model):
    """One market: who and where it is, its sources, and what differs from the defaults."""

    id: str
    title: Sentence
    kind: Literal["real", "simulated"]
    note: str = ""
    region: Id
    jurisdiction: Id
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
    language: Annotated[str, Field(pattern=r"^[a-z]{2}(-[A-Z]{2})?$")]
    zone: str
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    hemisphere: Literal["northern", "southern"] = "northern"
    period: Period | None = None
    simulation: Simulation | None = None
    sources: dict[str, Source] = Field(min_length=1)
    removed_columns: dict[str, tuple[str, ...]] = {}
    parameters: dict[str, dict[str, Any]] = {}

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value not in _zones():
            raise ValueError("an IANA time zone such as Europe/Berlin")
        return value

    @field_validator("currency")
    @classmethod
    def _known_currency(cls, value: str) -> str:
        from babel.numbers import list_currencies

        if value not in list_currencies() or value in TEST_CURRENCIES:
            raise ValueError("an ISO 4217 currency code such as EUR")
        return value

    @field_validator("country")
    @classmethod
    def _known_country(cls, value: str) -> str:
        if value not in _countries():
            hint = " (the United Kingdom is GB)" if value == "UK" else ""
            raise ValueError(f"an ISO 3166 country code such as DE{hint}")
        return value

    @field_validator("title")
    @classmethod
    def _has_words(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("a title with words in it")
        return value

    @model_validator(mode="after")
    def _known_columns(self) -> MarketConfig:
        if (self.kind == "simulated") != (self.simulation is not None):
            raise ValueError("kind: simulated and a simulation: block go together")
        for table, source in self.sources.items():
            if table not in TABLES:
                raise ValueError(f"sources.{table}: no such canonical table")
            schema = TABLES[table]
            if unknown := sorted(set(source.columns) - set(schema.names)):
                raise ValueError(f"sources.{table}.columns: no column {', '.join(unknown)}")
            for name, origin in source.columns.items():
                kind = schema.column(name).type
                if (origin.sum or origin.multiply) and kind not in _NUMBERS:
                    raise ValueError(
                        f"sources.{table}.columns.{name}: sum and multiply make numbers, and "
                        f"{name} is {kind.name.lower()}; use from or join"
                    )
            required = {c.name for c in schema.columns if c.required} | set(schema.key)
            if missing := sorted(required - set(source.columns)):
                raise ValueError(f"sources.{table}.columns: {', '.join(missing)} is not mapped")
        for table, columns in self.removed_columns.items():
            if table not in TABLES or set(columns) - set(TABLES[table].names):
                raise ValueError(f"removed_columns.{table}: no such table or column")
        return self


class Residency(Model):
    """Where personal data may be worked on.

    Attributes:
        rule: `in_country`, `in_region` (the market's country and `countries`) or `free`.
        clause: Where that is written, or why we keep to it.
    """

    rule: Literal["in_country", "in_region", "free"]
    countries: tuple[CountryCode, ...] = ()
    clause: Sentence


class Jurisdiction(Model):
    """Law of the land, as far as code acts on it.

    Attributes:
        consent: Per purpose, whether a person must have agreed (`opt_in`) or must not have
            refused (`opt_out`).
        residency: Where a model that reads personal data may run.
    """

    title: Sentence
    consent: dict[Purpose, Literal["opt_in", "opt_out"]]
    residency: Residency
    parameters: dict[str, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _all_purposes(self) -> Jurisdiction:
        if missing := set(Purpose.__args__) - set(self.consent):  # type: ignore[attr-defined]
            raise ValueError(f"consent: say opt_in or opt_out for {', '.join(sorted(missing))}")
        return self


def expand(data: dict[str, Any]) -> dict[str, Any]:
    """Write out the short forms of a market's YAML.

    `column: name` stands for `column: {from: name}`, and `columns: canonical` for every
    column of the canonical table under its own name; a simulated market's tables become
    its sources. Anything else is left for validation.
    """
    sources = data.get("sources")
    simulation = data.get("simulation")
    if sources is None and isinstance(simulation, dict):
        tables = simulation.get("tables")
        sources = {
            table: {
                "location": f"simulated://{data.get('id')}/{table}",
                "format": "parquet",
                "licence": "simulated",
                "columns": "canonical",
            }
            for table in (tables if isinstance(tables, list) else [])
        }
    if not isinstance(sources, dict):
        return data
    expanded = {}
    for table, source in sources.items():
        if isinstance(source, dict):
            columns = source.get("columns")
            if columns == "canonical" and table in TABLES:
                columns = {name: name for name in TABLES[table].names}
            if isinstance(columns, dict):
                columns = {k: {"from": v} if isinstance(v, str) else v for k, v in columns.items()}
            source = {**source, "columns": columns}
        expanded[table] = source
    return {**data, "sources": expanded}
