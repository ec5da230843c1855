"""node.json: who this node is among others, how far the founding of its cluster has come, and whom it has seen.

Promises: replaced atomically and durable before anybody is told what is in it; refused if a bit of it differs from what
was written. It belongs to its directory: copies and backups of the data do not have it, so that nothing made from
them can come back as this node. Without it a member's data is refused: nobody would know what it promised.
Units: ids are random 64-bit numbers, never 0, and so are the numbers of processes; `starts` counts these.
Not here: term and vote (`storage.wal`), the cluster's id (`storage.manifest`), the rules of the founding
(`peers.founding`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from xxhash import xxh3_128_hexdigest

from ...peers.founding import Kept
from ...peers.hello import EARLIER_MAX
from ...peers.messages import Founder, Stage
from ...peers.roster import Life
from ...storage import small_file
from ...storage.disk import Disk, join
from ...storage.errors import Corrupt

NAME: Final = "node.json"
FORMAT: Final = 1
NEW_NODE: Final = (
    "remove this node from the cluster (CLUSTER REMOVE), empty the directory and let it join as a new one "
    "(CLUSTER JOIN)"
)
ADVICE: Final = "put node.json back, or remove this node from the cluster and let it join as a new one"


@dataclass(frozen=True, slots=True)
class Joining:
    """This node has been taken into a cluster that existed: its log comes from there.

    `asks`: it came to be a voter, and has not been one yet. `replaces`: cluster and store id, in hex, of the empty
    group of one that it was until then, and whose log is to be removed; "" when there is none (any more).
    """

    cluster: bytes
    asks: bool = True
    replaces: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class NodeFile:
    node: int
    store: int
    starts: int = 0
    kept: Kept = field(default_factory=Kept)
    lives: tuple[tuple[int, Life], ...] = ()
    joining: Joining | None = None
    boots: tuple[int, ...] = ()  # the number of this process and of those before it, the last first

    @classmethod
    def new(cls, random_bits: Callable[[int], int]) -> NodeFile:
        return cls(random_bits(63) + 1, random_bits(63) + 1)

    def started(self, boot: int) -> NodeFile:
        return replace(self, starts=self.starts + 1, boots=(boot, *self.boots[:EARLIER_MAX]))

    def with_life(self, node: int, life: Life) -> NodeFile:
        others = tuple((other, known) for other, known in self.lives if other != node)
        return replace(self, lives=(*others, (node, life)))

    def joins(self, joining: Joining) -> NodeFile:
        return replace(self, joining=joining)


def encode(file: NodeFile) -> bytes:
    body: dict[str, Any] = {
        "format": FORMAT, "node": f"{file.node:016x}", "store": f"{file.store:016x}", "starts": file.starts,
        "stage": int(file.kept.stage),
        "boots": [f"{boot:016x}" for boot in file.boots],
        "table": [[one.name, f"{one.node:016x}", f"{one.store:016x}"] for one in file.kept.table],
        "lives": [[f"{node:016x}", f"{life.store:016x}", life.incarnation] for node, life in file.lives],
        "seen": [[f"{node:016x}", f"{life.boot:016x}"] for node, life in file.lives],
    }  # fmt: skip
    if file.joining is not None:
        one = file.joining
        body["joining"] = {"cluster": one.cluster.hex(), "asks": one.asks, "replaces": list(one.replaces)}
    return _render({"checksum": _checksum(body), **body})


def decode(raw: bytes, path: str) -> NodeFile:
    """Raises Corrupt."""
    try:
        body = json.loads(raw.decode("ascii"))
        assert _render(body) == raw and body.pop("checksum") == _checksum(body), "what was written"
        assert body["format"] == FORMAT, body["format"]
        table = tuple(Founder(name, int(node, 16), int(store, 16)) for name, node, store in body["table"])
        boots = tuple(int(boot, 16) for boot in body.get("boots", ()))  # earlier versions kept neither
        seen = {int(node, 16): int(boot, 16) for node, boot in body.get("seen", ())}
        lives = tuple(
            (int(node, 16), Life(int(store, 16), starts, seen.get(int(node, 16), 0)))
            for node, store, starts in body["lives"]
        )
        return NodeFile(
            int(body["node"], 16), int(body["store"], 16), body["starts"], Kept(Stage(body["stage"]), table), lives,
            _joining(body["joining"]) if "joining" in body else None, boots,
        )  # fmt: skip
    except (AssertionError, KeyError, TypeError, ValueError, AttributeError) as cause:
        raise Corrupt(path, 0, f"a node file as this version writes it ({cause})", advice=ADVICE) from cause


def _joining(body: dict[str, Any]) -> Joining:
    cluster, store = body["replaces"]
    return Joining(bytes.fromhex(body["cluster"]), body["asks"], (cluster, store))


def read(disk: Disk, root: str) -> NodeFile | None:
    path = join(root, NAME)
    raw = small_file.read(disk, path)
    return None if raw is None else decode(raw, path)


def write(disk: Disk, root: str, file: NodeFile) -> None:
    """Durable when this returns. Raises IoFailed."""
    small_file.replace(disk, join(root, NAME), encode(file), private=True)


def refuse_others(found: NodeFile | None, node: int | None, root: str) -> None:
    """Raise Corrupt unless this file and the data are of one node. `node`: whose the data is, None if of no member.

    A node that has met others as a member has promised them what was in its data: without that it may not be believed.
    (Between the founding and its first data it has met nobody so far, and simply goes on.)
    """
    path = join(root, NAME)
    if node is not None and (found is None or found.node != node):
        raise Corrupt(path, 0, "the file of a node whose data says that it is in a cluster", advice=ADVICE)
    if node is None and found is not None and found.lives:
        raise Corrupt(path, 0, "the data of a node that has taken part in a cluster; it is gone", advice=NEW_NODE)


def _checksum(body: dict[str, Any]) -> str:
    return xxh3_128_hexdigest(json.dumps(body, sort_keys=True).encode())


def _render(body: dict[str, Any]) -> bytes:
    return json.dumps(body, indent=1).encode() + b"\n"
