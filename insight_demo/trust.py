"""Consent that depends on value, and the identifiers of one person in several systems."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from insight_demo.clock import dates
from insight_demo.columns import (
    Array,
    blank,
    canonical,
    numbered,
    scrambled,
    sorted_by,
    stream,
    take,
)
from insight_demo.people import People
from insight_demo.worlds import World

WORDING_CHANGED = date(2024, 7, 1)
NEVER_ASKED_SHARE = 0.04


def refusal_shares(world: World, people: People) -> Array:
    """True chance to refuse: customers × purposes, logistic in the standardised value."""
    consent = world.consent
    steps = np.array(consent.purpose_steps)
    logit = consent.refuse_intercept + steps + consent.refuse_slope * people.value_z[:, None]
    found: Array = 1 / (1 + np.exp(-logit))
    return found


def consents_table(world: World, seed: int, people: People) -> tuple[pa.Table, dict[str, object]]:
    """Decisions as a history; under opt-out only refusals are written down.

    One draw per customer decides all purposes, so who refuses analytics refuses the rest.
    """
    rng = stream(seed, world.id, "consents")
    n, purposes = len(people), world.consent.purposes
    shares = refusal_shares(world, people)
    refused = rng.random(n)[:, None] < shares
    asked = rng.random(n) >= NEVER_ASKED_SHARE
    withdraws = (rng.random(n) < world.consent.withdraw_share)[:, None] & ~refused
    is_opt_in = world.consent.basis == "opt_in"
    first = asked[:, None] & (refused | is_opt_in)
    who, purpose = np.nonzero(first)
    wait = rng.integers(30, 400, n)
    later_day = people.first_day + wait
    who_later, purpose_later = np.nonzero(
        withdraws & asked[:, None] & (later_day < world.days)[:, None]
    )
    rows = np.concatenate([who, who_later])
    delay = 0 if is_opt_in else 5
    first_day = np.minimum(people.first_day + delay, world.days - 1)
    day = np.concatenate([first_day[who], later_day[who_later]])
    is_refused = np.concatenate([refused[who, purpose], np.ones(len(who_later), dtype=bool)])
    second = rng.integers(9 * 3600, 21 * 3600, n)[rows]
    table = canonical(
        "consents",
        {
            "customer_id": people.ids.take(pa.array(rows)),
            "purpose": take(purposes, np.concatenate([purpose, purpose_later])),
            "decision": take(("granted", "refused"), is_refused.astype(int)),
            "decided_at": dates(world, day).astype("datetime64[s]")
            + second.astype("timedelta64[s]"),
            "wording_version": take(("v1", "v2"), (day >= world.day(WORDING_CHANGED)).astype(int)),
        },
    )
    truth: dict[str, object] = {"customer_id": people.ids, "value_z": people.value_z}
    truth |= {f"refuse_{name}_share": shares[:, i] for i, name in enumerate(purposes)}
    return sorted_by(table, "decided_at", "customer_id", "purpose"), truth


# Names by language; the domains are reserved for examples, and no numbering plan gives out
# subscriber numbers that begin with zero, so nobody real is meant.
_NAMES = {
    "de": ("anna", "lukas", "jonas", "lena", "felix", "mia", "paul", "emma", "karin", "uwe"),
    "pt": ("ana", "joao", "maria", "pedro", "julia", "lucas", "beatriz", "rafael", "carla", "davi"),
    "ja": ("yuki", "haruto", "sakura", "ren", "aoi", "hinata", "yuto", "rin", "kaito", "mei"),
    "en": ("james", "grace", "mary", "john", "amina", "kevin", "linda", "brian", "ruth", "peter"),
}
_SURNAMES = {
    "de": ("mueller", "schmidt", "fischer", "weber", "wagner", "becker", "koch", "richter"),
    "pt": ("silva", "santos", "oliveira", "souza", "lima", "costa", "pereira", "rocha"),
    "ja": ("sato", "suzuki", "takahashi", "tanaka", "ito", "yamamoto", "kobayashi", "kato"),
    "en": ("otieno", "smith", "kamau", "jones", "brown", "wanjiru", "davis", "miller"),
}
_DIAL = {"DE": "+49300", "BR": "+55110", "JP": "+81900", "KE": "+25470", "US": "+12120"}
# system, share of customers with a record, keeps e-mail and phone, device, loyalty card, cookie
_SYSTEMS = (
    ("web shop", 1.0, True, True, False, True),
    ("app", 0.5, True, True, False, False),
    ("loyalty", 0.55, True, False, True, False),
    ("call centre", 0.2, True, False, False, False),
)
# Knows people by their third-party cookie alone: without cookies its records join nothing.
AD_NETWORK = ("ad network", 0.3, False, False, False, True)


def identities_table(world: World, seed: int, people: People) -> tuple[pa.Table, dict[str, object]]:
    """Records of several systems, keys partly missing or mistyped, some without the customer.

    Returns:
        The records, and per record the person it belongs to, whether it has a typo, and
        whether a cookie alone can join it to another record of the person.
    """
    rng = stream(seed, world.id, "identities")
    faults, n = world.faults, len(people)
    language = world.language[:2]
    names, surnames = _NAMES[language], _SURNAMES[language]
    given, family = rng.integers(0, len(names), n), rng.integers(0, len(surnames), n)
    pool = pa.array([f"{a}.{b}" for a in names for b in surnames])
    email = pc.binary_join_element_wise(
        pool.take(pa.array(given * len(surnames) + family)),
        numbered("", people.number % 100_003, 1),
        pa.scalar("@example."),
        take(("com", "org", "net"), rng.integers(0, 3, n)),
        "",
    )
    phone = numbered(_DIAL[world.country], people.number % 10_000_000, 7)
    systems = (*_SYSTEMS, AD_NETWORK) if world.has_third_party_cookies else _SYSTEMS
    has = rng.random((n, len(systems))) < np.array([row[1] for row in systems])
    who, system = np.nonzero(has)
    is_network = system == len(_SYSTEMS)
    gone = rng.random((len(who), 5))

    def is_kept(column: int, flag: int) -> Array:
        kept: Array = np.array([bool(row[flag]) for row in systems])[system]
        return kept & ((gone[:, column] >= faults.identity_missing) | is_network)

    def keep(values: pa.Array, column: int, flag: int) -> pa.Array:
        return blank(values.take(pa.array(who)), ~is_kept(column, flag))

    emails = keep(email, 0, 2)
    has_typo = (rng.random(len(who)) < faults.typo_share) & emails.is_valid().to_numpy(False)
    at = np.flatnonzero(has_typo)
    typed = emails.take(pa.array(at)).to_pylist()
    places = rng.random(len(at))
    wrong = [_swapped(text, place) for text, place in zip(typed, places, strict=True)]
    emails = pc.replace_with_mask(emails, pa.array(has_typo), pa.array(wrong, pa.string()))
    unlinked = (rng.random(len(who)) < faults.unlinked_share) | is_network
    has_cookie = is_kept(4, 5) & world.has_third_party_cookies
    shop_cookie = np.zeros(n, dtype=bool)
    shop_cookie[who[(system == 0) & has_cookie]] = True
    own = people.ids.take(pa.array(who))
    record = numbered("I", scrambled(people.number[who] * 8 + system), 13)
    serial = scrambled(people.number * 8 + 5)
    table = canonical(
        "identities",
        {
            "record_id": record,
            "customer_id": blank(own, unlinked),
            "source": take([row[0] for row in systems], system),
            "email": emails,
            "phone": keep(phone, 1, 2),
            "device_id": keep(numbered("D", serial, 13), 2, 3),
            "loyalty_id": keep(numbered("L", people.number + 1, 9), 3, 4),
            "cookie_id": blank(
                numbered("K", scrambled(people.number * 8 + 6), 13).take(pa.array(who)), ~has_cookie
            ),
        },
    )
    truth = {
        "record_id": record,
        "person_id": own,
        "has_typo": has_typo,
        "is_unlinked": unlinked,
        "joins_by_cookie_alone": is_network & shop_cookie[who],
    }
    return table, truth


def _swapped(text: str, place: float) -> str:
    """The text with two neighbouring letters swapped before the @, or one dropped if equal."""
    at = 1 + int(place * (text.index("@") - 2))
    if text[at] == text[at - 1]:
        return text[:at] + text[at + 1 :]
    return text[: at - 1] + text[at] + text[at - 1] + text[at + 1 :]
