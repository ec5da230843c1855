"""Clients of the kill -9 test: each remembers what the server acknowledged, and what it cannot know.

Every client keeps one request (or one pipeline, or one transaction) in flight. When the connection dies, that one
may have happened or not; everything answered before must be there, in the order in which it was sent. What each
client writes, and what must hold after a restart:

* unique keys: SET, answered -> the value is there.
* a journal: pipelines of APPEND -> the text is 1,2,3,... without a gap, at least to the last answered, at most to
  the last sent: requests of one connection are never reordered, and none is applied twice.
* a pair: MULTI, SET left n, SET right n, EXEC -> both keys always hold the same n.
* a transfer: MULTI, DECRBY from, INCRBY to, EXEC between accounts that all clients share -> the sum is always 0.
* a counter: INCR -> at least the last answer, at most one more.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

ACCOUNTS = 10
JOURNAL_PIPELINE_MAX = 8
LOST = (RedisConnectionError, RedisTimeoutError, OSError, asyncio.IncompleteReadError)


def connect(port: int) -> aioredis.Redis:
    """One connection, and no retries: a repeated APPEND would look like a server that applies twice."""
    return aioredis.Redis(
        port=port,
        single_connection_client=True,
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[],
        socket_timeout=20,
    )


@dataclass
class Client:
    """One client over all restarts. `sent` and `answered` bound what the server may hold."""

    name: int
    seed: int
    written: dict[str, str] = field(default_factory=dict)  # unique keys that were acknowledged
    unsure: dict[str, str] = field(default_factory=dict)  # sent, never answered
    serial: int = 0
    journal_sent: int = 0
    journal_answered: int = 0
    pair_sent: int = 0
    pair_answered: int = 0
    count_sent: int = 0
    count_answered: int = 0
    requests: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.seed}/{self.name}")

    async def run(self, port: int) -> None:
        """Write until the connection dies."""
        connection = connect(port)
        actions = (self.write_unique, self.write_journal, self.write_pair, self.transfer, self.count)
        try:
            while True:
                await self.rng.choice(actions)(connection)
                self.requests += 1
        except LOST:
            return
        finally:
            await close_quietly(connection)

    async def write_unique(self, connection: aioredis.Redis) -> None:
        self.serial += 1
        key, value = f"u:{self.name}:{self.serial}", f"{self.rng.random()}" * self.rng.randint(1, 20)
        self.unsure[key] = value
        assert await connection.set(key, value) is True
        self.written[key] = self.unsure.pop(key)

    async def write_journal(self, connection: aioredis.Redis) -> None:
        pipeline = connection.pipeline(transaction=False)
        for _ in range(self.rng.randint(1, JOURNAL_PIPELINE_MAX)):
            self.journal_sent += 1
            pipeline.append(f"j:{self.name}", f"{self.journal_sent},")
        await pipeline.execute()
        self.journal_answered = self.journal_sent

    async def write_pair(self, connection: aioredis.Redis) -> None:
        self.pair_sent += 1
        pipeline = connection.pipeline(transaction=True)
        pipeline.set(f"l:{self.name}", self.pair_sent)
        pipeline.set(f"r:{self.name}", self.pair_sent)
        assert await pipeline.execute() == [True, True]
        self.pair_answered = self.pair_sent

    async def transfer(self, connection: aioredis.Redis) -> None:
        source, target = self.rng.sample(range(ACCOUNTS), 2)
        amount = self.rng.randint(1, 100)
        pipeline = connection.pipeline(transaction=True)
        pipeline.decrby(f"a:{source}", amount)
        pipeline.incrby(f"a:{target}", amount)
        assert len(await pipeline.execute()) == 2

    async def count(self, connection: aioredis.Redis) -> None:
        self.count_sent += 1
        answer = await connection.incr(f"c:{self.name}")
        assert answer == self.count_sent, f"client {self.name}: INCR gave {answer}, not {self.count_sent}"
        self.count_answered = answer

    async def check(self, connection: aioredis.Redis, unique_keys: list[str]) -> list[str]:
        """What is wrong after a restart; also learns what happened to the request that was in flight."""
        wrong = await self.check_unique(connection, unique_keys)
        journal, left, right, count = await connection.mget(
            f"j:{self.name}", f"l:{self.name}", f"r:{self.name}", f"c:{self.name}"
        )
        wrong += self.check_journal((journal or b"").decode())
        if left != right:
            wrong.append(f"half a transaction: l:{self.name} is {left!r}, r:{self.name} is {right!r}")
        pair, counted = int(left or 0), int(count or 0)
        if not self.pair_answered <= pair <= self.pair_sent:
            wrong.append(f"l:{self.name} is {pair}, acknowledged was {self.pair_answered}, sent {self.pair_sent}")
        if not self.count_answered <= counted <= self.count_sent:
            wrong.append(f"c:{self.name} is {counted}, acknowledged {self.count_answered}, sent {self.count_sent}")
        self.pair_answered = self.pair_sent = pair
        self.count_answered = self.count_sent = counted
        return wrong

    async def check_unique(self, connection: aioredis.Redis, unique_keys: list[str]) -> list[str]:
        wrong = []
        found = await connection.mget(unique_keys) if unique_keys else []
        for key, value in zip(unique_keys, found, strict=True):
            if value is None or value.decode() != self.written[key]:
                wrong.append(f"{key} was acknowledged as {self.written[key][:30]!r}, is {value and value[:30]!r}")
        for key, value in self.unsure.items():
            held = await connection.get(key)
            if held is not None and held.decode() != value:
                wrong.append(f"{key} was sent as {value[:30]!r}, is {held[:30]!r}")
        self.unsure.clear()
        return wrong

    def check_journal(self, text: str) -> list[str]:
        lines = text.split(",")[:-1] if text else []
        if lines != [str(i) for i in range(1, len(lines) + 1)]:
            return [f"j:{self.name} has a gap, a repetition or a torn end: ...{text[-80:]!r}"]
        if not self.journal_answered <= len(lines) <= self.journal_sent:
            return [
                f"j:{self.name} ends at {len(lines)}, acknowledged {self.journal_answered}, sent {self.journal_sent}"
            ]
        self.journal_answered = self.journal_sent = len(lines)
        return []


async def sum_of_accounts(connection: aioredis.Redis) -> int:
    return sum(int(value or 0) for value in await connection.mget(f"a:{i}" for i in range(ACCOUNTS)))


async def close_quietly(connection: aioredis.Redis) -> None:
    try:
        await connection.aclose()
    except LOST:
        pass
