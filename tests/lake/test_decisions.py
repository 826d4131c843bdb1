"""What people decided is never lost, never torn, and makes runs stale."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from insight_lib.lake.decisions import append_decisions, decisions_digest, read_decisions
from insight_lib.lake.store import LakeError


def test_decisions_add_up_in_order(tmp_path: Path) -> None:
    assert read_decisions(tmp_path, "reviews") == []
    append_decisions(tmp_path, "reviews", [{"day": "2025-01-01"}, {"day": "2025-01-02"}])
    before = decisions_digest(tmp_path, ["reviews"])
    append_decisions(tmp_path, "reviews", [{"day": "2025-01-03"}])
    assert [row["day"][-1] for row in read_decisions(tmp_path, "reviews")] == ["1", "2", "3"]
    assert decisions_digest(tmp_path, ["reviews"]) != before
    other = decisions_digest(tmp_path, ["models"])
    append_decisions(tmp_path, "reviews", [{"day": "2025-01-04"}])
    assert decisions_digest(tmp_path, ["models"]) == other


def test_a_line_that_was_never_finished_goes_and_the_rest_stays(tmp_path: Path) -> None:
    append_decisions(tmp_path, "models", [{"day": "2025-01-01"}])
    path = tmp_path / "_decisions" / "models.jsonl"
    path.write_text(path.read_text() + '{"day": "2025-0')
    assert len(read_decisions(tmp_path, "models")) == 1
    append_decisions(tmp_path, "models", [{"day": "2025-01-02"}])
    assert [row["day"][-1] for row in read_decisions(tmp_path, "models")] == ["1", "2"]


def test_a_finished_line_that_is_none_is_named(tmp_path: Path) -> None:
    append_decisions(tmp_path, "models", [{"day": "2025-01-01"}])
    path = tmp_path / "_decisions" / "models.jsonl"
    path.write_text(path.read_text() + "nonsense\n")
    with pytest.raises(LakeError, match="models.jsonl:2"):
        read_decisions(tmp_path, "models")


def test_writers_do_not_lose_each_other(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: append_decisions(tmp_path, "models", [{"n": n}]), range(40)))
    assert sorted(row["n"] for row in read_decisions(tmp_path, "models")) == list(range(40))
    assert (tmp_path / "_decisions" / "models.jsonl").stat().st_mode & 0o077 == 0
