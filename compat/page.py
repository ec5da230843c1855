"""A page that is written from the code: written, or compared with what it would be.

Promise: with `check` nothing is changed, and the difference goes to standard error. Not here: what stands on the page.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path


def write_or_check(module: str, path: Path, wanted: str) -> int:
    """The main of `python -m <module> [--check]`; its exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=f"Write or check {path.name}.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the file is out of date")
    if not parser.parse_args().check:
        path.write_text(wanted)
        print(f"written: {path}")
        return 0
    present = path.read_text() if path.exists() else ""
    if present == wanted:
        return 0
    sys.stderr.writelines(difflib.unified_diff(present.splitlines(True), wanted.splitlines(True), path.name, "code"))
    print(f"{path.name} is out of date: run `python -m {module}`", file=sys.stderr)
    return 1
