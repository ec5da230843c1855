"""`put_row` and `strings` do for many keys what `put` and `string` do for each, or say that they cannot."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaylix_resp.commands.registry import new_accounts
from vaylix_resp.resp.reply import OK
from vaylix_resp.resp.writer import CRLF, bulk, emit_bulks
from vaylix_resp.state.digest import digest_hex
from vaylix_resp.state.machine import StateMachine

KEYS = [b"a", b"b", b"c", b"d"]
ROW = st.lists(st.tuples(st.just(b"SET"), st.sampled_from(KEYS), st.binary(max_size=5)), min_size=2, max_size=8)
BEFORE = st.lists(st.sampled_from(["put", "delete", "expire", "flags", "twice", "swap", "flush"]), max_size=6)


def put(tx: Any, argv: Any) -> Any:
    tx.put(argv[1], argv[2])
    return OK


def act(tx: Any, argv: Any) -> Any:
    """What may have happened before the row."""
    key = KEYS[len(argv[1]) % len(KEYS)]
    match argv[1].decode():
        case "put":
            tx.put(key, b"old")
        case "delete":
            tx.delete(key)
        case "expire":
            tx.put(key, b"mortal")
            tx.set_expiry(key, tx.now + 10)
        case "flags":
            tx.put(key, b"flagged")
            tx.set_flags(key, 3)
        case "twice":
            tx.put(key, b"1")
            tx.put(key, b"2")
        case "swap":
            tx.swap(1)
        case "flush":
            tx.flush()
    return OK


def put_row(tx: Any, row: Any) -> Any:
    return [OK] * len(row) if tx.put_row(row) else None


def machine(*, rows: bool) -> StateMachine:
    table = {b"SET": put, b"ACT": act}
    made = StateMachine(table, 2, rng=Random(1), accounts=new_accounts(), rows={b"SET": put_row} if rows else {})
    made.begin_batch(1000, 1)
    return made


@given(BEFORE, st.lists(ROW, min_size=1, max_size=4), st.sampled_from(["nobody", "watchers", "events"]))
def test_a_row_of_puts_leaves_the_state_that_each_put_alone_leaves(before: Any, rows: Any, observer: str) -> None:
    quick, slow = machine(rows=True), machine(rows=False)
    for each in (quick, slow):
        each.world.touched = [] if observer == "watchers" else None
        each.world.events = [] if observer == "events" else None
        for action in before:
            each.apply((b"ACT", action.encode()))
        for row in rows:
            assert each.apply_row(row) == [OK] * len(row)
        each.apply((b"ACT", b"twice"))  # what comes next counts on from the same versions
    assert digest_hex(quick) == digest_hex(slow)
    assert (quick.applied, quick.world.top_version) == (slow.applied, slow.world.top_version)
    assert quick.world.touched == slow.world.touched and quick.world.events == slow.world.events
    assert sorted(quick.world.views[0].scan(0, 100)[1]) == sorted(slow.world.views[0].scan(0, 100)[1])


def test_the_row_is_really_taken_where_nothing_stands_in_its_way() -> None:
    made = machine(rows=True)
    del made.table[b"SET"]  # type: ignore[attr-defined]
    assert made.apply_row([(b"SET", b"k", b"1"), (b"SET", b"k", b"2")]) == [OK, OK]
    assert made.world.views[0].string(b"k") == b"2" and made.world.views[0].version(b"k") == 2


@given(BEFORE, st.lists(st.sampled_from([*KEYS, b"missing"]), min_size=1, max_size=8), st.integers(0, 20))
def test_strings_are_what_string_says_of_each(before: Any, keys: Any, later_ms: int) -> None:
    made = machine(rows=True)
    for action in before:
        made.apply((b"ACT", action.encode()))
    made.read_at(1000 + later_ms)
    view = made.world.views[0]
    hits = made.world.hits
    many = view.strings(keys)
    if many is not None:
        assert many == [view.string(key) for key in keys]
        assert made.world.hits == hits + 2 * len(keys)


def test_strings_stop_before_they_copy_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaylix_resp.state.views.ROW_BYTES_MAX", 100)
    made = machine(rows=True)
    made.apply((b"SET", b"k", b"x" * 80))
    assert made.world.views[0].strings([b"k"]) == [b"x" * 80]
    assert made.world.views[0].strings([b"k", b"k"]) is None


@given(st.lists(st.sampled_from([b"", b"a", b"bb", b"\r\n", b"x" * 1024, b"x" * 1025]), min_size=1, max_size=5))
def test_many_bulk_strings_are_each_of_them_in_turn(values: list[bytes]) -> None:
    out: list[bytes] = []
    emit_bulks(out.append, values)
    assert b"".join(out) == b"".join(bulk(value) for value in values)
    assert b"".join(out).endswith(CRLF)
