"""A logical backup in a file: one JSON line per key, sealed in chunks or, if asked, as plain text.

    NAME.vxb   {"format": 2, "sequence": ...}         first line: what state this is (`Head`)
               {"part": name, "value": ...}           what is no key: users and roles, ... (none of them in format 1)
               {"db": 0, "key": base64, ...}          one line per key (`Row`)
               {"end": true, "keys": ..., ...}        last line: how many, and digests of the state (`Tail`)

Sealed, the file is a header of 256 bytes with the wrapped data key, then that text cut into chunks, each sealed under
its number with the header bound to it, then a sealed end record with length and SHA-256 of the text. In the clear the
file is the text itself. Beside it stands the sidecar (`sidecar`), which is written last.
Promise: the file is durable when `finish` returns; no bit of a sealed one can change unnoticed, nor its end be missing.
Units: sizes in bytes, times in ms since the epoch.
Not here: reading (`backup_reader`), the sidecar (`backup_sidecar`), names and directories, what a digest is.
"""

from __future__ import annotations

import json
import struct
from binascii import b2a_base64
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Final, NamedTuple, TypeVar

from vaylix_resp.limits import MIB
from vaylix_resp.storage.disk import Disk, File
from vaylix_resp.storage.errors import IoFailed
from vaylix_resp.storage.sealing import WRAPPED_BYTES_MAX, Cipher, Keys

T = TypeVar("T")

FORMAT_VERSION: Final = 2
CHUNK_BYTES: Final = MIB  # of text, sealed together; bounds what a reader has to hold
SYNC_BYTES: Final = 8 * MIB  # synced so often while writing: one fsync of everything would stall the log's own
STRING: Final = "string"  # the only type so far

MAGIC = b"VxBACKUP"
# magic, version, flags, store id, sequence, term, time: what the data key is bound to; then key id and wrapped key
BOUND = struct.Struct("<8sHHxxxx16sQQQ")
KEY = struct.Struct(f"<IH{WRAPPED_BYTES_MAX}s")
HEADER_BYTES: Final = 256
_FILL = b"\xa5" * (HEADER_BYTES - BOUND.size - KEY.size - 16)
CHUNK = struct.Struct("<4sIIBxxx")  # mark, number, bytes of text, kind
CHUNK_MARK = b"VxBC"
DATA, END = 1, 0
SUMS = struct.Struct("<Q32s")  # bytes and SHA-256 of the text


@dataclass(frozen=True, slots=True)
class Head:
    """Which state a backup holds, and the counters that a restore into a new directory goes on from."""

    store_id: str  # hex
    sequence: int
    term: int
    time_ms: int
    top_version: int
    deleted_version: int
    databases: int


class Row(NamedTuple):
    """One key."""

    db: int
    key: bytes
    type: str
    value: bytes
    version: int
    expire_at_ms: int | None
    flags: int


@dataclass(frozen=True, slots=True)
class Tail:
    keys: int
    keys_digest: str  # state.digest.keys_digest_hex
    state_digest: str  # state.digest.digest_hex


@dataclass(frozen=True, slots=True)
class Content:
    """What a whole backup turned out to hold; `counts` is keys by "db" and type."""

    head: Head
    tail: Tail
    counts: dict[str, dict[str, int]]
    sealed: bool
    bytes: int  # of the file
    sha256: str  # of the file
    plain_bytes: int
    plain_sha256: str


class BackupWriter:
    """Writes `path`, a temporary name: whoever writes the sidecar renames it when `finish` has returned."""

    def __init__(
        self, disk: Disk, path: str, head: Head, keys: Keys, throttle: Callable[[int], None] | None = None
    ) -> None:
        self._disk, self.path, self._head, self._throttle = disk, path, head, throttle
        self._counts: Counter[tuple[int, str]] = Counter()
        self._text, self._gathered = [_line({"format": FORMAT_VERSION, **asdict(head)})], 0
        self._plain, self._stored = sha256(), sha256()
        self._plain_bytes = self._written = self._synced = self._chunks = 0
        self._cipher, header = _new_header(head, keys)
        self._bound = sha256(header).digest()
        self._file: File = self._io(lambda: disk.create(path))
        if header:
            self._io(lambda: self._write(header))

    def add_part(self, name: str, value: Any) -> None:
        """Something that is no key, as JSON; before all keys."""
        assert not self._counts, name
        self._gather(_line({"part": name, "value": value}))

    def add(self, row: Row) -> None:
        db, key, kind, value, version, expire_at_ms, flags = row
        at = "null" if expire_at_ms is None else expire_at_ms
        line = (
            f'{{"db":{db},"key":"{_base64(key)}","type":"{kind}","value":"{_base64(value)}",'
            f'"version":{version},"expire_at_ms":{at},"flags":{flags}}}\n'
        ).encode("ascii")
        self._counts[db, kind] += 1
        self._gather(line)

    def _gather(self, line: bytes) -> None:
        self._text.append(line)
        self._gathered += len(line)
        if self._gathered >= CHUNK_BYTES:
            self._flush()

    def finish(self, keys_digest: str, state_digest: str) -> Content:
        """Write the last line, sync, close."""
        tail = Tail(sum(self._counts.values()), keys_digest, state_digest)
        self._text.append(_line({"end": True, **asdict(tail)}))
        self._flush(last=True)
        if self._cipher:
            self._seal(END, SUMS.pack(self._plain_bytes, self._plain.digest()))
        self._io(self._file.fsync)
        self._file.close()
        counts: dict[str, dict[str, int]] = {}
        for (db, kind), count in sorted(self._counts.items()):
            counts.setdefault(str(db), {})[kind] = count
        return Content(
            self._head, tail, counts, self._cipher is not None, self._written, self._stored.hexdigest(),
            self._plain_bytes, self._plain.hexdigest(),
        )  # fmt: skip

    def abort(self) -> None:
        """Give the room back."""
        self._file.close()
        self._io(lambda: self._disk.unlink(self.path))

    def _flush(self, *, last: bool = False) -> None:
        """Write what has been gathered, in whole chunks; the last one may be shorter."""
        text = b"".join(self._text)
        end = len(text) if last else len(text) - len(text) % CHUNK_BYTES
        for at in range(0, end, CHUNK_BYTES):
            piece = text[at : min(at + CHUNK_BYTES, end)]
            self._plain.update(piece)
            self._plain_bytes += len(piece)
            self._seal(DATA, piece)
        self._text, self._gathered = [text[end:]], len(text) - end

    def _seal(self, kind: int, piece: bytes) -> None:
        stored = piece
        if self._cipher:
            head = CHUNK.pack(CHUNK_MARK, self._chunks, len(piece), kind)
            stored = head + self._cipher.seal(self._chunks, piece, head + self._bound)
            self._chunks += 1
        self._io(lambda: self._write(stored))
        if self._throttle:
            self._throttle(len(stored))

    def _write(self, data: bytes) -> None:
        self._file.pwrite(data, self._written)
        self._stored.update(data)
        self._written += len(data)
        if self._written - self._synced >= SYNC_BYTES:
            self._file.fdatasync()
            self._synced = self._written

    def _io(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except OSError as cause:
            raise IoFailed(self.path, cause) from cause


def _new_header(head: Head, keys: Keys) -> tuple[Cipher | None, bytes]:
    """The header of a sealed file, with a key of its own; (None, b"") for one in the clear."""
    bound = BOUND.pack(
        MAGIC, FORMAT_VERSION, 0, bytes.fromhex(head.store_id), head.sequence, head.term, head.time_ms
    )
    key = keys.new(bound)
    if key is None:
        return None, b""
    fields_ = bound + KEY.pack(key.key_id, len(key.wrapped), key.wrapped) + _FILL
    return key.cipher, fields_ + sha256(fields_).digest()[:16]


def _line(obj: dict[str, Any]) -> bytes:
    return json.dumps(obj, separators=(",", ":")).encode("ascii") + b"\n"


def _base64(raw: bytes) -> str:
    return b2a_base64(raw, newline=False).decode("ascii")
