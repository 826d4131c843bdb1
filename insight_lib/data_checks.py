"""What a page stands on: rows that could not be loaded, and keys that find no partner.

Shown on every page that counts rows, so that a total is never called whole when it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from insight_lib.findings import Check, Gate, Measured, Prose, Verdict, counted
from insight_lib.lake.links import Link, is_broken
from insight_lib.lake.store import TableEntry
from insight_lib.market import Market

# Up to this share of a delivery in quarantine a total is still called whole.
_LARGEST_LOST_SHARE = 0.02


def describe_data(market: Market, *, said: Sequence[str] = ()) -> list[Check | Gate]:
    """The checks of what was loaded that a market's pages rest on.

    Args:
        said: Tables of which the page itself says how many rows could not be loaded.

    Returns:
        One check per table of which rows are in quarantine, were given anew or kept, and one per
        link that finds few partners; consents that name nobody are a gate before any contact.
    """
    manifest = market.manifest()
    if manifest is None:
        return []
    stage = market.stage.id
    found: list[Check | Gate] = []
    for name, entry in sorted(manifest.tables.items()):
        lost = 0 if name in said else entry.lost
        if lost or entry.copies or entry.kept or entry.corrected:
            found.append(_rows(stage, name, entry, lost, market))
    found += [_refused(stage, name, why, market) for name, why in manifest.refused.items()]
    links = [Link(**entry) for entry in manifest.links]
    found += [_link(stage, link, market) for link in links if link.keys and link.share < 1]
    if manifest.questions:
        found.append(_questions(stage, manifest.questions, market))
    return found


def _measured(value: float, n: int, market: Market) -> Measured:
    return Measured(value=value, unit="share", n=n, as_of=market.as_of)


def _rows(stage: str, name: str, entry: TableEntry, lost: int, market: Market) -> Check:
    n = entry.in_scope
    share = lost / max(n, 1)
    is_whole = share <= _LARGEST_LOST_SHARE
    has_many_copies = entry.copies > _LARGEST_LOST_SHARE * n
    parts: list[Prose] = []
    if lost:
        parts.append(
            Prose(
                "{n} of {all} rows of {name} ({share}) could not be loaded and are in no total",
                n=counted(lost, n, market.as_of),
                all=counted(n, n, market.as_of),
                name=name,
                share=_measured(share, n, market),
            )
        )
    if entry.copies:
        parts.append(
            Prose(
                "{n} rows of {name} came more than once, the same in all, and count once",
                n=counted(entry.copies, n, market.as_of),
                name=name,
            )
        )
    if entry.corrected:
        parts.append(
            Prose(
                "{n} rows of {name} were corrected by a newer delivery",
                n=counted(entry.corrected, n, market.as_of),
                name=name,
            )
        )
    if entry.kept:
        parts.append(
            Prose(
                "{n} rows of {name} stay from earlier deliveries whose files are gone",
                n=counted(entry.kept, n, market.as_of),
                name=name,
            )
        )
    return Check(
        id=f"{stage}.data.{name}",
        rows=("C2.1",),
        statement=_joined(parts),
        verdict=Verdict.PASS if is_whole and not has_many_copies else Verdict.REVIEW,
        owner="data-engineer",
        evidence=(name,),
        value=_measured(share, n, market),
        good="down",
        so_what=Prose(
            "{advice}",
            advice="If they are not copies (the same thing bought twice), the key lacks what tells "
            "them apart: declare it, such as a line number."
            if is_whole and has_many_copies
            else "No action."
            if not lost
            else "Too few to change a total."
            if is_whole
            else "No total of these rows is the whole: correct them, or declare how they are "
            "written, and load them again.",
        ),
        weight=1.0 if is_whole else 8.0,
    )


def _refused(stage: str, name: str, why: str, market: Market) -> Check:
    stands = name in market.versions
    return Check(
        id=f"{stage}.data.refused_{name}",
        rows=("C2.1",),
        statement=Prose("The latest delivery of {name} was refused: {why}.", name=name, why=why),
        verdict=Verdict.FAIL,
        owner="data-engineer",
        evidence=(name,),
        so_what=Prose(
            "{stands} Correct it and load it again.",
            stands="The last good one stands." if stands else "This page does without it.",
        ),
        weight=10.0,
    )


def _joined(parts: Sequence[Prose]) -> Prose:
    names = {f"part_{chr(97 + i)}": part for i, part in enumerate(parts)}
    return Prose("; ".join(f"{{{name}}}" for name in names) + ".", **names)


def _link(stage: str, link: Link, market: Market) -> Check | Gate:
    fields: dict[str, Any] = {
        "id": f"{stage}.links.{link.table}_{link.column}",
        "rows": ("C2.1",),
        "statement": Prose(
            "{found} of {keys} {what} of {table} are in the table of {owner}.",
            found=counted(link.found, link.keys, market.as_of),
            keys=counted(link.keys, link.keys, market.as_of),
            what=link.column.removesuffix("_id") + "s",
            table=link.table,
            owner=link.owner,
        ),
        "owner": "data-engineer",
        "evidence": (link.table,),
        "value": _measured(link.share, link.keys, market),
        "good": "up",
    }
    if not is_broken(link):
        return Check(
            **fields,
            verdict=Verdict.PASS if link.share >= 0.95 else Verdict.REVIEW,
            so_what=Prose(
                "What {owner} tell is known of these alone. {advice}",
                owner=link.owner,
                advice=_capital(link.advice) or "Ask whether the rest belong there.",
            ),
        )
    advice = _capital(link.advice) or "Compare how the two sources write the key."
    if link.table == "consents":
        return Gate(
            **fields,
            verdict=Verdict.FAIL,
            blocks=("decisions",),
            so_what=Prose("Refusals name nobody whom we know. {advice}", advice=advice),
            weight=20.0,
        )
    return Check(
        **fields,
        verdict=Verdict.FAIL,
        so_what=Prose("What joins the two is left out of every page. {advice}", advice=advice),
        weight=12.0,
    )


def _questions(stage: str, questions: tuple[str, ...], market: Market) -> Check:
    return Check(
        id=f"{stage}.data.questions",
        rows=("C2.1",),
        statement=Prose("{words}.", words="; ".join(questions)),
        verdict=Verdict.REVIEW,
        owner="data-engineer",
        evidence=tuple(sorted(market.versions)) or ("transactions",),
        so_what=Prose("Say which of it holds."),
        weight=9.0,
    )


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:] + "." if words else ""
