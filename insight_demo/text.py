"""Calls, chats, reviews and posts: topics by language, one of them emerging, and names in some."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from insight_demo.clock import at_hours
from insight_demo.columns import canonical, numbered, pick, stream, take
from insight_demo.people import People
from insight_demo.worlds import World

# The last topic is the emerging one.
SHOP_TOPICS = ("delivery", "size", "quality", "refund", "zipper")
SOFTWARE_TOPICS = ("outage", "usability", "praise", "billing", "export")
SENTIMENT = (-0.5, -0.2, 0.8, -0.4, -0.8)
EMERGING_WEEKS = 8  # before the end
_SHARES = (0.3, 0.25, 0.3, 0.15)
# Sentences by language (or trade) and topic, in the order of the topics.
_PHRASES = Path(__file__).with_name("phrases.json")
# Fictional: reserved for drama where a country has such numbers, unassignable where not.
PLANTED = {
    "DE": ("Käthe Sonnwald", "+49 30 23125 042", "Ich heiße {name}, bitte rufen Sie {phone} an."),
    "BR": ("Iracema Boavista", "+55 11 0042-1234", "Meu nome é {name}, liguem para {phone}."),
    "JP": ("架空花子", "+81 90 0042 1234", "{name}と申します。{phone}へお電話ください。"),
    "KE": ("Zawadi Fictional", "+254 000 000 042", "My name is {name}, please call {phone}."),
    "US": ("Penny Farthingale", "+1 212 555 0142", "My name is {name}, please call {phone}."),
}
PLANTED_DOCUMENTS = 5
# Neither tagged nor in the market's language: Esperanto, which no market expects.
_STRANGE = "La vendejo estas bela kaj la homoj estas afablaj, dankon."


def topic_names(world: World) -> tuple[str, ...]:
    """Topics of the market's documents; the last one emerges."""
    return SOFTWARE_TOPICS if world.business else SHOP_TOPICS


def transcripts_table(
    world: World, seed: int, people: People
) -> tuple[pa.Table, dict[str, object]]:
    """Documents of the last year, with the topic of each as truth.

    In the last `EMERGING_WEEKS` the last topic takes a quarter of all documents. A few documents
    hold one fictional name and phone number; a few have no language tag and a language that
    the market does not speak.
    """
    rng = stream(seed, world.id, "transcripts")
    n = int(min(1200, max(200, len(people) // 4)))
    span = min(365, world.days)
    day = world.days - 1 - np.sort(rng.integers(0, span, n))[::-1]
    emerging_day = world.days - 7 * EMERGING_WEEKS
    shares = np.array([(*_SHARES, 0.0), (*(0.75 * s for s in _SHARES), 0.25)])
    topic = pick(rng, shares, (day >= emerging_day).astype(np.int64))
    topics = topic_names(world)
    phrases = json.loads(_PHRASES.read_text(encoding="utf-8"))
    texts = phrases["software" if world.business else world.language[:2]]
    first, second = rng.integers(0, 3, n), rng.integers(0, 3, n)
    two = (rng.random(n) < 0.5) & (first != second)
    gap = "" if world.language.startswith("ja") else " "
    bodies = [
        texts[t][a] + (gap + texts[t][b] if both else "")
        for t, a, b, both in zip(topic, first, second, two, strict=True)
    ]
    name, phone, sentence = PLANTED[world.country]
    planted = np.sort(rng.choice(n, PLANTED_DOCUMENTS, replace=False))
    for at in planted:
        bodies[at] += gap + sentence.format(name=name, phone=phone)
    strange = rng.random(n) < world.faults.untagged_language_share
    strange[planted] = False
    bodies = [_STRANGE if odd else body for odd, body in zip(strange, bodies, strict=True)]
    moments = at_hours(world, rng, day, rng.integers(0, 2, n), ("office", "app"))
    known = people.first_day[rng.integers(0, len(people), n)]
    who = np.where(known <= day, rng.integers(0, len(people), n), -1)
    ids = numbered("T", np.arange(n) + 1, 6)
    table = canonical(
        "transcripts",
        {
            "document_id": ids,
            "customer_id": take(people.ids, who),
            "occurred_at": moments.utc,
            "channel": take(("call", "chat", "review", "social"), pick(rng, (2, 3, 4, 1), n)),
            "language": take((world.language,), np.where(strange, -1, 0)),
            "body": bodies,
        },
    )
    truth = {
        "document_id": ids,
        "topic": take(topics, np.where(strange, -1, topic)),
        "sentiment": [0.5 if odd else SENTIMENT[t] for t, odd in zip(topic, strange, strict=True)],
        "holds_planted_person": np.isin(np.arange(n), planted),
        "is_unknown_language": strange,
    }
    return table, truth
