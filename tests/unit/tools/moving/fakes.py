"""A server of the tools, without a network: strings with their ends, whose connections are lost when the test says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hiredis

PAGE = 2  # names in one reply of SCAN


class FakeServer:
    """`lives`: after how many replies each connection is lost, one after the other; the next ones are not.
    `run_ids`: of the process that each connection reaches, the last one for all others.
    `refusals`: what is answered instead of the next replies, None: nothing instead."""

    def __init__(self, keys: dict[int, dict[bytes, tuple[bytes, int]]]) -> None:
        self.keys = keys
        self.lives: list[int] = []
        self.run_ids = ["a"]
        self.refusals: list[str | None] = []
        self.connections = 0
        self.asked: list[tuple[bytes, ...]] = []

    def channel(self, address: object) -> FakeChannel:
        self.connections += 1
        run_id = self.run_ids.pop(0) if len(self.run_ids) > 1 else self.run_ids[0]
        return FakeChannel(self, self.lives.pop(0) if self.lives else 10**9, run_id)


class FakeChannel:
    def __init__(self, server: FakeServer, life: int, run_id: str) -> None:
        self._server, self._life, self._run_id = server, life, run_id
        self._replies: list[Any] = []
        self.db = 0

    def close(self) -> None:
        self._life = 0

    def select(self, db: int) -> None:
        self.db = db

    def send(self, requests: Sequence[tuple[bytes, ...]]) -> None:
        self._replies += requests

    def ask(self, *words: bytes) -> Any:
        self.send([words])
        return self.reply()

    def all(self, requests: Sequence[tuple[bytes, ...]]) -> list[Any]:
        self.send(requests)
        return [self.reply() for _ in requests]

    def reply(self) -> Any:
        """To the next request; it has happened although its reply may be lost."""
        words = self._replies.pop(0)
        self._server.asked.append(words)
        reply = self._answer(*words)
        if self._life <= 0:
            raise ConnectionResetError("closed the connection")
        self._life -= 1
        refusal = self._server.refusals.pop(0) if self._server.refusals else None
        return reply if refusal is None else hiredis.ReplyError(refusal)

    def _answer(self, verb: bytes, *words: bytes) -> Any:
        keys = self._server.keys.get(self.db, {})
        match verb:
            case b"INFO":
                rows = [f"run_id:{self._run_id}", *(f"db{db}:keys={len(one)}" for db, one in self._server.keys.items())]
                return "\r\n".join(rows).encode()
            case b"GET":
                return keys.get(words[0], (None, 0))[0]
            case b"TYPE":
                return b"string" if words[0] in keys else b"none"
            case b"PEXPIRETIME":
                return keys[words[0]][1] if words[0] in keys else -2
            case b"PEXPIREAT":
                keys[words[0]] = (keys[words[0]][0], min(keys[words[0]][1], int(words[1])))
                return 1
            case b"SCAN":  # in another order in each process
                names = sorted(keys, reverse=self._run_id > "a")
                end = int(words[0]) + PAGE
                return [b"%d" % (end if end < len(names) else 0), names[end - PAGE : end]]
        raise AssertionError(verb)
