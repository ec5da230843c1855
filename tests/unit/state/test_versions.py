"""The cluster version as a part of the state."""

from __future__ import annotations

from random import Random

import pytest

from vaylix_resp.commands.registry import apply_table, new_accounts
from vaylix_resp.errors import EX_CONFIG
from vaylix_resp.state import image, versions
from vaylix_resp.state.digest import digest_hex
from vaylix_resp.state.machine import StateMachine
from vaylix_resp.state.versions import CURRENT, FIRST, REQUIRED, TooNew, allowed, needed, version_in_force


def machine(*texts: str, understands: int = CURRENT) -> StateMachine:
    made = StateMachine(apply_table(), 2, rng=Random(1), accounts=new_accounts())
    made.world.understands = understands
    made.begin_batch(1_700_000_000_000, 7)
    made.apply_all([text.encode().split() for text in texts])
    return made


def test_it_rises_by_an_entry_and_never_falls() -> None:
    assert version_in_force(machine().world) == FIRST
    assert version_in_force(machine("@version 2").world) == 2
    assert version_in_force(machine("@version 2", "@version 1").world) == 2


@pytest.mark.parametrize("entry", [f"@version {CURRENT + 1}", "@version 99"])
def test_who_does_not_understand_it_stops_there(entry: str) -> None:
    made = machine("SET a 1")
    with pytest.raises(TooNew) as refused:
        made.apply_all([[b"SET", b"b", b"1"], entry.encode().split(), [b"SET", b"c", b"1"]])
    assert refused.value.exit_code == EX_CONFIG and "start a newer version of vaylix" in str(refused.value)
    assert made.applied == 1 and version_in_force(made.world) == FIRST


def test_a_node_that_holds_it_back_says_how_to_go_on() -> None:
    with pytest.raises(TooNew, match="raise or remove cluster-version-max"):
        machine("@version 2", understands=1)


def test_a_snapshot_carries_it_in_front_of_what_may_need_it() -> None:
    one = machine("SET a 1", "@members 0123456789abcdef 1 17 n1 h1 7001 1", "@maintenance on disk", "@version 2")
    chunks = list(image.dump(one))
    assert [kind for kind, _ in chunks][:2] == [image.META, image.VERSION]
    other = machine()
    for kind, obj in chunks:
        image.load(other, kind, obj)
    assert version_in_force(other.world) == 2 and digest_hex(other) == digest_hex(one)
    old = machine(understands=1)
    image.load(old, *chunks[0])
    with pytest.raises(TooNew):
        image.load(old, *chunks[1])


def test_a_state_that_says_nothing_of_it_is_as_it_always_was() -> None:
    one = machine("SET a 1")
    before = digest_hex(one)
    assert image.VERSION not in [kind for kind, _ in image.dump(one)]
    one.world.cluster_version = 2
    assert digest_hex(one) != before


def test_what_is_needed() -> None:
    for name, version in REQUIRED.items():
        assert FIRST < version <= CURRENT
        assert [needed(name, in_force) for in_force in (version - 1, version, version + 1)] == [version, 0, 0]
    assert needed(b"SET", FIRST) == 0


@pytest.mark.parametrize(("most", "found"), [(0, CURRENT), (1, 1), (CURRENT, CURRENT), (CURRENT + 5, CURRENT)])
def test_how_far_a_node_lets_it_go(most: int, found: int) -> None:
    assert allowed(most) == found


def test_every_name_that_waits_for_a_version_is_an_operation() -> None:
    assert set(versions.REQUIRED) <= set(apply_table())
