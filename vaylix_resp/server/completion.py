"""What becomes of a session's requests once it is their turn: they run, and their replies are encoded in order.

Reads of constant cost run here whether they are asked for now or come behind a write. The runs in flight are worked
off here, when their batch has been committed or has failed.
Promise: a run is answered in the order in which its requests came; no reply of a write leaves before its commit.
Not here: which requests make a row or a run, and what waits (`execution`); the log (`engine`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from time import perf_counter  # durations only
from typing import TYPE_CHECKING, Any

from ..engine.node import Run
from ..errors import CommandError
from ..limits import OUTPUT_PAUSE_BYTES
from ..observability.metrics import record
from ..resp.reply import OK, Reply
from ..resp.writer import BULK_HEADS, CRLF, ENCODERS, emit_bulks, encode
from . import rights
from .dispatch import BLOCK, Argv, Dispatch, Finish, Item
from .table import Bound

if TYPE_CHECKING:
    from ..state.views import ReadView
    from .shared import Shared

SMALL_REPLY_MAX = len(BULK_HEADS) - 1
ROW_MIN = 4  # requests from which on a row handler is cheaper than its command's own


class Completion(Dispatch):
    """A session that works off its runs; `execution.Execution` fills them."""

    __slots__ = ("_depth", "_flight", "_heavy", "_out")

    _lost: bool  # nobody is there to send anything to

    def __init__(self, shared: Shared, identity: int, addr: str, laddr: str, fd: int) -> None:
        self._flight: deque[Run] = deque()  # runs whose batch is not committed yet
        self._out: list[bytes] = []  # replies of this turn
        self._heavy = 0  # bytes in `_out`, of large replies at least
        self._depth = 0  # > 0 while requests are being executed: whoever began flushes
        super().__init__(shared, identity, addr, laddr, fd)

    # What the others provide.

    @abstractmethod
    def flush(self) -> None:
        """Send what is in the output."""

    @abstractmethod
    def at_rest(self) -> None:
        """No run is in flight any more: what waited for that may go on."""

    # Reads.

    def _reads(self, bound: Bound, view: ReadView, row: Sequence[Argv]) -> int:
        """Reads of constant cost, at once; how many of them, because large replies may fill the output first."""
        shared = self.shared
        if view.db.expires:
            shared.machine.read_at(shared.clock.wall_ms())
        handler, emit, proto = bound.handler, self._out.append, self.proto
        lateness, calls, failed = shared.lateness, 0, 0
        began = perf_counter()
        if bound.row is not None and len(row) >= ROW_MIN and (values := bound.row(view, row)) is not None:
            heavy = emit_bulks(emit, values)
            if heavy >= lateness.large_reply:
                self._note_large(row, values)
            self._heavy += heavy
            calls, row = len(row), ()
        for argv in row:
            calls += 1
            try:
                reply = handler(view, argv)
            except CommandError as refused:
                reply = refused.with_traceback(None)  # which leads here, and so back to itself: the collector is off
                failed += 1
                shared.stats.error(refused.code)
            except Exception as bug:
                reply = self.bug(bound, bug)
                failed += 1
            if type(reply) is bytes:
                size = len(reply)
                if size <= SMALL_REPLY_MAX:
                    emit(BULK_HEADS[size])
                    emit(reply)
                    emit(CRLF)
                else:
                    emit(b"$%d\r\n" % size)
                    emit(reply)
                    emit(CRLF)
                    if size >= lateness.large_reply:
                        lateness.reply_was(self, argv, len(encode(reply, proto)))
                    self._heavy += size
                    if self._heavy > OUTPUT_PAUSE_BYTES:
                        break
            elif type(reply) is list:
                if (size := self.emit(reply)) >= lateness.large_reply:
                    lateness.reply_was(self, argv, size)
                if self._heavy > OUTPUT_PAUSE_BYTES:
                    break
            else:
                ENCODERS[type(reply)](emit, reply, proto)
        seconds = perf_counter() - began
        record(bound.stats, calls, seconds, failed)
        if seconds >= lateness.late_s:
            lateness.row_took(seconds)
        self.last_command = bound.name
        if shared.machine.world.events:  # a read that found nothing is an event, too
            shared.observe_changes(self)
        return calls

    # Runs.

    def newest_run(self) -> Run | None:
        return self._flight[-1] if self._flight else None

    def open_run(self) -> Run:
        node = self.shared.node
        if self._flight and self._flight[-1].batch is node.open:
            return self._flight[-1]
        run = node.join(self)
        self._flight.append(run)
        return run

    def recheck_reads(self) -> None:
        """A follower's read may be of data that was written when the user had lost its rights, and it had not heard."""
        if self.limited:
            for run in self._flight:
                run.items = [one for item in run.items for one in self._rechecked(item)]

    def _rechecked(self, item: Item) -> Sequence[Item]:
        bound = item.bound
        if bound is None or bound is BLOCK or item.view is None:
            return (item,)
        db, finish = item.view.index, item.finish
        refused = [rights.refusal(self, bound, argv, db) for argv in item.requests]
        if not any(refused):
            return (item,)
        return [
            Item(bound, (argv,), item.view, finish if why is None else _refused(why, finish))
            for argv, why in zip(item.requests, refused, strict=True)
        ]

    def complete(self, run: Run) -> None:
        """The run's batch is committed: apply, read and answer in order."""
        assert self._flight[0] is run, "batches are committed in order"
        self._depth += 1
        for item in run.items:
            bound = item.bound
            if bound is None:
                self._out.append(item.wire)
                continue
            if item.view is not None:
                self._read_behind(bound, item)
                continue
            began = perf_counter()
            replies = self.shared.machine.apply_row(item.requests)
            seconds = perf_counter() - began
            if item.finish is not None:
                replies = [self._finished(item, reply) for reply in replies]
            calls = len(replies)
            if replies[0] is OK and replies.count(OK) == calls:
                self._out.append(OK.wire * calls)
                failed = 0
            else:
                failed = self._emit_all(bound, item.requests, replies)
            record(bound.stats, calls, seconds, failed)
            self.last_command = bound.name
            if bound.timed or self.shared.observed:
                self.shared.lateness.request_took(self, item.requests[0], seconds / calls)
            elif seconds >= self.shared.lateness.late_s:
                self.shared.lateness.row_took(seconds)
            if self.tracking is not None:  # before it reads these keys again
                self.shared.observe_changes(self, block=bound is BLOCK)
        self._depth -= 1
        self._landed()

    def _read_behind(self, bound: Bound, item: Item) -> None:
        """The reads of an item whose turn has come; each as of now, like any other read."""
        try:
            if item.finish is not None or bound.timed or self.no_touch or self.shared.observed:
                self._read_one_by_one(bound, item)
                return
            row = item.requests
            done = 0 if self._lost else self._reads(bound, item.view, row)
            while self._heavy > OUTPUT_PAUSE_BYTES:
                self.flush()
                row = row[done:]
                if self._lost or not row:
                    return
                done = self._reads(bound, item.view, row)
        except Exception as bug:  # half of a reply may be in the output: nothing can follow it
            self.shared.report_bug(bound.name, bug)
            self.kill()

    def _read_one_by_one(self, bound: Bound, item: Item) -> None:
        shared = self.shared
        shared.machine.read_at(shared.clock.wall_ms())
        for argv in item.requests:
            if self._lost and item.finish is None:
                return
            began = perf_counter()
            reply = self.guarded(bound, item.view, argv)
            seconds = perf_counter() - began
            if item.finish is not None:
                reply = self._finished(item, reply)
            record(bound.stats, 1, seconds, self._emit_all(bound, (argv,), (reply,)))
            self.last_command = bound.name
            if bound.timed or shared.observed:
                shared.lateness.request_took(self, argv, seconds)

    def _finished(self, item: Item, reply: Reply) -> Reply:
        assert item.bound is not None and item.finish is not None
        try:
            return item.finish(reply)
        except Exception as bug:
            return self.bug(item.bound, bug)

    def _emit_all(self, bound: Bound, requests: Sequence[Argv], replies: Sequence[Any]) -> int:
        """Encode replies whose turn it is; how many are errors. Large ones leave at once, not at the end of the run."""
        emit, proto = self._out.append, self.proto
        failed, before = 0, self._heavy
        try:
            for reply in replies:
                kind = type(reply)
                if kind is CommandError:
                    failed += 1
                    self.shared.stats.error(reply.code)
                elif kind is bytes:
                    self._heavy += len(reply)
                elif kind is list:
                    self.emit(reply)
                    continue
                ENCODERS[kind](emit, reply, proto)
        except Exception as bug:  # half of a reply may be in the output: nothing can follow it
            self.shared.report_bug(bound.name, bug)
            self.kill()
        if self._heavy - before >= self.shared.lateness.large_reply:
            self._note_large(requests, replies)
        if self._heavy > OUTPUT_PAUSE_BYTES:
            self.flush()
        return failed

    def _note_large(self, requests: Sequence[Argv], replies: Sequence[Any]) -> None:
        """Together they are large; which of them is?"""
        for argv, reply in zip(requests, replies, strict=True):
            size = len(encode(reply, self.proto))
            if size >= self.shared.lateness.large_reply:
                self.shared.lateness.reply_was(self, argv, size)

    def fail(self, run: Run, refusal: CommandError) -> None:
        """Nothing of the run has been applied; reads in it are still answered truthfully, or refused as well."""
        self._depth += 1
        reads_refused = self.shared.node.read_refusal
        for item in run.items:
            if item.bound is None:
                self._out.append(item.wire)
                continue
            if item.view is not None and reads_refused is None:
                self._read_behind(item.bound, item)
                continue
            told = refusal if item.view is None or reads_refused is None else reads_refused
            replies: list[Reply] = [told for _ in item.requests]
            if item.finish is not None:
                replies = [self._finished(item, reply) for reply in replies]
            self._emit_all(item.bound, item.requests, replies)
        self._depth -= 1
        self._landed()

    def _landed(self) -> None:
        """The oldest run is done: send its replies, tell observers, go on with what waited."""
        self._flight.popleft()
        if not self._flight and self.barrier:
            self.barrier = False
            self.refresh()
        world = self.shared.machine.world
        if world.touched or world.events:
            self.shared.observe_changes(self)
        self.settle()

    def settle(self) -> None:
        """Unless more is to come now: send what there is, and go on with what waited."""
        if not self._depth:
            self.flush()
            if not self._flight:
                self.at_rest()

    def complete_unsent(self, run: Run) -> None:
        """`complete`, but whoever calls also calls `settle`, in its time."""
        self._depth += 1
        self.complete(run)
        self._depth -= 1

    # Replies.

    def emit(self, reply: Reply) -> int:
        out = self._out
        at = len(out)
        ENCODERS[type(reply)](out.append, reply, self.proto)
        size = sum(map(len, out[at:]))
        self._heavy += size
        return size


def _refused(why: CommandError, finish: Finish | None) -> Finish:
    """In the place of what the read has found."""
    return lambda reply: why if finish is None else finish(why)
