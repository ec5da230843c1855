"""The master key: where it comes from, and how it is made when nobody gives one.

Exactly one source: a file, a command that prints it, the environment, or `master.key` in the data directory, which is
made at a first start with mode 0600 and protects what leaves the directory without it (a backup, an archive, a single
file), and nothing against somebody who gets the whole directory.
Promise: no text made here (errors, str(), repr()) holds the key or the command that prints it.
Units: a key is 32 bytes; as text 64 hex digits or base64. Not here: what it unlocks (`keyring`).
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import signal
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from ..config import Settings
from ..errors import EX_CONFIG, EX_IO, Refused, remedy

KEY_BYTES: Final = 32
TEXT_BYTES_MAX: Final = 4096  # of a file or an output that holds a key: no more is looked at
DISTINCT_BYTES_MIN: Final = 8  # of 32 random bytes fewer than this many differ once in 10^30 keys; of typed ones often
COMMAND_TIMEOUT_S: Final = 30.0
SHOWN_CHARACTERS_MAX: Final = 512  # of what a failing command says
NAME: Final = "master.key"
VARIABLE: Final = "VAYLIX_MASTER_KEY"

FILE, COMMAND, ENVIRONMENT, OWN = "file", "command", "environment", "own"

GENERATED: Final = (
    "{path}: a new master key has been made. It lies beside the data: it protects backups, archives and single files "
    "that leave this directory without it, and nothing against whoever gets the directory as a whole. Without it the "
    "data cannot be read by anybody: keep a copy elsewhere, or move it and name its place with master-key-file"
)


class KeyringError(Refused):
    """A key that is missing, wrong or damaged; one line that names the file and the way out."""

    def __init__(self, text: str, exit_code: int = EX_CONFIG) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class Files(Protocol):
    """What keys need of a disk; `storage.disk.Disk` has it. A name is durable when the call that made it returns."""

    def exists(self, path: str) -> bool: ...
    def mkdir(self, path: str) -> None: ...
    def read_file(self, path: str) -> bytes: ...
    def replace_file(self, path: str, data: bytes) -> None: ...

    def replace_private_file(self, path: str, data: bytes) -> None:
        """The same for a secret: mode 0600 from the first byte on."""
        ...

    def mode(self, path: str) -> int:
        """Permission bits."""
        ...


@dataclass(frozen=True, slots=True)
class MasterKey:
    key: bytes = field(repr=False)
    source: str  # in words, for texts

    def hex(self) -> bytes:
        """For the standard input of a child."""
        return self.key.hex().encode()


@dataclass(frozen=True, slots=True)
class Source:
    """Where a master key comes from. `place`: a path or a variable; empty for a command, which may hold secrets."""

    kind: str
    place: str
    secret: str = field(default="", repr=False)  # the key's text, or the command

    def __str__(self) -> str:
        return "master-key-command" if self.kind == COMMAND else self.place

    def read(self, files: Files) -> MasterKey:
        """The key, now. Raises KeyringError."""
        if self.kind == COMMAND:
            return parse(_output(self.secret), str(self))
        if self.kind == ENVIRONMENT:
            return parse(self.secret, str(self))
        return read_file(files, self.place)


def choose(root: str, *, file: str = "", command: str = "", literal: str = "", variable: str = VARIABLE) -> Source:
    """The source that is set, or the file in the data directory `root`. Two are one too many: KeyringError."""
    found = []
    if file:
        found.append(("master-key-file", Source(FILE, os.path.abspath(file))))
    if command:
        found.append(("master-key-command", Source(COMMAND, "", command)))
    if literal:
        found.append((variable, Source(ENVIRONMENT, variable, literal)))
    if len(found) > 1:
        names = " and ".join(name for name, _ in found)
        raise KeyringError(f"the master key has more than one source: {names}; to continue: leave one of them")
    return found[0][1] if found else Source(OWN, own_path(root))


def of_settings(settings: Settings, root: str) -> Source:
    """The source that the directives name. Raises KeyringError."""
    return choose(
        root, file=settings.master_key_file, command=settings.master_key_command, literal=settings.master_key,
        variable=settings.sources.get("master-key", VARIABLE),
    )  # fmt: skip


def own_path(root: str) -> str:
    return os.path.join(root, NAME)


def parse(text: str, source: str) -> MasterKey:
    """32 bytes from 64 hex digits or base64, blanks and newlines around it allowed. Raises KeyringError."""
    text = text.strip()
    try:
        key = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyringError(
            f"{source}: expected a master key of {KEY_BYTES} bytes as {2 * KEY_BYTES} hex digits or in base64, "
            f"found {len(text)} characters that are neither; to continue: make one with 'openssl rand -hex {KEY_BYTES}'"
        )
    if len(set(key)) < DISTINCT_BYTES_MIN:
        raise KeyringError(
            f"{source}: this master key is not random; to continue: make one with 'openssl rand -hex {KEY_BYTES}'"
        )
    return MasterKey(key, source)


def read_file(files: Files, path: str) -> MasterKey:
    try:
        raw = files.read_file(path)
    except FileNotFoundError as cause:
        raise KeyringError(
            f"{path}: the master key is not there; to continue: put it back, or name its place with master-key-file, "
            f"master-key-command or {VARIABLE}"
        ) from cause
    except OSError as cause:
        raise KeyringError(
            f"{path}: the master key cannot be read ({cause.strerror or cause}); to continue: {remedy(cause)}"
        ) from cause
    return parse(raw[:TEXT_BYTES_MAX].decode("utf-8", "replace"), path)


def generate(files: Files, path: str, token: Callable[[int], bytes] = secrets.token_bytes) -> MasterKey:
    """A new key in a new file, durable when this returns. Raises KeyringError."""
    if files.exists(path):
        raise KeyringError(
            f"{path}: exists already, and no key is ever overwritten; to continue: choose a new file, or name this one "
            "with --new-master-key-file if an interrupted 'rotate-key' has made it"
        )
    key = MasterKey(token(KEY_BYTES), path)
    try:
        files.replace_private_file(path, key.hex() + b"\n")
    except OSError as cause:
        text = f"{path}: the disk refused: {cause.strerror or cause}; to continue: {remedy(cause)}"
        raise KeyringError(text, EX_IO) from cause
    return key


def mode_warning(files: Files, path: str) -> str:
    """What is wrong with who may read the key, or ""."""
    try:
        mode = files.mode(path)
    except OSError:
        return ""
    if not mode & (stat.S_IRWXG | stat.S_IRWXO):
        return ""
    return f"{path}: the master key can be read by others than its owner (mode {mode:04o}); run: chmod 600 '{path}'"


def _output(command: str) -> str:
    """What the command prints. It and what it has started are killed when it takes too long."""
    with subprocess.Popen(
        ["/bin/sh", "-c", command],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            output, errors = process.communicate(timeout=COMMAND_TIMEOUT_S)
        except subprocess.TimeoutExpired as cause:
            os.killpg(process.pid, signal.SIGKILL)  # and no word more: what has left the group may hold the pipe
            raise KeyringError(
                f"master-key-command: no answer within {COMMAND_TIMEOUT_S:g} s; to continue: run it by hand"
            ) from cause
    if process.returncode:
        said = " ".join(errors.decode("utf-8", "replace").split())[:SHOWN_CHARACTERS_MAX]
        raise KeyringError(
            f"master-key-command: ended with status {process.returncode}: {said or 'it says nothing'}; "
            "to continue: run it by hand"
        )
    return output[:TEXT_BYTES_MAX].decode("utf-8", "replace")
