"""MAINTENANCE: clients' writes are refused while somebody works on the server. Ours; Redis has nothing of the kind.

    @maintenance on message       entries; an empty message is the usual text
    @maintenance off

Promise: once ON has been answered, no write of a client is applied until OFF; also after a restart, because the mode
is part of the state. Reads and administration go on: ACL, CONFIG, BACKUP, FLASHBACK, KEYRING, and the removal of
expired keys. Not here: how writes are kept out meanwhile (`server.maintenance`).
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import error, wrong_arity
from ..resp.reply import OK, Reply
from ..state.views import WriteTx
from .arguments import help_reply
from .ports import Client
from .spec import Argv, Kind, command, container

MAINTENANCE: Final = b"@maintenance"
MESSAGE_BYTES_MAX: Final = 256  # every refused write carries it

_FLAGS: Final = "admin noscript no_async_loading no_multi"

container("MAINTENANCE", group="server", since="1.0.0", summary="Refuse writes while somebody works on the server.")


def turn_on(message: bytes) -> tuple[bytes, ...]:
    return (MAINTENANCE, b"on", message)


def turn_off() -> tuple[bytes, ...]:
    return (MAINTENANCE, b"off")


def apply(tx: WriteTx, argv: Argv) -> Any:
    """The handler of `@maintenance`."""
    world = tx.world
    if argv[1] == b"on":
        world.maintenance.begin(world.now_ms, bytes(argv[2]))
    else:
        assert argv[1] == b"off", argv[1]
        world.maintenance.end()
    return OK


OPERATIONS: Final = {MAINTENANCE: apply}


@command("MAINTENANCE|ON", arity=-2, kind=Kind.SESSION, flags=_FLAGS, group="server")
def maintenance_on(client: Client, argv: Argv) -> Reply:
    """Refuse clients' writes from now on; a message takes the place of the usual text."""
    if len(argv) > 3:
        raise wrong_arity("maintenance|on")
    message = argv[2] if len(argv) == 3 else b""
    if len(message) > MESSAGE_BYTES_MAX:
        raise error(f"the message may have {MESSAGE_BYTES_MAX} bytes at most")
    if not message.decode("utf-8", "replace").isprintable():
        raise error("the message must be one line of printable characters")
    reply: Reply = client.server.maintenance.turn_on(message)
    return reply


@command("MAINTENANCE|OFF", arity=2, kind=Kind.SESSION, flags=_FLAGS, group="server")
def maintenance_off(client: Client, argv: Argv) -> Reply:
    """Take writes again."""
    reply: Reply = client.server.maintenance.turn_off()
    return reply


@command(
    "MAINTENANCE|STATUS", arity=2, kind=Kind.SESSION, flags="admin noscript loading stale", group="server",
    tips=("nondeterministic_output",),
)  # fmt: skip
def maintenance_status(client: Client, argv: Argv) -> Reply:
    """Whether it is on, since when (ms since the epoch), and the message."""
    mode = client.server.machine.world.maintenance
    return {
        b"mode": b"on" if mode.on else b"off",
        b"since-ms": mode.since_ms if mode.on else None,
        b"message": mode.message if mode.on else None,
    }


@command("MAINTENANCE|HELP", arity=2, kind=Kind.SESSION, flags="loading stale early", group="server")
def maintenance_help(client: Client, argv: Argv) -> Reply:
    """The forms of MAINTENANCE."""
    return help_reply(
        "MAINTENANCE",
        "ON [<message>]",
        "    Refuse clients' writes from now on, also after a restart; reads and administration go on.",
        "OFF",
        "    Take writes again.",
        "STATUS",
        "    Return whether it is on, since when, and the message.",
    )
