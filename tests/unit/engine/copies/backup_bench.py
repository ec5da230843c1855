"""An engine with group commit, checkpoint and online backup on one event loop, and children that are no processes.

What a child would do is done at once in this process, on the simulated disk, as soon as `gate` is open.
Not here: real processes (`test_checkpoint`, the end-to-end tests).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from tests.patience import PATIENCE_S
from tests.sim.disk.simdisk import PowerCut, SimDisk
from tests.unit.engine.lab import Lab, op
from vaylix_resp.commands.ports import Later
from vaylix_resp.config import Settings
from vaylix_resp.engine import snapshot_child
from vaylix_resp.engine.checkpoint import Checkpoint
from vaylix_resp.engine.children import Children
from vaylix_resp.engine.copies.online_backup import OnlineBackup
from vaylix_resp.engine.group_commit import GroupCommit
from vaylix_resp.errors import CommandError, Halt


class InPlace(Children):
    """`run` makes a snapshot here and now; the arguments are those of the real child."""

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self.lab = lab
        self.gate = asyncio.Event()
        self.gate.set()

    async def run(
        self, arguments: list[str], on_message: Callable[[dict[str, Any]], None], *rest: Any, **more: Any
    ) -> dict[str, Any]:
        await self.gate.wait()
        sequence = int(arguments[arguments.index("--sequence") + 1])
        info = make_snapshot(self.lab, sequence)
        return {"snapshot": asdict(info)}


def make_snapshot(lab: Lab, sequence: int) -> Any:
    return snapshot_child.make_snapshot(lab.disk, lab.root, lab.keys, sequence, lab.databases, lambda _: None)


class Bench:
    """Make one inside a running loop."""

    def __init__(self, lab: Lab, **settings: Any) -> None:
        self.lab = lab
        self.halts: list[Halt] = []
        self.commit = GroupCommit(lab.node, asyncio.get_running_loop(), self.halts.append)
        self.commit.mode = "inline"
        self.children = InPlace(lab)
        self.checkpoint = Checkpoint(lab.store, lab.node, self.commit, lab.clock, lab.databases, self.children)
        self.settings = Settings()
        for name, value in settings.items():  # some of them cannot be changed later
            setattr(self.settings, name, value)
        self.backup = OnlineBackup(lab.store, lab.node, self.checkpoint, lab.clock, self.settings, lambda: b"{}\n")
        self.checkpoint.needed_from.append(self.backup.needed_from)

    async def write(self, *texts: str) -> None:
        self.lab.client.write(*(op(text) for text in texts))
        while not self.commit.idle:
            self._check_power()
            await asyncio.sleep(0)

    async def save(self) -> Any:
        return await reply_of(self.checkpoint.start())

    async def rest(self) -> None:
        """Until nothing that the backup has begun is still going on: a failed one deletes its files behind the state."""
        async with asyncio.timeout(PATIENCE_S):
            while self.backup._jobs:
                self._check_power()
                await asyncio.sleep(0.001)

    async def until(self, *states: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.backup.state not in states:
                self._check_power()
                await asyncio.sleep(0.001)

    def _check_power(self) -> None:
        """A cut that meets a callback or a job of its own ends only that."""
        if self.lab.sim.off:
            raise PowerCut

    async def ask(self, verb: str) -> Any:
        """The reply of one verb, an error as its text."""
        try:
            reply = await reply_of(getattr(self.backup, verb)())
        except CommandError as error:
            return error.text
        return reply.text if isinstance(reply, CommandError) else reply

    async def stop(self) -> None:
        """As a kill would, but without threads left behind."""
        self.children.gate.set()
        await self.backup.close()
        await self.checkpoint.cancel()
        self.commit.close()


async def reply_of(reply: Any) -> Any:
    if not isinstance(reply, Later):
        return reply
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    reply.listen(future.set_result)
    return await asyncio.wait_for(future, PATIENCE_S)


def files_below(disk: SimDisk, directory: str) -> dict[str, bytes]:
    """Path without `directory` -> content."""
    start = directory + "/"
    return {path[len(start) :]: bytes(inode.shown) for path, inode in disk.names.items() if path.startswith(start)}


__all__ = ["Bench", "InPlace", "PowerCut", "files_below", "make_snapshot", "reply_of"]
