from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from insight_lib.runner import publish as module
from insight_lib.runner.publish import exchange, publish, read_record, recover, replace_file


def put(tmp_path: Path, text: str) -> Path:
    target = tmp_path / "reports" / "de" / "2024-06-30" / "features"
    files = {"index.html": text.encode(), "findings.json": text.encode() * 2}
    publish(target, staged=tmp_path / "staged" / text, files=files, record={"fingerprint": text})
    return target


def seen(target: Path) -> set[str]:
    record = read_record(target, deep=True)
    assert record is not None
    return {record["fingerprint"], (target / "index.html").read_text()}


def test_a_new_version_takes_the_place_of_the_old(tmp_path: Path) -> None:
    target = put(tmp_path, "old")
    assert seen(target) == {"old"}
    put(tmp_path, "new")
    assert seen(target) == {"new"}
    assert list((tmp_path / "staged").iterdir()) == []


def test_folders_change_places(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "is").write_text(name)
    assert exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "is").read_text() == "b"


def test_without_exchange_a_kill_between_the_renames_is_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = put(tmp_path, "old")
    monkeypatch.setattr(module, "exchange", lambda *_: False)
    put(tmp_path, "new")
    assert seen(target) == {"new"}
    target.rename(target.with_name("features.previous"))
    recover(tmp_path / "reports")
    assert seen(target) == {"new"}


@pytest.mark.parametrize("name", ["index.html", "findings.json"])
def test_a_changed_file_is_not_up_to_date(tmp_path: Path, name: str) -> None:
    target = put(tmp_path, "old")
    path = target / name
    content = bytearray(path.read_bytes())
    content[0] ^= 1  # same length
    path.write_bytes(content)
    assert read_record(target) is None


def test_a_changed_file_with_an_old_time_shows_in_a_deep_look(tmp_path: Path) -> None:
    target = put(tmp_path, "old")
    (target / "index.html").write_bytes(b"OLD")
    os.utime(target / "index.html", (0, 0))
    assert read_record(target, deep=True) is None


@pytest.mark.parametrize("damage", ["missing", "torn file", "torn record", "no record", "list"])
def test_a_torn_folder_is_not_read(tmp_path: Path, damage: str) -> None:
    target = put(tmp_path, "old")
    record = target / "run.json"
    match damage:
        case "missing":
            (target / "index.html").unlink()
        case "torn file":
            (target / "findings.json").write_bytes(b"ol")
        case "torn record":
            record.write_bytes(record.read_bytes()[:20])
        case "no record":
            record.unlink()
        case "list":
            record.write_text("[]")
    assert read_record(target) is None


def test_a_full_disk_at_any_write_leaves_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = put(tmp_path, "old")
    sync = os.fsync
    for k in range(1, 6):
        calls = 0

        def fail(descriptor: int, k: int = k) -> None:
            nonlocal calls
            calls += 1
            if calls == k:
                raise OSError(errno.ENOSPC, "No space left on device")
            sync(descriptor)

        monkeypatch.setattr(os, "fsync", fail)
        try:
            put(tmp_path, f"new{k}")
        except OSError:
            # The fifth is after the change of places: the new version stands, whole.
            assert seen(target) == ({"old"} if k < 5 else {"new5"})
        else:
            pytest.fail(f"write {k} was not met")
        assert list((tmp_path / "staged").iterdir()) == []


def test_one_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index.html"
    replace_file(path, b"old")

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="full"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["index.html"]


def test_the_record_names_every_file(tmp_path: Path) -> None:
    target = put(tmp_path, "old")
    record = json.loads((target / "run.json").read_text())
    assert set(record["files"]) == {p.name for p in target.iterdir()} - {"run.json"}
