"""Random streams by name, and arrays turned into canonical columns."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from insight_lib.schema import TABLES, Type

Array: TypeAlias = npt.NDArray[Any]

MONEY_SCALE = 4  # decimals of the canonical money type
_ARROW = {
    Type.TEXT: pa.string(),
    Type.INTEGER: pa.int64(),
    Type.NUMBER: pa.float64(),
    Type.MONEY: pa.decimal128(18, MONEY_SCALE),
    Type.BOOLEAN: pa.bool_(),
    Type.DATE: pa.date32(),
    Type.INSTANT: pa.timestamp("us", tz="UTC"),
    Type.LOCAL: pa.timestamp("us"),
}


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """A generator of its own for a name: drawing more from one never moves another.

    Args:
        seed: Seed of the simulation.
        names: Market, table, block, …; texts enter by their CRC-32.
    """
    key = [zlib.crc32(name.encode()) if isinstance(name, str) else name for name in names]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def pick(rng: np.random.Generator, shares: npt.ArrayLike, rows: Array | int) -> Array:
    """Draw one column number per row of a table of shares.

    Args:
        shares: One row of shares, or one row per kind; each sums to anything positive.
        rows: The kind of each draw, or how many draws from the only kind.

    Returns:
        Column numbers, int64.
    """
    table = np.atleast_2d(np.asarray(shares, dtype=float))
    kinds = np.zeros(rows, dtype=np.int64) if isinstance(rows, int) else rows
    cumulative = np.cumsum(table, axis=1)
    cumulative /= cumulative[:, -1:]
    # One sorted array for all kinds: row k lives in [k, k + 1).
    flat = (cumulative + np.arange(len(table))[:, None]).ravel()
    found = np.searchsorted(flat, kinds + rng.random(len(kinds)), side="right")
    chosen: Array = np.minimum(found - kinds * table.shape[1], table.shape[1] - 1)
    return chosen


def take(pool: Sequence[str] | pa.Array, index: Array) -> pa.Array:
    """The text of each position in a pool; missing where the position is negative."""
    values = pool if isinstance(pool, pa.Array) else pa.array(list(pool), pa.string())
    return values.take(pa.array(index, pa.int64(), mask=np.asarray(index) < 0))


def numbered(prefix: str, numbers: Array, width: int) -> pa.Array:
    """Identifiers: a prefix and a number padded with zeros to `width`."""
    text = pc.utf8_lpad(pc.cast(pa.array(numbers, pa.int64()), pa.string()), width, "0")
    return pc.binary_join_element_wise(pa.scalar(prefix), text, "")


def scrambled(numbers: Array) -> Array:
    """A one-to-one shuffle of the numbers below 2**40, so that ids do not tell the order."""
    mixed: Array = (numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15 | 1)) & np.uint64(
        (1 << 40) - 1
    )
    return mixed.astype(np.int64)


def blank(values: pa.Array, is_missing: Array) -> pa.Array:
    """The values, missing where told."""
    return pc.if_else(pa.array(is_missing), pa.scalar(None, values.type), values)


def money(minor: Array, exponent: int) -> pa.Array:
    """Whole minor units (cents, yen) as decimals; exact, never through a float.

    Args:
        minor: int64 minor units.
        exponent: Decimals of the currency.
    """
    scaled = np.asarray(minor, dtype=np.int64) * 10 ** (MONEY_SCALE - exponent)
    words = np.empty((len(scaled), 2), dtype=np.int64)
    words[:, 0] = scaled
    words[:, 1] = scaled >> 63  # sign
    buffers = [None, pa.py_buffer(words.tobytes())]
    return pa.Array.from_buffers(_ARROW[Type.MONEY], len(scaled), buffers)


def canonical(name: str, columns: Mapping[str, Any], *, exponent: int = 2) -> pa.Table:
    """A canonical table: every column of the schema, in its order and type.

    Args:
        name: Canonical table.
        columns: Arrays by column; a plain text is the same in every row; a column of
            money comes in minor units. What is not given is missing throughout.
        exponent: Decimals of the currency.

    Raises:
        KeyError: A column that the schema does not know.
    """
    schema = TABLES[name]
    if unknown := set(columns) - set(schema.names):
        raise KeyError(f"{name}: not in the schema: {sorted(unknown)}")
    n_rows = next(len(v) for v in columns.values() if not isinstance(v, str))
    arrays = []
    for column in schema.columns:
        arrow = _ARROW[column.type]
        values = columns.get(column.name)
        if values is None:
            arrays.append(pa.nulls(n_rows, arrow))
        elif isinstance(values, str):
            arrays.append(pa.repeat(pa.scalar(values, arrow), n_rows))
        elif isinstance(values, pa.Array):
            arrays.append(values if values.type == arrow else values.cast(arrow))
        elif column.type is Type.MONEY:
            arrays.append(money(values, exponent))
        elif column.type in (Type.INSTANT, Type.LOCAL):
            arrays.append(pa.array(np.asarray(values, dtype="datetime64[us]")).cast(arrow))
        else:
            arrays.append(pa.array(values, arrow))
    fields = [pa.field(c.name, _ARROW[c.type]) for c in schema.columns]
    return pa.table(arrays, schema=pa.schema(fields))


def sorted_by(table: pa.Table, *names: str) -> pa.Table:
    """The table in the order of the named columns, ties as they stood."""
    return table.take(pc.sort_indices(table, sort_keys=[(name, "ascending") for name in names]))
