"""No secret passes to MONITOR, SLOWLOG or a log."""

import pytest

from vaylix_resp.commands.redaction import redacted
from vaylix_resp.commands.spec import CommandSpec, Kind
from vaylix_resp.directives import DIRECTIVES


def spec(name):
    return CommandSpec(name, -1, Kind.SESSION, None, frozenset(), (), frozenset(), "", "", "", "", "")


@pytest.mark.parametrize("name, line, shown", [
    ("auth", "AUTH pw", "AUTH *"),
    ("auth", "auth user pw", "auth * *"),
    ("auth", "AUTH user pw more", "AUTH * * *"),
    ("hello", "HELLO", "HELLO"),
    ("hello", "HELLO 3 AUTH user pw", "HELLO 3 AUTH * *"),
    ("hello", "HELLO 3 SETNAME n auth user pw", "HELLO 3 SETNAME n auth * *"),
    ("hello", "HELLO 3 SETNAME auth AUTH user pw", "HELLO 3 SETNAME auth * * *"),
    ("hello", "HELLO 3 SETNAME AUTH user pw", "HELLO 3 SETNAME AUTH * *"),
    ("hello", "HELLO 3 AUTH auth auth SETNAME n", "HELLO 3 AUTH * * * *"),
    ("hello", "HELLO 3 AUTH pw", "HELLO 3 AUTH *"),
    ("hello", "HELLO AUTH user pw", "HELLO AUTH * *"),
    ("hello", "HELLO pw", "HELLO *"),
    ("hello", "HELLO user pw", "HELLO * *"),
    ("hello", "HELLO 3 AUHT user pw", "HELLO 3 * * *"),
    ("hello", "HELLO 3 user pw", "HELLO 3 * *"),
    ("hello", "HELLO 3 AUTH user long pw", "HELLO 3 AUTH * * *"),
    ("hello", "HELLO 3 SETNAME n AHUT user pw SETNAME m", "HELLO 3 SETNAME n * * * * *"),
    ("command|getkeys", "COMMAND GETKEYS AUTH user pw", "COMMAND GETKEYS AUTH * *"),
    ("command|getkeysandflags", "COMMAND GETKEYSANDFLAGS MIGRATE h 1 k AUTH pw",
     "COMMAND GETKEYSANDFLAGS MIGRATE * * * * *"),
    ("config|set", "CONFIG SET timeout 5 RequirePass pw", "CONFIG SET timeout 5 RequirePass *"),
    ("config|set", "CONFIG SET requirepass pw timeout", "CONFIG SET requirepass * *"),
    ("config|set", "CONFIG SET requirepass pw timeout 5", "CONFIG SET requirepass * timeout 5"),
    ("config|set", "CONFIG SET requirepass my long pw", "CONFIG SET requirepass * * *"),
    ("config|set", "CONFIG SET timeout 5 requirepass my pw", "CONFIG SET timeout 5 requirepass * *"),
    ("config|set", "CONFIG SET timeout 5 requirepas pw hz 20", "CONFIG SET timeout 5 requirepas * * *"),
    ("config|set", "CONFIG SET requirepas pw", "CONFIG SET requirepas *"),
    ("config|set", "CONFIG SET timeout requirepass", "CONFIG SET timeout requirepass"),
    ("config|set", "CONFIG SET timeout requirepass pw", "CONFIG SET timeout requirepass *"),
    ("config|set", "CONFIG SET requirepass", "CONFIG SET requirepass"),
    ("config|set", "CONFIG SET archive-command pw hz 20", "CONFIG SET archive-command * hz 20"),
    ("config|set", "CONFIG SET archive-command curl -u me:pw", "CONFIG SET archive-command * * *"),
    ("config|set", "CONFIG SET master-key-command pw", "CONFIG SET master-key-command *"),
    ("config|get", "CONFIG GET requirepass", "CONFIG GET requirepass"),
    ("acl|setuser", "ACL SETUSER u on >pw pw2", "ACL SETUSER * * * *"),
    ("acl|setpass", "ACL SETPASS pw pw2", "ACL SETPASS * *"),
    ("acl|setrole", "ACL SETROLE r >pw", "ACL SETROLE r *"),
    ("acl|dryrun", "ACL DRYRUN u auth name pw", "ACL DRYRUN u auth * *"),
    ("acl|dryrun", "ACL DRYRUN u auth pw", "ACL DRYRUN u auth *"),
    ("acl|getuser", "ACL GETUSER u", "ACL GETUSER u"),
    ("sentinel|set", "SENTINEL SET m auth-pass pw", "SENTINEL SET m * *"),
    ("sentinel|set", "SENTINEL SET auth-pass pw", "SENTINEL SET auth-pass *"),
    ("sentinel|config", "SENTINEL CONFIG SET sentinel-pass pw", "SENTINEL CONFIG SET sentinel-pass *"),
    ("sentinel|config", "SENTINEL CONFIG GET sentinel-user", "SENTINEL CONFIG GET sentinel-user"),
    ("set", "SET auth pw", "SET auth pw"),
])  # fmt: skip
def test_secrets_are_not_shown(name, line, shown):
    words = [b"(redacted)" if word == "*" else word.encode() for word in shown.split()]
    assert list(redacted(spec(name), [word.encode() for word in line.split()])) == words


def test_what_holds_passwords_or_is_run_by_a_shell_is_marked():
    kinds = {"a command", "a password", "a passphrase", "a secret"}
    marked = {name for name, row in DIRECTIVES.items() if row.spec.secret or row.spec.sensitive}
    assert {name for name, row in DIRECTIVES.items() if getattr(row.spec.kind, "what", "") in kinds} <= marked
    assert {name for name in DIRECTIVES if name.endswith(("-command", "-pass", "-secret", "-token"))} - marked == {
        "enable-debug-command"  # no, yes or local
    }
