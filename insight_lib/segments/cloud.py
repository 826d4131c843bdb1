"""One cloud or several: is there a valley of customers between two groups.

A gradient can be cut into pieces that come back in every resample, and is one cloud all the
same. Two groups are of different kinds only where fewer customers stand between them than
one cloud would have there: the dip test of unimodality (Hartigan and Hartigan, 1985) on the
line through both centres, with centres from other customers than those who are looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

# Quantiles of sqrt(n) x dip of n even draws (simulated, up to 20,000 draws).
_PROBABILITIES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
_SIZES = (50, 100, 200, 500, 1000, 2000)
_QUANTILES = (
    (0.3472, 0.4155, 0.4595, 0.4963, 0.5416, 0.5753, 0.6027, 0.6352, 0.6611),
    (0.3537, 0.4252, 0.4688, 0.5070, 0.5566, 0.5891, 0.6221, 0.6715, 0.7063),
    (0.3598, 0.4347, 0.4829, 0.5256, 0.5683, 0.5991, 0.6367, 0.6841, 0.7179),
    (0.3685, 0.4449, 0.4924, 0.5281, 0.5744, 0.6154, 0.6418, 0.6948, 0.7253),
    (0.3717, 0.4469, 0.4943, 0.5328, 0.5809, 0.6215, 0.6483, 0.6851, 0.7225),
    (0.3749, 0.4508, 0.5081, 0.5540, 0.5971, 0.6215, 0.6483, 0.6851, 0.7225),
)
_POWER_DRAWS = 100
_LEVEL = 0.01


def dip_statistic(values: Floats) -> float:
    """Largest distance of the distribution to the nearest one with a single mode.

    Algorithm AS 217 (P. M. Hartigan, 1985), with the correction of Maechler (2004).

    Args:
        values: Shape (n,); any order, ties allowed.
    """
    x = np.concatenate([[np.nan], np.sort(np.asarray(values, dtype=float))])  # from one on
    n = len(x) - 1
    if n < 4 or x[1] == x[n]:
        return 1 / (2 * max(n, 1))
    minorant, majorant = _hulls(x)
    low, high, dip = 1, n, 1.0
    while True:
        lower = _walk(minorant, high, low)
        upper = _walk(majorant, low, high)
        gap, at_lower, at_upper = _widest(x, lower, upper)
        if gap < dip:
            break
        inner = max(
            [_above(x, lower[j + 1], lower[j], 1) for j in range(at_lower, len(lower) - 1)]
            + [_above(x, upper[j], upper[j + 1], -1) for j in range(at_upper, len(upper) - 1)],
            default=0.0,
        )
        dip = max(dip, inner)
        if low == lower[at_lower] and high == upper[at_upper]:
            break
        low, high = lower[at_lower], upper[at_upper]
    return float(dip / (2 * n))


def _hulls(x: Floats) -> tuple[list[int], list[int]]:
    """For each point the next one on the convex minorant below, and on the majorant above."""
    n = len(x) - 1
    mn, mj = [0] * (n + 1), [0] * (n + 1)
    value = x.tolist()
    mn[1] = 1
    for j in range(2, n + 1):
        mn[j] = j - 1
        while True:
            a = mn[j]
            b = mn[a]
            if a == 1 or (value[j] - value[a]) * (a - b) < (value[a] - value[b]) * (j - a):
                break
            mn[j] = b
    mj[n] = n
    for k in range(n - 1, 0, -1):
        mj[k] = k + 1
        while True:
            a = mj[k]
            b = mj[a]
            if a == n or (value[k] - value[a]) * (a - b) < (value[a] - value[b]) * (k - a):
                break
            mj[k] = b
    return mn, mj


def _walk(following: list[int], start: int, end: int) -> list[int]:
    path = [start]
    while path[-1] != end:
        path.append(following[path[-1]])
    return path


def _widest(x: Floats, lower: list[int], upper: list[int]) -> tuple[float, int, int]:
    """Largest gap between minorant and majorant, and where on each of them it lies."""
    ix, iv, gap = len(lower) - 2, 1, 0.0
    at_lower, at_upper = len(lower) - 1, len(upper) - 1
    if len(lower) == 2 and len(upper) == 2:
        return 1.0, at_lower, at_upper
    while True:
        below, above = lower[ix], upper[iv]
        if below > above:
            a = lower[ix + 1]
            d = (above - a + 1) - (x[above] - x[a]) * (below - a) / (x[below] - x[a])
            iv += 1
            if d >= gap:
                gap, at_lower, at_upper = d, ix + 1, iv - 1
        else:
            a = upper[iv - 1]
            d = (x[below] - x[a]) * (above - a) / (x[above] - x[a]) - (below - a - 1)
            ix -= 1
            if d >= gap:
                gap, at_lower, at_upper = d, ix + 1, iv
        ix, iv = max(ix, 0), min(iv, len(upper) - 1)
        if lower[ix] == upper[iv]:
            return float(gap), at_lower, at_upper


def _above(x: Floats, first: int, last: int, sign: int) -> float:
    """Largest gap between the steps of the distribution and one straight piece of a hull."""
    if last - first <= 1 or x[last] == x[first]:
        return 1.0
    place = np.arange(first, last + 1)
    line = (x[first : last + 1] - x[first]) * (last - first) / (x[last] - x[first])
    gaps = sign * ((place - first) - line) + 1
    return max(1.0, float(gaps.max()))


def dip_p_value(scaled: float, n: int) -> float:
    """How often an even spread of n customers, the hardest single mode, dips as far.

    Args:
        scaled: sqrt(n) times the dip.
    """
    size = float(np.clip(np.log(max(n, 1)), np.log(_SIZES[0]), np.log(_SIZES[-1])))
    columns = np.array(_QUANTILES).T
    at = [float(np.interp(size, np.log(_SIZES), column)) for column in columns]
    below = float(np.interp(scaled, [0.0, *at], [0.0, *_PROBABILITIES]))
    return 1.0 - below


class Groups(Protocol):
    """What puts customers into groups by their centres."""

    @property
    def centres(self) -> Floats: ...
    def assign(self, matrix: Floats) -> Labels: ...


def valley(matrix: Floats, fit: Callable[[Floats], Groups], *, seed: int) -> tuple[float, float]:
    """Between the two groups that are least apart: the scaled dip, and its p-value.

    Each half of the customers is looked at along the centres of the other half, so that a
    line that was chosen for its valley is not judged by the customers it was chosen on.

    Args:
        fit: Makes the groups from some customers; the same number each time.
    """
    rng = np.random.default_rng(seed)
    is_first = np.isin(np.arange(len(matrix)), rng.permutation(len(matrix))[: len(matrix) // 2])
    halves = (matrix[is_first], matrix[~is_first])
    first, second = fit(halves[0]), fit(halves[1])
    apart = np.linalg.norm(first.centres[:, None, :] - second.centres[None, :, :], axis=2)
    _, match = linear_sum_assignment(apart)
    # Each half with the centres of the other, in the order of the first.
    looked = (
        (halves[1], first.centres, first.assign(halves[1])),
        (halves[0], second.centres[match], np.argsort(match)[second.assign(halves[0])]),
    )
    k, found = len(first.centres), []
    for a in range(k):
        for b in range(a + 1, k):
            parts = [
                between(x[np.isin(label, (a, b))], centres[a], centres[b])
                for x, centres, label in looked
            ]
            along = np.concatenate(parts)
            scaled = float(np.sqrt(len(along)) * dip_statistic(along))
            found.append((dip_p_value(scaled, len(along)), scaled))
    p_value, scaled = max(found, key=lambda pair: (pair[0], -pair[1]))
    return scaled, p_value


def between(matrix: Floats, one: Floats, other: Floats) -> Floats:
    """Where customers stand on the line from one centre (0) to the other (1)."""
    line = other - one
    length = float(line @ line)
    return np.asarray((matrix - one) @ line / length if length > 0 else np.zeros(len(matrix)))


def would_show_kinds(n: int, *, reliability: float, seed: int) -> float:
    """How often two kinds of customers would show a valley, if all that differs were of kind.

    Args:
        n: Customers looked at.
        reliability: Share of the variance along the split that is not chance of few purchases.
    """
    noise = np.sqrt(max(1.0 - reliability, 0.0))
    apart = np.sqrt(max(reliability, 0.0))
    rng = np.random.default_rng(seed)
    found = 0
    for _ in range(_POWER_DRAWS):
        side = rng.choice([-apart, apart], n)
        drawn = side + noise * rng.normal(size=n)
        found += dip_p_value(float(np.sqrt(n) * dip_statistic(drawn)), n) <= _LEVEL
    return found / _POWER_DRAWS
