"""The audit log of a running server: takes records on the loop, writes them on a thread, says when they are durable.

Records gather while the last append is synced; those that nobody waits for gather for DELAY_S, so that their fsyncs do
not come between those of the data. The head of the chain goes into the data's log every `head_interval_s`, whenever a
file is sealed, and at the stop: from then on a start misses what is gone.
When the disk is full, records wait in memory and are written when there is room; when it fails, none is written any
more until a restart. In both cases `refusal` is the answer to whatever changes security, or (`stop`) the server ends.
Promise: what is lost is counted, and a record says how much.
Not here: files (`files`), what is recorded (`server.audit`).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from ...clock import Clock
from ...commands.audit_operations import head_entry
from ...commands.ports import Later
from ...errors import AUDIT_FAILED, AUDIT_LOST, EX_IO, CommandError, Halt
from ...observability.logs import get_log
from ...resp.reply import OK, Reply
from ...security import audit
from ...security.audit import Head
from ...security.audit_signing import Signer
from .files import AuditFiles, Composer, Failed, Fields, NoRoom

log = get_log("audit")

DELAY_S: Final = 0.2
RETRY_S: Final = 1.0  # how often a full disk is asked again
APPEND_RECORDS_MAX: Final = 500
CROWDED: Final = 4000  # records that wait; commands that would make one wait from here on
PENDING_MAX: Final = 10_000  # and whatever cannot wait is lost from here on, and counted
BLOCKS_PENDING_MAX: Final = 50_000  # the same for those of transactions, which come all at once


class Entry:
    """A record on its way; or none, only somebody who waits until those before are durable (`later`)."""

    __slots__ = ("fields", "later")

    def __init__(self, fields: Fields | Composer | None, later: Later | None = None) -> None:
        self.fields, self.later = fields, later


class Client(Protocol):
    """What a record says of who asked."""

    @property
    def id(self) -> int: ...
    @property
    def addr(self) -> str: ...
    @property
    def user(self) -> str: ...


class AuditLog:
    """One per server. `deliver` calls back on the loop; without `start` the owner calls `step` itself (tests)."""

    def __init__(
        self, files: AuditFiles, clock: Clock, deliver: Callable[..., object], *, signer: Signer | None = None,
        committed: Head | None = None, alarm: str = "",
    ) -> None:  # fmt: skip
        self.head = files.head  # durable, as the loop knows it
        self.committed = committed or audit.START  # in the data's log
        self.alarm = alarm  # the break that this start went on behind
        self.durable = "security"  # audit-durable
        self.on_failure = "refuse"
        self.head_interval_s = 60  # 0: only when a file is sealed, and at the stop
        self.crowded = False
        self.full = False
        self.failure = ""  # why nothing is written any more
        self.refusal: CommandError | None = None
        self.written = self.lost = self.failures = 0
        self.propose: Callable[[tuple[bytes, ...]], Later] | None = None  # into the data's log
        self.on_room: Callable[[], None] = _nobody
        self.on_refusal: Callable[[], None] = _nobody
        self.on_halt: Callable[[Halt], None] = _ignored
        self.files = files
        self._clock, self._deliver, self._signer = clock, deliver, signer
        self._wake = threading.Condition()
        self._pending: list[Entry] = []
        self._urgent = self._closed = False
        self._unreported = 0  # lost since the last record that said so
        self._last_head = clock.now()
        self._committing = False
        self._thread: threading.Thread | None = None

    # On the loop.

    def record(
        self, event: str, outcome: str = "ok", *, client: Client | None = None, user: str | None = None,
        command: str | None = None, keys: int | None = None, key_names: Sequence[str] = (), code: str | None = None,
        latency_us: int | None = None, security: bool = False, in_block: bool = False, **details: Any,
    ) -> Later | None:  # fmt: skip
        """Take a record. A Later where `audit-durable` asks for it: OK when it is on disk, or the error that it is not.

        `security`: the event changes who may do what, or cannot be undone. `in_block`: one of a transaction's.
        """
        fields = self.files.fields(
            event, outcome, connection=client.id if client is not None else None,
            address=client.addr if client is not None else None,
            user=user if user is not None else client.user if client is not None else None,
            command=command, keys=keys, key_names=key_names, code=code, latency_us=latency_us, details=details,
        )  # fmt: skip
        wait = self.durable == "all" or (security and self.durable == "security")
        return self.add(fields, wait=wait, room=BLOCKS_PENDING_MAX if in_block else PENDING_MAX)

    def add(self, fields: Fields | Composer, *, wait: bool, room: int = PENDING_MAX) -> Later | None:
        if self.failure or len(self._pending) >= room:
            return self._lose(1, wait=wait)
        later = Later() if wait else None
        with self._wake:
            self._pending.append(Entry(fields, later))
            self._urgent |= wait
            self.crowded = len(self._pending) >= CROWDED and not self.full  # nobody waits for a disk to have room
            if wait or len(self._pending) == 1:
                self._wake.notify()
        return later

    def _lose(self, count: int, *, wait: bool) -> Later | None:
        self.lost += count
        self._unreported += count
        if not wait:
            return None
        later = Later()
        later.resolve(CommandError(AUDIT_LOST))
        return later

    def tick(self) -> None:
        """About once a second: the head, if it is time."""
        if self.head_interval_s and self._clock.now() - self._last_head >= self.head_interval_s:
            self.commit_head()

    def commit_head(self) -> Later | None:
        """Put the head into the data's log, behind a signed record if there is a key; None if there is nothing new."""
        self._last_head = self._clock.now()
        if self._committing or self.failure or self.propose is None or self.head.sequence <= self.committed.sequence:
            return None
        self._committing = True
        done = Later()
        if self._signer is None:
            self._commit(done)
            return done
        signed = self.add(self._checkpoint, wait=True)
        assert signed is not None
        signed.listen(lambda reply: self._commit(done))
        return done

    def _checkpoint(self, head: Head) -> Fields:
        assert self._signer is not None
        return self.files.fields(
            audit.CHECKPOINT, details={"key": self._signer.key_id, "signature": self._signer.sign(head)}
        )

    def _commit(self, done: Later) -> None:
        assert self.propose is not None
        head = self.head

        def landed(reply: Reply) -> None:
            self._committing = False
            if not isinstance(reply, CommandError):
                self.committed = head
            done.resolve(reply)

        self.propose(head_entry(self.files.node, head.sequence, head.hash)).listen(landed)

    def flush(self) -> Later:
        """Resolved when everything taken so far is durable, or cannot be."""
        later = Later()
        if self.failure:
            later.resolve(CommandError(AUDIT_LOST))
            return later
        with self._wake:
            self._pending.append(Entry(None, later))
            self._urgent = True
            self._wake.notify()
        return later

    def info(self) -> dict[str, Any]:
        """Lines for INFO."""
        return {
            "audit_enabled": 1,
            "audit_sequence": self.head.sequence,
            "audit_hash": self.head.hash,
            "audit_committed_sequence": self.committed.sequence,
            "audit_pending": len(self._pending),
            "audit_written": self.written,
            "audit_lost": self.lost,
            "audit_failures": self.failures,
            "audit_failed": int(bool(self.failure) or self.full),
            "audit_broken": int(bool(self.alarm)),
            "audit_file_bytes": self.files.size,
        }

    def _done(self, entries: Sequence[Entry], head: Head, sealed: bool) -> None:
        """An append is durable."""
        self.head = head
        self.written += sum(entry.fields is not None for entry in entries)
        if self.full:
            self.full = False
            log.warning("the audit is written again: the disk has room")
            self._refuse(None)
        if self._unreported:
            count, self._unreported = self._unreported, 0
            self.add(self.files.fields(audit.LOST, "error", details={"records": count}), wait=False)
        for entry in entries:
            if entry.later is not None:
                entry.later.resolve(OK)
        if self.crowded and len(self._pending) < CROWDED // 2:
            self.crowded = False
            self.on_room()
        if sealed:
            self.commit_head()

    def _stuck(self, entries: Sequence[Entry], problem: str) -> None:
        """No room: the records wait, those who wait for them are told."""
        self.failures += 1
        if not self.full:
            self.full = True
            log.warning(
                f"THE AUDIT CANNOT BE WRITTEN: {problem}. Records wait in memory until there is room: make some on the "
                "disk of the data directory"
            )
            self._refuse(problem)
        self._tell_all(entries)
        with self._wake:
            waiting = [entry for entry in self._pending if entry.later is not None]
            self._pending = [entry for entry in self._pending if entry.fields is not None]
        self._tell_all(waiting)  # also of those that no append has tried yet: it may be long before one does
        if self.crowded:
            self.crowded = False
            self.on_room()

    def _failed(self, entries: Sequence[Entry], problem: str) -> None:
        """Final: the disk may have dropped what it was given."""
        self.failures += 1
        self.failure = problem
        with self._wake:
            left, self._pending = self._pending, []
            self.crowded = False
        log.warning(f"THE AUDIT HAS FAILED: {problem}. No record is written any more until a restart on a healthy disk")
        self._refuse(problem)
        self._lose(len(entries) + len(left), wait=False)
        self._tell_all([*entries, *left])
        self.on_room()

    def _tell_all(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.later is not None:
                later, entry.later = entry.later, None
                later.resolve(CommandError(AUDIT_LOST))

    def _refuse(self, problem: str | None) -> None:
        if problem is not None and self.on_failure == "stop":
            self.on_halt(Halt(EX_IO, f"the audit cannot be written: {problem}; audit-on-failure is stop"))
        self.refusal = CommandError(AUDIT_FAILED.format(reason=problem)) if problem is not None else None
        self.on_refusal()

    # On the thread.

    def start(self) -> None:
        self._thread = threading.Thread(target=self._serve, name="audit", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what is there, and end the thread."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
        self.files.close()

    def _serve(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            self._write_all()

    def _write_all(self) -> None:
        retry = False
        while True:
            with self._wake:
                while not self._pending and not self._closed:
                    self._wake.wait()
                if self._closed and (retry or not self._pending):
                    return
                if retry:
                    self._wake.wait(RETRY_S)
                elif not self._urgent and not self._closed:
                    self._wake.wait(DELAY_S)
            went = self.step()
            if went is None:
                return
            retry = not went

    def step(self) -> bool | None:
        """One append of what is there; False: the disk is full; None: it failed, and this is the end."""
        with self._wake:
            entries = self._pending[:APPEND_RECORDS_MAX]
            del self._pending[:APPEND_RECORDS_MAX]
            self._urgent = any(entry.later is not None for entry in self._pending)
        if not entries:
            return True
        records = [entry.fields for entry in entries if entry.fields is not None]
        before, sealed = self.files.head, False
        try:
            if records:
                sealed = self.files.append(records)
        except NoRoom as full:
            written = entries if self.files.head != before else []  # it was the next file that found no room
            if written:
                self._deliver(self._done, written, self.files.head, False)
                return False
            with self._wake:
                self._pending[:0] = [entry for entry in entries if entry.fields is not None]
            self._deliver(self._stuck, entries, str(full))
            return False
        except Failed as failure:
            self._deliver(self._failed, entries, str(failure))
            return None
        except Exception as bug:  # nobody would see it on this thread, and clients would wait for ever
            self._deliver(self._failed, entries, repr(bug))
            return None
        self._deliver(self._done, entries, self.files.head, sealed)
        return True


def _nobody() -> None:
    """Until the server listens."""


def _ignored(halt: Halt) -> None:
    """Until the server listens; the refusal names the reason all the same."""
