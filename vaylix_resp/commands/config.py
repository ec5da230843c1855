"""CONFIG: settings by name, counters reset, the configuration file written back.

Not here: the directives and their kinds (`directives`, `config_values`), the file (`config_text`).
"""

from __future__ import annotations

from ..errors import SYNTAX, CommandError, error
from ..resp.reply import OK, Reply
from .arguments import help_reply
from .ports import Client
from .redaction import REDACTED, is_secret
from .spec import Argv, Kind, command, container

container("CONFIG", group="server", since="2.0.0", summary="Settings: read, change, write back.")

_ADMIN = "admin noscript loading stale"


@command(
    "CONFIG|GET", arity=-3, kind=Kind.SESSION, flags=_ADMIN, group="server", since="2.0.0",
    syntax="parameter [parameter ...]",
    complexity="O(N) where N is the number of configuration parameters provided",
    history=(("7.0.0", "Added the ability to pass multiple pattern parameters in one call"),),
)  # fmt: skip
def config_get(client: Client, argv: Argv) -> Reply:
    """Settings whose names match any of the patterns, with their values; of a secret only whether there is one."""
    found = client.server.settings.get_matching(argv[2:])
    return {raw: _shown(raw, value) for raw, value in ((name.encode(), value) for name, value in found.items())}


def _shown(name: bytes, value: str) -> bytes:
    return REDACTED if value and is_secret(name) else value.encode("utf-8", "surrogateescape")


@command(
    "CONFIG|SET", arity=-4, kind=Kind.SESSION, flags=_ADMIN, group="server", since="2.0.0",
    syntax="parameter value [parameter value ...]",
    complexity="O(N) where N is the number of configuration parameters provided",
    tips=("request_policy:all_nodes", "response_policy:all_succeeded"),
    history=(("7.0.0", "Added the ability to set multiple parameters in one call."),),
)  # fmt: skip
def config_set(client: Client, argv: Argv) -> Reply:
    """Change settings: all of those named, or none."""
    if len(argv) % 2:
        raise CommandError(SYNTAX)
    if any(value == REDACTED and is_secret(name) for name, value in zip(argv[2::2], argv[3::2], strict=True)):
        raise error("CONFIG GET shows (redacted) in place of a secret: it cannot be set to that")
    client.server.settings.set_many(list(zip(argv[2::2], argv[3::2], strict=True)))
    return client.server.unsettled() or OK


@command("CONFIG|RESETSTAT", arity=2, kind=Kind.SESSION, flags=_ADMIN, group="server", since="2.0.0")
def config_resetstat(client: Client, argv: Argv) -> Reply:
    """Set the counters that INFO shows back to zero."""
    server = client.server
    server.stats.reset()
    server.clients.rejected = 0
    world = server.machine.world
    world.hits = world.misses = world.expired = world.evicted = 0  # counted beside the state, and not part of it
    return OK


@command("CONFIG|REWRITE", arity=2, kind=Kind.SESSION, flags=_ADMIN, group="server", since="2.8.0")
def config_rewrite(client: Client, argv: Argv) -> Reply:
    """Write the settings in force back to the configuration file; comments stay."""
    return client.server.rewrite_config()


@command("CONFIG|HELP", arity=2, kind=Kind.SESSION, flags="loading stale early", group="server", since="5.0.0")
def config_help(client: Client, argv: Argv) -> Reply:
    """The forms of CONFIG."""
    return help_reply(
        "CONFIG",
        "GET <pattern>",
        "    Return parameters matching the glob-like <pattern> and their values.",
        "SET <directive> <value>",
        "    Set the configuration <directive> to <value>.",
        "RESETSTAT",
        "    Reset statistics reported by the INFO command.",
        "REWRITE",
        "    Rewrite the configuration file.",
    )
