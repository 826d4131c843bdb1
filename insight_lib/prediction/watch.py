"""The models that are watched: those in use, and what stands in for one until there is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from insight_lib.analyses import Missing, attempted
from insight_lib.findings import Measured, TooFew, counted
from insight_lib.prediction.chain import lacking_inputs
from insight_lib.prediction.fit import fit, stack
from insight_lib.prediction.loaded import Keeper
from insight_lib.prediction.marks import Held
from insight_lib.prediction.registry import Decided, LiveModel, ModelRefused, Registry
from insight_lib.prediction.scorer import score
from insight_lib.prediction.snapshots import Snapshot, Target
from insight_lib.prose import Name, format_value

if TYPE_CHECKING:
    from insight_lib.parameter_model import PredictionParameters
    from insight_lib.prediction.triggers import Retrain
    from insight_lib.run import Run

_SHOWN_DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Days on which customers are looked at, and what is predicted.

    Attributes:
        snapshots: Oldest first; the last is of today and has no labels.
    """

    targets: tuple[Target, ...]
    snapshots: tuple[Snapshot, ...]

    @property
    def labelled(self) -> list[Snapshot]:
        return [s for s in self.snapshots if s.has_labels]

    @property
    def now(self) -> Snapshot:
        return self.snapshots[-1]


def watch(
    snapshots: list[Snapshot], targets: tuple[Target, ...], run: Run[PredictionParameters]
) -> Watch:
    """Enough past days with outcomes to hold a model against.

    Raises:
        TooFew: There are not.
    """
    p = run.parameters
    found = Watch(targets=targets, snapshots=tuple(snapshots))
    if (n := len(found.labelled)) < (least := p.watched_snapshots + 1):
        days = p.history_days + p.horizon_days * least
        raise TooFew(
            f"{n} past days with outcomes, and it takes {least}",
            takes=f"orders that reach back {days} days",
        )
    return found


@dataclass(frozen=True, kw_only=True)
class Watched:
    """One model, and what it says of customers whom it did not learn from.

    Attributes:
        version: Of the model in use; none of one that stands in.
        seen: By cut, oldest first: customers (index) by score and label.
    """

    target: Target
    document: Mapping[str, Any]
    version: str | None
    seen: Mapping[date, pd.DataFrame]

    @property
    def key(self) -> str:
        return self.target.id

    @property
    def title(self) -> Name:
        return Name(self.target.title)

    @property
    def is_binary(self) -> bool:
        return self.target.kind == "binary"

    @property
    def n_trained(self) -> int:
        return int(self.document["trained"]["n"])

    @property
    def learned_until(self) -> date:
        """Last day that it knows."""
        return date.fromisoformat(self.document["trained"]["as_of"])

    @property
    def latest(self) -> pd.DataFrame:
        """Score and label on the latest day with outcomes.

        Raises:
            TooFew: No outcome has come since it learned.
        """
        if not self.seen:
            days, until = self.target.horizon_days, self.learned_until
            ready = format_value(until + timedelta(days=days))
            raise TooFew(
                f"it learned up to {format_value(until)}, and its first outcomes come on {ready}",
                takes=f"a model that is retrained no more often than every {days} days",
            )
        return self.seen[max(self.seen)]

    def first_and_last(self) -> tuple[date, date]:
        """First and latest day with outcomes that it did not learn from.

        Raises:
            TooFew: They are one.
        """
        if len(self.seen) < 2:
            raise TooFew("one month of labels since the model learned, and it takes two")
        return min(self.seen), max(self.seen)


def models(
    registry: Registry, run: Run[PredictionParameters], watch: Watch | None = None
) -> tuple[Watched | Missing, ...]:
    """For each target the model in use, or one as it would have been on the earliest days.

    Raises:
        TooFew: For a target: too few to learn one that stands in.
    """
    if watch is None:
        return ()

    def made(target: Target) -> Watched:
        live = _in_use(target, watch, registry, as_of=run.as_of)
        document = live.document if live else _stands_in(target, watch, run)
        until = date.fromisoformat(document["trained"]["as_of"])
        later = [s for s in watch.labelled if s.cut >= until]
        return Watched(
            target=target,
            document=document,
            version=live.version if live else None,
            seen={s.cut: scored(document, s, target) for s in later},
        )

    return tuple(attempted(partial(made, target), target.id) for target in watch.targets)


def _in_use(target: Target, watch: Watch, registry: Registry, *, as_of: date) -> LiveModel | None:
    """The model in use before this run, if there is one that can still be asked."""
    try:
        found = registry.champion(target.id, as_of=as_of)
    except ModelRefused:
        return None  # its file does not verify; decisions says so
    lacks = found and lacking_inputs(found.document, list(watch.now.features.columns))
    return None if lacks else found


def _stands_in(target: Target, watch: Watch, run: Run[PredictionParameters]) -> Mapping[str, Any]:
    p = run.parameters
    early = watch.labelled[: -p.watched_snapshots]
    known = early[-1].cut + timedelta(days=p.horizon_days)
    return fit("logistic", stack(early, target), target=target, as_of=known, seed=run.seed)


def scored(document: Mapping[str, Any], snapshot: Snapshot, target: Target) -> pd.DataFrame:
    """Score and label of the customers (index) whom a target is about; no label before it came."""
    if snapshot.has_labels:
        label = snapshot.labels[target.id].dropna()
    else:
        applies = snapshot.applies[target.id].to_numpy(dtype=bool)
        label = pd.Series(float("nan"), index=snapshot.features.index[applies])
    rows = snapshot.features.loc[label.index]
    return pd.DataFrame({"score": score(document, rows), "label": label}, index=label.index)


def watched(models: tuple[Watched | Missing, ...]) -> tuple[Watched, ...]:
    """The models that there are; none where nothing can be watched."""
    return tuple(model for model in models if isinstance(model, Watched))


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Which model is watched, and what it learned from."""

    case: Literal["in use", "stands in"]
    n: int
    day: date


def model(watched: tuple[Watched, ...]) -> Learned | None:
    """Whether a model in use is watched, or one that stands in."""
    if not watched:
        return None
    first = watched[0]
    return Learned(
        case="in use" if first.version else "stands in",
        n=first.n_trained,
        day=first.learned_until,
    )


@dataclass(frozen=True, kw_only=True)
class RolledBack:
    """Whether a model in use was taken out of use, because it surely got too weak.

    Attributes:
        left: The model that scores instead.
        value: Customers behind the mark.
    """

    key: str
    case: Literal["out, another scores", "out, none scores", "stays"]
    version: Name
    left: Name | None
    value: Measured


def rollback(
    watched: tuple[Watched, ...],
    performance: tuple[Held | Missing, ...],
    registry: Registry,
    market: Keeper,
    run: Run[PredictionParameters],
) -> tuple[RolledBack, ...]:
    """Take models in use out of use that surely got too weak: what it says, it has done.

    A trial with other parameters, or someone at the notebook, takes no model out of use.
    """
    if market.request.record is None or market.request.has_overrides:
        return ()
    marks = {held.key: held for held in performance if isinstance(held, Held)}
    found = []
    for one in watched:
        if one.version is None or one.key not in marks:
            continue
        auc = marks[one.key].latest.auc
        decided = registry.roll_back_if_degraded(
            one.key,
            auc,
            version=one.version,
            threshold=run.parameters.smallest_auc,
            day=run.as_of,
        )
        found.append(rolled_back(decided, one.key, counted(auc.n, auc.n, run.as_of)))
    return tuple(found)


def rolled_back(decided: Decided, key: str, value: Measured) -> RolledBack:
    """What the registry decided, for its reader."""
    left = decided.live_version
    out: Literal["out, another scores", "out, none scores"] = (
        "out, another scores" if left else "out, none scores"
    )
    return RolledBack(
        key=key,
        case=out if decided.is_done else "stays",
        version=Name(decided.version[:_SHOWN_DIGITS]),
        left=Name(left[:_SHOWN_DIGITS]) if left else None,
        value=value,
    )


def model_states(
    watched: tuple[Watched, ...],
    registry: Registry,
    retrain: tuple[Retrain, ...],
    rollback: tuple[RolledBack, ...],  # noqa: ARG001 - what it took out of use is out of use here
    run: Run[PredictionParameters],
) -> pd.DataFrame | None:
    """The models in use from today on, and why each would be retrained if it was watched.

    Returns:
        target, version, trained_as_of, n_trained, triggers, is_live.
    """
    due = {one.key: one.due_for for one in retrain}
    rows = [_state(one, registry, due.get(one.key, ()), on=run.as_of) for one in watched]
    return pd.DataFrame(rows) if rows else None


def _state(
    watched: Watched, registry: Registry, due_for: tuple[str, ...], *, on: date
) -> dict[str, Any]:
    try:
        live = registry.live(watched.key, on=on)
    except ModelRefused:
        live = None
    trained = (live.document if live else watched.document)["trained"]
    is_watched = live is not None and watched.version == live.version
    return {
        "target": watched.key,
        "version": live.version if live else "",
        "trained_as_of": date.fromisoformat(trained["as_of"]),
        "n_trained": trained["n"],
        "triggers": ",".join(due_for) if is_watched else "",
        "is_live": live is not None,
    }
