"""An archive: what archive-command has copied away, in one flat directory, and how far that has come.

    00000000000000000001-00000000000000000042.wal   segments, as they were sealed
    snapshot-00000000000000000042.vxs               snapshots, as they were published
    manifest-00000000000000000042.json              a manifest with this one snapshot; with 0 for a log from its start
    keyring-<id>-<milliseconds>.json                the keyring as it was then: its keys are wrapped by the master key
Promises: with the master key an archive is enough to restore from; files of two stores, or of two histories of one
store, are refused and not mixed. Everything may come twice, never under one name with other content.
Not here: handing files over (`engine.copies.archiver`), reading what is in them (`history`, with `ArchiveDirectory`
as its source).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Final

from xxhash import xxh3_128_hexdigest

from vaylix_resp.storage.disk import Disk, join
from vaylix_resp.storage.errors import Corrupt, Unreadable
from vaylix_resp.storage.manifest import Manifest, SnapshotInfo, decode_manifest, encode_manifest
from vaylix_resp.storage.segment import SegmentName, parse_name

DIRECTORY: Final = "archive"  # in the data directory: what is on its way, and the account of what has gone
STATE: Final = "state.json"
OUTBOX: Final = "outbox"
STATE_FORMAT: Final = 1
_MANIFEST = re.compile(r"manifest-(\d{20})\.json")
_KEYRING = re.compile(r"keyring-([0-9a-f]{32})-(\d{20})\.json")


class Kind(StrEnum):
    """What a file is; VAYLIX_FILE_KIND for the command."""

    KEYRING = "keyring"
    SEGMENT = "segment"
    SNAPSHOT = "snapshot"
    MANIFEST = "manifest"


# Of files that end at one sequence: what a manifest names is there before it.
_RANK: Final = {Kind.SEGMENT: 0, Kind.SNAPSHOT: 1, Kind.MANIFEST: 2}


def manifest_name(sequence: int) -> str:
    return f"manifest-{sequence:020d}.json"


def keyring_name(keyring_id: str, now_ms: int) -> str:
    return f"keyring-{keyring_id}-{now_ms:020d}.json"


def describe(manifest: Manifest, info: SnapshotInfo | None) -> bytes:
    """What an archive has to know of the store to use a snapshot of it, or the log from its start."""
    # Without the keyring, whose id is in the names of its copies, and without the cluster, which may be joined later:
    # one name must never stand for two contents.
    plain = replace(manifest, clean_stop=None, keyring_id="", cluster_id="", node_id=0, incarnation=0)
    return encode_manifest(replace(plain, snapshots=(info,) if info else ()))


class ArchiveDirectory:
    """A flat directory of such files, as a source of history. Other files in it are left alone."""

    def __init__(self, disk: Disk, root: str) -> None:
        self.disk, self.root, self.wal = disk, root, root

    def manifest(self) -> Manifest:
        """One for all: every snapshot whose file is there."""
        names = self._names()
        descriptions = [(name, self._manifest(name)) for name in names if _MANIFEST.fullmatch(name)]
        if not descriptions:
            advice = "name the directory into which archive-command copies, or a data directory with --source-dir"
            raise Corrupt(join(self.root, manifest_name(0)), 0, "a manifest-*.json of an archive", advice=advice)
        first_name, first = descriptions[0]
        for name, other in descriptions:
            if other.store_id != first.store_id:
                expected = f"store {first.store_id} as in {first_name}, this is one of {other.store_id}"
                raise Corrupt(join(self.root, name), 0, expected, advice="keep the archives of two stores apart")
        snapshots = {info.sequence: info for _, one in descriptions for info in one.snapshots if info.file in names}
        ordered = tuple(snapshots[sequence] for sequence in sorted(snapshots))
        keyrings = [match[1] for name in names if (match := _KEYRING.fullmatch(name))]
        return replace(first, snapshots=ordered, clean_stop=None, keyring_id=keyrings[-1] if keyrings else "")

    def segments(self) -> list[SegmentName]:
        """The newest run without a gap. (Behind a gap, while there was no archive-command, a snapshot begins anew.)"""
        found = [parsed for name in self._names() if (parsed := parse_name(name)) and parsed.last is not None]
        found.sort(key=lambda segment: (segment.first, segment.last or 0))
        run: list[SegmentName] = []
        for segment in found:
            if run and segment.first <= (run[-1].last or 0):
                advice = "keep the files of one history: another server, or this one before a repair, wrote the other"
                expected = f"sequence {segment.first} in one segment, {run[-1].name} has it too"
                raise Corrupt(join(self.root, segment.name), 0, expected, sequence=segment.first, advice=advice)
            if run and segment.first != (run[-1].last or 0) + 1:
                run = []
            run.append(segment)
        return run

    def snapshot_path(self, info: SnapshotInfo) -> str:
        return join(self.root, info.file)

    def keyrings(self) -> list[tuple[str, bytes]]:
        """Path and content of each copy of the keyring, oldest first; none: the store was in the clear."""
        found = sorted((int(match[2]), name) for name in self._names() if (match := _KEYRING.fullmatch(name)))
        return [(join(self.root, name), self._read(name)) for _, name in found]

    def _names(self) -> list[str]:
        try:
            return self.disk.listdir(self.root)
        except OSError as cause:
            raise Unreadable(self.root, 0, cause) from cause

    def _manifest(self, name: str) -> Manifest:
        return decode_manifest(self._read(name), join(self.root, name))

    def _read(self, name: str) -> bytes:
        path = join(self.root, name)
        try:
            return self.disk.read_file(path)
        except OSError as cause:
            raise Unreadable(path, 0, cause) from cause


@dataclass(frozen=True, slots=True)
class Archived:
    """How far an archive has come. `command` tells whether it is still the same archive."""

    command: str = ""  # a digest of it: the command itself may hold a password
    segments_to: int = 0  # every segment up to this sequence
    snapshots: tuple[int, ...] = ()  # those of them that are still current here
    described: tuple[int, ...] = ()  # sequences whose manifest has gone
    keyring: str = ""  # digest of the copy that went last
    keyring_ms: int = 0  # and the number in its name


def encode_state(state: Archived) -> bytes:
    body = {"format": STATE_FORMAT, **asdict(state)}
    return json.dumps({"checksum": _checksum(body), **body}, indent=2).encode() + b"\n"


def decode_state(raw: bytes) -> Archived | None:
    """None for anything but what was written: then all that is here is handed over again."""
    try:
        body = json.loads(raw)
        checksum = body.pop("checksum")
        if checksum != _checksum(body) or body.pop("format") != STATE_FORMAT:
            return None
        return Archived(**{**body, "snapshots": tuple(body["snapshots"]), "described": tuple(body["described"])})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _checksum(body: dict[str, object]) -> str:
    return xxh3_128_hexdigest(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


@dataclass(frozen=True, slots=True)
class Item:
    """A file to be handed over. `path` is empty for one that has to be written first (keyring, manifest)."""

    kind: Kind
    name: str
    path: str
    first: int
    last: int
    size: int = 0


def to_send(
    archived: Archived, segments: Sequence[Item], snapshots: Sequence[Item], keyring: tuple[str, str] | None
) -> list[Item]:
    """What is not in the archive yet, in the order in which it goes. `keyring`: id and digest of the present one.

    By the sequence at which a file ends, so that at every moment the archive can be restored up to its last file.
    """
    files = [item for item in segments if item.last > archived.segments_to]
    files += [item for item in snapshots if item.last not in archived.snapshots]
    files += [_description(at) for at in (0, *(item.last for item in snapshots)) if at not in archived.described]
    files.sort(key=lambda item: (item.last, _RANK[item.kind]))
    if keyring is not None and keyring[1] != archived.keyring:
        # Before everything: no file is in an archive before the key that opens it.
        files.insert(0, Item(Kind.KEYRING, keyring_name(keyring[0], 0), "", 0, 0))
    return files


def _description(sequence: int) -> Item:
    return Item(Kind.MANIFEST, manifest_name(sequence), "", sequence, sequence)


def sent(archived: Archived, item: Item, manifest: Manifest, keyring: str = "", keyring_ms: int = 0) -> Archived:
    """The account after `item` has arrived. Forgets snapshots that are not current any more."""
    current = {info.sequence for info in manifest.snapshots}
    match item.kind:
        case Kind.KEYRING:
            return replace(archived, keyring=keyring, keyring_ms=keyring_ms)
        case Kind.SEGMENT:
            return replace(archived, segments_to=max(archived.segments_to, item.last))
        case Kind.SNAPSHOT:
            kept = {*archived.snapshots, item.last} & current
            return replace(archived, snapshots=tuple(sorted(kept)))
        case Kind.MANIFEST:
            kept = {*archived.described, item.last} & (current | {0})
            return replace(archived, described=tuple(sorted(kept)))
