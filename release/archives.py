"""`python -m release.archives DIR`: the wheel and the source archive of the last commit, the same bytes wherever and
whenever they are made; with --check they are made twice, under different circumstances, and compared.

Promise: what is in them comes from the commit (git archive), never from files that lie around; times are those of the
commit. Needs git and the network: the build backend is installed in an environment of its own, in BACKEND's version,
because another one may write other metadata.
Source: reproducible-builds.org, SOURCE_DATE_EPOCH; PEP 517.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
BACKEND = "setuptools==80.9.0"
BUILD = "import sys; from setuptools import build_meta as b; out = sys.argv[1]; b.build_wheel(out); b.build_sdist(out)"
UMASK = 0o022  # the modes of files in a wheel come from it
# Two builds that agree although all of this differs.
CIRCUMSTANCES = (
    {"TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "1"},
    {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "2"},
)


def git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout


def build(python: Path, out: Path, circumstances: dict[str, str]) -> None:
    """Both archives into `out`, from a copy of the last commit in a directory of its own."""
    epoch = git("log", "-1", "--format=%ct").decode().strip()
    with tempfile.TemporaryDirectory(prefix="vaylix-release-") as place:
        with tarfile.open(fileobj=io.BytesIO(git("archive", "--format=tar", "HEAD"))) as archive:
            archive.extractall(place, filter="tar")
        environment = os.environ | circumstances | {"SOURCE_DATE_EPOCH": epoch}
        words = [python, "-W", "ignore", "-c", BUILD, out]
        subprocess.run(words, cwd=place, env=environment, umask=UMASK, check=True, stdout=subprocess.DEVNULL)
    for path in out.glob("*.tar.gz"):
        path.write_bytes(settled(path.read_bytes(), int(epoch)))


def settled(archive: bytes, epoch: int) -> bytes:
    """The same files in order, without who packed them, where and when: setuptools takes that from the file system."""
    tarred = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archive)) as old, tarfile.open(fileobj=tarred, mode="w") as new:
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            fresh = tarfile.TarInfo(member.name)
            fresh.type, fresh.size, fresh.mtime = member.type, member.size, epoch
            fresh.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            new.addfile(fresh, old.extractfile(member) if member.isfile() else None)
    return gzip.compress(tarred.getvalue(), mtime=epoch)


def sums(place: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(place.iterdir())}


def backend(place: Path) -> Path:
    """A Python that has the build backend and nothing else."""
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", BACKEND], check=True)
    return python


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m release.archives", description="Build the wheel and the sdist.")
    parser.add_argument("directory", type=Path, help="where they go")
    parser.add_argument("--check", action="store_true", help="build twice; exit 1 if a byte differs")
    arguments = parser.parse_args()
    if git("status", "--porcelain"):
        print("note: what is not committed is not in them", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="vaylix-backend-") as scratch:
        python = backend(Path(scratch) / "venv")
        out, again = arguments.directory.resolve(), Path(scratch) / "again"
        out.mkdir(parents=True, exist_ok=True)
        if list(out.iterdir()):
            print(f"{out} is not empty", file=sys.stderr)
            return 1
        build(python, out, CIRCUMSTANCES[0])
        made = sums(out)
        for name, digest in made.items():
            print(f"{digest}  {name}")
        if not arguments.check:
            return 0
        again.mkdir()
        build(python, again, CIRCUMSTANCES[1])
        for name, digest in sums(again).items():
            if made.get(name) != digest:
                print(f"{name} differs when it is built again: {digest}", file=sys.stderr)
                return 1
    print("built twice, the same bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
