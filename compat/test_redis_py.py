"""redis-py, sync and asyncio, in RESP2 and RESP3: what an application does with it.

Lock: acquire is SET NX PX and works; release, extend and reacquire are Lua scripts (EVALSHA), and scripts are not in
this version. So a plain redis-py lock is taken, guards, and lapses by its timeout; releasing it raises. The test says
exactly that, and shows a lock class that releases through DELEX ... IFEQ instead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import redis.asyncio as aioredis
from redis.lock import Lock

from bench.processes import Server
from compat.clients import patient


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def protocol(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def client(fresh: Server, protocol: int) -> Iterator[redis.Redis]:
    with patient(port=fresh.port, protocol=protocol, decode_responses=True) as connected:
        yield connected


def test_strings_and_expiry(client: redis.Redis) -> None:
    assert client.set("a", "1", ex=100, nx=True) is True
    assert client.set("a", "2", nx=True) is None
    assert client.set("a", "3", get=True, keepttl=True) == "1"
    assert 95 <= client.ttl("a") <= 100
    assert client.getex("a", persist=True) == "3"
    assert client.ttl("a") == -1
    assert client.mset({"b": "x", "c": "y"}) is True
    assert client.mget("a", "b", "missing") == ["3", "x", None]
    assert client.incrbyfloat("f", 0.5) == 0.5
    assert client.bitfield("bits").set("u8", 0, 255).get("u4", 0).execute() == [0, 15]
    assert client.lcs("b", "c") == ""
    assert client.expire("b", 50, gt=True) is False
    assert client.expiretime("b") == -1
    assert client.setrange("b", 3, "z") == 4
    with pytest.raises(redis.ResponseError, match="not an integer"):
        client.incr("b")


def test_keys_and_databases(client: redis.Redis, fresh: Server) -> None:
    client.mset({f"k{i}": str(i) for i in range(300)})
    assert sorted(client.scan_iter(count=7)) == sorted(f"k{i}" for i in range(300))
    assert set(client.scan_iter(match="k29*", _type="string")) == {"k29", *(f"k29{i}" for i in range(10))}
    assert client.copy("k1", "copy", destination_db=3) is True
    other = patient(
        port=fresh.port, db=3, decode_responses=True, protocol=client.get_connection_kwargs()["protocol"]
    )
    assert other.get("copy") == "1"
    assert client.rename("k1", "renamed") is True
    assert client.delete("renamed", "k2", "missing") == 2
    assert client.object("encoding", "k3") == "int"
    assert client.randomkey().startswith("k")
    assert client.dbsize() == 298
    other.close()


def test_dump_and_restore_keep_bytes(fresh: Server, protocol: int) -> None:
    with patient(port=fresh.port, protocol=protocol) as client:
        client.set("source", bytes(range(256)) * 4)
        client.restore("target", 0, client.dump("source"))
        assert client.get("target") == bytes(range(256)) * 4
        with pytest.raises(redis.ResponseError, match="Target key name already exists"):
            client.restore("target", 0, client.dump("source"))


def test_pipeline_keeps_order_and_reports_errors_in_place(client: redis.Redis) -> None:
    pipeline = client.pipeline(transaction=False)
    for i in range(1000):
        pipeline.set(f"p{i}", i)
        pipeline.get(f"p{i}")
    assert pipeline.execute() == [reply for i in range(1000) for reply in (True, str(i))]
    pipeline.set("text", "abc").incr("text").get("text")
    replies = pipeline.execute(raise_on_error=False)
    assert replies[0] is True and isinstance(replies[1], redis.ResponseError) and replies[2] == "abc"


def test_transaction_runs_as_a_whole_or_not_at_all(client: redis.Redis) -> None:
    with client.pipeline(transaction=True) as pipeline:
        assert pipeline.set("a", 1).incr("a").get("a").execute() == [True, 2, "2"]
        pipeline.set("a", 5).execute_command("NOSUCH")
        with pytest.raises(redis.ResponseError):
            pipeline.execute()
    assert client.get("a") == "2"


def test_watch_sees_a_change_by_another_client(client: redis.Redis, fresh: Server) -> None:
    other = patient(port=fresh.port)
    client.set("balance", 10)
    with client.pipeline() as pipeline:
        pipeline.watch("balance")
        balance = int(pipeline.get("balance"))
        other.set("balance", 99)
        pipeline.multi()
        pipeline.set("balance", balance - 1)
        with pytest.raises(redis.WatchError):
            pipeline.execute()
    assert client.get("balance") == "99"
    other.close()


def test_transaction_helper_retries_until_it_wins(client: redis.Redis) -> None:
    client.set("n", 0)

    def bump(pipeline: Any) -> None:
        value = int(pipeline.get("n"))
        pipeline.multi()
        pipeline.set("n", value + 1)

    def many() -> None:
        for _ in range(25):
            client.transaction(bump, "n")

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.get("n") == "100"


def test_pool_shared_by_threads(fresh: Server, protocol: int) -> None:
    pool = redis.BlockingConnectionPool(port=fresh.port, max_connections=8, protocol=protocol, timeout=20)
    client = patient(connection_pool=pool)

    def work() -> None:
        for _ in range(100):
            client.incr("hits")

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.get("hits") == b"2000"
    assert len(client.client_list()) <= 9
    pool.disconnect()


def next_message(pubsub: Any, seconds_max: float = 5.0) -> dict[str, Any]:
    give_up = time.monotonic() + seconds_max
    while time.monotonic() < give_up:
        message = pubsub.get_message(timeout=0.2)
        if message is not None:
            return dict(message)
    raise AssertionError("no message")


def test_publish_and_subscribe(client: redis.Redis) -> None:
    with client.pubsub() as pubsub:
        pubsub.subscribe("news")
        pubsub.psubscribe("n*")
        assert next_message(pubsub)["type"] == "subscribe"
        assert next_message(pubsub)["type"] == "psubscribe"
        assert client.publish("news", "hello") == 2
        heard = [next_message(pubsub), next_message(pubsub)]
        assert {(m["type"], m["channel"], m["data"]) for m in heard} == {
            ("message", "news", "hello"), ("pmessage", "news", "hello"),
        }  # fmt: skip
        assert client.pubsub_channels() == ["news"]
        assert client.pubsub_numsub("news", "none") == [("news", 1), ("none", 0)]
        assert client.pubsub_numpat() == 1
        pubsub.unsubscribe("news")
        assert next_message(pubsub)["type"] == "unsubscribe"


def test_sharded_channels(client: redis.Redis) -> None:
    with client.pubsub() as pubsub:
        pubsub.ssubscribe("orders")
        assert next_message(pubsub)["type"] == "ssubscribe"
        assert client.spublish("orders", "one") == 1
        message = next_message(pubsub)
        assert (message["type"], message["channel"], message["data"]) == ("smessage", "orders", "one")


def test_keyspace_notifications(client: redis.Redis) -> None:
    client.config_set("notify-keyspace-events", "KEA")
    try:
        with client.pubsub() as pubsub:
            pubsub.psubscribe("__keyevent@0__:*")
            next_message(pubsub)
            client.set("watched", 1, px=50)
            events = [next_message(pubsub) for _ in range(2)]
            assert [(m["channel"].split(":")[1], m["data"]) for m in events] == [
                ("set", "watched"), ("expire", "watched"),
            ]  # fmt: skip
            # The key expires by itself: nobody touches it.
            assert next_message(pubsub)["channel"] == "__keyevent@0__:expired"
    finally:
        client.config_set("notify-keyspace-events", "")


def test_lock_guards_and_lapses(client: redis.Redis) -> None:
    first = client.lock("job", timeout=0.6)
    assert first.acquire() is True
    assert first.locked() and first.owned()
    assert client.lock("job", timeout=1).acquire(blocking=False) is False
    assert client.lock("job", timeout=1).acquire(blocking_timeout=5) is True  # waits until the first has lapsed
    assert not first.owned()


def test_lock_release_needs_scripts(fresh: Server) -> None:
    """The honest difference: redis-py releases with EVALSHA, which this version does not have."""
    with patient(port=fresh.port) as client:
        lock = client.lock("job", timeout=10)
        lock.acquire()
        if fresh.program.name == "redis":
            lock.release()
            assert not lock.locked()
        else:
            with pytest.raises(redis.ResponseError, match="unknown command 'EVALSHA'"):
                lock.release()


class ScriptlessLock(Lock):
    """redis-py's lock with the compare-and-delete that Redis 8.4 and we have, instead of a script."""

    def do_release(self, expected_token: Any) -> None:
        if not self.redis.execute_command("DELEX", self.name, "IFEQ", expected_token):
            raise redis.exceptions.LockNotOwnedError("the lock is somebody else's by now")


def test_lock_released_without_a_script(vaylix: Server) -> None:
    with patient(port=vaylix.port) as client:
        client.flushall()
        lock = client.lock("job", timeout=10, lock_class=ScriptlessLock)
        assert lock.acquire()
        lock.release()
        assert client.exists("job") == 0
        assert lock.acquire()
        client.set("job", "thief")
        with pytest.raises(redis.exceptions.LockNotOwnedError):
            lock.release()
        assert client.get("job") == b"thief"


def test_conditional_writes_of_newer_servers(vaylix: Server) -> None:
    """Keyword arguments that redis-py 8 has for Redis 8.4."""
    with patient(port=vaylix.port, decode_responses=True) as client:
        client.flushall()
        client.set("k", "old")
        assert client.set("k", "new", ifeq="wrong") is None
        assert client.set("k", "new", ifeq="old") is True
        assert client.set("k", "newer", ifne="new") is None
        digest = client.digest("k")
        assert len(digest) == 16
        assert client.set("k", "newest", ifdeq=digest) is True
        assert client.delex("k", ifeq="no") == 0
        assert client.delex("k", ifeq="newest") == 1
        assert client.msetex({"a": "1", "b": "2"}, ex=100) == 1
        assert 95 <= client.ttl("a") <= 100


def test_administration(client: redis.Redis) -> None:
    assert client.ping() is True
    assert client.client_setname("worker") is True
    assert client.client_getname() == "worker"
    me = client.client_info()
    assert me["name"] == "worker"
    assert any(row["id"] == str(me["id"]) for row in client.client_list())
    info = client.info()
    for name in ("redis_version", "connected_clients", "used_memory", "role", "uptime_in_seconds", "aof_enabled"):
        assert name in info, name
    assert client.config_get("databases") == {"databases": "16"}
    assert client.command_count() > 100
    assert client.command_getkeys("SET", "a", "b") == ["a"]
    assert isinstance(client.command()["get"], dict)
    assert client.time()[0] > 1_600_000_000
    assert isinstance(client.slowlog_get(), list)
    client.set("k", "v" * 1000)
    assert client.memory_usage("k") > 1000
    assert client.lastsave() is not None
    assert client.wait(0, 10) == 0


def test_invalidation_messages(fresh: Server) -> None:
    """CLIENT TRACKING: the push that client-side caches live on, on the connection that read the key.

    redis-py's own cache (cache_config) asks for a server of version 7.4 and refuses 7.2, ours and Redis's.
    """
    reader = redis.Connection(port=fresh.port, protocol=3)
    pushed: list[Any] = []
    reader.connect()
    reader._parser.set_invalidation_push_handler(pushed.append)
    with patient(port=fresh.port) as writer:
        writer.set("cached", 1)
        for words in (("CLIENT", "TRACKING", "ON"), ("GET", "cached")):
            reader.send_command(*words)
            reader.read_response()
        writer.set("cached", 2)
        deadline = time.monotonic() + 5
        while not pushed and time.monotonic() < deadline:
            reader.send_command("PING")
            reader.read_response()
    reader.disconnect()
    assert pushed == [[b"invalidate", [b"cached"]]]


# asyncio


@pytest.fixture
async def async_client(fresh: Server, protocol: int) -> Any:
    client = aioredis.Redis(port=fresh.port, protocol=protocol, decode_responses=True, max_connections=20)
    yield client
    await client.aclose()


async def test_asyncio_pool_and_pipeline(async_client: aioredis.Redis) -> None:
    import asyncio

    await asyncio.gather(*(async_client.incr("n") for _ in range(15)))
    assert await async_client.get("n") == "15"
    async with async_client.pipeline(transaction=True) as pipeline:
        assert await pipeline.set("a", 1).incr("a").execute() == [True, 2]
    async with async_client.pipeline(transaction=False) as pipeline:
        for i in range(500):
            pipeline.append("text", str(i % 10))
        assert await pipeline.execute() == list(range(1, 501))


async def test_asyncio_watch(async_client: aioredis.Redis) -> None:
    await async_client.set("k", 1)
    async with async_client.pipeline() as pipeline:
        await pipeline.watch("k")
        await async_client.set("k", 2)
        pipeline.multi()
        pipeline.set("k", 3)
        with pytest.raises(redis.WatchError):
            await pipeline.execute()
    assert await async_client.get("k") == "2"


async def test_asyncio_pubsub(async_client: aioredis.Redis) -> None:
    async with async_client.pubsub() as pubsub:
        await pubsub.subscribe("room")
        assert (await pubsub.get_message(timeout=5))["type"] == "subscribe"
        assert await async_client.publish("room", "hi") == 1
        message = await pubsub.get_message(timeout=5)
        assert (message["type"], message["data"]) == ("message", "hi")


async def test_asyncio_lock_guards_and_lapses(async_client: aioredis.Redis) -> None:
    lock = async_client.lock("job", timeout=0.5)
    assert await lock.acquire()
    assert await async_client.lock("job", timeout=1).acquire(blocking=False) is False
    assert await async_client.lock("job", timeout=1).acquire(blocking_timeout=5)


async def test_asyncio_scan(async_client: aioredis.Redis) -> None:
    await async_client.mset({f"k{i}": i for i in range(100)})
    assert {key async for key in async_client.scan_iter(count=9)} == {f"k{i}" for i in range(100)}
