"""What the disk can do to us, each with the exit code that it asks for.

Promise: str() of each is one line with the file in it, fit to be printed as it is.
Not here: replies to clients (`vaylix_resp.errors`).
"""

from __future__ import annotations

from vaylix_resp.errors import EX_CONFIG, EX_DATA, Refused, not_allowed, remedy

RESTORE = (
    "keep this directory as it is, see with 'vaylix storage verify' up to where its data is whole, and restore from a "
    "backup into an empty one"
)
NEWER = "start the version of vaylix that wrote it"
OLDER = "run 'vaylix storage migrate' on this directory; it keeps the old files"


def version_advice(found: int, ours: int) -> str:
    """What to do with a file of another format version."""
    return OLDER if found < ours else NEWER


class StorageError(Refused):
    """Base of everything that storage raises for the world's mistakes (ours are assertions)."""


class Corrupt(StorageError):
    """The files contradict themselves or each other: the server must not start on them."""

    exit_code = EX_DATA

    def __init__(
        self, path: str, offset: int, expected: str, *, sequence: int | None = None, advice: str = RESTORE
    ) -> None:
        self.path, self.offset, self.sequence = path, offset, sequence
        self.expected, self.advice = expected, advice
        place = f"{path}: byte {offset}: " + ("" if sequence is None else f"sequence {sequence}: ")
        super().__init__(f"{place}expected {expected}; to continue: {advice}")


class KeyMissing(StorageError):
    """A sealed file, and no keyring that could open it. Nothing has been changed."""

    exit_code = EX_CONFIG

    def __init__(self, path: str, key_id: int) -> None:
        self.path, self.key_id = path, key_id
        super().__init__(
            f"{path}: sealed with key {key_id} of a keyring that is not there; "
            "to continue: put the directory keyring/ back and name its master key (master-key-file)"
        )


class Unreadable(StorageError):
    """The disk refused to give the bytes back (EIO while reading): nothing is known about them."""

    def __init__(self, path: str, offset: int, cause: OSError, *, advice: str = RESTORE) -> None:
        self.path, self.offset = path, offset
        helps = remedy(cause) if not_allowed(cause) else advice
        super().__init__(f"{path}: byte {offset}: the disk cannot read it ({cause.strerror}); to continue: {helps}")


class DiskFull(StorageError):
    """No room. Definite: nothing of the batch is in the log, and the log can be used again."""


class WalFailed(StorageError):
    """A write or an fsync failed, so this log takes nothing more until a restart.

    The kernel may have dropped the pages and would report success on a second fsync; hence never retried.
    """

    definite = False  # True: not a byte of the batch was written, so no restart can bring it back


class Locked(StorageError):
    """Another process uses the directory; `pid` is what it wrote into LOCK, 0 when it cannot be read."""

    exit_code = EX_CONFIG

    def __init__(self, path: str, pid: int) -> None:
        self.path, self.pid = path, pid
        super().__init__(f"{path}: the data directory is used by process {pid}; stop it or choose another directory")


class IoFailed(StorageError):
    """The disk refused an operation outside the log: at start, for a snapshot or for the manifest."""

    def __init__(self, path: str, cause: OSError) -> None:
        self.path, self.cause = path, cause
        super().__init__(f"{path}: the disk refused: {cause.strerror or cause}; to continue: {remedy(cause)}")
