"""ACL: who may do what, asked. Changes are in `acl_changes`.

Users and roles are state (`world.accounts`); the log of refusals is this process's.
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import CommandError, error, printable
from ..resp.reply import OK, Reply, SetOf
from ..security.access import refusal_text
from ..security.acl import Selector, bytes_of, text_of
from ..state.accounts import Accounts
from .arguments import INT64_MAX, INT64_MIN, bounded, help_reply, integer, subcommand_syntax
from .ports import Client
from .spec import CATEGORIES, Argv, Kind, command, container

container("ACL", group="server", since="6.0.0", summary="Users, roles and their rights.")

ADMIN: Final = "admin noscript loading stale"
OPEN: Final = "noscript loading stale early"
OVER_USERS: Final = "O(N). Where N is the number of configured users."
GENPASS_BITS: Final = 256
GENPASS_BITS_MAX: Final = 4096
LOG_ENTRIES: Final = 10  # of a plain ACL LOG


def accounts_of(client: Client) -> Accounts:
    return client.server.accounts


@command(
    "ACL|CAT", arity=-2, kind=Kind.SESSION, flags=OPEN, group="server", since="6.0.0", syntax="[categoryname]",
    complexity="O(1) since the categories and commands are a fixed set.",
)  # fmt: skip
def acl_cat(client: Client, argv: Argv) -> Reply:
    """The categories of commands, or the commands of one."""
    if len(argv) == 2:
        return list(CATEGORIES)
    if len(argv) > 3:
        raise subcommand_syntax(argv)
    names = client.server.catalog.names_in(text_of(argv[2].lower()))
    if names is None:
        raise error(f"Unknown category '{printable(argv[2])}'")
    return names


@command(
    "ACL|DRYRUN", arity=-4, kind=Kind.SESSION, flags=ADMIN, group="server", since="7.0.0", complexity="O(1).",
    syntax="username command [arg [arg ...]]",
)  # fmt: skip
def acl_dryrun(client: Client, argv: Argv) -> Reply:
    """Whether a user could run a request, and if not, why."""
    name, request = text_of(argv[2]), argv[3:]
    grants = accounts_of(client).grants(name)
    if grants is None:
        raise error(f"User '{printable(argv[2])}' not found")
    catalog = client.server.catalog
    spec = catalog.find(request)
    if spec is None:
        raise error(f"Command '{printable(request[0])}' not found")
    if not spec.arity_ok(len(request)):
        raise error(f"wrong number of arguments for '{spec.name}' command")
    denied = grants.check(catalog.request(spec, request, client.db))
    return OK if denied is None else bytes_of(refusal_text(name, spec.name, denied, named=True))


@command("ACL|GENPASS", arity=-2, kind=Kind.SESSION, flags=OPEN, group="server", since="6.0.0", syntax="[bits]")
def acl_genpass(client: Client, argv: Argv) -> Reply:
    """A random password in hexadecimal."""
    if len(argv) > 3:
        raise subcommand_syntax(argv)
    bits = integer(argv[2]) if len(argv) == 3 else GENPASS_BITS
    if not 0 < bits <= GENPASS_BITS_MAX:
        raise error(
            "ACL GENPASS argument must be the number of bits for the output password, a positive number "
            f"up to {GENPASS_BITS_MAX}"
        )
    digits = (bits + 3) // 4
    return client.server.random_bytes((digits + 1) // 2).hex()[:digits].encode()


@command(
    "ACL|GETUSER", arity=3, kind=Kind.SESSION, flags=ADMIN, group="server", since="6.0.0", syntax="username",
    complexity="O(N). Where N is the number of password, command and pattern rules that the user has.",
    history=(
        ("6.2.0", "Added Pub/Sub channel patterns."),
        ("7.0.0", "Added selectors and changed the format of key and channel patterns from a list to their rule "
                  "representation."),
    ),
)  # fmt: skip
def acl_getuser(client: Client, argv: Argv) -> Reply:
    """The rules of a user; null if there is none."""
    account = accounts_of(client).users.get(text_of(argv[2]))
    if account is None:
        return None
    root, *others = account.selectors
    return {
        "flags": SetOf(account.flags),
        "passwords": account.passwords,
        **selector_fields(root),
        "roles": list(account.roles),
        "expire": account.expires_at_s * 1000 if account.expires_at_s else None,
        "selectors": [selector_fields(one) for one in others],
    }


def selector_fields(selector: Selector) -> dict[str, Any]:
    return {
        "commands": bytes_of(selector.commands_text),
        "keys": bytes_of(selector.keys_text),
        "channels": bytes_of(selector.channels_text),
        "databases": bytes_of(selector.databases_text),
    }


@command("ACL|LIST", arity=2, kind=Kind.SESSION, flags=ADMIN, group="server", since="6.0.0", complexity=OVER_USERS)
def acl_list(client: Client, argv: Argv) -> Reply:
    """All roles and users as lines that an ACL file could hold."""
    return [bytes_of(line) for line in accounts_of(client).lines()]


@command("ACL|USERS", arity=2, kind=Kind.SESSION, flags=ADMIN, group="server", since="6.0.0", complexity=OVER_USERS)
def acl_users(client: Client, argv: Argv) -> Reply:
    """The names of all users."""
    return sorted(bytes_of(name) for name in accounts_of(client).users)


@command("ACL|WHOAMI", arity=2, kind=Kind.SESSION, flags=OPEN, group="server", since="6.0.0")
def acl_whoami(client: Client, argv: Argv) -> Reply:
    """The user of this connection."""
    return bytes_of(client.user)


@command(
    "ACL|ROLES", arity=2, kind=Kind.SESSION, flags=ADMIN, group="server", since="9.2.0",
    complexity="O(N). Where N is the number of configured roles.",
)  # fmt: skip
def acl_roles(client: Client, argv: Argv) -> Reply:
    """The names of all roles."""
    return sorted(bytes_of(name) for name in accounts_of(client).roles)


@command(
    "ACL|GETROLE", arity=3, kind=Kind.SESSION, flags=ADMIN, group="server", since="9.2.0", syntax="rolename",
    complexity="O(N). Where N is the number of rules defined for the role.",
)  # fmt: skip
def acl_getrole(client: Client, argv: Argv) -> Reply:
    """The rules of a role and the users that hold it; null if there is none."""
    accounts, name = accounts_of(client), text_of(argv[2])
    role = accounts.roles.get(name)
    if role is None:
        return None
    root, *others = role.selectors
    return {
        **selector_fields(root),
        "selectors": [selector_fields(one) for one in others],
        "users": [bytes_of(user) for user in accounts.holders(name)],
    }


@command(
    "ACL|LOG", arity=-2, kind=Kind.SESSION, flags=ADMIN, group="server", since="6.0.0", syntax="[count | RESET]",
    complexity="O(N) with N being the number of entries shown.",
    history=(("7.2.0", "Added entry ID, timestamp created, and timestamp last updated."),),
)  # fmt: skip
def acl_log(client: Client, argv: Argv) -> Reply:
    """What has been refused of late, newest first."""
    if len(argv) > 3:
        raise subcommand_syntax(argv)
    log = client.server.acl_log
    if len(argv) == 3 and argv[2].upper() == b"RESET":
        log.reset()
        return OK
    count = bounded(argv[2], INT64_MIN, INT64_MAX) if len(argv) == 3 else LOG_ENTRIES
    now_ms = client.server.clock.wall_ms()
    return [
        {
            "count": entry.count,
            "reason": entry.reason,
            "context": entry.context,
            "object": entry.object,
            "username": entry.username,
            "age-seconds": (now_ms - entry.updated_ms) / 1000,
            "client-info": entry.client_info,
            "entry-id": entry.id,
            "timestamp-created": entry.created_ms,
            "timestamp-last-updated": entry.updated_ms,
        }
        for entry in log.newest(count)
    ]


@command("ACL|HELP", arity=2, kind=Kind.SESSION, flags="loading stale early", group="server", since="6.0.0")
def acl_help(client: Client, argv: Argv) -> Reply:
    """The forms of ACL."""
    return help_reply(
        "ACL",
        "CAT [<category>]",
        "    List all commands that belong to <category>, or all command categories",
        "    when no category is specified.",
        "DELROLE <rolename> [<rolename> ...]",
        "    Delete roles that no user holds.",
        "DELUSER <username> [<username> ...]",
        "    Delete a list of users.",
        "DRYRUN <username> <command> [<arg> ...]",
        "    Returns whether the user can execute the given command without executing the command.",
        "GETROLE <rolename>",
        "    Get the role's details and the users that hold it.",
        "GETUSER <username>",
        "    Get the user's details.",
        "GENPASS [<bits>]",
        "    Generate a secure 256-bit user password. The optional `bits` argument can",
        "    be used to specify a different size.",
        "LIST",
        "    Show roles and users in config file format.",
        "LOAD",
        "    Reload roles and users from the ACL file.",
        "LOG [<count> | RESET]",
        "    Show the ACL log entries.",
        "ROLES",
        "    List all the names of roles.",
        "SAVE",
        "    Save the current roles and users to the ACL file.",
        "SETPASS <current-password> <new-password>",
        "    Change the password of the current user.",
        "SETROLE <rolename> <attribute> [<attribute> ...]",
        "    Create or modify a role with the specified attributes.",
        "SETUSER <username> <attribute> [<attribute> ...]",
        "    Create or modify a user with the specified attributes.",
        "UNLOCK <USER <username> | ADDR <ip> | ALL>",
        "    Let users or addresses try again that are locked out on this node.",
        "USERS",
        "    List all the registered usernames.",
        "WHOAMI",
        "    Return the current connection username.",
    )


def refused_in_transaction(client: Any) -> CommandError | None:
    """What waits for the log, or for a password to be worked out, cannot be part of a transaction."""
    if client.multi is None:
        return None
    return CommandError("ERR This ACL subcommand is not allowed inside a transaction: its reply has to be waited for")
