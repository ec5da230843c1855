"""The digest: the same for equal states however they were built, another one for any difference."""

from random import Random

import pytest

from vaylix_resp.commands.registry import apply_table, new_accounts
from vaylix_resp.state import image
from vaylix_resp.state.digest import NOTHING, database_digest, digest_hex, key_digest, keys_digest_hex
from vaylix_resp.state.machine import StateMachine


def machine(*lines, at=1000):
    made = StateMachine(apply_table(), 4, rng=Random(1), accounts=new_accounts())
    made.begin_batch(at, 1)
    for line in lines:
        made.apply(line.split())
    return made


def copied(source):
    target = StateMachine(apply_table(), 4, rng=Random(2), accounts=new_accounts())
    for kind, obj in image.dump(source):
        image.load(target, kind, obj)
    return target


BASE = (b"SET a 1", b"SET b 2 EX 100")


@pytest.mark.parametrize(
    "lines",
    [
        (b"SET a 2", b"SET b 2 EX 100"),
        (b"SET c 1", b"SET b 2 EX 100"),
        (b"SET a 1", b"SET b 2 EX 101"),
        (b"SET a 1", b"SET b 2"),
        (b"SET b 2 EX 100", b"SET a 1"),  # the other way round: other versions
        (b"SET a 1", b"SET b 2 EX 100", b"SET a 1"),
        (b"SET a 1",),
        (b"SET a 1", b"@in 1 SET b 2 EX 100"),
        (b"EXSET a 1 FLAGS 7", b"SET b 2 EX 100"),
        (),
    ],
)
def test_any_difference_shows(lines):
    assert keys_digest_hex(machine(*BASE).world) != keys_digest_hex(machine(*lines).world)


def test_keys_and_values_do_not_run_into_each_other():
    assert keys_digest_hex(machine(b"SET ab c").world) != keys_digest_hex(machine(b"SET a bc").world)


def test_order_does_not_matter():
    source = machine(*(b"SET key%d %d" % (n, n) for n in range(50)))
    turned = copied(source)
    items = dict(reversed(turned.world.databases[0].items.items()))
    turned.world.databases[0].items.clear()
    turned.world.databases[0].items.update(items)
    assert digest_hex(turned) == digest_hex(source)


def test_a_state_that_went_through_a_snapshot_has_the_same():
    source = machine(*BASE, b"DEL a", b"@in 2 SET x y")
    assert digest_hex(copied(source)) == digest_hex(source)


def test_counters_from_which_versions_follow_are_part_of_the_machine():
    source, other = machine(*BASE), machine(*BASE)
    other.world.deleted_version += 1
    assert keys_digest_hex(other.world) == keys_digest_hex(source.world)
    assert digest_hex(other) != digest_hex(source)


def test_forty_digits_and_zeros_for_nothing():
    assert keys_digest_hex(machine().world) == NOTHING
    assert keys_digest_hex(machine(*BASE, b"FLUSHALL").world) == NOTHING
    for text in (keys_digest_hex(machine(*BASE).world), digest_hex(machine(*BASE)), digest_hex(machine())):
        assert len(text) == 40 and int(text, 16) >= 0
    assert keys_digest_hex(machine(*BASE).world).startswith("00000002")


def test_the_quick_way_over_plain_keys_agrees_with_the_one_by_key():
    db = machine(b"SET a 1", b"SET b 2").world.databases[0]
    slow = sum(key_digest(db, 0, key) for key in db.items) % (1 << 128)
    assert database_digest(db, 0) == slow


def test_users_are_part_of_the_state_but_not_of_the_keys():
    one, other = machine(*BASE, b"@acl setuser u on"), machine(*BASE, b"@acl setuser v on")
    assert digest_hex(one) != digest_hex(other)
    assert keys_digest_hex(one.world) == keys_digest_hex(other.world)
    assert digest_hex(copied(one)) == digest_hex(one)
