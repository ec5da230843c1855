"""Directives of the audit: part of the one table.

Not here: the other rows (`directives`), what is recorded in any case (`commands.audit_events`), docs/audit.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vaylix_resp.config_values import INT64_MAX, BadValue, Integer, Memory, OneOf, Text, YesNo
from vaylix_resp.config_words import Words
from vaylix_resp.directive import setting
from vaylix_resp.directives_limits import LimitsTable
from vaylix_resp.limits import GIB, KIB, MIB

AUDIT = "audit"

# The categories of ACL, which the table of commands knows (a test compares them), and every command.
AUDIT_CATEGORIES = (
    "keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo",
    "stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction", "scripting",
    "all",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Categories(Words[tuple[str, ...]]):
    """Categories of commands, with or without the @ of ACL rules; `""` means none."""

    def parse(self, words: Sequence[str], base: tuple[str, ...], again: bool) -> tuple[str, ...]:
        given = [word.lower().removeprefix("@") for word in words if word]
        unknown = [name for name in given if name not in AUDIT_CATEGORIES]
        if unknown:
            raise BadValue(f"{unknown[0]!r:.40} is no category of commands")
        return tuple(name for name in AUDIT_CATEGORIES if name in given)

    def render(self, value: tuple[str, ...]) -> str:
        return " ".join(value)

    def lines(self, value: tuple[str, ...]) -> list[list[str]]:
        return [list(value) or [""]]

    def describe(self) -> str:
        return 'categories as in ACL CAT, or all, or "" for none'


@dataclass(slots=True, repr=False, eq=False)
class AuditTable(LimitsTable):
    """Its rows come before those of `directives.Table`; see there."""

    audit: bool = setting(
        YesNo(), True, AUDIT, "record log-ins, refusals, and what changes security or data at large; no: nothing",
        locked="immutable",
    )  # fmt: skip
    audit_log_categories: tuple[str, ...] = setting(
        Categories(), (), AUDIT, "commands recorded beside those that always are; all = every one, which costs speed"
    )
    audit_log_keys: bool = setting(YesNo(), False, AUDIT, "write the names of keys; no: only how many")
    audit_slower_than: int = setting(
        Integer(-1, INT64_MAX), -1, AUDIT, "record commands slower than this; -1 = none", unit="microseconds"
    )
    audit_durable: str = setting(
        OneOf(("no", "security", "all")), "security", AUDIT,
        "which replies wait until their record is on disk; the others may be lost in a crash, up to a second of them",
    )  # fmt: skip
    audit_on_failure: str = setting(
        OneOf(("refuse", "stop")), "refuse", AUDIT, "if no record can be written: refuse what changes security, or exit"
    )
    audit_on_break: str = setting(
        OneOf(("refuse", "alarm")), "refuse", AUDIT,
        "a start finds the audit changed: refuse (65), or go on and say so in it, in the log and in INFO",
        locked="immutable",
    )  # fmt: skip
    audit_rotate_size: int = setting(
        Memory(64 * KIB, GIB), 64 * MIB, AUDIT, "size at which a file is sealed; each start reads one", unit="bytes"
    )
    audit_rotate_age: int = setting(Integer(0), 0, AUDIT, "age at which a file is sealed; 0 = by size", unit="seconds")
    audit_retain: int = setting(
        Integer(0, 1_000_000), 0, AUDIT, "sealed files that are kept; a record says what was deleted; 0 = all",
        unit="files",
    )  # fmt: skip
    audit_head_interval: int = setting(
        Integer(0), 60, AUDIT,
        "how often the data's log commits the newest record, behind which a cut shows no trace; 0 = only at stops",
        unit="seconds",
    )  # fmt: skip
    audit_signing_key_file: str = setting(
        Text("a path"), "", AUDIT, "Ed25519 key in PEM that signs what is committed; empty = unsigned",
        locked="immutable",
    )
