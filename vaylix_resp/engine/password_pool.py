"""Where passwords are verified and sealed: a few threads, and short queues in front of them.

A derivation takes 0.2 s of CPU and 64 MiB at the default cost, so that guessing is slow; the threads are few and run
at the lowest priority, so that guessing is slow for nobody else. Addresses take turns; what one of them, or all
together, may have waiting is bounded, and whatever comes on top is answered BUSY. Changes of passwords wait apart from
log-ins, so that an administrator gets through a flood.
Credentials that were right are remembered, as a keyed hash with a secret of this process: reconnecting costs
microseconds. What is remembered is the form that fitted, and it counts only while the user still has this form.
A user who does not exist, or has no password, costs what some user with a password costs (a decoy, the same one for
the same name), so that times do not tell who exists.
Promise: everything here but the derivations runs on the loop; `done` is called once, on the loop, unless it has been
cancelled in time.
Not here: what an answer means (`log_in`), who may try (`security.lockout`).
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, Protocol

from ..errors import CommandError, error
from ..security.passwords import (
    HASH_BYTES,
    SALT_BYTES,
    Cost,
    PasswordRefused,
    Policy,
    Recipe,
    Stored,
    matching,
    seal,
)

WORKERS: Final = 2
QUEUE_MAX: Final = 32  # 32 * 0.2 s on one busy CPU: the last one still has its answer within the 10 s of a log-in
SOURCE_MAX: Final = 8  # of one address
REMEMBERED_MAX: Final = 10_000  # credentials; about 300 bytes each
NICENESS: Final = 19
CHANGES: Final = ""  # the source of jobs that are no log-ins

BUSY: Final = (
    f"BUSY Too many passwords wait to be verified (at most {QUEUE_MAX}, {SOURCE_MAX} of one address). Try again later"
)
NO_MEMORY: Final = "BUSY There is not enough memory to verify a password now (password-hash-memory). Try again later"


class Workers(Protocol):
    """Runs jobs elsewhere; at most `count` at a time are handed to it."""

    count: int

    def run(self, work: Callable[[], Any], finished: Callable[[Any], None]) -> None:
        """`finished` gets the result of `work`, or the exception that it raised, on the loop."""

    def close(self) -> None:
        """Nothing more will be handed over."""


class Threads:
    """Workers that are threads of the lowest priority; they start with the first job."""

    def __init__(self, call_on_loop: Callable[..., object], count: int = WORKERS) -> None:
        self.count = count
        self._call_on_loop = call_on_loop
        self._work: SimpleQueue[tuple[Callable[[], Any], Callable[[Any], None]] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def run(self, work: Callable[[], Any], finished: Callable[[Any], None]) -> None:
        if not self._threads:
            for number in range(self.count):
                thread = threading.Thread(target=self._serve, name=f"password-{number}", daemon=True)
                self._threads.append(thread)
                thread.start()
        self._work.put((work, finished))

    def close(self) -> None:
        """Waits for what is running; its `finished` may never be called."""
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # a sandbox may forbid it; then it is only less kind to the others
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while (job := self._work.get()) is not None:
            work, finished = job
            try:
                result = work()
            except Exception as failure:
                result = failure
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits any more
                self._call_on_loop(finished, result)
            del job, work, finished, result  # a waiting thread keeps no password alive


class Ticket:
    """Somebody who waits for a job."""

    __slots__ = ("admit", "cancelled", "done")

    def __init__(self, done: Callable[[Any], None], admit: Callable[[], CommandError | None]) -> None:
        self.done = done
        self.admit = admit  # asked again when the job's turn comes: much may have failed in the meantime
        self.cancelled = False

    def cancel(self) -> None:
        """Nobody wants the answer. If its job waits, `done` is not called, and a job that nobody wants is not run.

        If it runs, `done` is called all the same: hanging up early must not be a way to guess without being counted.
        """
        self.cancelled = True


class _Job:
    __slots__ = ("key", "source", "tickets", "work")

    def __init__(self, key: Any, source: str, work: Callable[[], Any], ticket: Ticket) -> None:
        self.key, self.source, self.work = key, source, work
        self.tickets = [ticket]


class PasswordPool:
    """The queues of one server. `decoys`: the forms of all users who have any, in an order that stays."""

    def __init__(
        self,
        workers: Workers,
        decoys: Callable[[], Sequence[Sequence[str]]],
        cost: Cost = Cost(),  # noqa: B008 - immutable
        secret: bytes | None = None,
    ) -> None:
        self.cost = cost  # of new passwords; may be replaced at any time
        self.derived = self.remembered = self.busy = 0  # for INFO
        self._workers = workers
        self._decoys = decoys
        self._secret = secret or secrets.token_bytes(32)
        self._running = 0
        self._starting = False
        self._queued = 0  # log-ins
        self._queues: OrderedDict[str, deque[_Job]] = OrderedDict()  # by source; the first one's turn is next
        self._open: dict[Any, _Job] = {}  # queued or running, by key
        self._verified: OrderedDict[bytes, str] = OrderedDict()

    def remembers(self, user: bytes, digest: bytes, forms: Sequence[str]) -> str | None:
        """The one of `forms` that these credentials have been found to fit."""
        key = self._key(user, digest)
        form = self._verified.get(key)
        if form is None or form not in forms:
            return None
        self._verified.move_to_end(key)
        self.remembered += 1
        return form

    def verify(
        self,
        user: bytes,
        digest: bytes,
        forms: Sequence[str],
        source: str,
        admit: Callable[[], CommandError | None],
        done: Callable[[str | CommandError | None], None],
    ) -> Ticket | CommandError:
        """Find out which of `forms` the password fits; the same question asked twice is worked out once.

        `admit` may still refuse when its turn comes, which may be before this returns; that refusal is the answer then.
        """
        assert source != CHANGES
        key = self._key(user, digest)
        tested = tuple(forms)
        tried = tested or self._decoys_for(user)

        def finish(found: Any) -> None:
            if isinstance(found, str):
                self._remember(key, found)
            done(found)

        def work() -> str | None:
            found = matching(tried, digest)
            return found if tested else None

        return self._submit((key, tested), source, work, Ticket(finish, admit))

    def seal(
        self,
        rules: Sequence[bytes],
        forms: Sequence[str],
        history: Sequence[str],
        policy: Policy,
        done: Callable[[list[bytes] | CommandError], None],
    ) -> Ticket | CommandError:
        """`security.passwords.seal`, off the loop."""
        cost = self.cost

        def work() -> list[bytes]:
            return seal(rules, forms, history, policy=policy, cost=cost)

        return self._submit(None, CHANGES, work, Ticket(done, _anybody))

    def info(self) -> dict[str, int]:
        return {
            "passwords_derived": self.derived,
            "passwords_remembered": self.remembered,
            "passwords_busy": self.busy,
            "passwords_waiting": self._queued,
            "passwords_cached": len(self._verified),
        }

    # Jobs.

    def _submit(self, key: Any, source: str, work: Callable[[], Any], ticket: Ticket) -> Ticket | CommandError:
        known = self._open.get(key) if key is not None else None
        if known is not None:
            known.tickets.append(ticket)
            return ticket
        self._drop_unwanted(source)
        queue = self._queues.get(source, ())
        full = len(queue) >= QUEUE_MAX if source == CHANGES else self._queued >= QUEUE_MAX or len(queue) >= SOURCE_MAX
        if full:
            self.busy += 1
            return CommandError(BUSY)
        job = _Job(key, source, work, ticket)
        if key is not None:
            self._open[key] = job
            self._queued += 1
        self._queues.setdefault(source, deque()).append(job)
        self._start()
        return ticket

    def _drop_unwanted(self, source: str) -> None:
        """Who hung up makes room; looked for only where somebody needs it."""
        if self._queued < QUEUE_MAX and len(self._queues.get(source, ())) < SOURCE_MAX:
            return
        for name, queue in [*self._queues.items()]:
            for job in [job for job in queue if all(ticket.cancelled for ticket in job.tickets)]:
                queue.remove(job)
                self._left(job)
                self._open.pop(job.key, None)
            if not queue:
                del self._queues[name]

    def _left(self, job: _Job) -> None:
        if job.key is not None:
            self._queued -= 1

    def _start(self) -> None:
        """Hand out work while there is a free worker, one job of each source in turn.

        Who is refused may ask again at once, and comes back here: the loop below sees that, and calls do not nest.
        """
        if self._starting:
            return
        self._starting = True
        try:
            self._hand_out()
        finally:
            self._starting = False

    def _hand_out(self) -> None:
        while self._running < self._workers.count and self._queues:
            source, queue = self._queues.popitem(last=False)
            job = queue.popleft()
            if queue:
                self._queues[source] = queue
            self._left(job)
            if self._wanted(job):
                self._running += 1
                self.derived += 1
                self._workers.run(job.work, partial(self._finished, job))
            else:
                self._open.pop(job.key, None)

    def _wanted(self, job: _Job) -> bool:
        """Whether anybody waits who may still have an answer; who may not is told so."""
        waiting, job.tickets = [ticket for ticket in job.tickets if not ticket.cancelled], []
        for ticket in waiting:
            refused = ticket.admit()
            if refused is None:
                job.tickets.append(ticket)
            else:
                ticket.done(refused)
        return bool(job.tickets)

    def _finished(self, job: _Job, result: Any) -> None:
        self._running -= 1
        self._open.pop(job.key, None)
        bug: Exception | None = None
        if isinstance(result, PasswordRefused):
            result = error(str(result))
        elif isinstance(result, MemoryError):
            result = CommandError(NO_MEMORY)
        elif isinstance(result, Exception):
            bug, result = result, error("The password could not be verified because of a bug; the log has more")
        for ticket in job.tickets:
            ticket.done(result)
        self._start()
        if bug is not None:
            raise bug  # to the loop's handler, which logs it

    # What is remembered, and who does not exist.

    def _key(self, user: bytes, digest: bytes) -> bytes:
        return hmac.digest(self._secret, digest + user, "sha256")

    def _remember(self, key: bytes, form: str) -> None:
        self._verified[key] = form
        self._verified.move_to_end(key)
        if len(self._verified) > REMEMBERED_MAX:
            self._verified.popitem(last=False)

    def _decoys_for(self, user: bytes) -> Sequence[str]:
        others = self._decoys()
        if not others:
            return (str(Stored(Recipe(self.cost, bytes(SALT_BYTES)), bytes(HASH_BYTES))),)
        number = int.from_bytes(hmac.digest(self._secret, b"decoy" + user, "sha256")[:8], "big")
        return tuple(others[number % len(others)])


def _anybody() -> None:
    return None
