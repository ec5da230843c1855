"""Every byte of a data directory checked against everything that says what it has to be, beside a server if need be.

Promises: nothing is written, locked or created; damage in one place does not hide what is right or wrong elsewhere. A
file that a running server renames or deletes meanwhile is looked for again; what it has begun to write is no damage.
Units: sequences from 1; offsets and sizes in bytes.
Not here: the batches of one segment (`verify_log`), what the state is and the keyring's own file (`engine.proof`), the
words for people (`tools`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from vaylix_resp.errors import Refused
from vaylix_resp.storage import unfinished
from vaylix_resp.storage.disk import Disk, join
from vaylix_resp.storage.errors import Unreadable
from vaylix_resp.storage.listing import DIRECTORY as WAL
from vaylix_resp.storage.listing import QUARANTINE, Listing, arrange
from vaylix_resp.storage.manifest import NAME as MANIFEST
from vaylix_resp.storage.manifest import Manifest, SnapshotInfo, decode_manifest
from vaylix_resp.storage.sealing import Cipher, FileKey, Keys
from vaylix_resp.storage.segment import (
    SEGMENT_HEADER_BYTES,
    Chain,
    SegmentName,
    read_segment_header,
    sealed_name,
)
from vaylix_resp.storage.snapshot import DIRECTORY as SNAPSHOTS
from vaylix_resp.storage.snapshot import SnapshotReader, parse_snapshot_name
from vaylix_resp.storage.upkeep.report import FileReport, Problem, Report, Status
from vaylix_resp.storage.upkeep.verify_log import ACTIVE, LogCheck, NoKey, problem_of

SNAPSHOT, SPARE = "snapshot", "spare segment"
STORE_ID = slice(16, 32)  # in the header of a segment
TRIES = 100  # at finding segments that go away while they are looked for
KEPT = "format1"  # by a migration
# Names in the data directory that somebody looks after.
KNOWN = frozenset(
    (
        "LOCK",
        MANIFEST,
        "keyring",
        "master.key",
        WAL,
        SNAPSHOTS,
        QUARANTINE,
        "archive",
        "backups",
        "audit",
        "backup.json",
    )
)


class LostKeys:
    """In place of a keyring that cannot be opened: files in the clear are checked, the others said to be unchecked."""

    id = ""

    def new(self, bound: bytes) -> FileKey | None:
        raise AssertionError("a verification writes nothing")

    def open(self, key_id: int, wrapped: bytes, bound: bytes, path: str) -> Cipher:
        raise NoKey(f"sealed with key {key_id} of a keyring that cannot be opened")

    def check_clear(self, path: str, sequence: int) -> None:
        return

    def sealed_from(self, sequence: int) -> None:
        return


class Verification:
    """One pass over a data directory."""

    def __init__(self, disk: Disk, root: str, keys: Keys, say: Callable[[int, int], None]) -> None:
        self._disk, self._root, self._keys, self._say = disk, root, keys, say
        self._done = self._total = 0
        self.report = Report(root)
        self.manifest: Manifest | None = None

    def run(self) -> Report:
        self.manifest = self._check_manifest()
        listing = self._segments()
        store_id = self.manifest.store_id_bytes if self.manifest else self._store_id_of_log(listing)
        self._total = self._bytes_of(WAL) + self._bytes_of(SNAPSHOTS)
        if store_id is not None:
            self._check_snapshots(store_id)
            self._check_log(listing, store_id)
            self._say(self._total, self._total)
        self._list_others()
        return self.report

    # Manifest

    def _check_manifest(self) -> Manifest | None:
        file = FileReport(MANIFEST, "manifest")
        self.report.files.append(file)
        try:
            manifest = self._read_manifest(file)
        except Refused as failure:
            file.add(*problem_of(failure))
            return None
        if manifest is None:
            file.add(Problem("expected a manifest in a directory that holds data"), Status.MISSING)
            return None
        file.first = file.last = manifest.newest.sequence if manifest.newest else 0
        file.from_ms = manifest.created_ms
        stop = manifest.clean_stop
        file.note = f"store {manifest.store_id}" + (f", stopped cleanly at sequence {stop.sequence}" if stop else "")
        return manifest

    def _read_manifest(self, file: FileReport | None = None) -> Manifest | None:
        path = join(self._root, MANIFEST)
        if not self._disk.exists(path):
            return None
        try:
            raw = self._disk.read_file(path)
        except OSError as cause:
            raise Unreadable(path, 0, cause) from cause
        if file is not None:
            file.bytes = len(raw)
        return decode_manifest(raw, path)

    # Snapshots

    def _check_snapshots(self, store_id: bytes) -> None:
        named = {info.file: info for info in self.manifest.snapshots} if self.manifest else {}
        directory = join(self._root, SNAPSHOTS)
        present = set(self._names(directory))
        for name in sorted(present | named.keys()):
            file = FileReport(f"{SNAPSHOTS}/{name}", SNAPSHOT)
            sequence = parse_snapshot_name(name)
            if name.endswith(".tmp"):
                self._leftover(file, "unfinished: the next start removes it")
            elif sequence is None:
                file.add(Problem("expected only snapshots in this directory: move this file elsewhere"))
            elif self.manifest and name not in named:
                # One that has been published since the manifest was read is checked by the next verification.
                self._leftover(file, "not in the manifest: replaced, or being published")
            else:
                file.first = file.last = sequence
                if not self._check_snapshot(file, join(directory, name), store_id, named.get(name)):
                    continue  # replaced by a newer one meanwhile
            self.report.files.append(file)

    def _check_snapshot(self, file: FileReport, path: str, store_id: bytes, info: SnapshotInfo | None) -> bool:
        """False: it is not needed any more."""
        try:
            reader = SnapshotReader(self._disk, path, store_id, self._keys, info)
        except Refused as failure:
            if not self._disk.exists(path):
                now = self._read_manifest()
                if now and info not in now.snapshots:
                    return False
                file.add(Problem("the manifest names it"), Status.MISSING)
            else:
                file.add(*problem_of(failure))
            return True
        try:
            file.bytes, file.sealed = self._size(path), reader.header.key_id > 0
            file.from_ms = file.to_ms = reader.timestamp_ms
            reader.verify()
            summary = reader.summary
            file.entries = summary.get("keys") if isinstance(summary, dict) else None
            self.report.snapshots[reader.sequence] = file.path
            self.report.end = max(self.report.end, reader.sequence)
        except Refused as failure:
            file.add(*problem_of(failure))
        finally:
            reader.close()
        self._done += file.bytes
        self._say(self._done, self._total)
        return True

    # Log

    def _segments(self) -> list[SegmentName]:
        """In the order of the log: sealed ones, then active ones. Other names are reported later."""
        return sorted(self._arranged().segments, key=lambda one: (one.first, one.last is None, one.last or 0))

    def _arranged(self) -> Listing:
        newest = self.manifest.newest if self.manifest else None
        return arrange(self._names(join(self._root, WAL)), newest.sequence if newest else 0)

    def _check_log(self, listing: list[SegmentName], store_id: bytes) -> None:
        manifest = self.manifest
        anchors = {i.sequence: bytes.fromhex(i.tag) for i in manifest.snapshots} if manifest else {}
        log = LogCheck(self._disk, join(self._root, WAL), store_id, self._keys, anchors, self.report, self._progress)
        log.chain = self._begin(listing)
        at_start = {name.first for name in listing}
        horizon = max(at_start, default=0)
        expected: int | None = None
        seen: set[int] = set()
        tries = 0
        pending = self._without_doubles(listing)
        while pending and tries < TRIES:
            name = pending[0]
            if expected is not None and name.first != expected:
                log.chain = None
                if expected not in at_start:  # else it was there a moment ago: pruned by the server
                    self._missing(f"{WAL}/{sealed_name(expected, name.first - 1)}", "segment", expected)
            may_be_torn = len(pending) == 1 and not (manifest and manifest.clean_stop)
            file = log.check(name, may_be_torn=may_be_torn)
            if file is None:  # renamed or pruned
                tries += 1
            else:
                seen.add(name.first)
                self.report.files.append(file)
                self._done += file.bytes
                expected = file.last + 1 if file.last is not None else None
            current = self._segments()
            pending = [one for one in current if one.first not in seen and one.first <= horizon]
            if file is None and name.first not in {one.first for one in current}:
                log.chain, expected = None, None
        self._check_end(log.chain)

    def _begin(self, listing: list[SegmentName]) -> Chain | None:
        """Where the log has to begin; None: nobody knows its predecessor any more."""
        after = self.manifest.newest.sequence if self.manifest and self.manifest.newest else 0
        first = listing[0].first if listing else after + 1
        if first > after + 1 and self.manifest:
            self._missing(f"{WAL}/{sealed_name(after + 1, first - 1)}", "segment", after + 1)
            return None
        bases = self.manifest.snapshots if self.manifest else ()
        for info in bases:
            if info.sequence == first - 1:
                return Chain(info.sequence, bytes.fromhex(info.tag), info.term, info.timestamp_ms)
        return Chain() if first == 1 else None

    def _without_doubles(self, listing: list[SegmentName]) -> list[SegmentName]:
        """A rename may show a file under both of its names for a moment; two files that begin alike are damage."""
        firsts = [name.first for name in listing]
        if len(set(firsts)) == len(firsts):
            return listing
        kept: dict[int, SegmentName] = {}
        for name in self._segments():
            if name.first in kept:
                file = FileReport(f"{WAL}/{name.name}", "segment", first=name.first, last=name.last)
                file.add(Problem(f"expected one segment that begins with sequence {name.first}", 0, name.first))
                self.report.files.append(file)
            kept.setdefault(name.first, name)
        return list(kept.values())

    def _check_end(self, chain: Chain | None) -> None:
        """Against what the manifest says as it is now: a server may have been started or stopped meanwhile."""
        manifest = self.manifest
        if manifest is None or self._changed(manifest):
            return
        stop, after = manifest.clean_stop, manifest.newest.sequence if manifest.newest else 0
        self.report.end = max(self.report.end, stop.sequence if stop else 0)
        actives = [name for name in self._segments() if name.last is None]
        if not actives and stop is None:
            self._missing(f"{WAL}/active-*.wal", ACTIVE, None)
        if chain is None:
            return
        log = FileReport(f"{WAL}/", "log", first=chain.last, last=chain.last)
        if chain.last < after:
            text = f"expected a log that reaches the snapshot at sequence {after}, it ends at {chain.last}"
            log.add(Problem(text, None, chain.last + 1))
        if stop and (chain.last, chain.tag.hex()) != (stop.sequence, stop.tag):
            text = f"expected the log to end with sequence {stop.sequence}, where the server stopped cleanly, "
            log.add(Problem(f"{text}it ends at {chain.last}", None, min(chain.last, stop.sequence) + 1))
        if expected := manifest.contradiction(manifest.own(chain.hard_state), chain.term):
            log.add(Problem(f"expected {expected}", None, chain.last + 1))
        if log.problems:
            self.report.files.append(log)

    def _changed(self, manifest: Manifest) -> bool:
        try:
            now = self._read_manifest()
        except Refused:
            return False  # it was right a moment ago: whoever looks again will see
        if now is None or now.clean_stop == manifest.clean_stop and now.newest == manifest.newest:
            return False
        self.report.warnings.append(
            "the server took a snapshot, was started or was stopped meanwhile: the end of the log has not been "
            "compared with the manifest; repeat the command for that"
        )
        return True

    # Other names

    def _list_others(self) -> None:
        """What else lies in the directory. Content that others own (keyring, backups) is theirs to check."""
        listing = self._arranged()
        leftovers = [(name, "made ahead of need, or left over") for name in listing.leftovers]
        leftovers += [(name, "cut off, or replaced: the next start removes it") for name in listing.void]
        for name, note in leftovers:
            self._leftover(file := FileReport(f"{WAL}/{name}", SPARE), note)
            self.report.files.append(file)
        for name in listing.strange:
            file = FileReport(f"{WAL}/{name}", "unknown")
            file.add(Problem("expected only segments in this directory: move this file elsewhere"))
            self.report.files.append(file)
        for name in self._names(join(self._root, QUARANTINE)):
            self.report.files.append(FileReport(f"{QUARANTINE}/{name}", "quarantine", note="cut, and kept for inquiry"))
        for name in self._names(self._root):
            if name == unfinished.NAME:
                file = FileReport(name, "note")
                try:
                    unfinished.refuse(self._disk, self._root)
                except Refused as failure:
                    file.add(*problem_of(failure))
                self.report.files.append(file)
            elif name == KEPT:
                self.report.warnings.append(f"{KEPT}/ holds the files from before the migration, in the clear")
            elif name not in KNOWN:
                file = FileReport(name, "unknown")
                self._leftover(file, "unfinished: the next start removes it" if name.endswith(".tmp") else "not ours")
                self.report.files.append(file)

    def _store_id_of_log(self, listing: list[SegmentName]) -> bytes | None:
        """Without a manifest the segments still say to whom they belong."""
        for name in listing:
            path = join(self._root, WAL, name.name)
            try:
                file = self._disk.open(path)
                with closing(file):
                    raw = file.pread(SEGMENT_HEADER_BYTES, 0)
                return read_segment_header(raw, path, raw[STORE_ID], name.first).store_id
            except (OSError, Refused):
                continue  # another one may be whole
        return None

    # Helpers

    def _names(self, directory: str) -> list[str]:
        try:
            return self._disk.listdir(directory)
        except FileNotFoundError:
            return []
        except OSError as cause:
            raise Unreadable(directory, 0, cause) from cause

    def _missing(self, path: str, kind: str, sequence: int | None) -> None:
        file = FileReport(path, kind)
        file.add(Problem("the file is not there", None, sequence), Status.MISSING)
        self.report.files.append(file)

    @staticmethod
    def _leftover(file: FileReport, note: str) -> None:
        file.status, file.note = Status.LEFTOVER, note

    def _bytes_of(self, directory: str) -> int:
        total = 0
        for name in self._names(join(self._root, directory)):
            try:
                total += self._size(join(self._root, directory, name))
            except OSError:
                continue  # an estimate for the progress; whether it can be read is found out in its turn
        return total

    def _size(self, path: str) -> int:
        file = self._disk.open(path)
        with closing(file):
            return file.size()

    def _progress(self, offset: int) -> None:
        self._say(self._done + offset, self._total)


def verify(disk: Disk, root: str, keys: Keys | None, say: Callable[[int, int], None] | None = None) -> Verification:
    """Check manifest, snapshots and log. `keys`: None when the keyring is damaged. `say(done, total)` in bytes."""
    verification = Verification(disk, root, keys or LostKeys(), say or _unwatched)
    verification.run()
    return verification


def _unwatched(done: int, total: int) -> None:
    """Nobody waits at a terminal."""
