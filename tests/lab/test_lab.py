"""The analyst's desk in a real JupyterLab: open, run all, move a slider, edit, run the stage."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import HEADER, ROOT, ProjectFolder
from tests.lab.chromium import Page, free_port, opened, wait_for

NOTEBOOK = "notebooks/04_segments.ipynb"
OWN_CELL = """\
def second_orders(transactions, run, least: int = 2):
    by_customer = transactions.group_by("customer_id").agg(n=transactions.order_id.nunique())
    n = int(by_customer.filter(by_customer.n >= least).count().execute())
    return f"{n} customers with {least} orders or more, to {run.as_of}"

m.explore(second_orders)
"""
SLOW_CELL = """\
def slow(transactions):
    import time

    time.sleep(5)
    return "done at last"

m.show(slow)
"""
LINES = HEADER + "".join(
    f"o{order},1,c{order % 12 if order < 50 else 0},2024-03-{1 + order % 28:02} 10:00,p1,2,9.50\n"
    for order in range(60)
)


@pytest.fixture
def project(folder: ProjectFolder) -> Path:
    """A project as a checkout has it, with one small market that was ingested and run."""
    for name in ("notebooks", ".jupyter"):
        shutil.copytree(ROOT / name, folder.root / name)
    path = folder.root / NOTEBOOK
    path.write_text(path.read_text().replace("us-grocery", "de-test"))
    folder.write("raw/transactions.csv", LINES)
    insight(folder.root, "run", "--stage", "features")
    return folder.root


def insight(root: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "insight_lib.cli", *words],
        capture_output=True, text=True, timeout=300, cwd=root,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def lab(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """JupyterLab as `make lab` starts it, with the notebook open."""
    port, home = free_port(), tmp_path_factory.mktemp("home")
    server = subprocess.Popen(
        [
            sys.executable, "-m", "jupyterlab", f"--config={project}/.jupyter/lab_config.py",
            "--no-browser", "--allow-root", f"--port={port}", "--IdentityProvider.token=",
            "--expose-app-in-browser",
        ],
        cwd=project, env=os.environ | {"HOME": str(home)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for("the server", lambda: answers(port))
        with opened(f"http://127.0.0.1:{port}/lab/tree/{NOTEBOOK}", home / "browser") as page:
            wait_for("the notebook", lambda: page.ask(
                "!!(window.jupyterapp && jupyterapp.shell.currentWidget"
                " && jupyterapp.shell.currentWidget.sessionContext"
                " && jupyterapp.shell.currentWidget.sessionContext.session"
                " && jupyterapp.shell.currentWidget.sessionContext.session.kernel)"
            ))  # fmt: skip
            yield page
    finally:
        server.terminate()
        server.wait(timeout=30)


def answers(port: int) -> bool:
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=5) as answer:
        return bool(answer.status == 200)


def text(page: Page) -> str:
    return str(page.ask("jupyterapp.shell.currentWidget.node.innerText"))


def run_below(page: Page, source: str) -> None:
    """Write a new cell and run it, without waiting for its end."""
    page.ask("jupyterapp.commands.execute('notebook:insert-cell-below')")
    page.ask(
        "jupyterapp.shell.currentWidget.content.activeCell.model.sharedModel"
        f".setSource({json.dumps(source)})"
    )
    page.ask("void jupyterapp.commands.execute('notebook:run-cell')")


@pytest.mark.slow
def test_an_analyst_at_the_desk(lab: Page, project: Path) -> None:
    lab.ask("jupyterapp.shell.currentWidget.sessionContext.session.kernel.info.then(() => true)")
    time.sleep(2)  # what the kernel says of itself has been put into the notebook
    assert not lab.ask("jupyterapp.shell.currentWidget.context.model.dirty"), "opening is no change"
    lab.ask("jupyterapp.commands.execute('notebook:run-all-cells')")
    assert "cannot be measured here" in text(lab)
    assert "Traceback" not in text(lab)

    run_below(lab, SLOW_CELL)
    wait_for("word of what takes long", lambda: "working out slow" in text(lab))
    wait_for("its end", lambda: "done at last" in text(lab) and "working out" not in text(lab))

    run_below(lab, OWN_CELL)
    wait_for("the answer", lambda: "12 customers with 2 orders or more" in text(lab))
    lab.ask("document.querySelector('.widget-slider .noUi-handle').focus()")
    for _ in range(4):
        lab.press("ArrowRight", code=39)
    wait_for("the hand to be followed", lambda: "1 customers with 6 orders or more" in text(lab))

    assert lab.ask("jupyterapp.shell.currentWidget.context.model.dirty")
    lab.ask("jupyterapp.commands.execute('docmanager:save')")
    saved = json.loads((project / NOTEBOOK).read_text())["metadata"]
    assert saved["language_info"] == {"name": "python"}, "a save writes no version of Python"
    insight(project, "run", "--stage", "segments")
    (page,) = project.glob("reports/de-test/*/segments/analyst.html")
    assert "12 customers with 2 orders or more" in page.read_text()
    assert lab.hosts == {"127.0.0.1"}, "nothing is asked of the outside"
