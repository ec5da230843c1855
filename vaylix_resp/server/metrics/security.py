"""Metrics of who is let in and who is not: rights, log-ins, limits, certificates, the audit, keys of the data."""

from __future__ import annotations

from typing import Final

from ...security.lockout import ADDRESS, PAIR, USER
from .table import Metric, Read, Scrape, counter, gauge

KINDS: Final = (USER, ADDRESS, PAIR)


def _denied(at: Scrape) -> dict[str, int]:
    stats = at.server.stats
    return {
        "auth": stats.acl_access_denied_auth, "cmd": stats.acl_access_denied_cmd, "key": stats.acl_access_denied_key,
        "channel": stats.acl_access_denied_channel, "db": stats.acl_access_denied_db,
        "tls_cert": stats.acl_access_denied_tls_cert,
    }  # fmt: skip


def _locked(at: Scrape) -> dict[str, int]:
    kinds = [lock.kind for lock in at.server.lockout.locked(at.now)]
    return {kind: kinds.count(kind) for kind in KINDS}


def _limits(at: Scrape) -> dict[str, int]:
    stats, limits = at.server.stats, at.server.quotas.limits
    return {
        "rate": limits.refused, "connections": limits.refused_connections, "sizes": stats.limit_refused_sizes,
        "transactions": stats.limit_ended_transactions, "watches": stats.limit_ended_watches,
    }  # fmt: skip


def _certificates(at: Scrape) -> dict[str, int]:
    """Those that this server shows and those that it checks clients by."""
    found: dict[str, int] = {}
    now_s, door, nodes = at.now_ms // 1000, at.server.tls, at.server.node_tls
    if door is not None:
        material = door.keeper.material
        found["server"] = material.server.not_after_s - now_s
        if material.authorities:
            found["ca"] = min(one.not_after_s for one in material.authorities) - now_s
    if nodes is not None:
        found["node"] = nodes.pair.material.server.not_after_s - now_s
    return found


def _tls(name: str) -> Read:
    return lambda at: int(at.server.tls.info()[f"tls_{name}"]) if at.server.tls is not None else None


def _handshakes(at: Scrape) -> dict[str, int] | None:
    door = at.server.tls
    return None if door is None else {name: door.counts[name] for name in OUTCOMES}


def _audit(name: str) -> Read:
    return lambda at: at.audit.get(f"audit_{name}")


OUTCOMES: Final = ("completed", "failed", "timed_out", "evicted")

SECURITY: Final[tuple[Metric, ...]] = (
    counter("acl_denied_total", "Log-ins and requests refused by ACL.", _denied, ("reason",),
            "auth, cmd, key, channel, db, tls_cert"),
    counter("login_failures_total", "Wrong passwords and users.", lambda at: at.server.lockout.failures),
    counter("login_locks_total", "Locks after too many of them.", lambda at: dict(at.server.lockout.locks), ("kind",),
            "user, address, pair"),
    counter("login_refused_total", "Log-ins refused because of a lock.", lambda at: dict(at.server.lockout.refused),
            ("kind",), "user, address, pair"),
    gauge("login_locked", "Locks in force.", _locked, ("kind",), "user, address, pair"),
    counter("passwords_refused_total", "Log-ins refused because too many passwords waited to be verified.",
            lambda at: at.server.passwords.busy),
    counter("limit_refused_total", "Requests and connections refused, transactions ended by a limit of docs/limits.md.",
            _limits, ("limit",), "rate, connections, sizes, transactions, watches"),
    gauge("users", "Users.", lambda at: len(at.server.accounts.users)),
    gauge("certificate_expiry_seconds", "Until a certificate is no longer valid; negative: since.", _certificates,
          ("certificate",), "server, ca, node"),
    gauge("tls_connections", "Connections with TLS.", _tls("connections")),
    gauge("tls_handshakes_in_flight", "Handshakes that are under way.", _tls("handshakes_in_flight")),
    counter("tls_handshakes_total", "Handshakes.", _handshakes, ("outcome",), ", ".join(OUTCOMES)),
    gauge("tls_reload_failed", "1: changed certificate files could not be used; the old ones are in force.",
          lambda at: int(bool(at.server.tls.keeper.failure)) if at.server.tls is not None else None),
    gauge("encryption_enabled", "1: what is written to disk is encrypted.", lambda at: int(at.server.keyring.on)),
    gauge("audit_enabled", "1: there is an audit.", _audit("enabled")),
    gauge("audit_sequence", "The newest record that is durable.", _audit("sequence")),
    gauge("audit_committed_sequence", "The newest record whose hash is in the data's log.",
          _audit("committed_sequence")),
    gauge("audit_pending_records", "Records that wait to be written.", _audit("pending")),
    counter("audit_records_total", "Records written since the start.", _audit("written")),
    counter("audit_lost_records_total", "Records lost since the start.", _audit("lost")),
    gauge("audit_failed", "1: records cannot be written (the disk is full or has failed).", _audit("failed")),
    gauge("audit_broken", "1: this start found a break in the chain of records.", _audit("broken")),
)  # fmt: skip
