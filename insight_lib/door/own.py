"""What nobody has released yet is read by the stage that made it alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from insight_lib.door.rule import Refused, Rule

if TYPE_CHECKING:
    from insight_lib.door.door import Door


class OwnTables(Rule):
    """A stage's `own_tables` are closed to every other stage."""

    def refuse(self, door: Door, name: str) -> None:
        owner = door.project.publisher(name)
        if owner and name in owner.own_tables and owner.id != door.stage.id:
            raise Refused(
                f"{name!r} holds scores that nobody has released yet; only stage {owner.id} "
                "reads it (parameters/lifecycle.yaml, `own_tables`). "
                "Read `scores` for what is released"
            )
