"""What the tests of `vaylix import` share: a redis-server, a server of ours, the importer, and what kills it.

A kill is an exception between two system calls of the importer, so that each place has its turn and none depends on
time.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from bench.processes import Program, Server, free_port
from compat.clients import patient
from tests.e2e.tools import require, vaylix
from vaylix_resp.cli import main
from vaylix_resp.tools.moving import importing, meaning, receiver, target
from vaylix_resp.tools.moving.meaning import MARK_KEY
from vaylix_resp.tools.moving.target import Target, Transaction

SOURCE = (
    "redis-server --bind 127.0.0.1 --port {port} --dir {dir} --appendonly yes --appendfsync no --save ''"
    " --auto-aof-rewrite-percentage 0 --enable-debug-command yes --repl-diskless-sync-delay 0"
    " --tls-port {tls_port} --tls-cert-file {tls}/server.crt --tls-key-file {tls}/server.key"
    " --tls-ca-cert-file {tls}/ca.crt"
)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A directory of certificates, and the source's port for TLS."""
    directory = tmp_path_factory.mktemp("tls")
    assert main(["tls", "example-certs", "--dir", str(directory)]) == 0
    return directory, free_port()


@pytest.fixture(scope="module")
def servers(tls: tuple[Path, int]) -> Iterator[tuple[Server, Server]]:
    require("redis-server")
    command = SOURCE.replace("{tls}", str(tls[0])).replace("{tls_port}", str(tls[1]))
    with Server(Program("redis", command)) as source, vaylix() as target_server:
        source.start()
        yield source, target_server


@pytest.fixture
def pair(servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Pair]:
    """Both, empty, and the importer at hand."""
    monkeypatch.setattr(receiver, "PAUSE_S", 0.01)
    monkeypatch.setattr(receiver, "ACK_S", 0.05)
    monkeypatch.setattr(importing, "LOOK_S", 0.0)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    made = Pair(*servers)
    made.source.client_unpause()
    made.target.execute_command("MAINTENANCE", "OFF")
    for client in (made.source, made.target):
        client.flushall()
    yield made
    made.source.client_unpause()
    made.source.close()
    made.target.close()


class Pair:
    def __init__(self, source_server: Server, target_server: Server) -> None:
        self.source_server, self.target_server = source_server, target_server
        self.source, self.target = patient(port=source_server.port), patient(port=target_server.port)
        self.live = ["--from", f"redis://127.0.0.1:{source_server.port}"]

    def words(self, *words: object) -> list[str]:
        return ["import", *map(str, words), "--to", f"redis://127.0.0.1:{self.target_server.port}"]

    def imported(self, *words: object) -> int:
        return main(self.words(*words))

    def states(self) -> tuple[Any, Any]:
        return everything(self.source), everything(self.target)

    def mark(self) -> bytes:
        self.target.select(0)
        raw = self.target.get(MARK_KEY)
        assert isinstance(raw, bytes)
        return raw

    def equal(self) -> bool:
        one, other = self.states()
        assert one == other
        assert not self.target.exists(MARK_KEY)
        return bool(one)

    def rdb(self, path: Path) -> Path:
        """The source's data as a file."""
        self.source.save()
        return Path(shutil.copy(self.source_server.data_directory / "dump.rdb", path))

    def aof(self, path: Path) -> Path:
        return Path(shutil.copytree(self.source_server.data_directory / "appendonlydir", path))


def everything(client: redis.Redis) -> dict[tuple[int, bytes], tuple[bytes, int]]:
    """Every key that has not expired, with its value and its end."""
    found = {}
    for db in range(16):
        pipe = client.pipeline(transaction=False)
        pipe.execute_command("SELECT", db)
        pipe.keys()
        names = pipe.execute()[1]
        for name in names:
            pipe.get(name).pexpiretime(name)
        replies = pipe.execute()
        held = zip(names, replies[::2], replies[1::2], strict=True)
        found |= {(db, name): (value, end) for name, value, end in held if value is not None}
    client.select(0)
    return found


def all_strings(client: redis.Redis) -> None:
    """Every way in which Redis keeps a string, with and without an end, in two databases."""
    values = [b"", b"\0\r\n\xff", b"0", b"-1", b"127", b"-32768", b"2147483647", b"-9223372036854775808", b"007",
              b"a" * 64, b"ab" * 50_000, random.Random(1).randbytes(1 << 20)]  # fmt: skip
    for db in (0, 9):
        client.select(db)
        for place, value in enumerate(values):
            client.set(f"s{place}", value, pxat=4_000_000_000_000 + place if place % 2 else None)
        for place in range(500):
            client.set(f"many:{place}", place)
    client.select(0)


def writes(client: redis.Redis, rounds: int, chance: random.Random) -> None:
    """What counts twice if it is applied twice, and what expires."""
    for _ in range(rounds):
        client.select(chance.randrange(2))
        pipe = client.pipeline(transaction=chance.random() < 0.3)
        for _ in range(8):
            name = f"k{chance.randrange(40)}"
            match chance.randrange(14):
                case 0 | 1 | 2:
                    pipe.incr(f"n{chance.randrange(5)}")
                case 3:
                    pipe.append(f"log{chance.randrange(3)}", "x")
                case 4:
                    pipe.set(name, chance.randrange(1000), px=chance.choice((3, 50, 10**7)))
                case 5:
                    pipe.expire(name, 1000)
                case 6:
                    pipe.persist(name)
                case 7:
                    pipe.delete(name)
                case 8:
                    pipe.setrange(name, 3, "abc")
                case 9:
                    pipe.getdel(name)
                case 10:
                    pipe.copy(name, f"k{chance.randrange(40)}", replace=True)
                case 11:
                    pipe.getex(name, px=10**6)
                case 12:
                    pipe.incrbyfloat(f"f{chance.randrange(3)}", 0.5)
                case _:
                    pipe.mset({name: "m", f"{name}b": "n"})
        pipe.execute(raise_on_error=False)


class Killed(BaseException):
    pass


def killed_often(
    monkeypatch: pytest.MonkeyPatch, run: Callable[[], int], kills: int, last: Callable[[], None] = lambda: None
) -> list[str]:
    """Run it until it comes through, killed so many times: before its first transaction is sent, right after that,
    before its second, and so on to the fourth, and again. `last` is called when there will be no more kills.
    The phases in which it was killed.
    """
    phases: list[str] = []
    monkeypatch.setattr(target, "BATCH_OPERATIONS", 40)
    submit = Target._submit
    sent = fatal = 0

    def dying(self: Target, transaction: Transaction) -> None:
        nonlocal sent
        sent += 1
        if fatal < kills and sent == fatal // 2 % 4 + 1:
            if fatal % 2:
                submit(self, transaction)
            assert self.mark is not None
            phases.append(self.mark.phase)
            raise Killed
        submit(self, transaction)

    with monkeypatch.context() as patch:
        patch.setattr(Target, "_submit", dying)
        while fatal < kills:
            sent = 0
            with pytest.raises(Killed):
                run()
            fatal += 1
        last()
        assert run() == 0
    return phases


def killed_in_the_stream(monkeypatch: pytest.MonkeyPatch, run: Callable[[], int]) -> None:
    """Once, when all keys of the file are there."""
    submit = Target._submit

    def dying(self: Target, transaction: Transaction) -> None:
        if self.mark is not None and self.mark.phase == "stream":
            submit(self, transaction)
            raise Killed
        submit(self, transaction)

    with monkeypatch.context() as patch:
        patch.setattr(Target, "_submit", dying)
        with pytest.raises(Killed):
            run()


def small_pieces(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    for module in (meaning, target):
        monkeypatch.setattr(module, "PIECE_BYTES", size)
