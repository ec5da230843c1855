"""RDB files and DUMP payloads between a real redis-server and us: what one writes the other takes. Six seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import redis as redis_py

from bench.processes import Program, Server, running
from compat.__main__ import PEER_COMMAND
from compat.clients import patient
from tests.e2e.tools import require, vaylix
from tests.unit.interchange.rdb_files import LATER, MODULE, OF_REDIS, keys_of, numbers, whole
from vaylix_resp.interchange.rdb_reader import Aux, End, Key, RdbReader, Record, Select, Unsupported
from vaylix_resp.limits import KIB, MIB

DATABASES = 30
FUTURE_MS = 4_000_000_000_000
PAST_MS = 1_000_000_000_000
RANDOM = Random(6)
STRINGS = {
    b"": b"",
    b"empty": b"",
    b"binary\r\n\0\xff": bytes(range(256)),
    b"12345": b"an integer for a name",
    **{b"n%d" % n: b"%d" % n for bits in (7, 15, 31, 63) for n in (-(1 << bits), (1 << bits) - 1, 1 << bits, -1 - (1 << bits))},
    b"almost an integer": b"007",
    b"twenty": b"x" * 20,
    b"compressible": b"abc" * 3000,
    b"random": RANDOM.randbytes(70_000),
    b"a MiB": RANDOM.randbytes(MIB // 2) * 2,
    b"a long name " * 20: b"v",
    **{b"size-%d" % size: b"y" * size for size in (63, 64, 16_383, 16_384)},
}  # fmt: skip


def redis_program() -> Program:
    require("redis-server", "redis-check-rdb")
    return Program("redis", f"{PEER_COMMAND} --databases {DATABASES} --enable-debug-command yes")


@pytest.fixture(scope="module")
def redis() -> Iterator[Server]:
    with running(redis_program()) as server:
        yield server


@pytest.fixture(scope="module")
def ours() -> Iterator[Server]:
    with vaylix("--databases", str(DATABASES)) as server:
        yield server


def read(path: Path, size: int = MIB) -> list[Record]:
    reader, data = RdbReader(str(path)), path.read_bytes()
    records = [record for at in range(0, len(data), size) for record in reader.feed(data[at : at + size])]
    reader.close(alone=True)
    assert records[-1] == End(True)
    return records


def fill_with_every_type(client: redis_py.Redis) -> None:
    client.flushall()
    client.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", 0)  # what has expired is saved until somebody looks at it
    many = [b"member-%d" % i for i in range(600)]
    for suffix, some in (("", many[:3]), ("-large", many), ("-long", [b"x" * 300, b"y" * 9000])):
        client.rpush("list" + suffix, *some)
        client.sadd("set" + suffix, *some)
        client.zadd("zset" + suffix, {member: i / 3 for i, member in enumerate(some)})
        client.hset("hash" + suffix, mapping=dict.fromkeys(some, b"v" * 30))
    client.sadd("integers", *range(50))
    for number in range(150):
        client.xadd("stream", {"field": number})
    client.xgroup_create("stream", "group", "0")
    client.xreadgroup("group", "one", {"stream": ">"}, count=5)
    client.xreadgroup("group", "two", {"stream": ">"}, count=7)
    client.xack("stream", "group", "0-1")
    client.xgroup_create("only a group", "group", "0", mkstream=True)
    client.pfadd("hyperloglog", "a", "b")
    client.pexpireat("list", FUTURE_MS)
    client.function_load("#!lua name=lib\nredis.register_function('f', function() return 1 end)", replace=True)
    fill_with_strings(client)


def fill_with_strings(client: redis_py.Redis) -> None:
    pipeline = client.pipeline(transaction=False)
    pipeline.mset(STRINGS)
    pipeline.set("expiring", "1", pxat=FUTURE_MS)
    pipeline.set("gone", "1", pxat=PAST_MS)
    for db in (1, 7, 17, DATABASES - 1):
        pipeline.execute_command("SELECT", db)
        pipeline.set("k", f"of database {db}", pxat=FUTURE_MS + db)
    pipeline.execute_command("SELECT", 0)
    pipeline.execute()


def contents(port: int, databases: int = DATABASES) -> dict[tuple[int, bytes], tuple[bytes, bytes | None, int]]:
    """(database, key) -> type, value if it is a string, when it expires."""
    found = {}
    for db in range(databases):
        with patient(port=port, db=db) as client:
            keys = client.keys()
            types = client.pipeline(transaction=False)
            for key in keys:
                types.type(key).pexpiretime(key)
            answers = types.execute()
            for key, kind, end in zip(keys, answers[::2], answers[1::2], strict=True):
                found[db, key] = (kind, client.get(key) if kind == b"string" else None, end)
    return found


def contents_of(records: list[Record]) -> dict[tuple[int, bytes], tuple[bytes, bytes | None, int]]:
    found = {}
    for record in records:
        if isinstance(record, Key):
            end = -1 if record.expire_at_ms is None else record.expire_at_ms
            found[record.db, record.name] = (b"string", record.value, end)
        elif isinstance(record, Unsupported) and record.name is not None:
            end = -1 if record.expire_at_ms is None else record.expire_at_ms
            found[record.db, record.name] = (record.kind.encode(), None, end)
    return found


@pytest.mark.parametrize(
    "settings, field",
    [
        ({"rdbcompression": "yes"}, None),
        ({"rdbcompression": "no", "maxmemory-policy": "allkeys-lru"}, "idle_s"),
        ({"maxmemory-policy": "allkeys-lfu"}, "frequency"),
        ({"list-max-listpack-size": 2, "hash-max-listpack-entries": 0, "set-max-intset-entries": 0}, None),
    ],
)
def test_every_type_that_a_redis_server_saves(redis: Server, settings: dict[str, Any], field: str | None) -> None:
    with patient(port=redis.port) as client:
        usual = {name: client.config_get(name)[name] for name in settings}
        for name, value in settings.items():
            client.config_set(name, value)
        fill_with_every_type(client)
        client.save()
        for name, value in usual.items():
            client.config_set(name, value)
    path = redis.data_directory / "dump.rdb"
    records = read(path)
    assert contents_of(records) == contents(redis.port) | {(0, b"gone"): (b"string", b"1", PAST_MS)}
    assert [record.kind for record in records if isinstance(record, Unsupported) and record.name is None] == ["function"]
    assert Aux(b"redis-bits", b"64") in records
    if field:
        assert all(getattr(record, field) is not None for record in records if isinstance(record, Key))
    assert read(path, 4 * KIB + 1) == records


def test_types_of_earlier_releases_are_what_redis_takes_them_for(tmp_path: Path) -> None:
    (tmp_path / "dump.rdb").write_bytes(whole(keys_of(OF_REDIS), b"REDIS0010"))
    with running(redis_program(), directory=tmp_path) as server:
        found = {key: kind.decode() for (_, key), (kind, _, _) in contents(server.port, 1).items()}
    assert found == {b"type-%d" % number: kind for number, (kind, _) in OF_REDIS.items()}


def test_values_of_modules_are_what_redis_steps_over(tmp_path: Path) -> None:
    """redis-check-rdb does it without the module."""
    require("redis-check-rdb")
    path = tmp_path / "module.rdb"
    aux = b"\xf7" + MODULE[: len(numbers((1 << 63) - 1))] + numbers(2, 1, 2, 9, 0)
    path.write_bytes(whole(aux + keys_of({7: LATER[7]}), b"REDIS0010"))
    assert [record.kind for record in read(path) if isinstance(record, Unsupported)] == ["module data EjRWeJq83", "module EjRWeJq83"]
    done = subprocess.run(["redis-check-rdb", path], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def export(*words: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "vaylix_resp", "export", *map(str, words), "--json"],
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_redis_server_loads_what_is_exported_beside_a_running_server(ours: Server, tmp_path: Path) -> None:
    with patient(port=ours.port) as client:
        client.flushall()
        fill_with_strings(client)
        client.set("soon", "over", px=50)
        sequence = client.info("persistence")["log_applied_sequence"]
        client.set("later", "than that")
        expected = contents(ours.port)
    expected.pop((0, b"soon"), None)  # gone before another process has started
    now, then = tmp_path / "now" / "dump.rdb", tmp_path / "then" / "dump.rdb"
    for path, options in ((now, ()), (then, ("--to-sequence", sequence))):
        path.parent.mkdir()
        report = export("--data-dir", ours.data_directory, "--rdb", path, *options)
        assert path.stat().st_mode & 0o777 == 0o600
        assert report["databases_needed"] == DATABASES and report["bytes"] == path.stat().st_size
        with running(redis_program(), directory=path.parent) as server:
            found = contents(server.port)
            if path is now:
                assert found == expected
                assert report["keys"] == len(found)
            else:
                del expected[0, b"later"]
                assert found == expected
                saved = contents_of(read(path))
                assert saved.keys() == expected.keys() | {(0, b"soon")}, "at that sequence it was there"
    assert [record.db for record in read(now) if isinstance(record, Select)] == [0, 1, 7, 17, DATABASES - 1]


def test_payloads_are_the_same_bytes_and_taken_by_either(redis: Server, ours: Server) -> None:
    values = list(STRINGS.values())
    for _ in range(250):
        size = RANDOM.randrange(RANDOM.choice((40, 400, 20_000)))
        few = bytes(RANDOM.choices(b"abcd", k=size))
        values.append(RANDOM.choice((few, RANDOM.randbytes(size), RANDOM.randbytes(1 + size // 50) * 50, b"%d" % RANDOM.getrandbits(size % 70))))
    with patient(port=redis.port) as theirs, patient(port=ours.port) as mine:
        dumps = []
        for client in (theirs, mine):
            pipeline = client.pipeline(transaction=False).flushall()
            for number, value in enumerate(values):
                pipeline.set(f"k{number}", value).dump(f"k{number}")
            dumps.append(pipeline.execute()[2::2])
        assert dumps[0] == dumps[1]
        for client in (theirs, mine):
            pipeline = client.pipeline(transaction=False)
            for number, payload in enumerate(dumps[0]):
                pipeline.restore(f"r{number}", FUTURE_MS, payload, absttl=True, replace=True, idletime=5).get(f"r{number}")
            assert pipeline.execute()[1::2] == values
            assert client.pexpiretime("r0") == FUTURE_MS


def test_payloads_of_other_types_are_refused_with_what_they_are(redis: Server, ours: Server) -> None:
    with patient(port=redis.port) as theirs, patient(port=ours.port) as mine:
        fill_with_every_type(theirs)
        for name in ("list", "set", "zset", "hash", "stream", "list-large", "integers"):
            kind = theirs.type(name).decode()
            with pytest.raises(redis_py.ResponseError, match=f"Bad data format: this is a {kind}, and this server"):
                mine.restore("other", 0, theirs.dump(name))
        assert not mine.exists("other")
        mine.restore("hyperloglog", 0, theirs.dump("hyperloglog"))  # which is a string
        assert mine.get("hyperloglog") == theirs.get("hyperloglog")
