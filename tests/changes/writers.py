"""Clients that write all the time, each with a counter and ids of its own, and keep account of what became of them.

A client asks as the documentation says: it tries again when its connection breaks or a definite refusal comes, at the
next address when one is gone. A request that broke may have been made, so it is *retried*; one that was refused has not.
Promise of a run: every request was answered in the end; every id that was acknowledged is there; a counter is no less
than what was acknowledged, and no more than that and the retries of it.
Units: seconds. Not here: what happens to the servers (`story`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ClusterDownError
from redis.retry import Retry
from redis.sentinel import Sentinel

ANSWER_S = 60.0  # longer than commit-timeout: the server knows first
GIVE_UP_S = 120.0
PAUSE_S = 0.01  # between two requests: this is not about speed
DEFINITE = ("CLUSTERDOWN", "NOREPLICAS", "BUSY")  # nothing has happened

Addresses = Callable[[], list[int]]  # the ports that an application would be configured with at this moment


@dataclass
class Account:
    """What one client has seen. `uncertain`: requests that were sent again and may count twice."""

    requests: int = 0
    uncertain: int = 0
    refused: int = 0
    longest: tuple[float, str] = (0.0, "")  # seconds of a request, and what became of it
    counted: int = 0  # acknowledged INCRs
    uncertain_counts: int = 0
    ids: int = 0  # acknowledged SETs, of 1..ids
    failures: list[str] = field(default_factory=list)


class Writer:
    """One client; `kind` is plain (any node) or sentinel."""

    def __init__(self, number: int, addresses: Addresses, kind: str) -> None:
        self.number, self.kind = number, kind
        self.account = Account()
        self._addresses, self._at = addresses, number
        self._client: Any = None
        self._thread = threading.Thread(target=self._run, name=f"writer-{number}", daemon=True)
        self._stop = threading.Event()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(GIVE_UP_S)
        if self._thread.is_alive():
            self.account.failures.append("a request is never answered")

    def _run(self) -> None:
        account = self.account
        try:
            while not self._stop.is_set() and not account.failures:
                self._request("SET", f"id:{self.number}:{account.ids + 1}", account.ids + 1)
                account.ids += 1
                before = account.uncertain
                reply = self._request("INCR", f"count:{self.number}")
                account.uncertain_counts += account.uncertain - before
                account.counted += 1
                if not account.counted <= reply <= account.counted + account.uncertain_counts:
                    account.failures.append(
                        f"INCR says {reply} behind {account.counted} and {account.uncertain_counts}"
                    )
                time.sleep(PAUSE_S)
        except redis.RedisError as failure:
            account.failures.append(repr(failure))

    def _request(self, *words: object) -> Any:
        """Until it is answered; raises what must not come, and the last failure when it never is."""
        account, began = self.account, time.monotonic()
        met: list[str] = []
        account.requests += 1
        while True:
            try:
                reply = self._connected().execute_command(*words)
            except redis.ResponseError as refused:
                known = isinstance(refused, ClusterDownError)  # of which redis-py does not keep the code
                code = "CLUSTERDOWN" if known else str(refused).split(" ", 1)[0]
                if code == "INDETERMINATE":
                    account.uncertain += 1
                elif code in DEFINITE:
                    account.refused += 1
                else:
                    raise
                met.append(f"{code} after {time.monotonic() - began:.1f} s")
                self._leave(began, refused)
            except (redis.ConnectionError, redis.TimeoutError) as broken:
                account.uncertain += 1
                met.append(f"{type(broken).__name__} after {time.monotonic() - began:.1f} s")
                self._leave(began, broken)
            else:
                took_s = time.monotonic() - began
                account.longest = max(
                    account.longest, (took_s, f"{self.kind} client, {' then '.join(met) or 'at once'}")
                )
                return reply

    def _leave(self, began: float, failure: redis.RedisError) -> None:
        if time.monotonic() - began > GIVE_UP_S:
            raise failure
        if self._client is not None:
            self._client.close()
        self._client = None
        self._at += 1
        time.sleep(0.05)

    def _connected(self) -> Any:
        """No retries inside redis-py: they are counted here."""
        if self._client is None:
            ports, once = self._addresses(), Retry(ExponentialBackoff(), 0)
            options: dict[str, Any] = {"socket_timeout": ANSWER_S, "retry": once}
            if self.kind == "sentinel":
                nodes = [("127.0.0.1", port) for port in ports]
                self._client = Sentinel(nodes, sentinel_kwargs={"socket_timeout": 3, "retry": once}).master_for(
                    "mymaster", **options
                )
            else:
                self._client = redis.Redis(port=ports[self._at % len(ports)], **options)
        return self._client


class Writers:
    """Several of them."""

    def __init__(self, count: int, addresses: Addresses) -> None:
        self.all = [Writer(number, addresses, "sentinel" if number % 3 == 2 else "plain") for number in range(count)]

    def done(self) -> int:
        return sum(one.account.counted for one in self.all)

    def failures(self) -> list[str]:
        return [f"writer {one.number} ({one.kind}): {text}" for one in self.all for text in one.account.failures]

    def check(self, client: Any) -> None:
        """What was acknowledged is there, and nothing was made twice but by retries."""
        assert self.failures() == []
        for one in self.all:
            account = one.account
            keys = [f"id:{one.number}:{n}" for n in range(1, account.ids + 1)]
            found = [value for at in range(0, len(keys), 1000) for value in client.mget(keys[at : at + 1000])]
            lost = [n for n, value in enumerate(found, 1) if value != b"%d" % n]
            assert not lost, f"writer {one.number} has lost {lost[:10]} of {len(keys)}"
            count = int(client.get(f"count:{one.number}") or 0)
            most = account.counted + account.uncertain_counts
            assert account.counted <= count <= most, f"writer {one.number}: {account.counted} <= {count} <= {most}"

    def report(self) -> str:
        accounts = [one.account for one in self.all]

        def total(name: str) -> int:
            return sum(getattr(account, name) for account in accounts)

        seconds, story = max(account.longest for account in accounts)
        return (
            f"{total('requests')} requests, all answered; {total('uncertain')} sent again after a broken connection or "
            f"INDETERMINATE, {total('refused')} after a definite refusal; longest {seconds:.2f} s ({story})"
        )


@contextmanager
def writing(count: int, addresses: Addresses) -> Iterator[Writers]:
    """Write while the body runs."""
    writers = Writers(count, addresses)
    for one in writers.all:
        one.start()
    try:
        yield writers
    finally:
        for one in writers.all:
            one.stop()
