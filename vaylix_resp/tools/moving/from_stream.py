"""A running Redis as a source, by PSYNC: its file first, then the stream of its writes, until the cut-over.

The target is a mirror: it was empty, nobody else writes to it, and no key in it expires by itself before the cut-over
(`meaning`). At the cut-over the source may be paused; then all of its stream is applied, both sides are compared, and
the expiries become what they are.
Promises: each command is applied exactly once, also over kills and lost connections; a source that cannot go on where
we were (its backlog was too short, it was restarted) is taken anew, in a target that is emptied first.
Units: bytes of the source's stream, seconds. Not here: the link (`receiver`, `spool`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ...errors import Refused
from ...interchange.command_stream import CommandReader
from ...limits import KIB
from ..output import Progress
from . import from_rdb
from .applying import Applier, Survey
from .channel import Address, Denied
from .options import Options
from .patience import ForNow, GivenUp, Patience
from .pausing import Pause
from .receiver import Receiver
from .settle import settle
from .side import Side
from .spool import Renewed, Spool
from .target import Mark, Target
from .verify import Difference, Verdict, differences, unequal

WAIT_S: Final = 0.2  # for more of the stream
NOTE_BYTES: Final = 64 * KIB  # of stream without writes (PINGs) after which the mark is moved by itself
LOOKS: Final = 5  # at keys that differ while the source goes on


class Follower:
    """One import by PSYNC. `cut_over` is asked again and again: has the operator said that it is time?"""

    def __init__(
        self, source: Address, target: Target, spool: Spool, options: Options, *,
        cut_over: Callable[[], bool], now_ms: Callable[[], int], said: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._source, self._target, self._spool, self._options = source, target, spool, options
        self._cut_over, self._now_ms, self._said = cut_over, now_ms, said
        self.survey = Survey()
        self.verdict = Verdict()
        self._generation = self._read_at = 0
        self._patience = Patience(source.where, options.retry_for)

    def run(self, mark: Mark) -> Mark:
        """All of it; the last mark. `mark`: of an import that has begun."""
        history = self._history(mark)
        self._receiver = receiver = Receiver(self._source, self._spool, self._options.retry_for, history)
        receiver.applied = history[1] if history else 0
        receiver.start()
        try:
            while True:
                try:
                    return self._once(mark)
                except Renewed:
                    assert self._target.mark is not None
                    mark = self._target.mark
                    self._said("the source cannot go on where we were: all of it is taken anew, the target is emptied")
        finally:
            receiver.stop()

    def _history(self, mark: Mark) -> tuple[str, int] | None:
        """What can be gone on from: what is in the spool, else where the target is."""
        if mark.origin and mark.phase != "settle":
            if mark.origin == self._spool.origin and (self._spool.dump.exists() or mark.phase == "stream"):
                if self._spool.has(mark.offset):
                    return self._spool.replid, self._spool.end
            if mark.phase == "stream":
                self._spool.resume(mark.replid, mark.offset, mark.origin)
                return mark.replid, mark.offset
        self._spool.wipe()
        return None

    def _once(self, mark: Mark) -> Mark:
        """From the file to the end. Renewed: another file has begun."""
        self._wait_ready()
        generation, spool = self._spool.generation, self._spool
        if mark.origin != spool.origin or mark.phase == "settle":
            if spool.start != spool.end or spool.dump.exists():
                self._survey(mark)
            fresh = Mark("psync", self._source.where, "fail", origin=spool.origin, replid=spool.replid)
            fresh.offset = spool.start
            self._target.mark = fresh
            if mark.origin:
                self._target.replace_all()
            else:  # nothing of ours is there
                self._target.put_mark()
            mark = fresh
        skip = self._options.skip_unsupported
        applier = Applier(self._target, mark, skip=skip, shift=True, now_ms=self._now_ms)
        if mark.phase == "keys":
            self._load(applier, generation)
        self._target.inside = False
        self._reader = CommandReader("the stream", mark.offset)
        self._read_at = mark.offset
        self._generation, self._applier = generation, applier
        self._follow()
        return mark

    def _survey(self, mark: Mark) -> None:
        """Before the first write: can all of the file be taken?"""
        self.survey = from_rdb.survey(str(self._spool.dump))
        if self.survey.unsupported:
            self._said(self.survey.rows())
        try:
            self.survey.refuse(self._options.skip_unsupported)
            self._target.check(self.survey.databases)
        except Refused:
            if not mark.origin:
                self._target.end()  # as if it had not been begun
            raise

    def _wait_ready(self) -> None:
        progress = Progress("receiving", 0, "bytes", before=self._receiver.received)
        while not self._receiver.ready:
            self._check()
            if self._receiver.received:
                progress.say(self._receiver.received)
            self._receiver.wait(WAIT_S)

    def _check(self) -> None:
        if self._receiver.failure is not None:
            raise self._receiver.failure

    def _load(self, applier: Applier, generation: int) -> None:
        """The file into the target."""
        progress = Progress("copying", self.survey.records, "keys", before=applier.mark.keys)
        applier.begin_file()
        for record in from_rdb.records(str(self._spool.dump)):
            applier.record(record)
            progress.say(applier.mark.keys)
            self._check()
            if generation != self._spool.generation:
                raise Renewed
        applier.mark.phase = "stream"
        self._target.put_mark()
        self._spool.release(generation, applier.mark.offset)
        progress.end(applier.mark.keys)

    # The stream.

    def _follow(self) -> None:
        """Until it is time; then the end."""
        with self._asked() as control:
            self.pause = pause = Pause(control, self._source.where, self._options)
            self._catch_up(self._offset_of(control))
            if self._options.follow:
                self._said("the target has caught up, and follows; Ctrl-C cuts over")
                self._keep_up()
            pause.begin()
            with self._target.patience.doing(pause.hold):
                self._catch_up(self._offset_of(control))
                if self._options.verify != "none":
                    self._verify(control)
                if self.verdict.differences:
                    return  # what follows could not be gone on from
                pause.begin()
                self._catch_up(self._offset_of(control))  # what was written while there was no pause, or it was over
                settle(self._target, self._now_ms, pause.renew)
            pause.hold()  # for the whole time from here on
            if not pause.whole:
                raise GivenUp(f"{self._source.where}: the pause of its writers was over before the work was done; "
                              "the same command takes all of it anew")  # fmt: skip

    def _asked(self) -> Side:
        """A connection to the source that is no replica's."""
        return Side(self._source, self._patience, self._now_ms)

    def _offset_of(self, control: Side) -> int:
        """Up to where the source has written, in the history that we have. Renewed."""
        waits = Patience(self._source.where, self._options.retry_for)
        while True:
            fields = control.info(b"replication")
            try:
                offset = int(fields["master_repl_offset"])
            except (KeyError, ValueError):
                raise Denied(f"{self._source.where}: INFO replication says no master_repl_offset") from None
            if fields.get("master_replid", self._spool.replid) == self._spool.replid:
                return offset
            self._step(wait_s=0)  # it was started again, or was made a primary: the receiver finds out
            waits.failed(ForNow("its history has another name now"))

    def _keep_up(self) -> None:
        progress, mark = Progress("following", 0, "commands"), self._applier.mark
        before = mark.commands
        while not self._cut_over():
            if not self._step():
                progress.say(mark.commands - before, f", lag {self._spool.end - mark.offset:,} bytes")
        progress.end(mark.commands - before)

    def _catch_up(self, until: int) -> None:
        """Everything up to an offset is durable at the target."""
        progress = Progress("catching up", until - self._read_at, "bytes")
        began = self._read_at
        while self._applier.mark.offset < until:
            self._step()
            progress.say(min(self._applier.mark.offset, until) - began)
            self.pause.renew()
        self._target.flush()

    def _step(self, wait_s: float = WAIT_S) -> bool:
        """Apply what has come; False when nothing had."""
        self._check()
        data = self._spool.read(self._generation, self._read_at)
        mark = self._applier.mark
        if not data:
            self._target.flush()
            if mark.offset - self._target.durable_offset > NOTE_BYTES:
                self._target.put_mark()
            self._receiver.applied = mark.offset
            if wait_s:
                self._receiver.wait(wait_s)
            return False
        self._read_at += len(data)
        self._applier.meaning.now_ms = self._now_ms()
        for command in self._reader.feed(data):
            if self._applier.command(command).wants_ack:
                self._target.flush()
                self._receiver.applied = mark.offset
                self._receiver.acknowledge()
        mark.replid = self._spool.replid
        self._receiver.applied = self._target.durable_offset
        self._spool.release(self._generation, self._target.durable_offset)
        return True

    # The end.

    def _verify(self, control: Side) -> None:
        """Compare; what differs while the source goes on is looked at again when its stream has been applied."""
        self._said("comparing")
        progress = Progress("comparing", 0, "keys")
        with self._asked() as source, Side(self._target.address, self._target.patience, self._now_ms) as target:
            databases = sorted(source.sizes() | target.sizes())

            def said(keys: int) -> None:
                progress.say(keys)
                self.pause.renew()
                while self._step(wait_s=0):  # the stream goes on, and the source waits for nobody
                    pass

            for found in differences(
                source, target, databases, sample=self._options.verify == "sample", others=True, verdict=self.verdict,
                said=said,
            ):  # fmt: skip
                self._look_again(control, source, target, found)
        progress.end(self.verdict.keys)

    def _look_again(self, control: Side, source: Side, target: Side, found: Difference) -> None:
        """A key that differs may have been written since: it counts if it still does with all of that applied."""
        (before,) = source.read(found.db, [found.name])
        for _ in range(LOOKS):
            self._catch_up(self._offset_of(control))
            again = unequal(source, target, found.db, [found.name])
            if not again:
                return
            found = again[0]
        (after,) = source.read(found.db, [found.name])
        if before != after:
            self.verdict.moving += 1
        else:
            self.verdict.differs(found.db, found.name, found.how)
