"""Roles worth having. A new data directory begins with them; from then on they are roles like any other.

None gives the right to change users, roles or settings: who holds one cannot give itself more.
Not here: when they are put into the log (`app`).
"""

from __future__ import annotations

from typing import Final

from ..security.acl import Commands, RuleError, Selector
from .acl_operations import set_role

PREDEFINED: Final[dict[str, str]] = {
    # Read any key. INFO, because client libraries ask for it when they connect.
    "read-only": "%R~* -@all +@read +@connection +@transaction -@dangerous -@admin +info",
    # Use the database: keys and channels, but nothing that empties it or looks over the shoulders of others.
    "read-write": "~* &* -@all +@read +@write +@connection +@transaction +@pubsub -@dangerous -@admin +info",
    # Run the server: no keys, no users, no settings (CONFIG GET shows passwords), no values but those in SLOWLOG.
    "operator": "-@all +@admin +@connection +info +metrics +time +memory -acl -config -debug -monitor -backup|restore "
    "+config|resetstat +slowlog +commandlog +latency +trace +acl|whoami +acl|cat +acl|log +acl|unlock",
    # See who may do what, who did, and how long it took.
    "auditor": "-@all +@connection -@admin +info +metrics +time +acl|cat +acl|dryrun +acl|getrole +acl|getuser "
    "+acl|help +acl|list +acl|log +acl|roles +acl|users +acl|whoami +audit +client|list +slowlog -slowlog|reset "
    "+commandlog -commandlog|reset +latency -latency|reset +trace -trace|reset",
    # Make backups. Restoring one is for an administrator.
    "backup": "-@all +@connection -@admin +info +time +backup -backup|restore +save +bgsave +lastsave",
}


def install(table: Commands) -> list[tuple[bytes, ...]]:
    """The entries that make them; rules about commands that this version does not have are left out."""
    entries = []
    for name, rules in PREDEFINED.items():
        known = []
        for rule in rules.encode().split():
            try:
                Selector().apply(rule, table)
            except RuleError:
                continue
            known.append(rule)
        entries.append(set_role(name, known))
    return entries
