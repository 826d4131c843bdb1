"""What customers bought, in five random parts of their orders, and how it becomes coordinates.

Orders are put into fifths by a hash of their id. So a group can be made on some purchases and
measured on others, the part of a difference that is chance of few purchases is known (what two
parts of one customer's orders do not share), and so is how many customers would seem to change
group although nobody does.

A recipe holds how counts become coordinates: the same recipe describes another period, a part
of the purchases or customers drawn by chance, so that places are comparable. Each kind of
behaviour weighs by the share of its variance that two random halves of the same customers'
orders have in common (split-half reliability; Spearman, 1910; Brown, 1910): what tells
nothing weighs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from insight_lib.findings import TooFew
from insight_lib.orders import sold
from insight_lib.segments.inputs import BEHAVIOUR, Block

if TYPE_CHECKING:
    import ibis.expr.types as ir

Floats = NDArray[np.float64]
Counts = Mapping[str, pd.DataFrame]
"""Kind (`department`, …) to customers (index) by levels, in pieces."""

FIFTHS = 5
_PRIOR_PIECES = 5.0
_PRIOR_LOGGED = 1.0  # less, so that tastes near the end of a scale are not pulled off it
_RARE_SHARE = 0.01
_SMALLEST_RELIABILITY = 0.05
_SURELY_ABSENT = (
    14.0  # expected sales in the days without any: e**-14 is less than one in a million
)


@dataclass(frozen=True, kw_only=True)
class Purchases:
    """Pieces of a period by customer, kind, level and fifth of the customer's orders.

    Attributes:
        parts: Kind to customers (index) by (fifth, level).
        renamed: Levels that were taken for the same under another name, as "old → new".
        pooled: Levels that were sold in a part of the period only and stand with the others.
        names: Kind to level to the name that it goes by, where it is another.
    """

    parts: Mapping[str, pd.DataFrame]
    renamed: tuple[str, ...] = ()
    pooled: tuple[str, ...] = ()
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def counts(self, fifths: Sequence[int] = tuple(range(FIFTHS))) -> dict[str, pd.DataFrame]:
        """Pieces in some of the fifths; all of them by default."""
        return {
            kind: frame.loc[:, frame.columns.get_level_values(0).isin(list(fifths))]
            .T.groupby(level=1)
            .sum()
            .T
            for kind, frame in self.parts.items()
        }


def read_purchases(
    lines: ir.Table,
    products: ir.Table | None,
    *,
    names: Mapping[str, Mapping[str, str]] | None = None,
) -> Purchases:
    """Count the purchases of a period in the engine; returns do not count.

    Args:
        lines: Order lines of the period, as in `schema.TABLES`, without those of nothing where
            an order of nothing is no order.
        names: Of a longer period that holds this one; without them, levels that begin or end
            within the period are looked for.

    Raises:
        TooFew: There is nothing that could tell customers apart.
    """
    bought = lines.filter(lines.customer_id.notnull() & sold(lines, free_orders_count=True))
    digest = bought.order_id.hexdigest("md5")
    codes = [digest.substr(place, 1).ascii_str() for place in range(3)]
    bought = bought.mutate(
        fifth=(codes[0] + codes[1] + codes[2]) % FIFTHS, day=bought.ordered_local.date()
    )
    of_products = () if products is None else tuple(products.columns)
    parts, renamed, pooled = {}, [], []
    given: dict[str, Mapping[str, str]] = {}
    for kind in BEHAVIOUR:
        if kind in of_products and products is not None:
            named = bought.left_join(products.select("product_id", level=kind), "product_id")
        elif kind in bought.columns:
            named = bought.mutate(level=bought[kind].cast("string"))
        else:
            continue
        named = named.mutate(level=named.level.coalesce("unknown"))
        long = named.group_by(["customer_id", "fifth", "level"]).agg(pieces=named.count())
        days = named.group_by("level").agg(
            first=named.day.min(), last=named.day.max(), n=named.count()
        )
        frame = long.order_by(["customer_id", "fifth", "level"]).to_pandas()
        if frame.empty:
            continue
        wide = frame.pivot(index="customer_id", columns=["fifth", "level"], values="pieces")
        wide = wide.fillna(0.0).astype(float).sort_index(axis=1)
        if names is None:
            same, alone = _one_naming(wide, days.to_pandas().set_index("level").sort_index())
            given[kind] = dict(same) | dict.fromkeys(alone, "other")
            renamed += [f"{old} → {new}" for old, new in same]
            pooled += alone
        else:
            given[kind] = names.get(kind, {})
        if given[kind]:
            wide = wide.rename(columns=dict(given[kind]), level=1)
            wide = wide.T.groupby(level=[0, 1]).sum().T
        parts[kind] = wide
    if not parts:
        raise TooFew(
            "orders say neither what was bought nor where",
            takes="products with a category or department, or the store or channel of each order",
        )
    return Purchases(parts=parts, renamed=tuple(renamed), pooled=tuple(pooled), names=given)


def _one_naming(wide: pd.DataFrame, days: pd.DataFrame) -> tuple[list[tuple[str, str]], list[str]]:
    """Levels that begin or end for everybody on one day are a matter of names, not of taste.

    What ends is matched with what begins by the customers who have both; the rest is pooled.
    """
    first, last = pd.Timestamp(days["first"].min()), pd.Timestamp(days["last"].max())
    began, ended = pd.to_datetime(days["first"]), pd.to_datetime(days["last"])
    rate = days["n"] / ((ended - began).dt.days + 1)
    is_new = rate * (began - first).dt.days > _SURELY_ABSENT
    is_old = rate * (last - ended).dt.days > _SURELY_ABSENT
    new, old = list(days.index[is_new & ~is_old]), list(days.index[is_old & ~is_new])
    if not new and not old:
        return [], []
    both = wide.T.groupby(level=1).sum().T
    same: list[tuple[str, str]] = []
    if new and old:
        alike = both[old].to_numpy().T @ both[new].to_numpy()
        size = np.sqrt(np.outer(np.square(both[old]).sum(), np.square(both[new]).sum()))
        # Where customers are alike, names and daily sales tell what is the same.
        sold = rate[old].to_numpy()[:, None] / rate[new].to_numpy()[None, :]
        spelt = np.array([[SequenceMatcher(None, a, b).ratio() for b in new] for a in old])
        alike = alike / np.maximum(size, 1e-12) + np.minimum(sold, 1 / sold) + spelt
        # A name follows the one it replaces: what began long before the other ended is no heir.
        gap = np.abs(
            (began[new].to_numpy()[None, :] - ended[old].to_numpy()[:, None])
            / np.timedelta64(1, "D")
        )
        cost = np.where(gap <= 14, -alike, 1.0)
        rows, columns = linear_sum_assignment(cost)
        same = [(old[i], new[j]) for i, j in zip(rows, columns, strict=True) if cost[i, j] < 1.0]
    heirs = dict(same)
    alone = sorted(set(new) - set(heirs.values())) + sorted(set(old) - set(heirs))
    return same, alone


@dataclass(frozen=True, kw_only=True)
class Mix:
    """How the pieces of one kind become coordinates: square roots of shares, drawn to the market.

    Attributes:
        levels: That stand for themselves; all others are "other".
        market: Share of each level, "other" last.
        centre, scale: Taken off, and divided by.
        weight: Share of the variance that is not chance of few purchases.
    """

    levels: tuple[str, ...]
    market: Floats
    centre: Floats
    scale: float
    weight: float

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.levels, "other")[: len(self.market)]

    def collect(self, counts: pd.DataFrame, customers: pd.Index) -> Floats:
        """Pieces by customer and `names`."""
        known = counts.reindex(customers).fillna(0.0)
        own = known.reindex(columns=list(self.levels), fill_value=0.0).to_numpy(dtype=float)
        if len(self.market) == len(self.levels):
            return own
        rest = known.to_numpy(dtype=float).sum(axis=1) - own.sum(axis=1)
        return np.column_stack([own, rest])

    def place(self, pieces: Floats) -> Floats:
        """Coordinates of pieces by `names`."""
        return (self.roots(pieces) - self.centre) * (np.sqrt(self.weight) / self.scale)

    def roots(self, pieces: Floats) -> Floats:
        """Square roots of shares (Hellinger, 1909), drawn towards the market's mix."""
        sums = pieces.sum(axis=1, keepdims=True)
        return np.asarray(np.sqrt((pieces + _PRIOR_PIECES * self.market) / (sums + _PRIOR_PIECES)))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How customers become coordinates, whatever the purchases they are described by."""

    mixes: Mapping[str, Mix]
    fixed: Block | None = None

    def __call__(self, counts: Counts, customers: pd.Index) -> pd.DataFrame:
        """Customers (index) by coordinates."""
        pieces = {k: mix.collect(counts[k], customers) for k, mix in self.mixes.items()}
        return self.placed(pieces, customers)

    def placed(self, pieces: Mapping[str, Floats], customers: pd.Index) -> pd.DataFrame:
        """Coordinates of pieces that `Mix.collect` gave."""
        found = [
            pd.DataFrame(
                mix.place(pieces[kind]),
                index=customers,
                columns=[f"{kind}: {name}" for name in mix.names],
            )
            for kind, mix in self.mixes.items()
            if mix.weight > 0
        ]
        if self.fixed is not None:
            own = self.fixed.values.reindex(customers).fillna(0.0)
            found.append(own.add_prefix(f"{self.fixed.name}: "))
        return pd.concat(found, axis=1)

    @property
    def silent(self) -> tuple[str, ...]:
        """Kinds in which customers do not differ beyond chance."""
        return tuple(kind for kind, mix in self.mixes.items() if mix.weight == 0)


def learn_recipe(
    purchases: Purchases, customers: pd.Index, *, fixed: Block | None = None
) -> tuple[Recipe, float]:
    """The recipe of a period, and the reliability of the coordinates that it gives.

    Args:
        customers: Who is to be grouped.
        fixed: Coordinates that do not come from purchases, such as those of contracts.

    Returns:
        A reliability of 0 says that customers differ no more from each other than one
        customer's orders among themselves; such a recipe gives no coordinates.

    Raises:
        TooFew: Nothing differs between customers.
    """
    whole, halves = purchases.counts(), (purchases.counts((0, 1)), purchases.counts((2, 3)))
    mixes: dict[str, Mix] = {}
    for kind, frame in whole.items():
        total = frame.reindex(customers).fillna(0.0).sum()
        share = total / total.sum() if total.sum() else total
        levels = tuple(str(level) for level in share.index if share[level] >= _RARE_SHARE)
        market = share[list(levels)].to_numpy(dtype=float)
        if len(levels) < len(share):
            market = np.append(market, max(0.0, 1.0 - market.sum()))
        if len(market) < 2:
            continue
        mix = Mix(levels=levels, market=market, centre=np.zeros(1), scale=1.0, weight=1.0)
        roots = mix.roots(mix.collect(frame, customers))
        variance = float(roots.var(axis=0).sum())
        if variance <= 1e-12:
            continue
        parts = [mix.roots(mix.collect(half[kind], customers)) for half in halves]
        weight = _reliability(*parts)
        mixes[kind] = replace(
            mix, centre=roots.mean(axis=0), scale=float(np.sqrt(variance)), weight=weight
        )
    weights = [mix.weight for mix in mixes.values()]
    if fixed is None and not mixes:
        raise TooFew("nothing differs between customers")
    if fixed is None and not any(weights):
        return Recipe(mixes=mixes, fixed=None), 0.0
    parts_known = sum(w**2 for w in weights) + (1.0 if fixed is not None else 0.0)
    parts_all = sum(weights) + (1.0 if fixed is not None else 0.0)
    return Recipe(mixes=mixes, fixed=fixed), parts_known / parts_all


def _reliability(one: Floats, other: Floats) -> float:
    """Share of the variance that two random halves have in common, stepped up to the whole.

    Zero where the two do not surely agree: a share below the smallest, or within chance.
    """
    a, b = one - one.mean(axis=0), other - other.mean(axis=0)
    each = (a * b).sum(axis=1)
    common = float(each.mean())
    error = float(each.std(ddof=1)) / np.sqrt(len(each)) if len(each) > 1 else np.inf
    spread = float((np.square(a).sum(axis=1).mean() + np.square(b).sum(axis=1).mean()) / 2)
    if spread <= 0 or common <= 2.0 * error:
        return 0.0
    half = common / spread
    # The halves hold two fifths each, the whole five: Spearman-Brown with a factor of 2.5.
    whole = 2.5 * half / (1 + 1.5 * half)
    return float(min(whole, 1.0)) if whole >= _SMALLEST_RELIABILITY else 0.0


def one_cloud(
    recipe: Recipe, counts: Counts, customers: pd.Index
) -> Callable[[np.random.Generator], Floats]:
    """Customers who differ by degree only, with as many pieces each and as much difference.

    Latent tastes are spread evenly along the axes in which the customers differ, and pieces are
    drawn by them: an even spread is the single cloud that comes nearest to two. Shares then pile
    up at their ends as they do for real customers. The spread is set so that the coordinates
    vary as much as those observed.

    Returns:
        From a random generator to coordinates of as many customers.
    """
    kinds = [kind for kind, mix in recipe.mixes.items() if mix.weight > 0]
    pieces = {k: recipe.mixes[k].collect(counts[k], customers) for k in kinds}
    sums = {k: pieces[k].sum(axis=1).astype(int) for k in kinds}
    market = {k: np.maximum(recipe.mixes[k].market, 1e-6) for k in kinds}
    fixed = None if recipe.fixed is None else recipe.fixed.values.reindex(customers).fillna(0.0)

    def logs(of: Mapping[str, Floats]) -> Floats:
        found = []
        for k in kinds:
            shares = (of[k] + _PRIOR_LOGGED * market[k]) / (
                of[k].sum(axis=1, keepdims=True) + _PRIOR_LOGGED
            )
            logged = np.log(shares)
            found.append(logged - logged.mean(axis=1, keepdims=True))
        if fixed is not None:
            found.append(fixed.to_numpy(dtype=float))
        return np.hstack(found)

    rng = np.random.default_rng(0)
    same = {k: _drawn(rng, np.tile(market[k], (len(customers), 1)), sums[k]) for k in kinds}
    observed, noise = logs(pieces), logs(same)
    if fixed is not None:
        width = fixed.shape[1]
        noise[:, -width:] = 0.0
    middle = observed.mean(axis=0)
    _, values, axes = np.linalg.svd(observed - middle, full_matrices=False)
    variance = np.square(values) / len(observed) - ((noise - noise.mean(axis=0)) @ axes.T).var(
        axis=0
    )
    spread = np.sqrt(np.maximum(variance, 0.0))
    edges = np.cumsum([0] + [len(market[k]) for k in kinds])
    level = {k: np.log(market[k]) for k in kinds}

    def draw(rng: np.random.Generator, size: float) -> dict[str, Floats]:
        along = rng.uniform(-np.sqrt(3), np.sqrt(3), size=(len(customers), len(spread)))
        taste = (along * spread * size) @ axes
        found = {}
        for k, start, end in zip(kinds, edges, edges[1:], strict=False):
            power = level[k] + taste[:, start:end]
            share = np.exp(power - power.max(axis=1, keepdims=True))
            found[k] = _drawn(rng, share / share.sum(axis=1, keepdims=True), sums[k])
        if fixed is not None:
            found[""] = taste[:, edges[-1] :]
        return found

    def places(drawn: Mapping[str, Floats]) -> Floats:
        own = [recipe.mixes[k].place(drawn[k]) for k in kinds]
        return np.hstack([*own, drawn[""]] if fixed is not None else own)

    wanted = float(recipe.placed(pieces, customers).to_numpy().var(axis=0).sum())
    low, high = 0.05, 20.0
    for _ in range(12):
        size = float(np.sqrt(low * high))
        tried = draw(np.random.default_rng(1), size)
        for k in kinds:
            now = np.maximum(tried[k].sum(axis=0) / max(tried[k].sum(), 1.0), 1e-6)
            level[k] = level[k] + np.log(market[k] / now)
        if float(places(tried).var(axis=0).sum()) < wanted:
            low = size
        else:
            high = size
    found = float(np.sqrt(low * high))
    return lambda rng: places(draw(rng, found))


def _drawn(rng: np.random.Generator, shares: Floats, sums: NDArray[np.int64]) -> Floats:
    return np.asarray(rng.multinomial(sums, shares), dtype=float)


def covered_days(lines: ir.Table, *, as_of: date, most: int) -> int:
    """Days up to `as_of` that the orders reach back, at most `most`."""
    first = lines.ordered_local.min().execute()
    if pd.isna(first):
        raise TooFew("there are no orders")
    return min(most, (as_of - pd.Timestamp(first).date()).days + 1)
