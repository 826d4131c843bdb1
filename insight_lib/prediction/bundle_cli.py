"""Score customers of a CSV file with the model in this folder: `python score.py in.csv out.csv`.

Needs Python and numpy, nothing else. Checks its own files first, then every value it reads.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib.util
import json
import math
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SCORE = "score"
LARGEST_DIFFERENCE = 1e-6
MOST_FAULTS_SHOWN = 20


class Faults(ValueError):
    """What is wrong with a file, every fault on its own line."""


def check_files() -> None:
    """Compare every file of the bundle with `SHA256SUMS`."""
    wrong = []
    for line in (HERE / "SHA256SUMS").read_text().splitlines():
        expected, _, name = line.partition("  ")
        path = HERE / name
        actual = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
        if actual != expected:
            wrong.append(f"{name}: changed or missing; unpack the bundle again")
    if wrong:
        raise Faults("\n".join(wrong))


def load_scorer() -> Any:
    """The scorer of this bundle, from its own file."""
    specification = importlib.util.spec_from_file_location("bundle_scorer", HERE / "scorer.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def read_columns(path: Path, document: dict[str, Any], name: str) -> tuple[list[str], Any]:
    """Names of the customers (column `name`) and the model's inputs.

    Raises:
        Faults: Columns are missing or given twice, or a number is not one.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        rows = [row for row in reader if row]
    wanted = [name, *(entry["name"] for entry in document["inputs"])]
    faults = [f"column {c!r}: missing" for c in wanted if c not in header]
    faults += [f"column {c!r}: given twice" for c in sorted(set(header)) if header.count(c) > 1]
    faults += [
        f"line {line}: {len(row)} values, and the header has {len(header)}"
        for line, row in enumerate(rows, start=2)
        if len(row) != len(header)
    ]
    if faults:
        raise Faults(_shown(path, faults))
    at = {column: header.index(column) for column in wanted}
    columns: dict[str, list[Any]] = {}
    for entry in document["inputs"]:
        texts = [row[at[entry["name"]]] for row in rows]
        if entry["type"] == "text":
            columns[entry["name"]] = [text or None for text in texts]
            continue
        values = []
        for line, text in enumerate(texts, start=2):
            try:
                values.append(float(text) if text.strip() else math.nan)
            except ValueError:
                faults.append(f"line {line}, {entry['name']}: {text!r} is not a number")
        columns[entry["name"]] = values
    if faults:
        raise Faults(_shown(path, faults))
    return [row[at[name]] for row in rows], columns


def _shown(path: Path, faults: list[str]) -> str:
    more = len(faults) - MOST_FAULTS_SHOWN
    tail = [f"and {more} more"] if more > 0 else []
    return "\n".join(f"{path}: {fault}" for fault in [*faults[:MOST_FAULTS_SHOWN], *tail])


def check_sample(scorer: Any, document: dict[str, Any]) -> int:
    """Score the sample in the bundle and compare; the number of rows that agree."""
    _, columns = read_columns(HERE / "sample.csv", document, "row")
    with (HERE / "expected.csv").open(newline="") as file:
        expected = [float(row[SCORE]) for row in csv.DictReader(file)]
    scores = scorer.score(document, columns)
    wrong = [
        f"row {i}: {got!r} here, {want!r} where the model was made"
        for i, (got, want) in enumerate(zip(scores, expected, strict=True), start=1)
        if not abs(got - want) <= LARGEST_DIFFERENCE
    ]
    if wrong:
        raise Faults(_shown(HERE / "sample.csv", wrong))
    return len(expected)


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; 0 if all went well, 2 with the faults on stderr if not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", type=Path, nargs="?", help="CSV with one line per customer")
    parser.add_argument("target", type=Path, nargs="?", help="CSV to write")
    parser.add_argument("--id", default="customer_id", help="column that names the customer")
    parser.add_argument("--check", action="store_true", help="score the sample and compare")
    given = parser.parse_args(arguments)
    if not given.check and not (given.source and given.target):
        parser.error("give a source and a target, or --check")
    try:
        check_files()
        document = json.loads((HERE / "model.json").read_text(encoding="utf-8"))
        scorer = load_scorer()
        n = check_sample(scorer, document)
        if given.check:
            print(f"{n} rows of the sample agree")
            return 0
        names, columns = read_columns(given.source, document, given.id)
        scores = scorer.score(document, columns)
    except (Faults, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    with given.target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([given.id, SCORE])
        writer.writerows([name, repr(float(s))] for name, s in zip(names, scores, strict=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
