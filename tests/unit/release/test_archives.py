"""What makes a source archive the same wherever it is packed; that two builds agree is `python -m release.archives --check`."""

import gzip
import io
import random
import re
import tarfile
import tomllib
from pathlib import Path

from release.archives import BACKEND, settled

ROOT = Path(__file__).parents[3]
FILES = {"p/": None, "p/run": b"#!/bin/sh\n", "p/a.py": b"x = 1\n", "p/sub/": None, "p/sub/b.txt": b""}


def packed(seed):
    """The files as somebody packs them: in any order, with names, ids, modes and times of that machine."""
    chance, out = random.Random(seed), io.BytesIO()
    names = list(FILES)
    chance.shuffle(names)
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(name.rstrip("/"))
            content = FILES[name]
            member.uid, member.gid, member.mtime = chance.randrange(1000), chance.randrange(1000), chance.randrange(10**9)
            member.uname, member.gname = f"user{seed}", f"group{seed}"
            run = 0o111 if content is None or content.startswith(b"#!") else 0
            member.mode = chance.choice((0o600, 0o644, 0o664)) | run
            member.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            member.size = len(content or b"")
            archive.addfile(member, io.BytesIO(content or b""))
    return out.getvalue()


def test_the_same_files_are_the_same_bytes_whoever_packs_them():
    assert packed(1) != packed(2) and settled(packed(1), 86400) == settled(packed(2), 86400)


def test_what_is_in_it_is_as_it_was():
    data = settled(packed(1), 86400)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
        assert [m.name for m in members] == sorted(name.rstrip("/") for name in FILES)
        assert {m.name: archive.extractfile(m).read() for m in members if m.isfile()} == {
            name: content for name, content in FILES.items() if content is not None
        }
        assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 86400)}
        assert {m.name: m.mode for m in members} == {
            "p": 0o755, "p/run": 0o755, "p/a.py": 0o644, "p/sub": 0o755, "p/sub/b.txt": 0o644,
        }  # fmt: skip
    assert gzip.decompress(data) and data[4:8] == (86400).to_bytes(4, "little")


def test_the_pinned_backend_is_one_that_the_project_takes():
    (required,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    name, least = re.fullmatch(r"(\w+)>=(\d+)", required).groups()
    pinned, version = BACKEND.split("==")
    assert pinned == name and int(version.split(".")[0]) >= int(least)
