"""No model may know who somebody is: features that name a person are refused.

Three ways to find one: what the schema says of the column, what it is called, and what its
values look like. A value is never repeated in the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from insight_lib.schema import Tag

_SHARE_THAT_LOOKS_LIKE = 0.05
_FEWEST_FOR_UNIQUE = 50
_UNIQUE_SHARE = 0.5
_NAMES = re.compile(
    r"(^|_)(id|ids|uuid|guid|email|e_mail|mail_address|phone|telephone|phone_number|mobile_number|iban|bic|card_number|"
    r"ssn|tax_number|passport|licence_plate|license_plate|ip|ip_address|mac_address|"
    r"imei|first_name|last_name|full_name|surname|forename|given_name|family_name|street|"
    r"address|postcode|postal_code|zip|zipcode|zip_code|birth_date|date_of_birth|birthday|dob|"
    r"latitude|longitude|iban_number|account_number|customer_number|user_name|username|login_name)$"
)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[a-z]{2,}", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
_PHONE = re.compile(
    r"(\+|00)\d[\d\s()./-]{6,18}\d|0\d{2,5}[\s()/.-]+[\d\s./-]{4,12}\d|"
    r"\(?\d{3}\)?[\s.-]\d{3}[\s.-]\d{4}"
)
_IBAN = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}")
_CARD = re.compile(r"\d{13,19}")
_IP = re.compile(r"(\d{1,3}\.){3}\d{1,3}")


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A column that may not be a feature, and why; never with one of its values.

    Attributes:
        kind: `declared identifier`, `declared sensitive`, `name`, `e-mail`, `phone`, `IBAN`,
            `card number`, `UUID`, `IP address` or `nearly unique`.
    """

    column: str
    kind: str
    words: str


class IdentifierRefused(ValueError):
    """Columns that name a person were offered as features; names all of them."""

    def __init__(self, refused: Collection[Refused]) -> None:
        self.refused = tuple(refused)
        listed = "; ".join(f"{r.column} ({r.words})" for r in self.refused)
        super().__init__(f"not allowed as features: {listed}. Leave these columns out.")


def check_identifiers(
    frame: pd.DataFrame, declared: Mapping[str, Collection[Tag]] | None = None
) -> list[Refused]:
    """All columns that may not be features, one reason each, in the frame's order.

    Args:
        frame: Features; the index (customers) is not looked at.
        declared: Column to its tags in the schema.
    """
    declared = declared or {}
    checks = (
        (str(name), _declared(declared.get(str(name), ())) or _named(str(name)) or _valued(column))
        for name, column in frame.items()
    )
    return [Refused(column=name, kind=found[0], words=found[1]) for name, found in checks if found]


def refuse_identifiers(
    frame: pd.DataFrame, declared: Mapping[str, Collection[Tag]] | None = None
) -> None:
    """Stop where a column names a person.

    Raises:
        IdentifierRefused: With every such column.
    """
    if refused := check_identifiers(frame, declared):
        raise IdentifierRefused(refused)


def _declared(tags: Collection[Tag]) -> tuple[str, str] | None:
    if Tag.IDENTIFIER in tags:
        return "declared identifier", "the schema calls it an identifier"
    if Tag.SENSITIVE in tags:
        return "declared sensitive", "the schema calls it sensitive"
    return None


def _named(name: str) -> tuple[str, str] | None:
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    snake = re.sub(r"[^a-z0-9]+", "_", snake).strip("_")
    is_measure = re.match(r"(n|is|has|days|mean)_", snake)  # counted about, not naming
    if _NAMES.search(snake) and not is_measure:
        return "name", "its name is that of an identifier"
    return None


def _valued(column: pd.Series) -> tuple[str, str] | None:
    values = column.dropna()
    if pd.api.types.is_numeric_dtype(values):
        return _numbered(values)
    texts = values.astype(str).str.strip()
    texts = texts[texts != ""]
    if not len(texts):
        return None
    distinct = texts.unique()
    most = _SHARE_THAT_LOOKS_LIKE * len(distinct)
    for kind, looks_like in _LOOKS.items():
        if sum(looks_like(text) for text in distinct) > most:
            return kind, f"its values look like {kind}"
    if len(texts) >= _FEWEST_FOR_UNIQUE and len(distinct) > _UNIQUE_SHARE * len(texts):
        return "nearly unique", "nearly every customer has a text of their own"
    return None


def _numbered(values: pd.Series) -> tuple[str, str] | None:
    """Numbers are amounts and counts, but for card numbers kept as numbers."""
    numbers = values.to_numpy(dtype=float)
    long = numbers[np.isfinite(numbers) & (np.abs(numbers) >= 1e12) & (np.abs(numbers) < 2**53)]
    if len(long) < max(2, 0.5 * len(numbers)) or (long != np.round(long)).any():
        return None
    is_card = np.array([_is_card(f"{abs(v):.0f}") for v in long])
    return ("card number", "its values look like card number") if is_card.mean() > 0.9 else None


def _is_iban(text: str) -> bool:
    compact = re.sub(r"\s", "", text).upper()
    if not _IBAN.fullmatch(compact):
        return False
    turned = compact[4:] + compact[:4]
    return int("".join(str(int(c, 36)) for c in turned)) % 97 == 1


def _is_card(text: str) -> bool:
    """Luhn's check digit (ISO/IEC 7812)."""
    compact = re.sub(r"[\s-]", "", text)
    if not _CARD.fullmatch(compact):
        return False
    digits = [int(c) for c in reversed(compact)]
    doubled = (d * 2 - 9 if d > 4 else d * 2 for d in digits[1::2])
    return any(digits) and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _is_phone(text: str) -> bool:
    return bool(_PHONE.fullmatch(text)) and 7 <= sum(c.isdigit() for c in text) <= 15


_LOOKS: dict[str, Callable[[str], bool]] = {
    "e-mail": lambda text: bool(_EMAIL.search(text)),
    "UUID": lambda text: bool(_UUID.fullmatch(text)),
    "IBAN": _is_iban,
    "card number": _is_card,
    "IP address": lambda text: bool(_IP.fullmatch(text)),
    "phone": _is_phone,
}
