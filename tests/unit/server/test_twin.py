"""Several clients' pipelines in any interleaving answer as a slow twin does, which takes one request at a time.

The twin is the same server that gets each request when the quick one has answered it, alone and with a commit behind
it. So every reply, every published message and the whole state must be explained by one order of requests, that of the
replies. A request that is answered too early, too late, twice, or with what another has done halfway, has no order.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.server.front import Peer, Stage, frames, pack, show
from vaylix_resp.state.values import VERSION_BYTES

CLIENTS = 3
EXAMPLES = 250

# `a` and `b` always exist, so that WATCH has a version to compare; `t` is no number.
KEYS = st.sampled_from(["a", "b", "c", "d", "t"])
BASE = ["MSET a 1 b 2 t text", "SELECT 1", "MSET a 10 b 20 t text", "SELECT 0", "HELLO 3"]
NUMBERS = st.integers(0, 9).map(str)

READS = [
    st.builds("GET {}".format, KEYS), st.builds("STRLEN {}".format, KEYS), st.builds("MGET {} {}".format, KEYS, KEYS),
    st.builds("GETRANGE {} 0 1".format, KEYS), st.just("DBSIZE"), st.builds("EXISTS {} {}".format, KEYS, KEYS),
]  # fmt: skip
WRITES = [
    st.builds("SET {} {}".format, KEYS.filter(lambda key: key != "t"), NUMBERS), st.builds("INCR {}".format, KEYS),
    st.builds("set {} {} NX".format, KEYS, NUMBERS), st.builds("APPEND {} {}".format, KEYS, NUMBERS),
    st.builds("DEL {}".format, st.sampled_from(["c", "d", "c d"])), st.builds("GETSET {} {}".format, KEYS, NUMBERS),
    st.just("SWAPDB 0 1"), st.builds("COPY {} d REPLACE".format, KEYS), st.just("EXPIRE a 1000"),
]  # fmt: skip
SESSION = [
    st.builds("SELECT {}".format, st.sampled_from("012")), st.just("PING"), st.just("CLIENT GETNAME"),
    st.builds("CLIENT SETNAME {}".format, NUMBERS), st.just("SUBSCRIBE ch"), st.just("UNSUBSCRIBE ch"),
    st.builds("PUBLISH ch {}".format, NUMBERS), st.just("PUBSUB NUMSUB ch"),
]  # fmt: skip
WRONG = [
    st.just("NOSUCH"), st.just("GET"), st.just("SET a 1 NOSUCH"), st.just("EXPIRE a x"), st.just("EXEC"),
    st.just("DISCARD"), st.just("MULTI now"), st.just("CLIENT NOSUCH"),
]  # fmt: skip
PLAIN = st.one_of(*READS, *WRITES, *SESSION, *WRONG)
WATCHES = st.lists(st.sampled_from(["WATCH a", "WATCH a b", "UNWATCH"]), max_size=1)
BLOCK = st.builds(
    lambda watches, inside, end: [*watches, "MULTI", *inside, end],
    WATCHES, st.lists(PLAIN, max_size=4), st.sampled_from(["EXEC", "EXEC", "EXEC", "DISCARD"]),
)  # fmt: skip
# Two kinds of pipelines: anything, and the same few commands over and over, which go in rows.
ROW = st.lists(st.one_of(READS[0], WRITES[0], WRITES[1]), max_size=10)
STREAM = st.lists(st.one_of(BLOCK, ROW, st.lists(PLAIN, max_size=5)), max_size=5).map(
    lambda parts: [line for part in parts for line in part]
)
STEP = st.one_of(
    st.tuples(st.integers(0, CLIENTS - 1), st.integers(1, 200)),  # a client sends so many bytes
    st.sampled_from(["seal", "land", "land"]),
)


def is_message(frame: bytes) -> bool:
    """Something that comes unasked; the confirmations of SUBSCRIBE are answers."""
    return frame.startswith(b">") and frame[4:].split(b"\r\n", 2)[1] not in (b"subscribe", b"unsubscribe")


class Twin:
    """Checks each reply of the quick server when it is written."""

    def __init__(self, streams: list[list[str]]) -> None:
        self.quick, self.slow = Stage(), Stage()
        self.streams = streams
        self.next = [0] * len(streams)
        self.messages: list[list[bytes]] = [[] for _ in streams]
        self.expected: list[list[bytes]] = [[] for _ in streams]
        for stage in (self.quick, self.slow):
            for _ in streams:
                stage.connect(*BASE)
        for number, client in enumerate(self.quick.peers):
            client.wire.on_write = lambda data, number=number: self.compare(number, data)

    def compare(self, number: int, data: bytes) -> None:
        for frame in frames(data):
            if is_message(frame):
                self.messages[number].append(frame)
                continue
            assert self.next[number] < len(self.streams[number]), f"client {number}: more replies than requests"
            line = self.streams[number][self.next[number]]
            self.next[number] += 1
            replies = self.answers(number, self.slow.peers[number], line)
            assert [frame] == replies, (number, line, show(frame), show(b"".join(replies)))

    def answers(self, number: int, client: Peer, line: str) -> list[bytes]:
        client.send(line)
        self.slow.commit()
        for other, peer in enumerate(self.slow.peers):
            if other != number:
                self.expected[other] += frames(peer.bytes())
        found = frames(client.bytes())
        self.expected[number] += [frame for frame in found if is_message(frame)]
        return [frame for frame in found if not is_message(frame)]

    def finish(self) -> None:
        for number, stream in enumerate(self.streams):
            assert self.next[number] == len(stream), f"client {number} was not answered: {stream[self.next[number]:]}"
        assert self.messages == self.expected
        assert contents(self.quick) == contents(self.slow)
        self.quick.close()


def contents(stage: Stage) -> list[tuple[dict[bytes, bytes], dict[bytes, int]]]:
    """Without versions: an EXEC that fails for a watched key may have taken a place in the log, or not."""
    return [
        ({key: item[VERSION_BYTES:] for key, item in db.items.items()}, db.expires)
        for db in stage.node.machine.world.databases
    ]


@settings(max_examples=EXAMPLES)
@given(st.lists(STREAM, min_size=CLIENTS, max_size=CLIENTS), st.lists(STEP, max_size=60))
def test_any_interleaving_has_an_order(streams, steps):
    twin = Twin(streams)
    stage = twin.quick
    wires = [pack(*stream) for stream in streams]
    sent = [0] * CLIENTS
    batch = None
    for step in steps:
        if step == "seal":
            batch = batch or stage.seal()
        elif step == "land":
            if batch is not None:
                stage.land(batch)
            batch = None
        else:
            number, size = step
            if piece := wires[number][sent[number] : sent[number] + size]:
                stage.peers[number].raw(piece)
            sent[number] += size
        stage.breathe()
    for number, wire in enumerate(wires):
        if wire[sent[number] :]:
            stage.peers[number].raw(wire[sent[number] :])
    if batch is not None:
        stage.land(batch)
    stage.commit()
    twin.finish()


# What a client with tracking believes is true.

CACHED = st.lists(
    st.one_of(
        st.builds("GET {}".format, KEYS), st.builds("SET {} {}".format, KEYS, NUMBERS),
        st.builds("DEL {}".format, KEYS), st.just("MULTI|GET a|SET a 7|GET b|EXEC"), st.just("MULTI|GET a|GET c|EXEC"),
        st.just("FLUSHALL"), st.builds("SET {} {} PX 50".format, KEYS, NUMBERS), st.just("PING"),
        st.just("PUBLISH x y"),
    ), max_size=12,
).map(lambda parts: [line for part in parts for line in part.split("|")])  # fmt: skip


@settings(max_examples=EXAMPLES)
@given(st.lists(CACHED, min_size=2, max_size=2), st.lists(STEP, max_size=40), st.sampled_from(["", "NOLOOP", "BCAST"]))
def test_what_a_tracking_client_has_cached_is_true(streams, steps, mode):
    stage = Stage()
    clients = [stage.connect(f"HELLO 3|CLIENT TRACKING ON {mode}".split("|")[0], f"CLIENT TRACKING ON {mode}")
               for _ in streams]  # fmt: skip
    batch = None
    sent = [0, 0]
    for step in [*steps, "land", (0, len(streams[0])), (1, len(streams[1]))]:
        if step == "seal":
            batch = batch or stage.seal()
        elif step == "land":
            if batch is not None:
                stage.land(batch)
            batch = None
            stage.clock.ms += 20
        elif step[0] < 2 and (piece := streams[step[0]][sent[step[0]] : sent[step[0]] + step[1]]):
            clients[step[0]].send(*piece)
            sent[step[0]] += step[1]
    stage.commit()
    stage.clock.ms += 100
    stage.shared.expirer.run(lambda: None)
    stage.commit()
    for client, stream in zip(clients, streams, strict=True):
        cache = believed(client, stream, noloop=mode == "NOLOOP")
        for key, value in cache.items():
            assert stage.connect().ask(f"GET {key}") == [value], (key, stream)
    stage.close()


def believed(client: Peer, stream: list[str], *, noloop: bool) -> dict[str, str]:
    """The cache of a client that keeps what it reads, drops what it is told to, and what it has written itself."""
    cache: dict[str, str] = {}
    queue: list[str] | None = None
    lines = iter(stream)
    for reply in client.heard():
        if reply.startswith(">[invalidate"):
            keys = reply.removeprefix(">[invalidate ").rstrip("]").lstrip("[")
            for key in list(cache) if keys == "_" else keys.split():
                cache.pop(key, None)
            continue
        line = next(lines)
        if line == "MULTI":
            queue = []
        elif line == "EXEC":
            assert queue is not None
            for one, inside in zip(queue, reply.strip("[]").split(), strict=True):
                note(cache, one, inside, noloop=noloop)
            queue = None
        elif queue is not None:
            queue.append(line)
        else:
            note(cache, line, reply, noloop=noloop)
    assert next(lines, None) is None, "everything is answered"
    return cache


def note(cache: dict[str, str], line: str, reply: str, *, noloop: bool) -> None:
    words = line.split()
    if words[0] == "GET":
        cache[words[1]] = reply
    elif words[0] in ("SET", "DEL") and noloop:
        cache.pop(words[1], None)
    elif words[0] == "FLUSHALL":
        cache.clear()
