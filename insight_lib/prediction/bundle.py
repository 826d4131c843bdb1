"""A model as one archive that scores anywhere: Python and numpy, without this project.

The archive holds the document, the scorer's own file, a command that reads and writes CSV,
and a sample with expected scores. The sample is made up from the document, never from
customers. The same model gives the same bytes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from insight_lib.prediction import bundle_cli, scorer
from insight_lib.prediction.document import canonical_bytes, digest
from insight_lib.prediction.registry import ModelRefused, write_whole

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest moment that a zip archive can hold
_SAMPLE_ROWS = 60
_MISSING_SHARE = 0.15
_UNSEEN = "a level that no model has seen"
_FACTORS = (-1.0, 0.0, 0.3, 0.8, 1.0, 1.3, 3.0, 20.0)


def write_bundle(
    document: Mapping[str, Any],
    card: Mapping[str, Any],
    path: Path,
    *,
    high_stakes_targets: Collection[str] = (),
) -> str:
    """Write the archive and return its SHA-256.

    Args:
        document: A registered model document.
        card: What a reader has to know of it.
        path: Archive to write, e.g. `lapse-3f0c….zip`.
        high_stakes_targets: Targets of which every score waits for a person; scores made
            elsewhere would not.

    Raises:
        ModelRefused: The model is for such a target.
    """
    if document["target"] in high_stakes_targets:
        raise ModelRefused(
            f"{path}: every score of {document['target']!r} waits for a person, and nobody waits "
            "outside the framework; score it here, or take it out of "
            "prediction.high_stakes_targets"
        )
    sample = make_sample(document)
    expected = scorer.score(document, sample)
    files = {
        "README.md": _readme(document).encode(),
        "card.json": json.dumps(card, sort_keys=True, indent=1, ensure_ascii=False).encode(),
        "expected.csv": _csv(["score"], [[repr(float(s))] for s in expected]),
        "model.json": canonical_bytes(document),
        "sample.csv": _sample_csv(document, sample),
        "score.py": Path(bundle_cli.__file__).read_bytes(),
        "scorer.py": Path(scorer.__file__).read_bytes(),
    }
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}" for name, content in files.items()]
    files["SHA256SUMS"] = ("\n".join(sums) + "\n").encode()
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, date_time=_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    write_whole(path, memory.getvalue())
    return hashlib.sha256(memory.getvalue()).hexdigest()


def make_sample(document: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Rows that nobody is: each input on its own around its usual value, or missing.

    Texts take every level that the model knows, and one that it does not.
    """
    draw = np.random.default_rng(int(digest(document)[:8], 16))
    columns: dict[str, list[Any]] = {}
    for entry in document["inputs"]:
        is_missing = draw.random(_SAMPLE_ROWS) < _MISSING_SHARE
        if entry["type"] == "text":
            known = [*(level for level in entry["levels"] if level != scorer.MISSING), _UNSEEN]
            drawn: list[Any] = [known[i % len(known)] for i in draw.permutation(_SAMPLE_ROWS)]
            empty: Any = None
        else:
            usual = float(entry.get("fill") or 1.0)
            drawn = [usual * float(f) for f in draw.choice(_FACTORS, _SAMPLE_ROWS)]
            empty = float("nan")
        columns[entry["name"]] = [
            empty if missing else value for value, missing in zip(drawn, is_missing, strict=True)
        ]
    return columns


def _sample_csv(document: Mapping[str, Any], sample: Mapping[str, Sequence[Any]]) -> bytes:
    names = [entry["name"] for entry in document["inputs"]]
    rows = [[str(i + 1), *(_cell(sample[name][i]) for name in names)] for i in range(_SAMPLE_ROWS)]
    return _csv(["row", *names], rows)


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    return value if isinstance(value, str) else repr(value)


def _csv(header: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def _readme(document: Mapping[str, Any]) -> str:
    trained = document.get("trained", {})
    what = "a probability" if document["kind"] == "binary" else "an amount"
    inputs = "\n".join(
        f"| `{e['name']}` | "
        + ("number, empty where unknown |" if e["type"] == "number" else "text, empty if unknown |")
        for e in document["inputs"]
    )
    return f"""# {document["target"]}: model {digest(document)[:16]}

Scores customers outside the framework with the same numbers. Needs Python 3.11 and numpy.

    python score.py --check                  # scores sample.csv, compares with expected.csv
    python score.py customers.csv scores.csv # one line per customer, column customer_id

The score is {what} for the next {document.get("horizon_days", "?")} days. Trained on data up to
{trained.get("as_of", "an unknown day")}; `card.json` says how good it is and where it may run.

| Input | Values |
|---|---|
{inputs}

`sample.csv` is made up; no line of it is a customer. A score whose inputs are all empty says
nothing about the person: use the usual rate instead.
"""
