"""What the owner of a source lets us do with it, and with all that was made from it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from insight_lib.door.rule import Refused, Rule
from insight_lib.door.snapshot import folder_of
from insight_lib.lake.store import read_commit

if TYPE_CHECKING:
    from datetime import date

    from insight_lib.door.door import Door
    from insight_lib.registers import Licence, Purpose


def refusal(licence: Licence, *, purpose: str, country: str, today: date) -> str | None:
    """Why a licence does not allow a use, with the field that says so, or None.

    Permission is a matter of today, whatever day the data are looked at for: an earlier
    `as_of` does not bring back a licence that has ended.
    """
    if purpose not in licence.uses:
        return f'the licence does not grant {purpose} (`uses`). "{licence.clause}"'
    if "all" not in licence.territories and country not in licence.territories:
        return f"the licence does not cover {country} (`territories`)"
    if licence.expires and today > licence.expires:
        return f"the licence expired on {licence.expires} (`expires`)"
    return None


def sources_of(door: Door, name: str) -> list[str]:
    """The canonical tables that a table was made from, through others too."""
    if name in door.config.sources:
        return [name]
    commit = read_commit(folder_of(door, name), door.request.versions[name])
    sources = json.loads(commit.get("sources", "[]"))
    return [table for table in sources if table in door.config.sources]


def check(door: Door, name: str, purpose: Purpose) -> None:
    """Let a table be used for a purpose, or not.

    Raises:
        Refused: A licence behind it does not grant the purpose.
    """
    for table in sources_of(door, name):
        licence = door.config.sources[table].licence
        if reason := refusal(
            door.project.registers.licences[licence],
            purpose=purpose,
            country=door.config.country,
            today=door.project.today,
        ):
            where = f"parameters/registers/licences.yaml, {licence}"
            raise Refused(f"{door.config.id}.{table}: {reason} ({where})")


class Licensed(Rule):
    """The licences behind a table grant the purpose of the stage."""

    def refuse(self, door: Door, name: str) -> None:
        check(door, name, door.stage.purpose)
