"""Whole runs of tiny projects. `cold_kernels` where warming would only cost time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import nbformat
import pytest
from tiny_project import GATE, TinyProject, TinyStage, make_project

from insight_lib.runner.drive import RunSummary, run
from insight_lib.runner.ledger import Cell, Ledger, RunState
from insight_lib.runner.limits import Limits
from insight_lib.runner.plan import Selection
from insight_lib.runner.progress import Progress
from insight_lib.runner.status import NoReport, load_status, report_path

CHAIN = (
    TinyStage("first", 1, publishes=("feats",)),
    TinyStage("second", 2, needs=("first",)),
    TinyStage("third", 3, needs=("second",)),
)


def states(summary: RunSummary) -> dict[str, str]:
    return {str(row.cell): row.state.value for row in summary.rows}


def status(project: TinyProject) -> dict[str, str]:
    return {str(row.cell): row.state for row in load_status(project)}  # type: ignore[arg-type]


def go(project: TinyProject, selection: Selection | None = None, **options: object) -> RunSummary:
    options = {"cold_kernels": True} | options
    return run(project, selection, **options)  # type: ignore[arg-type]


def leftovers(project: TinyProject) -> list[str]:
    home = project.reports_dir / ".insight"
    return [p.name for folder in ("runs", "staged") for p in (home / folder).glob("*")]


def test_a_run_publishes_and_the_next_finds_it_up_to_date(tmp_path: Path) -> None:
    project = make_project(tmp_path, stages=CHAIN)
    project.write_notebook("second", "assert request['versions'] == {'orders': 0, 'feats': 7}")
    summary = go(project, cold_kernels=False)
    assert [row.error for row in summary.rows] == [None] * 3
    assert states(summary) == dict.fromkeys(
        ("aa-one first", "aa-one second", "aa-one third"), "published"
    )
    assert summary.exit_code == 0
    folder = project.folder("aa-one", "second")
    assert {p.name for p in folder.iterdir()} == {
        "index.html",
        "analyst.html",
        "notebook.ipynb",
        "findings.json",
        "run.json",
    }
    record = json.loads((folder / "run.json").read_text())
    assert record["state"] == "published"
    assert record["tables"]["orders"]["version"] == 0
    notebook = nbformat.read(folder / "notebook.ipynb", as_version=4)
    assert all("_finish" not in cell.source for cell in notebook.cells)
    assert leftovers(project) == []
    again = go(project)
    assert [row.was_run for row in again.rows] == [False] * 3
    assert (again.exit_code, again.rows[1].n_findings) == (0, 1)
    assert report_path(project, "aa-one", stage="second") == folder / "index.html"  # type: ignore[arg-type]


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    go(project)
    names = ("findings.json", "notebook.ipynb")
    before = [(project.folder("aa-one", "first") / name).read_bytes() for name in names]
    assert go(project, force=True).rows[0].was_run
    assert [(project.folder("aa-one", "first") / name).read_bytes() for name in names] == before


def test_a_failure_stops_only_what_depends_on_it_in_its_market(tmp_path: Path) -> None:
    project = make_project(tmp_path, stages=CHAIN, markets=["aa", "bb"])
    project.write_notebook("second", "x = 1", "assert market != 'aa', 'not this one'")
    summary = go(project)
    assert states(summary) == {
        "aa first": "published",
        "aa second": "failed",
        "aa third": "blocked",
        "bb first": "published",
        "bb second": "published",
        "bb third": "published",
    }
    assert summary.exit_code == 1
    failed = summary.rows[1]
    assert failed.error == "AssertionError: not this one"
    assert failed.cell_number == 4  # parameters, open, x = 1, the assertion
    assert failed.link is not None
    statuses = [c.metadata.papermill.status for c in nbformat.read(failed.link, as_version=4).cells]
    assert statuses == ["completed"] * 4 + ["failed", "pending"]
    assert not project.folder("aa", "second").exists()
    assert status(project)["aa second"] == "failed"
    assert status(project)["aa third"] == "blocked"
    project.write_notebook("second")
    assert set(states(go(project)).values()) == {"published"}
    go(project)
    assert leftovers(project) == []


def test_the_last_good_report_stays_when_the_next_run_fails(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    go(project)
    before = (project.folder("aa-one", "first") / "run.json").read_bytes()
    project.write_notebook("first", "1 / 0")
    assert go(project).exit_code == 1
    assert (project.folder("aa-one", "first") / "run.json").read_bytes() == before
    (row,) = load_status(project)  # type: ignore[arg-type]
    assert row.state == "failed"
    assert row.folder is not None
    assert row.error == "ZeroDivisionError: division by zero (cell 3)"


def test_a_failed_gate_blocks_until_it_is_overridden(tmp_path: Path) -> None:
    project = make_project(tmp_path, stages=CHAIN)
    project.write_notebook("first", "used(feats={'version': 7, 'rows': 3})", GATE)
    summary = go(project)
    assert list(states(summary).values()) == ["gate", "blocked", "blocked"]
    assert summary.rows[0].gates == ("first.gate",)
    assert summary.exit_code == 3
    assert (project.folder("aa-one", "first") / "index.html").exists()
    assert list(status(project).values()) == ["gate", "blocked", "blocked"]
    project.registers.gates = {"first.gate": "signed off"}
    summary = go(project)
    assert list(states(summary).values()) == ["published"] * 3
    assert not summary.rows[0].was_run


def test_what_must_be_published_must_be(tmp_path: Path) -> None:
    project = make_project(tmp_path, stages=(TinyStage("first", 1, publishes=("feats",)),))
    project.write_notebook("first", "used()")
    (row,) = go(project).rows
    assert row.error == "the notebook did not publish feats; lifecycle.yaml says so"


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["request_path.with_name('used.json').unlink()"], "never opened its market"),
        (["request_path.with_name('used.json').write_text('{')"], "is damaged"),
        (["import IPython; IPython.display.clear_output(); show = None"], None),
    ],
)
def test_the_record_of_use_must_be_whole(
    tmp_path: Path, cells: Sequence[str], expected: str | None
) -> None:
    project = make_project(tmp_path)
    project.write_notebook("first", *cells)
    (row,) = go(project).rows
    assert (row.error is None) == (expected is None)
    assert expected is None or expected in str(row.error)


def test_a_run_without_finding_fails(tmp_path: Path) -> None:
    from tiny_project import OPEN

    project = make_project(tmp_path)
    project.write_notebook("first", OPEN, with_ends=False)
    (row,) = go(project).rows
    assert row.state is RunState.FAILED
    assert "shows no finding" in str(row.error)
    assert row.link is not None
    assert row.link.exists()


def test_a_bad_template_is_that_stage_s_failure(tmp_path: Path) -> None:
    project = make_project(tmp_path, stages=(TinyStage("first", 1), TinyStage("second", 2)))
    (tmp_path / project.stages["second"].notebook).write_text("{")
    summary = go(project)
    assert list(states(summary).values()) == ["published", "failed"]
    assert "02_second.ipynb" in str(summary.rows[1].error)


def test_segments_have_reports_of_their_own(tmp_path: Path) -> None:
    project = make_project(tmp_path, stages=(TinyStage("first", 1, per_segment=True),))
    project.write_notebook("first", "assert segment == request['segment'] == 'gold'")
    summary = go(project, Selection(segments=("gold",)))
    assert states(summary) == {"aa-one first@gold": "published"}
    assert project.folder("aa-one", "first@gold").exists()
    assert status(project) == {"aa-one first": "absent", "aa-one first@gold": "published"}


def test_overrides_reach_the_notebook_as_they_are(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    overrides = {"features.names": ['a"b', "ä\n"], "features.share": 0.25, "features.on": None}
    project.write_notebook("first", f"assert overrides == {overrides!r} == request['overrides']")
    (row,) = go(project, Selection(overrides=overrides)).rows
    assert row.error is None


def test_a_day_that_is_older_stays_and_reads_as_stale(tmp_path: Path) -> None:
    from datetime import date

    project = make_project(tmp_path)
    go(project)
    project.write_manifest("aa-one", as_of=date(2024, 7, 1))
    (row,) = load_status(project)  # type: ignore[arg-type]
    assert (row.state, row.folder) == ("stale", project.folder("aa-one", "first"))
    with pytest.raises(NoReport, match="there is: 2024-06-30"):
        report_path(project, "aa-one", stage="first", as_of=date(2024, 7, 1))  # type: ignore[arg-type]


def test_the_index_is_written_again_only_when_it_would_change(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    index = go(project).index
    assert index is not None
    before = index.stat().st_mtime_ns
    go(project)
    assert index.stat().st_mtime_ns == before
    go(project, force=True)
    assert index.stat().st_mtime_ns > before


def test_a_fault_of_the_renderer_is_one_run_s_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import insight_lib.report.page as page

    project = make_project(tmp_path, markets=["aa", "bb"])
    render = page.render_pages

    def broken(notebook: object, *, run: dict[str, dict[str, str]], findings: object) -> object:
        if run["market"]["id"] == "aa":
            raise KeyError("title")
        return render(notebook, run=run, findings=findings)  # type: ignore[arg-type]

    monkeypatch.setattr(page, "render_pages", broken)
    summary = go(project)
    assert states(summary) == {"aa first": "failed", "bb first": "published"}
    assert summary.rows[0].error == "KeyError: 'title'"


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[object] = []

    class Listener(Progress):
        def planned(self, n_to_run: int, n_up_to_date: int) -> None:
            told.append((n_to_run, n_up_to_date))

        def started(self, cell: Cell) -> None:
            told.append("started")

        def reached(self, cell: Cell, number: int) -> None:
            told.append(number)

        def ended(self, cell: Cell, state: RunState, seconds: float) -> None:
            told.append(state.value)

    go(make_project(tmp_path), progress=Listener())
    assert told[:2] == [(1, 0), "started"]
    assert told[-1] == "published"
    assert 4 in told


def test_a_run_that_another_process_finished_meanwhile_is_not_repeated(tmp_path: Path) -> None:
    """The second of two equal runs waits, then takes the first one's result.

    Two processes, as two terminals would be: parsing in two threads at once fails now and
    then in Python 3.11 ("AST constructor recursion depth mismatch", cpython 106905).
    """
    project = make_project(tmp_path)
    project.write_notebook("first", "import time; time.sleep(2)")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        found = [started.result() for started in [processes.submit(go, project) for _ in range(2)]]
    assert [row.state for summary in found for row in summary.rows] == [RunState.PUBLISHED] * 2
    assert sorted(row.was_run for summary in found for row in summary.rows) == [False, True]
    with Ledger(project.reports_dir / ".insight" / "ledger.sqlite") as ledger:
        assert len(ledger.history(found[0].rows[0].cell)) == 1


def test_printed_output_has_a_limit_and_says_so(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.write_notebook(
        "first", "print('x' * 5000)", "print('y' * 5000)\nimport os; os.system('echo z')"
    )
    (row,) = go(project, limits=Limits(text_bytes=6000)).rows
    assert row.state is RunState.PUBLISHED
    text = (project.folder("aa-one", "first") / "notebook.ipynb").read_text()
    assert (text.count("x" * 100) > 0, text.count("yyyy") > 0) == (True, True)
    assert len(text) < 12000
    assert text.count("output limit of this run reached") == 1


def test_an_exceptions_own_words_stay_off_the_landing_page() -> None:
    from insight_lib.runner.status import _public_error

    shown = _public_error("ValueError: customer C0000098 has mail anna@example.org (cell 3)")
    assert shown == "ValueError (cell 3); see `insight status`"
    ours = "the notebook did not publish customer_features; lifecycle.yaml says so"
    assert _public_error(ours) == ours
    assert _public_error(None) is None
