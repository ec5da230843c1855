"""Clients of a simulated cluster: each asks one thing after the other of any node, and writes down what it was told.

A definite refusal is not part of the history (it says that nothing happened, which the checker then relies on);
-INDETERMINATE and the death of the node asked leave an operation of which nobody knows. Every value is written once, so
a version (`vcas`) and what is watched (`exec`) compare like the value that was read with them.
Objects: registers r (set, get, cas by value), counters n, texts t (append), versioned v (set, get, cas by version), and
pairs p of two keys, written and read together (MULTI, with what was watched).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

from tests.sim.cluster.linear import NEVER, UNKNOWN, Call
from tests.sim.cluster.world import SimNode, World
from vaylix_resp.commands.operations import transaction
from vaylix_resp.engine.node import Run
from vaylix_resp.errors import CommandError
from vaylix_resp.resp.reply import OK
from vaylix_resp.state.machine import StateMachine

Operation = Sequence[bytes]
KINDS = {
    "r": ("get", "get", "set", "cas"),
    "n": ("get", "incr", "incr"),
    "t": ("get", "append"),
    "v": ("get", "set", "vcas", "vcas"),
    "p": ("get", "pset", "exec", "exec"),
}
BEAT_S = 0.05  # clients that ask on it share batches
SEEN_MAX = 5


class SimClient:
    """Keys of counters, registers and texts are apart, so that no request is refused for its type."""

    def __init__(
        self, world: World, name: str, history: History, *, node: int | None = None, keys: int = 2, fast: bool = False
    ) -> None:  # fmt: skip
        self.world, self.name, self.history, self.node, self.keys = world, name, history, node, keys
        self.asked: SimNode | None = None
        self.count = 0
        self.began = 0.0
        self._on_beat = world.random.random() < 0.5
        self._rate = 20.0 if fast else world.random.choice((20.0, 20.0, 1.0))
        self._patience_s = (
            1.0 if fast else world.random.choice((0.0, 1.0, 3.0))
        )  # of a read; then it asks somebody else; 0: for ever
        world.on_stop.append(self._node_stopped)
        world.after(world.random.uniform(0, 0.5), self.ask)

    def ask(self) -> None:
        world, random = self.world, self.world.random
        if self.history.closed or self.asked is not None:
            return
        up = [node for node in world.nodes.values() if node.belongs and self.node in (None, node.id)]
        if not up:
            if self.node is not None and (world.nodes[self.node].up or world.nodes[self.node].gone):
                self.node = None  # it has left
            world.after(0.2, self.ask)
            return
        self.asked = node = random.choice(up)
        family = random.choice("rrnntvp")
        self.kind = kind = random.choice(KINDS[family])
        self.key = key = b"%s%d" % (family.encode(), random.randrange(self.keys))
        self.count += 1
        self.began = world.now
        operation, self.words = self._operation(kind, key, f"{self.name}.{self.count};".encode())
        replica = node.replica
        assert replica is not None
        if replica.refusal is not None and operation is not None:
            self._next(None)
            return
        run = replica.join(self)
        run.items.append((self.count, node, operation))
        if operation is not None:
            run.add((operation,))
        if self._patience_s and operation is None:
            world.after(self._patience_s, self._give_up, self.count)

    def _give_up(self, count: int) -> None:
        """Whatever the answer to this read will be: nobody hears it. (Writes are waited for: what nobody knows makes
        histories hard to check.)"""
        if count == self.count and self.asked is not None:
            self._next(None)

    def _operation(self, kind: str, key: bytes, value: bytes) -> tuple[Operation | None, tuple[bytes | None, ...]]:
        """What goes to the log, and what the checker has to know of it."""
        seen = self.history.seen.setdefault(key, [])
        old, version = self.world.random.choice(seen) if seen else (None if kind == "exec" else b"x", 0)
        match kind:
            case "get":
                return None, ()
            case "incr":
                return (b"INCR", key), ()
            case "set" | "append":
                return (kind.upper().encode(), key, value), (value,)
            case "cas":
                return (b"CAS", key, old or b"", value), (old, value)
            case "vcas":
                return (b"EXCAS", key, value, b"%d" % version), (old, value)
        watched = [(0, key + b"a", version)] if kind == "exec" else []
        writes = [(0, (b"SET", key + half, value)) for half in (b"a", b"b")]
        return transaction(watched, writes), ((old, value) if kind == "exec" else (value,))

    # engine.node.Owner

    def complete(self, run: Run) -> None:
        ((count, node, operation),) = run.items
        waits = count == self.count and self.asked is not None
        machine = node.replica.machine
        if operation is not None:
            (reply,) = machine.apply_all([operation])
            self.world.answered(node)
            assert not isinstance(reply, CommandError), reply.text
            if waits:
                self._next(understood(self.kind, reply), seen=True)
        elif waits:
            self._next(self._read(machine), seen=True)

    def _read(self, machine: StateMachine) -> bytes | None:
        view, key = machine.world.views[0], self.key
        if key[:1] == b"p":
            value, other = view.string(key + b"a"), view.string(key + b"b")
            assert value == other, f"half of a transaction: {value!r} and {other!r}"
            key += b"a"
        else:
            value = view.string(key)
        if value is not None and self.kind == "get":
            seen = self.history.seen.setdefault(self.key, [])
            seen.append((value, view.version(key)))
            del seen[:-SEEN_MAX]
        return value

    def fail(self, run: Run, refusal: CommandError) -> None:
        self.history.codes[refusal.code] = self.history.codes.get(refusal.code, 0) + 1
        ((count, _, _),) = run.items
        if count != self.count or self.asked is None:
            return
        if refusal.code == "INDETERMINATE":
            assert self.kind != "get", "a read has no effect: its error is definite"
            self._next(UNKNOWN, seen=True)
        else:
            self._next(None)

    def _node_stopped(self, node: SimNode) -> None:
        if node is self.asked:
            self._next(UNKNOWN, seen=self.kind != "get")

    def _next(self, reply: Any, *, seen: bool = False) -> None:
        world = self.world
        if seen:
            ended = NEVER if reply is UNKNOWN else world.now
            call = Call(self.name, self.began, ended, self.kind, self.words, reply)
            self.history.calls.setdefault(self.key, []).append(call)
        self.asked = None
        pause = world.random.expovariate(self._rate)
        if self._on_beat:
            pause = ceil((world.now + pause) / BEAT_S) * BEAT_S - world.now
        world.after(pause, self.ask)


def understood(kind: str, reply: Any) -> Any:
    """As `linear.step` says it."""
    if kind == "set":
        return "OK"
    if kind == "pset":
        assert isinstance(reply, list) and len(reply) == 2, reply
        return "OK"
    if kind == "exec":
        return 1 if isinstance(reply, list) else 0
    if kind == "vcas":
        return reply if reply == -1 else int(reply[0] is OK)
    return reply


class History:
    def __init__(self) -> None:
        self.calls: dict[bytes, list[Call]] = {}
        self.seen: dict[bytes, list[tuple[bytes, int]]] = {}  # values that were read, with their versions
        self.codes: dict[str, int] = {}
        self.closed = False

    @property
    def done(self) -> int:
        return sum(call.ended != NEVER for calls in self.calls.values() for call in calls)
