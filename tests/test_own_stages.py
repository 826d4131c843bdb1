"""A team's own notebooks live beside the templates and run like them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from nbformat import read, write
from nbformat.v4 import new_code_cell

from insight_lib.parameters import ParameterFaults
from tests.conftest import ROOT, ProjectFolder

OWN = """\
stages:
  - id: loyalty
    number: 4
    title: Loyalty
    question: Who comes back?
    notebook: notebooks/own/04_loyalty.ipynb
    package: segments
    purpose: analytics
    needs: [features]
    audiences: [crm-lead]
"""
CELL = """\
def regulars(transactions, run, least: int = 2):
    by_customer = transactions.group_by("customer_id").agg(n=transactions.order_id.nunique())
    n = int(by_customer.filter(by_customer.n >= least).count().execute())
    return f"{n} customers with {least} orders or more"

m.show(regulars)
"""


def test_an_own_copy_of_a_template_runs_like_it(
    folder: ProjectFolder, write_lines: Callable[[str], Path]
) -> None:
    shutil.copytree(ROOT / "notebooks", folder.root / "notebooks")
    folder.write("parameters/own_stages.yaml", OWN)
    write_lines(
        "".join(f"o{i},1,c{i % 3},2024-03-0{1 + i % 9} 10:00,p1,1,9.50\n" for i in range(9))
    )
    own = read(folder.root / "notebooks" / "04_segments.ipynb", as_version=4)
    for cell in own.cells:
        cell.source = cell.source.replace('stage="segments"', 'stage="loyalty"')
    own.cells = [c for c in own.cells if "m.publish" not in c.source] + [new_code_cell(CELL)]
    (folder.root / "notebooks" / "own").mkdir()
    write(own, folder.root / "notebooks" / "own" / "04_loyalty.ipynb")
    command = [sys.executable, "-m", "insight_lib.cli", "run", "--stage", "loyalty"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder.root)
    assert done.returncode == 0, done.stdout + done.stderr
    (page,) = folder.root.glob("reports/de-test/*/loyalty")
    ids = [f["id"] for f in json.loads((page / "findings.json").read_text())["findings"]]
    assert "loyalty.found" in ids
    assert "3 customers with 2 orders or more" in (page / "analyst.html").read_text()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("id: loyalty", "id: segments", "stage segments: there are two of this id"),
        ("needs: [features]", "needs: [feature]", "feature"),
        ("notebooks/own/04_loyalty.ipynb", "elsewhere/04_loyalty.ipynb", "notebook"),
    ],
)
def test_an_own_stage_that_does_not_fit_is_said(
    folder: ProjectFolder, old: str, new: str, said: str
) -> None:
    folder.write("parameters/own_stages.yaml", OWN.replace(old, new))
    with pytest.raises(ParameterFaults, match="own_stages.yaml") as error:
        folder.load()
    assert said in str(error.value)
