"""Score customers with a model document; needs numpy alone, so that it runs anywhere.

A document is data: numbers, names and lookup tables. Nothing in it is executed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Column = NDArray[np.float64] | NDArray[np.int64]  # numbers, or the code of a text's level


class Columns(Protocol):
    """A mapping of names to sequences, or a data frame."""

    def __contains__(self, name: Any, /) -> bool: ...

    def __getitem__(self, name: Any, /) -> Any: ...


FORMAT = 1
MISSING = "(missing)"  # the level of a text that is not there
_CHUNK_ROWS = 65_536
_TINY = 1e-7


def score(document: Mapping[str, Any], columns: Columns) -> Floats:
    """What the model expects of each customer: a probability, or an amount.

    Args:
        document: A model document, see `docs/methods/prediction-models.md`.
        columns: One sequence of equal length per input; further columns are ignored. Missing
            numbers are NaN or None, missing texts anything but a `str`.

    Raises:
        ValueError: The document has another format or estimator than this scorer knows.
        KeyError: Inputs of the document that `columns` lacks, all of them.
    """
    link = _links(document)
    given = _given(document, columns)
    result = np.empty(_length(given))
    calibration = document["calibration"]
    largest = document.get("largest", math.inf)  # amounts stay within what has been seen
    inverse = _probability if document["kind"] == "binary" else _amount
    for start in range(0, len(result), _CHUNK_ROWS):
        part = _encode(document, given, slice(start, start + _CHUNK_ROWS))
        raw = link(document, part)
        calibrated = calibration["intercept"] + calibration["slope"] * raw
        result[start : start + _CHUNK_ROWS] = np.minimum(inverse(calibrated), largest)
    return result


def explain(document: Mapping[str, Any], columns: Columns) -> tuple[list[str], Floats]:
    """How far each input moves each customer's score from that of the average customer.

    On the scale on which the model adds up: log odds, log amount, or (forest) the share or
    amount itself. Tree paths follow Saabas (2014); a pair term counts half to each input.

    Returns:
        Names of the inputs, and contributions of shape (customers, inputs).
    """
    _links(document)
    given = _given(document, columns)
    names = [entry["name"] for entry in document["inputs"]]
    contribution = np.zeros((_length(given), len(names)))
    add = _EXPLAINERS[document["estimator"]]
    for start in range(0, len(contribution), _CHUNK_ROWS):
        rows = slice(start, start + _CHUNK_ROWS)
        add(document, _encode(document, given, rows), names, contribution[rows])
    return names, contribution


def _links(document: Mapping[str, Any]) -> Callable[..., Floats]:
    if document.get("format") != FORMAT:
        raise ValueError(f"model document of format {document.get('format')!r}; I read {FORMAT}")
    estimator = document.get("estimator")
    if estimator not in _ESTIMATORS:
        known = ", ".join(sorted(_ESTIMATORS))
        raise ValueError(f"model document of estimator {estimator!r}; I know {known}")
    return _ESTIMATORS[estimator]


def _given(document: Mapping[str, Any], columns: Columns) -> dict[str, NDArray[Any]]:
    if absent := [e["name"] for e in document["inputs"] if e["name"] not in columns]:
        raise KeyError(f"columns that the model needs and that are not given: {', '.join(absent)}")
    given = {
        entry["name"]: np.asarray(
            columns[entry["name"]], dtype=np.float64 if entry["type"] == "number" else object
        )
        for entry in document["inputs"]
    }
    if len({len(values) for values in given.values()}) > 1:
        raise ValueError(f"columns of unequal length: { {n: len(v) for n, v in given.items()} }")
    return given


def _length(given: Mapping[str, NDArray[Any]]) -> int:
    return len(next(iter(given.values()), ()))


def _encode(
    document: Mapping[str, Any], given: Mapping[str, NDArray[Any]], rows: slice
) -> dict[str, Column]:
    """Numbers as they are (infinite ones count as missing); texts as codes, unknown -1."""
    part: dict[str, Column] = {}
    for entry in document["inputs"]:
        values = given[entry["name"]][rows]
        if entry["type"] == "number":
            part[entry["name"]] = np.where(np.isfinite(values), values, np.nan)
        else:
            codes = {level: code for code, level in enumerate(entry["levels"])}
            part[entry["name"]] = np.fromiter(
                (codes.get(v if isinstance(v, str) else MISSING, -1) for v in values),
                dtype=np.int64,
                count=len(values),
            )
    return part


def _probability(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -500, 500))))


def _amount(x: Floats) -> Floats:
    return np.asarray(np.exp(np.clip(x, -500, 500)))


def _to_link(document: Mapping[str, Any], mean: Floats) -> Floats:
    if document["kind"] == "binary":
        p = np.clip(mean, _TINY, 1 - _TINY)
        return np.asarray(np.log(p / (1 - p)))
    return np.asarray(np.log(np.maximum(mean, _TINY)))


def signed_log(x: Floats, unit: float) -> Floats:
    """Logarithm of one plus the size in `unit`, with the sign."""
    return np.sign(x) * np.log1p(np.abs(x) / unit)


def _linear_parts(
    document: Mapping[str, Any], part: Mapping[str, Column]
) -> list[tuple[str, Floats]]:
    parts = []
    for entry, term in zip(document["inputs"], document["model"]["terms"], strict=True):
        x = part[entry["name"]]
        if entry["type"] == "text":
            table = np.array([*term["coefficients"], term["unknown"]])
            parts.append((entry["name"], table[x]))
            continue
        is_missing = np.isnan(x)
        filled = np.where(is_missing, entry["fill"], np.clip(x, term["lower"], term["upper"]))
        if term["transform"] == "signed_log":
            filled = signed_log(filled, term.get("unit", 1.0))
        value = term["coefficient"] * (filled - term["centre"])
        if entry["has_indicator"]:
            value = value + term["missing_coefficient"] * (is_missing - term["missing_centre"])
        parts.append((entry["name"], value))
    return parts


def _linear(document: Mapping[str, Any], part: Mapping[str, Column]) -> Floats:
    total = np.full(len(next(iter(part.values()))), float(document["model"]["intercept"]))
    for _, value in _linear_parts(document, part):
        total += value
    return total


def _linear_explain(
    document: Mapping[str, Any], part: Mapping[str, Column], names: list[str], out: Floats
) -> None:
    for name, value in _linear_parts(document, part):
        out[:, names.index(name)] += value


def _additive_bins(axis: Mapping[str, Any], x: Column) -> NDArray[np.int64]:
    """Row of the lookup table: first missing, then the bins; for texts unknown comes last."""
    if "levels" in axis:
        return np.array([*axis["levels"], axis["unknown"]], dtype=np.int64)[x.astype(np.int64)]
    bins = np.searchsorted(np.array(axis["cuts"], dtype=float), x, side="right") + 1
    return np.where(np.isnan(x), 0, bins).astype(np.int64)


def _additive_parts(
    document: Mapping[str, Any], part: Mapping[str, Column]
) -> list[tuple[list[str], Floats]]:
    parts = []
    for term in document["model"]["terms"]:
        table = np.array(term["scores"], dtype=float)
        index = tuple(_additive_bins(axis, part[axis["input"]]) for axis in term["axes"])
        parts.append(([axis["input"] for axis in term["axes"]], table[index]))
    return parts


def _additive(document: Mapping[str, Any], part: Mapping[str, Column]) -> Floats:
    total = np.full(len(next(iter(part.values()))), float(document["model"]["intercept"]))
    for _, value in _additive_parts(document, part):
        total += value
    return total


def _additive_explain(
    document: Mapping[str, Any], part: Mapping[str, Column], names: list[str], out: Floats
) -> None:
    for inputs, value in _additive_parts(document, part):
        for name in inputs:
            out[:, names.index(name)] += value / len(inputs)


def _tree_columns(document: Mapping[str, Any], part: Mapping[str, Column]) -> list[Floats]:
    fills = {e["name"]: e.get("fill") for e in document["inputs"]}
    is_filled = document["model"]["is_filled"]
    columns = []
    for column in document["model"]["columns"]:
        x = part[column["input"]]
        if column["part"] == "level":
            encoded = (x == column["code"]).astype(float)
        elif column["part"] == "missing":
            encoded = np.isnan(x).astype(float)
        else:
            encoded = np.where(np.isnan(x), fills[column["input"]], x) if is_filled else x
        if document["model"]["is_single_precision"]:
            encoded = encoded.astype(np.float32).astype(float)
        columns.append(np.asarray(encoded, dtype=float))
    return columns


def _goes_left(tree: Mapping[str, Any], node: int, x: Floats) -> NDArray[np.bool_]:
    threshold = math.inf if tree["threshold"][node] is None else tree["threshold"][node]
    # NaN fails every comparison, so the way it goes is the way of the failed one.
    return ~(x > threshold) if tree["missing_left"][node] else x <= threshold


def _trees_raw(document: Mapping[str, Any], part: Mapping[str, Column]) -> Floats:
    columns = _tree_columns(document, part)
    total = np.full(len(next(iter(part.values()))), float(document["model"]["baseline"]))
    for tree in document["model"]["trees"]:
        value: list[Any] = list(tree["value"])
        for node in range(len(value) - 1, -1, -1):  # children come after their parent
            if tree["feature"][node] >= 0:
                left, right = tree["left"][node], tree["right"][node]
                is_left = _goes_left(tree, node, columns[tree["feature"][node]])
                value[node] = np.where(is_left, value[left], value[right])
                value[left] = value[right] = None
        total += value[0]
    return total


def _trees(document: Mapping[str, Any], part: Mapping[str, Column]) -> Floats:
    raw = _trees_raw(document, part)
    return _to_link(document, raw) if document["model"]["is_mean"] else raw


def _trees_explain(
    document: Mapping[str, Any], part: Mapping[str, Column], names: list[str], out: Floats
) -> None:
    columns = _tree_columns(document, part)
    owner = [names.index(column["input"]) for column in document["model"]["columns"]]
    for tree in document["model"]["trees"]:
        reached: dict[int, NDArray[np.int64]] = {0: np.arange(len(out))}
        for node, feature in enumerate(tree["feature"]):
            rows = reached.pop(node)
            if feature < 0 or not len(rows):
                if feature >= 0:
                    reached[tree["left"][node]] = reached[tree["right"][node]] = rows
                continue
            is_left = _goes_left(tree, node, columns[feature][rows])
            for child, chosen in (("left", is_left), ("right", ~is_left)):
                to = tree[child][node]
                reached[to] = rows[chosen]
                out[rows[chosen], owner[feature]] += tree["value"][to] - tree["value"][node]


def _rule_mean(document: Mapping[str, Any], part: Mapping[str, Column]) -> Floats:
    rule = document["model"]
    x = part[rule["driver"]].astype(float)
    if "scale" in rule:
        value = np.where(x > 0, rule["scale"] * x, rule["otherwise"])
        return np.asarray(np.where(np.isnan(x), rule["missing"], value))
    bins = np.searchsorted(np.array(rule["edges"], dtype=float), x, side="right")
    return np.where(np.isnan(x), rule["missing"], np.array(rule["values"])[bins])


def _rule(document: Mapping[str, Any], part: Mapping[str, Column]) -> Floats:
    return _to_link(document, _rule_mean(document, part))


def _rule_explain(
    document: Mapping[str, Any], part: Mapping[str, Column], names: list[str], out: Floats
) -> None:
    average = _to_link(document, np.array([document["model"]["average"]]))
    out[:, names.index(document["model"]["driver"])] += _rule(document, part) - average


_ESTIMATORS: dict[str, Callable[..., Floats]] = {
    "logistic": _linear,
    "additive": _additive,
    "boosting": _trees,
    "forest": _trees,
    "rule": _rule,
}
_EXPLAINERS: dict[str, Callable[..., None]] = {
    "logistic": _linear_explain,
    "additive": _additive_explain,
    "boosting": _trees_explain,
    "forest": _trees_explain,
    "rule": _rule_explain,
}
