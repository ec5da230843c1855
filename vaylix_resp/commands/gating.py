"""The gate of the cluster version: what a member may not understand is refused before it gets into the log.

Commands that stand in `state.versions.REQUIRED` are asked here before they run or are queued, the server's own entries
when they are proposed. Promise: the error is definite, and names the nodes that hold the version back.
Not here: when a version comes into force (`engine.replication.rising`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from ..errors import CommandError, error
from ..state import versions
from .cluster_view import Member
from .ports import Client, Server
from .spec import CommandSpec

NOT_YET: Final = "{what} needs cluster version {needed}, and {in_force} is in force: {why}; nothing was written"
ON_ITS_WAY: Final = "all nodes understand it, and it is on its way"


def refusal(server: Server, name: bytes) -> CommandError | None:
    """Why an operation of this name may not be proposed yet, if it may not."""
    world = server.machine.world
    needed = versions.needed(name, world.cluster_version)
    if not needed:
        return None
    if server.cluster is not None:
        why = _late(needed, server.cluster.members)
    else:
        why = f"cluster-version-max holds it at {world.understands}"
    return error(NOT_YET.format(what=name.decode("ascii"), needed=needed, in_force=world.cluster_version, why=why))


def _late(needed: int, members: Iterable[Member]) -> str:
    late = [
        f"{member.name} has not said what it understands" if member.understands is None
        else f"{member.name} understands versions up to {member.understands}"
        for member in members
        if (member.understands or 0) < needed
    ]  # fmt: skip
    return ", ".join(late) or ON_ITS_WAY


def gate(specs: Iterable[CommandSpec]) -> None:
    """Have the commands that need a version ask for it."""
    for spec in specs:
        name = spec.name.partition("|")[0].upper().encode()
        if name in versions.REQUIRED:
            spec.forbidden = _asking(name, spec.forbidden)


def _asking(
    name: bytes, otherwise: Callable[[Client], CommandError | None] | None
) -> Callable[[Client], CommandError | None]:
    def forbidden(client: Client) -> CommandError | None:
        refused = refusal(client.server, name)
        return refused if refused is not None or otherwise is None else otherwise(client)

    return forbidden
