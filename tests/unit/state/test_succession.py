"""A machine takes over the state of another one; who held on to parts of it sees the new one."""

from __future__ import annotations

from random import Random

import pytest

from vaylix_resp.commands.registry import apply_table, new_accounts
from vaylix_resp.state import image
from vaylix_resp.state.digest import digest_hex
from vaylix_resp.state.machine import StateMachine
from vaylix_resp.state.succession import take_over

BEFORE = ["SET a old", "@in 1 SET b old", "@acl setuser u on nopass", "@maintenance on disk", "@audit head n1 3 aa"]
AFTER = {
    "empty": [],
    "keys": ["SET a 1 EX 10", "@in 3 SET c 2", "DEL a", "SET d 3", "SET e 4 EX 10"],
    "users": ["@acl setuser v on nopass ~x* +get"],
    "maintenance": ["@maintenance on other"],
    "nodes": ["@members 0123456789abcdef 1 17 n1 h1 7001 1 5"],
    "differing": ["@members 0123456789abcdef 1 17 n1 h1 7001 1 5", "@digest differ 1 keys 17"],
    "audit heads": ["@audit head n1 4 ab", "@audit head n2 1 cd"],
    "version": ["@version 2"],
    "staged": ["@stage p 0 k v  "],
    "flushed": ["SET a 1", "FLUSHALL"],
}


def machine(texts: list[str], databases: int = 4) -> StateMachine:
    made = StateMachine(apply_table(), databases, rng=Random(1), accounts=new_accounts())
    made.world.index()
    made.begin_batch(1_700_000_000_000, 7)
    made.apply_all([text.encode().split(b" ") for text in texts])
    return made


@pytest.mark.parametrize("databases", [4, 6])
@pytest.mark.parametrize("name", AFTER)
def test_it_is_the_other_one(name: str, databases: int) -> None:
    mine, other = machine(BEFORE), machine(AFTER[name], databases)
    digest, sequence = digest_hex(other), other.applied
    take_over(mine, other)
    assert digest_hex(mine) == digest and mine.applied == sequence
    assert len(mine.world.views) == len(mine.world.transactions) == databases
    again = machine(AFTER[name], databases)
    for one in (mine, again):
        one.begin_batch(1_700_000_000_500, 9)
        one.apply_all([[b"SET", b"n", b"1"], [b"INCR", b"n"], [b"@in", b"1", b"SET", b"m", b"1"]])
    assert digest_hex(mine) == digest_hex(again), "and goes on as the other one would"


def test_nothing_that_a_snapshot_holds_is_left_out_above() -> None:
    parts = [name for name in dir(image) if name.isupper() and isinstance(getattr(image, name), int)]
    kinds = {getattr(image, name) for name in parts if not name.startswith(("CHUNK", "MARK"))}
    seen = {kind for texts in AFTER.values() for kind, _ in image.dump(machine(texts))}
    assert kinds - seen == {image.STAGED_EXPIRES, image.STAGED_FLAGS, image.FLAGS}, "say in AFTER what is new"


def test_there_may_be_fewer_databases() -> None:
    mine, other = machine(["@in 3 SET c 1"]), machine(["SET a 1"], 2)
    digest = digest_hex(other)
    take_over(mine, other)
    assert digest_hex(mine) == digest and len(mine.world.views) == len(mine.world.databases) == 2


def test_what_others_hold_on_to_stays() -> None:
    mine, other = machine(BEFORE), machine(AFTER["keys"])
    held = (mine.world, mine.world.views[0], mine.world.transactions[0], mine.world.accounts, mine.world.maintenance)
    mine.world.touched = []
    take_over(mine, other)
    assert held == (
        mine.world, mine.world.views[0], mine.world.transactions[0], mine.world.accounts, mine.world.maintenance
    )  # fmt: skip
    assert held[1].string(b"d") == b"3" and held[1].string(b"a") is None
    assert mine.world.touched == [(number, None) for number in range(4)]
    assert "u" not in mine.world.accounts.users and not mine.world.maintenance.on
    assert [len(db.items) for db in mine.world.trash] == [1, 1], "what it was is freed in steps"
