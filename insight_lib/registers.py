"""Registers: what people decide, as YAML under version control, validated at start-up.

Code acts on every register here: roles and licences shape what `open_market` returns,
overrides let a gate pass, owners answer for findings.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from insight_lib.schema import TABLES

Id = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*([-_][a-z0-9]+)*$", max_length=40)]
Sentence = Annotated[str, StringConstraints(min_length=3, max_length=2000)]
CountryCode = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
Purpose = Literal["analytics", "modelling", "activation", "fairness"]


class Model(BaseModel):
    """Frozen, strict, and closed: an unknown key is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Owner(Model):
    """A role that answers for findings."""

    title: Sentence
    escalates_to: Id | None = None


class Role(Model):
    """What a role may read.

    `markets` lists market ids, or `["all"]`; `hidden_tags` are column tags it never sees;
    `hidden_columns` names further columns per table.
    """

    markets: tuple[str, ...] = Field(min_length=1)
    purposes: tuple[Purpose, ...] = Field(min_length=1)
    hidden_tags: tuple[Literal["identifier", "personal", "sensitive"], ...] = ()
    hidden_columns: dict[str, tuple[str, ...]] = {}
    expires: date | None = None

    @model_validator(mode="after")
    def _known_columns(self) -> Role:
        for table, columns in self.hidden_columns.items():
            if table not in TABLES:
                raise ValueError(f"no table {table!r}")
            for column in columns:
                if column not in TABLES[table].names:
                    raise ValueError(f"{table} has no column {column!r}")
        return self


class Licence(Model):
    """What the owner of a data source lets us do with it."""

    licensor: Sentence
    uses: tuple[Purpose, ...] = Field(min_length=1)
    clause: Sentence
    may_redistribute: bool
    territories: tuple[str, ...] = Field(min_length=1)
    expires: date | None = None


class Override(Model):
    """A recorded decision to go on although a gate says stop."""

    gate: str
    market: str
    why: Sentence
    who: Id
    until: date


class Site(Model):
    """A place where models may run.

    `markets` are those that it was looked at for; it says nothing about any other.
    """

    title: Sentence
    kind: Literal["on_premise", "hybrid", "cloud"]
    countries: tuple[CountryCode, ...] = Field(min_length=1)
    memory_gib: float = Field(gt=0)
    monthly_cost_amount: float = Field(ge=0)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    markets: tuple[Id, ...] = Field(min_length=1)


class SegmentName(Model):
    """A segment's name that a person confirmed, and the profile by which it is found again.

    `profile` holds means of the scaled inputs; no customer is in it.
    """

    market: str
    segment: str = Field(pattern=r"^s[0-9]+$")
    name: Sentence
    confirmed_by: Id
    confirmed_on: date
    profile: dict[str, float] = Field(min_length=1)


class Quote(Model):
    """What somebody said in an interview; `speaker` says what they are, never who.

    `about` names what it is about as the data call it: departments, price tiers, channels.
    """

    market: str
    text: Sentence
    speaker: Literal["customer", "former customer", "account", "shop assistant", "care agent"]
    said_on: date
    about: tuple[Sentence, ...] = Field(min_length=1)


class Plan(Model):
    """What a campaign is meant to bring, written down before it begins.

    `expected_lift` is contacted less left alone: a share of customers (0-1) for the first two
    metrics, money per customer for `revenue`. Each arm of a campaign with several has its own
    plan, and names it in `arm`.
    """

    market: str
    campaign: Sentence
    arm: Sentence | None = None
    metric: Literal["has_ordered", "has_visited", "revenue"]
    expected_lift: float = Field(gt=0)
    planned_contacts: int = Field(gt=0)
    planned_start: date
    planned_control_share: float = Field(gt=0, lt=1)


class Launch(Model):
    """Something new that changes what customers do: a product, a price list, a shop.

    `settling_days` is how long customers take to show their new habits.
    """

    market: str
    name: Sentence
    day: date
    settling_days: int = Field(ge=0, le=366)


class Review(Model):
    """A strategy review that is held again and again; `markets` may be `[all]`."""

    topic: Sentence
    markets: tuple[str, ...] = Field(min_length=1)
    stages: tuple[Id, ...] = Field(min_length=1)
    owner: Id
    every_days: int = Field(ge=1, le=366)
    last_held: date | None = None


class Registers(Model):
    """All registers of a project."""

    owners: dict[Id, Owner] = {}
    roles: dict[Id, Role] = {}
    licences: dict[Id, Licence] = {}
    overrides: tuple[Override, ...] = ()
    segment_names: tuple[SegmentName, ...] = ()
    quotes: tuple[Quote, ...] = ()
    plans: tuple[Plan, ...] = ()
    launches: tuple[Launch, ...] = ()
    reviews: tuple[Review, ...] = ()
    infrastructure: dict[Id, Site] = {}

    def overridden(self, market: str, *, as_of: date) -> dict[str, str]:
        """Gate id to reason, for the overrides of `market` that are in force on `as_of`."""
        return {
            o.gate: f"{o.why} ({o.who}, until {o.until.isoformat()})"
            for o in self.overrides
            if o.market == market and as_of <= o.until
        }


REGISTERS = tuple(Registers.model_fields)
