"""Who uses the reports: opened, acted on, overridden, by business unit and role."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from insight_lib.charts import Caption, Chart, plot_bars
from insight_lib.findings import Estimate, Measured, TooFew
from insight_lib.impact.effects import difference
from insight_lib.impact.inputs import local_days, slug
from insight_lib.prose import Name
from insight_lib.statistics import estimate_share

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.market_view import MarketView
    from insight_lib.parameter_model import LearningParameters
    from insight_lib.run import Run

ACTIONS = ("opened", "acted", "overridden")
NO_UNIT = "unit not given"


@dataclass(frozen=True, kw_only=True)
class Use:
    """One business unit's and role's use of the reports in a quarter.

    Attributes:
        unit: Business unit of the readers.
        acted_share: Of the readings, those that were acted on.
        overridden_share: Of the readings, those whose advice was set aside.
        opened_change: Openings against the quarter before, as a share; None if too few.
        acted_change: Change of `acted_share` against the quarter before; None if too few.
        chance_of_silence: For who never acts: the chance of that, did they act like the rest.
    """

    unit: Name
    role: Name
    opened: int
    acted: int
    overridden: int
    acted_share: Estimate
    overridden_share: Estimate
    opened_change: Estimate | None
    acted_change: Estimate | None
    chance_of_silence: float | None

    @property
    def never_acts(self) -> bool:
        """Opens, and neither acts nor says why not."""
        return self.acted == 0 and self.overridden == 0

    @property
    def key(self) -> str:
        return f"{slug(self.unit)}.{slug(self.role)}"

    @property
    def case(self) -> Literal["never acts", "may be chance", "more often", "less often", "steady"]:
        if self.never_acts:
            chance = self.chance_of_silence
            is_sure = chance is not None and chance < 1 - self.acted_share.level
            return "never acts" if is_sure else "may be chance"
        if self.acted_change is None or not self.acted_change.excludes(0):
            return "steady"
        return "more often" if self.acted_change.value > 0 else "less often"

    @property
    def most(self) -> Measured:
        """Largest share of what it reads that it may act on."""
        share = self.acted_share
        return Measured(value=share.upper, unit="share", n=self.opened, as_of=share.as_of)

    @property
    def name(self) -> str:
        """The unit, and its role where that says more."""
        return self.unit if self.unit == self.role else f"{self.unit} ({self.role})"


@dataclass(frozen=True, kw_only=True)
class Resistance:
    """A finding whose advice is set aside: how often, of the times somebody decided."""

    stage: Name
    finding_id: Name
    overridden: int
    decided: int
    share: Estimate


@dataclass(frozen=True, kw_only=True)
class Adoption:
    """Use in the quarter that ends on `as_of`.

    Attributes:
        units: By business unit and role, those who never act first, then by openings.
        hidden_groups: Units with too few events to show.
        resistance: Findings set aside most, by the lower end of the range.
    """

    units: tuple[Use, ...]
    hidden_groups: int
    resistance: tuple[Resistance, ...]
    events: int
    as_of: date
    quarter_days: int

    @property
    def table(self) -> tuple[Use, ...]:
        return self.units

    @property
    def silent(self) -> Name | None:
        """Who opens most of those that never act."""
        return next((Name(use.name) for use in self.units if use.never_acts), None)

    @property
    def has_silent(self) -> bool:
        return self.silent is not None

    def draw(self, caption: Caption) -> Chart | None:
        """What share of its readings each business unit acts on; None where none may be shown."""
        if not self.units:
            return None
        frame = pd.DataFrame(
            {
                "unit": [use.name for use in self.units],
                "acted": [use.acted_share.value for use in self.units],
                "lower": [use.acted_share.lower for use in self.units],
                "upper": [use.acted_share.upper for use in self.units],
                "readings": [use.acted_share.n for use in self.units],
            }
        )
        return plot_bars(
            frame, caption=caption, label="unit", value="acted", lower="lower", upper="upper",
            unit="share", n="readings",
            highlight=[use.name for use in self.units if use.never_acts],
        )  # fmt: skip


def collect_events(
    table: pd.DataFrame | None, local: Sequence[Mapping[str, Any]], *, zone: str
) -> pd.DataFrame:
    """Events of the market's log and of this installation's: day, role, unit, stage, …

    An event with an `event_id` counts once, however often it was delivered.

    Args:
        table: As canonical table `adoption`, if there is one.
        local: As decisions on `adoption`: day, role, business_unit, stage, finding_id, action.

    Returns:
        Columns day, role, business_unit, stage, finding_id, action.
    """
    columns = ["day", "role", "business_unit", "stage", "finding_id", "action"]
    parts = []
    if table is not None and len(table):
        rows = table.drop_duplicates("event_id")
        parts.append(rows.assign(day=local_days(rows["occurred_at"], zone))[columns])
    if local:
        rows = pd.DataFrame(list(local)).reindex(columns=columns)
        parts.append(rows.assign(day=pd.to_datetime(rows["day"])))
    if not parts:
        return pd.DataFrame(columns=columns)
    found = pd.concat([part.astype({"day": "datetime64[ns]"}) for part in parts])
    found = found[found["action"].isin(ACTIONS)]
    found["business_unit"] = found["business_unit"].astype(object).fillna(NO_UNIT)
    return found.reset_index(drop=True)


def estimate_adoption(
    events: pd.DataFrame,
    *,
    as_of: date,
    quarter_days: int,
    minimum_cell_size: int,
    level: float = 0.95,
) -> Adoption:
    """Use by business unit and role in the last quarter, against the one before.

    Who acts or overrides has read, so readings are the openings, or the decisions where
    these are more. Roles are not persons; all the same, units with fewer events than
    `minimum_cell_size` are not shown.

    Args:
        events: As from `collect_events`.

    Raises:
        TooFew: Fewer events in the quarter than `minimum_cell_size`.
    """
    last = pd.Timestamp(as_of)
    first = last - timedelta(days=quarter_days - 1)
    now = events[events["day"].between(first, last)]
    before = events[events["day"].between(first - timedelta(days=quarter_days), first - _DAY)]
    if len(now) < minimum_cell_size:
        raise TooFew(f"{len(now)} readings and decisions on record in {quarter_days} days")
    counts, counts_before = _counts(now), _counts(before)
    units = []
    for (unit, role), mine in counts.items():
        if mine.total() < minimum_cell_size:
            continue
        rest = sum((c for key, c in counts.items() if key != (unit, role)), Counter[str]())
        was = counts_before.get((unit, role), Counter[str]())
        units.append(
            _use(
                mine,
                was if was.total() >= minimum_cell_size else None,
                rest,
                unit=unit,
                role=role,
                as_of=as_of,
                level=level,
            )
        )
    return Adoption(
        units=tuple(sorted(units, key=lambda u: (not u.never_acts, -u.opened, u.unit, u.role))),
        hidden_groups=len(counts) - len(units),
        resistance=_resistance(now, as_of=as_of, level=level, fewest=minimum_cell_size),
        events=len(now),
        as_of=as_of,
        quarter_days=quarter_days,
    )


_DAY = timedelta(days=1)


def _counts(events: pd.DataFrame) -> dict[tuple[str, str], Counter[str]]:
    """Events by action, for each business unit and role."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for row in events[["business_unit", "role", "action"]].itertuples(index=False):
        found.setdefault((str(row[0]), str(row[1])), Counter())[str(row[2])] += 1
    return found


def _decisions(counts: Counter[str]) -> int:
    return counts["acted"] + counts["overridden"]


def _readings(counts: Counter[str]) -> int:
    return max(counts["opened"], _decisions(counts))


def _use(
    counts: Counter[str],
    before: Counter[str] | None,
    rest: Counter[str],
    *,
    unit: str,
    role: str,
    as_of: date,
    level: float,
) -> Use:
    n = _readings(counts)
    acted = estimate_share(counts["acted"], n, as_of=as_of, level=level)
    opened_change = acted_change = None
    if before is not None:
        was = estimate_share(before["acted"], _readings(before), as_of=as_of, level=level)
        acted_change = difference(acted, was)
        opened_change = _count_change(counts["opened"], before["opened"], as_of=as_of, level=level)
    chance = None
    if _decisions(counts) == 0 and _readings(rest):
        chance = (1 - _decisions(rest) / _readings(rest)) ** n
    return Use(
        unit=Name(unit),
        role=Name(role),
        opened=counts["opened"],
        acted=counts["acted"],
        overridden=counts["overridden"],
        acted_share=acted,
        overridden_share=estimate_share(counts["overridden"], n, as_of=as_of, level=level),
        opened_change=opened_change,
        acted_change=acted_change,
        chance_of_silence=chance,
    )


def _count_change(now: int, before: int, *, as_of: date, level: float) -> Estimate | None:
    """Change of a count, from the share that fell into the later of two equal periods."""
    if before == 0:
        return None
    share = estimate_share(now, now + before, as_of=as_of, level=level)
    if share.upper >= 1:
        return None

    def change(part: float) -> float:
        return part / (1 - part) - 1

    return Estimate(
        value=change(share.value),
        lower=change(share.lower),
        upper=change(share.upper),
        unit="change",
        n=now + before,
        as_of=as_of,
        level=level,
        method=f"ratio of two counts given their sum; {share.method}",
    )


def _resistance(
    events: pd.DataFrame, *, as_of: date, level: float, fewest: int
) -> tuple[Resistance, ...]:
    """Findings on which at least `fewest` decisions are on record, some against them."""
    decided = events[events["action"].isin(ACTIONS[1:])].dropna(subset=["finding_id"])
    found = []
    for (stage, finding), rows in decided.groupby(["stage", "finding_id"], sort=True):
        n, overridden = len(rows), int((rows["action"] == "overridden").sum())
        if n >= fewest and overridden:
            found.append(
                Resistance(
                    stage=Name(str(stage)),
                    finding_id=Name(str(finding)),
                    overridden=overridden,
                    decided=n,
                    share=estimate_share(overridden, n, as_of=as_of, level=level),
                )
            )
    return tuple(sorted(found, key=lambda r: (-r.share.lower, r.stage, r.finding_id)))


def readings(market: MarketView, adoption: ir.Table | None = None) -> pd.DataFrame:
    """Events of the market's log and of this installation's, as `collect_events`."""
    logged = None if adoption is None else adoption.to_pandas()
    return collect_events(logged, market.decisions("adoption"), zone=market.zone)


def used(readings: pd.DataFrame, run: Run[LearningParameters]) -> Adoption:
    """Use of the reports in the last quarter; raises as `estimate_adoption`."""
    return estimate_adoption(
        readings,
        quarter_days=run.parameters.adoption_quarter_days,
        minimum_cell_size=run.smallest_cell,
        **run.range,
    )


def use(used: Adoption) -> tuple[Use, ...]:
    """Each business unit and role, those who never act first."""
    return used.units


def units(used: Adoption) -> Adoption:
    """All business units side by side."""
    return used


@dataclass(frozen=True, kw_only=True)
class SetAside:
    """Advice that readers decide against, most often first.

    Attributes:
        finding_id, share: Of what is set aside most; None where nothing is.
    """

    case: Literal["none", "one", "several"]
    finding_id: Name | None
    share: Estimate | None
    table: tuple[Resistance, ...]


def resistance(used: Adoption) -> SetAside:
    """Which advice is set aside most."""
    found = used.resistance
    worst = found[0] if found else None
    some: Literal["one", "several"] = "several" if len(found) > 1 else "one"
    return SetAside(
        case=some if found else "none",
        finding_id=worst.finding_id if worst else None,
        share=worst.share if worst else None,
        table=found,
    )
