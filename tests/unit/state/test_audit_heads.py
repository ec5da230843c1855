"""Committed heads of audits as a part of the state: the entry, the image, the digest."""

from random import Random

from vaylix_resp.commands.audit_operations import head_entry
from vaylix_resp.commands.registry import apply_table, new_accounts
from vaylix_resp.state import image
from vaylix_resp.state.audit_heads import NODES_MAX, AuditHead
from vaylix_resp.state.digest import digest_hex
from vaylix_resp.state.machine import StateMachine

NOW_MS = 1_700_000_000_000
HASH = "cd" * 32


def new():
    machine = StateMachine(apply_table(), 1, rng=Random(1), accounts=new_accounts())
    machine.begin_batch(NOW_MS, 7)
    return machine


def test_the_entry_replaces_the_head_of_its_node():
    machine = new()
    for node, sequence in (("n1", 4), ("n2", 9), ("n1", 6)):
        machine.apply(head_entry(node, sequence, HASH))
    assert machine.world.audit_heads.nodes == {
        b"n2": AuditHead(9, HASH.encode(), NOW_MS), b"n1": AuditHead(6, HASH.encode(), NOW_MS)
    }  # fmt: skip


def test_image_and_digest():
    machine, empty = new(), new()
    before = digest_hex(machine)
    machine.apply(head_entry("n1", 4, HASH))
    kinds = dict(image.dump(machine))
    assert image.AUDIT_HEADS in kinds and image.AUDIT_HEADS not in dict(image.dump(empty))
    other = new()
    for kind, obj in image.dump(machine):
        image.load(other, kind, obj)
    assert digest_hex(other) == digest_hex(machine) != before
    assert digest_hex(machine) != digest_hex(changed(machine))


def changed(machine):
    other = new()
    for kind, obj in image.dump(machine):
        image.load(other, kind, obj)
    other.world.audit_heads.note(b"n1", 4, b"ef" * 32, NOW_MS)
    return other


def test_the_node_that_was_silent_longest_is_forgotten():
    heads = new().world.audit_heads
    for number in range(NODES_MAX + 3):
        heads.note(b"%d" % number, 1, b"", NOW_MS)
    heads.note(b"3", 2, b"", NOW_MS)
    assert len(heads.nodes) == NODES_MAX and b"2" not in heads.nodes and next(reversed(heads.nodes)) == b"3"
