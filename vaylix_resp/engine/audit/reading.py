"""Reading an audit: for AUDIT TAIL and VERIFY on the live server, its child, and the tool beside it.

Promise: the loop never reads a file: a tail is read on a thread, a check is a process of its own.
Not here: what is checked (`security.audit_check`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any, Final

from ...commands.ports import Later
from ...errors import EX_OK, CommandError, Refused, told
from ...resp.reply import Reply
from ...security.audit import CURRENT, RECORD_BYTES_MAX, Head, read
from ...security.audit_check import Check, Report, in_order
from ...security.audit_signing import PublicKey
from ...storage.disk import Disk, RealDisk, join
from ...storage.errors import Unreadable
from ..children import Children, unwatched
from .files import DIRECTORY

SUBCOMMAND: Final = "audit-child"
ADVICE: Final = "replace or repair the disk"
FAULTS_TOLD: Final = 20


def check_files(
    disk: Disk, root: str, *, committed: Head | None = None, public_key: PublicKey | None = None,
    durable: Head | None = None,
) -> Report:  # fmt: skip
    """All files, in order. Raises Unreadable. Beside a running server a file may get its sealed name meanwhile, and
    old ones be deleted, as the directive says."""
    directory = join(root, DIRECTORY)
    check = Check(committed, public_key, durable)
    done: set[str] = set()
    while True:
        names = in_order(disk.listdir(directory)) if disk.exists(directory) else []
        for name in names:
            if name in done:
                continue
            try:
                data = disk.read_file(join(directory, name))
            except FileNotFoundError:
                if name != CURRENT:  # deleted since the listing: what was read before it is not the beginning any more
                    check, done = Check(committed, public_key, durable), set()
                break  # or renamed; look again
            except OSError as cause:
                raise Unreadable(join(directory, name), 0, cause, advice=ADVICE) from cause
            if name == CURRENT and any(new not in names for new in in_order(disk.listdir(directory))):
                break  # sealed while it was read: it comes again under its other name
            check.add(name, data)
            done.add(name)
        else:
            return check.end()


def last_lines(disk: Disk, root: str, count: int) -> list[bytes]:
    """The newest records, oldest first; what is no intact record is left out."""
    directory = join(root, DIRECTORY)
    found: list[bytes] = []
    for name in reversed(in_order(disk.listdir(directory)) if disk.exists(directory) else []):
        wanted = count - len(found)
        if wanted <= 0:
            break
        file = disk.open(join(directory, name))
        try:
            size = file.size()
            start, data = size, b""
            while start > 0 and data.count(b"\n") <= wanted:
                step = min(start, RECORD_BYTES_MAX * 4)
                start -= step
                data = file.pread(step, start) + data
        finally:
            file.close()
        lines = [line for line in data.split(b"\n") if read(line) is not None]
        found = lines[-wanted:] + found
    return found


class Reading:
    """Of one server. `root` is the data directory."""

    def __init__(self, disk: Disk, root: str, children: Children) -> None:
        self._disk, self._root, self._children = disk, root, children
        self._running = False
        self._task: asyncio.Task[None] | None = None

    def tail(self, count: int) -> Later:
        later = Later()
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(None, last_lines, self._disk, self._root, count)

        def done(ended: asyncio.Future[list[bytes]]) -> None:
            problem = ended.exception() if not ended.cancelled() else None
            if problem is not None:
                later.resolve(CommandError(f"ERR the audit cannot be read: {problem}"))
            elif not ended.cancelled():
                later.resolve(ended.result())

        work.add_done_callback(done)
        return later

    def verify(self, durable: Head, committed: Head) -> Later:
        later = Later()
        if self._running:
            later.resolve(CommandError("BUSY another AUDIT VERIFY is under way; try again when it has ended"))
            return later
        self._running = True
        self._task = asyncio.get_running_loop().create_task(self._verify(durable, committed, later))
        return later

    async def _verify(self, durable: Head, committed: Head, later: Later) -> None:
        reply: Reply = CommandError("ERR the AUDIT VERIFY was cancelled")
        try:
            found = await self._children.run(arguments_for(self._root, durable, committed), unwatched)
            reply = _reply(found)
        except Exception as failure:
            reply = CommandError(f"ERR AUDIT VERIFY failed: {told(failure)}")
        finally:
            self._running, self._task = False, None
            later.resolve(reply)

    async def close(self) -> None:
        """For the end of the server, after `Children.cancel`: wait until it is over."""
        if self._task is not None:
            await asyncio.wait([self._task])


def _reply(found: dict[str, Any]) -> Reply:
    return {
        b"whole": b"yes" if found["whole"] else b"no",
        b"records": found["records"], b"first-sequence": found["first_sequence"], b"sequence": found["sequence"],
        b"hash": found["hash"].encode(), b"committed-sequence": found["committed_sequence"],
        b"files": len(found["files"]), b"checkpoints": found["checkpoints"],
        b"faults": [text.encode("utf-8", "replace") for text in found["texts"]],
    }  # fmt: skip


def arguments_for(root: str, durable: Head, committed: Head) -> list[str]:
    return [
        SUBCOMMAND, "--dir", root, "--sequence", str(durable.sequence), "--hash", durable.hash,
        "--committed", str(committed.sequence), "--committed-hash", committed.hash,
    ]  # fmt: skip


def child_main(argv: list[str]) -> int:
    """Entry point of the hidden subcommand: checks the files, prints one line of JSON."""
    parser = argparse.ArgumentParser(prog=f"vaylix {SUBCOMMAND}")
    parser.add_argument("--dir", required=True)
    parser.add_argument("--sequence", type=int, required=True)
    parser.add_argument("--hash", required=True)
    parser.add_argument("--committed", type=int, required=True)
    parser.add_argument("--committed-hash", required=True)
    options = parser.parse_args(argv)
    committed = Head(options.committed, options.committed_hash) if options.committed else None
    try:
        durable = Head(options.sequence, options.hash)
        report = check_files(RealDisk(), options.dir, committed=committed, durable=durable)
    except Refused as failure:
        print(failure, file=sys.stderr)
        return failure.exit_code
    texts = [str(fault) for fault in report.faults[:FAULTS_TOLD]]
    answer = report.as_dict() | {"texts": texts, "files": [name for name, _ in report.files]}
    answer.pop("faults")
    print(json.dumps(answer))
    return EX_OK
