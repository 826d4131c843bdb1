"""Models are registered, promoted and rolled back; what was changed is refused unread."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from insight_lib.findings import Estimate
from insight_lib.prediction.registry import ModelRefused, Registry
from insight_lib.prediction.signing import KeyRefused, read_key

KEY = bytes(range(32))
DAY = date(2024, 5, 1)
MAY_3, JUNE_1, JULY_1 = date(2024, 5, 3), date(2024, 6, 1), date(2024, 7, 1)
PASSED = {"leakage": True, "beats the rule": True}


def document(slope: float, target: str = "lapse") -> dict[str, Any]:
    return {"format": 1, "target": target, "kind": "binary", "model": {"slope": slope}}


def registry(folder: Path, decisions: list[dict[str, str]] | None = None) -> Registry:
    return Registry(folder / "models", KEY, decisions or [])


def promote(kept: Registry, slope: float, day: date) -> str:
    version = kept.register(document(slope), {"n": 100})
    assert kept.promote("lapse", version, day=day, why="better", gates=PASSED).is_done
    return version


def live_version(kept: Registry, on: date) -> str | None:
    live = kept.live("lapse", on=on)
    return live.version if live else None


@pytest.mark.row("C4.5")
def test_which_model_was_live_on_a_day(tmp_path: Path) -> None:
    kept = registry(tmp_path)
    first, second = promote(kept, 1.0, DAY), promote(kept, 2.0, JUNE_1)
    assert live_version(kept, date(2024, 4, 30)) is None
    assert live_version(kept, MAY_3) == first
    assert live_version(kept, JUNE_1) == second
    live = kept.live("lapse", on=JULY_1)
    assert live is not None
    assert live.document == document(2.0)
    assert (live.since, live.by, live.why) == (JUNE_1, "run", "better")
    assert [(e.day, e.version) for e in kept.history("lapse")] == [(DAY, first), (JUNE_1, second)]
    assert kept.targets() == ("lapse",)


def test_the_same_document_is_kept_once(tmp_path: Path) -> None:
    kept = registry(tmp_path)
    first = kept.register(document(1.0), {"n": 100})
    before = (tmp_path / "models" / f"{first}.model").read_bytes()
    assert kept.register(document(1.0), {"n": 200}) == first
    assert (tmp_path / "models" / f"{first}.model").read_bytes() == before
    assert kept.load(first) == (document(1.0), {"n": 100})


@pytest.mark.row("C4.5")
def test_a_promotion_names_every_gate_that_failed(tmp_path: Path) -> None:
    kept = registry(tmp_path)
    version = kept.register(document(1.0), {})
    gates = {"leakage": False, "beats the rule": True, "identifiers": False}
    decided = kept.promote("lapse", version, day=DAY, why="", gates=gates)
    assert not decided.is_done
    assert decided.reasons == ("gate identifiers failed", "gate leakage failed")
    assert not kept.promote("lapse", version, day=DAY, why="", gates={}).is_done
    assert live_version(kept, JULY_1) is None


@pytest.mark.row("C4.5")
def test_a_repeated_run_gives_the_same_answer(tmp_path: Path) -> None:
    kept = registry(tmp_path)
    first = promote(kept, 1.0, DAY)
    answers = []
    for _ in range(2):
        champion = kept.champion("lapse", as_of=JUNE_1)
        assert champion is not None
        second = kept.register(document(2.0), {})
        decided = kept.promote("lapse", second, day=JUNE_1, why="better", gates=PASSED)
        answers.append((champion.version, decided))
    assert answers[0] == answers[1]
    assert answers[0][0] == first
    assert len(kept.history("lapse")) == 2


def test_a_run_for_an_earlier_day_does_not_rewrite_history(tmp_path: Path) -> None:
    kept = registry(tmp_path)
    promote(kept, 1.0, DAY)
    second = promote(kept, 2.0, JULY_1)
    third = kept.register(document(3.0), {})
    decided = kept.promote("lapse", third, day=JUNE_1, why="", gates=PASSED)
    assert decided.reasons == ("2024-07-01 has decided since, and history stands",)
    assert live_version(kept, JULY_1) == second


@pytest.mark.row("C4.5")
def test_a_person_rolls_back_and_no_run_brings_it_back(tmp_path: Path) -> None:
    kept = registry(tmp_path)
    first, second = promote(kept, 1.0, DAY), promote(kept, 2.0, JUNE_1)
    rows = kept.rollback_rows("lapse", day=JUNE_1, by="crm-lead", why="calls the wrong people")
    assert [(r["action"], r["version"]) for r in rows] == [("roll_back", second)]
    after = registry(tmp_path, rows)
    assert live_version(after, JUNE_1) == first
    again = after.promote("lapse", second, day=JUNE_1, why="better", gates=PASSED)
    later = after.promote("lapse", second, day=JULY_1, why="better", gates=PASSED)
    for refused in (again, later):
        assert refused.reasons == ("rolled back before: only a person may promote it again",)
        assert refused.live_version == first
    rows.append(after.promotion_row("lapse", second, day=JULY_1, by="crm-lead", why="was right"))
    assert live_version(registry(tmp_path, rows), JULY_1) == second
    assert live_version(registry(tmp_path, rows), date(2024, 6, 30)) == first


def test_a_person_gives_a_role_and_a_reason(tmp_path: Path) -> None:
    kept = registry(tmp_path)
    promote(kept, 1.0, DAY)
    for by, why in (("crm-lead", " "), ("", "because"), ("run", "because")):
        with pytest.raises(ModelRefused, match="say which role decides"):
            kept.rollback_rows("lapse", day=DAY, by=by, why=why)
    with pytest.raises(ModelRefused, match="no live model"):
        kept.rollback_rows("churn", day=DAY, by="crm-lead", why="because")
    false = {"day": "2024-06-01", "target": "lapse", "action": "promote", "by": "run", "why": ""}
    with pytest.raises(ModelRefused, match="not a person's promote or roll_back"):
        registry(tmp_path, [false | {"version": "0" * 16}]).live("lapse", on=JULY_1)


def metric(lower: float, upper: float) -> Estimate:
    middle = (lower + upper) / 2
    return Estimate(
        value=middle, lower=lower, upper=upper, unit="index", n=500, as_of=JUNE_1, method="test"
    )


@pytest.mark.row("C4.5")
def test_only_a_metric_that_is_surely_too_low_rolls_back(tmp_path: Path) -> None:
    kept = registry(tmp_path)
    first, second = promote(kept, 1.0, DAY), promote(kept, 2.0, JUNE_1)
    open_case = kept.roll_back_if_degraded(
        "lapse", metric(0.55, 0.61), version=second, threshold=0.60, day=JULY_1
    )
    assert not open_case.is_done
    assert open_case.live_version == second
    answers = [
        kept.roll_back_if_degraded(
            "lapse", metric(0.52, 0.59), version=second, threshold=0.60, day=JULY_1
        )
        for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert answers[0].is_done
    assert answers[0].live_version == first
    assert live_version(kept, date(2024, 6, 30)) == second
    assert kept.history("lapse")[-1].why == "live metric 0.520 to 0.590 is below 0.600"
    # Nothing is left after the first: from there on the rule scores.
    last = kept.roll_back_if_degraded(
        "lapse", metric(0.5, 0.55), version=first, threshold=0.6, day=JULY_1
    )
    assert last.live_version is None


@pytest.mark.row("C4.5")
def test_a_rollback_passes_over_a_version_that_does_not_verify(tmp_path: Path) -> None:
    kept = registry(tmp_path)
    first, second = promote(kept, 1.0, DAY), promote(kept, 2.0, JUNE_1)
    third = promote(kept, 3.0, JULY_1)
    (tmp_path / "models" / f"{second}.model").write_bytes(b"torn")
    rows = kept.rollback_rows("lapse", day=JULY_1, by="crm-lead", why="odd scores")
    assert [r["version"] for r in rows] == [third, second]
    assert live_version(registry(tmp_path, rows), JULY_1) == first
    assert kept.roll_back("lapse", third, day=JULY_1, why="low").live_version == first


class Planted:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/registry-planted",)


def flip_a_bit(path: Path, other: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(bytes(content))


def swap(path: Path, other: Path) -> None:
    path.write_bytes(other.read_bytes())


def change_metadata(path: Path, other: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"n":100', b'"n":900'))


def plant_pickle(path: Path, other: Path) -> None:
    path.write_bytes(pickle.dumps(Planted()))


def plant_pickle_below_the_signature(path: Path, other: Path) -> None:
    path.write_bytes(path.read_bytes().partition(b"\n")[0] + b"\n" + pickle.dumps(Planted()))


def cut_off(path: Path, other: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.row("C4.5")
@pytest.mark.parametrize(
    "tamper",
    [
        flip_a_bit,
        swap,
        change_metadata,
        plant_pickle,
        plant_pickle_below_the_signature,
        cut_off,
    ],
)
def test_a_tampered_artefact_is_refused_before_it_is_read(
    tmp_path: Path, tamper: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = registry(tmp_path)
    first, second = promote(kept, 1.0, DAY), promote(kept, 2.0, JUNE_1)
    path = tmp_path / "models" / f"{second}.model"
    content = path.read_bytes()
    tamper(path, tmp_path / "models" / f"{first}.model")
    assert path.read_bytes() != content
    parsed: list[bytes] = []
    real = json.loads
    monkeypatch.setattr(json, "loads", lambda text: parsed.append(text) or real(text))
    with pytest.raises(ModelRefused, match=rf"{second}.model: .*restore the file") as error:
        kept.load(second)
    assert not parsed
    assert "changed" in str(error.value) or "not a file that the registry wrote" in str(error.value)
    with pytest.raises(ModelRefused):
        kept.live("lapse", on=JUNE_1)
    with pytest.raises(ModelRefused):
        kept.promote("lapse", second, day=JULY_1, why="", gates=PASSED)
    assert not Path("/tmp/registry-planted").exists()
    assert kept.live("lapse", on=MAY_3) is not None
    # Training gives the same model again: its name is made good, the other file is kept aside.
    assert kept.register(document(2.0), {}) == second
    assert kept.load(second)[0] == document(2.0)
    assert path.with_name(f"{path.name}.refused").exists()


def test_a_changed_history_is_refused(tmp_path: Path) -> None:
    kept = registry(tmp_path)
    promote(kept, 1.0, DAY)
    path = tmp_path / "models" / "history"
    path.write_bytes(path.read_bytes().replace(b"better", b"bitter"))
    with pytest.raises(ModelRefused, match="history: changed after"):
        kept.live("lapse", on=DAY)


@pytest.mark.row("C4.5")
@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "", "a/b", "0" * 15, "0" * 16 + "\n"])
def test_a_name_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    kept = registry(tmp_path)
    version = promote(kept, 1.0, DAY)
    with pytest.raises(ModelRefused, match="not a version"):
        kept.load(name)
    with pytest.raises(ModelRefused, match="not a version"):
        kept.promote("lapse", name, day=DAY, why="", gates=PASSED)
    if name != "0" * 15:
        with pytest.raises(ModelRefused, match=r"not a target|predicts"):
            kept.promote(f"lapse@{name}", version, day=DAY, why="", gates=PASSED)
        with pytest.raises(ModelRefused, match="not a target"):
            kept.live(f"../{name}", on=DAY)
    with pytest.raises(ModelRefused, match="predicts 'lapse'"):
        kept.promote("churn", version, day=DAY, why="", gates=PASSED)
    assert kept.promote("lapse@s1", version, day=DAY, why="", gates=PASSED).is_done


def test_another_key_is_refused(tmp_path: Path) -> None:
    version = promote(registry(tmp_path), 1.0, DAY)
    other = Registry(tmp_path / "models", bytes(32))
    with pytest.raises(ModelRefused, match="signed with another key .* put the first key back"):
        other.load(version)
    with pytest.raises(ModelRefused, match="signed with another key"):
        other.live("lapse", on=DAY)


def test_the_key_is_made_once_and_kept_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INSIGHT_SIGNING_KEY", raising=False)
    path = tmp_path / ".insight" / "signing.key"
    with pytest.raises(KeyRefused, match="no signing key; put the key back"):
        read_key(path, may_create=False)
    key = read_key(path)
    assert (len(key), read_key(path), path.stat().st_mode & 0o777) == (32, key, 0o600)
    assert [p.name for p in path.parent.iterdir()] == ["signing.key"]
    path.chmod(0o644)
    with pytest.raises(KeyRefused, match="chmod 600"):
        read_key(path)
    path.chmod(0o600)
    path.write_text("abc")
    with pytest.raises(KeyRefused, match="64 hex digits"):
        read_key(path)
    monkeypatch.setenv("INSIGHT_SIGNING_KEY", "0f" * 32)
    assert read_key(path) == b"\x0f" * 32


def in_child(work: Callable[[], None], *, killed_at: int) -> bool:
    """Run `work` in a forked process and kill it at its n-th step; True if it ended before.

    A step is a file operation, or a line that runs while a file is being written.
    """
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1] == 0
    seen = writing = 0

    def step() -> None:
        nonlocal seen
        seen += 1
        if seen == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def trace(frame: Any, event: str, _argument: Any) -> Any:
        nonlocal writing
        is_writer = frame.f_code.co_name == "write_whole"
        if event in ("call", "return") and is_writer:
            writing += 1 if event == "call" else -1
        if event == "line" and writing:
            step()
        return trace if writing or is_writer else None

    operations = ("open", "os.rename", "os.remove", "os.mkdir", "fcntl.flock")
    try:
        sys.addaudithook(lambda event, _arguments: step() if event in operations else None)
        sys.settrace(trace)
        work()
    except BaseException:
        os._exit(1)
    os._exit(0)


def steps(act: Callable[[Path], None], prepare: Callable[[Path], None], folder: Path) -> int:
    """Kill `act` at each of its steps in turn; afterwards everything has to be whole."""
    n = 0
    while True:
        n += 1
        here = folder / f"step-{n}"
        prepare(here)
        before = live_version(registry(here), JULY_1)
        ended = in_child(lambda here=here: act(here), killed_at=n)
        kept = registry(here)
        now = kept.live("lapse", on=JULY_1)
        assert (now is None) == (before is None)
        act(here)  # what was killed is done again, and ends
        assert kept.live("lapse", on=JULY_1) is not None
        assert not list((here / "models").glob(".*"))
        if ended:
            return n - 1


@pytest.mark.row("C4.5")
def test_a_kill_at_any_step_leaves_a_model_that_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a killed process has written the system still has; only a power cut needs fsync.
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)

    def prepare(folder: Path) -> None:
        promote(registry(folder), 1.0, DAY)
        promote(registry(folder), 2.0, JUNE_1)

    def register_and_promote(folder: Path) -> None:
        promote(registry(folder), 3.0, JULY_1)

    def roll_back(folder: Path) -> None:
        kept = registry(folder)
        second = kept.register(document(2.0), {})
        assert kept.roll_back("lapse", second, day=JULY_1, why="low").is_done

    assert steps(register_and_promote, prepare, tmp_path / "promote") > 40
    assert steps(roll_back, prepare, tmp_path / "roll-back") > 20


@pytest.mark.row("C4.5")
def test_concurrent_promotions_and_rollbacks(tmp_path: Path) -> None:
    promote(registry(tmp_path), 0.5, DAY)
    versions = [registry(tmp_path).register(document(i), {}) for i in range(1, 9)]

    def act(i: int) -> None:
        kept = registry(tmp_path)
        for _ in range(5):
            if i % 2:
                kept.promote("lapse", versions[i], day=JUNE_1, why=str(i), gates=PASSED)
            else:
                kept.promote("lapse", versions[i], day=JUNE_1, why=str(i), gates=PASSED)
                kept.roll_back("lapse", versions[i], day=JUNE_1, why=str(i))
            assert kept.live("lapse", on=JUNE_1) is not None

    children = []
    for i in range(8):
        pid = os.fork()
        if pid == 0:
            try:
                act(i)
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 8
    kept = registry(tmp_path)
    events = kept.history("lapse")
    rolled_back = {e.version for e in events if e.action == "roll_back"}
    assert rolled_back == {versions[i] for i in range(0, 8, 2)}
    assert live_version(kept, JUNE_1) in {versions[i] for i in range(1, 8, 2)}
