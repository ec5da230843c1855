"""What a server finds around it, and what it makes of it."""

import os
import resource
from types import SimpleNamespace

import pytest

from vaylix_resp import app_posture as module
from vaylix_resp.config import load


def test_the_number_of_open_files(monkeypatch):
    calls, settings = [], load(None, [], {})
    monkeypatch.setattr(resource, "getrlimit", lambda which: (100, 200))
    monkeypatch.setattr(resource, "setrlimit", lambda which, wanted: calls.append(wanted))
    settings.maxclients = 20
    module.raise_file_limit(settings)
    assert calls == [] and settings.maxclients == 20, "enough as it is"
    settings.maxclients = 100
    module.raise_file_limit(settings)
    assert calls == [(164, 200)] and settings.maxclients == 100

    def refuse(which, wanted):
        calls.append(wanted)
        if wanted[1] > 200:
            raise ValueError("not allowed")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    settings.maxclients = 1000
    module.raise_file_limit(settings)
    assert calls[-1] == (200, 200) and settings.maxclients == 200 - module.RESERVED_FILES


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ((), 0),
        (("--http-port", "9121"), 32),
        (("--tls-port", "6380", "--tls-handshakes-max", "50"), 50),
        (("--raft-port", "7001", "--raft-bind", "127.0.0.1", "--node-id", "a"), 64 + 60),
    ],
)
def test_every_port_has_descriptors_of_its_own(monkeypatch, options, more):
    """Else who fills all of them leaves the log none for its next file."""
    calls, settings = [], settings_of(*options)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (100, 100_000))
    monkeypatch.setattr(resource, "setrlimit", lambda which, wanted: calls.append(wanted))
    module.raise_file_limit(settings)
    assert calls == [(10_000 + 64 + more, 100_000)]


def settings_of(*options):
    return load(None, options, {"VAYLIX_CLUSTER_SECRET": "0123456789abcdef"})


CLUSTER = ("--node-id", "a", "--cluster-peers", "a@127.0.0.1:7001,b@127.0.0.1:7002,c@127.0.0.1:7003")


@pytest.mark.parametrize(
    "options, said, unsaid",
    [
        ((), ["appendfsync always (a power cut loses no", "each 256 MiB of log or each 3600 s", "last 3600 s", "this disk only"], ["cluster"]),
        (("--appendfsync", "everysec"), ["may lose the last second"], []),
        (("--appendfsync", "no", "--pitr-window", "0"), ["what the kernel has not written", "no way back"], []),
        (("--snapshot-interval", "0", "--snapshot-log-size", "0"), ["snapshots only when asked for"], []),
        (("--save", "60", "5", "--on-io-error", "exit"), ["or 5 changes in 60 s", "on-io-error exit"], []),
        (("--archive-command", "cp %p /a/%f"), ["archive-command is set"], ["cp %p"]),
        (CLUSTER, ["write-ack-mode majority (a write is acknowledged when it is on most"], ["appendfsync", "this disk"]),
        ((*CLUSTER, "--write-ack-mode", "all"), ["on every voter's disk"], []),
    ],
)
def test_what_can_be_lost(options, said, unsaid):
    text = module.durability(settings_of(*options))
    assert all(word in text for word in said) and not any(word in text for word in unsaid)


@pytest.mark.parametrize(
    "options, open_to_all, said",
    [
        ((), True, ["listens on 127.0.0.1;", "no password is needed (only this machine", "TLS off", "master key: /d/k", "audit on"]),
        (("--protected-mode", "no", "--bind", "0.0.0.0", "::"), True, ["listens on 0.0.0.0, ::;", "anybody is let in"]),
        ((), False, ["; a password is needed;"]),
        (("--tls-port", "7000"), False, ["TLS port 7000 (client certificates: yes), none on port 6379"]),
        (("--tls-port", "7000", "--port", "0", "--unixsocket", "/s"), False, ["127.0.0.1, /s;", "certificates: yes);"]),
        (("--encryption", "no", "--audit", "no"), False, ["off (whoever has the files", "audit off"]),
        ((), False, ["; HTTP off;"]),
        (("--http-port", "9"), False, ["; HTTP on port 9 of 127.0.0.1, without http-token;"]),
        (("--http-port", "9", "--http-bind", "0.0.0.0", "--http-token", "pw"), False, ["9 of 0.0.0.0, with http-token;"]),
    ],
)
def test_who_could_come_in(options, open_to_all, said):
    text = module.security(settings_of(*options), open_to_all=open_to_all, master_key="/d/k")
    assert all(word in text for word in said), text


@pytest.mark.parametrize(
    "options, said",
    [
        ((), "is ready on 127.0.0.1:6379; data in /d, appendfsync always, term 3; connect with: redis-cli -p 6379"),
        (("--tls-port", "7000", "--port", "0"), "connect with: redis-cli --tls -p 7000"),
        (("--unixsocket", "/run/v s", "--port", "0"), "is ready on /run/v s; data in /d, appendfsync always, term 3; connect "
         "with: redis-cli -s '/run/v s'"),
    ],
)  # fmt: skip
def test_how_to_connect(options, said, monkeypatch):
    notices = []
    monkeypatch.setattr(module, "log", SimpleNamespace(notice=notices.append))
    module.ready(settings_of(*options), root="/d", term=3, open_to_all=False, master_key="")
    assert notices[-1].endswith(said)


FILES = {
    "/sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never",
    "/proc/sys/vm/overcommit_memory": "0",
    "/proc/sys/net/core/somaxconn": "128",
    "/proc/self/mountinfo": "1 0 0:1 / / rw - nfs4 nas:/ rw",
}


def test_each_finding_is_told_once(tmp_path):
    settings = settings_of("--dir", str(tmp_path), "--tcp-backlog", "200")
    assert len(list(module.findings(settings, FILES.__getitem__))) == len(FILES)
    assert list(module.findings(settings, lambda path: "")) == []


def test_a_file_that_is_not_there_is_empty(tmp_path):
    assert module.read_text(str(tmp_path / "none")) == ""
    (tmp_path / "some").write_bytes(b"a\xff")
    assert module.read_text(str(tmp_path / "some")).startswith("a")


def test_the_start_is_announced(tmp_path, monkeypatch):
    notices, warnings = [], []
    monkeypatch.setattr(module, "log", SimpleNamespace(notice=notices.append, warning=warnings.append))
    module.announce(settings_of("--dir", str(tmp_path), "--syslog-enabled", "yes"), FILES.__getitem__)
    text = " ".join(notices)
    assert f"process {os.getpid()}" in text and f"data: {tmp_path}" in text and "syslog (local0)" in text
    assert len(warnings) == len(FILES)


def test_syslog_is_off_unless_it_is_asked_for():
    assert module.syslog_of(settings_of()) is None
    on = module.syslog_of(settings_of("--syslog-enabled", "yes", "--syslog-ident", "x", "--syslog-facility", "local7"))
    assert (on.ident, on.facility) == ("x", "local7")
