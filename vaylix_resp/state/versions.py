"""Which version of the log's language a node understands, which one is in force, and what each kind of entry needs.

A node understands all versions up to `CURRENT`. The version in force is a part of the state: 1 in every state that
says nothing of it, and raised by an entry `@version n` when every member understands n. What an older member would not
know is not proposed before that, so nodes of two releases can work together while one after the other is replaced.
Promises: the version in force never falls; nothing that `REQUIRED` names is in a log before its version is in force;
a state or an entry of a version that is not understood is refused (TooNew), never read as something else.
Not here: when it rises (`engine.replication.rising`), the entry itself (`commands.cluster_operations`).
Source: the same idea is etcd's cluster version and CockroachDB's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ..errors import EX_CONFIG, Refused

if TYPE_CHECKING:
    from .machine import World

FIRST: Final = 1  # of every state that names none
CURRENT: Final = 3  # the highest that this software understands

# By the name of an operation, or in capitals of a request that is one: the version from which on it may be in the log.
# A name that is not here has been understood from the first version on; a kind of batch is named by its only operation.
# `@version` is what opens the gate: it needs that every member understands the version that it names, and stands in
# front of everything that needs that one.
REQUIRED: Final[Mapping[bytes, int]] = {
    b"@digest": 2,
    b"@evict": 3,
}


class TooNew(Refused):
    """Only other software can go on with this data. Nothing has been changed."""

    exit_code = EX_CONFIG

    def __init__(self, found: int, understood: int, where: str = "in this data") -> None:
        self.found, self.understood = found, understood
        way = "start a newer version of vaylix" if understood >= CURRENT else "raise or remove cluster-version-max"
        super().__init__(
            f"cluster version {found} is in force {where}, and this node understands versions up to {understood}; to "
            f"continue: {way}"
        )


def allowed(most: int) -> int:
    """What a node lets come into force that is to go no further than `most`; 0: as far as it can."""
    return min(most, CURRENT) if most else CURRENT


def version_in_force(world: World) -> int:
    """What the log has agreed on, as far as this state has got."""
    return world.cluster_version


def raise_to(world: World, version: int) -> None:
    """An entry or a snapshot says so. Raises TooNew."""
    if version > world.understands:
        raise TooNew(version, world.understands)
    world.cluster_version = max(world.cluster_version, version)


def needed(name: bytes, in_force: int) -> int:
    """The version that an operation of this name waits for; 0: none, it may be proposed."""
    version = REQUIRED.get(name, FIRST)
    return version if version > in_force else 0


def dump(world: World) -> list[Any]:
    return [world.cluster_version]


def load(world: World, dumped: list[Any]) -> None:
    """Raises TooNew, and ValueError for what `dump` does not make."""
    (version,) = dumped
    if not isinstance(version, int) or version <= FIRST:
        raise ValueError(version)
    raise_to(world, version)


def digest_input(world: World) -> bytes:
    """What a digest of the state has to cover; nothing of a state that says nothing of it."""
    return b"version%d" % world.cluster_version if world.cluster_version > FIRST else b""
