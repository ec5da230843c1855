"""One request at a time: through the gate, to its handler, to its reply.

Everything that is not a row of plain reads or writes (`execution`) comes through here: sessions in MULTI, with
tracking or CLIENT REPLY OFF, commands that touch the session or the server, and all of them while somebody watches.
Promise: a handler's bug is an error to its client and a line in the log, never another client's harm.
Not here: rows and runs (`execution`), bytes (`connection`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from time import perf_counter  # durations only
from typing import TYPE_CHECKING, Any, Final

from ..commands.operations import in_database
from ..commands.ports import Later
from ..commands.spec import CommandSpec, Kind
from ..commands.transactions import discarded, end_overdue
from ..engine import entries
from ..engine.node import Run
from ..errors import CommandError
from ..limits import ENTRY_BYTES_MAX
from ..observability.metrics import CommandStats, record
from ..resp.reply import NO_REPLY, QUEUED, Push, Reply
from ..resp.writer import encode
from . import gate
from .session import Session
from .table import Bound

if TYPE_CHECKING:
    from .shared import Shared

Argv = Sequence[bytes]
Finish = Callable[[Any], Reply]


class Item:
    """Requests of one command in a run. `view` is set for reads; `wire` holds replies that are ready already.

    `finish`, where there is one, turns a result into the reply.
    """

    __slots__ = ("bound", "finish", "requests", "view", "wire")

    def __init__(
        self,
        bound: Bound | None,
        requests: Sequence[Argv],
        view: Any = None,
        finish: Finish | None = None,
        wire: bytes = b"",
    ) -> None:
        self.bound, self.requests, self.view, self.finish, self.wire = bound, requests, view, finish, wire


class Excess(list[bytes]):
    """Stands in for a request beyond a rate: answered with `refused` when its turn comes. Its name is no command's."""

    __slots__ = ("refused", "request")

    def __init__(self, request: Argv, refused: CommandError) -> None:
        super().__init__((b"",))
        self.request, self.refused = request, refused


class Dispatch(Session):
    """A session that can execute single requests; where runs and replies go is `execution`'s part."""

    __slots__ = ("_captured", "barrier", "plain", "shared", "table")

    def __init__(self, shared: Shared, identity: int, addr: str, laddr: str, fd: int) -> None:
        self.shared = shared
        self.table = shared.table
        self.plain = False
        self.barrier = False  # what comes next has to see what the runs in flight do to the session
        self._captured: list[Push] | None = None  # confirmations of SUBSCRIBE inside a transaction
        super().__init__(shared, identity, addr, laddr, fd)

    @property
    def asks_around(self) -> bool:
        """Whether reads have to wait until it is known that nothing newer has been acknowledged elsewhere.

        Each in the open batch: behind a batch that is on its way already, it might miss what others did since.
        """
        shared = self.shared
        return shared.node.clustered and not (self.readonly and shared.fresh_enough())

    # What `execution` provides.

    @abstractmethod
    def newest_run(self) -> Run | None:
        """The session's last run that is not committed yet; later replies have to wait behind it."""

    @abstractmethod
    def open_run(self) -> Run:
        """The session's run in the open batch."""

    @abstractmethod
    def emit(self, reply: Reply) -> int:
        """Put a reply into the output now; its size in bytes."""

    @abstractmethod
    def arrived(self, reply: Reply) -> None:
        """A Later that the session waited for has its reply."""

    # One request.

    def refresh(self) -> None:
        """Work out again whether requests may go in rows (nothing but log-in, arity and route to look at)."""
        self.elsewhere = self.shared.switching.sends_away(self)
        self.plain = (
            self.authenticated
            and self.multi is None
            and self.tracking is None
            and not (self.monitor or self.no_touch)
            and not (self.elsewhere and not self.readonly)
            and self.reply_mode == "on"
            and (self.proto == 3 or not (self.channels or self.patterns or self.shard_channels))
        )

    def single(self, argv: Argv) -> bool:
        """Execute any request; False if it has to wait (it is not consumed then)."""
        if self.reply_mode != "skip":
            return self._single(argv)
        self.reply_mode = "skipping"  # CLIENT REPLY SKIP meant this one, whatever becomes of it
        consumed = self._single(argv)
        if self.reply_mode == "skipping":
            self.reply_mode = "on" if consumed else "skip"
        self.refresh()
        return consumed

    def _single(self, argv: Argv) -> bool:
        shared = self.shared
        try:
            bound = self.table.find(argv)
        except CommandError as unknown:
            if type(argv) is Excess:
                self._refuse_excess(argv)
            elif not shared.look_for_http(self, argv):
                self._abort_block()
                self.answer(unknown)
            return True
        refused = gate.refusal(self, bound, argv, shared.node.refusal or shared.maintenance.refusal)
        queued = gate.queued(self, bound.spec)
        if refused is not None:
            self.refuse(bound, refused)
        elif (not queued and self.newest_run() is not None and gate.must_land_first(self, bound)) or (
            shared.holds_back(self, bound, argv)
        ):
            return False
        elif queued:
            self._queue(bound, argv)
        else:
            if shared.observed:
                shared.feed_monitors(self, bound.spec, argv)
            self._dispatch(bound, argv)
            self.refresh()
        return True

    def _dispatch(self, bound: Bound, argv: Argv) -> None:
        finish: Finish | None = None if self.reply_mode == "on" else _silence
        if bound.kind is Kind.WRITE:
            try:
                if bound.check is not None:
                    bound.check(argv)
            except CommandError as refused:
                self.refuse(bound, refused)
                return
            if bound.audit is not None:
                finish = self._audited(bound, argv, finish)
            # The name as declared: any mixture of upper and lower case finds the command, but only two are in the log.
            refusal = self._log(bound, in_database(self.db, (bound.spelling, *argv[1:])), finish)
            if refusal is not None:
                self.refuse(bound, refusal)
            elif self.tracking is not None:
                self.shared.tracking.after(self, bound.spec, argv)
        elif bound.kind is Kind.READ:
            view = self.shared.machine.world.views[self.db]
            run = self.open_run() if self.asks_around else self.newest_run()
            if run is None:
                self._now(bound, view, argv)
            else:
                if bound.audit is not None:
                    finish = self._audited(bound, argv, finish)
                run.items.append(Item(bound, [argv], view, self._tracked(bound, argv, finish)))
        else:
            self._now(bound, self, argv)
            return
        if bound.audit is not None and self.newest_run() is not None:
            # A reply that waits for its record must not be overtaken by what this session asks next.
            self.barrier |= self.shared.audit.waits(bound.audit)

    def _log(self, bound: Bound, operation: Argv, finish: Finish | None) -> CommandError | None:
        """Put an operation into the open batch; or the error, if it is larger than an entry may be."""
        encoded = entries.encode((operation,))
        if len(encoded) > ENTRY_BYTES_MAX:
            return CommandError(TOO_LARGE)
        run = self.open_run()
        run.add((operation,), encoded)
        run.items.append(Item(bound, (operation,), None, finish))
        return None

    def _tracked(self, bound: Bound, argv: Argv, finish: Finish | None) -> Finish | None:
        """For a client that tracks what it reads: take note when the read behind its writes has run."""
        if self.tracking is None:
            return finish

        def noting(reply: Any) -> Reply:
            self.shared.tracking.after(self, bound.spec, argv)
            return finish(reply) if finish else reply

        return noting

    def _now(self, bound: Bound, target: Any, argv: Argv) -> None:
        """Execute at once, timed on its own, and answer."""
        if bound.kind is Kind.READ:
            self.shared.machine.read_at(self.shared.clock.wall_ms())
        self.last_command = bound.name
        watch = self.shared.audit.begin(self, bound, argv) if bound.audit is not None else None
        began = perf_counter()
        reply = self.guarded(bound, target, argv)
        seconds = perf_counter() - began
        record(bound.stats, 1, seconds, type(reply) is CommandError)
        if watch is not None:
            reply = watch.end(reply)
        if "skip_slowlog" not in bound.spec.flags:
            self.shared.lateness.request_took(self, argv, seconds)
        if isinstance(reply, Later):
            self.waiting = reply
            reply.listen(self.arrived if self.reply_mode == "on" else self._arrived_unheard)
        elif (size := self.answer(reply)) >= self.shared.lateness.large_reply:
            self.shared.lateness.reply_was(self, argv, size)
        if self.tracking is not None:
            self.shared.tracking.after(self, bound.spec, argv)
        if self.shared.machine.world.events:  # a read may have missed its key
            self.shared.observe_changes(None)

    def _audited(self, bound: Bound, argv: Argv, finish: Finish | None) -> Finish | None:
        """For a request that waits for its batch, or behind one: its record is made when it has run."""
        watch = self.shared.audit.begin(self, bound, argv)
        if watch is None:
            return finish

        def recording(reply: Any) -> Reply:
            ended = watch.end(reply)
            if isinstance(ended, Later):
                self._wait_for(ended, heard=finish is not _silence)
                return NO_REPLY
            return finish(ended) if finish else ended

        return recording

    def _wait_for(self, later: Later, *, heard: bool) -> None:
        """In the place of a reply whose turn has come."""
        self.waiting = later
        later.listen(self.arrived if heard else self._arrived_unheard)

    def _arrived_unheard(self, reply: Reply) -> None:
        self.arrived(NO_REPLY)

    def guarded(self, bound: Bound, target: Any, argv: Argv) -> Reply:
        """The handler's reply, or the error that stands for it."""
        try:
            if self.no_touch and bound.kind is Kind.READ and bound.name != "touch":
                return target.world.unnoticed(bound.handler, target, argv)
            return bound.handler(target, argv)
        except CommandError as refused:
            return refused.with_traceback(None)
        except Exception as bug:
            return self.bug(bound, bug)

    def bug(self, bound: Bound, bug: Exception) -> CommandError:
        self.shared.report_bug(bound.name, bug)
        return CommandError("ERR internal error while executing the request; see the server's log")

    def _queue(self, bound: Bound, argv: Argv) -> None:
        end_overdue(self, self.shared.clock.now())
        if self.overdue is not None:
            self.refuse(bound, self.overdue)
            return
        try:
            self.multi.add(bound.spec, argv)
        except CommandError as too_large:
            self.refuse(bound, too_large)
            return
        self.answer(QUEUED)

    def refuse(self, bound: Bound, refused: CommandError) -> None:
        bound.stats.rejected_calls += 1
        if bound.audit is not None:
            self.shared.audit.refused(self, bound, refused)
        self._abort_block()
        self.answer(discarded(self, refused) if bound.name == "exec" else refused)

    def _refuse_excess(self, excess: Excess) -> None:
        try:
            bound = self.shared.table.find(excess.request)
        except CommandError:
            self._abort_block()
            self.answer(excess.refused)
        else:
            self.refuse(bound, excess.refused)

    def _abort_block(self) -> None:
        if self.multi is not None:
            self.multi.aborted = True

    def answer(self, reply: Reply) -> int:
        """A reply whose turn is now, or behind the session's runs in flight; its size in bytes."""
        if type(reply) is CommandError:
            self.shared.stats.error(reply.code)
        if self.reply_mode != "on" or reply is NO_REPLY:
            return 0
        run = self.newest_run()
        if run is None:
            return self.emit(reply)
        wire = encode(reply, self.proto)
        run.items.append(Item(None, (), wire=wire))
        return len(wire)

    # For transactions (commands.ports.Client).

    def submit(self, operation: Sequence[bytes] | None, finish: Finish, *, barrier: bool) -> Reply:
        silent = self.reply_mode != "on"

        def turn(applied: Any) -> Reply:
            reply = finish(applied)
            if isinstance(reply, Later):  # a record of the audit that has to be durable first
                self._wait_for(reply, heard=not silent)
                return NO_REPLY
            return NO_REPLY if silent else reply

        run = self.open_run() if operation is None and self.asks_around else self.newest_run()
        if operation is not None:
            refusal = self._log(BLOCK, operation, turn)
            if refusal is not None:
                return refusal
        elif run is not None:
            run.items.append(Item(BLOCK, ((b"EXEC",),), self, turn))
        else:
            self.shared.machine.read_at(self.shared.clock.wall_ms())
            return finish(None)
        self.barrier |= barrier
        return NO_REPLY

    def run_queued(self, spec: CommandSpec, argv: Sequence[bytes], db: int) -> Reply:
        bound = self.shared.table.find(argv)
        if bound.kind is Kind.READ:
            return self.guarded(bound, self.shared.machine.world.views[db], argv)
        captured: list[Push] = []
        self._captured, self.in_block = captured, True
        reply = self.guarded(bound, self, argv)
        self._captured, self.in_block = None, False
        if self.reply_mode == "skip":  # the next request is not of this block
            self.reply_mode = "on"
        if self.shared.clients.get(self.id) is not self:  # gone before its block was applied
            self.shared.forget(self)  # a subscription would stay for ever,
            self.shared.quotas.leave(self)  # and so would a log-in count as a connection
        if isinstance(reply, Later):  # a transaction does not wait
            value = reply.reply if reply.done else reply.timeout_reply
            reply.cancel()
            return value
        if reply is not NO_REPLY:
            return reply
        # An array must have as many elements as the block has requests, whatever they say.
        return captured[0] if len(captured) == 1 else captured or None


def _silence(reply: Any) -> Reply:
    return NO_REPLY


class _Block:
    """Stands in for EXEC where its block is applied: EXEC itself has been counted, `finish` makes its reply."""

    name = "exec"
    kind = Kind.SESSION
    timed = True
    stats = CommandStats("exec")

    @staticmethod
    def handler(view: Any, argv: Argv) -> None:
        return None


BLOCK: Any = _Block()
TOO_LARGE: Final = f"ERR the request is too large: the log takes at most {ENTRY_BYTES_MAX} bytes at once"
