"""Few bytes that make many, at the limit of memory: who waits, who is refused, and what comes of it at most."""

from __future__ import annotations

import pytest

from tests.unit.server.front import Stage
from vaylix_resp.commands.cluster_operations import version
from vaylix_resp.commands.operations import EVICT
from vaylix_resp.limits import KIB, MIB, VALUE_BYTES_MAX
from vaylix_resp.server.proposals import propose
from vaylix_resp.state.footprint import data_bytes
from vaylix_resp.state.versions import REQUIRED

OOM = "-OOM command not allowed when used memory > 'maxmemory'."
ABORTED = "-EXECABORT Transaction discarded because of: " + OOM[1:]
LIMIT = 4 * MIB
SIZE = 256 * KIB  # of a value; sixteen of them fill the limit
TIMES = 40


def made(**settings):
    stage = Stage(**{"maxmemory": LIMIT, **settings})
    propose(stage.shared, version(REQUIRED[EVICT]))
    stage.commit()
    stage.connect().ask(f"SETRANGE a {SIZE - 1} x")
    return stage


def peak(stage):
    """Work everything off; the most that was held at any moment."""
    highest = data_bytes(stage.node.machine.world)
    for _ in range(1000):
        batch = stage.seal()
        if batch is None:
            return highest
        stage.land(batch)
        highest = max(highest, data_bytes(stage.node.machine.world))
        stage.breathe()
    raise AssertionError("it never ends")


def block(lines):
    return ["MULTI", *lines, "EXEC"]


GROW = f"SETRANGE a {SIZE - 1} x"
ATTACKS = {
    "new values": [f"SETRANGE b{n} {SIZE - 1} x" for n in range(TIMES)],
    "bits": [f"SETBIT b{n} {8 * SIZE - 1} 1" for n in range(TIMES)],
    "copies": [f"COPY a b{n}" for n in range(TIMES)],
    "a value taken away again and again": [line for n in range(TIMES) for line in (f"RENAME a b{n}", GROW)],
    "perhaps taken away": [line for n in range(TIMES) for line in (f"RENAMENX a b{n}", GROW)],
    "taken to other databases": [line for n in range(1, TIMES) for line in (f"MOVE a {n}", GROW)],
    "databases exchanged": [line for n in range(1, TIMES) for line in (f"SWAPDB 0 {n}", GROW)],
    "copies of what is not applied": [("SET", "c", b"x" * SIZE), *[f"COPY c b{n}" for n in range(TIMES)]],
    "floats": [f"INCRBYFLOAT b{n} 1e4900" for n in range(400)],
}
MADE_BY_BLOCKS = {name: lines for name, lines in ATTACKS.items() if name != "floats"}  # those fit


@pytest.mark.parametrize("policy", ["noeviction", "allkeys-random"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_in_one_packet(attack, policy):
    stage = made(databases=TIMES, maxmemory_policy=policy)
    client = stage.connect().send(*ATTACKS[attack])
    assert peak(stage) < LIMIT + 2 * SIZE
    told = client.heard()
    assert len(told) == len(ATTACKS[attack]), "nobody waits for ever"
    assert policy == "noeviction" or OOM not in told
    stage.close()


@pytest.mark.parametrize("policy", ["noeviction", "allkeys-random"])
@pytest.mark.parametrize("attack", MADE_BY_BLOCKS)
def test_in_one_block(attack, policy):
    stage = made(databases=TIMES, maxmemory_policy=policy)
    client = stage.connect().send(*block(ATTACKS[attack]))
    assert peak(stage) < LIMIT
    assert client.heard()[-1] == ABORTED
    stage.close()


@pytest.mark.parametrize("policy, length, fits", [
    ("noeviction", LIMIT - SIZE - 64 * KIB, True),
    ("noeviction", LIMIT - SIZE + 1, False),
    ("volatile-lru", LIMIT - SIZE + 1, False),  # nothing could go
    ("allkeys-lru", LIMIT - SIZE + 1, True),  # what is there makes room
    ("allkeys-lru", LIMIT + 1, False),  # it never fits
])  # fmt: skip
def test_one_value_has_to_fit(policy, length, fits):
    for lines, refused, told in (([], OOM, f":{length}"), (["MULTI"], ABORTED, f"[:{length}]")):
        stage = made(maxmemory_policy=policy)
        lines = [*lines, f"SETRANGE k {length - 1} x", *(["EXEC"] if lines else [])]
        assert stage.connect().ask(*lines)[-1] == (told if fits else refused)
        stage.close()


def test_of_what_fits_nothing_is_refused():
    """Estimates that add up what is one and the same would refuse these."""
    stage = made()
    client = stage.connect()
    told = client.ask(
        *block([f"SETBIT bits {8 * SIZE - n} 1" for n in range(1, 100)]), *block([f"RENAME bits b{n}" for n in range(9)]),
        *block(["COPY a c", *[f"COPY c c{n}" for n in range(5)]]), *block(["DEL a", GROW] * 20),
        "GET none",
    )  # fmt: skip
    assert not any(OOM[1:] in word for word in told) and told[-1] == "_"
    stage.close()


def test_a_block_may_go_beyond_the_limit_by_one_value():
    """Where keys can make room; it does not depend on how large the limit is."""
    stage = made(maxmemory=4 * VALUE_BYTES_MAX, maxmemory_policy="allkeys-lru")
    client = stage.connect()
    over = [f"SETRANGE k{n} {VALUE_BYTES_MAX - 1} x" for n in range(6)]
    assert client.ask(*block(over))[-1] == ABORTED
    stage.close()


def test_who_waits_is_not_overtaken():
    """One client renames without end; a large value comes when what was under way has been applied."""
    stage = made()
    renamer, other = stage.connect(*[f"SET k{n} 1" for n in range(4)], f"SETRANGE b {10 * SIZE} x"), stage.connect()
    renamer.send("RENAME k3 c")
    other.send(f"SETRANGE b {12 * SIZE} x", "GET none")
    for n in range(3):
        batch = stage.seal()
        renamer.send(f"RENAME k{n} c")  # while the last one is being synced
        stage.land(batch)
        stage.breathe()
    assert other.heard() == [f":{12 * SIZE + 1}", "_"]
    stage.close()


def test_who_waits_goes_on_when_the_batch_fails_or_the_limit_goes():
    for end in ("full", "no limit"):
        stage = made()
        first, other = stage.connect(), stage.connect()
        first.send(f"SETRANGE b {2 * SIZE} x")
        other.send(f"SETRANGE c {2 * SIZE} x")
        if end == "full":
            stage.node.out_of_space()
            assert stage.seal() is None
            stage.node.space_is_back()
        else:
            stage.settings.maxmemory = 0
            stage.shared.memory._configure()
            stage.land(stage.seal())
        stage.shared.tick()
        stage.commit()
        assert other.heard() == [f":{2 * SIZE + 1}"]
        stage.close()


def test_what_is_refused_for_its_words_leaves_nothing_under_way():
    stage = made()
    client = stage.connect()
    assert client.ask(("RESTORE", "k", "0", b"\0\x80\0\x20\0\0" + bytes(10), "NONSENSE"))[0].startswith("-ERR syntax")
    stage.shared.tick()
    assert not stage.shared.memory._foresight.active
    assert client.ask(f"SETRANGE k {2 * MIB} x") == [f":{2 * MIB + 1}"]
    stage.close()
