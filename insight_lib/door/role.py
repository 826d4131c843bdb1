"""Who reads: a role of `registers/roles.yaml`, for its markets and purposes, until its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from insight_lib.door.rule import Refused, Rule

if TYPE_CHECKING:
    from insight_lib.door.door import Door
    from insight_lib.registers import Role

_KNOWN = "parameters/registers/roles.yaml"


def role_of(door: Door) -> Role:
    """The role that reads.

    Raises:
        Refused: It is not in the register.
    """
    role = door.project.registers.roles.get(door.request.role)
    if role is None:
        raise Refused(f"role {door.request.role!r} is not in {_KNOWN}; add it or choose another")
    return role


class MayRead(Rule):
    """The role may read this market for the purpose of this stage."""

    def refuse(self, door: Door, name: str) -> None:
        del name
        role, who = role_of(door), f"role {door.request.role!r}"
        if "all" not in role.markets and door.config.id not in role.markets:
            raise Refused(f"{who} may not read {door.config.id}: {_KNOWN}, `markets`")
        if door.stage.purpose not in role.purposes:
            raise Refused(f"{who} may not work for {door.stage.purpose}: {_KNOWN}, `purposes`")
        if role.expires and door.request.as_of > role.expires:
            raise Refused(f"{who} expired on {role.expires}: {_KNOWN}, `expires`")
