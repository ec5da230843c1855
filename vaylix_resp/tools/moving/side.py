"""One of the servers of an import, to be asked: what it holds under which names, what it says of itself.

Promises: a connection that is lost is made again, and what was asked is asked again, as long as there is patience; so
all of it may be asked twice. A cursor is never taken to another process, where it means nothing.
Units: milliseconds since the epoch. Not here: what is done about a difference (`verify`), how long it is tried
(`patience`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Self

import hiredis

from ...limits import VALUE_BYTES_MAX
from .channel import Address, Channel, Denied, Words, granted, info, sizes
from .meaning import MARK_KEY, OWN, deadline
from .patience import ForNow, Patience, is_for_now

PAGE: Final = 500  # keys in one step
NO_KEY, NO_EXPIRY = -2, -1


class Held(NamedTuple):
    """What one side has under a name. `value` None: nothing, or (`kind`) nothing that could be kept."""

    value: bytes | None
    expire_at_ms: int | None = None
    kind: str = ""


ABSENT: Final = Held(None)


class Side:
    """A server, over one connection after the other. `exact`: it says when a key ends, not how long it still lives."""

    def __init__(self, address: Address, patience: Patience, now_ms: Callable[[], int]) -> None:
        self._address, self._patience, self._now_ms = address, patience, now_ms
        self._channel: Channel | None = None
        self.run_id = ""  # of the process behind the connection
        self.exact = False
        self.all(0, ())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _connected(self, db: int) -> Channel:
        """With this database chosen. Raises OSError, Denied."""
        if self._channel is None:
            self._channel = Channel(self._address)
            self.run_id = info(self._channel, b"server").get("run_id", "")
            end = self._channel.ask(b"PEXPIRETIME", MARK_KEY)
            if isinstance(end, hiredis.ReplyError) and is_for_now(str(end)):
                raise ForNow(str(end))
            self.exact = not isinstance(end, hiredis.ReplyError)
        self._channel.select(db)
        return self._channel

    def all(self, db: int, requests: Sequence[Words], refused: str = "") -> list[Any]:
        """The replies of short requests that may be repeated. Denied, with `refused` in front: one is an error."""

        def attempt(again: bool) -> list[Any]:
            if again:
                self.close()
            return [granted(reply, refused) for reply in self._connected(db).all(requests)]

        return self._patience.until(attempt)

    def info(self, section: bytes) -> dict[str, str]:
        def attempt(again: bool) -> dict[str, str]:
            if again:
                self.close()
            return info(self._connected(0), section)

        return self._patience.until(attempt)

    def sizes(self) -> dict[int, int]:
        """How many keys each database has that has any."""
        return sizes(self.info(b"keyspace"))

    def types(self, db: int, names: Sequence[bytes]) -> list[str]:
        replies = self.all(db, [(b"TYPE", name) for name in names], "TYPE is refused")
        return [reply.decode() for reply in replies]

    def pages(self, db: int, cursor: int = 0, *, anew: bool = False) -> Iterator[tuple[int, list[bytes]]]:
        """Cursor and names, without our own; the last cursor is 0.

        When another process answers than before: `anew` begins again, so that names come twice; else Denied.
        """
        run_id = self.run_id
        while True:
            (page,) = self.all(db, [(b"SCAN", b"%d" % cursor, b"COUNT", b"%d" % PAGE)], "SCAN is refused")
            if cursor and self.run_id != run_id:
                if not anew:
                    raise Denied(
                        f"{self._patience.where}: was started again, or is another server now, while its keys were "
                        "listed; the same command goes on"
                    )
                run_id, cursor = self.run_id, 0
                continue
            run_id, cursor = self.run_id, int(page[0])
            yield cursor, [name for name in page[1] if name not in OWN]
            if not cursor:
                return

    def read(self, db: int, names: Sequence[bytes]) -> Iterator[Held]:
        """What it has under these names, one after the other; an expiry that is shifted as it will be.

        The side is not free for anything else before the last one has come.
        """
        done = 0
        while done < len(names):
            try:
                channel = self._connected(db)
                ask = b"PEXPIRETIME" if self.exact else b"PTTL"
                channel.send([words for name in names[done:] for words in ((b"GET", name), (ask, name))])
                for _ in names[done:]:
                    value, left = channel.reply(), channel.reply()
                    held = self._held(value, left, self._now_ms())
                    done += 1
                    self._patience.well()
                    yield held
            except OSError as problem:
                self.close()
                self._patience.failed(problem)

    def _held(self, value: Any, left: Any, now_ms: int) -> Held:
        if isinstance(value, hiredis.ReplyError) and str(value).startswith("WRONGTYPE"):
            return Held(None, None, "no string")
        granted(value, "GET is refused")
        granted(left, "PTTL or PEXPIRETIME is refused")
        if value is None or left == NO_KEY:
            return ABSENT
        if len(value) > VALUE_BYTES_MAX:
            return Held(None, None, "too long")
        if left == NO_EXPIRY:
            return Held(value)
        at_ms = deadline(left) if self.exact else left + now_ms
        return Held(value, at_ms) if at_ms > now_ms else ABSENT
