"""What a primary has sent, kept for the target, over kills of the importer."""

import errno
import json

import pytest

from vaylix_resp.errors import EX_IO
from vaylix_resp.tools.moving import spool as module
from vaylix_resp.tools.moving.spool import InUse, NotKept, Renewed, Spool

ID = "a" * 40


@pytest.fixture
def filled(tmp_path, monkeypatch):
    """With a file, and a stream in segments of eight bytes and more."""
    monkeypatch.setattr(module, "SEGMENT_BYTES", 8)
    made = Spool(tmp_path / "spool")
    made.begin()
    made.write(b"RE")
    made.write(b"DIS")
    made.complete(ID, 1000)
    for data in (b"0123456", b"789abc", b"def", b"ghijklmno"):
        made.append(data)
    yield made
    made.close()


def again(one):
    one.close()
    return Spool(one.dump.parent)


def everything(one, offset):
    data = b""
    while piece := one.read(one.generation, offset + len(data), 5):
        data += piece
    return data


def test_what_was_written_is_read(filled):
    assert filled.dump.read_bytes() == b"REDIS" and filled.origin.startswith(f"{ID}:1000:")
    assert (filled.start, filled.end) == (1000, 1025)
    for at in range(26):
        assert everything(filled, 1000 + at) == b"0123456789abcdefghijklmno"[at:]
    assert sorted(path.name[-4:] for path in filled.dump.parent.glob("stream-*")) == ["1000", "1013"]


def test_it_is_believed_after_a_kill(filled):
    origin = filled.origin
    found = again(filled)
    assert (found.origin, found.replid, found.start, found.end) == (origin, ID, 1000, 1025)
    found.append(b"pq")
    found.rename("b" * 40)
    found.release(found.generation, 1020)
    found = again(found)
    assert found.replid == "b" * 40 and not found.dump.exists() and found.end == 1027
    assert not found.has(1012) and found.has(1013) and found.has(1027) and not found.has(1028)
    assert everything(found, 1013) == b"defghijklmnopq"
    found.close()


@pytest.mark.parametrize("broken", ["boot", "gap", "facts", "half a file"])
def test_what_is_not_certain_is_not_believed(filled, broken):
    directory = filled.dump.parent
    facts = json.loads((directory / "source.json").read_text())
    if broken == "boot":  # this machine was started anew, and the files were never synced
        (directory / "source.json").write_text(json.dumps(facts | {"boot": "another"}))
    elif broken == "gap":
        next(directory.glob("stream-*1000")).write_bytes(b"short")
    elif broken == "facts":
        (directory / "source.json").write_text("{")
    else:
        filled.begin()
        filled.write(b"RED")
    found = again(filled)
    assert found.origin == "" and not found.has(1000) and found.end == 0
    assert {path.name for path in directory.iterdir()} == {"LOCK"}
    found.close()


def test_who_reads_hears_of_a_new_beginning(filled):
    before = filled.generation
    assert filled.read(before, 1000)
    filled.begin()
    for ask in (filled.read, filled.release):
        with pytest.raises(Renewed):
            ask(before, 1000)


def test_two_imports_do_not_share_one(filled):
    with pytest.raises(InUse, match="another import is at work there"):
        Spool(filled.dump.parent)


def test_a_stream_alone_goes_on_behind_an_offset(tmp_path):
    made = Spool(tmp_path / "spool")
    made.resume(ID, 500, "somewhere:1")
    made.append(b"abc")
    found = again(made)
    assert found.origin == "somewhere:1" and found.has(500) and everything(found, 501) == b"bc"
    found.remove()
    assert not (tmp_path / "spool").exists()


class FullDisk:
    """A file that takes `room` bytes more."""

    def __init__(self, file, room):
        self.file, self.room, self.tell, self.close = file, room, file.tell, file.close

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken, self.room = self.file.write(data[: self.room]), 0
        return taken


def test_a_full_disk_ends_it_and_nothing_stands_there_twice(filled):
    """A connection that is made again would bring the same bytes again, behind the part of them that had room."""
    filled.append(b"p")
    filled._writing = FullDisk(filled._writing, 2)
    with pytest.raises(NotKept, match="No space left on device; make room there") as told:
        filled.append(b"qrst")
    assert told.value.exit_code == EX_IO and not isinstance(told.value, OSError)
    found = again(filled)
    assert found.end == 1028
    found.append(b"st")  # what a source sends behind that
    assert everything(found, 1000) == b"0123456789abcdefghijklmnopqrst"
    found.close()


def test_two_files_of_a_source_at_rest_are_two(filled):
    """Their keys may stand in another order: how many of the first are done says nothing of the second."""
    first = filled.origin
    filled.begin()
    filled.write(b"RE")
    filled.complete(ID, 1000)
    assert filled.origin != first


def test_what_is_not_ours_stays(filled, tmp_path):
    """`--state` may name any directory."""
    mine = tmp_path / "spool" / "thesis.txt"
    mine.write_text("mine")
    filled.remove()
    assert list((tmp_path / "spool").iterdir()) == [mine]
    mine.unlink()
    Spool(tmp_path / "spool").remove()
    assert not (tmp_path / "spool").exists()
