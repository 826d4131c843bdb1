"""What makes a segment itself: lifts, a typical customer, and a name that a person confirms.

The typical customer is put together from medians, each taken on its own, so it is nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from scipy import stats

from insight_lib.charts import Caption, Chart, Mark, plot_dots
from insight_lib.findings import Estimate, Measured, TooFew
from insight_lib.prose import Name

if TYPE_CHECKING:
    from insight_lib.parameter_model import SegmentParameters
    from insight_lib.registers import Quote
    from insight_lib.run import Run
    from insight_lib.segments.groups import Groups

Floats = NDArray[np.float64]

_CLEAR_LIFT = 1.15
_IN_WORDS = {"price_tier": "the {} price level", "channel": "orders by {}"}
NEARLY_ALONE = 20.0  # a lift beyond this is said in words, not as a number


@dataclass(frozen=True, kw_only=True)
class Lift:
    """How many times as much as other customers, with its interval.

    Attributes:
        kind: What the feature is a part of, e.g. `department`.
    """

    segment: str
    kind: str
    feature: str
    ratio: Estimate

    @property
    def is_clear(self) -> bool:
        return self.ratio.lower > _CLEAR_LIFT

    @property
    def words(self) -> str:
        """The feature as it stands in a sentence."""
        return _IN_WORDS.get(self.kind, "{}").format(self.feature.lower())


def estimate_lifts(
    parts: Sequence[tuple[Mapping[str, pd.DataFrame], pd.Series[str]]],
    *,
    as_of: date,
    minimum_cell_size: int,
    level: float = 0.95,
) -> list[Lift]:
    """Share of each feature in a segment against all other customers, whether grouped or not.

    Measured on purchases that did not decide on the group: each part is counted by the
    segments that the other purchases put its customers into, and the parts add up. Ratio of
    two ratios on the log scale with customers as the units (delta method); the intervals hold
    for all features of a kind together (Bonferroni).

    Args:
        parts: Purchases (kind to customers by features, in pieces) with the segment of the
            grouped customers (index); customers with purchases and no segment are others.
        minimum_cell_size: Features that fewer customers of the segment have are left out.

    Returns:
        By segment, largest lift first.

    Raises:
        TooFew: There is nobody to compare with.
    """
    names = sorted({str(name) for _, segment in parts for name in segment.unique()})
    if not names:
        raise TooFew("no segment, so there is nothing to compare")
    found: list[Lift] = []
    for kind in sorted({kind for counts, _ in parts for kind in counts}):
        frames = [(counts[kind], segment) for counts, segment in parts if kind in counts]
        everyone = sorted({c for frame, _ in frames for c in frame.index})
        features = sorted({str(f) for frame, _ in frames for f in frame.columns})
        z = float(stats.norm.ppf(1 - (1 - level) / (2 * max(len(features) * len(names), 1))))
        tables = [
            (
                frame.reindex(index=everyone, columns=features).fillna(0.0).to_numpy(dtype=float),
                segment.reindex(everyone).to_numpy(dtype=object),
            )
            for frame, segment in frames
        ]
        for name in names:
            is_in = [label == name for _, label in tables]
            x, other = (
                sum(
                    (t * mask[:, None] for (t, _), mask in zip(tables, masks, strict=True)),
                    np.zeros((len(everyone), len(features))),
                )
                for masks in (is_in, [~mask for mask in is_in])
            )
            if not x.any() or not other.any():
                continue
            for j, feature in enumerate(features):
                n = int((x[:, j] > 0).sum())
                if n < minimum_cell_size:
                    continue
                found.append(
                    Lift(
                        segment=name,
                        kind=kind,
                        feature=feature,
                        ratio=_lift(x, other, j, n=n, z=z, as_of=as_of, level=level),
                    )
                )
    if not found and len(names) < 2:
        raise TooFew("one segment only, so there is nothing to compare it with")
    return sorted(found, key=lambda f: (f.segment, -f.ratio.lower, f.kind, f.feature))


def _lift(
    x: Floats, other: Floats, feature: int, *, n: int, z: float, as_of: date, level: float
) -> Estimate:
    """One lift; a customer may stand on both sides, in different parts of the purchases."""
    (a, inside), (b, outside) = (
        _log_ratio(side[:, feature], side.sum(axis=1)) for side in (x, other)
    )
    each = inside - outside
    half = z * float(np.sqrt(np.square(each).sum()))
    return Estimate(
        value=float(np.exp(a - b)),
        lower=float(np.exp(a - b - half)),
        upper=float(np.exp(a - b + half)),
        unit="ratio",
        n=n,
        as_of=as_of,
        level=level,
        method="ratio of shares on other purchases, delta method over customers, Bonferroni",
    )


def _log_ratio(x: Floats, y: Floats) -> tuple[float, Floats]:
    """Log of the ratio of totals and each customer's part in its error.

    Nothing at all counts as one piece, whose error is as large as itself.
    """
    if not x.any():
        return -float(np.log(y.sum() + 1)), np.full(len(x), 1.0 / np.sqrt(len(x)))
    ratio = float(x.sum() / y.sum())
    return float(np.log(ratio)), (x - ratio * y) / y.sum() / ratio


def suggest_names(lifts: Sequence[Lift], segments: Sequence[str]) -> dict[str, str]:
    """A name per segment from its two clearest lifts, of different kinds; unique."""
    names: dict[str, str] = {}
    for segment in segments:
        clear = [f for f in lifts if f.segment == segment and f.is_clear]
        parts: list[Lift] = []
        for lift in clear:
            if lift.kind not in {p.kind for p in parts}:
                parts.append(lift)
        words = [_readable(p.feature) for p in parts[:2]]
        name = " · ".join([words[0].capitalize(), *words[1:]]) if words else "Close to the average"
        used = set(names.values())
        if name in used:
            more = [_readable(f.feature) for f in clear if _readable(f.feature) not in words]
            name = next((f"{name} · {w}" for w in more if f"{name} · {w}" not in used), "")
        names[segment] = name or f"{' · '.join(words) or 'Close to the average'} ({segment})"
    return names


def _readable(feature: str) -> str:
    return feature.lower()


def match_quotes(
    quotes: Sequence[Quote], lifts: Sequence[Lift], *, most: int = 2
) -> dict[str, list[Quote]]:
    """Quotes for each segment that they speak for: about what sets it clearly apart.

    A quote goes to the segment with the clearest lift of what it is about; newest first.
    """
    clear: dict[str, Lift] = {}
    for lift in lifts:
        key = lift.feature.lower()
        if lift.is_clear and (key not in clear or lift.ratio.lower > clear[key].ratio.lower):
            clear[key] = lift
    found: dict[str, list[Quote]] = {}
    for quote in sorted(quotes, key=lambda q: (-q.said_on.toordinal(), q.text)):
        about = [clear[a.lower()] for a in quote.about if a.lower() in clear]
        if about:
            best = max(about, key=lambda f: (f.ratio.lower, f.segment))
            found.setdefault(best.segment, []).append(quote)
    return {segment: own[:most] for segment, own in found.items()}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What sets a group apart most clearly, and the clear lifts of every group.

    Attributes:
        name, feature, lift: The clearest of all.
        drawn: Lifts that a chart can show, the clearest few of each group.
        drawn_name, drawn_feature, drawn_lift: The clearest among them, if there are any.
    """

    case: Literal["nearly alone", "clear"]
    name: Name
    feature: Name
    lift: Estimate
    drawn: pd.DataFrame
    drawn_name: Name | None
    drawn_feature: Name | None
    drawn_lift: Estimate | None

    def draw(self, caption: Caption) -> Chart:
        """The clearest lifts of each group, against other customers."""
        top = self.drawn.sort_values(["lower", "label"]).iloc[-1]
        return plot_dots(
            self.drawn, caption=caption, label="label", value="lift", lower="lower",
            upper="upper", unit="ratio", n="customers", highlight=[str(top["label"])],
            reference=Mark(at=1.0, text=caption.reference),
        )  # fmt: skip


def difference(groups: Groups, most_per_group: int = 3) -> Difference | None:
    """The clearest difference between groups; none if no lift is clear."""
    clear = [lift for lift in groups.lifts if lift.is_clear]
    if not clear:
        return None
    names, shown = groups.names, [f for f in clear if f.ratio.value <= NEARLY_ALONE]
    top = max(clear, key=lambda f: (f.ratio.lower, f.segment, f.feature))
    rows = [
        {
            "label": f"{names[segment]}: {lift.words}",
            "lift": lift.ratio.value,
            "lower": lift.ratio.lower,
            "upper": lift.ratio.upper,
            "customers": lift.ratio.n,
        }
        for segment in sorted({lift.segment for lift in shown})
        for lift in [f for f in shown if f.segment == segment][:most_per_group]
    ]
    best = max(shown, key=lambda f: (f.ratio.lower, f.feature), default=None)
    return Difference(
        case="nearly alone" if top.ratio.value > NEARLY_ALONE else "clear",
        name=names[top.segment],
        feature=Name(top.words),
        lift=top.ratio,
        drawn=pd.DataFrame(rows).drop_duplicates("label") if rows else pd.DataFrame(),
        drawn_name=names[best.segment] if best else None,
        drawn_feature=Name(best.words) if best else None,
        drawn_lift=best.ratio if best else None,
    )


@dataclass(frozen=True, kw_only=True)
class TypicalCustomer:
    """Medians and commonest traits of a group, each on its own; nobody has to have them all.

    What too few customers have is missing.
    """

    name: Name
    n_customers: int
    n_orders: Measured | None = None
    mean_order_amount: Measured | None = None
    days_since_last_order: Measured | None = None
    discount_share: Measured | None = None
    age_band: Name | None = None
    size_band: Name | None = None


@dataclass(frozen=True, kw_only=True)
class Typical:
    """The typical customers side by side."""

    table: tuple[TypicalCustomer, ...]


def typical(
    groups: Groups, described: pd.DataFrame, people: pd.DataFrame, run: Run[SegmentParameters]
) -> Typical:
    """The typical customer of each group that is large enough to be described."""
    frame = described.join(people[[c for c in ("age_band", "size_band") if c in people]])
    return Typical(
        table=tuple(
            typical_customer(
                frame.reindex(groups.member.index[groups.member == group]),
                groups.names[str(group)],
                currency=run.currency,
                as_of=run.as_of,
                minimum_cell_size=run.smallest_cell,
            )
            for group, n in sorted(groups.member.value_counts().items())
            if n >= run.smallest_cell
        )
    )


def typical_customer(
    members: pd.DataFrame, name: Name, *, currency: str, as_of: date, minimum_cell_size: int
) -> TypicalCustomer:
    """Medians of the numbers and commonest levels of the traits, of what enough members have."""
    units = {
        "n_orders": "count",
        "mean_order_amount": currency,
        "days_since_last_order": "days",
        "discount_share": "share",
    }

    def median(column: str) -> Measured | None:
        if column not in members:
            return None
        known = members[column].dropna().to_numpy(dtype=float)
        n = len(known)
        if n < minimum_cell_size:
            return None
        return Measured(value=float(np.median(known)), unit=units[column], n=n, as_of=as_of)

    def commonest(trait: str) -> Name | None:
        counts = Counter(members[trait].dropna().astype(str)) if trait in members else Counter()
        most = max(counts.values(), default=0)
        return (
            Name(min(level for level, n in counts.items() if n == most))
            if (most >= minimum_cell_size)
            else None
        )

    return TypicalCustomer(
        name=name,
        n_customers=len(members),
        n_orders=median("n_orders"),
        mean_order_amount=median("mean_order_amount"),
        days_since_last_order=median("days_since_last_order"),
        discount_share=median("discount_share"),
        age_band=commonest("age_band"),
        size_band=commonest("size_band"),
    )


@dataclass(frozen=True, kw_only=True)
class Naming:
    """Which names a person has confirmed.

    Attributes:
        means: Profile of each group, as the register keeps it.
    """

    case: Literal["unconfirmed", "confirmed"]
    n_unconfirmed: int
    n: int
    suggested: Mapping[str, str]
    means: pd.DataFrame
    market: str
    as_of: date

    def form(self, store: Callable[[str, str], None]) -> Any:
        """A form that confirms names; `store` takes the register and its new entry."""
        return name_form(
            self.suggested,
            self.means,
            market=self.market,
            as_of=self.as_of,
            store=lambda line: store("segment_names", line),
        )


def names(groups: Groups, run: Run[SegmentParameters]) -> Naming:
    """Whether every name that is shown was confirmed by a person."""
    n_unconfirmed = len(groups.suggested.keys() - groups.confirmed.keys())
    return Naming(
        case="unconfirmed" if n_unconfirmed else "confirmed",
        n_unconfirmed=n_unconfirmed,
        n=len(groups.suggested),
        suggested=groups.suggested,
        means=groups.means,
        market=run.market,
        as_of=run.as_of,
    )


@dataclass(frozen=True, kw_only=True)
class Said:
    """One quote of an interview that speaks of a group; empty where none does."""

    name: Name
    text: Name | None = None
    speaker: Name | None = None
    said_on: date | None = None


@dataclass(frozen=True, kw_only=True)
class Interviews:
    """What interviews say of each group, in the words of people who stay unnamed."""

    table: tuple[Said, ...]
    n: int


def interviews(
    groups: Groups, quotes: tuple[Quote, ...], run: Run[SegmentParameters]
) -> Interviews:
    """Quotes about what sets each group apart, said by the day of the run; nothing without any."""
    known = [quote for quote in quotes if quote.said_on <= run.as_of]
    matched = match_quotes(known, groups.lifts)
    ordered = sorted(groups.names.items())
    spoken = [
        Said(
            name=name,
            text=Name(f"“{quote.text}”"),
            speaker=Name(quote.speaker),
            said_on=quote.said_on,
        )
        for group, name in ordered
        for quote in matched.get(group, ())
    ]
    silent = [Said(name=name) for group, name in ordered if known and group not in matched]
    return Interviews(table=(*spoken, *silent), n=len(known))


def register_line(
    *,
    market: str,
    segment: str,
    name: str,
    means: Mapping[str, float],
    confirmed_by: str,
    confirmed_on: date,
) -> str:
    """The entry of `parameters/registers/segment_names.yaml` for a confirmed name.

    Raises:
        ValueError: The name is empty.
    """
    if not name.strip():
        raise ValueError(f"{market} {segment}: write a name before you confirm it")
    entry: dict[str, Any] = {
        "market": market,
        "segment": segment,
        "name": name.strip(),
        "confirmed_by": confirmed_by,
        "confirmed_on": confirmed_on,
        "profile": {column: float(value) for column, value in sorted(means.items())},
    }
    return yaml.safe_dump([entry], sort_keys=False, allow_unicode=True, width=100)


def name_form(
    suggestions: Mapping[str, str],
    means: pd.DataFrame,
    *,
    market: str,
    as_of: date,
    confirmed_by: str = "crm-lead",
    store: Callable[[str], None] | None = None,
) -> Any:
    """A form that confirms names; each button shows the register's line, and stores it.

    Args:
        suggestions: Suggested name per segment.
        means: Profiles, as from `identity.profile_means`.
        store: Takes the line, e.g. appends it to the register; without it, copy the line.
    """
    import ipywidgets as widgets  # type: ignore[import-untyped]

    rows = []
    for segment, suggestion in suggestions.items():
        text = widgets.Text(value=suggestion, description=segment)
        button = widgets.Button(description="Confirm")
        line = widgets.Textarea(layout=widgets.Layout(width="100%", height="8em"))

        def confirm(_: Any, segment: str = segment, text: Any = text, line: Any = line) -> None:
            line.value = register_line(
                market=market,
                segment=segment,
                name=text.value,
                means=dict(
                    zip(means.columns, means.loc[segment].to_numpy(dtype=float), strict=True)
                ),
                confirmed_by=confirmed_by,
                confirmed_on=as_of,
            )
            if store is not None:
                store(line.value)

        button.on_click(confirm)
        rows.append(widgets.VBox([widgets.HBox([text, button]), line]))
    return widgets.VBox(rows)
