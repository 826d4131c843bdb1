"""Write `docs/rows.md`: which test proves which row of the lifecycle.

`python -m docs.rows` writes it, `python -m docs.rows --check` fails if it is out of date.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "rows.md"
ROWS = (
    *(f"C{module}.{line}" for module in range(1, 9) for line in range(1, 8)),
    *(f"M{module}.{line}" for module in range(1, 10) for line in range(1, 9)),
    "CLV",
)


def marked_tests() -> dict[str, list[str]]:
    """Row id to the tests that carry its mark, as `path::test`."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                continue
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith(
                    "mark.row"
                ):
                    for argument in decorator.args:
                        row = ast.literal_eval(argument)
                        if row not in ROWS:
                            raise SystemExit(f"{path}: {node.name}: there is no row {row!r}")
                        found[row].append(f"{path.relative_to(ROOT).as_posix()}::{node.name}")
    return found


def render() -> str:
    """The page as text."""
    tests = marked_tests()
    lines = [
        "# Where each row of the lifecycle is proved",
        "",
        "Made from the `row` marks of the tests by `python -m docs.rows`.",
        "",
        f"{len(tests)} of {len(ROWS)} rows have a proof.",
        "",
        "| Row | Tests |",
        "|---|---|",
    ]
    lines += [
        f"| {row} | {'<br>'.join(f'`{name}`' for name in tests[row])} |"
        for row in ROWS
        if row in tests
    ]
    missing = ", ".join(row for row in ROWS if row not in tests)
    lines += ["", f"Not yet: {missing or 'none'}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text() != render():
            raise SystemExit("docs/rows.md is out of date; run `python -m docs.rows`")
    else:
        PAGE.write_text(render())
