"""Batches of the log of a running server, read back from its files: for followers that are behind what memory holds.

Promise: only what was durable when it was read, each batch checked and following the one before it; read-only.
What a cut takes away meanwhile is found again as it is afterwards.
Units: sizes in bytes; sequences from 1.
Threads: one caller at a time, which need not be the one that appends.
Not here: what is still in memory (`raft`), the past of a directory for people (`history`).
Source: Raft (Ongaro, 2014), section 3.5 (a leader brings a follower's log up to its own), chapter 5 (or a snapshot).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

from vaylix_resp.storage.active import Segment
from vaylix_resp.storage.batch import HARD_STATE, HEADER_BYTES, Batch, read_header, store_salt
from vaylix_resp.storage.disk import Disk
from vaylix_resp.storage.errors import Corrupt, Unreadable
from vaylix_resp.storage.log_files import View
from vaylix_resp.storage.sealing import Keys
from vaylix_resp.storage.segment import Chain, Reader, Scan, SegmentName, open_segment
from vaylix_resp.storage.wal import Wal

PLACES_MAX = 16  # remembered: one for each follower that is catching up, and some for those that jump
TRIES = 100  # at files that get other names, are pruned or cut meanwhile


@dataclass(frozen=True, slots=True)
class Place:
    """Where a batch begins: in the segment that begins with `first`."""

    first: int
    offset: int
    chain: Chain
    changes: int  # of the view in which it was found


class LogReader:
    def __init__(self, disk: Disk, directory: str, store_id: bytes, keys: Keys, wal: Wal) -> None:
        self._disk, self._directory, self._store_id, self._keys, self._wal = disk, directory, store_id, keys, wal
        self._salt = store_salt(store_id)
        self._places: OrderedDict[int, Place] = OrderedDict()  # by the sequence before the batch

    def entries(self, after: int, max_bytes: int) -> list[Batch] | None:
        """The batches from the one that holds `after` + 1 on, in order, as far as they are durable.

        At least one if there is any, else at most `max_bytes` of bodies and headers. None: it has been pruned.
        Raises Corrupt, Unreadable: the files are damaged.
        """
        view = self._wal.view()
        for _ in range(TRIES):
            try:
                return self._read(view, after, max_bytes)
            except (Corrupt, Unreadable):
                # Renamed, pruned or cut under our eyes? If the log still looks the same, it is damage.
                now = self._wal.view()
                if now.segments[:-1] == view.segments[:-1] and now.changes == view.changes:
                    raise
                view = now
        raise AssertionError(f"the log changed {TRIES} times while sequence {after + 1} was looked for")

    def _read(self, view: View, after: int, max_bytes: int) -> list[Batch] | None:
        if view.segments[0].first > after + 1:
            return None
        found, size, place = list[Batch](), 0, None
        with closing(self._behind(view, after)) as behind:
            for segment, batch, end in behind:
                size += HEADER_BYTES + len(batch.body)
                if batch.last > view.durable or (found and size > max_bytes):
                    break
                found.append(batch)
                place = segment.first, end
        if place is not None:
            last = found[-1]
            chain = Chain(last.last, last.tag, last.term, last.timestamp_ms)
            self._remember(Place(*place, chain, view.changes))
        return found

    def _remember(self, place: Place) -> None:
        self._places[place.chain.last] = place
        self._places.move_to_end(place.chain.last)
        if len(self._places) > PLACES_MAX:
            self._places.popitem(last=False)

    def _behind(self, view: View, after: int) -> Generator[tuple[Segment, Batch, int], None, None]:
        """Segment, batch and the offset behind it, from the one that holds `after` + 1 on."""
        for segment in view.segments:
            if segment.last > after:
                for batch, end in self._inside(view, segment, after):
                    after = batch.last
                    yield segment, batch, end

    def _inside(self, view: View, segment: Segment, after: int) -> Iterator[tuple[Batch, int]]:
        """From the one that holds `after` + 1 to the end of the segment, with the offset behind each."""
        name = SegmentName(segment.path.rpartition("/")[2], segment.first, segment.last)
        reader, header, cipher = open_segment(self._disk, self._directory, name, self._store_id, self._keys)
        with closing(reader.file):
            scan = Scan(reader, Chain(header.first - 1, header.prev_tag), self._salt, cipher)
            place = self._places.get(after)
            if place is not None and (place.first, place.changes) == (segment.first, view.changes):
                scan.chain, scan.offset = place.chain.copy(), place.offset
            else:
                self._skip(reader, scan, after)
            for batch in scan:
                after = batch.last
                yield batch, scan.offset
        if after < min(segment.last, view.durable):
            expected = f"batches up to sequence {segment.last}, they end at {after}"
            raise Corrupt(reader.path, scan.offset, expected, sequence=after + 1)

    def _skip(self, reader: Reader, scan: Scan, after: int) -> None:
        """Go on to the batch that holds `after` + 1 from header to header, without opening what lies between."""
        while len(raw := reader.at(scan.offset, HEADER_BYTES)) == HEADER_BYTES:
            header = read_header(raw, self._salt)
            if header is None or header.last > after or (header.kind == HARD_STATE and header.first > after):
                return
            scan.offset += header.frame_bytes
            scan.chain = Chain(header.last, header.tag)
