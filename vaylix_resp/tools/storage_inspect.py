"""`vaylix storage inspect`: segments, batches and entries of a log for people.

Promise: only reads, also beside a running server; values are printed only when asked for, bounded and printable.
Not here: judging what is found (`vaylix storage verify`), the past of a directory (`vaylix pitr inspect`).
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from ..commands.points import iso
from ..errors import EX_OK, EX_USAGE, Refused
from ..storage.batch import ENTRIES, KINDS
from ..storage.disk import Disk, RealDisk, join
from ..storage.errors import Corrupt
from ..storage.listing import DIRECTORY as WAL
from ..storage.listing import NEVER, arrange
from ..storage.manifest import NAME as MANIFEST
from ..storage.manifest import Manifest, read_manifest
from ..storage.sealing import Keys
from ..storage.segment import SegmentName
from ..storage.snapshot import DIRECTORY as SNAPSHOTS
from ..storage.snapshot import SnapshotReader, parse_snapshot_name
from ..storage.upkeep.inspect import Frame, frames, segment_head
from .entry_text import entries_of
from .keys import add_key_options, open_keys
from .output import Group, print_json, table


class NoSuchFile(Refused):
    exit_code = EX_USAGE


def add_inspect(add: Group) -> None:
    """The verb inspect of the group storage."""
    parser = add(
        "inspect", "print the segments, batches and entries of a log",
        "vaylix storage inspect --data-dir /srv/vaylix --entries --from 1000 --to 1010",
    )  # fmt: skip
    parser.add_argument("--data-dir", required=True, metavar="DIR", help="the data directory")
    parser.add_argument("--file", metavar="F", help="one segment or snapshot, by name (default: all)")
    parser.add_argument("--entries", action="store_true", help="print each entry: sequence, command, keys, size")
    parser.add_argument("--from", dest="first", type=int, default=1, metavar="SEQ", help="begin with this sequence")
    parser.add_argument("--to", dest="last", type=int, default=NEVER, metavar="SEQ", help="end with this sequence")
    parser.add_argument("--values", action="store_true", help="print the words of each entry too; implies --entries")
    add_key_options(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=_inspect)


def _inspect(arguments: argparse.Namespace) -> int:
    disk, root = RealDisk(), os.path.abspath(arguments.data_dir)
    manifest = read_manifest(disk, root)
    if manifest is None:
        raise Corrupt(join(root, MANIFEST), 0, "a manifest, the file is missing", advice="name a data directory")
    view = View(disk, root, manifest, open_keys(arguments, disk, root), arguments)
    view.run()
    return EX_OK


class View:
    """One look at a directory. Lines are printed as they are found, so that damage comes behind what is before it."""

    def __init__(self, disk: Disk, root: str, manifest: Manifest, keys: Keys, arguments: argparse.Namespace) -> None:
        self._disk, self._root, self._manifest, self._keys = disk, root, manifest, keys
        self._json, self._values = arguments.json, arguments.values
        self._entries = arguments.entries or arguments.values
        self._first: int = arguments.first
        self._last: int = arguments.last
        self._file: str | None = arguments.file
        # A range or a file asks for batches; without either, the list of files is what one wants first.
        self._batches = self._entries or bool(self._file) or self._first > 1 or self._last < NEVER

    def run(self) -> None:
        names = self._names()
        wanted = self._snapshot_names() if not self._batches or self._file else []
        snapshots = [self._snapshot(name) for name in wanted if not self._file or name == self._file]
        if self._file and self._file not in [name.name for name in names] and not snapshots:
            raise NoSuchFile(
                f"{self._root}: no segment or snapshot '{self._file}'; to continue: choose one that "
                f"'vaylix storage inspect --data-dir {self._root}' lists"
            )
        chosen = [name for name in names if self._is_chosen(name)]
        if self._json:
            segments = [self._segment_dict(name) for name in chosen]
            print_json({"data_dir": self._root, "snapshots": snapshots, "segments": segments})
            return
        if not self._batches or snapshots:
            self._print_files(snapshots, [] if self._batches else chosen)
        for name in chosen if self._batches else ():
            self._print_segment(name)

    def _names(self) -> list[SegmentName]:
        newest = self._manifest.newest
        names = self._disk.listdir(join(self._root, WAL))
        return arrange(names, newest.sequence if newest else 0).segments

    def _snapshot_names(self) -> list[str]:
        names = self._disk.listdir(join(self._root, SNAPSHOTS))
        return [name for name in names if parse_snapshot_name(name) is not None]

    def _is_chosen(self, name: SegmentName) -> bool:
        if self._file:
            return name.name == self._file
        return name.first <= self._last and (name.last is None or name.last >= self._first)

    def _snapshot(self, name: str) -> dict[str, Any]:
        info = next((one for one in self._manifest.snapshots if one.file == name), None)
        path = join(self._root, SNAPSHOTS, name)
        reader = SnapshotReader(self._disk, path, self._manifest.store_id_bytes, self._keys, info)
        reader.close()
        head = reader.header
        return {
            "file": name, "sequence": head.sequence, "term": head.term, "timestamp_ms": head.timestamp_ms,
            "tag": head.tag.hex(), "key_id": head.key_id, "current": info is not None,
            "bytes": info.bytes if info else None,
        }  # fmt: skip

    def _print_files(self, snapshots: list[dict[str, Any]], names: list[SegmentName]) -> None:
        rows: list[tuple[object, ...]] = [
            (one["file"], one["sequence"], iso(one["timestamp_ms"]), one["bytes"] or 0, one["key_id"])
            for one in snapshots
        ]
        for name in names:
            head = segment_head(self._disk, self._root, self._manifest, self._keys, name)
            span = f"{name.first}..{name.last or ''}"
            rows.append((name.name, span, iso(head.created_ms), head.bytes, head.key_id))
        print(table(rows, ("FILE", "SEQUENCES", "BEGINS", "BYTES", "KEY")))

    def _frames(self, name: SegmentName) -> list[Frame]:
        found = frames(self._disk, self._root, self._manifest, self._keys, name)
        return [one for one in found if self._is_inside(one)]

    def _is_inside(self, frame: Frame) -> bool:
        """Term and vote have no sequence: they are shown wherever batches are."""
        batch = frame.batch
        return batch is None or (batch.last >= self._first and batch.first <= self._last)

    def _segment_dict(self, name: SegmentName) -> dict[str, Any]:
        head = segment_head(self._disk, self._root, self._manifest, self._keys, name)
        found: dict[str, Any] = {
            "file": name.name, "first": name.first, "last": name.last, "created_ms": head.created_ms,
            "prev_tag": head.prev_tag.hex(), "key_id": head.key_id, "bytes": head.bytes,
        }  # fmt: skip
        if self._batches:
            found["batches"] = [self._frame_dict(frame) for frame in self._frames(name)]
        return found

    def _frame_dict(self, frame: Frame) -> dict[str, Any]:
        batch, hard_state = frame.batch, frame.hard_state
        if hard_state is not None:
            return {
                "offset": frame.offset, "bytes": frame.bytes, "kind": "hard state", "term": hard_state.term,
                "vote": f"{hard_state.vote:016x}", "node": f"{hard_state.identity.node_id:016x}",
                "incarnation": hard_state.identity.incarnation,
            }  # fmt: skip
        assert batch is not None
        found: dict[str, Any] = {
            "offset": frame.offset, "bytes": frame.bytes, "kind": KINDS[batch.kind], "first": batch.first,
            "last": batch.last, "term": batch.term, "timestamp_ms": batch.timestamp_ms, "tag": batch.tag.hex(),
        }  # fmt: skip
        if self._entries:
            inside = (entry for entry in entries_of(batch) if self._first <= entry.sequence <= self._last)
            found["entries"] = [entry.as_dict(values=self._values) for entry in inside]
        return found

    def _print_segment(self, name: SegmentName) -> None:
        head = segment_head(self._disk, self._root, self._manifest, self._keys, name)
        sealed = f"key {head.key_id}" if head.key_id else "in the clear"
        print(f"{name.name}: begins {iso(head.created_ms)}, follows {head.prev_tag.hex()}, {sealed}")
        for frame in frames(self._disk, self._root, self._manifest, self._keys, name):
            batch, hard_state = frame.batch, frame.hard_state
            if hard_state is not None:
                print(f"  byte {frame.offset}: hard state, term {hard_state.term}, vote {hard_state.vote:016x}")
            if batch is None or not self._is_inside(frame):
                continue
            kind = "" if batch.kind == ENTRIES else f"{KINDS[batch.kind]}, "
            print(
                f"  byte {frame.offset}: {batch.first}..{batch.last}, {kind}term {batch.term}, "
                f"{iso(batch.timestamp_ms)}, {frame.bytes} bytes, tag {batch.tag.hex()}"
            )
            for entry in entries_of(batch) if self._entries else ():
                if self._first <= entry.sequence <= self._last:
                    print(entry.line(values=self._values))
