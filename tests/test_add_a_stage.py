"""A stage is added by docs/how-to/add-a-stage.md: entry, package, cards, notebook, page."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat import write
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.conftest import ROOT, ProjectFolder
from tests.notebooks.test_letters import faults

HOW_TO = (ROOT / "docs" / "how-to" / "add-a-stage.md").read_text()
PARAMETERS = 'market = "de-test"\nas_of = None\nsegment = None\noverrides = {}'
QUESTION = "# Baskets\n\nWhat is bought together? Category management decides on this page."


def from_how_to(language: str) -> str:
    """The first block of a language, without its indentation."""
    block = re.search(rf"```{language}\n(.*?)```", HOW_TO, re.S)
    assert block is not None
    lines = block[1].splitlines()
    return "\n".join(line.removeprefix("   ") for line in lines).rstrip()


@pytest.fixture
def with_baskets(folder: ProjectFolder) -> ProjectFolder:
    """The project of a reader who followed the how-to."""
    shutil.copytree(
        ROOT / "insight_lib", folder.root / "insight_lib", ignore=shutil.ignore_patterns("*.pyc")
    )
    shutil.copytree(ROOT / "tests" / "tiny_stage", folder.root / "insight_lib" / "baskets")
    entry = "\n".join(line.partition(" #")[0].rstrip() for line in from_how_to("yaml").splitlines())
    entry = entry.replace("needs: [features]", "needs: []")
    folder.write("parameters/lifecycle.yaml", f"stages:\n{entry}\n")
    cells = [
        new_markdown_cell(QUESTION),
        new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        new_code_cell(from_how_to("python")),
        new_markdown_cell("## How large is a basket"),
        new_code_cell("m.show(b.basket, b.departments)"),
    ]
    assert faults([cell.source for cell in cells if cell.cell_type == "code"]) == []
    (folder.root / "notebooks").mkdir()
    write(new_notebook(cells=cells), folder.root / "notebooks" / "03_baskets.ipynb")
    lines = [
        f"o{order},{line},c{order % 9},2024-03-01 10:00,p1,2,9.50"
        for order in range(40)
        for line in range(1 + order % 2)
    ]
    folder.write("raw/transactions.csv", "order,line,customer,at,product,pieces,paid\n"
                 + "\n".join(lines) + "\n")  # fmt: skip
    return folder


def test_a_stage_made_by_the_how_to_has_a_page(with_baskets: ProjectFolder) -> None:
    root = with_baskets.root
    done = subprocess.run(
        [sys.executable, "-m", "insight_lib.cli", "run", "--root", str(root)],
        capture_output=True, text=True, timeout=300, cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (page,) = root.glob("reports/de-test/*/baskets")
    found = {f["id"]: f for f in json.loads((page / "findings.json").read_text())["findings"]}
    basket = found["baskets.basket"]
    assert basket["statement"]["text"] == "An order holds 3 pieces."
    assert (basket["verdict"], basket["owner"]) == ("does not matter", "category-manager")
    missing = found["baskets.departments"]
    assert missing["verdict"] == "not measurable"
    assert [need["table"] for need in missing["needs"]] == ["products"]
    html = next(page.glob("*.html")).read_text()
    assert "An order holds 3 pieces" in html
    assert "What is bought together?" in html
    assert "<svg" in html
    assert_leads_to_the_file(root, "baskets.basket")


def assert_leads_to_the_file(root: Path, finding: str) -> None:
    """`insight explain` goes from the finding to the hash of the file that it rests on."""
    command = [sys.executable, "-m", "insight_lib.cli", "explain", "--root", str(root)]
    environment = os.environ | {"PYTHONPATH": str(root)}

    def explained(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, name, "--market", "de-test"],
            capture_output=True, text=True, timeout=60, cwd=root, env=environment,
        )  # fmt: skip

    done = explained(finding)
    assert done.returncode == 0, done.stderr
    digest = hashlib.sha256((root / "raw/transactions.csv").read_bytes()).hexdigest()
    assert f"transactions.csv  sha256 {digest}" in done.stdout
    assert "insight_lib.baskets.basket" in done.stdout
    assert "table      transactions, version 0: 60 rows read" in done.stdout
    unknown = explained("baskets.nothing")
    assert unknown.returncode == 1
    assert "it has baskets.basket" in unknown.stderr
