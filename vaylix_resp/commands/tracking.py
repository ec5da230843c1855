"""CLIENT TRACKING, TRACKINGINFO, CACHING, GETREDIR. Who is told what is `server.tracking`'s."""

from __future__ import annotations

from typing import Any, Final

from ..errors import SYNTAX, CommandError, error
from ..resp.reply import OK, Reply, SetOf
from .arguments import integer
from .ports import Client
from .spec import Argv, Kind, command

_FLAGS: Final = "noscript loading stale"


@command(
    "CLIENT|TRACKING", arity=-3, kind=Kind.SESSION, flags=_FLAGS, group="connection", since="6.0.0",
    syntax="<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] "
    "[NOLOOP]",
    complexity="O(1). Some options may introduce additional complexity.",
)  # fmt: skip
def client_tracking(client: Client, argv: Argv) -> Reply:
    """Controls server-assisted client-side caching for the connection."""
    options = _options(client, argv)
    match argv[2].upper():
        case b"ON":
            _check_together(client, options)
            client.server.tracking.enable(client, **options)
        case b"OFF":
            client.server.tracking.drop(client)
        case _:
            raise CommandError(SYNTAX)
    client.server.refresh()
    return OK


def _options(client: Client, argv: Argv) -> dict[str, Any]:
    """Keyword arguments of TrackingTable.enable; wrong ones are refused for OFF, too, as in Redis."""
    found: dict[str, Any] = {"redirect": 0, "prefixes": []}
    at = 3
    while at < len(argv):
        word, more = argv[at].upper(), at + 1 < len(argv)
        if word == b"REDIRECT" and more:
            if found["redirect"]:
                raise error("A client can only redirect to a single other client")
            at += 1
            found["redirect"] = integer(argv[at])
            if client.server.clients.get(found["redirect"]) is None:
                raise error("The client ID you want redirect to does not exist")
        elif word == b"PREFIX" and more:
            at += 1
            found["prefixes"].append(argv[at])
        elif word in (b"BCAST", b"OPTIN", b"OPTOUT", b"NOLOOP"):
            found[word.decode().lower()] = True
        else:
            raise CommandError(SYNTAX)
        at += 1
    return found


def _check_together(client: Client, options: dict[str, Any]) -> None:
    """Options that exclude each other, in the order in which Redis looks at them."""
    bcast = options.get("bcast", False)
    if options["prefixes"] and not bcast:
        raise error("PREFIX option requires BCAST mode to be enabled")
    if client.tracking is not None and client.tracking.bcast != bcast:
        return  # the table refuses this switch, which Redis does before looking further
    if bcast and ("optin" in options or "optout" in options):
        raise error("OPTIN and OPTOUT are not compatible with BCAST")
    if "optin" in options and "optout" in options:
        raise error("You can't specify both OPTIN mode and OPTOUT mode")


@command("CLIENT|TRACKINGINFO", arity=2, kind=Kind.SESSION, flags=_FLAGS, group="connection", since="6.2.0")
def client_trackinginfo(client: Client, argv: Argv) -> Reply:
    """Returns information about server-assisted client-side caching for the connection."""
    tracking = client.tracking
    if tracking is None:
        return {"flags": SetOf(["off"]), "redirect": -1, "prefixes": []}
    flags, prefixes = SetOf(tracking.flags()), list(tracking.prefixes)
    return {"flags": flags, "redirect": tracking.redirect, "prefixes": prefixes}


@command("CLIENT|CACHING", arity=3, kind=Kind.SESSION, flags=_FLAGS, group="connection", since="6.0.0",
         syntax="<YES | NO>")  # fmt: skip
def client_caching(client: Client, argv: Argv) -> Reply:
    """Instructs the server whether to track the keys in the next request."""
    tracking = client.tracking
    if tracking is None:
        raise error("CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or "
                    "OPTOUT mode enabled")  # fmt: skip
    match argv[2].upper():
        case b"YES" if tracking.optin:
            tracking.caching = True
        case b"YES":
            raise error("CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
        case b"NO" if tracking.optout:
            tracking.caching = True
        case b"NO":
            raise error("CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
        case _:
            raise CommandError(SYNTAX)
    return OK


@command("CLIENT|GETREDIR", arity=2, kind=Kind.SESSION, flags=_FLAGS, group="connection", since="6.0.0")
def client_getredir(client: Client, argv: Argv) -> Reply:
    """Returns the client ID to which the connection's tracking notifications are redirected."""
    return -1 if client.tracking is None else client.tracking.redirect
