"""`vaylix storage rotate-key`: new keys for a data directory whose server is stopped.

Not here: what is done in which order (`engine.rekey`); rotation without a stop (KEYRING ROTATE).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import asdict

from ..clock import SystemClock
from ..engine.rekey import rotate_key
from ..errors import EX_OK
from ..security import master_key
from ..security.master_key import MasterKey
from ..storage.disk import Disk, RealDisk
from .keys import add_key_options, source_of
from .output import Group, Progress, print_json

DESCRIPTION = (
    "Make a new key for the keyring of a stopped server's data directory, put every file's data key under it, and\n"
    "destroy the old keys. With one of the --new-master-key options the keyring is put under another master key too."
)


def register_keys(add: Group) -> None:
    """The verb rotate-key of the group storage."""
    parser = add(
        "rotate-key",
        "put every file of a data directory under a new key (the server is stopped)",
        "vaylix storage rotate-key --data-dir /srv/vaylix --new-master-key-generate /etc/vaylix/master.key",
    )
    parser.description = DESCRIPTION
    parser.add_argument("--data-dir", required=True, metavar="DIR", help="the data directory")
    add_key_options(parser)
    new = parser.add_mutually_exclusive_group()
    new.add_argument(
        "--new-master-key-file", default="", metavar="FILE", help="put the keyring under the master key in this file"
    )
    new.add_argument(
        "--new-master-key-generate", default="", metavar="FILE", help="make a master key in this new file, then use it"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=_rotate_key)


def _rotate_key(arguments: argparse.Namespace) -> int:
    disk, root = RealDisk(), os.path.abspath(arguments.data_dir)
    source = source_of(arguments, root)
    progress: list[Progress] = []

    def say(done: int, total: int) -> None:
        if not progress:
            progress.append(Progress("new headers", total, "files"))
        if done:  # before the first one there is nothing to say
            progress[0].say(done)

    rotated = rotate_key(
        disk, root, source, SystemClock().wall_ms(), new_master=_new_master(arguments, disk), say=say
    )  # fmt: skip
    if arguments.json:
        print_json({"data_dir": root, **asdict(rotated)})
        return EX_OK
    gone = ", ".join(map(str, rotated.destroyed_keys))
    print(f"{root}: key {rotated.active_key} of keyring {rotated.keyring_id} is active; destroyed: {gone}")
    print(f"{rotated.files} files are under the new key")
    if rotated.master_key:
        print(f"the master key is now the one in {rotated.master_key}: name it with master-key-file at the next start")
    return EX_OK


def _new_master(arguments: argparse.Namespace, disk: Disk) -> Callable[[], MasterKey] | None:
    """Called when everything has been found in order: only then a new key is made."""
    if arguments.new_master_key_generate:
        path = os.path.abspath(arguments.new_master_key_generate)
        return lambda: master_key.generate(disk, path)
    if arguments.new_master_key_file:
        path = os.path.abspath(arguments.new_master_key_file)
        return lambda: master_key.read_file(disk, path)
    return None
