"""KEYRING: the keys of the data at rest. Ours; Redis has nothing of the kind.

Not here: what rotation does, in which order (`engine.keyring`).
"""

from __future__ import annotations

from typing import Final

from ..resp.reply import Reply
from .arguments import help_reply
from .ports import Client
from .spec import Argv, Kind, command, container

container("KEYRING", group="server", since="1.0.0", summary="The keys of the data at rest.")

_FLAGS: Final = "admin noscript no_async_loading no_multi"


@command("KEYRING|ROTATE", arity=2, kind=Kind.SESSION, flags=_FLAGS, group="server")
def keyring_rotate(client: Client, argv: Argv) -> Reply:
    """Make a new key, seal what is written from now on with it, and start a snapshot so that older files can go."""
    reply: Reply = client.server.keyring.rotate()
    return reply


@command(
    "KEYRING|STATUS", arity=2, kind=Kind.SESSION, flags="admin noscript loading stale", group="server",
    tips=("nondeterministic_output",),
)  # fmt: skip
def keyring_status(client: Client, argv: Argv) -> Reply:
    """Whether data is sealed, the keys with the files that need each, and where the master key comes from."""
    reply: Reply = client.server.keyring.status()
    return reply


@command("KEYRING|HELP", arity=2, kind=Kind.SESSION, flags="loading stale early", group="server")
def keyring_help(client: Client, argv: Argv) -> Reply:
    """The forms of KEYRING."""
    return help_reply(
        "KEYRING",
        "ROTATE",
        "    Seal what is written from now on with a new key. Older keys are destroyed",
        "    when no file needs them any more.",
        "STATUS",
        "    Return the keys, the files that need each, and where the master key comes from.",
    )
