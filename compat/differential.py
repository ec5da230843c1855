"""The differential run: a seeded stream to both servers, findings instead of a stop, and each finding
shrunk.

After a mismatch the two servers may be in different states, so everything is flushed, connections are
opened anew and the stream goes on; findings of the same signature are counted, not repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from compat.frames import Wire
from compat.generator import Generator
from compat.pair import Mismatch, Pair
from compat.state import read_state, state_differences
from compat.steps import Step

CHECKPOINT_STEPS = 10_000  # the state is compared this often, so that a silent divergence is found near its cause
TAIL_SIZES = (1, 2, 5, 20, 100, 500, 3000, CHECKPOINT_STEPS)
SAMPLE_VALUES = (
    b"", b"0", b"12", b"-1", b"200", b"40000", b"-70000", b"3000000000", b"short", b"x" * 300, b"abc" * 100,
    bytes(range(256)), b"\x00" * 40, b"9223372036854775807", b"1.5", b"hello world, hello world, hello world",
)  # fmt: skip


@dataclass
class Finding:
    """One kind of mismatch: where it first showed, the shortest stream that shows it, and how often it came."""

    seed: int
    protocol: int
    step_number: int
    mismatch: Mismatch
    tail: list[Step]
    count: int = 1

    def __str__(self) -> str:
        shown = [str(step) for step in self.tail[-30:]]
        if len(self.tail) > len(shown):
            shown.insert(0, f"... {len(self.tail) - len(shown)} steps before")
        times = f", {self.count} times" if self.count > 1 else ""
        return (
            f"seed {self.seed}, RESP{self.protocol}, step {self.step_number}{times}\n"
            + "".join(f"    {line}\n" for line in shown)
            + f"  {self.mismatch}\n"
        )


@dataclass
class Report:
    """What a run found."""

    findings: dict[tuple[str, ...], Finding] = field(default_factory=dict)
    steps: int = 0
    mismatches: int = 0
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        return not self.findings


@dataclass
class Ports:
    redis: int
    us: int


class Differential:
    """One seed and protocol after another against the same two servers."""

    def __init__(self, ports: Ports, shrink_seconds: float, findings_max: int, still_alive: Callable[[], None]) -> None:
        self.ports = ports
        self.shrink_seconds = shrink_seconds
        self.findings_max = findings_max
        self.still_alive = still_alive  # raises when a server died: then nothing more can be learned
        self.report = Report()
        self.payloads = sample_payloads(ports.redis)

    def run(self, seed: int, protocol: int, count: int) -> None:
        """`count` steps, or until there are enough findings."""
        began = time.monotonic()
        generator = Generator(seed, self.payloads, protocol)
        made = 0
        while made < count and len(self.report.findings) < self.findings_max:
            history: list[Step] = []
            pair = Pair(self.ports.redis, self.ports.us, protocol)
            try:
                generator.forget_connections()
                pair.play(generator.steps(min(CHECKPOINT_STEPS, count - made)), history.append)
                self.check_state()
            except Mismatch as mismatch:
                self.still_alive()
                self.note(seed, protocol, made + len(history), mismatch, history)
            finally:
                pair.close()
            made += len(history)
            self.report.steps += len(history)
        self.report.seconds += time.monotonic() - began

    def check_state(self) -> None:
        lines = state_differences(read_state(self.ports.redis), read_state(self.ports.us))
        if lines:
            raise Mismatch("\n".join(lines[:10]), "state", f"{len(lines)} keys differ", "")

    def note(self, seed: int, protocol: int, number: int, mismatch: Mismatch, history: list[Step]) -> None:
        self.report.mismatches += 1
        known = self.report.findings.get(mismatch.signature())
        if known is not None:
            known.count += 1
            return
        tail = self.shrink(history, protocol, mismatch)
        self.report.findings[mismatch.signature()] = Finding(seed, protocol, number, mismatch, tail)

    def shrink(self, history: list[Step], protocol: int, mismatch: Mismatch) -> list[Step]:
        """The shortest stream found in time that ends in a mismatch of the same signature."""
        give_up = time.monotonic() + self.shrink_seconds
        if self.shrink_seconds <= 0:
            return history[-30:]

        def fails(steps: list[Step]) -> bool:
            self.still_alive()
            return self.fails_alike(steps, protocol, mismatch)

        for size in TAIL_SIZES:
            tail = history[-size:]
            if fails(tail):
                return minimise(tail, fails, give_up)
            if size >= len(history) or time.monotonic() > give_up:
                break
        return history[-30:]

    def fails_alike(self, steps: list[Step], protocol: int, mismatch: Mismatch) -> bool:
        pair = Pair(self.ports.redis, self.ports.us, protocol)
        try:
            pair.play(iter(steps), lambda _step: None)
            if mismatch.where == "state":
                self.check_state()
        except Mismatch as again:
            return again.signature() == mismatch.signature()
        finally:
            pair.close()
        return False


def minimise(steps: list[Step], fails: Callable[[list[Step]], bool], give_up: float) -> list[Step]:
    """Leave out ever smaller pieces as long as it still fails (delta debugging)."""
    size = max(1, len(steps) // 2)
    while True:
        removed = False
        for start in pieces_from_the_end(len(steps), size):
            if time.monotonic() > give_up:
                return steps
            shorter = steps[:start] + steps[start + size :]
            if shorter and fails(shorter):
                steps, removed = shorter, True
        if size == 1 and not removed:
            return steps
        size = max(1, size // 2)


def pieces_from_the_end(length: int, size: int) -> Iterator[int]:
    return iter(range(max(0, length - size), -1, -size))


def sample_payloads(redis_port: int) -> tuple[bytes, ...]:
    """DUMP of a row of values on redis-server: what RESTORE must take."""
    wire = Wire(redis_port)
    try:
        payloads = []
        for value in SAMPLE_VALUES:
            wire.ask(b"SET", b"sample", value)
            frame = wire.ask(b"DUMP", b"sample")
            payloads.append(frame.partition(b"\r\n")[2][:-2])
        wire.ask(b"DEL", b"sample")
        return tuple(payloads)
    finally:
        wire.close()
