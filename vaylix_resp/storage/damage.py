"""What a bad frame in the active segment means: the fail-closed table.

A frame is written only after the fsync of the frames before it returned (unless they are one group, or `appendfsync`
is relaxed; frames say so themselves, in `synced`), so a bad frame is either part of the write that a crash interrupted,
or damage to something acknowledged. Only the first may be cut, and only on evidence: bytes of it that were never
written.
Promise: a frame that was written to its last byte and is now bad is never cut.
Not here: the cutting (`recovery`). Sealed segments have no table: any damage there is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from vaylix_resp.storage.batch import HEADER_BYTES, MAGIC, SECTOR, Header, has_zero_sector, read_body, read_header
from vaylix_resp.storage.sealing import Cipher
from vaylix_resp.storage.segment import READ_BYTES, Reader


class Head(Enum):
    """The header of the frame in question, or what is in its place."""

    OK = auto()
    BAD = auto()
    SHORT = auto()  # the file ends inside the first sector
    ZERO = auto()  # the whole first sector is zero or beyond the end: never written


class Body(Enum):
    OK = auto()
    BAD = auto()
    SHORT = auto()  # the file ends inside the frame
    UNKNOWN = auto()  # without a header nobody knows where it ends


class Behind(Enum):
    """What follows (behind the frame, or behind its first sector if its length is unknown)."""

    NOTHING = auto()  # zeros only, or the end of the file
    REST = auto()  # something, but no header of ours
    UNSYNCED = auto()  # later batches, written before this one was synced: `appendfsync everysec` or `no`
    SYNCED = auto()  # a later batch that was written after the fsync of this one had returned


class Do(Enum):
    KEEP = auto()
    END = auto()  # the log ends here
    CUT = auto()  # the append that the crash interrupted: keep a copy aside, cut, go on
    REFUSE = auto()  # an acknowledged write may be gone


@dataclass(frozen=True, slots=True)
class Facts:
    head: Head
    body: Body
    torn: bool  # bytes of it were certainly never written
    behind: Behind


def decide(facts: Facts) -> Do:
    match facts.head, facts.body, facts.torn, facts.behind:
        case Head.OK, Body.OK, _, _:
            return Do.KEEP
        case _, _, _, Behind.SYNCED:
            return Do.REFUSE  # it was durable once: an acknowledged write may be gone
        case Head.ZERO, _, _, Behind.NOTHING:
            return Do.END
        case _, _, True, _:
            return Do.CUT
        case _:
            return Do.REFUSE  # written to the end and wrong now: a flip. Cutting it would lose what was acknowledged


def describe(facts: Facts) -> str:
    """Why a bad frame is refused, for the operator."""
    match facts:
        case Facts(behind=Behind.SYNCED):
            return "a whole batch here, because a later one was written after it was durable"
        case Facts(head=Head.OK, body=Body.BAD):
            return "a right checksum of a batch that was written to its last byte"
        case _:
            return "a batch header with a right checksum, or zeros"


def gather(reader: Reader, offset: int, sequence: int, salt: int, cipher: Cipher | None) -> tuple[Facts, int]:
    """The facts about the frame at `offset` that should hold `sequence`, and where the last non-zero byte ends."""
    raw = reader.at(offset, HEADER_BYTES)
    header = read_header(raw, salt) if len(raw) == HEADER_BYTES else None
    if header is not None:
        head, body, torn = _gather_framed(reader, offset, raw, header, cipher)
        behind_from = offset + header.frame_bytes
    else:
        head, body, torn = _gather_headless(reader, offset)
        behind_from = offset + SECTOR
    behind, end = _gather_behind(reader, behind_from, offset, sequence, salt)
    if behind is Behind.NOTHING:
        end = min(behind_from, reader.size) if head is not Head.ZERO else offset
    return Facts(head, body, torn, behind), end


def _gather_framed(
    reader: Reader, offset: int, raw: bytes, header: Header, cipher: Cipher | None
) -> tuple[Head, Body, bool]:
    """The header is whole, so the extent of the frame is known."""
    frame = reader.at(offset, header.frame_bytes)
    if len(frame) < header.frame_bytes:
        return Head.OK, Body.SHORT, True
    if read_body(raw, header, frame[HEADER_BYTES:], cipher) is not None:
        return Head.OK, Body.OK, False
    return Head.OK, Body.BAD, frame[-1] == 0 or has_zero_sector(frame)


def _gather_headless(reader: Reader, offset: int) -> tuple[Head, Body, bool]:
    sector = reader.at(offset, SECTOR)
    if not any(sector):
        return Head.ZERO, Body.UNKNOWN, True
    if len(sector) < SECTOR:
        return Head.SHORT, Body.UNKNOWN, True
    # No body begins with zeros up to the end of the sector (`batch` sees to that), so this one was not written.
    return Head.BAD, Body.UNKNOWN, not any(sector[HEADER_BYTES:])


def _gather_behind(reader: Reader, start: int, bad: int, sequence: int, salt: int) -> tuple[Behind, int]:
    """Look at every sector from `start` on for headers of later frames; also where the last non-zero byte ends.

    A header is evidence even if its body is torn: what it says about `synced` (the offset `bad` among it?) and about
    `durable` was true when it was written. A later frame of the same write claims neither. A hard state in the place of
    `bad` would have had the same sequence as the batch behind it, so what follows may begin with `sequence` itself.
    """
    behind, end = Behind.NOTHING, start
    for offset in range(start, reader.size, READ_BYTES):
        # Headers begin at sectors, and so does `start`: none of them lies across two pieces.
        piece = reader.at(offset, min(READ_BYTES, reader.size - offset))
        used = len(piece.rstrip(b"\0"))
        if not used:
            continue
        end = offset + used
        if behind is Behind.NOTHING:
            behind = Behind.REST
        for at in range(0, used, SECTOR) if MAGIC in piece else ():
            if piece.startswith(MAGIC, at) and at + HEADER_BYTES <= len(piece):
                header = read_header(piece[at : at + HEADER_BYTES], salt)
                if header is not None and header.first >= sequence:
                    if header.synced > bad or header.durable >= sequence:
                        return Behind.SYNCED, end
                    behind = Behind.UNSYNCED
    return behind, end
