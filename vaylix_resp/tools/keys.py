"""Options of offline subcommands that need the master key, and the keys they lead to.

    add_key_options(parser); ...; keys = open_keys(arguments, RealDisk(), arguments.data_dir)

The same sources as the server's, and only one of them: --master-key-file, --master-key-command, VAYLIX_MASTER_KEY or
VAYLIX_MASTER_KEY_FILE in the environment, else master.key in the data directory. There is no option for the key itself:
`ps` would show it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping

from ..config import Settings, environment_items
from ..config_text import read_file
from ..engine.keys import new_keys, reading_keys
from ..security.master_key import OWN, VARIABLE, Source, choose
from ..storage.disk import Disk
from ..storage.sealing import CLEAR, Keys

HELP = "(else VAYLIX_MASTER_KEY[_FILE] in the environment, else master.key in the data directory)"


def add_key_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--master-key-file", default="", metavar="FILE", help=f"file with the master key {HELP}")
    parser.add_argument(
        "--master-key-command", default="", metavar="COMMAND", help="program that prints it, run by a shell"
    )


def add_target_options(parser: argparse.ArgumentParser) -> None:
    """For `target_source`."""
    parser.add_argument(
        "--target-master-key-file", default="", metavar="FILE",
        help="master key of the new directory (default: a new one, master.key in it)",
    )  # fmt: skip
    parser.add_argument("--no-encryption", action="store_true", help="write the new directory in the clear")


def source_of(arguments: argparse.Namespace, root: str, environ: Mapping[str, str] = os.environ) -> Source:
    """Where the master key of the data directory `root` comes from. Raises KeyringError or ConfigError."""
    settings = Settings()
    names = ("MASTER_KEY", "MASTER_KEY_FILE", "MASTER_KEY_COMMAND")
    wanted = {f"VAYLIX_{name}": environ[f"VAYLIX_{name}"] for name in names if environ.get(f"VAYLIX_{name}")}
    settings.take(environment_items(wanted, read_file))
    return choose(
        root,
        file=arguments.master_key_file or settings.master_key_file,
        command=arguments.master_key_command or settings.master_key_command,
        literal=settings.master_key,
        variable=settings.sources.get("master-key", VARIABLE),
    )


def open_keys(arguments: argparse.Namespace, disk: Disk, root: str) -> Keys:
    """To read the data directory `root` with; CLEAR when it has no keyring."""
    return reading_keys(disk, root, source_of(arguments, root))


def target_source(arguments: argparse.Namespace, disk: Disk, target: str) -> Source | None:
    """Where the master key of a new data directory comes from, found usable before anything is made there; None: it is
    to be in the clear."""
    if arguments.no_encryption:
        return None
    source = choose(target, file=arguments.target_master_key_file)
    if source.kind != OWN or disk.exists(source.place):
        source.read(disk)
    return source


def target_keys(source: Source | None, disk: Disk, target: str, now_ms: int) -> Keys:
    """A keyring of its own for a new data directory, whatever the source's keys are."""
    if source is None:
        return CLEAR
    return new_keys(disk, target, source, now_ms, lambda text: print(f"note: {text}", file=sys.stderr))
