"""Where a model may run: residency rules of the law against sites the company has.

Where a rule forbids a site, it is out whatever it costs; among those left the cheapest that
is large enough is advised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from insight_lib.findings import TooFew
from insight_lib.market_model import Residency
from insight_lib.prediction.document import canonical_bytes
from insight_lib.registers import Site

_GIB = 2**30
_BYTES_PER_NUMBER = 8
_DOCUMENT_OVERHEAD = 12  # a parsed JSON object is about so many times its text
_COPIES = 4  # inputs as read, as encoded, in work, and as written
_RUNTIME_BYTES = 200 * 2**20  # Python and numpy


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A site that may not or cannot run the model, with every reason.

    Attributes:
        id: Of the site in the register.
    """

    id: str
    site: Site
    reasons: tuple[str, ...]
    is_forbidden: bool


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Where a model may run.

    Attributes:
        advised: The cheapest allowed site that is large enough; None if there is none.
        allowed: All of them, cheapest first.
        refused: The others, by id.
        memory_gib: What the model takes.
        takes: What it would take, where nothing is allowed.
    """

    advised: Site | None
    allowed: tuple[Site, ...]
    refused: tuple[Refusal, ...]
    memory_gib: float
    takes: str


def sites_of(market: str, sites: Mapping[str, Site]) -> tuple[dict[str, Site], str]:
    """The sites that were looked at for a market by id, and the currency of their costs.

    Raises:
        TooFew: No site names the market, or their costs are in several currencies.
    """
    mine = {name: site for name, site in sites.items() if market in site.markets}
    if not mine:
        raise TooFew("no site in the register of sites names this market")
    currencies = sorted({site.currency for site in mine.values()})
    if len(currencies) > 1:
        raise TooFew(f"sites cost {' and '.join(currencies)}, so none is the cheapest")
    return mine, currencies[0]


def estimate_memory(document: Mapping[str, Any], *, n_customers: int) -> float:
    """Memory in GiB that scoring takes: the document, all customers' inputs, the runtime.

    An upper guess, linear in customers.
    """
    model = len(canonical_bytes(document)) * _DOCUMENT_OVERHEAD
    rows = n_customers * (len(document["inputs"]) + 1) * _BYTES_PER_NUMBER * _COPIES
    return (model + rows + _RUNTIME_BYTES) / _GIB


def advise_deployment(
    sites: Mapping[str, Site], *, residency: Residency, country: str, memory_gib: float
) -> Deployment:
    """Say where the model of a market may run, and where it should.

    Args:
        sites: By id.
        country: ISO 3166 code of the market.
        memory_gib: What the model takes, from `estimate_memory`.
    """
    allowed, refused = [], []
    for name, site in sites.items():
        outside = _outside(site, residency, country)
        reasons = []
        if outside:
            reasons.append(f"data would reach {', '.join(outside)}; {_words(residency, country)}")
        if site.memory_gib < memory_gib:
            reasons.append(
                f"{site.memory_gib:g} GiB of memory, and the model takes {memory_gib:.1f}"
            )
        if reasons:
            found = Refusal(id=name, site=site, reasons=tuple(reasons), is_forbidden=bool(outside))
            refused.append(found)
        else:
            allowed.append((site.monthly_cost_amount, name, site))
    allowed.sort(key=lambda found: found[:2])
    return Deployment(
        advised=allowed[0][2] if allowed else None,
        allowed=tuple(site for _, _, site in allowed),
        refused=tuple(sorted(refused, key=lambda r: r.id)),
        memory_gib=memory_gib,
        takes="" if allowed else _takes(refused, residency, country, memory_gib),
    )


def _outside(site: Site, residency: Residency, country: str) -> list[str]:
    if residency.rule == "free":
        return []
    region = {country} if residency.rule == "in_country" else {country, *residency.countries}
    return sorted(set(site.countries) - region)


def _words(residency: Residency, country: str) -> str:
    where = {
        "in_country": f"personal data stay in {country}",
        "in_region": f"personal data stay in {country} and the countries that its law accepts",
        "free": "",
    }[residency.rule]
    return f"{where} ({residency.clause})" if residency.clause else where


def _takes(
    refused: Sequence[Refusal], residency: Residency, country: str, memory_gib: float
) -> str:
    """The smallest change that would allow a site."""
    too_small = [r for r in refused if not r.is_forbidden]
    if too_small:
        largest = max(too_small, key=lambda r: (r.site.memory_gib, r.id)).site
        return f"{memory_gib - largest.memory_gib:.1f} GiB more memory at {largest.title}"
    where = country if residency.rule == "in_country" else f"{country} or a country its law accepts"
    return f"a site in {where} with {memory_gib:.1f} GiB of memory"
