"""What drives a replica: the log that is read back for those who are behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vaylix_resp.engine.replication import driver as module
from vaylix_resp.engine.replication.driver import Driver
from vaylix_resp.peers.messages import Everywhere
from vaylix_resp.raft.ready import Fetch
from vaylix_resp.raft.types import Membership
from vaylix_resp.storage.errors import Corrupt, Unreadable

FETCH = Fetch(2, 1, 10, 1000)


def fetched(read: Callable[[int, int], Any]) -> tuple[list[object], list[str]]:
    """What the core is told, and what ends the process."""
    told: list[object] = []
    ended: list[str] = []

    def guard(step: Callable[..., object], *arguments: object) -> None:
        try:
            step(*arguments)
        except Exception as bug:
            ended.append(repr(bug))

    async def run() -> None:
        core = SimpleNamespace(fetched=lambda fetch, found: told.append((fetch, found)))
        replica = cast(Any, SimpleNamespace(core=core, on_work=lambda: told.append("work")))
        Driver(replica, asyncio.get_running_loop(), guard, tick_s=0.05, client_addr="", read=read)
        for _ in range(2):
            replica.on_fetch(FETCH)
            for _ in range(5000):
                if len(told) < 2 and not ended:
                    await asyncio.sleep(0.001)
            told[2:] = []

    asyncio.run(run())
    return told, ended


def test_what_is_read_goes_to_the_core() -> None:
    assert fetched(lambda after, most: [after, most]) == ([(FETCH, [10, 1000]), "work"], [])


@pytest.mark.parametrize("damage", [Corrupt("a.wal", 7, "a batch"), Unreadable("a.wal", 7, OSError(5, "EIO"))])
def test_a_log_that_cannot_be_read_is_as_good_as_pruned(damage: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the follower would wait for its batches as long as this node leads."""
    said: list[str] = []
    monkeypatch.setattr(module, "log", SimpleNamespace(warning=said.append))

    def read(after: int, most: int) -> None:
        raise damage

    assert fetched(read) == ([(FETCH, None), "work"], [])
    assert len(said) == 1 and "a.wal: byte 7" in said[0], "said once, however often it is tried"


def test_a_bug_in_reading_ends_the_process() -> None:
    def read(after: int, most: int) -> None:
        raise AssertionError("a bug")

    told, ended = fetched(read)
    assert not told and set(ended) == {"AssertionError('a bug')"}


@pytest.mark.parametrize("leads, everywhere, sent", [(True, 26, [Everywhere(26)]), (True, 0, []), (False, 26, [])])
def test_how_far_every_voter_is_is_told_again(leads: bool, everywhere: int, sent: list[object]) -> None:
    """Once is not enough: a message is lost with its connection, and a follower's last write would wait for it."""
    replica = SimpleNamespace(
        leads=leads, everywhere=everywhere, connected=lambda node: None, id=1,
        core=SimpleNamespace(membership=Membership(frozenset((1, 2)), frozenset((3,)))),
    )  # fmt: skip
    told: list[tuple[int, object]] = []
    network = SimpleNamespace(send=lambda node, message: told.append((node, message)))

    def guard(step: Callable[..., object], *arguments: object) -> None:
        step(*arguments)

    driver = Driver(cast(Any, replica), cast(Any, None), guard, tick_s=0.05, client_addr="", read=lambda *_: None)
    driver.network = cast(Any, network)
    driver.info = lambda: cast(Any, "info")  # type: ignore[method-assign]
    driver.on_connected(2)
    assert told == [(2, "info"), *((2, message) for message in sent)]
    told.clear()
    driver.tell()
    assert sorted(told, key=str) == sorted([(node, what) for node in (2, 3) for what in ("info", *sent)], key=str)


def test_learners_are_told_how_far_every_voter_is() -> None:
    """They have clients as well, whose writes would be answered with INDETERMINATE."""
    membership = Membership(frozenset((1, 2)), frozenset((3,)))
    replica = SimpleNamespace(id=1, core=SimpleNamespace(membership=membership))
    told: list[tuple[int, object]] = []
    driver = Driver(cast(Any, replica), cast(Any, None), cast(Any, None), tick_s=0.05, client_addr="", read=lambda *_: None)
    driver.network = cast(Any, SimpleNamespace(send=lambda node, message: told.append((node, message))))
    cast(Any, replica).on_everywhere(7)
    assert sorted(told, key=str) == [(2, Everywhere(7)), (3, Everywhere(7))]


def test_what_is_committed_is_announced_by_and_by_and_not_for_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the next append has said so by then, there is nothing to do."""
    monkeypatch.setattr(module, "NEWS_S", 0.0)
    told: list[object] = []

    async def run() -> None:
        core = SimpleNamespace(news_due=False)
        replica = cast(Any, SimpleNamespace(core=core, leads=False, committed=0, announce=told.append))
        replica.on_work = lambda: told.append("work")
        Driver(replica, asyncio.get_running_loop(), lambda step, *given: step(*given), tick_s=0.05, client_addr="",
               read=cast(Any, None))  # fmt: skip

        async def commit(*indexes: int) -> list[object]:
            told.clear()
            for index in indexes:
                replica.committed = index
                replica.on_commit(index)
            assert not told, "not at once"
            for _ in range(5):
                await asyncio.sleep(0.001)
            return list(told)

        assert await commit(5) == [], "by leaders only"
        replica.leads = True
        assert await commit(6, 7, 8) == [6, 8]
        assert await commit(9) == [9]
        core.news_due = True
        assert await commit(10) == [10, "work"]

    asyncio.run(run())
