"""Slices of a state: the same digest for equal content, however it came about; another one for any difference."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaylix_resp.commands.registry import apply_table, new_accounts
from vaylix_resp.limits import MIB
from vaylix_resp.peers.codec import encode
from vaylix_resp.peers.messages import DigestAsk
from vaylix_resp.state import image, slices
from vaylix_resp.state.machine import StateMachine
from vaylix_resp.state.slices import Question, SliceKind, Walk, take
from vaylix_resp.state.succession import take_over

START_MS = 1_700_000_000_000


def empty() -> StateMachine:
    made = StateMachine(apply_table(), 4, rng=Random(1), accounts=new_accounts())
    made.world.index()
    return made


def machine(*texts: str) -> StateMachine:
    made = empty()
    made.begin_batch(START_MS, 7)
    made.apply_all([text.encode().split(b" ") for text in texts])
    return made


def loaded(source: StateMachine) -> StateMachine:
    """By way of a snapshot."""
    made = empty()
    for kind, obj in image.dump(source):
        image.load(made, kind, obj)
    made.world.sequence = made.applied  # as it is while the next entry is applied
    return made


def digest(one: StateMachine, question: Question) -> bytes:
    taken = take(one.world, question)
    while not taken.step():
        pass
    return taken.digest


def questions(one: StateMachine) -> list[Question]:
    """One round."""
    walk, found = Walk(), []
    while not walk.rounds:
        found.append(walk.next(one.world))
    return found


def digests(one: StateMachine, asked: list[Question]) -> list[bytes]:
    return [digest(one, question) for question in asked]


def differ(one: StateMachine, other: StateMachine) -> bool:
    """Whether a round finds it, whichever of the two leads."""
    found = {digests(one, asked) != digests(other, asked) for asked in (questions(one), questions(other))}
    assert len(found) == 1, "it does not matter who asks"
    return found.pop()


BASE = (
    "SET a 1", "SET b 2 PXAT 1800000000000", "@in 1 SET c 3", "EXSET d v FLAGS 7", "@acl setuser u on nopass ~x* +get",
    "@acl setrole r +get", "@members 0123456789abcdef 2 17 n1 h1 7001 1 9 n2 h2 7002 0 5", "@audit head n1 3 aa",
    "@stage p 0 k v  ", "@maintenance on disk",
)  # fmt: skip


def test_a_snapshot_and_a_takeover_make_the_same_slices() -> None:
    one = machine(*BASE)
    copy, taken = loaded(one), machine("SET old 1")
    take_over(taken, loaded(one))
    taken.world.sequence = taken.applied
    assert not differ(one, copy) and not differ(one, taken)


def _flip(one: StateMachine, db: int, key: bytes) -> None:
    items = one.world.databases[db].items
    items[key] = items[key][:-1] + bytes((items[key][-1] ^ 1,))


def _age(one: StateMachine) -> None:
    items = one.world.databases[0].items
    items[b"a"] = b"\0" * 7 + b"\x63" + items[b"a"][8:]


def _rename(one: StateMachine) -> None:
    items = one.world.databases[0].items
    items[b"A"] = items.pop(b"a")
    one.world.databases[0].order.remove(b"a")
    one.world.databases[0].order.add((b"A",))


def _exchange(one: StateMachine) -> None:
    items = one.world.databases[0].items
    items[b"a"], items[b"d"] = items[b"d"], items[b"a"]


WRONG = {
    "a value": lambda one: _flip(one, 0, b"a"),
    "a value elsewhere": lambda one: _flip(one, 1, b"c"),
    "a version": _age,
    "two values exchanged": _exchange,
    "a name": _rename,
    "a key too few": lambda one: one.world.databases[0].remove(b"a"),
    "a key too many": lambda one: one.world.databases[0].items.update({b"x": b"\0" * 9}),
    "an expiry": lambda one: one.world.databases[0].set_expiry(b"b", 1_800_000_000_001),
    "no expiry": lambda one: one.world.databases[0].set_expiry(b"b", None),
    "an expiry too many": lambda one: one.world.databases[0].set_expiry(b"a", 1_800_000_000_000),
    "flags": lambda one: one.world.databases[0].flags.update({b"d": 6}),
    "another database": lambda one: one.world.databases[0].swap(one.world.databases[2]),
    "a user's rights": lambda one: one.world.accounts.set_user("u", [b"+set"]),
    "a user's rights behind their version": lambda one: one.world.accounts.users["u"].apply(
        b"+set", one.world.accounts.table, {}
    ),
    "a role": lambda one: one.world.accounts.roles["r"].apply(b"+set", one.world.accounts.table),
    "a user too few": lambda one: one.world.accounts.users.pop("u"),
    "a member": lambda one: one.world.nodes.replace(b"c" * 16, one.world.nodes.members, (5,)),
    "an audit head": lambda one: one.world.audit_heads.note(b"n1", 4, b"ab", 1),
    "maintenance": lambda one: one.world.maintenance.end(),
    "the version in force": lambda one: setattr(one.world, "cluster_version", 2),
    "what is staged": lambda one: one.world.staged.clear(),
    "the highest version": lambda one: setattr(one.world, "top_version", 99),
    "the deleted version": lambda one: setattr(one.world, "deleted_version", 99),
    "the time": lambda one: setattr(one.world, "now_ms", 1),
    "the place": lambda one: setattr(one.world, "sequence", 99),
}


@pytest.mark.parametrize("name", WRONG)
def test_any_difference_shows(name: str) -> None:
    one, other = machine(*BASE), machine(*BASE)
    assert not differ(one, other)
    WRONG[name](other)
    assert differ(one, other)


def test_what_a_kind_covers_never_changes() -> None:
    """Nodes that do not agree on it would condemn each other. If this fails, the kinds need new numbers."""
    one = machine("SET a 1", "EXSET b 2 FLAGS 7", "SET c 3 PXAT 1800000000000", "@acl setuser u on nopass ~x* +get")
    asked = Question(SliceKind.KEYS, 0, (b"a", b"b", b"c", b"d")), Question(SliceKind.USERS, 0, (b"uu", b"rr"))
    assert [digest(one, question).hex() for question in asked] == [
        "a0b6c01ccf5f3b4848fc1cd8f38bc813", "a4fc983ac04a28c0a2c6385a7476e7f9",
    ]  # fmt: skip


def test_versions_given_to_a_whole_database_count_as_a_snapshot_has_them() -> None:
    one = machine("SET a 1", "@in 1 SET b 2", "SWAPDB 0 1", "SET c 3")
    assert one.world.databases[0].floor, "the items themselves have older versions"
    assert not differ(one, loaded(one))


KEYS = st.sampled_from([b"a", b"b", b"c", b"dd"])
WORDS = st.one_of(
    st.tuples(st.just(b"SET"), KEYS, st.sampled_from([b"1", b"22"])),
    st.tuples(st.just(b"SET"), KEYS, st.just(b"1"), st.just(b"PXAT"), st.sampled_from([b"1700000009000", b"9999999999999"])),
    st.tuples(st.just(b"EXSET"), KEYS, st.just(b"v"), st.just(b"FLAGS"), st.sampled_from([b"0", b"9"])),
    st.tuples(st.sampled_from([b"DEL", b"INCR", b"PERSIST"]), KEYS),
    st.tuples(st.just(b"MOVE"), KEYS, st.sampled_from([b"0", b"1"])),
    st.tuples(st.just(b"SWAPDB"), st.just(b"0"), st.just(b"1")),
    st.tuples(st.sampled_from([b"FLUSHDB", b"FLUSHALL"])),
    st.tuples(st.just(b"@acl"), st.just(b"setuser"), st.sampled_from([b"u", b"v"]), st.sampled_from([b"on", b"+get"])),
)  # fmt: skip


@settings(max_examples=40)
@given(st.lists(WORDS, max_size=12), st.lists(WORDS, max_size=12))
def test_equal_content_is_equal_whatever_its_history(before: list[tuple[bytes, ...]], after: list[tuple[bytes, ...]]) -> None:
    """Half of it by a snapshot, the rest by entries, against all of it by entries."""
    one = machine()
    one.apply_all(before)
    other = loaded(one)
    for each in (one, other):
        each.begin_batch(START_MS + 5, 9)
        each.apply_all(after)
        each.world.sequence = each.applied  # as while the mark is applied
    assert not differ(one, other)
    for db in one.world.databases:
        for key in db.items:
            _flip(one, one.world.databases.index(db), key)
            assert differ(one, other), key
            _flip(one, one.world.databases.index(db), key)


def test_a_slice_is_as_it_was_when_it_was_taken() -> None:
    one = machine(*(f"SET key:{n} {n}" for n in range(1000)))
    (asked, *_) = questions(one)
    was = digest(one, asked)
    taken = take(one.world, asked)
    taken.step()
    one.begin_batch(START_MS + 1, 8)
    one.apply_all([(b"SET", b"key:%d" % n, b"other") for n in range(0, 1000, 3)])
    one.apply_all([(b"DEL", b"key:%d" % n) for n in range(1, 1000, 3)] + [(b"SWAPDB", b"0", b"1")])
    while not taken.step():
        pass
    assert taken.digest == was != digest(one, asked)


def test_a_round_asks_for_every_key_and_user_once() -> None:
    one = machine(
        *(f"@in {n % 3} SET key:{n} {n}" for n in range(12_000)),
        *(f"@acl setuser u{n} on nopass" for n in range(45)), "@acl setrole r +get",
    )  # fmt: skip
    asked = questions(one)
    keys = [(question.db, name) for question in asked if question.kind is SliceKind.KEYS for name in question.names]
    assert sorted(keys) == sorted((n % 3, b"key:%d" % n) for n in range(12_000))
    users = [name for question in asked if question.kind is SliceKind.USERS for name in question.names]
    assert sorted(users) == sorted([b"udefault", *(b"uu%d" % n for n in range(45)), b"rr"])
    assert max(len(question.names) for question in asked) <= 2 * slices.SLICE_KEYS
    assert [question.subject for question in asked][-1] == "users and roles"


@pytest.mark.parametrize(
    ("keys", "name_bytes", "value_bytes", "most"),
    [(40, 60_000, 1, 2), (8, 4, 9 * MIB, 1), (20, 4, 3 * MIB, 5), (3, 70_000, 1, 0)],
    ids=["long names", "large values", "values", "names beyond all"],
)  # fmt: skip
def test_a_slice_is_bounded(keys: int, name_bytes: int, value_bytes: int, most: int) -> None:
    one, value = machine(), b"v" * value_bytes
    names = [b"%0*d" % (name_bytes, n) for n in range(keys)]
    one.world.databases[0].items.update((name, bytes(8) + value) for name in names)
    one.world.databases[0].index(names)
    asked = questions(one)
    assert max(len(question.names) for question in asked if question.kind is SliceKind.KEYS or not most) <= max(most, 1)
    seen = sorted(name for question in asked if question.kind is SliceKind.KEYS for name in question.names)
    assert seen == (names if most else [])


def test_no_question_is_too_long_for_the_wire() -> None:
    """Users may have any names, too."""
    one = machine(*(f"@acl setuser {'u' * size}{n} on" for n in range(30) for size in (1, 4000, 100_000)))
    one.world.databases[0].items[b"k" * 100_000] = bytes(9)
    one.world.databases[0].index([b"k" * 100_000])
    asked = questions(one)
    for question in asked:
        encode(DigestAsk(1, int(question.kind), question.db, question.names))
    assert sum(len(question.names) for question in asked) == 61, "default, and those of reasonable length"


def test_a_step_is_bounded_however_large_a_value_is() -> None:
    """By what it is given to digest in one go, not by time."""
    one = machine()
    values = {b"large": b"x" * (12 * MIB + 5), **{b"k%d" % n: b"y" * 1000 for n in range(3000)}, b"empty": b""}
    one.world.databases[0].items.update((key, bytes(8) + value) for key, value in values.items())
    for floor in (0, 77):
        one.world.databases[0].floor = floor
        rows = slices._rows(one.world.databases[0], list(values))
        sizes = [len(piece) for piece in slices._pieces(rows, slices._versions(one.world.databases[0]))]
        assert max(sizes) <= 2 * MIB and len(sizes) >= 12
        assert sum(sizes) >= sum(map(len, values.values()))


def test_the_last_byte_of_a_large_value_counts() -> None:
    one, other = machine("SET k v"), machine("SET k v")
    for each, last in ((one, b"x"), (other, b"y")):
        each.world.databases[0].items[b"k"] = bytes(8) + b"x" * (3 * MIB) + last
    assert differ(one, other)


def test_a_question_about_what_is_not_there() -> None:
    one = machine("SET k v")
    nowhere = [Question(SliceKind.KEYS, 0, (b"nobody",)), Question(SliceKind.KEYS, 99, (b"nobody",))]
    assert digest(one, nowhere[0]) == digest(one, nowhere[1])
    asked = [
        Question(SliceKind.KEYS, 99, (b"k",)),
        Question(SliceKind.USERS, 0, (b"unobody", b"rnobody", b"?", b"")), Question(SliceKind.KEYS, 0, ()),
    ]  # fmt: skip
    assert [digest(one, question) for question in asked] == [digest(loaded(one), question) for question in asked]
