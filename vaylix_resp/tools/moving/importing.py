"""`vaylix import`: data of another server into a running one.

Promises: nothing is written into a target that holds keys unless that was asked for; the same command line goes on
where an import was killed; exit code 0 only if what was to be compared is equal. Progress goes to standard error.
Not here: the four ways in (`from_rdb`, `from_aof`, `from_stream`, `from_scan`), how the target is written (`target`).
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ...clock import SystemClock
from ...errors import EX_OK, EX_USAGE, Refused
from ...interchange.rdb_reader import Key
from ..output import Progress
from ..reach import told
from . import from_aof, from_rdb
from .applying import Applier, Survey
from .channel import Address, Channel, address_of, info
from .from_scan import Scanner
from .from_stream import Follower
from .options import FROM_PASSWORD, TO_PASSWORD
from .options import add as add_options
from .patience import GivenUp
from .pausing import Pause
from .receiver import NoReplicas, SourceLost
from .report import report
from .settle import settle
from .side import Side
from .spool import Spool
from .target import Mark, Overtaken, Target
from .verify import Against, Verdict

EX_DIFFERENT: Final = 1
SETTLE_LOOKS: Final = 50  # at the number of keys, while those that have expired are being removed
LOOK_S: Final = 0.1
MIRRORS: Final = ("aof", "psync")  # whose target belongs to the import alone


class Refusal(Refused):
    """What was asked for does not fit what is there; nothing was written."""

    exit_code = EX_USAGE


def options(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    return Import(arguments).run()


class Import:
    """One run of the command."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._now_ms = SystemClock().wall_ms
        self._to = address_of(arguments.to, arguments, TO_PASSWORD)
        if self._to.db is not None:
            raise Refusal("--to: name no database: keys go to the database that they come from")
        skip = arguments.skip_unsupported
        self._target = Target(self._to, arguments.retry_for, skip=skip)
        self._survey = Survey()
        self._verdict: Verdict | None = None
        self._facts: dict[str, Any] = {}
        self._asked_to_cut_over = False
        self._pause: Pause | None = None

    def run(self) -> int:
        began = time.monotonic()
        arguments = self._arguments
        try:
            found = self._target.open()
            self._facts["resumed"] = found is not None and not arguments.restart
            mark = self._rdb(found) if arguments.rdb else self._aof(found) if arguments.aof else self._server(found)
            different = self._verdict is not None and self._verdict.differences
            if not different:
                self._target.end()
                if self._pause is not None and self._pause.over:
                    raise GivenUp("the import is done, but the pause of the source's writers was over before: what "
                                  "they have written since is not at the target")  # fmt: skip
        finally:
            self._target.close()
        self._facts["seconds"] = round(time.monotonic() - began, 3)
        report(mark, self._verdict, self._facts, self._arguments, self._to.where)
        return EX_DIFFERENT if different else EX_OK

    # What there is, and whether it fits.

    def _begun(self, found: Mark | None, fresh: Mark) -> Mark:
        """The mark to go on from: that of the target if it is of this import. Refusal, and nothing is changed.

        It is written again: what an import that was killed had sent, and may still arrive, is void from here on.
        """
        while True:
            going_on = found is not None and not self._arguments.restart
            emptied = found is not None and not going_on and found.method in MIRRORS
            mark = self._fits(found, fresh) if found is not None and going_on else fresh
            if not (going_on or emptied) and fresh.policy == "fail" and (held := self._target.sizes()):
                late = self._target.open() if found is None else None
                if late is None:
                    named = ", ".join(f"{count:,} in database {db}" for db, count in sorted(held.items()))
                    choice = "; --on-conflict replace or skip says what to do with them"
                    hint = "" if fresh.method in MIRRORS else choice
                    raise Refusal(f"nothing was written: the target holds keys already ({named}){hint}")
                found = late  # the last that an import sent before it was killed has just arrived
                continue
            self._target.mark = mark
            try:
                if emptied:
                    self._target.replace_all()
                else:
                    self._target.put_mark()
                return mark
            except Overtaken:
                found = self._target.open()

    def _fits(self, found: Mark, fresh: Mark) -> Mark:
        """The mark of the target, if it is that of this import."""
        if found.failed:
            raise Refusal(f"the import that was begun cannot go on: {found.failed}; --restart begins anew")
        if (found.method, found.source) != (fresh.method, fresh.source):
            raise Refusal(
                f"the target holds an unfinished import by {found.method} of {found.source}: go on with that, or "
                f"--restart to forget it"
            )
        if found.policy != fresh.policy:
            raise Refusal(f"this import was begun with --on-conflict {found.policy}: say that again")
        return found

    def _mirror(self) -> None:
        if self._arguments.on_conflict != "fail":
            raise Refusal("--on-conflict: commands are replayed into an empty target only (--aof, --method psync)")

    # The four ways.

    def _rdb(self, found: Mark | None) -> Mark:
        arguments, path = self._arguments, self._arguments.rdb
        if path == from_rdb.STDIN and found is not None and not arguments.restart:
            raise Refusal("standard input cannot be gone on with: --restart, with --on-conflict replace")
        source = from_rdb.identity(path)
        if path != from_rdb.STDIN:
            self._surveyed(from_rdb.survey(path))
        mark = self._begun(found, Mark("rdb", source, arguments.on_conflict))
        applier = self._applier(mark, shift=False)
        progress = Progress("copying", self._survey.records, "keys", before=mark.keys)
        applier.begin_file()
        for record in from_rdb.records(path):
            applier.record(record)
            progress.say(mark.keys)
        self._target.put_mark()
        progress.end(mark.keys)
        if path != from_rdb.STDIN and arguments.verify != "none":
            self._verdict = self._compare_file(path, mark)
        return mark

    def _aof(self, found: Mark | None) -> Mark:
        arguments = self._arguments
        self._mirror()
        log = from_aof.survey(arguments.aof, truncated=arguments.truncated == "ok", now_ms=self._now_ms())
        self._surveyed(log.survey)
        mark = self._begun(found, Mark("aof", log.identity, "fail"))
        applier = self._applier(mark, shift=True)
        if mark.phase != "settle":
            progress = Progress("replaying", log.survey.records + log.survey.commands, "commands", before=mark.done)
            from_aof.write(log, applier, progress.say)
            self._target.put_mark()
            progress.end(mark.done)
        settle(self._target, self._now_ms)
        return mark

    def _server(self, found: Mark | None) -> Mark:
        arguments = self._arguments
        source = address_of(arguments.source, arguments, FROM_PASSWORD)
        self._check_source(source)
        method = arguments.method
        if method == "psync" and source.db is not None:
            raise Refusal("--from names a database: a replica gets all of them; --method scan reads one")
        wanted = arguments.on_conflict != "fail" or source.db is not None
        if method == "psync" or not (method == "scan" or wanted or (found is not None and found.method == "scan")):
            try:
                return self._psync(source, found)
            except NoReplicas as refused:
                if method == "psync":
                    raise
                self._said(f"{refused}; it is read by SCAN instead")
                found = self._target.open()
        return self._scan(source, found)

    def _psync(self, source: Address, found: Mark | None) -> Mark:
        self._mirror()
        with self._spool(source) as spool, self._interrupts():  # one that is under way has it, and goes on
            mark = self._begun(found, Mark("psync", source.where, "fail"))
            follower = Follower(
                source, self._target, spool, self._arguments, now_ms=self._now_ms, said=self._said,
                cut_over=lambda: self._asked_to_cut_over,
            )  # fmt: skip
            try:
                mark = follower.run(mark)
            except NoReplicas:
                if not mark.origin:
                    self._target.end()  # as if it had not been begun
                raise
            self._survey = follower.survey
            self._verdict = follower.verdict if self._arguments.verify != "none" else None
        self._pause = follower.pause
        if not follower.verdict.differences:
            spool.remove()
        return mark

    def _scan(self, source: Address, found: Mark | None) -> Mark:
        mark = self._begun(found, Mark("scan", source.where, self._arguments.on_conflict))
        scanner = Scanner(source, self._target, self._arguments, now_ms=self._now_ms, said=self._said)
        scanner.run(mark)
        self._pause = scanner.pause
        self._facts["mended"] = scanner.mended
        self._verdict = scanner.verdict if self._arguments.verify != "none" else None
        return mark

    # Their parts.

    def _surveyed(self, survey: Survey) -> None:
        """Before the first write: can all of it be taken, and has the target all the databases?"""
        self._survey = survey
        if survey.unsupported and not self._arguments.json:
            print(survey.rows(), file=sys.stderr)
        survey.refuse(self._arguments.skip_unsupported)
        self._target.check(survey.databases)

    def _applier(self, mark: Mark, *, shift: bool) -> Applier:
        skip = self._arguments.skip_unsupported
        return Applier(self._target, mark, skip=skip, shift=shift, now_ms=self._now_ms)

    def _check_source(self, source: Address) -> None:
        """A server that is copied into itself would be emptied, and a replica pauses none of its primary's writers."""
        try:
            with Channel(source) as channel:
                theirs, links = info(channel, b"server").get("run_id"), info(channel, b"replication")
        except OSError as error:
            raise SourceLost(f"{source.where}: {told(error)}") from error
        with Side(self._to, self._target.patience, self._now_ms) as target:
            ours = target.run_id
        if theirs and theirs == ours:
            raise Refusal("--from and --to are the same server")
        if links.get("role") == "slave" and self._arguments.pause_source:
            primary = f"{links.get('master_host')}:{links.get('master_port')}"
            raise Refusal(f"--pause-source: {source.where} is a replica, whose writers are those of {primary}: import "
                          "from there, or pause them yourself")  # fmt: skip

    @contextmanager
    def _spool(self, source: Address) -> Iterator[Spool]:
        spool = Spool(Path(self._arguments.state) if self._arguments.state else _state(source, self._to))
        try:
            yield spool
        finally:
            if spool.origin:
                spool.close()
            else:
                spool.remove()  # there is nothing to go on from

    @contextmanager
    def _interrupts(self) -> Iterator[None]:
        """With --follow the first Ctrl-C cuts over; the second ends the program, and the import can be gone on with."""
        if not self._arguments.follow:
            yield
            return
        before = signal.signal(signal.SIGINT, self._interrupted)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _interrupted(self, *_: object) -> None:
        if self._asked_to_cut_over:
            raise KeyboardInterrupt
        self._asked_to_cut_over = True

    def _compare_file(self, path: str, mark: Mark) -> Verdict:
        """The file again, against what the target has."""
        verdict, sample = Verdict(), self._arguments.verify == "sample"
        progress = Progress("comparing", self._survey.records, "keys")
        expected: dict[int, int] = {}
        with Side(self._to, self._target.patience, self._now_ms) as side:
            presence = mark.policy == "skip"
            against = Against(side, verdict, sample=sample, presence=presence, now_ms=self._now_ms)
            for record in from_rdb.records(path):
                if isinstance(record, Key):
                    verdict.keys += 1
                    against.key(record.db, record.name, record.value, record.expire_at_ms)
                    if record.expire_at_ms is None or record.expire_at_ms > self._now_ms():
                        expected[record.db] = expected.get(record.db, 0) + 1
                    progress.say(verdict.keys)
            against.flush()
        progress.end(verdict.keys)
        if mark.policy == "fail":
            self._compare_sizes(expected, verdict)
        return verdict

    def _compare_sizes(self, expected: dict[int, int], verdict: Verdict) -> None:
        """A target that was empty has no other keys; those that have expired are removed in a moment."""
        for _ in range(SETTLE_LOOKS):
            held = self._target.sizes()
            more = {db: count - expected.get(db, 0) for db, count in held.items() if count > expected.get(db, 0)}
            if not more:
                return
            time.sleep(LOOK_S)
        for db, count in more.items():
            verdict.differences += count
            verdict.shown.append(f"database {db}: {count} keys that the file does not have")

    # The end.

    def _said(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def _state(source: Address, target: Address) -> Path:
    """A directory for this pair of servers, found again by the next run."""
    name = re.sub(r"[^A-Za-z0-9.-]", "_", f"{source.where}--{target.where}")
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(home) / "vaylix" / "import" / name
