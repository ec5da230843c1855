"""What a server finds around it when it starts, and what it says of itself: limits, warnings, posture.

Each warning says what to do. The lines of the posture are what somebody who reads the log after an incident asks first:
which program, where is its data, what could be lost, who could come in.
Not here: what a single directive means (`config`), the order of starting (`app`), what a finding is
(`observability.surroundings`).
"""

from __future__ import annotations

import os
import platform
import resource
import shlex
from collections.abc import Callable, Iterator
from typing import Final

from . import identity
from .config import Settings
from .config_cluster import PEERS_MAX
from .directives_cluster_rules import ACK_MODE_WARNINGS, raft_port
from .observability import logs, surroundings
from .peers.door import PENDING_MAX
from .server.http.service import CONNECTIONS_MAX
from .server.listener import display

log = logs.get_log("server")

RESERVED_FILES: Final = 64  # descriptors that are not clients: log, snapshots, listeners
PEER_FILES: Final = PENDING_MAX + 4 * PEERS_MAX  # of the raft port: strangers, and of each peer two in each direction
TEXT_BYTES_MAX: Final = 1 << 20  # of a file below /proc: a machine with ten thousand mounts

ReadText = Callable[[str], str]


def raise_file_limit(settings: Settings) -> None:
    """One descriptor per client and some more; lowers `maxclients` (and says so) where the system does not allow it."""
    reserved = _reserved_files(settings)
    wanted = settings.maxclients + reserved
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    except (ValueError, OSError):
        allowed = min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        settings.set_many([("maxclients", str(max(1, allowed - reserved)))])
        log.warning(
            f"the system allows {allowed} open files, so maxclients is {settings.maxclients}: raise the limit to "
            f"{wanted} (LimitNOFILE in the unit, `ulimit -n` in a shell), or set a lower maxclients"
        )


def _reserved_files(settings: Settings) -> int:
    """With fewer, whoever connects to every port could leave the log without a descriptor for its next file."""
    reserved = RESERVED_FILES
    if settings.tls_port:
        reserved += settings.tls_handshakes_max
    if settings.http_port:
        reserved += CONNECTIONS_MAX
    if raft_port(settings):
        reserved += PEER_FILES
    return reserved


def read_text(path: str) -> str:
    """A file below /proc or /sys; "" if there is none, or none for us."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(TEXT_BYTES_MAX)
    except OSError:
        return ""


def findings(settings: Settings, read: ReadText = read_text) -> Iterator[str]:
    """What is wrong around us, a line each."""
    yield from surroundings.huge_pages(read("/sys/kernel/mm/transparent_hugepage/enabled"))
    yield from surroundings.overcommit(read("/proc/sys/vm/overcommit_memory"))
    yield from surroundings.backlog(read("/proc/sys/net/core/somaxconn"), settings.tcp_backlog)
    yield from surroundings.file_system(os.path.realpath(settings.dir), read("/proc/self/mountinfo"))


def announce(settings: Settings, read: ReadText = read_text) -> None:
    """At the very start: who we are, and what should be changed about the machine."""
    log.notice(
        f"Vaylix RESP {identity.VAYLIX_VERSION} on {platform.python_implementation()} {platform.python_version()}, "
        f"{platform.system()} {platform.release()} {platform.machine()}, process {os.getpid()}"
    )
    log.notice(
        f"configuration: {os.path.abspath(settings.config_file) if settings.config_file else 'no file'}; data: "
        f"{os.path.abspath(settings.dir)}; log: {settings.logfile or 'standard error'}"
        + (f" and syslog ({settings.syslog_facility})" if settings.syslog_enabled else "")
    )
    for finding in findings(settings, read):
        log.warning(finding)


def syslog_of(settings: Settings) -> logs.Syslog | None:
    if not settings.syslog_enabled:
        return None
    return logs.Syslog(settings.syslog_ident, settings.syslog_facility)


LOSES: Final = {
    "always": "a power cut loses no acknowledged write",
    "everysec": "a power cut may lose the last second of acknowledged writes",
    "no": "a power cut may lose what the kernel has not written, commonly 30 seconds",
}
ACKNOWLEDGES: Final = {
    "majority": "a write is acknowledged when it is on most voters' disks",
    "local": "a write is acknowledged when it is on most voters' disks",
    "all": "a write is acknowledged when it is on every voter's disk",
}


def durability(settings: Settings) -> str:
    """What can be lost, and what there is to come back to."""
    clustered = bool(raft_port(settings))
    if clustered:
        writes = f"cluster, write-ack-mode {settings.write_ack_mode} ({ACKNOWLEDGES[settings.write_ack_mode]})"
    else:
        writes = f"appendfsync {settings.appendfsync} ({LOSES[settings.appendfsync]})"
    window = settings.pitr_window
    past = f"any moment of the last {window} s can be restored" if window else "pitr-window 0 (no way back)"
    elsewhere = "archive-command is set" if settings.archive_command else "no archive-command"
    if not settings.archive_command and not clustered:
        elsewhere += " (the data is on this disk only, unless somebody takes backups)"
    broken = f"on-io-error {settings.on_io_error}"
    return f"durability: {writes}; {broken}; snapshots {_snapshots(settings)}; {past}; {elsewhere}"


def _snapshots(settings: Settings) -> str:
    whens = []
    if settings.snapshot_log_size:
        whens.append(f"each {settings.snapshot_log_size >> 20} MiB of log")
    if settings.snapshot_interval:
        whens.append(f"each {settings.snapshot_interval} s")
    whens += [f"{point.changes} changes in {point.seconds} s" for point in settings.save]
    return " or ".join(whens) or "only when asked for"


def security(settings: Settings, *, open_to_all: bool, master_key: str) -> str:
    """Who could come in, and what is readable on the disk. `open_to_all`: `default` has no password."""
    doors = ", ".join([*settings.bind, *([settings.unixsocket] if settings.unixsocket else [])])
    access = "a password is needed"
    if open_to_all:
        protected = "only this machine is let in" if settings.protected_mode else "protected-mode no: anybody is let in"
        access = f"no password is needed ({protected})"
    tls = "off"
    if settings.tls_port:
        tls = f"port {settings.tls_port} (client certificates: {settings.tls_auth_clients})"
        if settings.port:
            tls += f", none on port {settings.port}"
    http = "off"
    if settings.http_port:
        token = "with" if settings.http_token else "without"
        http = f"on port {settings.http_port} of {', '.join(settings.http_bind)}, {token} http-token"
    sealed = f"on (master key: {master_key})" if settings.encryption else "off (whoever has the files can read them)"
    audit = "on" if settings.audit else "off"
    return f"security: listens on {doors}; {access}; TLS {tls}; HTTP {http}; encryption at rest {sealed}; audit {audit}"


def ready(settings: Settings, *, root: str, term: int, open_to_all: bool, master_key: str) -> None:
    """Clients are let in: what holds for them, and how to connect."""
    log.notice(durability(settings))
    log.notice(security(settings, open_to_all=open_to_all, master_key=master_key))
    doors = [(settings.port, "")] * bool(settings.port) + [(settings.tls_port, " (TLS)")] * bool(settings.tls_port)
    where = " and ".join(f"{display(host, port)}{how}" for port, how in doors for host in settings.bind)
    cli = f"-p {settings.port}" if settings.port else f"--tls -p {settings.tls_port}"
    if not doors:
        cli = f"-s {shlex.quote(settings.unixsocket)}"
    log.notice(
        f"Vaylix RESP {identity.VAYLIX_VERSION} is ready on {where or settings.unixsocket}; data in {root}, "
        f"appendfsync {settings.appendfsync}, term {term}; connect with: redis-cli {cli}"
    )


def warn_of_ack_mode(mode: str) -> None:
    """As at the start, when CONFIG SET changes it."""
    if mode in ACK_MODE_WARNINGS:
        log.warning(ACK_MODE_WARNINGS[mode])
