"""The keys of an archive: all that its copies of the keyring hold and one master key opens.

An archive outlives keys, which are destroyed when no file of the server needs them, and master keys, which are changed.
Promise: a copy that another master key opens is passed over as long as one copy opens; a file whose key was only in
such a copy is refused by name. A damaged copy is refused.
Not here: which files an archive has (`storage.copies.archive`).
"""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import EX_CONFIG
from ...security.keyring import Keyring
from ...security.master_key import KeyringError, MasterKey
from ...storage.sealing import CLEAR, Keys
from ..keys import SealedKeys


def archive_keys(copies: Sequence[tuple[str, bytes]], master: MasterKey | None) -> Keys:
    """`copies`: path and content, oldest first; none, and no master key, for an archive of a store in the clear.

    Raises KeyringError: no copy is under this master key (78), one is damaged or of another keyring (65).
    """
    if not copies:
        return CLEAR
    assert master is not None, "whoever has copies has a master key"
    opened: list[tuple[str, bytes]] = []
    refusal: KeyringError | None = None
    for path, raw in copies:
        try:
            Keyring.load(raw, master, path)
        except KeyringError as failure:
            if failure.exit_code != EX_CONFIG:
                raise
            refusal = failure
        else:
            opened.append((path, raw))
    if not opened:
        assert refusal is not None
        raise refusal
    return SealedKeys(Keyring.merge(opened, master))
