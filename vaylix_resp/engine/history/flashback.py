"""FLASHBACK on the live server: a child reads the history, its rows become live again in one entry.

Promises: one at a time, as each child builds a state of its own; traffic goes on, since the rows pass through the loop
in small pieces and become visible by one entry at the end; a flashback that fails or is cancelled changes nothing.
Not here: finding the state (`restore`), the child's side (`history_child`), how rows become live (`publication`).
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgpack

from ...clock import Clock
from ...commands.points import Point
from ...commands.ports import Later
from ...errors import CommandError, told
from ...observability.logs import get_log
from ..checkpoint import Checkpoint
from ..children import Children, unwatched
from ..publication import Publications
from .history_child import arguments_for

log = get_log("flashback")

BUSY: Final = "BUSY another FLASHBACK reads the history; try again when it has ended"
NAMES_SHOWN: Final = 10  # keys that a dry run names


class Flashback:
    """One per server. `root` is the data directory."""

    def __init__(
        self, root: str, checkpoint: Checkpoint, children: Children, clock: Clock, publications: Publications
    ) -> None:
        self.running = False
        self.count = 0
        self.last_error = ""
        self._root, self._checkpoint, self._children, self._clock = root, checkpoint, children, clock
        self._publications = publications
        self._task: asyncio.Task[None] | None = None

    def get(self, db: int, key: bytes, point: Point) -> Later:
        """A map of what the key was, or None."""
        return self._begin(self._get(db, key, point))

    def restore(self, db: int, pattern: bytes, point: Point, *, dry_run: bool) -> Later:
        """The number of keys brought back; of a dry run a map."""
        return self._begin((self._count if dry_run else self._restore)(db, pattern, point))

    async def cancel(self) -> None:
        """For the end of the server, after `Children.cancel`: wait until it is over."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def _begin(self, work: Coroutine[Any, Any, Any]) -> Later:
        later = Later()
        if self.running:
            work.close()
            later.resolve(CommandError(BUSY))
            return later
        self.running = True
        self._task = asyncio.get_running_loop().create_task(self._run(work, later))
        return later

    async def _run(self, work: Coroutine[Any, Any, Any], later: Later) -> None:
        reply: Any = CommandError("ERR the FLASHBACK was cancelled")
        try:
            reply = await work
            self.count += 1
        except CommandError as refused:
            reply = CommandError(refused.text)  # without the traceback, which leads here
        except Exception as failure:
            reply = CommandError(f"ERR FLASHBACK failed: {told(failure)}")
        finally:
            self.last_error = reply.text if isinstance(reply, CommandError) else ""
            self.running = False
            self._task = None
            later.resolve(reply)

    async def _get(self, db: int, key: bytes, point: Point) -> dict[bytes, Any] | None:
        found: list[Any] = []

        async def take(_: dict[str, Any], raw: bytes) -> None:
            found.append(msgpack.unpackb(raw, raw=False))

        end = await self._ask({"verb": "get", "db": db, "key": _text(key)}, point, take)
        if not found:
            return None
        value, version, expire_at_ms = found[0]
        return {
            b"type": b"string", b"value": value, b"version": version,
            b"expire_at_ms": -1 if expire_at_ms is None else expire_at_ms,
            b"sequence": end["sequence"], b"timestamp_ms": end["timestamp_ms"],
        }  # fmt: skip

    async def _count(self, db: int, pattern: bytes, point: Point) -> dict[bytes, Any]:
        names: list[bytes] = []

        async def take(_: dict[str, Any], raw: bytes) -> None:
            names.extend(msgpack.unpackb(raw, raw=False))

        request = {"verb": "count", "db": db, "pattern": _text(pattern), "names": NAMES_SHOWN}
        end = await self._ask(request, point, take)
        return {
            b"restored": end["rows"], b"expired": end["expired"], b"keys": names,
            b"sequence": end["sequence"], b"timestamp_ms": end["timestamp_ms"],
        }  # fmt: skip

    async def _restore(self, db: int, pattern: bytes, point: Point) -> int:
        publication = self._publications.begin()

        async def take(_: dict[str, Any], raw: bytes) -> None:
            await publication.stage(db, [tuple(row) for row in msgpack.unpackb(raw, raw=False)])

        try:
            end = await self._ask({"verb": "rows", "db": db, "pattern": _text(pattern)}, point, take)
            if not end["rows"]:
                await publication.discard()
                return 0
            restored = await publication.publish("merge")
            log.notice(
                f"FLASHBACK RESTORE: {restored} keys of database {db} are again as of {point} (sequence "
                f"{end['sequence']}); {end['expired']} have expired since and stay away"
            )
            return restored
        except BaseException:
            await publication.discard()
            raise

    async def _ask(
        self, request: dict[str, Any], point: Point, take: Callable[[dict[str, Any], bytes], Any]
    ) -> dict[str, Any]:  # fmt: skip
        """Run the child over what the log holds now; its last message."""
        now_ms = self._clock.wall_ms()
        request |= {"now_ms": now_ms, "sequence": point.sequence, "timestamp_ms": point.timestamp_ms}
        async with self._checkpoint.reading() as last:
            end = await self._children.run(
                arguments_for(self._root, last), unwatched, take, request=json.dumps(request).encode()
            )
        if "refused" in end:
            raise CommandError(f"ERR {end['refused']}")
        return end


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
