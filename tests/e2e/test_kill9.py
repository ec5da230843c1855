"""SIGKILL at random moments under 50 clients: every acknowledged write survives, no transaction is half there.

KILL9_KILLS sets how often (default 50), KILL9_SEED the seed; a failure names both. The moments include start-up
and a snapshot under way. What the clients write and check is in crash_clients.py.
"""

from __future__ import annotations

import asyncio
import os
import random
import time

from redis.exceptions import ResponseError

from bench.processes import Server
from tests.e2e.crash_clients import Client, close_quietly, connect, sum_of_accounts
from tests.e2e.tools import ours, vaylix

CLIENTS = 50
KILLS = int(os.environ.get("KILL9_KILLS", "50"))
SEED = int(os.environ.get("KILL9_SEED", str(int(time.time()))))
LOAD_SECONDS = (0.05, 0.8)  # from the first client's start to the kill
SNAPSHOT_SHARE = 0.3  # rounds in which BGSAVE runs while the kill comes
KILL_WHILE_STARTING_SHARE = 0.2
ROUNDS_CHECKED = 3  # unique keys of the last rounds are checked each time, all of them at the end


def test_no_acknowledged_write_is_lost_to_sigkill() -> None:
    # Small segments, so that kills also meet rotation.
    with vaylix(*ours("--wal-segment-size", "256kb")) as server:
        asyncio.run(kill_many_times(server, random.Random(SEED)))


async def kill_many_times(server: Server, rng: random.Random) -> None:
    clients = [Client(name, SEED) for name in range(CLIENTS)]
    marks: list[list[int]] = []  # how many unique keys each client had before each round
    for number in range(KILLS):
        marks.append([len(client.written) for client in clients])
        await load_and_kill(server, clients, rng)
        restart(server, rng)
        since = marks[max(0, len(marks) - ROUNDS_CHECKED)]
        await check_all(server, clients, since, f"seed {SEED}, kill {number + 1}")
    await check_all(server, clients, [0] * CLIENTS, f"seed {SEED}, at the end")
    written = sum(len(client.written) for client in clients)
    assert written > KILLS * CLIENTS / 2, "the clients hardly wrote: nothing was tested"
    print(f"seed {SEED}: {KILLS} kills, {sum(client.requests for client in clients)} requests, {written} unique keys")


async def load_and_kill(server: Server, clients: list[Client], rng: random.Random) -> None:
    """All clients write; at a random moment the server is gone."""
    tasks = [asyncio.create_task(client.run(server.port)) for client in clients]
    await asyncio.sleep(rng.uniform(*LOAD_SECONDS))
    if rng.random() < SNAPSHOT_SHARE:
        await start_snapshot(server)
        await asyncio.sleep(rng.uniform(0, 0.2))
    assert server.alive(), f"ended by itself:\n{server.log_tail()}"
    server.kill()
    await asyncio.gather(*tasks)


async def start_snapshot(server: Server) -> None:
    connection = connect(server.port)
    try:
        await connection.bgsave()
    except ResponseError as refusal:
        assert "in progress" in str(refusal), refusal  # one that the server began by itself will do
    finally:
        await close_quietly(connection)


def restart(server: Server, rng: random.Random) -> None:
    """Start; sometimes kill the start as well, at a random moment of recovery."""
    while rng.random() < KILL_WHILE_STARTING_SHARE:
        server.spawn()
        time.sleep(rng.uniform(0, 0.6))
        server.kill()
    server.start()


async def check_all(server: Server, clients: list[Client], since: list[int], when: str) -> None:
    connection = connect(server.port)
    try:
        wrong: list[str] = []
        for client, first in zip(clients, since, strict=True):
            wrong += await client.check(connection, list(client.written)[first:])
        total = await sum_of_accounts(connection)
    finally:
        await close_quietly(connection)
    if total != 0:
        wrong.append(f"half a transfer: the accounts sum up to {total}")
    assert not wrong, f"{when}: {len(wrong)} violations\n" + "\n".join(wrong[:20])
