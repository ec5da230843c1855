"""A power cut at every call that changes the disk; then recovery, also interrupted at every call; then the comparison.

What a client was told is there; what was in flight is there as a whole or not at all; nothing else is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from tests.sim.disk.keys import ALWAYS_CLEAR, MemoryKeys
from tests.sim.disk.simdisk import Fault, PowerCut, SimDisk
from tests.sim.disk.workload import (
    Fact,
    World,
    count_calls,
    relaxed_workload,
    run_until_power_cut,
    workload,
)

MODES = ("lose", "keep", "prefix", "sectors", None)


def allowed(world: World) -> list[list[Fact]]:
    """Acknowledged batches, and then any number of those in flight, in order."""
    told = world.acknowledged
    return [told + world.in_flight[:n] for n in range(len(world.in_flight) + 1)]


def recover_and_compare(disk: SimDisk, before: World) -> World:
    after = World(disk).open()
    assert after.state in allowed(before)
    after.append(b"*and it goes on")
    after.store.abandon()
    return after


def cut_at(call: int, steps=workload, stop: bool = True) -> World:
    disk = SimDisk()
    disk.faults[call] = Fault("crash")
    world = World(disk)
    assert not run_until_power_cut(world, steps, stop)
    return world


def test_the_workload_does_what_it_should() -> None:
    disk = SimDisk()
    world = World(disk)
    assert run_until_power_cut(world, workload, stop=True)
    names = {name for name, _, _ in disk.log}
    assert names == {"create", "rename", "unlink", "mkdir", "pwrite", "allocate", "truncate", "fsync", "fdatasync",
                     "fsync_dir"}  # fmt: skip
    again = World(disk.crash(Random(1), "lose")).open()  # after a clean stop, everything is durable
    assert again.state == world.acknowledged
    assert again.recovered.warnings == ()


@pytest.mark.parametrize("mode", MODES)
def test_power_cut_at_every_call(mode: str | None) -> None:
    for call in range(1, count_calls(SimDisk, workload, stop=True) + 1):
        world = cut_at(call)
        rng = Random(call)
        recover_and_compare(world.disk.crash(rng, mode), world)


@pytest.mark.parametrize("mode", MODES)
def test_power_cut_at_every_call_with_relaxed_fsync(mode: str | None) -> None:
    """Writes that were not synced may be lost, but the rest is a prefix, and the server starts."""
    for call in range(1, count_calls(SimDisk, relaxed_workload, stop=True) + 1):
        world = cut_at(call, relaxed_workload)
        recover_and_compare(world.disk.crash(Random(call), mode), world)


def test_the_process_dies_at_every_call_and_then_the_power_goes() -> None:
    for call in range(1, count_calls(SimDisk, workload, stop=True) + 1):
        world = cut_at(call)
        after = World(world.disk.kill()).open()
        assert after.state in allowed(world)
        after.store.abandon()
        # What the second process has seen and may have told, no power cut may take back.
        again = World(after.disk.crash(Random(call), "lose")).open()
        assert again.state == after.state


@pytest.mark.parametrize("steps", [workload, relaxed_workload])
def test_power_cut_at_every_call_of_recovery(steps) -> None:
    for call in range(3, count_calls(SimDisk, steps, stop=True) + 1, 7):
        world = cut_at(call, steps)
        image = world.disk.crash(Random(call), None)
        outcome = World(image.copy()).open().state
        for again in range(1, 200):
            disk = image.copy()
            disk.faults[again] = Fault("crash")
            try:
                World(disk).open()
                break
            except PowerCut:
                second = World(disk.crash(Random(again), None)).open()
            assert second.state == outcome
        else:
            raise AssertionError("recovery does not end")


def test_a_long_life_of_crashes() -> None:
    """Many lives on one disk, each ended at a random call; nothing that was ever told is lost."""
    rng = Random(5)
    disk, told = SimDisk(), []
    warnings = 0
    for _ in range(150):
        disk.faults[rng.randrange(1, 120 if rng.random() < 0.8 else 900)] = Fault("crash")
        world = World(disk)
        ended = run_until_power_cut(world, workload, stop=rng.random() < 0.5)
        warnings += len(world.recovered.warnings) if hasattr(world, "recovered") else 0
        if world.acknowledged:
            assert world.acknowledged[: len(told)] == told
            told = world.acknowledged
        if ended:
            world.store.abandon()
        disk = disk.crash(rng) if rng.random() < 0.7 else disk.kill()
    assert len(told) > 100 and warnings > 3


@pytest.mark.parametrize("mode", MODES)
def test_power_cut_at_every_call_while_sealing_is_switched_on_and_off(mode: str | None) -> None:
    """In the clear, then sealed, then in the clear: every start is with keys that are as durable as a keyring is."""
    reached = set()
    for call in range(1, 400):
        disk, keys = SimDisk(), MemoryKeys()
        disk.faults[call] = Fault("crash")
        told: list[Fact] = []
        for life, seals in enumerate((False, True, False)):
            keys.seals = seals
            if not seals:
                keys.clear_until = ALWAYS_CLEAR
            world = World(disk, keys=keys)
            if not run_until_power_cut(world, short_workload, stop=life == 1):
                break
            world.store.abandon()
            told = world.acknowledged
        else:
            break
        reached.add(life)
        told = world.acknowledged or told  # nothing, if its start did not come to an end
        after = World(disk.crash(Random(call), mode), keys=keys).open()
        assert after.state[: len(told)] == told
        assert after.state[len(told) :] in ([], world.in_flight)
        assert not seals or keys.clear_until < ALWAYS_CLEAR, "a start that came to its end has told the keys"
    assert reached == {0, 1, 2}


def short_workload(world: World) -> Iterator[None]:
    world.append(b"*one")
    yield
    world.snapshot()
    world.append(b"*two")
    yield
