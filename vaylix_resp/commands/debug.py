"""DEBUG: what tests of Redis and of its clients use, refused unless `enable-debug-command` allows it.

Promise: nothing here but FLIP can lose or change acknowledged data; POPULATE writes through the log like everybody.
FLIP spoils a value in this process's memory, behind the log's back, as a broken memory chip would: for tests of a
cluster's comparison of states.
Different from Redis on purpose: SLEEP makes only its caller wait (and notes it as a slow request); RELOAD and LOADAOF
rebuild the state from disk beside the one in use and compare the two, instead of replacing it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..errors import NO_SUCH_KEY, CommandError, error, printable
from ..interchange.dump_payload import serialize
from ..resp.reply import OK, Push, Reply, SetOf, Simple, Verbatim, Wire
from ..resp.writer import bulk
from ..state.digest import NOTHING, keys_digest_hex, value_digest_hex
from ..state.values import value_of
from .arguments import INT64_MAX, bounded, help_reply, parse_int, subcommand_syntax
from .keys import encoding_of
from .operations import transaction
from .ports import Client, Later
from .spec import Argv, Kind, command

REFUSED: Final = (
    'ERR DEBUG command not allowed. If the enable-debug-command option is set to "local", you can run it from a '
    "local connection, otherwise you need to set this option in the configuration file, and then restart the server."
)
POPULATE_ENTRY_KEYS: Final = 1000  # keys in one entry: small enough that others get their turn in between
_SLEEP_SECONDS_MAX: Final = 24 * 3600.0


def _is_local(client: Client) -> bool:
    host = client.addr.rpartition(":")[0].strip("[]")
    return client.addr.startswith("/") or host == "::1" or host.startswith("127.")


def _allowed(client: Client) -> bool:
    setting = client.server.settings.enable_debug_command
    return setting == "yes" or (setting == "local" and _is_local(client))


def _forbidden(client: Client) -> CommandError | None:
    return None if _allowed(client) else CommandError(REFUSED)


@command(
    "DEBUG", arity=-2, kind=Kind.SESSION, flags="admin noscript loading stale", group="server",
    complexity="Depends on subcommand.", doc_flags=("syscmd",), forbidden=_forbidden,
)  # fmt: skip
def debug(client: Client, argv: Argv) -> Reply:
    """Tools for tests; off unless enable-debug-command allows them."""
    found = _SUBCOMMANDS.get(argv[1].upper())
    if found is None or not found[0] <= len(argv) <= found[1]:
        raise subcommand_syntax(argv)
    return found[2](client, argv)


def _digest(client: Client, argv: Argv) -> Reply:
    return Simple(keys_digest_hex(client.server.machine.world))


def _digest_value(client: Client, argv: Argv) -> Reply:
    view = client.server.view(client.db)
    return [Simple(value_digest_hex(view.db, view.index, key) if view.exists(key) else NOTHING) for key in argv[2:]]


def _flip(client: Client, argv: Argv) -> Reply:
    """Another value for a key in the memory of this process, and nowhere else: nobody is told, nothing is logged."""
    items, key = client.server.machine.world.databases[client.db].items, argv[2]
    if key not in items:
        raise CommandError(NO_SUCH_KEY)
    item = items[key]
    items[key] = item[:-1] + bytes((item[-1] ^ 1,)) if value_of(item) else item + b"\0"
    return OK


def _sleep(client: Client, argv: Argv) -> Reply:
    """A Later, so that the others go on; noted as slow when it ends, which is what tests of SLOWLOG do it for."""
    seconds = _seconds(argv[2])
    if seconds <= 0:
        return OK
    later = Later(timeout_reply=OK)

    def wake() -> None:
        client.server.lateness.request_took(client, argv, seconds)
        later.resolve(OK)

    timer = client.server.call_later(seconds, wake)
    later.on_cancel = timer.cancel
    return later


def _seconds(raw: bytes) -> float:
    """As strtod: what is no number is 0, and Redis says nothing about it."""
    try:
        seconds = float(raw)
    except ValueError:
        return 0.0
    return min(seconds, _SLEEP_SECONDS_MAX) if seconds == seconds else 0.0


def _compare(client: Client, argv: Argv) -> Reply:
    """RELOAD, LOADAOF: OK when the state rebuilt from snapshot and log is the one in memory."""
    return client.server.checkpoint.rebuild_and_compare()


def _object(client: Client, argv: Argv) -> Reply:
    view, key = client.server.view(client.db), argv[2]
    item = view.item(key)
    if item is None:
        raise CommandError(NO_SUCH_KEY)
    value = value_of(item)
    return Simple(
        f"Value at:0x0 refcount:1 encoding:{encoding_of(value)} "
        f"serializedlength:{len(serialize(value)) - _FRAME_BYTES} "
        f"lru:0 lru_seconds_idle:0 version:{view.version(key)}"
    )


_FRAME_BYTES: Final = 1 + 2 + 8  # of DUMP, around the value: its type, the version of the format, a checksum


def _populate(client: Client, argv: Argv) -> Reply:
    """count [prefix] [size]: keys that exist stay as they are. Some thousand keys per entry, one entry at a time."""
    message = "ERR value is out of range, must be positive"
    count = bounded(argv[2], 0, INT64_MAX, message)
    prefix = argv[3] if len(argv) > 3 else b"key"
    size = bounded(argv[4], 0, INT64_MAX, message) if len(argv) > 4 else 0
    if size > client.server.settings.proto_max_bulk_len:
        raise CommandError(message)
    later, db = Later(), client.db
    step = max(1, min(POPULATE_ENTRY_KEYS, (1 << 20) // (size + 1)))

    def next_entry(first: int, previous: Reply) -> None:
        if isinstance(previous, CommandError) or first >= count:
            later.resolve(previous if isinstance(previous, CommandError) else OK)
        elif not later.done:
            keys = range(first, min(first + step, count))
            entry = transaction((), [(db, _populating(prefix, number, size)) for number in keys])
            client.server.propose(entry).listen(lambda reply: next_entry(first + step, reply))

    next_entry(0, OK)
    return later


def _populating(prefix: bytes, number: int, size: int) -> Argv:
    value = b"value:%d" % number
    return b"SET", b"%b:%d" % (prefix, number), value[:size].ljust(size, b"\0") if size else value, b"NX"


def _big_number() -> Wire:
    digits = b"1234567999999999999999999999999999999"
    return Wire(bulk(digits), b"(" + digits + b"\r\n")


def _attribute() -> Wire:
    reply = bulk(b"Some real reply following the attribute")
    return Wire(reply, b"|1\r\n" + bulk(b"key-popularity") + b"*2\r\n" + bulk(b"key:123") + b":90\r\n" + reply)


_TYPES: Final[dict[bytes, Callable[[], Reply]]] = {
    b"string": lambda: b"Hello World",
    b"integer": lambda: 12345,
    b"double": lambda: 3.141,
    b"bignum": _big_number,
    b"null": lambda: None,
    b"array": lambda: [0, 1, 2],
    b"set": lambda: SetOf([0, 1, 2]),
    b"map": lambda: {0: False, 1: True, 2: False},
    b"attrib": _attribute,
    b"verbatim": lambda: Verbatim(b"This is a verbatim\nstring"),
    b"true": lambda: True,
    b"false": lambda: False,
}


def _protocol(client: Client, argv: Argv) -> Reply:
    """A value of each RESP3 type, for whoever tests a client library."""
    name = argv[2].lower()
    if name == b"push":
        if client.proto < 3:
            raise error("RESP2 is not supported by this command")
        client.push(Push([b"server-cpu-usage", 42]))
        return b"Some real reply following the push reply"
    make = _TYPES.get(name)
    if make is None:
        raise error(
            "Wrong protocol type name. Please use one of the following: "
            "string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false"
        )
    return make()


def _set_active_expire(client: Client, argv: Argv) -> Reply:
    """0: expired keys stay until they are looked at by a write; 1: they are removed in the background."""
    client.server.active_expire = parse_int(argv[2]) != 0
    return OK


def _nothing(client: Client, argv: Argv) -> Reply:
    """What has no meaning here but may be said: checksums are always verified, the housekeeping always runs."""
    return OK


def _error(client: Client, argv: Argv) -> Reply:
    raise CommandError(printable(argv[2]) or "ERR")


def _help(client: Client, argv: Argv) -> Reply:
    return help_reply(
        "DEBUG",
        "DIGEST",
        "    Output a hex signature representing the current DB content.",
        "DIGEST-VALUE <key> [<key> ...]",
        "    Output a hex signature of the values of all the specified keys.",
        "ERROR <string>",
        "    Return a protocol error with <string> as message.",
        "FLIP <key>",
        "    Spoil the value of a key in memory, on this node only, to see that a cluster finds it.",
        "LOADAOF",
        "    Rebuild the state from snapshot and log beside the one in use and compare them.",
        "OBJECT <key>",
        "    Show low level info about `key` and associated value.",
        "POPULATE <count> [<prefix>] [<size>]",
        "    Create <count> string keys named key:<num>. If <prefix> is specified then",
        "    it is used instead of the 'key' prefix. Existing keys are left alone.",
        "PROTOCOL <type>",
        "    Reply with a test value of the specified type. <type> can be: string,",
        "    integer, double, bignum, null, array, set, map, attrib, push, verbatim,",
        "    true, false.",
        "RELOAD [option ...]",
        "    The same as LOADAOF; the state in use is never replaced, so options say nothing.",
        "SET-ACTIVE-EXPIRE <0|1>",
        "    Setting it to 0 disables expiring keys in background when they are not",
        "    accessed. Setting it to 1 reenables back the default.",
        "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
        "    Accepted without effect: checksums are always verified.",
        "SLEEP <seconds>",
        "    Let this client wait for <seconds>; the others are served. Decimals allowed.",
    )


_MANY: Final = 1 << 31
# Fewest and most words of the whole request, and what it does.
_SUBCOMMANDS: Final[dict[bytes, tuple[int, int, Callable[[Client, Argv], Reply]]]] = {
    b"DIGEST": (2, 2, _digest),
    b"DIGEST-VALUE": (2, _MANY, _digest_value),
    b"ERROR": (3, 3, _error),
    b"FLIP": (3, 3, _flip),
    b"HELP": (2, 2, _help),
    b"LOADAOF": (2, 2, _compare),
    b"OBJECT": (3, 4, _object),
    b"POPULATE": (3, 5, _populate),
    b"PROTOCOL": (3, 3, _protocol),
    b"RELOAD": (2, _MANY, _compare),
    b"SET-ACTIVE-EXPIRE": (3, 3, _set_active_expire),
    b"SET-SKIP-CHECKSUM-VALIDATION": (3, 3, _nothing),
    b"SLEEP": (3, 3, _sleep),
}
