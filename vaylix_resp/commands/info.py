"""INFO: what the server tells of itself. The text is made by `server.info`, which knows all parts."""

from __future__ import annotations

from typing import Final

from ..resp.reply import Reply, Verbatim
from .cluster_facts import mode
from .ports import Client
from .spec import Argv, Kind, command

# Through `sentinel-port`, as a Sentinel.
OF_A_SENTINEL: Final = ("server", "clients", "stats", "cpu", "sentinel")


@command(
    "INFO", arity=-1, kind=Kind.SESSION, flags="loading stale", group="server", categories="dangerous",
    syntax="[section [section ...]]",
    tips=("nondeterministic_output", "request_policy:all_shards", "response_policy:special"),
    history=(("7.0.0", "Added support for taking multiple section arguments."),),
)  # fmt: skip
def info(client: Client, argv: Argv) -> Reply:
    """Facts and counters by section: default, all, everything, or by name."""
    sections = [word.decode("utf-8", "replace").lower() for word in argv[1:]]
    if client.sentinel:
        everything = not sections or {"default", "all", "everything"} & set(sections)
        sections = [name for name in OF_A_SENTINEL if everything or name in sections] or ["none"]
    text = client.server.info(sections)
    if client.sentinel:  # as HELLO says there
        text = text.replace(f"redis_mode:{mode(client.server.settings)}\r\n", "redis_mode:sentinel\r\n")
    return Verbatim(text.encode("utf-8", "surrogateescape"))
