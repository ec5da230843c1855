"""How one session's requests are executed, and in which order they are answered.

A read runs at once against applied state. From a session's first write on, requests become items of a run in the open
batch: writes for the log, reads to be executed behind them; the run is worked off when its batch is committed. A
command that must see earlier writes, and cannot be put into a run, waits in the backlog until none is in flight.

Promises: replies leave in request order; a read of a session sees the session's own earlier writes; requests of the
same command in a row are timed together, so that counting costs little per request.
Not here: bytes (`connection`), what may run (`gate`), the log (`engine`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from time import perf_counter  # the one clock of the hot path; durations only
from typing import TYPE_CHECKING, Any

from ..commands.operations import in_database
from ..commands.ports import Later
from ..commands.spec import CommandSpec, Kind
from ..engine.node import Node, Run
from ..errors import CommandError, wrong_arity
from ..limits import OUTPUT_PAUSE_BYTES
from ..observability.metrics import record
from ..resp.reply import NO_REPLY, OK, QUEUED, Push, Reply
from ..resp.writer import BULK_HEADS, CRLF, ENCODERS, encode
from . import gate
from .session import Session
from .table import Bound, Route

if TYPE_CHECKING:
    from .shared import Shared

Argv = Sequence[bytes]
Finish = Callable[[Any], Reply]
SMALL_REPLY_MAX = len(BULK_HEADS) - 1
OK_WIRE = OK.wire


class Item:
    """Requests of one command in a run. `view` is set for reads; `wire` holds replies that are ready already.

    `finish`, where there is one, turns a result into the reply.
    """

    __slots__ = ("bound", "finish", "requests", "view", "wire")

    def __init__(
        self,
        bound: Bound | None,
        requests: list[Argv],
        view: Any = None,
        finish: Finish | None = None,
        wire: bytes | None = None,
    ) -> None:
        self.bound, self.requests, self.view, self.finish, self.wire = bound, requests, view, finish, wire


class Execution(Session):
    """A session that executes. `connection.Connection` adds the socket."""

    __slots__ = ("_backlog", "_captured", "_depth", "_flight", "_heavy", "_out", "_parked", "plain", "shared")

    shared: Shared

    def __init__(self, shared: Shared, identity: int, addr: str, laddr: str, fd: int) -> None:
        self.plain = False
        super().__init__(shared, identity, addr, laddr, fd)
        self.shared = shared
        self._backlog: deque[Argv] = deque()  # waits for the flight to land, for a Later, for output or a pause
        self._flight: deque[Run] = deque()  # runs whose batch is not committed yet
        self._out: list[bytes] = []  # replies of this turn
        self._heavy = 0  # bytes of large replies in `_out`
        self._depth = 0  # > 0 while requests are being executed: whoever began flushes
        self._parked = False  # something other than the flight or a Later holds the backlog up
        self._captured: list[Push] | None = None  # confirmations of SUBSCRIBE inside a transaction
        self.refresh()

    # What the socket's side provides.

    closing: bool  # replies that are due are still sent, nothing more is executed

    def flush(self) -> None:
        raise NotImplementedError

    def output_stalled(self) -> bool:
        """Whether the client reads too slowly for more replies to be made now."""
        raise NotImplementedError

    # Entry points.

    def refresh(self) -> None:
        """Work out again whether requests may take the short way (nothing but log-in, arity and route to look at)."""
        self.plain = (
            self.authenticated
            and self.multi is None
            and self.tracking is None
            and not self.monitor
            and self.reply_mode == "on"
            and (self.proto == 3 or not (self.channels or self.patterns or self.shard_channels))
        )

    def execute(self, requests: Iterable[Argv]) -> None:
        """Execute requests in order; what cannot run yet stays in the backlog."""
        if self.closing:
            return
        if self._backlog or self.waiting is not None or self._parked:
            self._backlog.extend(requests)
            return
        self._depth += 1
        try:
            self._work(iter(requests))
        finally:
            self._depth -= 1
        if not self._depth:
            self.flush()

    def resume(self) -> None:
        """Whatever held the backlog up may be over."""
        self._parked = False
        if self._backlog and self.waiting is None:
            backlog, self._backlog = self._backlog, deque()
            self.execute(backlog)

    # The hot path.

    def _work(self, requests: Iterator[Argv]) -> None:
        shared = self.shared
        find = shared.table.by_name.get
        shared.machine.read_at(shared.clock.wall_ms())
        argv = next(requests, None)
        while argv is not None:
            bound = find(argv[0])
            if not self.plain or shared.observed or bound is None or bound.route is Route.SINGLE:
                if not self._single(argv):
                    self._backlog = deque(chain((argv,), requests, self._backlog))
                    return
                if self.closing:  # after QUIT nothing more is executed
                    return
                argv = next(requests, None)
            elif bound.route is Route.WRITE:
                argv = self._writes(bound, argv, requests)
            elif self._flight:
                argv = self._later_reads(bound, argv, requests)
            else:
                argv = self._reads(bound, argv, requests)
            if self._heavy > OUTPUT_PAUSE_BYTES:
                self.flush()
            if argv is not None and self._must_stop():
                self._backlog = deque(chain((argv,), requests, self._backlog))
                return

    def _must_stop(self) -> bool:
        """A closed door further on: a reply that comes later, a full batch, a client that does not read."""
        if self.output_stalled() or self.shared.node.crowded:
            self.park()
            return True
        return self.waiting is not None

    def park(self) -> None:
        """Leave the backlog alone until `Shared.release_parked`."""
        self._parked = True
        self.shared.parked.add(self)

    def _reads(self, bound: Bound, first: Argv, rest: Iterator[Argv]) -> Argv | None:
        """A row of the same cheap read; returns the first request that is none of them."""
        name, handler, low, high = first[0], bound.handler, bound.low, bound.high
        view = self.shared.machine.world.views[self.db]
        emit, proto = self._out.append, self.proto
        calls = failed = 0
        after = None
        began = perf_counter()
        for argv in chain((first,), rest):
            if argv[0] != name or self._heavy > OUTPUT_PAUSE_BYTES:
                after = argv
                break
            calls += 1
            try:
                if not low <= len(argv) <= high:
                    raise wrong_arity(bound.name)
                reply = handler(view, argv)
            except CommandError as refused:
                failed += 1
                self.shared.stats.error(refused.code)
                reply = refused
            if type(reply) is bytes:
                size = len(reply)
                if size <= SMALL_REPLY_MAX:
                    emit(BULK_HEADS[size])
                else:
                    self._heavy += size
                    emit(b"$%d\r\n" % size)
                emit(reply)
                emit(CRLF)
            else:
                ENCODERS[type(reply)](emit, reply, proto)
        self._count(bound, calls, perf_counter() - began, failed)
        return after

    def _later_reads(self, bound: Bound, first: Argv, rest: Iterator[Argv]) -> Argv | None:
        """Reads behind the session's own writes: they run when those have been applied."""
        requests, after = self._row(bound, first, rest)
        self._flight[-1].items.append(Item(bound, requests, self.shared.machine.world.views[self.db]))
        return after

    def _writes(self, bound: Bound, first: Argv, rest: Iterator[Argv]) -> Argv | None:
        """A row of the same write: into the open batch."""
        node = self.shared.node
        requests, after = self._row(bound, first, rest)
        if node.refusal is not None:
            for _ in requests:
                bound.stats.rejected_calls += 1
                self._answer(node.refusal)
            return after
        if bound.check is not None:
            requests = self._checked(bound, requests)
        if requests:
            run = self._run(node)
            if self.db:
                requests = [in_database(self.db, argv) for argv in requests]
            run.operations += requests
            run.items.append(Item(bound, requests))
            run.batch.size += sum(map(len, chain.from_iterable(requests)))
        return after

    def _row(self, bound: Bound, first: Argv, rest: Iterator[Argv]) -> tuple[list[Argv], Argv | None]:
        """The requests of the same command, as far as their arity is right; and the one that ends the row."""
        name, low, high = first[0], bound.low, bound.high
        row: list[Argv] = []
        for argv in chain((first,), rest):
            if argv[0] != name or not low <= len(argv) <= high:
                if row:
                    return row, argv
                self._single(argv)  # says what is wrong with it
                continue
            row.append(argv)
        return row, None

    def _checked(self, bound: Bound, requests: list[Argv]) -> list[Argv]:
        """Only what may be logged; the others are answered in their place."""
        check, plain = bound.check, bound.plain
        assert check is not None
        if all(len(argv) <= plain for argv in requests):
            return requests
        for at, argv in enumerate(requests):
            if len(argv) > plain:
                try:
                    check(argv)
                except CommandError as refused:
                    self._enter(bound, requests[:at])
                    self._refuse(bound, refused)
                    return self._checked(bound, requests[at + 1 :])
        return requests

    def _enter(self, bound: Bound, requests: list[Argv]) -> None:
        """Put writes that were found right into the open batch."""
        if requests:
            run = self._run(self.shared.node)
            operations = [in_database(self.db, argv) for argv in requests]
            run.operations += operations
            run.items.append(Item(bound, operations))

    def _run(self, node: Node) -> Run:
        """This session's run in the open batch."""
        if self._flight and self._flight[-1].batch is node.open:
            return self._flight[-1]
        run = node.join(self)
        self._flight.append(run)
        return run

    def complete(self, run: Run) -> None:
        """The run's batch is committed: apply, read and answer in order."""
        apply = self.shared.machine.apply
        emit, proto = self._out.append, self.proto
        assert self._flight[0] is run, "batches are committed in order"
        self._depth += 1
        for item in run.items:
            bound = item.bound
            if bound is None:
                emit(item.wire)  # type: ignore[arg-type]
                continue
            finish, view = item.finish, item.view
            handler = bound.handler
            failed = 0
            began = perf_counter()
            for argv in item.requests:
                try:
                    reply = apply(argv) if view is None else handler(view, argv)
                    if finish is not None:
                        reply = finish(reply)
                except CommandError as refused:
                    reply = refused
                except Exception as bug:
                    reply = self._bug(bound, bug)
                if reply is OK:
                    emit(OK_WIRE)
                else:
                    kind = type(reply)
                    if kind is CommandError:
                        failed += 1
                        self.shared.stats.error(reply.code)
                    elif kind is bytes:
                        self._heavy += len(reply)
                    ENCODERS[kind](emit, reply, proto)
            self._settle(bound, item, perf_counter() - began, failed)
        self._depth -= 1
        self._landed()

    def fail(self, run: Run, refusal: CommandError) -> None:
        """Nothing of the run has been applied; reads in it are still answered truthfully."""
        self._depth += 1
        for item in run.items:
            if item.bound is None:
                self._out.append(item.wire)  # type: ignore[arg-type]
            elif item.view is None:
                for _ in item.requests:
                    reply = item.finish(refusal) if item.finish else refusal
                    self._emit(reply)
            else:
                for argv in item.requests:
                    self._emit(self._guarded(item.bound, item.view, argv))
        self._depth -= 1
        self._landed()

    def _landed(self) -> None:
        """The oldest run is done: send its replies, tell observers, go on with what waited."""
        self._flight.popleft()
        shared = self.shared
        if shared.machine.world.touched or shared.machine.world.events:
            shared.observe_changes(self)
        if not self._depth:
            self.flush()
            if not self._flight and self._backlog:
                self.resume()

    def _settle(self, bound: Bound, item: Item, seconds: float, failed: int) -> None:
        calls = len(item.requests)
        if calls:
            self._count(bound, calls, seconds, failed)
            if bound.timed or self.shared.observed:
                self.shared.note_slow(self, item.requests[0], seconds / calls)

    def _count(self, bound: Bound, calls: int, seconds: float, failed: int) -> None:
        if calls:
            record(bound.stats, calls, seconds, failed)
            self.shared.stats.total_commands_processed += calls
            self.commands_seen += calls
            self.last_command = bound.name

    # One request at a time, through the gate.

    def _single(self, argv: Argv) -> bool:
        """Execute any request; False if it has to wait (it is not consumed then)."""
        shared = self.shared
        try:
            bound = shared.table.find(argv)
        except CommandError as unknown:
            self._abort_block()
            self._answer(unknown)
            shared.look_for_http(self, argv)
            return True
        if shared.holds_back(self, bound):
            return False
        refused = gate.refusal(self, bound, argv, shared.node.refusal)
        if refused is not None:
            self._refuse(bound, refused)
            return True
        if gate.queued(self, bound.spec):
            self._queue(bound, argv)
            return True
        if self._flight and bound.kind is Kind.SESSION and not bound.early:
            return False
        if shared.observed:
            shared.feed_monitors(self, bound.spec, argv)
        self._dispatch(bound, argv)
        if self.reply_mode == "skip" and bound.name != "client|reply":
            self.reply_mode = "on"
        self.refresh()
        return True

    def _dispatch(self, bound: Bound, argv: Argv) -> None:
        finish = _silence if self.reply_mode != "on" else None
        if bound.kind is Kind.WRITE:
            try:
                if bound.check is not None:
                    bound.check(argv)
            except CommandError as refused:
                self._refuse(bound, refused)
                return
            # The name as declared: any mixture of upper and lower case finds the command, but only two are in the log.
            self._submit(bound, in_database(self.db, (bound.name.upper().encode(), *argv[1:])), finish)
        elif bound.kind is Kind.READ:
            view = self.shared.machine.world.views[self.db]
            if self._flight:
                self._flight[-1].items.append(Item(bound, [argv], view, self._tracked(bound, argv, finish)))
                return
            self._now(bound, view, argv)
        else:
            self._now(bound, self, argv)

    def _tracked(self, bound: Bound, argv: Argv, finish: Finish | None) -> Finish | None:
        """For a client that tracks what it reads: take note when the read behind its writes has run."""
        if self.tracking is None:
            return finish

        def noting(reply: Any) -> Reply:
            self.shared.tracking.after(self, bound.spec, argv)
            return finish(reply) if finish else reply

        return noting

    def _submit(self, bound: Bound, operation: Argv, finish: Finish | None) -> None:
        run = self._run(self.shared.node)
        run.operations.append(operation)
        run.items.append(Item(bound, [operation], None, finish))
        run.batch.size += sum(map(len, operation))

    def _now(self, bound: Bound, target: Any, argv: Argv) -> None:
        """Execute at once, timed on its own, and answer."""
        if bound.kind is Kind.READ:
            self.shared.machine.read_at(self.shared.clock.wall_ms())
        began = perf_counter()
        reply = self._guarded(bound, target, argv)
        seconds = perf_counter() - began
        self._count(bound, 1, seconds, type(reply) is CommandError)
        if "skip_slowlog" not in bound.spec.flags:
            self.shared.note_slow(self, argv, seconds)
        if isinstance(reply, Later):
            self.waiting = reply
            reply.listen(self._arrived)
        else:
            self._answer(reply)
        if self.tracking is not None:
            self.shared.tracking.after(self, bound.spec, argv)

    def _guarded(self, bound: Bound, target: Any, argv: Argv) -> Reply:
        """The handler's reply; a bug in it is this client's error and the log's line, never another client's harm."""
        try:
            return bound.handler(target, argv)
        except CommandError as refused:
            return refused
        except Exception as bug:
            return self._bug(bound, bug)

    def _bug(self, bound: Bound, bug: Exception) -> CommandError:
        self.shared.report_bug(bound.name, bug)
        return CommandError("ERR internal error while executing the request; see the server's log")

    def _arrived(self, reply: Reply) -> None:
        """A Later has its reply."""
        self.waiting = None
        self._answer(reply)
        if not self._depth:
            self.flush()
            self.resume()

    def _queue(self, bound: Bound, argv: Argv) -> None:
        try:
            self.multi.add(bound.spec, argv)
        except CommandError as too_large:
            self._refuse(bound, too_large)
            return
        self._answer(QUEUED)

    def _refuse(self, bound: Bound, refused: CommandError) -> None:
        bound.stats.rejected_calls += 1
        self._abort_block()
        self._answer(refused)

    def _abort_block(self) -> None:
        if self.multi is not None:
            self.multi.aborted = True

    def _answer(self, reply: Reply) -> None:
        """A reply whose turn is now, or behind the session's runs in flight."""
        if type(reply) is CommandError:
            self.shared.stats.error(reply.code)
        if self.reply_mode != "on" or reply is NO_REPLY:
            return
        if self._flight:
            self._flight[-1].items.append(Item(None, [], wire=encode(reply, self.proto)))
        else:
            self._emit(reply)

    def _emit(self, reply: Reply) -> None:
        ENCODERS[type(reply)](self._out.append, reply, self.proto)

    # For transactions (commands.ports.Client).

    def submit(self, operation: Sequence[bytes] | None, finish: Finish) -> Reply:
        silent = self.reply_mode != "on"
        bound = self.shared.table.by_name[b"exec"]

        def turn(applied: Any) -> Reply:
            reply = finish(applied)
            return NO_REPLY if silent else reply

        if operation is not None:
            self._submit(bound, operation, turn)
        elif self._flight:
            view = self.shared.machine.world.views[self.db]
            self._flight[-1].items.append(Item(_NOTHING_TO_RUN, [()], view, turn))
        else:
            return finish(None)
        return NO_REPLY

    def run_queued(self, spec: CommandSpec, argv: Sequence[bytes], db: int) -> Reply:
        bound = self.shared.table.find(argv)
        if bound.kind is Kind.READ:
            return self._guarded(bound, self.shared.machine.world.views[db], argv)
        self._captured = captured = []
        reply = self._guarded(bound, self, argv)
        self._captured = None
        if isinstance(reply, Later):  # a transaction does not wait
            value = reply.reply if reply.done else reply.timeout_reply
            reply.cancel()
            return value
        return captured[0] if reply is NO_REPLY and captured else reply

    def kill_flight(self) -> None:
        """The client is gone: its writes in flight go on, their replies go nowhere."""
        self._backlog.clear()
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None


def _silence(reply: Any) -> Reply:
    return NO_REPLY


class _NothingToRun:
    """Stands in for a command where an item is only its `finish`."""

    def __init__(self) -> None:
        self.timed = False

    @staticmethod
    def handler(view: Any, argv: Argv) -> None:
        return None


_NOTHING_TO_RUN: Any = _NothingToRun()
