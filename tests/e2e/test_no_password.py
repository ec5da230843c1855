"""Issue 4, shown by 5: no password is found in data, logs, audit, or in anything that the server tells of itself.

A real server at log level debug meets every request that carries a password, right and wrong, refused, cut short, malformed,
in a transaction, inline, over TLS with a key that has a passphrase. Then all that it left and everything that an
administrator can ask it (INFO, MONITOR, SLOWLOG, COMMANDLOG, TRACE, CLIENT LIST, CONFIG GET, ACL LIST and LOG, LATENCY, its
command line) is searched for each password: as it is, in hexadecimal, in base64 at each alignment, and for its SHA-256 in the same forms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from bench.processes import Server, free_port, us_program
from compat.frames import Wire, encode
from tests.e2e.test_at_rest import Markers, forms_of_secret, found_in
from tests.e2e.tools import SERVER_IS_REDIS
from tests.unit.security.pki import issued, put

pytestmark = pytest.mark.skipif(SERVER_IS_REDIS, reason="Redis keeps SHA-256 in the clear")

AUDIT = ("--audit-log-categories", "all", "--audit-log-keys", "yes", "--audit-slower-than", "0")
END = b"that was all"
FOLLOWED = ("--trace-sample", "1", "--trace-max-len", "4096", "--commandlog-request-larger-than", "0",
            "--commandlog-large-request-max-len", "4096", "--commandlog-reply-larger-than", "0")  # fmt: skip
QUICK = ("--password-hash-memory", "128kb", "--password-hash-iterations", "1")


@dataclass
class Run:
    """One server, its secrets, and what it was heard to say. `replies` are those to requests that carried a secret."""

    server: Server
    markers: Markers = field(default_factory=Markers)
    told: dict[str, bytes] = field(default_factory=dict)
    replies: bytes = b""

    def secret(self) -> bytes:
        return self.markers.new(self.markers.secret)

    def stranger(self) -> Wire:
        return Wire(self.server.port)


@contextmanager
def started(scratch: Path, encryption: str) -> Iterator[tuple[Run, bytes]]:
    markers = Markers()
    password, passphrase = (markers.new(markers.secret) for _ in range(2))
    certificate, key = issued()
    locked = serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(passphrase)
    )
    certificate_file, key_file = put(scratch, "server", (certificate, locked))
    options = (
        "--encryption", encryption, "--loglevel", "debug", "--slowlog-log-slower-than", "0", "--slowlog-max-len", "4096",
        "--latency-monitor-threshold", "1", "--login-user-limit", "0", "--login-address-limit", "0", "--tls-port", str(free_port()),
        "--tls-cert-file", certificate_file, "--tls-key-file", key_file, "--tls-auth-clients", "no", *AUDIT, *FOLLOWED, *QUICK,
    )  # fmt: skip
    environment = {"VAYLIX_REQUIREPASS": password.decode(), "VAYLIX_TLS_KEY_FILE_PASS": passphrase.decode()}
    with Server(us_program(), options, scratch / "data", environment=environment) as server:
        server.start()
        yield Run(server, markers), password


def log_ins(run: Run, password: bytes) -> None:
    """With the right password and wrong ones, in every way a client can say it."""
    secret, wire = run.secret, run.stranger()
    for words in (
        (b"AUTH", secret()), (b"AUTH", b"default", secret()), (b"auth", b"nobody", secret()), (b"AUTH", secret(), secret(), secret()),
        (b"HELLO", b"3", b"AUTH", b"default", secret()), (b"HELLO", b"3", b"AUTH", secret()),
        (b"HELLO", b"9", b"AUTH", b"default", secret()), (b"HELLO", b"3", b"SETNAME", b"n", b"AUTH", b"nobody", secret()),
        (b"HELLO", b"3", b"AUTH", b"default", secret(), b"NONSENSE"), (b"MULTI",), (b"AUTH", secret()),
        (b"EXEC",), (b"AUTH", b"default", sha256(password).hexdigest().encode()), (b"AUTH", b"default", secret() * 500),
        (b"HELLO", b"2", b"AUTH", b"default", password), (b"AUTH", password), (b"AUTH", b"default", secret()),
        (b"MULTI",), (b"AUTH", secret()), (b"HELLO", b"3", b"AUTH", b"default", secret()), (b"EXEC",), (b"RESET",),
    ):  # fmt: skip
        run.replies += wire.ask(*words)
    wire.close()
    for raw in (
        b"AUTH " + secret() + b"\r\n", b'AUTH "' + secret() + b"\r\n", b"AUTH default '" + secret() + b"'x\r\n",
        encode((b"AUTH", secret()))[:-1] + b"X\r\n", b"*2\r\n$4\r\nAUTH\r\n$-7\r\n" + secret() + b"\r\n",
        b"*2\r\n$4\r\nAUTH\r\n" + secret() + b"\r\n", encode((b"AUTH", b"default", secret()))[:-9],
    ):  # fmt: skip
        broken = run.stranger()
        broken.send(raw + b"\r\nQUIT\r\n")
        broken.socket.shutdown(1)
        run.replies += broken.until_closed()
        broken.close()


def changes(run: Run, admin: Wire) -> None:
    """Users, passwords and configuration; what is refused carries a secret as well."""
    secret, old, new = run.secret, run.secret(), run.secret()
    hashed = sha256(run.secret()).hexdigest().encode()
    for words in (
        (b"ACL", b"SETUSER", b"u", b"on", b">" + old, b"#" + hashed, b"~*", b"+@all"),
        (b"ACL", b"SETUSER", b"u", b"<" + secret()), (b"ACL", b"SETUSER", b"u", b">" + secret(), b"+nosuch"),
        (b"ACL", b"SETUSER", b"u", b"(~a", b">" + secret() + b")"), (b"ACL", b"SETUSER", b"u", b"!" + hashed),
        (b"ACL", b"SETUSER", b"u", b"#" + secret()), (b"ACL", b"SETUSER", b"u", b"!" + secret()),
        (b"ACL", b"SETUSER", b"a b", b">" + secret()), (b"ACL", b"SETROLE", b"r", b">" + secret()),
        (b"acl", b"setuser", b"v", b"on", b">" + secret(), b"<" + secret(), b"reset"),
        (b"ACL", b"DRYRUN", b"default", b"AUTH", secret()), (b"ACL", b"DRYRUN", b"default", b"ACL", b"SETUSER", b"x", b">" + secret()),
        (b"ACL", b"DRYRUN", b"u", b"AUTH", b"u", secret(), secret()),
        (b"MULTI",), (b"ACL", b"SETUSER", b"w", b">" + secret()), (b"CONFIG", b"SET", b"requirepass", secret()), (b"EXEC",),
        (b"CONFIG", b"SET", b"requirepass", secret(), b"maxclients", b"none"), (b"CONFIG", b"SET", b"requirepass", secret(), secret()),
        (b"CONFIG", b"SET", b"tls-key-file-pass", secret()),
        (b"CONFIG", b"SET", b"requirepass", new), (b"CONFIG", b"REWRITE"),
        (b"ACL", b"SETPASS", secret(), secret()), (b"ACL", b"SETPASS", new, secret()), (b"ACL", b"SETPASS", secret()),
    ):  # fmt: skip
        run.replies += admin.ask(*words)
    other = run.stranger()
    assert other.ask(b"AUTH", b"u", old) == b"+OK\r\n"
    run.replies += other.ask(b"ACL", b"SETPASS", old, secret())
    # Commands that are not there or refused, with a secret where Redis has one: their error shows the client its own words.
    other.ask(b"MIGRATE", b"h", b"1", b"k", b"0", b"9", b"AUTH2", b"u", secret())
    other.ask(b"EVAL", b"redis.call('auth', '" + secret() + b"')", b"0")
    other.ask(b"SENTINEL", b"SET", b"m", b"auth-pass", secret())
    other.ask(b"SENTINEL", b"CONFIG", b"SET", b"sentinel-pass", secret())
    other.close()


ASKED = (
    "INFO everything", "SLOWLOG GET 4096", "CLIENT LIST", "CLIENT INFO", "CONFIG GET *", "ACL LIST", "ACL LOG 4096",
    "ACL GETUSER default", "ACL GETUSER u", "ACL USERS", "LATENCY LATEST", "LATENCY HISTOGRAM", "LATENCY DOCTOR",
    "MEMORY DOCTOR", "COMMAND LIST", "BACKUP LIST NAMES", "TRACE GET 4096", "COMMANDLOG GET 4096 large-request",
    "COMMANDLOG GET 4096 large-reply", "METRICS",
)  # fmt: skip


def heard(monitor: Wire, ask: Callable[..., bytes]) -> bytes:
    """Everything that MONITOR has said."""
    assert ask(b"ECHO", END).endswith(END + b"\r\n")
    said = b""
    while END not in said:
        said += monitor.frames(1)[0]
    return said


def left_behind(run: Run, scratch: Path) -> dict[str, bytes]:
    """Everything on disk, by directory, and the log."""
    found = {"log": run.server.log_path.read_bytes()}
    for path in sorted((scratch / "data").rglob("*")):
        if path.is_file():
            area = str(path.parent.relative_to(scratch))
            found[area] = found.get(area, b"") + path.read_bytes() + path.name.encode()
    return found


@pytest.mark.parametrize("encryption", ["yes", "no"])
def test_no_password_is_found(tmp_path: Path, encryption: str) -> None:
    with started(tmp_path, encryption) as (run, password):
        admin, monitor = run.stranger(), run.stranger()
        for wire in (admin, monitor):
            assert wire.ask(b"AUTH", b"default", password) == b"+OK\r\n"
        assert monitor.ask(b"MONITOR") == b"+OK\r\n"
        log_ins(run, password)
        changes(run, admin)
        run.told["MONITOR"] = heard(monitor, admin.ask)
        run.told |= {line: admin.ask(*line.encode().split()) for line in ASKED}
        run.told["command line"] = Path(f"/proc/{run.server.pid}/cmdline").read_bytes()
        assert admin.ask(b"SAVE") == b"+OK\r\n" and not admin.ask(b"BACKUP", b"TO", b"b").startswith(b"-")
        run.server.kill()
        run.server.start()
        assert run.server.stop() == 0
        left = left_behind(run, tmp_path)
    assert {"data/wal", "data/snapshots", "data/backups", "data/audit", "log"} <= set(left)
    assert run.told["SLOWLOG GET 4096"].count(b"AUTH") > 5 and run.told["ACL LOG 4096"].count(b"auth") > 2
    assert run.told["TRACE GET 4096"].count(b"AUTH") > 2 and run.told["COMMANDLOG GET 4096 large-request"].count(b"SETUSER") > 2
    assert run.told["MONITOR"].count(b"\r\n") > 30 and b"argon2id" in run.told["ACL LIST"]
    assert left["data/audit"].lower().count(b"setuser") > 3
    assert (b"argon2id" in left["data/backups"]) is (encryption == "no"), "what is searched can be seen"
    secrets = run.markers.secret
    assert len(secrets) > 50
    assert found_in(left | run.told | {"replies": run.replies}, secrets, forms_of_secret) == set()
