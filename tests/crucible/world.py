"""A market of somebody else's: tables in memory, and the files and YAML that bring them in."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from insight_lib.schema import TABLES, Type

LICENCE = {
    "own-data": {
        "licensor": "the company itself",
        "uses": ["analytics", "modelling", "activation"],
        "clause": "our own data",
        "may_redistribute": False,
        "territories": ["all"],
    }
}
SECONDS, DAYS = "%Y-%m-%d %H:%M:%S", "%Y-%m-%d"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How the files of a table are written.

    Attributes:
        parts: Files that the rows are spread over.
        typed: For parquet: days and instants as such and money as decimals, not as text.
        names: Canonical column to the column's name in the file, where they differ.
    """

    format: str = "csv"
    delimiter: str = ","
    decimal: str = "."
    encoding: str = "utf-8"
    day_format: str = DAYS
    parts: int = 1
    typed: bool = True
    names: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()

    @property
    def instant_format(self) -> str:
        return f"{self.day_format} %H:%M:%S"


@dataclass(frozen=True, kw_only=True)
class World:
    """One market.

    Attributes:
        tables: Canonical table to its rows, canonical columns; instants are on the market's
            clock. Columns of other names go into the file and are declared `unused`.
        said: What the YAML of the market says beside its sources.
        truth: What the maker knows, for the checks that need it.
    """

    id: str
    tables: Mapping[str, pd.DataFrame]
    said: Mapping[str, Any]
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    truth: Mapping[str, Any] = field(default_factory=dict)

    @property
    def currency(self) -> str:
        return str(self.said["currency"])

    def shape(self, table: str) -> Shape:
        return self.shapes.get(table, Shape())

    def write(self, root: Path) -> None:
        """Put files and YAML below a project's folder."""
        sources = {name: self._write_table(root, name) for name in self.tables}
        text = yaml.safe_dump({**self.said, "sources": sources}, sort_keys=False)
        path = root / "parameters" / "markets" / f"{self.id}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def _write_table(self, root: Path, name: str) -> dict[str, Any]:
        frame, shape = self.tables[name], self.shape(name)
        folder = root / "raw" / self.id / name
        folder.mkdir(parents=True, exist_ok=True)
        known = {column.name: column.type for column in TABLES[name].columns}
        columns: dict[str, Any] = {}
        for column in frame.columns:
            if column in known:
                columns[column] = self._source_of(shape, column, known[column])
        size = max(1, -(-len(frame) // shape.parts))
        for part in range(shape.parts):
            rows = frame.iloc[part * size : (part + 1) * size]
            rows = rows.rename(columns=shape.names)
            path = folder / f"part-{part + 1}.{shape.format}"
            types = {shape.names.get(column, column): kind for column, kind in known.items()}
            if shape.format == "csv":
                self._write_csv(path, rows, shape, types)
            else:
                self._write_parquet(path, rows, shape, types)
        source: dict[str, Any] = {
            "location": f"raw/{self.id}/{name}/*.{shape.format}",
            "format": shape.format,
            "licence": "own-data",
            "columns": columns,
        }
        if extra := [shape.names.get(c, c) for c in frame.columns if c not in known]:
            source["unused"] = extra
        if shape.format == "csv":
            source |= {
                "delimiter": shape.delimiter,
                "decimal": shape.decimal,
                "encoding": shape.encoding,
            }
        return source

    def _source_of(self, shape: Shape, column: str, kind: Type) -> Any:
        name = shape.names.get(column, column)
        is_text = shape.format == "csv" or not shape.typed
        if is_text and kind in (Type.INSTANT, Type.LOCAL):
            return {"from": name, "format": shape.instant_format}
        if is_text and kind is Type.DATE:
            return {"from": name, "format": shape.day_format}
        return name

    @staticmethod
    def _as_text(rows: pd.DataFrame, shape: Shape, types: Mapping[str, Type]) -> pd.DataFrame:
        written = rows.copy()
        for column in written.columns:
            kind = types.get(column)
            if kind in (Type.INSTANT, Type.LOCAL):
                written[column] = pd.to_datetime(written[column]).dt.strftime(shape.instant_format)
            elif kind is Type.DATE:
                written[column] = pd.to_datetime(written[column]).dt.strftime(shape.day_format)
            elif kind is Type.BOOLEAN:
                written[column] = written[column].map({True: "true", False: "false"})
            elif kind in (Type.MONEY, Type.NUMBER):
                written[column] = [_number(value, shape.decimal) for value in written[column]]
        return written

    def _write_csv(
        self, path: Path, rows: pd.DataFrame, shape: Shape, types: Mapping[str, Type]
    ) -> None:
        self._as_text(rows, shape, types).to_csv(
            path,
            index=False,
            sep=shape.delimiter,
            encoding={"utf-16": "utf-16"}.get(shape.encoding, shape.encoding),
            quoting=csv.QUOTE_MINIMAL,
            errors="replace",
        )

    def _write_parquet(
        self, path: Path, rows: pd.DataFrame, shape: Shape, types: Mapping[str, Type]
    ) -> None:
        if not shape.typed:
            text = self._as_text(rows, shape, types).astype("string")
            pq.write_table(pa.Table.from_pandas(text, preserve_index=False), path)
            return
        arrays, fields = [], []
        for column in rows.columns:
            kind = types.get(column)
            values = rows[column]
            if kind in (Type.INSTANT, Type.LOCAL):
                array = pa.array(pd.to_datetime(values).dt.tz_localize(None), pa.timestamp("us"))
            elif kind is Type.DATE:
                array = pa.array(pd.to_datetime(values).dt.date, pa.date32())
            elif kind is Type.MONEY:
                cents = [None if pd.isna(v) else f"{v:.4f}" for v in values]
                array = pa.array(cents, pa.string()).cast(pa.decimal128(18, 4))
            elif kind in (Type.TEXT, None):
                array = pa.array([None if pd.isna(v) else str(v) for v in values], pa.string())
            else:
                array = pa.array(values, from_pandas=True)
            arrays.append(array)
            fields.append(column)
        pq.write_table(pa.Table.from_arrays(arrays, names=fields), path)


def _number(value: float, decimal: str) -> str:
    return "" if pd.isna(value) else f"{value:.10g}".replace(".", decimal)


def said_of(
    market: str,
    *,
    first_day: date,
    last_day: date | None,
    currency: str = "EUR",
    parameters: Mapping[str, Any] | None = None,
    **other: Any,
) -> dict[str, Any]:
    """The head of a market's YAML."""
    said: dict[str, Any] = {
        "title": f"Crucible · {market}",
        "kind": "real",
        "region": "eu",
        "jurisdiction": "ccpa",
        "country": "DE",
        "language": "en-GB",
        "zone": "Europe/Berlin",
        "currency": currency,
    } | other
    if last_day is not None:
        said["period"] = {"first_day": first_day, "last_day": last_day}
    if parameters:
        said["parameters"] = {section: dict(values) for section, values in parameters.items()}
    return said
