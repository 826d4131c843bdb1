"""Write `docs/architecture.md`: the house, its arrows, the way of a table, and what a row costs.

`python -m docs.rows` writes it with the other generated pages, and `--check` fails if it is old.
"""

from __future__ import annotations

import ast
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / "insight_lib"
GOAL_LINES_PER_ROW = 165
ROOMS = {
    "ground": ("prose", "language", "findings", "schema", "statistics", "rates", "orders", "run"),
    "project": ("parameters", "parameter_model", "market_model", "registers", "strict_yaml"),
    "lake": ("lake",),
    "door": ("market", "market_request", "market_view", "data_checks"),
    "analyses": ("analyses", "words", "pages", "explore"),
    "charts": ("charts",),
    "runner": ("runner",),
    "report": ("report",),
    "command line": ("cli", "cli_models", "simulation"),
}
WAY = """\
1. A file that a market's YAML declares is read by `lake/ingest.py`: every row is loaded, or set
   aside with its reason (`lake/contract.py`), and the table gets a version (`lake/store.py`).
2. A notebook opens its market (`market.open_market`): region, version, day, consent, licence,
   role and segment are put into the query before a row comes through.
3. An analysis names the table as a parameter (`analyses.py` finds it), aggregates in the engine,
   and answers with a frozen result.
4. Its card (`words.yaml`, read by `words.py`) puts the result into a finding, a chart and a
   table; `pages.py` shows them.
5. The runner executes the notebook (`runner/execute.py`), harvests what it showed
   (`runner/harvest.py`), renders the page (`report/`) and publishes it in one step
   (`runner/publish.py`).
6. `insight explain` goes back from the finding to the file's hash (`report/lineage.py`)."""


def lines_of(path: Path) -> int:
    """Lines of a file that are not blank."""
    return sum(bool(line.strip()) for line in path.read_text(encoding="utf-8").splitlines())


def notebook_lines(path: Path) -> int:
    """Lines of code of a notebook that are not blank."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return sum(bool(line.strip()) for source in sources for line in source.splitlines())


@cache
def packages() -> dict[str, list[Path]]:
    """Packages of stages, with the notebooks that call them."""
    stages = yaml.safe_load((ROOT / "parameters" / "lifecycle.yaml").read_text())["stages"]
    found: dict[str, list[Path]] = defaultdict(list)
    for stage in stages:
        found[stage.get("package", stage["id"])].append(ROOT / stage["notebook"])
    return dict(found)


def rows_of(package: str) -> set[str]:
    """Rows of the lifecycle that a package's findings name."""
    found: set[str] = set()
    for path in (LIBRARY / package).glob("words*.yaml"):
        for card in yaml.safe_load(path.read_text()).values():
            found |= set(card.get("rows", ()))
    for path in [*(LIBRARY / package).rglob("*.py"), *packages()[package]]:
        for rows in re.findall(r"rows=\(([^)]*)\)", path.read_text()):
            found |= set(re.findall(r"[CM]\d\.\d", rows))
    return found


def costs() -> Iterator[tuple[str, int, int, int, int]]:
    """Package, lines of Python, of notebooks, of YAML, and rows."""
    for package, notebooks in packages().items():
        folder = LIBRARY / package
        yield (
            package,
            sum(map(lines_of, folder.rglob("*.py"))),
            sum(map(notebook_lines, notebooks)),
            sum(map(lines_of, folder.glob("words*.yaml"))),
            len(rows_of(package)),
        )


def imports(path: Path) -> set[str]:
    """Top-level names of the library that a module imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("insight_lib."):
            found.add(str(node.module).split(".")[1])
    return found


def room_of(name: str) -> str:
    """The room that a top-level name of the library stands in."""
    if name in packages():
        return "stages"
    return next((room for room, names in ROOMS.items() if name in names), "ground")


def arrows() -> list[str]:
    """Which room leans on which, as lines of a mermaid graph."""
    found: set[tuple[str, str]] = set()
    for path in sorted(LIBRARY.rglob("*.py")):
        own = room_of(path.relative_to(LIBRARY).parts[0].removesuffix(".py"))
        found |= {(own, room_of(name)) for name in imports(path)}
    return [
        f"  {one.replace(' ', '_')} --> {other.replace(' ', '_')}"
        for one, other in sorted(found)
        if one != other
    ]


def render_architecture() -> str:
    """The page as text."""
    table = [
        "| package | Python | notebooks | words | rows | Python and notebooks a row | with words |",
        "|---|---|---|---|---|---|---|",
    ]
    for package, python, notebook, words, rows in costs():
        each = [round((python + notebook + more) / max(rows, 1)) for more in (0, words)]
        table.append(
            f"| {package} | {python:,} | {notebook:,} | {words:,} | {rows} "
            f"| {each[0]:,} | {each[1]:,} |"
        )
    return "\n".join(
        [
            "# The house",
            "",
            "Made by `python -m docs.rows` from the code.",
            "",
            "## Who leans on whom",
            "",
            "```mermaid",
            "graph TD",
            *arrows(),
            "```",
            "",
            "Stages know the ground, charts and registers, never each other, the lake, the door,",
            "the runner or the report; `tests/test_layout.py` holds every arrow.",
            "",
            "## The way of one table from file to finding",
            "",
            WAY,
            "",
            "## What a row costs",
            "",
            "Lines that are not blank; a row counts where a finding names it. A new row is to cost",
            f"{GOAL_LINES_PER_ROW} lines of Python and notebook.",
            "",
            *table,
            "",
        ]
    )


def render_parameters() -> str:
    """Every parameter with its default, unit, bounds and meaning, as text."""
    from insight_lib.parameter_model import Parameters

    lines = [
        "# Every parameter",
        "",
        "Made by `python -m docs.rows` from `insight_lib/parameter_model`, where each is declared",
        "once. [Change a parameter](how-to/change-a-parameter.md) says where to change it.",
        "",
    ]
    declared = Parameters()
    for section in Parameters.model_fields:
        lines += [f"## {section}", "", "| name | default | unit | may be | meaning |"]
        lines += ["|---|---|---|---|---|"]
        model = getattr(declared, section)
        written = model.model_dump(mode="json")
        for name, field in type(model).model_fields.items():
            rules = "; ".join(_rule(rule) for rule in field.metadata)
            extra = field.json_schema_extra or {}
            default = json.dumps(written[name], ensure_ascii=False)
            cells = (name, f"`{default}`", extra.get("unit", ""), rules, field.description)
            lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _rule(rule: object) -> str:
    """A bound of a parameter in words."""
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    found = [f"{word} {getattr(rule, name)}" for name, word in words.items() if hasattr(rule, name)]
    return ", ".join(found)
