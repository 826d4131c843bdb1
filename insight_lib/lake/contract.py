"""From a source's columns to a canonical table, as SQL expressions with reasons.

Nothing is guessed: every column has a declared origin, type and way of writing, and a
value that does not fit gives its row a reason instead of another value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from insight_lib.market_model import TEST_CURRENCIES, ColumnSource, MarketConfig, Source
from insight_lib.schema import Column, TableSchema, Type

# Source columns stand beside canonical ones of the same name, so they carry a prefix.
RAW = "raw:"
_LONGEST_TEXT = 10_000
_LONGEST_BODY = 1_000_000
_EARLIEST, _LATEST = date(1990, 1, 1), date(2100, 1, 1)
_NUMBER = r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?"
_INTEGER = r"[+-]?[0-9]+"
# With a decimal comma, a point is only a separator of whole thousands.
_COMMA_INTEGER = r"[+-]?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+)"
_COMMA_NUMBER = _COMMA_INTEGER + "(,[0-9]+)?"
# White space, control characters and what prints as nothing, at either end of a text.
_BLANKS = r"[\s\p{Z}\p{Cc}\x{200B}\x{2060}\x{FEFF}]+"
_SEPARATOR = "\x1f"
_ISO_DATE = ("%Y-%m-%d",)
_ISO_LOCAL = (
    "%Y-%m-%dT%H:%M:%S.%f",
    "%Y-%m-%d %H:%M:%S.%f",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
    *_ISO_DATE,
)
_FLOATS = ("DOUBLE", "FLOAT")
# How far a binary number may be from the decimal that was meant, of its size.
_FLOAT_NOISE = {"DOUBLE": 1e-9, "FLOAT": 1e-6}
# Types that hold any sum of the parts, so that adding up cannot overflow.
_WIDE = {Type.MONEY: "DECIMAL(38,4)", Type.INTEGER: "HUGEINT", Type.NUMBER: "DOUBLE"}
_LARGEST_ID = 1e19
AFTER_TODAY = "after today,"
# Days that end something, and the day on which it begins.
_BEGINS = {
    "campaigns": {"end_date": "start_date"},
    "contracts": {"end_date": "start_date", "term_end_date": "start_date"},
    "opportunities": {"left_date": "entered_date"},
}
_ONE_CURRENCY = (
    "transactions",
    "contracts",
    "payments",
    "opportunities",
    "campaigns",
    "responses",
    "prices",
)


@dataclass(frozen=True)
class MappedColumn:
    """One canonical column: the SQL that makes it, and the SQL of what may be wrong with it.

    Attributes:
        reason: Why the row cannot be loaded, or NULL.
        doubt: Why the value is set aside and the row kept, or NULL: an optional column that does
            not fit must not cost a sale.
        is_derived: Read off other canonical columns, so a step later.
    """

    name: str
    value: str
    reason: str = "NULL"
    doubt: str = "NULL"
    is_derived: bool = False


def quoted(name: str) -> str:
    """A column name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def map_columns(
    schema: TableSchema,
    source: Source,
    market: MarketConfig,
    types: Mapping[str, str],
    today: date,
) -> list[MappedColumn]:
    """The mapped columns of a table, in schema order, with derived local columns.

    Args:
        types: Engine type of each source column (all VARCHAR for text sources).
        today: What has happened cannot be dated later.
    """
    mapped = []
    for column in schema.columns:
        origin = source.columns.get(column.name)
        if column.type is Type.LOCAL and column.name.endswith("_local"):
            instant = column.name.removesuffix("_local") + "_at"
            if instant in source.columns:
                value = f"{quoted(instant)} AT TIME ZONE {literal(market.zone)}"
                mapped.append(MappedColumn(column.name, value, is_derived=True))
            continue
        if origin is not None:
            mapped.append(_map_column(schema, column, origin, source, market, types, today))
    return mapped


def _map_column(
    schema: TableSchema,
    column: Column,
    origin: ColumnSource,
    source: Source,
    market: MarketConfig,
    types: Mapping[str, str],
    today: date,
) -> MappedColumn:
    if origin.sum or origin.multiply:
        value, reasons = _combined(column, origin, source, types)
    else:
        value, reasons = _single(column, origin, source, market, types)
    is_needed = column.required or column.name in (*schema.key, schema.time, "currency")
    if column.required or column.name in schema.key:
        reasons.append("WHEN {v} IS NULL THEN 'missing'")
    reasons += _limits(schema, column, source, market, today)
    cases = " ".join(reason.replace("{v}", quoted(column.name)) for reason in reasons)
    tagged = f"{literal(column.name + ': ')} || (CASE {cases} END)"
    if is_needed:
        before = _ordered(schema, column, source)
        return MappedColumn(column.name, value, f"coalesce({tagged}, {before})")
    return MappedColumn(column.name, value, _ordered(schema, column, source), tagged)


def _ordered(schema: TableSchema, column: Column, source: Source) -> str:
    """The reason of a row whose end comes before its beginning."""
    first = _BEGINS.get(schema.name, {}).get(column.name)
    if first is None or first not in source.columns:
        return "NULL"
    end, begin = quoted(column.name), quoted(first)
    return f"CASE WHEN {end} < {begin} THEN {literal(f'{column.name}: before {first}')} END"


def ambiguous_days(schema: TableSchema, source: Source) -> list[tuple[str, str]]:
    """Columns whose declared format puts day and month in one order, as (canonical, source).

    A file that holds both orders is read wrong without a word wherever both parts are twelve
    or less, so such a column has to be looked at as a whole.
    """
    found = []
    for column in schema.columns:
        origin = source.columns.get(column.name)
        if origin is not None and origin.from_ and swapped(origin.format) is not None:
            found.append((column.name, origin.from_))
    return found


def swapped(format_: str | None) -> str | None:
    """The same format with day and month in the other order; None where it has not both."""
    if format_ is None or "%d" not in format_ or "%m" not in format_:
        return None
    return format_.replace("%d", "\0").replace("%m", "%d").replace("\0", "%m")


def _single(
    column: Column,
    origin: ColumnSource,
    source: Source,
    market: MarketConfig,
    types: Mapping[str, str],
) -> tuple[str, list[str]]:
    """Value and reasons of a column that comes from one value of the source."""
    raw, raw_type = _raw(origin, source, types)
    if column.type is Type.TEXT and raw_type in _FLOATS:
        raw = f"(CASE WHEN NOT isnan({raw}) THEN {raw} END)"  # how programs write "missing"
    reasons = []
    if origin.values:
        given = f"CAST({raw} AS VARCHAR)"
        cases = " ".join(
            f"WHEN {literal(text)} THEN {literal(wanted)}" for text, wanted in origin.values.items()
        )
        raw, raw_type = f"(CASE {given} {cases} END)", "VARCHAR"
        reasons.append(f"WHEN {given} IS NOT NULL AND {raw} IS NULL THEN 'value not listed'")
    value = _typed(raw, raw_type, column, origin, source, market)
    if origin.sign == "reversed":
        value = f"(-({value}))"
    reasons.append(f"WHEN {raw} IS NOT NULL AND {{v}} IS NULL THEN 'not {_kind(column.type)}'")
    if column.type is Type.MONEY:
        kept = "-{v}" if origin.sign == "reversed" else "{v}"
        reasons += _more_decimals(raw, raw_type, kept, source)
    return value, reasons


def _combined(
    column: Column, origin: ColumnSource, source: Source, types: Mapping[str, str]
) -> tuple[str, list[str]]:
    """Value and reasons of a sum (missing counts as zero) or product (none may be missing)."""
    names = origin.sum or origin.multiply
    part_type = column.type if origin.sum else Type.NUMBER
    given = [_cell(name, source, types) for name in names]
    parts = [_number(raw, raw_type, part_type, source) for raw, raw_type in given]
    wrong = [
        f"({raw} IS NOT NULL AND {part} IS NULL)"
        for (raw, _), part in zip(given, parts, strict=True)
    ]
    reasons = [f"WHEN {' OR '.join([*wrong, '{v} IS NULL'])} THEN 'not {_kind(column.type)}'"]
    if origin.sum:
        terms = [f"coalesce(CAST({part} AS {_WIDE[column.type]}), 0)" for part in parts]
        value = _number(" + ".join(terms), _WIDE[column.type], column.type, source)
        excess = list(zip(given, parts, strict=True))
    else:
        product = f"({' * '.join(parts)})"
        value = _number(product, "DOUBLE", column.type, source)
        excess = [((product, "DOUBLE"), "{v}")]
        missing = " OR ".join(f"{raw} IS NULL" for raw, _ in given)
        reasons.insert(0, f"WHEN {missing} THEN 'missing'")
    if column.type is Type.MONEY:
        for (raw, raw_type), kept in excess:
            reasons += _more_decimals(raw, raw_type, kept, source)
    return value, reasons


def _cell(name: str, source: Source, types: Mapping[str, str]) -> tuple[str, str]:
    """A source column and its type; a text is trimmed and NULL if declared missing."""
    raw, raw_type = quoted(RAW + name), types[RAW + name]
    if raw_type != "VARCHAR":
        return raw, raw_type
    text = f"regexp_replace({raw}, '^{_BLANKS}|{_BLANKS}$', '', 'g')"
    missing = ", ".join(literal(word) for word in sorted({"", *map(str.strip, source.missing)}))
    return f"(CASE WHEN {text} NOT IN ({missing}) THEN {text} END)", raw_type


def _raw(origin: ColumnSource, source: Source, types: Mapping[str, str]) -> tuple[str, str]:
    if origin.constant is not None:
        return literal(origin.constant), "VARCHAR"
    if origin.row_number:
        return "source_row", "BIGINT"
    if origin.join:
        cells = [_cell(name, source, types)[0] for name in origin.join]
        parts = ", ".join(f"CAST({cell} AS VARCHAR)" for cell in cells)
        # A separator that no value holds: 1-2 and 3 are not 1 and 2-3.
        return f"nullif(concat_ws({literal(_SEPARATOR)}, {parts}), '')", "VARCHAR"
    if origin.weeks_since is not None and origin.column:
        number = f"TRY_CAST({_cell(origin.column, source, types)[0]} AS INTEGER)"
        start = literal(origin.weeks_since.isoformat())
        return f"(DATE {start} + 7 * ({number} - 1))", "DATE"
    assert origin.from_ is not None
    return _cell(origin.from_, source, types)


def _is_inexact(raw_type: str) -> bool:
    return raw_type in _FLOATS or raw_type.startswith("DECIMAL")


def _number_text(raw: str, type_: Type, source: Source) -> str:
    """A number as the engine writes it, or NULL where the text is not one as declared."""
    is_whole = type_ is Type.INTEGER
    if source.decimal == ",":
        shape = _COMMA_INTEGER if is_whole else _COMMA_NUMBER
        text = f"replace(replace({raw}, '.', ''), ',', '.')"
    else:
        shape, text = _INTEGER if is_whole else _NUMBER, raw
    return f"(CASE WHEN regexp_full_match({raw}, '{shape}') THEN {text} END)"


def _number(raw: str, raw_type: str, type_: Type, source: Source) -> str:
    """A number of a canonical type; NULL where the value is not one, or not finite."""
    if raw_type == "VARCHAR":
        raw = _number_text(raw, type_, source)
    if raw_type == "BOOLEAN":  # yes is not one euro
        return f"CAST(NULL AS {type_.value})"
    cast = f"TRY_CAST({raw} AS {type_.value})"
    if type_ is Type.NUMBER and (raw_type == "VARCHAR" or "INT" in raw_type):
        # A whole number beyond what a double holds would come back as its neighbour.
        whole = f"TRY_CAST({raw} AS HUGEINT)"
        fits = f"({whole} IS NULL OR abs({whole}) <= {2**53})"
        return f"(CASE WHEN isfinite({cast}) AND {fits} THEN {cast} END)"
    if type_ is Type.NUMBER:
        return f"(CASE WHEN isfinite({cast}) THEN {cast} END)"
    if type_ is Type.INTEGER and _is_inexact(raw_type):
        return f"(CASE WHEN {raw} = trunc({raw}) AND abs({raw}) < 9e15 THEN {cast} END)"
    return cast


def _more_decimals(raw: str, raw_type: str, kept: str, source: Source) -> list[str]:
    """The reason of an amount that keeping four decimals would change, where that can be."""
    if raw_type in _FLOATS:
        noise = f"{_FLOAT_NOISE[raw_type]} * greatest(abs(CAST({raw} AS DOUBLE)), 1)"
        differs = f"abs(CAST({raw} AS DOUBLE) - CAST({kept} AS DOUBLE)) > {noise}"
    elif raw_type == "VARCHAR":
        text = _number_text(raw, Type.MONEY, source)
        differs = f"TRY_CAST({text} AS DECIMAL(38,18)) <> {kept}"
    elif raw_type.startswith("DECIMAL"):
        differs = f"TRY_CAST({raw} AS DECIMAL(38,18)) <> {kept}"
    else:
        return []
    return [f"WHEN {differs} THEN 'more than four decimals'"]


def _text(raw: str, raw_type: str) -> str:
    if not _is_inexact(raw_type):
        return f"nullif(CAST({raw} AS VARCHAR), '')"
    # 7 written by a program as 7.0 is still customer 7; what is no longer exact is no id.
    return (
        f"(CASE WHEN NOT (abs({raw}) < {_LARGEST_ID}) THEN NULL "
        f"WHEN {raw} = trunc({raw}) THEN CAST(TRY_CAST({raw} AS HUGEINT) AS VARCHAR) "
        f"ELSE CAST({raw} AS VARCHAR) END)"
    )


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
            return _text(raw, raw_type)
        case Type.BOOLEAN:
            if not is_text:
                return f"TRY_CAST({raw} AS BOOLEAN)"
            return f"CASE {raw} WHEN 'true' THEN true WHEN 'false' THEN false END"
        case Type.INTEGER | Type.NUMBER | Type.MONEY:
            return _number(raw, raw_type, column.type, source)
        case Type.DATE:
            if is_text:
                return f"CAST({_parsed(raw, origin.format, _ISO_DATE)} AS DATE)"
            if raw_type == "TIMESTAMP WITH TIME ZONE":
                raw = f"({raw} AT TIME ZONE {literal(market.zone)})"
            return f"TRY_CAST({raw} AS DATE)"
        case Type.INSTANT:
            return _instant(raw, raw_type, origin, market)
    raise AssertionError(column.type)


def _parsed(raw: str, declared: str | None, otherwise: tuple[str, ...]) -> str:
    formats = (declared,) if declared else otherwise
    return f"try_strptime({raw}, [{', '.join(literal(f) for f in formats)}])"


def _instant(raw: str, raw_type: str, origin: ColumnSource, market: MarketConfig) -> str:
    zone = literal(origin.zone or market.zone)
    if raw_type == "TIMESTAMP WITH TIME ZONE":
        return raw
    if raw_type != "VARCHAR":
        return _existing(f"CAST({raw} AS TIMESTAMP)", zone)
    parsed = _parsed(raw, origin.format, _ISO_LOCAL)
    if origin.format and "%z" in origin.format:
        return f"TRY_CAST({parsed} AS TIMESTAMPTZ)"
    if origin.format:
        return _existing(parsed, zone)
    # An ISO text that carries its offset is an instant already.
    offset = rf"regexp_matches({raw}, '[+-][0-9]{{2}}:?[0-9]{{2}}$|Z$')"
    return (
        f"CASE WHEN {offset} THEN TRY_CAST({raw} AS TIMESTAMPTZ) ELSE {_existing(parsed, zone)} END"
    )


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


def _limits(
    schema: TableSchema, column: Column, source: Source, market: MarketConfig, today: date
) -> list[str]:
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

        known = sorted(set(list_currencies()) - TEST_CURRENCIES)
        codes = ", ".join(literal(code) for code in known)
        limits.append(f"WHEN {{v}} NOT IN ({codes}) THEN 'not an ISO 4217 code'")
    if column.name == "currency" and schema.name in _ONE_CURRENCY:
        reason = literal(f"not the market's currency {market.currency}")
        limits.append(f"WHEN {{v}} <> {literal(market.currency)} THEN {reason}")
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
        # A refusal from outside the period still binds.
        is_limited = schema.name != "consents" and column.name == schema.time
        if is_limited and column.type is Type.INSTANT and market.period:
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
        if column.type is Type.INSTANT and column.name == schema.time:
            # Somewhere it is tomorrow already.
            limits.append(f"WHEN {local} > DATE '{today}' + 1 THEN '{AFTER_TODAY} {today}'")
    return limits
