"""A round: clients work while faults come and go; then all is healed, and everything has to be as it should.

After the heal: no node stays down, a leader within `leader_seconds`, writes go through again, all nodes come to the
same state (DEBUG DIGEST, and what they say of it) and answer the same, and what they answer fits what clients were told (`judge`).
Each round has keys of its own and ends with FLUSHALL, so that a history stays short enough to be searched.

Units: seconds. Not here: what a fault is (`faults`), whose turn it is (`schedule`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.faults.clients import Crowd
from tests.faults.faults import Striker
from tests.faults.history import History
from tests.faults.judge import Values, judge
from tests.faults.nodes import READY_SECONDS, Nodes
from tests.faults.schedule import Strike

LOOK_SECONDS = 0.05
RESUME_SECONDS = 30.0  # from a leader to the next acknowledged write
EQUAL_SECONDS = 90.0
CALM_WRITES, CALM_SECONDS = 100, 60.0  # however busy the machine is
MGET_KEYS = 500


@dataclass
class Totals:
    """Over all rounds."""

    findings: list[str] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)
    longest_gap: float = 0.0
    leader_after: float = 0.0  # the longest time from a heal to a leader
    checked: int = 0  # calls whose order was searched for
    rounds: int = 0
    histories: list[History] = field(default_factory=list)  # of rounds with findings


class Rounds:
    def __init__(
        self, nodes: Nodes, striker: Striker, seed: int, clients: int, leader_seconds: float, say: Callable[[str], None]
    ) -> None:
        self.nodes, self.striker, self.totals = nodes, striker, Totals()
        self._seed, self._clients, self._leader_seconds, self._say = seed, clients, leader_seconds, say

    def play(self, strikes: list[Strike]) -> bool:
        """One round; False if anything is wrong."""
        totals, nodes = self.totals, self.nodes
        totals.rounds += 1
        hosts = [server.host for server in nodes.servers.values()]
        port = next(iter(nodes.servers.values())).port
        crowd = Crowd(self._clients, str(totals.rounds), self._seed, hosts, port)
        began = time.monotonic()
        crowd.start()
        try:
            self._strike(strikes, began, crowd.history)
            ended = time.monotonic()
            found = self._recover(crowd.history)
        finally:
            history = crowd.finish()
        found += self._compare(history) if not found else []
        found += [*nodes.findings, *nodes.tracebacks()]
        nodes.findings.clear()
        self._sum_up(history, began, ended, found)
        return not found

    def _strike(self, strikes: list[Strike], began: float, history: History) -> None:
        striker, late = self.striker, 0.0
        for strike in strikes:
            self._wait_until(began + late + strike.at)
            if strike.calm:
                late += self._calm_down(history)
            self._say(f"{time.monotonic() - began:6.1f} {striker.strike(strike, time.monotonic())}")
        while striker.next_heal < float("inf"):
            self._wait_until(striker.next_heal)

    def _calm_down(self, history: History) -> float:
        """Heal everything, and let the clients get somewhere; the seconds that it took. (How it ends is for `_recover`.)"""
        began, acknowledged = time.monotonic(), len(history.acknowledged_at)
        self.striker.heal(float("inf"))
        self._until(
            lambda: self._all_answer() and len(history.acknowledged_at) >= acknowledged + CALM_WRITES, CALM_SECONDS
        )
        return time.monotonic() - began

    def _wait_until(self, moment: float) -> None:
        while True:
            now = time.monotonic()
            self.striker.heal(now)
            self.nodes.look()
            if now >= moment:
                return
            time.sleep(max(0.0, min(moment, self.striker.next_heal, now + LOOK_SECONDS) - time.monotonic()))

    # After the heal.

    def _recover(self, history: History) -> list[str]:
        if not self._until(self._all_answer, READY_SECONDS):
            return [f"a node does not come up again: {self._states()}"]
        healed = time.monotonic()  # a process that starts takes its time, above all on a busy machine
        if not self._until(lambda: self.nodes.leader() > 0, self._leader_seconds):
            return [f"no leader {self._leader_seconds:.0f} s after the last heal: {self._states()}"]
        led = time.monotonic()
        self.totals.leader_after = max(self.totals.leader_after, led - healed)
        writes = history.acknowledged_at
        if not self._until(lambda: bool(writes) and writes[-1] > led, RESUME_SECONDS):
            return [f"no write is acknowledged {RESUME_SECONDS:.0f} s after there is a leader: {self._states()}"]
        return []

    def _all_answer(self) -> bool:
        return all(self.nodes.info(node) for node in self.nodes.servers)

    def _compare(self, history: History) -> list[str]:
        nodes = self.nodes
        if not self._until(lambda: len({nodes.digest(node) for node in nodes.servers}) == 1, EQUAL_SECONDS):
            return [f"nodes differ: { {node: nodes.digest(node) for node in nodes.servers} }; {self._states()}"]
        told = {node: nodes.info(node).get("raft_digest_nodes_differing", "0") for node in nodes.servers}
        if set(told.values()) != {"0"}:
            return [f"nodes say that they differ: {told}"]
        keys = history.keys
        at = time.monotonic()
        try:
            ends = {node: self._read(node, keys) for node in nodes.servers}
            first = ends[min(ends)]
            for node, end in ends.items():
                wrong = [key for key in keys if end[key] != first[key]]
                if wrong:
                    return [f"node-{node} says other things than node-{min(ends)} about {wrong[:10]}"]
            self._client(min(ends)).flushall()
        except redis.RedisError as refused:
            return [f"a healed cluster does not answer: {refused}; {self._states()}"]
        return judge(history, first, at)

    def _read(self, node: int, keys: list[bytes]) -> Values:
        client = self._client(node)
        values: dict[bytes, bytes | None] = {}
        for at in range(0, len(keys), MGET_KEYS):
            some = keys[at : at + MGET_KEYS]
            values.update(zip(some, client.mget(some), strict=True))
        return values

    def _client(self, node: int) -> redis.Redis:
        server = self.nodes.servers[node]
        return redis.Redis(server.host, server.port, socket_timeout=READY_SECONDS, retry=Retry(NoBackoff(), 0))

    def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        give_up = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > give_up or self.nodes.findings:
                return False
            self.nodes.look()
            time.sleep(LOOK_SECONDS)
        return True

    def _states(self) -> str:
        fields = ("raft_role", "raft_current_term", "raft_leader_id", "raft_commit_index", "raft_last_applied_index")
        return "; ".join(
            f"node-{node} {', '.join(f'{name} {info.get(name)}' for name in fields) if info else 'silent'}"
            for node in self.nodes.servers
            for info in [self.nodes.info(node)]
        )

    def _sum_up(self, history: History, began: float, ended: float, found: list[str]) -> None:
        totals = self.totals
        gap = history.longest_gap(began, ended)
        calls = sum(map(len, history.calls.values()))
        totals.longest_gap = max(totals.longest_gap, gap)
        totals.checked += calls
        for outcome, count in history.outcomes.items():
            totals.outcomes[outcome] = totals.outcomes.get(outcome, 0) + count
        totals.findings += [f"round {totals.rounds}: {what}" for what in found]
        if found:
            totals.histories.append(history)
        state = "; ".join(found) or "fine"
        self._say(f"round {totals.rounds}: {calls} calls, longest gap between writes {gap:.2f} s: {state}")
