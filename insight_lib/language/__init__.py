"""How a language writes numbers, money, dates, lists and plurals (CLDR, through babel)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Language:
    """One entry of `languages.yaml`.

    Attributes:
        locale: As in CLDR; decides separators, percent, currency and plurals.
        lists: The locale whose lists it writes.
        large: Suffix of large amounts to what they are divided by, largest first.
        nouns: Singular and plural of what is counted, by plural category.
    """

    code: str
    locale: str
    lists: str
    day_format: str
    likely: str
    range: str
    in_hundred: str
    unknown: str
    large: Mapping[str, int]
    nouns: Mapping[str, Mapping[str, str]]

    def number(self, text: str) -> str:
        """A number as Python writes it (`1,234.5`), in this language's separators."""
        comma, point, percent = _signs(self.locale)
        del percent
        return text.translate({ord(","): comma, ord("."): point}).replace("-", "−")

    def percent(self, text: str) -> str:
        return self.number(text) + _signs(self.locale)[2]

    def money(self, text: str, currency: str, suffix: str) -> str:
        """An amount without its sign; the symbol stands where the language puts it."""
        from babel import Locale
        from babel.numbers import get_currency_symbol

        symbol = get_currency_symbol(currency, locale=self.locale)
        if not Locale.parse(self.locale).currency_formats["standard"].pattern.startswith("¤"):
            return f"{self.number(text)}{suffix}\N{NO-BREAK SPACE}{symbol}"
        space = " " if len(symbol) > 2 else ""
        return f"{symbol}{space}{self.number(text)}{suffix}"

    def counted(self, text: str, noun: str) -> str:
        """A number as Python writes it, with its noun; a noun that is not known stands as it is."""
        from decimal import Decimal

        from babel import Locale

        forms = self.nouns.get(noun)
        if forms is None:
            return f"{self.number(text)} {noun}"
        n = Decimal(text.replace(",", "").replace("−", "-"))
        form = Locale.parse(self.locale).plural_form(abs(n))
        return f"{self.number(text)} {forms.get(form, forms['other'])}"

    def day(self, value: date) -> str:
        from babel.dates import format_date

        return format_date(value, self.day_format, locale=self.locale)

    def listed(self, names: Sequence[str]) -> str:
        """`a, b and c`."""
        from babel.lists import format_list

        return format_list(list(names), locale=self.lists)


@cache
def _signs(locale: str) -> tuple[str, str, str]:
    """Thousands, decimals, and what follows a percentage."""
    from babel import Locale
    from babel.numbers import get_decimal_symbol, get_group_symbol

    percent = Locale.parse(locale).percent_formats[None].pattern.rsplit("0", 1)[-1]
    return get_group_symbol(locale), get_decimal_symbol(locale), percent


@cache
def language(code: str) -> Language:
    """A language of `languages.yaml`.

    Raises:
        LookupError: It is not there; says which are.
    """
    import yaml

    known: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("languages.yaml").read_text())
    if code not in known:
        raise LookupError(f"no language {code!r} in languages.yaml, only {', '.join(known)}")
    return Language(code=code, **known[code])
