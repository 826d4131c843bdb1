"""From a source's columns to a canonical table, as SQL expressions with reasons.

Nothing is guessed: every column has a declared origin, type and way of writing, and a
value that does not fit gives its row a reason instead of another value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from insight_lib.market_model import ColumnSource, MarketConfig, Source
from insight_lib.schema import Column, TableSchema, Type

# Source columns stand beside canonical ones of the same name, so they carry a prefix.
RAW = "raw:"
_LONGEST_TEXT = 10_000
_LONGEST_BODY = 1_000_000
_EARLIEST, _LATEST = date(1990, 1, 1), date(2100, 1, 1)
_NUMBER = r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?"
_INTEGER = r"[+-]?[0-9]+"
_ISO = {
    Type.DATE: ("%Y-%m-%d",),
    Type.INSTANT: (
        "%Y-%m-%dT%H:%M:%S.%f%z",
        "%Y-%m-%dT%H:%M:%S%z",
        "%Y-%m-%d %H:%M:%S%z",
        "%Y-%m-%dT%H:%M:%S",
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%d %H:%M",
        "%Y-%m-%d",
    ),
}


@dataclass(frozen=True)
class MappedColumn:
    """One canonical column: the SQL that makes it, and the SQL of what may be wrong with it."""

    name: str
    value: str
    reasons: tuple[str, ...]


def quoted(name: str) -> str:
    """A column name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def map_columns(
    schema: TableSchema, source: Source, market: MarketConfig, types: Mapping[str, str]
) -> list[MappedColumn]:
    """The mapped columns of a table, in schema order, with derived local columns.

    Args:
        types: Engine type of each source column (all VARCHAR for text sources).
    """
    mapped = []
    for column in schema.columns:
        origin = source.columns.get(column.name)
        if column.type is Type.LOCAL and column.name.endswith("_local"):
            instant = column.name.removesuffix("_local") + "_at"
            if instant in source.columns:
                value = f"{quoted(instant)} AT TIME ZONE {literal(market.zone)}"
                mapped.append(MappedColumn(column.name, value, ()))
            continue
        if origin is not None:
            mapped.append(_map_column(schema, column, origin, source, market, types))
    return mapped


def _map_column(
    schema: TableSchema,
    column: Column,
    origin: ColumnSource,
    source: Source,
    market: MarketConfig,
    types: Mapping[str, str],
) -> MappedColumn:
    raw, raw_type = _raw(origin, types)
    if raw_type == "VARCHAR" and origin.constant is None:
        missing = ", ".join(literal(text) for text in sorted({"", *source.missing}))
        raw = f"(CASE WHEN trim({raw}) IN ({missing}) THEN NULL ELSE {raw} END)"
    if origin.values:
        cases = " ".join(
            f"WHEN {literal(given)} THEN {literal(wanted)}"
            for given, wanted in origin.values.items()
        )
        text, value = f"CAST({raw} AS VARCHAR)", f"(CASE CAST({raw} AS VARCHAR) {cases} END)"
        raw_type = "VARCHAR"
        reasons = [f"WHEN {text} IS NOT NULL AND {value} IS NULL THEN 'value not listed'"]
        value = _typed(value, raw_type, column, origin, source, market)
    else:
        value = _typed(raw, raw_type, column, origin, source, market)
        reasons = [f"WHEN {raw} IS NOT NULL AND {{v}} IS NULL THEN 'not {_kind(column.type)}'"]
    if column.required or column.name in schema.key:
        reasons.append("WHEN {v} IS NULL THEN 'missing'")
    reasons += _limits(schema, column, source, market)
    cases = " ".join(reason.replace("{v}", quoted(column.name)) for reason in reasons)
    tagged = f"CASE {cases} END"
    return MappedColumn(column.name, value, (f"{literal(column.name + ': ')} || ({tagged})",))


def _raw(origin: ColumnSource, types: Mapping[str, str]) -> tuple[str, str]:
    if origin.constant is not None:
        return literal(origin.constant), "VARCHAR"
    if origin.row_number:
        return "source_row", "BIGINT"
    if origin.sum:
        terms = " + ".join(
            f"coalesce(TRY_CAST({quoted(RAW + c)} AS DECIMAL(18,4)), 0)" for c in origin.sum
        )
        return f"({terms})", "DECIMAL(18,4)"
    if origin.multiply:
        factors = [f"TRY_CAST({quoted(RAW + c)} AS DECIMAL(18,4))" for c in origin.multiply]
        # The engine multiplies in the type of its factors, so the first has to hold the product.
        factors[0] = f"CAST({factors[0]} AS DECIMAL(20,4))"
        return f"({' * '.join(factors)})", "DECIMAL(38,8)"
    if origin.join:
        parts = ", ".join(f"CAST({quoted(RAW + c)} AS VARCHAR)" for c in origin.join)
        return f"concat_ws('-', {parts})", "VARCHAR"
    if origin.weeks_since is not None and origin.column:
        number = f"TRY_CAST({quoted(RAW + origin.column)} AS INTEGER)"
        start = literal(origin.weeks_since.isoformat())
        return f"(DATE {start} + 7 * ({number} - 1))", "DATE"
    assert origin.from_ is not None
    return quoted(RAW + origin.from_), types[RAW + origin.from_]


def _typed(
    raw: str,
    raw_type: str,
    column: Column,
    origin: ColumnSource,
    source: Source,
    market: MarketConfig,
) -> str:
    is_text = raw_type == "VARCHAR"
    match column.type:
        case Type.TEXT:
            if raw_type == "DOUBLE":
                # 7 written by a program as 7.0 is still customer 7.
                return (
                    f"CASE WHEN {raw} = trunc({raw}) THEN CAST(CAST({raw} AS BIGINT) AS VARCHAR) "
                    f"ELSE CAST({raw} AS VARCHAR) END"
                )
            return f"nullif(trim(CAST({raw} AS VARCHAR)), '')"
        case Type.BOOLEAN:
            if not is_text:
                return f"TRY_CAST({raw} AS BOOLEAN)"
            return f"CASE {raw} WHEN 'true' THEN true WHEN 'false' THEN false END"
        case Type.INTEGER | Type.NUMBER | Type.MONEY:
            if is_text:
                text = f"trim({raw})"
                if source.decimal == ",":
                    text = f"replace(replace({text}, '.', ''), ',', '.')"
                shape = _INTEGER if column.type is Type.INTEGER else _NUMBER
                raw = f"CASE WHEN regexp_full_match({text}, '{shape}') THEN {text} END"
            cast = f"TRY_CAST({raw} AS {column.type.value})"
            if column.type is Type.NUMBER:
                return f"CASE WHEN isfinite({cast}) THEN {cast} END"
            if column.type is Type.INTEGER and raw_type in ("DOUBLE", "FLOAT"):
                return f"CASE WHEN {raw} = trunc({raw}) AND abs({raw}) < 9e15 THEN {cast} END"
            return cast
        case Type.DATE:
            if is_text:
                return f"CAST({_parsed(raw, column, origin)} AS DATE)"
            return f"TRY_CAST({raw} AS DATE)"
        case Type.INSTANT:
            return _instant(raw, raw_type, column, origin, market)
    raise AssertionError(column.type)


def _parsed(raw: str, column: Column, origin: ColumnSource) -> str:
    formats = (origin.format,) if origin.format else _ISO[column.type]
    return f"try_strptime({raw}, [{', '.join(literal(f) for f in formats)}])"


def _instant(
    raw: str, raw_type: str, column: Column, origin: ColumnSource, market: MarketConfig
) -> str:
    zone = literal(origin.zone or market.zone)
    if raw_type == "TIMESTAMP WITH TIME ZONE":
        return raw
    if raw_type == "VARCHAR":
        if origin.format and "%z" in origin.format:
            return f"TRY_CAST({_parsed(raw, column, origin)} AS TIMESTAMPTZ)"
        if origin.format is None:
            # An ISO text that carries its offset is an instant already.
            offset = rf"regexp_matches({raw}, '[+-][0-9]{{2}}:?[0-9]{{2}}$|Z$')"
            local = f"try_strptime({raw}, [{', '.join(literal(f) for f in _ISO[column.type][4:])}])"
            return (
                f"CASE WHEN {offset} THEN TRY_CAST({raw} AS TIMESTAMPTZ) "
                f"ELSE {_existing(local, zone)} END"
            )
        return _existing(_parsed(raw, column, origin), zone)
    return _existing(f"CAST({raw} AS TIMESTAMP)", zone)


def _existing(local: str, zone: str) -> str:
    """The instant of a local time; NULL where the clock skips it in spring."""
    instant = f"({local} AT TIME ZONE {zone})"
    return f"CASE WHEN ({instant} AT TIME ZONE {zone}) = {local} THEN {instant} END"


def _kind(type_: Type) -> str:
    return {
        Type.TEXT: "text",
        Type.INTEGER: "a whole number",
        Type.NUMBER: "a number",
        Type.MONEY: "an amount",
        Type.BOOLEAN: "true or false",
        Type.DATE: "a date in the declared format",
        Type.INSTANT: "an instant in the declared format, or a time the clock skipped",
        Type.LOCAL: "a local time",
    }[type_]


def _limits(schema: TableSchema, column: Column, source: Source, market: MarketConfig) -> list[str]:
    limits = []
    if column.minimum is not None:
        limits.append(f"WHEN {{v}} < {column.minimum:g} THEN 'below {column.minimum:g}'")
    if column.maximum is not None:
        limits.append(f"WHEN {{v}} > {column.maximum:g} THEN 'above {column.maximum:g}'")
    if column.allowed:
        allowed = ", ".join(literal(value) for value in column.allowed)
        words = "; ".join(column.allowed).replace("'", "''")
        limits.append(f"WHEN {{v}} NOT IN ({allowed}) THEN 'not one of {words}'")
    if column.type is Type.TEXT:
        longest = _LONGEST_BODY if column.name == "body" else _LONGEST_TEXT
        limits.append(f"WHEN length({{v}}) > {longest} THEN 'longer than {longest} characters'")
    if column.name in ("currency", "base_currency", "quote_currency"):
        from babel.numbers import list_currencies

        codes = ", ".join(literal(code) for code in sorted(list_currencies()))
        limits.append(f"WHEN {{v}} NOT IN ({codes}) THEN 'not an ISO 4217 code'")
    if column.type is Type.MONEY and "currency" in source.columns:
        from babel.numbers import get_currency_precision, list_currencies

        whole = [code for code in sorted(list_currencies()) if get_currency_precision(code) == 0]
        codes = ", ".join(literal(code) for code in whole)
        limits.append(
            f"WHEN {{v}} <> trunc({{v}}) AND currency IN ({codes}) "
            "THEN 'a fraction of a currency without decimals'"
        )
    if column.type in (Type.DATE, Type.INSTANT):
        first, last = _EARLIEST, _LATEST
        if column.name == schema.time and column.type is Type.INSTANT and market.period:
            first, last = market.period.first_day, market.period.last_day
        local = (
            f"CAST({{v}} AT TIME ZONE {literal(market.zone)} AS DATE)"
            if column.type is Type.INSTANT
            else "{v}"
        )
        limits.append(
            f"WHEN {local} NOT BETWEEN DATE '{first}' AND DATE '{last}' "
            f"THEN 'outside {first} to {last}'"
        )
    return limits
