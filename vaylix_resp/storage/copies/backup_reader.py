"""Reading a logical backup: every check that its format (`backup_file`) allows, in one pass.

Promise: whoever has come to the end of `BackupReader.rows` has seen every byte right; before that nothing is proved.
Not here: what the sidecar says (`backup_sidecar`), what a digest is (`engine.copies.backup_child`).
"""

from __future__ import annotations

import json
import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from hashlib import sha256
from typing import Any, Final, TypeVar

from vaylix_resp.limits import REQUEST_BYTES_MAX
from vaylix_resp.storage.copies.backup_file import (
    BOUND,
    CHUNK,
    CHUNK_BYTES,
    CHUNK_MARK,
    DATA,
    END,
    FORMAT_VERSION,
    HEADER_BYTES,
    KEY,
    MAGIC,
    STRING,
    SUMS,
    Content,
    Head,
    Row,
    Tail,
)  # fmt: skip
from vaylix_resp.storage.disk import Disk, File
from vaylix_resp.storage.errors import Corrupt, Unreadable
from vaylix_resp.storage.sealing import TAG_BYTES, WRAPPED_BYTES_MAX, Cipher, Keys

T = TypeVar("T")

ADVICE: Final = "restore from another backup; 'vaylix backup verify FILE' tells which are whole"
DATABASES_MAX: Final = 65536  # as the directive allows; a machine is made with so many
ROW_FIELDS: Final = "db, key, type, value, version, expire_at_ms, flags"
READABLE: Final = (1, FORMAT_VERSION)
LINE_BYTES_MAX: Final = 3 * REQUEST_BYTES_MAX  # a key as long as a value, and its value, in base64: a third more

_STORE_ID = re.compile("[0-9a-f]{32}")
_NUMBER = rb"(0|[1-9][0-9]{0,19})"
# What `BackupWriter.add` writes; a parser of JSON would take three times as long.
_ROW = re.compile(
    rb'\{"db":%b,"key":"([A-Za-z0-9+/=]*)","type":"%b","value":"([A-Za-z0-9+/=]*)","version":%b,"expire_at_ms":(null|%b),'
    rb'"flags":%b\}' % (_NUMBER, STRING.encode(), _NUMBER, _NUMBER.replace(b"(", b"(?:"), _NUMBER)
)


def open_backup(disk: Disk, path: str) -> File:
    """The file of a backup whose sidecar is there. Raises Corrupt if it is missing, Unreadable."""
    try:
        return disk.open_regular(path)
    except FileNotFoundError as cause:
        raise Corrupt(path, 0, "the file that belongs to the sidecar, it is missing", advice=ADVICE) from cause
    except OSError as cause:
        raise Unreadable(path, 0, cause, advice=ADVICE) from cause


class BackupReader:
    """Opens a backup file and reads its first line; `rows` gives the keys and ends with every check there is."""

    def __init__(self, disk: Disk, path: str, keys: Keys) -> None:
        self.path = path
        self._file = open_backup(disk, path)
        self._size = self._file.size()
        self.content: Content | None = None  # when `rows` has come to its end
        self.parts: dict[str, Any] = {}  # by name; complete when the first key has come
        self._stored, self._plain, self._plain_bytes, self._at = sha256(), sha256(), 0, 0
        try:
            self._cipher = self._open_header(keys)
            self._lines = self._split()
            self.head = self._read_head()
        except BaseException:
            self._file.close()
            raise

    @property
    def sealed(self) -> bool:
        return self._cipher is not None

    @property
    def size(self) -> int:
        return self._size

    @property
    def position(self) -> int:
        """How far into the file reading has come."""
        return self._at

    def close(self) -> None:
        self._file.close()

    def rows(self) -> Iterator[Row]:
        """Each key, once. Raises Corrupt at the first place that is not as it was written."""
        counts: Counter[int] = Counter()
        tail: Tail | None = None
        for line in self._lines:
            found = _ROW.fullmatch(line)
            if tail is not None:
                raise self._corrupt("nothing behind the last line")
            if found is None:
                tail = self._read_other(line, counts.total())
                continue
            row = self._row(found)
            counts[row.db] += 1
            yield row
        if tail is None:
            raise self._corrupt("a last line with the number of keys (the file has been cut)")
        self.content = Content(
            self.head, tail, {str(db): {STRING: counts[db]} for db in sorted(counts)}, self.sealed, self._at,
            self._stored.hexdigest(), self._plain_bytes, self._plain.hexdigest(),
        )  # fmt: skip

    def _read(self, size: int) -> bytes:
        """The next bytes of the file, fewer at its end."""
        data = self._peek(size)
        self._at += len(data)
        self._stored.update(data)
        return data

    def _peek(self, size: int) -> bytes:
        try:
            return self._file.pread(size, self._at)
        except OSError as cause:
            raise Unreadable(self.path, self._at, cause, advice=ADVICE) from cause

    def _open_header(self, keys: Keys) -> Cipher | None:
        raw = self._peek(len(MAGIC))
        if raw[:1] == b"{":
            return None
        raw = self._read(HEADER_BYTES)
        self._at = 0
        if len(raw) < HEADER_BYTES or raw[-16:] != sha256(raw[:-16]).digest()[:16]:
            raise self._corrupt("a backup: a sealed one with a right header, or lines of JSON")
        magic, version, flags, store_id, sequence, term, time_ms = BOUND.unpack_from(raw)
        if magic != MAGIC:
            raise self._corrupt("the mark of a backup")
        if version not in READABLE or flags:
            text = f"backup format version {FORMAT_VERSION}, this one is {version}"
            raise Corrupt(self.path, 8, text, advice="use the version of vaylix that wrote it")
        key_id, length, wrapped = KEY.unpack_from(raw, BOUND.size)
        if length > WRAPPED_BYTES_MAX or any(wrapped[length:]):
            raise self._corrupt("a wrapped data key")
        self._place = version, store_id.hex(), sequence, term, time_ms
        self._bound = sha256(raw).digest()
        cipher = keys.open(key_id, wrapped[:length], raw[: BOUND.size], self.path)
        self._at = HEADER_BYTES
        return cipher

    def _pieces(self) -> Iterator[bytes]:
        """The text, piece by piece."""
        if self._cipher is None:
            while piece := self._read(CHUNK_BYTES):
                yield piece
            return
        number = 0
        while True:
            kind, piece = self._chunk(self._cipher, number)
            if kind == END:
                break
            yield piece
            number += 1
        if piece != SUMS.pack(self._plain_bytes, self._plain.digest()):
            raise self._corrupt("length and SHA-256 of the text in the end record")
        if self._at != self._size:
            raise self._corrupt("the end of the file behind the end record")

    def _chunk(self, cipher: Cipher, number: int) -> tuple[int, bytes]:
        at = self._at
        head = self._read(CHUNK.size)
        if len(head) < CHUNK.size:
            raise self._corrupt(f"chunk {number}, the file ends here", at)
        mark, found, length, kind = CHUNK.unpack(head)
        if mark != CHUNK_MARK or found != number or length > CHUNK_BYTES or kind not in (DATA, END):
            raise self._corrupt(f"chunk {number}", at)
        sealed = self._read(length + TAG_BYTES)
        piece = cipher.open(number, sealed, head + self._bound) if len(sealed) == length + TAG_BYTES else None
        if piece is None:
            raise self._corrupt(f"chunk {number} with a right tag", at)
        return kind, piece

    def _split(self) -> Iterator[bytes]:
        """Whole lines. What is left of a piece waits for the next one; a line may be as long as the largest value."""
        parts: list[bytes] = []
        length = 0  # of the parts
        for piece in self._pieces():
            self._plain.update(piece)
            self._plain_bytes += len(piece)
            *whole, rest = piece.split(b"\n")
            for line in whole:
                yield b"".join([*parts, line]) if parts else line
                parts, length = [], 0
            if rest:
                parts.append(rest)
                length += len(rest)
                if length > LINE_BYTES_MAX:
                    raise self._corrupt(f"lines of at most {LINE_BYTES_MAX} bytes")
        if parts:
            raise self._corrupt("a line feed at the end of the last line (the file has been cut)")

    def _read_head(self) -> Head:
        obj = self._parse(next(self._lines, b""), "a first line in JSON")
        self._format = obj.pop("format", None)
        if self._format not in READABLE:
            raise self._corrupt(f"a first line of backup format {FORMAT_VERSION}")
        head = self._typed(Head, obj, "a first line with store id, sequence and counters")
        numbers = (head.sequence, head.term, head.time_ms, head.top_version, head.deleted_version)
        if not _STORE_ID.fullmatch(head.store_id) or not 0 < head.databases <= DATABASES_MAX:
            raise self._corrupt("a store id of 16 bytes and a number of databases")
        if any(number < 0 or number >> 63 for number in numbers):
            raise self._corrupt("sequence, term, time and versions of 63 bits")
        place = self._format, head.store_id, head.sequence, head.term, head.time_ms
        if self._cipher and self._place != place:
            raise self._corrupt("the same format, store, sequence and time in header and first line")
        return head

    def _read_other(self, line: bytes, total: int) -> Tail | None:
        """What is no key: a part of the state, or behind `total` keys the last line."""
        expected = f"a key ({ROW_FIELDS}) as this program writes it, or the last line"
        obj = self._parse(line, expected)
        if not total and obj.keys() == {"part", "value"} and self._format > 1:
            name = obj["part"]
            if not isinstance(name, str) or name in self.parts:
                raise self._corrupt("each part of the state once, with its name")
            self.parts[name] = obj["value"]
            return None
        if obj.pop("end", None) is not True:
            raise self._corrupt(expected)
        tail = self._typed(Tail, obj, "a last line with the number of keys and digests")
        if tail.keys != total:
            raise self._corrupt(f"{tail.keys} keys, the file has {total}")
        return tail

    def _typed(self, kind: type[T], obj: dict[str, Any], expected: str) -> T:
        types = {field.name: {"int": int, "str": str}[str(field.type)] for field in fields(kind)}  # type: ignore[arg-type]
        if obj.keys() != types.keys() or any(type(obj[name]) is not types[name] for name in types):
            raise self._corrupt(expected)
        return kind(**obj)

    def _parse(self, line: bytes, expected: str) -> dict[str, Any]:
        try:
            obj = json.loads(line)
        except (ValueError, RecursionError) as cause:
            raise self._corrupt(expected) from cause
        if not isinstance(obj, dict):
            raise self._corrupt(expected)
        return obj

    def _row(self, found: re.Match[bytes]) -> Row:
        db, key, value, version, expire_at_ms, flags = found.groups()
        try:
            row = Row(
                int(db), a2b_base64(key, strict_mode=True), STRING, a2b_base64(value, strict_mode=True), int(version),
                None if expire_at_ms == b"null" else int(expire_at_ms), int(flags),
            )  # fmt: skip
        except Base64Error as cause:
            raise self._corrupt("key and value in base64") from cause
        if row.db >= self.head.databases:
            raise self._corrupt(f"a database below {self.head.databases}")
        if row.version >> 63 or row.flags >> 64 or (row.expire_at_ms or 0) >> 63:
            raise self._corrupt("version, expire_at_ms and flags of at most 64 bits")
        return row

    def _corrupt(self, expected: str, at: int | None = None) -> Corrupt:
        return Corrupt(self.path, self._at if at is None else at, expected, advice=ADVICE)
