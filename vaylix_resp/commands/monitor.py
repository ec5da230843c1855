"""MONITOR. What the lines look like and which requests are shown is `server.monitor`'s."""

from __future__ import annotations

from ..errors import error
from ..resp.reply import NO_REPLY, OK, Reply
from .ports import Client
from .spec import Argv, Kind, command


@command("MONITOR", arity=1, kind=Kind.SESSION, flags="admin noscript loading stale", group="server",
         complexity="")  # fmt: skip
def monitor(client: Client, argv: Argv) -> Reply:
    """Listens for all requests received by the server in real-time."""
    if client.in_block:  # executed by EXEC, whose array its lines would tear apart
        raise error("MONITOR isn't allowed for DENY BLOCKING client")
    if not client.server.monitors.add(client):
        return NO_REPLY
    client.server.refresh()
    return OK
