"""Models of one market: registered, promoted, rolled back, and asked for by day.

A model is a JSON document in a file that its digest names; a signature over name and
content stands in the file's first line and is checked before anything is parsed. What a
run decided is a list of events in one signed file that is switched by rename; what people
decided comes from outside. Which model was live on a day follows from both.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from insight_lib.findings import Estimate
from insight_lib.prediction.document import canonical_bytes, digest
from insight_lib.prediction.signing import is_signed, key_name, sign

PROMOTE, ROLL_BACK = "promote", "roll_back"
BY_RUN = "run"
_HISTORY = "history"
_VERSION = re.compile(r"[0-9a-f]{16}")
_TARGET = re.compile(r"[a-z][a-z0-9_-]{0,39}(@[a-z0-9][a-z0-9_-]{0,39})?")
_LOCK_SECONDS = 30.0
_LOCK_POLL_SECONDS = 0.02


class ModelRefused(ValueError):
    """A model may not be read, promoted or rolled back; names file, reason and next step."""


@dataclass(frozen=True, kw_only=True)
class LiveModel:
    """The model that scores on a day, verified.

    Attributes:
        since: Day from which it is live.
        why: Reason given when it became so.
        by: `run`, or the person's role.
    """

    target: str
    version: str
    since: date
    why: str
    by: str
    document: Mapping[str, Any]
    card: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of a target's history, by a run or by a person."""

    day: date
    target: str
    action: str
    version: str
    by: str
    why: str
    gates: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What asking for a promotion or a rollback came to.

    Attributes:
        version: Version asked about.
        live_version: Version live after it, if any.
        is_done: Whether the promotion or rollback stands.
        reasons: Why not; all of them.
    """

    target: str
    version: str
    live_version: str | None
    is_done: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Registry:
    """The models of one market.

    Args:
        folder: The market's own folder; made on first write.
        key: Signing key, from `signing.read_key`.
        decisions: What people decided, in their order: `day`, `target`, `action`
            (promote or roll_back), `version`, `by`, `why`.
    """

    folder: Path
    key: bytes = field(repr=False)
    decisions: Sequence[Mapping[str, Any]] = ()

    def register(self, document: Mapping[str, Any], card: Mapping[str, Any]) -> str:
        """Keep a model and return its version; the same document twice is kept once.

        Args:
            document: The fitted model.
            card: What a reader has to know: training days, quality, gates. The first card
                stays.

        A file of that name that does not verify is set aside as `.refused`.
        """
        version = digest(document)[:16]
        path = self._path(version)
        with self._locked():
            if path.exists():
                try:
                    self.load(version)
                    return version
                except ModelRefused:  # kept for whoever looks into it; the name is made good
                    path.replace(path.with_name(f"{path.name}.refused"))
            content = canonical_bytes({"document": document, "card": card})
            write_whole(path, self._signed(version, content))
        return version

    def load(self, version: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Document and card of a version, after signature and digest are checked.

        Raises:
            ModelRefused: Unknown, changed, swapped, or signed with another key.
        """
        path = self._path(version)
        content = self._verified(path, version)
        data = json.loads(content)
        if digest(data["document"])[:16] != version:
            raise self._refused(path, "the document is not the one its version names")
        return data["document"], data["card"]

    def promote(
        self, target: str, version: str, *, day: date, why: str, gates: Mapping[str, bool]
    ) -> Decided:
        """Make a version live from `day` on, if every gate passed and nobody rolled it back.

        Asking again on the same day changes nothing. History is not rewritten: a run for an
        earlier day than the target's last event only learns what was live.

        Args:
            gates: Gate to whether it passed; none at all is a failed gate.

        Raises:
            ModelRefused: The version is not registered, does not verify, or is for
                another target.
        """
        document, _ = self.load(version)
        self._check_target(target)
        if document["target"] != target.partition("@")[0]:
            raise ModelRefused(
                f"{self._path(version)}: predicts {document['target']!r}, not {target!r}; "
                "promote it for its own target"
            )
        reasons = [f"gate {name} failed" for name, passed in sorted(gates.items()) if not passed]
        if not gates:
            reasons.append("no gate was checked")
        event = Event(
            day=day, target=target, action=PROMOTE, version=version, by=BY_RUN, why=why, gates=gates
        )
        return self._decide(event, reasons)

    def roll_back(self, target: str, version: str, *, day: date, why: str) -> Decided:
        """Take a version out of use; the version before it that still verifies is live again.

        Of a version that is not live only the return is ruled out. Asking again on the same
        day changes nothing.

        Raises:
            ModelRefused: The version was never live for this target.
        """
        self._check_target(target)
        if version not in {e.version for e in self._merged(target, on=day)}:
            raise ModelRefused(f"{self.folder}: {version} was not live for {target!r} by {day}")
        decided = self._decide(_roll_back_event(target, version, day, why), [])
        while decided.is_done and (fallen := self._unreadable(target, day)):
            reason = f"{fallen}: its file does not verify"
            decided = self._decide(_roll_back_event(target, fallen, day, reason), [])
        return replace(decided, version=version)

    def roll_back_if_degraded(
        self, target: str, live_metric: Estimate, *, version: str, threshold: float, day: date
    ) -> Decided:
        """Roll back a version whose live metric is surely below `threshold`.

        Only when the whole interval is below; a metric that may be chance changes nothing.

        Args:
            live_metric: Larger is better, e.g. area under the curve; measured on `version`.
            version: The version that the metric belongs to.
        """
        if live_metric.upper >= threshold:
            return Decided(
                target=target,
                version=version,
                live_version=self._live_version(target, on=day),
                is_done=False,
                reasons=("the live metric is not surely below the threshold",),
            )
        return self.roll_back(
            target,
            version,
            day=day,
            why=f"live metric {live_metric.lower:.3f} to {live_metric.upper:.3f} is below "
            f"{threshold:.3f}",
        )

    def live(self, target: str, *, on: date) -> LiveModel | None:
        """The model live at the end of a day; None if there was none.

        Raises:
            ModelRefused: Its file does not verify.
        """
        return self._as_live(target, self._merged(target, on=on))

    def champion(self, target: str, *, as_of: date) -> LiveModel | None:
        """The model live before the run of `as_of` decides; what a challenger has to beat.

        Runs of that day are left out, people's decisions of that day are not: the same
        question has the same answer when the run is repeated.
        """
        events = [e for e in self._merged(target, on=as_of) if e.by != BY_RUN or e.day < as_of]
        return self._as_live(target, events)

    def history(self, target: str) -> tuple[Event, ...]:
        """What runs and people decided on a target, oldest first."""
        return tuple(self._merged(target, on=date.max))

    def targets(self) -> tuple[str, ...]:
        """All targets that have a history."""
        return tuple(sorted({e.target for e in (*self._run_events(), *self._people_events())}))

    def promotion_row(
        self, target: str, version: str, *, day: date, by: str, why: str
    ) -> dict[str, str]:
        """The decision of a person to promote, checked and ready to be appended."""
        self._check_words(by, why)
        self._check_target(target)
        document, _ = self.load(version)
        if document["target"] != target.partition("@")[0]:
            raise ModelRefused(
                f"{self._path(version)}: predicts {document['target']!r}, not {target!r}"
            )
        return _row(day, target, PROMOTE, version, by, why)

    def rollback_rows(self, target: str, *, day: date, by: str, why: str) -> list[dict[str, str]]:
        """The decision of a person to roll back, ready to be appended.

        One row for the live version, and one for each version before it that does not verify.

        Raises:
            ModelRefused: There is no live model, or no role or reason is given.
        """
        self._check_words(by, why)
        self._check_target(target)
        taken = self._live_version(target, on=day)
        if taken is None:
            raise ModelRefused(f"{self.folder}: {target!r} has no live model on {day}")
        rows = [_row(day, target, ROLL_BACK, taken, by, why)]
        while fallen := replace(self, decisions=[*self.decisions, *rows])._unreadable(target, day):
            rows.append(_row(day, target, ROLL_BACK, fallen, by, "its file does not verify"))
        return rows

    def _decide(self, event: Event, reasons: list[str]) -> Decided:
        """Write an event under the lock, unless it is known or something speaks against it."""
        with self._locked():
            runs = self._run_events()
            mine = self._merged(event.target, on=date.max)
            until = [e for e in mine if e.day <= event.day]
            state = _replay(until)
            if event.action == PROMOTE:
                is_known = state.live == event.version
                if event.version in state.barred:
                    reasons = [*reasons, "rolled back before: only a person may promote it again"]
            else:
                is_known = any(
                    e.day == event.day and e.action == ROLL_BACK and e.version == event.version
                    for e in until
                )
            if len(mine) > len(until) and not is_known:
                reasons = [*reasons, f"{mine[-1].day} has decided since, and history stands"]
            if not is_known and not reasons:
                self._write_history([*runs, event])
                until = self._merged(event.target, on=event.day)
            if event.action == PROMOTE:
                # What a later run of the same day took out is not this run's to know.
                state = _replay([e for e in until if not _is_rollback_of(e, event.day)])
            else:
                state = _replay(until)
        return Decided(
            target=event.target,
            version=event.version,
            live_version=state.live,
            is_done=not reasons,
            reasons=tuple(reasons),
        )

    def _unreadable(self, target: str, day: date) -> str | None:
        """The live version, if its file does not verify."""
        version = self._live_version(target, on=day)
        try:
            if version is not None:
                self.load(version)
        except ModelRefused:
            return version
        return None

    def _live_version(self, target: str, *, on: date) -> str | None:
        return _replay(self._merged(target, on=on)).live

    def _as_live(self, target: str, events: Sequence[Event]) -> LiveModel | None:
        self._check_target(target)
        state = _replay(events)
        if state.live is None or state.event is None:
            return None
        document, card = self.load(state.live)
        return LiveModel(
            target=target,
            version=state.live,
            since=state.event.day,
            why=state.event.why,
            by=state.event.by,
            document=document,
            card=card,
        )

    def _merged(self, target: str, *, on: date) -> list[Event]:
        """Events up to a day: by day, a run's before a person's, each in their own order."""
        events = [*self._run_events(), *self._people_events()]
        mine = [e for e in events if e.target == target and e.day <= on]
        return sorted(mine, key=lambda e: (e.day, e.by != BY_RUN))

    def _run_events(self) -> list[Event]:
        path = self.folder / _HISTORY
        try:
            content = self._verified(path, _HISTORY)
        except FileNotFoundError:
            return []
        return [_event(row) for row in json.loads(content)["events"]]

    def _people_events(self) -> list[Event]:
        events = []
        for row in self.decisions:
            if row["by"] == BY_RUN or row["action"] not in (PROMOTE, ROLL_BACK):
                raise ModelRefused(
                    f"decision of {row['day']} on {row['target']!r}: action {row['action']!r} by "
                    f"{row['by']!r} is not a person's promote or roll_back; correct the line"
                )
            self._path(row["version"])
            self._check_target(row["target"])
            events.append(_event(row))
        return events

    def _write_history(self, events: Sequence[Event]) -> None:
        rows = [
            {**_row(e.day, e.target, e.action, e.version, e.by, e.why), "gates": dict(e.gates)}
            for e in events
        ]
        content = canonical_bytes({"events": rows})
        write_whole(self.folder / _HISTORY, self._signed(_HISTORY, content))

    def _signed(self, name: str, content: bytes) -> bytes:
        signature = sign(self.key, name.encode(), content)
        return f"insight {key_name(self.key)} {signature}\n".encode() + content

    def _verified(self, path: Path, name: str) -> bytes:
        """The content of a file that this project wrote under this name."""
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            if name == _HISTORY:
                raise
            raise self._refused(path, "no such version") from None
        head, _, content = raw.partition(b"\n")
        match = re.fullmatch(rb"insight ([0-9a-f]{8}) ([0-9a-f]{64})", head)
        if match is None:
            raise self._refused(path, "not a file that the registry wrote")
        if match[1].decode() != key_name(self.key):
            raise ModelRefused(
                f"{path}: signed with another key ({match[1].decode()}, here "
                f"{key_name(self.key)}); put the first key back, or remove {self.folder} and begin "
                "without the models so far"
            )
        if not is_signed(match[2].decode(), self.key, name.encode(), content):
            raise self._refused(path, "changed after it was registered, or moved from another name")
        return content

    def _refused(self, path: Path, reason: str) -> ModelRefused:
        return ModelRefused(
            f"{path}: {reason}; restore the file from its backup, or roll the target back"
        )

    def _path(self, version: str) -> Path:
        if not isinstance(version, str) or not _VERSION.fullmatch(version):
            raise ModelRefused(
                f"{self.folder}: {version!r} is not a version (16 hex digits); "
                "`history` lists those there are"
            )
        return self.folder / f"{version}.model"

    def _check_target(self, target: str) -> None:
        if not _TARGET.fullmatch(target):
            raise ModelRefused(
                f"{self.folder}: {target!r} is not a target; write it as target or target@segment"
            )

    def _check_words(self, by: str, why: str) -> None:
        if not why.strip() or not by.strip() or by == BY_RUN:
            raise ModelRefused(
                f"by {by!r}, why {why!r}: say which role decides, and why, in a few words"
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the registry's write lock; it goes with the process."""
        import fcntl

        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        deadline = time.monotonic() + _LOCK_SECONDS
        with (self.folder / "lock").open("w") as handle:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise ModelRefused(
                            f"{self.folder}: another process has been writing for "
                            f"{_LOCK_SECONDS:.0f} s; wait for it to end, or stop it"
                        ) from None
                    time.sleep(_LOCK_POLL_SECONDS)
            for left in self.folder.glob(".*"):  # by a writer that was killed
                left.unlink(missing_ok=True)
            yield


@dataclass(frozen=True)
class _State:
    """What events come to: the live version, the event that made it so, and who is barred."""

    live: str | None
    event: Event | None
    barred: frozenset[str]


def _replay(events: Sequence[Event]) -> _State:
    stack: list[Event] = []
    barred: set[str] = set()
    for event in events:
        if event.action == ROLL_BACK:
            barred.add(event.version)
            while stack and stack[-1].version in barred:
                stack.pop()
        elif event.by != BY_RUN or event.version not in barred:
            barred.discard(event.version)
            if not stack or stack[-1].version != event.version:
                stack.append(event)
    live = stack[-1] if stack else None
    return _State(live.version if live else None, live, frozenset(barred))


def _roll_back_event(target: str, version: str, day: date, why: str) -> Event:
    return Event(day=day, target=target, action=ROLL_BACK, version=version, by=BY_RUN, why=why)


def _event(row: Mapping[str, Any]) -> Event:
    return Event(
        day=date.fromisoformat(str(row["day"])),
        target=row["target"],
        action=row["action"],
        version=row["version"],
        by=row["by"],
        why=row["why"],
        gates=row.get("gates", {}),
    )


def _row(day: date, target: str, action: str, version: str, by: str, why: str) -> dict[str, str]:
    return {
        "day": day.isoformat(),
        "target": target,
        "action": action,
        "version": version,
        "by": by,
        "why": why,
    }


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the name, flush to disk, rename into place: all of it or nothing."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _is_rollback_of(event: Event, day: date) -> bool:
    return event.by == BY_RUN and event.action == ROLL_BACK and event.day == day
