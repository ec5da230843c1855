"""`vaylix import` of files of a real redis-server, and what holds for every import: kills in between, refusals, conflicts.

Costs about 5 s of processor time, most of it the servers'. A live source: test_import_live.py.
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hiredis import pack_command

from tests.e2e.moving import (
    Killed,
    Pair,
    all_strings,
    everything,
    killed_often,
    pair,
    servers,
    small_pieces,
    tls,
    writes,
)
from vaylix_resp.interchange.rdb_writer import RdbWriter
from vaylix_resp.tools import reach
from vaylix_resp.tools.moving import target
from vaylix_resp.tools.moving.channel import Address
from vaylix_resp.tools.moving.meaning import MARK_KEY, Operation
from vaylix_resp.tools.moving.patience import GivenUp
from vaylix_resp.tools.moving.target import Target, Transaction

__all__ = ["pair", "servers", "tls"]  # fixtures


def test_an_rdb_file_is_imported_and_compared(pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    all_strings(pair.source)
    pair.source.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    pair.source.set("gone", "x", px=1)
    path = pair.rdb(tmp_path / "dump.rdb")
    pair.source.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "1")
    assert pair.imported("--rdb", path, "--json") == 0 and pair.equal()
    report = json.loads(capsys.readouterr().out)
    assert report["keys"] == 1024 and report["expired"] == 1
    assert report["compared"] == {"how": "full", "keys": 1025, "values": 1025, "differences": 0, "moving": 0, "examples": []}

    assert pair.imported("--rdb", path) == 64  # it is not empty any more
    assert "512 in database 0, 512 in database 9" in capsys.readouterr().err
    pair.target.set("s1", "mine")
    assert pair.imported("--rdb", path, "--on-conflict", "skip") == 0
    assert "1,024 keys were there already" in capsys.readouterr().out and pair.target.get("s1") == b"mine"
    assert pair.imported("--rdb", path, "--on-conflict", "replace") == 0 and pair.equal()


def test_a_difference_is_found(pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair.source.mset({"a": 1, "b": 2, "c": 3})
    path = pair.rdb(tmp_path / "dump.rdb")
    assert pair.imported("--rdb", path, "--verify", "none") == 0
    pair.target.set("a", 2)
    pair.target.expire("b", 100)
    pair.target.set("more", 1)
    # As if it had been killed before the comparison.
    mark = target.Mark("rdb", f"{path.stat().st_size} bytes, checksum {path.read_bytes()[-8:].hex()}", "fail", keys=3)
    pair.target.set(MARK_KEY, mark.encode())
    assert pair.imported("--rdb", path) == 1
    said = capsys.readouterr().out
    assert "3 differences" in said and "key 'a': its value differs" in said and "key 'b': expires" in said
    assert "1 keys that the file does not have" in said


def test_what_cannot_be_kept_is_refused_before_anything_is_written(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair.source.set("a", 1)
    pair.source.rpush("list", 1, 2)
    pair.source.hset("hash", "f", 1)
    for words in (("--rdb", pair.rdb(tmp_path / "dump.rdb")), ("--aof", pair.aof(tmp_path / "aof")), pair.live):
        assert pair.imported(*words) == 65
        said = capsys.readouterr().err
        assert "nothing was written" in said and "--skip-unsupported" in said, words
        assert pair.target.dbsize() == 0
        assert pair.imported(*words, "--skip-unsupported", "--json") == 0
        report = json.loads(capsys.readouterr().out)
        assert sum(report["unsupported"].values()) == 2
        assert report["compared"].get("keys", 1) == 1, words
        assert everything(pair.target) == {(0, b"a"): (b"1", -1)}
        pair.target.flushall()


def test_an_rdb_file_whose_import_is_killed_everywhere(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_strings(pair.source)
    small_pieces(monkeypatch, 300_000)  # the largest values are of four
    path = pair.rdb(tmp_path / "dump.rdb")
    killed_often(monkeypatch, lambda: pair.imported("--rdb", path), 16)
    assert pair.equal()


def test_a_key_that_expires_while_its_import_is_killed(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some pieces of it are there when it is passed by: that is nothing for the key behind it, and they go in the end."""
    small_pieces(monkeypatch, 10)
    writer, path, end = RdbWriter(), tmp_path / "dump.rdb", int(time.time() * 1000) + 10**7
    path.write_bytes(b"".join([
        writer.begin({}), writer.select(3, 2, 1), writer.key(b"short-lived", b"s" * 35, end),
        writer.select(0, 1, 0), writer.key(b"kept", b"k" * 35), writer.key(MARK_KEY, b"of another time"), writer.end(),
    ]))  # fmt: skip
    submit = Target._submit

    def dying(self: Target, transaction: Transaction) -> None:
        submit(self, transaction)
        if self.mark is not None and self.mark.piece == 2:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Target, "_submit", dying)
        with pytest.raises(Killed):
            pair.imported("--rdb", path)
    monkeypatch.setattr("vaylix_resp.clock.SystemClock.wall_ms", lambda self: end + 1)
    assert pair.imported("--rdb", path) == 0
    assert everything(pair.target) == {(0, b"kept"): (b"k" * 35, -1)}


def test_append_only_files(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A base with what came after it; killed everywhere; and torn."""
    chance = random.Random(2)
    writes(pair.source, 20, chance)
    pair.source.bgrewriteaof()
    while pair.source.info("persistence")["aof_rewrite_in_progress"]:
        time.sleep(0.005)
    writes(pair.source, 120, chance)
    pair.source.swapdb(0, 1)
    directory = pair.aof(tmp_path / "aof")
    killed_often(monkeypatch, lambda: pair.imported("--aof", directory), 8)
    assert pair.equal()

    pair.target.flushall()
    (last,) = directory.glob("*.incr.aof")
    whole = last.read_bytes()
    last.write_bytes(whole + b"*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$2\r\nn1\r\n*2\r\n$4\r\nIN")
    assert pair.imported("--aof", directory) == 65 and f"offset {len(whole)}" in capsys.readouterr().err
    assert pair.target.dbsize() == 0
    assert pair.imported("--aof", directory, "--truncated", "ok") == 0 and pair.equal()


def test_a_key_that_is_kept_in_time_is_kept(pair: Pair, tmp_path: Path) -> None:
    """The log is read long after the end that a key had when it was written: what came later counts."""
    path = tmp_path / "old.aof"
    path.write_bytes(
        b"".join(
            pack_command(words)
            for words in (
                (b"SELECT", b"3"),
                (b"SET", b"kept", b"1", b"PXAT", b"1000"), (b"PERSIST", b"kept"), (b"INCR", b"kept"),
                (b"SET", b"moved", b"1", b"PXAT", b"1000"), (b"PEXPIREAT", b"moved", b"4000000000000", b"GT"),
                (b"SET", b"gone", b"1", b"PXAT", b"1000"),
            )
        )
    )  # fmt: skip
    assert pair.imported("--aof", path) == 0
    assert everything(pair.target) == {(3, b"kept"): (b"2", -1), (3, b"moved"): (b"1", 4_000_000_000_000)}


def test_a_transaction_that_arrives_twice_counts_once(pair: Pair) -> None:
    """One connection is lost, another one sends the same again; then the first arrives after all."""
    address = Address(reach.Target("127.0.0.1", pair.target_server.port), "", "", None)
    early, late = Target(address), Target(address)
    for one in (early, late):
        assert one.open() is None
        one.mark = target.Mark("aof", "a file", "fail", commands=1)
        one.add([Operation(0, (b"INCR", b"n"))])
    late.flush()
    early.flush()
    assert pair.target.get("n") == b"1"
    early.mark = target.Mark("aof", "another file", "fail")
    early.add([Operation(0, (b"INCR", b"n"))])
    early.flush()
    late.add([Operation(0, (b"INCR", b"n"))])
    with pytest.raises(GivenUp, match="another import writes"):
        late.flush()
    assert pair.target.get("n") == b"2"
    early.close()
    late.close()


def test_a_target_that_refuses_for_now_is_waited_for(pair: Pair) -> None:
    naps = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        pair.target.execute_command("MAINTENANCE", "OFF")

    address = Address(reach.Target("127.0.0.1", pair.target_server.port), "", "", None)
    writer = Target(address, sleep=nap)
    assert writer.open() is None
    mark = writer.mark = target.Mark("aof", "a file", "fail")
    incr = [Operation(2, (b"INCR", b"n"))]
    pair.target.execute_command("MAINTENANCE", "ON")
    writer.add(incr)
    writer.flush()
    assert len(naps) == 1
    mark.commands += 1
    for client in pair.target.client_list():  # the connection is lost
        if client["cmd"] == "get":
            pair.target.client_kill_filter(_id=client["id"])
    writer.add(incr)
    writer.flush()
    pair.target.select(2)
    assert pair.target.get("n") == b"2" and len(naps) == 2

    pair.target.set("n", "text")
    mark.commands += 1
    writer.add(incr)
    with pytest.raises(GivenUp, match="INCR in database 2 was answered: ERR value is not an integer"):
        writer.flush()
    assert "INCR" in target.Mark.decode(pair.mark()).failed  # and nobody goes on behind it
    writer.mark = target.Mark("aof", "a file", "fail", commands=9)
    writer.add([Operation(0, (b"APPEND", b"n"))])
    with pytest.raises(GivenUp, match="wrong number of arguments"):
        writer.flush()
    writer.close()
    pair.target.select(0)

    writer = Target(address, retry_s=0)
    writer.mark = writer.open()
    pair.target.execute_command("MAINTENANCE", "ON")
    writer.add(incr)
    with pytest.raises(GivenUp, match="no answer that helps for 0 s: MAINTENANCE"):
        writer.flush()
    writer.close()
    pair.target.execute_command("MAINTENANCE", "OFF")


def test_an_unfinished_import_is_not_mixed_with_another_one(pair: Pair, tmp_path: Path, capsys: Any) -> None:
    pair.source.set("a", 1)
    path = pair.rdb(tmp_path / "dump.rdb")
    for mark, said in (
        (target.Mark("rdb", "another file", "fail"), "unfinished import by rdb of another file"),
        (target.Mark("rdb", "another file", "fail", failed="INCR was answered: ERR"), "cannot go on: INCR was answered"),
    ):
        pair.target.set(MARK_KEY, mark.encode())
        assert pair.imported("--rdb", path) == 64 and said in capsys.readouterr().err
        assert pair.mark() == mark.encode()  # if it is under way it goes on
    pair.target.set("left", 1)
    assert pair.imported("--rdb", path, "--restart") == 64 and "holds keys already" in capsys.readouterr().err
    assert pair.imported(*pair.live, "--restart") == 64
    pair.target.set(MARK_KEY, target.Mark("psync", "elsewhere", "fail").encode())
    assert pair.imported(*pair.live, "--restart") == 0 and pair.equal()  # what a mirror began is emptied


@pytest.mark.parametrize(
    "words, code, said",
    [
        (("--from", "redis://127.0.0.1:{target}"), 64, "are the same server"),
        (("--from", "http://127.0.0.1:1"), 64, "expected redis://"),
        (("--from", "redis://me:secret@127.0.0.1:1"), 74, "refused"),
        (("--from", "redis://:wrong@127.0.0.1:{source}"), 74, "AUTH"),
        (("--from", "redis://127.0.0.1:{source}/3", "--method", "psync"), 64, "a replica gets all of them"),
        (("--from", "redis://127.0.0.1:{source}", "--method", "psync", "--on-conflict", "skip"), 64, "into an empty"),
        (("--rdb", "/nowhere/dump.rdb"), 74, "/nowhere/dump.rdb: No such file"),
        (("--rdb", __file__), 65, "no RDB file"),
        (("--aof", __file__), 65, "'*' of a command"),
        (("--aof", "/"), 65, "expected one manifest"),
    ],
)
def test_what_cannot_be_is_one_line(pair: Pair, words: tuple[str, ...], code: int, said: str, capsys: Any) -> None:
    ports = {"source": pair.source_server.port, "target": pair.target_server.port}
    assert pair.imported(*(word.format(**ports) for word in words)) == code
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and "secret" not in error
    assert pair.target.dbsize() == 0
