"""What the replies of one transaction may take together: its requests are bounded, but each may ask for a large value.

Promise: what is beyond REPLY_BYTES_MAX is not kept, wherever the block is executed: on the node that answers, on its
followers, and whenever the log is replayed. Nothing else changes: every request of the block has been executed.
Units: bytes of the values, without what RESP puts around them.
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import CommandError
from ..limits import REPLY_BYTES_MAX
from ..resp.reply import Reply, Simple, Verbatim

LEFT_OUT: Final = CommandError(
    f"INDETERMINATE the replies of this transaction take more than {REPLY_BYTES_MAX} bytes: this request was executed, "
    "but its reply is left out"
)
ITEM_BYTES: Final = 8  # of a list, besides what stands in it
_SMALL: Final = frozenset({CommandError, Simple, int, type(None)})  # of these there are no more than requests


class BlockReplies:
    """`kept`: in the order of the requests."""

    __slots__ = ("_left", "kept")

    def __init__(self) -> None:
        self.kept: list[Reply] = []
        self._left = REPLY_BYTES_MAX

    def add(self, reply: Reply) -> None:
        if type(reply) not in _SMALL:
            size = _size(reply)
            if size > self._left:
                reply = LEFT_OUT
            else:
                self._left -= size
        self.kept.append(reply)


def _size(reply: Any) -> int:
    """Of what can be large."""
    if isinstance(reply, bytes | str):
        return len(reply)
    if isinstance(reply, list | tuple):
        return len(reply) * ITEM_BYTES + sum(map(_size, reply))
    if isinstance(reply, dict):
        return _size(list(reply)) + _size(list(reply.values()))
    return len(reply.text) if isinstance(reply, Verbatim) else 0
