"""A project in a temporary folder, with one small market that a reader can add up by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from insight_lib.parameters import Project, load_project

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"

MARKET_YAML = """\
title: Testland · shop
kind: real
region: eu
jurisdiction: {jurisdiction}
country: DE
language: de-DE
zone: Europe/Berlin
currency: EUR
period: {{first_day: 2024-01-01, last_day: 2024-12-31}}
sources:
{sources}
"""

TRANSACTIONS_YAML = """\
  transactions:
    location: raw/transactions.csv
    format: csv
    licence: own-data
    columns:
      order_id: order
      line_id: line
      customer_id: customer
      ordered_at: {from: at, format: "%Y-%m-%d %H:%M"}
      product_id: product
      quantity: pieces
      amount: paid
      currency: {constant: EUR}
"""

HEADER = "order,line,customer,at,product,pieces,paid\n"


class ProjectFolder:
    """A project that a test writes into."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(ROOT / "parameters", root / "parameters")
        shutil.rmtree(root / "parameters" / "markets")
        (root / "parameters" / "markets").mkdir()
        (root / "raw").mkdir()
        self.write(
            "parameters/registers/licences.yaml",
            "own-data:\n"
            "  licensor: the company itself\n"
            "  uses: [analytics, modelling, activation]\n"
            "  clause: our own data\n"
            "  may_redistribute: false\n"
            "  territories: [all]\n",
        )
        self.market()

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def market(
        self, market: str = "de-test", sources: str = TRANSACTIONS_YAML, jurisdiction: str = "ccpa"
    ) -> None:
        text = MARKET_YAML.format(sources=sources, jurisdiction=jurisdiction)
        self.write(f"parameters/markets/{market}.yaml", text)

    def load(self) -> Project:
        return load_project(self.root)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data with published answers, kept beside the project and not in it."""
    if not (SHARED / "README.md").is_file():
        pytest.skip("the published data sets (../shared/data) are not on this machine")
    return SHARED


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    return ProjectFolder(tmp_path)


@pytest.fixture
def write_lines(folder: ProjectFolder) -> Callable[[str], Path]:
    """Writes order lines (without header) as the market's file."""
    return lambda text: folder.write("raw/transactions.csv", HEADER + text)
