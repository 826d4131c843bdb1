"""Fit one of five estimators and write it down as a document."""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from insight_lib.findings import TooFew
from insight_lib.prediction.document import ESTIMATORS, Document
from insight_lib.prediction.estimators import FITTERS, describe_inputs
from insight_lib.prediction.rules import choose_driver, fit_rule
from insight_lib.prediction.scorer import FORMAT, MISSING, score
from insight_lib.prediction.snapshots import Snapshot, Target
from insight_lib.statistics import Floats

_FEWEST_ROWS = 100
_FEWEST_OF_EACH = 20
_SCORE_QUANTILES = 21


@dataclass(frozen=True, kw_only=True)
class Training:
    """Customers at one or more cuts, with what they did after.

    Attributes:
        features: Rows 0 to n-1; numbers (float) and texts (object).
        label: 0 or 1, or an amount of at least zero; shape (n,).
        customer_id: Whom a row is about; a customer has one row per cut. Shape (n,).
        cut: ISO day of each row; shape (n,).
    """

    features: pd.DataFrame
    label: Floats
    customer_id: NDArray[Any]
    cut: NDArray[Any]

    def __len__(self) -> int:
        return len(self.label)

    @property
    def cuts(self) -> list[str]:
        return sorted(set(self.cut.tolist()))

    def take(self, rows: NDArray[Any]) -> Training:
        """Some of the rows: a mask, or positions."""
        return Training(
            features=self.features[rows].reset_index(drop=True)
            if rows.dtype == bool
            else self.features.iloc[rows].reset_index(drop=True),
            label=self.label[rows],
            customer_id=self.customer_id[rows],
            cut=self.cut[rows],
        )


def stack(snapshots: Sequence[Snapshot], target: Target) -> Training:
    """The labelled rows of some snapshots, one below the other.

    A net amount below zero, from returns, counts as zero.
    """
    parts = [s for s in snapshots if target.id in s.labels.columns]
    if not parts:
        raise TooFew(f"no snapshot has the label {target.id}")
    label = np.concatenate([s.labels[target.id].to_numpy(dtype=float) for s in parts])
    training = Training(
        features=pd.concat([s.features for s in parts], ignore_index=True),
        label=np.maximum(label, 0.0),
        customer_id=np.concatenate([s.features.index.to_numpy(dtype=object) for s in parts]),
        cut=np.concatenate([[s.cut.isoformat()] * len(s.features) for s in parts]),
    )
    return training.take(~np.isnan(label))


def sample_customers(training: Training, *, most_rows: int) -> Training:
    """All rows of as many customers as fit, chosen by a hash of their id."""
    if len(training) <= most_rows:
        return training
    customers, counts = np.unique(training.customer_id.astype(str), return_counts=True)
    hashes = np.array([zlib.crc32(c.encode()) for c in customers])
    order = np.lexsort((customers, hashes))
    kept = customers[order][np.cumsum(counts[order]) <= most_rows]
    return training.take(np.isin(training.customer_id.astype(str), kept))


def fit(
    estimator: str,
    training: Training,
    *,
    target: Target,
    as_of: date,
    seed: int,
    most_rows: int = 20_000,
    monotone: Mapping[str, int] | None = None,
    calibrate: bool = True,
) -> Document:
    """Fit an estimator; see `docs/methods/prediction-models.md` for what each one is.

    Args:
        estimator: `rule`, `logistic`, `additive`, `boosting` or `forest`.
        training: Rows whose horizon ended by `as_of`.
        most_rows: More rows are sampled, by customer.
        monotone: Input to +1 (the score may only rise with it) or -1; kept by all estimators.
        calibrate: Correct the level and spread of scores by those of two fits to half of the
            customers each, of customers that they did not see (Platt, 1999).

    Raises:
        TooFew: Too few rows, or too few of either kind.
        ValueError: Unknown estimator, or a constraint on an input there is not.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator {estimator!r}: use one of {', '.join(ESTIMATORS)}")
    monotone = monotone or {}
    numbers = [c for c in training.features if pd.api.types.is_numeric_dtype(training.features[c])]
    if unknown := sorted(set(monotone) - set(numbers)):
        raise ValueError(f"constraint on {', '.join(unknown)}: no such column of numbers")
    if bad := {k: v for k, v in monotone.items() if v not in (-1, 1)}:
        raise ValueError(f"constraint {bad}: the direction is 1 or -1")
    training = sample_customers(training, most_rows=most_rows)
    _refuse_too_few(training, target.kind)
    with threadpool_limits(1), warnings.catch_warnings():
        # A fit that stops early is still a fit; the board judges it by its scores.
        warnings.simplefilter("ignore")
        document = _fit(estimator, training, target, as_of, seed, monotone)
        if calibrate:
            halves = _halves(training)
            if all(_is_enough(half, target.kind) for half in halves):
                unseen = [
                    score(_fit(estimator, early, target, as_of, seed, monotone), late.features)
                    for early, late in (halves, halves[::-1])
                ]
                document["calibration"] = calibration(
                    target.kind,
                    np.concatenate(unseen),
                    np.concatenate([half.label for half in halves[::-1]]),
                )
    document["reference"] |= {"score_quantiles": _quantiles(score(document, training.features))}
    return document


def calibration(
    kind: str, scores: Floats, label: Floats, *, is_bounded: bool = True
) -> dict[str, float]:
    """Intercept and slope of the label on the scores' logit or logarithm (Cox, 1958).

    Two Newton-fitted numbers of a logistic or Poisson regression; a perfect model has 0 and 1.

    Args:
        is_bounded: Keep the slope positive, for a correction that may not turn the order round.
    """
    unit = 1.0 if kind == "binary" else max(float(label.mean()), 1e-12)
    s = np.clip(scores, 1e-7, 1 - 1e-7) if kind == "binary" else np.maximum(scores / unit, 1e-9)
    link = np.log(s / (1 - s)) if kind == "binary" else np.log(s)
    # Around its middle, and in units of the mean: steps of a link that lies far from nought would
    # have to move both numbers together, and what is fitted would depend on the currency.
    middle = float(link.mean())
    design = np.column_stack([np.ones_like(link), link - middle])
    label = label / unit
    beta = np.array([middle, 1.0])
    for _ in range(50):
        eta = np.clip(design @ beta, -30, 30)
        mean = 1 / (1 + np.exp(-eta)) if kind == "binary" else np.exp(eta)
        weight = mean * (1 - mean) if kind == "binary" else mean
        gradient = design.T @ (label - mean)
        hessian = (design * weight[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.clip(np.linalg.solve(hessian, gradient), -1.0, 1.0)
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            break
    shift = math.log(unit)  # from units of the mean back to the currency's
    beta[0] += shift - beta[1] * (middle + shift)
    link, label = link + shift, label * unit
    if (
        is_bounded and beta[1] < 0.05
    ):  # ranks the wrong way round on unseen rows: nearly one score for all
        beta = np.array([_link(kind, float(label.mean())) - 0.05 * float(link.mean()), 0.05])
    return {"intercept": float(beta[0]), "slope": float(beta[1])}


def broken_constraints(
    document: Document, features: pd.DataFrame, monotone: Mapping[str, int], *, rows: int = 100
) -> list[str]:
    """Inputs along which the score moves the wrong way, tried on some customers.

    Args:
        rows: Customers to try, evenly spread over `features`.
    """
    picked = features.iloc[np.linspace(0, len(features) - 1, min(rows, len(features))).astype(int)]
    broken = []
    for name, direction in sorted(monotone.items()):
        grid = np.unique(np.nanquantile(features[name].to_numpy(dtype=float), np.arange(21) / 20))
        swept = pd.concat([picked] * len(grid), ignore_index=True)
        swept[name] = np.repeat(grid, len(picked))
        steps = np.diff(score(document, swept).reshape(len(grid), len(picked)), axis=0)
        if (direction * steps < -1e-9).any():
            broken.append(name)
    return broken


def _refuse_too_few(training: Training, kind: str) -> None:
    if not _is_enough(training, kind):
        n, n_positive = len(training), int((training.label > 0).sum())
        raise TooFew(
            f"{n:,} rows of which {n_positive:,} did it; it takes {_FEWEST_ROWS} rows, and "
            f"{_FEWEST_OF_EACH} that did and that did not"
        )


def _is_enough(training: Training, kind: str) -> bool:
    n_positive = int((training.label > 0).sum())
    others = len(training) - n_positive if kind == "binary" else _FEWEST_OF_EACH
    return len(training) >= _FEWEST_ROWS and min(n_positive, others) >= _FEWEST_OF_EACH


def _halves(training: Training) -> tuple[Training, Training]:
    """Two halves that share no customer."""
    is_late = np.array([zlib.crc32(f"{c}#".encode()) % 2 == 1 for c in training.customer_id])
    return training.take(~is_late), training.take(is_late)


def _link(kind: str, mean: float) -> float:
    if kind == "binary":
        mean = min(max(mean, 1e-7), 1 - 1e-7)
        return float(np.log(mean / (1 - mean)))
    return float(np.log(max(mean, 1e-7)))


def _quantiles(values: Floats) -> list[float]:
    return [float(v) for v in np.quantile(values, np.linspace(0, 1, _SCORE_QUANTILES))]


def _fit(
    estimator: str,
    training: Training,
    target: Target,
    as_of: date,
    seed: int,
    monotone: Mapping[str, int],
) -> Document:
    features, label = training.features, training.label
    inputs = describe_inputs(features)
    if estimator == "rule":
        driver = choose_driver(features, label, target=target.id)
        inputs = [entry for entry in inputs if entry["name"] == driver] or [
            {"name": driver, "type": "number", "fill": 0.0, "has_indicator": False}
        ]
        direction = monotone.get(driver, 0)
        model = fit_rule(features, label, kind=target.kind, driver=driver, monotone=direction)
    else:
        if not inputs:
            raise TooFew("every column is empty or the same for all customers")
        model = FITTERS[estimator](
            inputs, features, label, kind=target.kind, seed=seed, monotone=monotone
        )
    bounds = {} if target.kind == "binary" else {"largest": float(label.max())}
    return bounds | {
        "format": FORMAT,
        "target": target.id,
        "kind": target.kind,
        "horizon_days": target.horizon_days,
        "estimator": estimator,
        "inputs": inputs,
        "model": model,
        "monotone": {k: int(v) for k, v in sorted(monotone.items())},
        "calibration": {"intercept": 0.0, "slope": 1.0},
        "trained": {"cuts": training.cuts, "n": len(training), "as_of": as_of.isoformat()},
        "reference": {"label_mean": float(label.mean()), "inputs": _reference(inputs, features)},
    }


def _reference(inputs: Sequence[Mapping[str, Any]], features: pd.DataFrame) -> dict[str, Any]:
    """How each input was spread in training, for whoever watches the model drift."""
    found: dict[str, Any] = {}
    for entry in inputs:
        column = features[entry["name"]]
        if entry["type"] == "text":
            texts = column.where(column.notna(), MISSING).astype(str)
            shares = {level: float((texts == level).mean()) for level in entry["levels"]}
            found[entry["name"]] = {"shares": shares}
        else:
            values = column.to_numpy(dtype=float)
            known = values[np.isfinite(values)]
            found[entry["name"]] = {
                "quantiles": _quantiles(known),
                "missing_share": float(1 - len(known) / len(values)),
            }
    return found
