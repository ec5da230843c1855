"""ACL LOG: what has been refused of late, as Redis 7.2 keeps it.

Pure; the time is given. In memory only, of this process: what must last is in the audit.
Promise: bounded, whatever is tried: `limit` entries, each with at most WORD_BYTES_MAX of what a client chose.
Units: milliseconds since the epoch.
Not here: deciding (`access`), the reply (`commands.acl`), lasting records (`audit`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GROUPING_MS: Final = 60_000  # the same refusal again within this time counts up the entry that there is
LOOK_BACK: Final = 10  # entries compared with a new one; more would make a flood expensive
WORD_BYTES_MAX: Final = 1024

TOP_LEVEL: Final = "toplevel"
MULTI: Final = "multi"


@dataclass(slots=True)
class Refusal:
    """One entry. `reason` is command, key, channel, database, auth or tls-cert."""

    id: int
    reason: str
    context: str
    object: bytes
    username: bytes
    client_info: bytes  # of the last client
    created_ms: int
    updated_ms: int
    count: int = 1

    def same(self, other: Refusal) -> bool:
        return (self.reason, self.context, self.object, self.username) == (
            other.reason, other.context, other.object, other.username
        ) and abs(other.updated_ms - self.updated_ms) <= GROUPING_MS  # fmt: skip


class AclLog:
    """The newest refusals, newest first."""

    def __init__(self) -> None:
        self._entries: list[Refusal] = []
        self._ids = 0

    def __len__(self) -> int:
        return len(self._entries)

    def note(
        self, reason: str, object_: bytes, username: bytes, client_info: bytes, now_ms: int, *, context: str, limit: int
    ) -> None:
        """`limit` is acllog-max-len; with 0 nothing is kept."""
        new = Refusal(
            self._ids, reason, context, object_[:WORD_BYTES_MAX], username[:WORD_BYTES_MAX], client_info, now_ms, now_ms
        )
        for at, known in enumerate(self._entries[:LOOK_BACK]):
            if known.same(new):
                known.count += 1
                known.updated_ms, known.client_info = now_ms, client_info
                self._entries.insert(0, self._entries.pop(at))
                break
        else:
            self._ids += 1
            self._entries.insert(0, new)
        del self._entries[limit:]

    def newest(self, count: int) -> list[Refusal]:
        return self._entries[: max(0, count)]

    def reset(self) -> None:
        """Forget all; numbers go on."""
        self._entries = []
