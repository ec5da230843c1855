"""The traffic of a soak: a bounded key space that is written, read, counted, expired and deleted at a steady pace.

Each client keeps to a rate that leaves the server most of its time, as what is looked for is a trend: a server at its
limit answers later because of the load alone. Writes to a client's own counter are checked as they are answered.
Units: seconds. Not here: what is measured (`watch`), what it means (`verdict`).
"""

from __future__ import annotations

import random
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, Final

import redis

from tests.patience import PATIENCE_S

KEYS: Final = 20_000
VALUE_BYTES_MAX: Final = 2000
BURST: Final = 20  # requests sent together
LEAKS_MAX: Final = 400  # the leaking client's own descriptors: it forgets about connections, it does not close them


class Client(ABC):
    """A thread of its own that repeats `round` at a pace until told to stop; a failure is kept for the verdict."""

    def __init__(self, port: int, seed: int, rounds_per_s: float) -> None:
        self.port, self.rng, self.pause_s = port, random.Random(seed), 1 / rounds_per_s
        self.requests = 0
        self.failure = ""
        self.redis = redis.Redis(port=port, socket_timeout=PATIENCE_S)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        due = time.monotonic()
        try:
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                due = max(due + self.pause_s, time.monotonic() - 1)  # a second of arrears is made up, no more
                self.round()
        except (redis.RedisError, OSError, AssertionError) as failure:
            self.failure = f"{type(self).__name__}: {type(failure).__name__} {failure}"
        finally:
            self.close()

    @abstractmethod
    def round(self) -> None:
        """What it does again and again."""

    def close(self) -> None:
        self.redis.close()

    def key(self) -> str:
        return f"key:{self.rng.randrange(KEYS):05}"


class Mixed(Client):
    """What applications do: mostly reads, values of all sizes, expiries, transactions, a counter."""

    counted = 0

    def round(self) -> None:
        pipe: Any = self.redis.pipeline(transaction=self.rng.random() < 0.1)
        for _ in range(BURST):
            self._request(pipe)
        pipe.incr(f"count:{threading.get_ident()}")
        self.counted += 1
        replies = pipe.execute()
        assert replies[-1] == self.counted, f"INCR says {replies[-1]}, not {self.counted}"
        self.requests += len(replies)

    def _request(self, pipe: Any) -> None:
        rng, key = self.rng, self.key()
        value = rng.randbytes(rng.randrange(VALUE_BYTES_MAX))
        draw = rng.random()
        if draw < 0.55:
            pipe.get(key)
        elif draw < 0.60:
            pipe.mget([self.key() for _ in range(5)])
        elif draw < 0.80:
            pipe.set(key, value)
        elif draw < 0.90:
            pipe.set(key, value, px=rng.randrange(1000, 60_000))
        elif draw < 0.94:
            pipe.delete(key)
        elif draw < 0.97:
            pipe.setrange(key, rng.randrange(VALUE_BYTES_MAX), b"x")
        else:
            pipe.scan(rng.randrange(1 << 16), count=20)


class Reconnecting(Client):
    """A script that is started anew for each thing it does."""

    def round(self) -> None:
        with redis.Redis(port=self.port, socket_timeout=PATIENCE_S, protocol=self.rng.choice((2, 3))) as once:
            once.set(self.key(), "once", ex=30)
            once.get(self.key())
        self.requests += 2


class Listener(Client):
    """Publishes to itself, with subscriptions that come and go."""

    def round(self) -> None:
        channel = f"channel:{self.rng.randrange(50)}"
        listener = self.redis.pubsub(ignore_subscribe_messages=True)
        listener.subscribe(channel)
        listener.get_message(timeout=PATIENCE_S)  # the confirmation, which is ignored
        self.redis.publish(channel, "hello")
        heard = listener.get_message(timeout=PATIENCE_S)
        assert heard is not None and heard["data"] == b"hello", heard
        listener.close()
        self.requests += 3


class Leaking(Client):
    """Opens connections, says one thing and forgets about them: the server's `timeout` has to close its ends.

    Its own descriptors are bounded by taking the oldest away once the server has hung up long ago.
    """

    def __init__(self, *arguments: Any) -> None:
        self._forgotten: deque[socket.socket] = deque()
        super().__init__(*arguments)

    def round(self) -> None:
        leak = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        leak.sendall(b"PING\r\n")
        assert leak.recv(64) == b"+PONG\r\n"
        self._forgotten.append(leak)
        self.requests += 1
        if len(self._forgotten) > LEAKS_MAX:
            oldest = self._forgotten.popleft()
            oldest.settimeout(PATIENCE_S)
            assert oldest.recv(64) == b"", "the server has kept an idle connection beyond `timeout`"
            oldest.close()

    def close(self) -> None:
        for leak in self._forgotten:
            leak.close()
        super().close()


class Operator(Client):
    """What is done to a server while it is in use: new keys, snapshots, users, a look at everything."""

    def round(self) -> None:
        for words in (
            ("KEYRING", "ROTATE"), ("BGSAVE", "SCHEDULE"), ("INFO", "everything"), ("CLIENT", "LIST"),
            ("SLOWLOG", "GET", "-1"), ("LATENCY", "LATEST"), ("METRICS",), ("METRICS", "PROM"),
            ("ACL", "SETUSER", "soak", "on", f">word-{self.requests}", "~*", "+@read"), ("ACL", "DELUSER", "soak"),
            ("CONFIG", "SET", "slowlog-max-len", str(64 + self.requests % 64)),
        ):  # fmt: skip
            try:
                self.redis.execute_command(*words)
            except redis.ResponseError as refused:
                # A snapshot of its own accord was quicker, or the last rotation still waits for one.
                if "in progress" not in str(refused) and not str(refused).startswith("BUSY"):
                    raise
            self.requests += 1
