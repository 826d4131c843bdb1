"""Write `docs/rows.md` and `docs/cases.md`: which test proves which row and guards which fault.

`python -m docs.rows` writes them, `python -m docs.rows --check` fails if one is out of date.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from pathlib import Path

from docs.architecture import render_architecture, render_parameters

ROOT = Path(__file__).parent.parent
ROWS = (
    *(f"C{module}.{line}" for module in range(1, 9) for line in range(1, 8)),
    *(f"M{module}.{line}" for module in range(1, 10) for line in range(1, 9)),
    "CLV",
)
CASE = re.compile(r"(\d+)([a-j]?)")


def marked_tests(mark: str) -> dict[str, list[str]]:
    """What `pytest.mark.<mark>(...)` names, to the tests that carry it, as `path::test`."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                continue
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith(
                    f"mark.{mark}"
                ):
                    for argument in decorator.args:
                        found[ast.literal_eval(argument)].append(
                            f"{path.relative_to(ROOT).as_posix()}::{node.name}"
                        )
    return found


def _table(head: str, names: list[str], tests: dict[str, list[str]]) -> list[str]:
    lines = [f"| {head} | Tests |", "|---|---|"]
    return lines + [
        f"| {name} | {'<br>'.join(f'`{test}`' for test in tests[name])} |" for name in names
    ]


def render_rows() -> str:
    """The page of the lifecycle's rows as text."""
    tests = marked_tests("row")
    if unknown := sorted(set(tests) - set(ROWS)):
        raise SystemExit(f"{tests[unknown[0]][0]}: there is no row {unknown[0]!r}")
    lines = [
        "# Where each row of the lifecycle is proved",
        "",
        "Made from the `row` marks of the tests by `python -m docs.rows`.",
        "",
        f"{len(tests)} of {len(ROWS)} rows have a proof.",
        "",
        *_table("Row", [row for row in ROWS if row in tests], tests),
    ]
    missing = ", ".join(row for row in ROWS if row not in tests)
    lines += ["", f"Not yet: {missing or 'none'}.", ""]
    return "\n".join(lines)


def render_cases() -> str:
    """The page of the known faults as text."""
    tests = marked_tests("case")
    parts = {name: CASE.fullmatch(name) for name in tests}
    if unknown := sorted(name for name, match in parts.items() if not match):
        raise SystemExit(f"{tests[unknown[0]][0]}: there is no case {unknown[0]!r}")
    names = sorted(tests, key=lambda n: (int(re.sub(r"\D", "", n)), n))
    return "\n".join(
        [
            "# Which tests guard against which known fault",
            "",
            "Made from the `case` marks of the tests by `python -m docs.rows`. A case is an input",
            "that once brought out a wrong number, a false claim, a crash or a silent loss.",
            "",
            f"{len(tests)} cases have a test.",
            "",
            *_table("Case", names, tests),
            "",
        ]
    )


PAGES = {
    "rows.md": render_rows,
    "cases.md": render_cases,
    "architecture.md": render_architecture,
    "parameters.md": render_parameters,
}

if __name__ == "__main__":
    for name, render in PAGES.items():
        page = ROOT / "docs" / name
        if "--check" in sys.argv:
            if not page.exists() or page.read_text() != render():
                raise SystemExit(f"docs/{name} is out of date; run `python -m docs.rows`")
        else:
            page.write_text(render())
