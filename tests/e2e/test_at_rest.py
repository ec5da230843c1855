"""Issue 3, shown by 1: what clients store is not found by a byte search through anything that the server leaves on disk.

A real server gets keys, values, a user name and passwords that are random marker strings, makes snapshots, a logical
backup, an online backup and an archive, is killed and stopped. Then every byte it left (and what INFO says) is searched for
each marker, as it is, in hexadecimal and in base64 at each alignment. With `encryption no` the same search finds them: the
test can fail. The master key and the password are never found, encrypted or not.
"""

from __future__ import annotations

import base64
import random
import shutil
import string
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest

from bench.processes import Server, us_program
from compat.frames import Wire
from tests.e2e.tools import SERVER_IS_REDIS

pytestmark = pytest.mark.skipif(SERVER_IS_REDIS, reason="nobody else promises this")

SEED = 3
MARKER_LETTERS = 20
PART_LETTERS = 12  # of a marker; a piece of this length is a find as well, wherever a page or a chunk ends
WAIT_SECONDS_MAX = 60.0
MASTER_KEY = random.Random(SEED).randbytes(32)


@dataclass
class Markers:
    """Strings that stand nowhere but in requests.

    `data`: what a store may hold; `names`: of users, which the store and the audit may; `secret`: what none may ever hold.
    """

    rng: random.Random = field(default_factory=lambda: random.Random(SEED))
    data: list[bytes] = field(default_factory=list)
    names: list[bytes] = field(default_factory=list)
    secret: list[bytes] = field(default_factory=list)

    def new(self, kept: list[bytes] | None = None) -> bytes:
        marker = "".join(self.rng.choices(string.ascii_letters, k=MARKER_LETTERS)).encode()
        (self.data if kept is None else kept).append(marker)
        return marker


def forms(marker: bytes) -> Iterator[bytes]:
    """How the marker could stand in a file: as it is, in hexadecimal, in base64 behind 0, 1 or 2 other bytes."""
    yield marker[:PART_LETTERS]
    yield marker[-PART_LETTERS:]
    yield marker[:PART_LETTERS].hex().encode()
    yield marker[:PART_LETTERS].hex().upper().encode()
    for shift in range(3):
        coded = base64.b64encode(bytes(shift) + marker)
        yield coded[4 : len(coded) - 8]  # what neighbours change is left out


def forms_of_secret(secret: bytes) -> Iterator[bytes]:
    """And its SHA-256, which Redis would keep and which lets whoever has it in where Redis runs."""
    digest = sha256(secret).digest()
    yield from forms(secret)
    yield from forms(digest)
    yield from forms(digest.hex().encode())
    yield digest.hex().upper().encode()


def test_the_forms_are_found() -> None:
    marker = Markers().new()
    for before in (b"", b"x", b"xy", b"xyz"):
        text = before + marker + b"tail"
        for shown in (text, text.hex().encode(), text.hex().upper().encode(), base64.b64encode(text)):
            assert any(form in shown for form in forms(marker)), shown
    assert not any(form in Markers(random.Random(9)).new() for form in forms(marker))
    digest = sha256(marker).digest()
    for shown in (marker, digest, digest.hex().encode(), base64.b64encode(b"x" + digest), base64.b64encode(digest.hex().encode())):
        assert any(form in shown for form in forms_of_secret(marker)), shown


@contextmanager
def server_with_everything(scratch: Path, encryption: str, password: bytes) -> Iterator[Server]:
    for name in ("archive", "backups"):
        (scratch / name).mkdir(parents=True)
    key = scratch / "elsewhere" / "key"
    key.parent.mkdir()
    key.write_text(MASTER_KEY.hex() + "\n")
    key.chmod(0o600)
    options = (
        "--encryption", encryption, "--backup-dir", str(scratch / "backups"), "--archive-command",
        f"cp %p {scratch / 'archive'}/%f", "--wal-segment-size", "64kb", "--pitr-window", "3600",
    ) + (("--master-key-file", str(key)) if encryption == "yes" else ())  # fmt: skip
    environment = {"VAYLIX_REQUIREPASS": password.decode()}
    with Server(us_program(), options, scratch / "data", environment=environment) as server:
        server.start()
        yield server


def connect(server: Server, password: bytes) -> Wire:
    wire = Wire(server.port, seconds_max=WAIT_SECONDS_MAX)
    assert wire.ask(b"AUTH", b"default", password) == b"+OK\r\n"
    return wire


def write(wire: Wire, markers: Markers, rounds: int) -> None:
    """Keys and values of every size and through every kind of entry."""
    for number in range(rounds):
        key, value = markers.new(), markers.new()
        assert wire.ask(b"SET", key, value) == b"+OK\r\n"
        wire.ask(b"SET", markers.new(), markers.new() * 300, b"EX", b"1000")
        wire.ask(b"SET", markers.new(), b"\0" * 2000 + markers.new() + b"\0" * 2000)  # zeros: a batch in the clear masks them
        wire.ask(b"MSET", markers.new(), markers.new(), markers.new(), markers.new())
        wire.ask(b"APPEND", key, markers.new())
        wire.ask(b"MULTI")
        wire.ask(b"SET", markers.new(), markers.new())
        wire.ask(b"EXEC")
        wire.ask(b"SELECT", b"3")
        wire.ask(b"SET", markers.new(), b"%d" % number)
        wire.ask(b"SELECT", b"0")
        if number % 5 == 4:
            wire.ask(b"DEL", key)


def ask_with_secrets(server: Server, wire: Wire, markers: Markers) -> None:
    """Log-ins that fail, and requests that carry a name and a password: refused or not, the password leaves no trace."""
    secret, names = markers.secret, markers.names
    stranger = Wire(server.port)
    assert stranger.ask(b"AUTH", markers.new(names), markers.new(secret)).startswith(b"-WRONGPASS")
    assert stranger.ask(b"HELLO", b"3", b"AUTH", markers.new(names), markers.new(secret)).startswith(b"-WRONGPASS")
    stranger.close()
    user = markers.new(names)
    assert wire.ask(b"ACL", b"SETUSER", user, b"on", b">" + markers.new(secret), b"~*", b"+@all") == b"+OK\r\n"
    assert user in wire.ask(b"ACL", b"USERS")
    wire.ask(b"NOSUCHCOMMAND", markers.new(secret))


def info(wire: Wire) -> bytes:
    return wire.ask(b"INFO", b"everything")


def info_field(wire: Wire, name: str) -> str:
    for line in info(wire).decode().splitlines():
        if line.startswith(name + ":"):
            return line.partition(":")[2]
    return ""


def wait_for(what: str, condition) -> None:  # type: ignore[no-untyped-def]
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < WAIT_SECONDS_MAX, f"waited in vain for {what}"
        time.sleep(0.05)


def live(server: Server, password: bytes, markers: Markers) -> bytes:
    """Everything that writes files; what INFO said on the way."""
    wire = connect(server, password)
    ask_with_secrets(server, wire, markers)
    write(wire, markers, 20)
    assert wire.ask(b"SAVE") == b"+OK\r\n"
    assert not wire.ask(b"BACKUP", b"START").startswith(b"-")
    write(wire, markers, 10)
    reply = wire.ask(b"BACKUP", b"TO", b"nightly")
    assert not reply.startswith(b"-"), reply
    wait_for("the online backup", lambda: b"incrementing" in wire.ask(b"BACKUP", b"STATUS"))
    reply = wire.ask(b"BACKUP", b"SEAL")
    assert not reply.startswith(b"-"), reply
    said = info(wire)
    server.kill()  # what a crash leaves is searched as well
    server.start()
    wire = connect(server, password)
    if server.extra[1] == "yes":
        reply = wire.ask(b"KEYRING", b"ROTATE")
        assert not reply.startswith(b"-"), reply
    write(wire, markers, 10)
    wait_for("the snapshot", lambda: wire.ask(b"SAVE") == b"+OK\r\n")  # the rotation has begun one of its own
    wait_for("the archive", lambda: info_field(wire, "archive_pending_files") == "0")
    said += info(wire)
    assert server.stop() == 0
    return said


def areas(server: Server, scratch: Path, said: bytes) -> dict[str, bytes]:
    """Everything that is left, by what it is."""
    found: dict[str, bytes] = {"info": said, "log": server.log_path.read_bytes()}
    for top in ("data", "backups", "archive"):
        for path in sorted((scratch / top).rglob("*")):
            if path.is_file():
                relative = path.relative_to(scratch)
                area = "/".join(relative.parts[:-1])
                found[area] = found.get(area, b"") + path.read_bytes() + str(relative).encode()
    return found


def found_in(areas: dict[str, bytes], markers: list[bytes], of=forms) -> set[str]:  # type: ignore[no-untyped-def]
    wanted = [form for marker in markers for form in of(marker)]
    return {name for name, content in areas.items() if any(form in content for form in wanted)}


def leave_behind(scratch: Path, encryption: str) -> tuple[Markers, dict[str, bytes]]:
    markers = Markers()
    password = markers.new(markers.secret)
    with server_with_everything(scratch, encryption, password) as server:
        said = live(server, password, markers)
        left = areas(server, scratch, said)
    if encryption == "yes":
        markers.secret += [MASTER_KEY, MASTER_KEY.hex().encode()]
    shutil.rmtree(scratch)
    return markers, left


AUDIT = "data/audit"  # names of users, in the clear: whoever is to check it needs no key
PLACES = ("data/wal", "data/snapshots", "backups", "archive")  # each of them holds what clients have stored


def test_nothing_that_clients_stored_is_found(tmp_path: Path) -> None:
    markers, left = leave_behind(tmp_path / "all", "yes")
    assert set(PLACES) <= set(left) and len(markers.data) > 400
    assert all(len(left[place]) > 10_000 for place in PLACES), {place: len(left[place]) for place in left}
    assert any(name.startswith("backups/") and name.endswith("wal") for name in left), sorted(left)
    assert found_in(left, markers.data) == set()
    assert found_in(left, markers.names) <= {AUDIT}
    assert found_in(left, markers.secret) == set()


def test_without_encryption_the_same_search_finds_it(tmp_path: Path) -> None:
    markers, left = leave_behind(tmp_path / "all", "no")
    assert set(PLACES) <= found_in(left, markers.data)
    assert found_in(left, markers.data) & {"info", "log", AUDIT} == set()
    assert set(PLACES) <= found_in(left, markers.names)
    assert found_in(left, markers.names) & {"info", "log"} == set()
    assert found_in(left, markers.secret) == set()
