"""What storage relies on in a disk, asked of the real one and of the simulated one."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.sim.disk.simdisk import SimDisk
from vaylix_resp.storage import disk as disk_module
from vaylix_resp.storage.disk import Disk, RealDisk, RealFile
from vaylix_resp.storage.errors import Locked


@pytest.fixture(params=["real", "simulated"])
def place(request, tmp_path) -> tuple[Disk, str]:
    if request.param == "real":
        return RealDisk(), str(tmp_path / "data")
    return SimDisk(), "data"


def test_a_new_file_is_empty_and_holds_what_is_written_where_it_is_written(place) -> None:
    disk, root = place
    disk.mkdir(root)
    file = disk.create(f"{root}/a.tmp")
    assert file.size() == 0 and file.pread(10, 0) == b""
    file.pwrite(b"world", 6)
    file.pwrite(memoryview(b"hello"), 0)
    assert file.pread(100, 0) == b"hello\0world"
    assert file.pread(3, 9) == b"ld" and file.pread(3, 11) == b"" and file.pread(3, 99) == b""
    file.fdatasync()
    file.truncate(4)
    file.fsync()
    assert file.size() == 4
    file.truncate(6)
    assert file.pread(9, 0) == b"hell\0\0"
    file.close()
    file.close()
    assert disk.read_file(f"{root}/a.tmp") == b"hell\0\0"


def test_allocate_grows_with_zeros_and_keeps_content(place) -> None:
    disk, root = place
    disk.mkdir(root)
    file = disk.create(f"{root}/a")
    file.pwrite(b"abc", 0)
    file.allocate(5000)
    assert file.pread(6000, 0) == b"abc" + bytes(4997)
    file.allocate(10)
    assert file.size() == 5000


def test_create_empties_what_an_earlier_try_left(place) -> None:
    disk, root = place
    disk.mkdir(root)
    disk.create(f"{root}/a").pwrite(b"old", 0)
    assert disk.create(f"{root}/a").size() == 0


def test_names(place) -> None:
    disk, root = place
    disk.mkdir(f"{root}/deep/down")
    disk.mkdir(f"{root}/deep/down")
    assert disk.listdir(root) == ["deep"] and disk.exists(f"{root}/deep")
    disk.create(f"{root}/b").pwrite(b"1", 0)
    disk.create(f"{root}/a").pwrite(b"2", 0)
    assert disk.listdir(root) == ["a", "b", "deep"]
    disk.rename(f"{root}/b", f"{root}/a")
    assert disk.listdir(root) == ["a", "deep"] and disk.read_file(f"{root}/a") == b"1"
    disk.unlink(f"{root}/a")
    assert not disk.exists(f"{root}/a")


def test_only_an_empty_directory_can_be_removed(place) -> None:
    disk, root = place
    disk.mkdir(f"{root}/sub")
    disk.create(f"{root}/sub/a").close()
    with pytest.raises(OSError, match="not empty"):
        disk.rmdir(f"{root}/sub")
    disk.unlink(f"{root}/sub/a")
    disk.rmdir(f"{root}/sub")
    assert not disk.exists(f"{root}/sub") and disk.listdir(root) == []


def test_an_open_file_outlives_its_name(place) -> None:
    disk, root = place
    disk.mkdir(root)
    file = disk.create(f"{root}/a")
    file.pwrite(b"x", 0)
    disk.unlink(f"{root}/a")
    assert file.pread(1, 0) == b"x"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda disk, root: disk.open(f"{root}/none"),
        lambda disk, root: disk.listdir(f"{root}/none"),
        lambda disk, root: disk.unlink(f"{root}/none"),
        lambda disk, root: disk.rename(f"{root}/none", f"{root}/other"),
        lambda disk, root: disk.create(f"{root}/none/file"),
        lambda disk, root: disk.link(f"{root}/none", f"{root}/other"),
        lambda disk, root: disk.fsync_dir(f"{root}/none"),
        lambda disk, root: disk.read_file(f"{root}/none"),
        lambda disk, root: disk._mkdir(f"{root}/none/deeper"),
        lambda disk, root: disk.rmdir(f"{root}/none"),
    ],
)
def test_what_is_not_there(place, wrong: Callable[[Disk, str], object]) -> None:
    disk, root = place
    disk.mkdir(root)
    with pytest.raises(FileNotFoundError):
        wrong(disk, root)


def test_a_rename_stays_in_its_directory(place) -> None:
    disk, root = place
    with pytest.raises(AssertionError):
        disk.rename(f"{root}/a", "elsewhere/a")


def test_a_link_is_a_second_name_for_one_file(place) -> None:
    disk, root = place
    disk.mkdir(f"{root}/sub")
    first = disk.create(f"{root}/a")
    first.pwrite(b"one", 0)
    disk.link(f"{root}/a", f"{root}/sub/b")
    second = disk.open(f"{root}/sub/b", write=True)
    second.pwrite(b"two", 1)
    assert first.pread(9, 0) == disk.read_file(f"{root}/a") == disk.read_file(f"{root}/sub/b") == b"otwo"
    disk.unlink(f"{root}/a")
    assert not disk.exists(f"{root}/a") and disk.read_file(f"{root}/sub/b") == b"otwo"
    disk.replace_file(f"{root}/sub/b", b"new")  # a new file under the name, not new content in the old one
    assert first.pread(9, 0) == b"otwo" and disk.read_file(f"{root}/sub/b") == b"new"


def test_a_link_takes_no_name_from_anybody(place) -> None:
    disk, root = place
    disk.mkdir(f"{root}/sub")
    for name in ("a", "b"):
        disk.replace_file(f"{root}/{name}", name.encode())
    for target in ("b", "a", "sub"):
        with pytest.raises(FileExistsError):
            disk.link(f"{root}/a", f"{root}/{target}")
    assert disk.read_file(f"{root}/b") == b"b"
    with pytest.raises(FileNotFoundError):
        disk.link(f"{root}/a", f"{root}/none/b")


def test_an_open_file_follows_its_renamed_name(place) -> None:
    """The log writes its header through the descriptor that it got under the temporary name."""
    disk, root = place
    disk.mkdir(root)
    file = disk.create(f"{root}/a.tmp")
    disk.rename(f"{root}/a.tmp", f"{root}/a")
    file.pwrite(b"late", 0)
    assert disk.read_file(f"{root}/a") == b"late" and disk.listdir(root) == ["a"]


def test_a_file_that_is_created_again_is_the_same_file(place) -> None:
    """O_TRUNC empties the file for all who have it open, and for its other names."""
    disk, root = place
    disk.mkdir(root)
    file = disk.create(f"{root}/a")
    file.pwrite(b"long content", 0)
    disk.link(f"{root}/a", f"{root}/b")
    disk.create(f"{root}/a").pwrite(b"x", 0)
    assert file.pread(99, 0) == disk.read_file(f"{root}/b") == b"x"


def test_replace_file(place) -> None:
    disk, root = place
    disk.mkdir(root)
    for content in (b"one", b"two, longer", b""):
        disk.replace_file(f"{root}/m", content)
        assert disk.read_file(f"{root}/m") == content
    assert disk.listdir(root) == ["m"]


def test_replace_private_file(place) -> None:
    disk, root = place
    disk.mkdir(root)
    for content in (b"one", b"two, longer", b""):
        disk.replace_private_file(f"{root}/key", content)
        assert disk.read_file(f"{root}/key") == content and disk.mode(f"{root}/key") == 0o600
    assert disk.listdir(root) == ["key"]


@pytest.mark.parametrize("step", ["_unlink", "_rename"])
def test_a_file_that_cannot_be_replaced_leaves_nothing_beside_it(place, monkeypatch, step) -> None:
    disk, root = place
    disk.mkdir(root)
    disk.replace_private_file(f"{root}/key", b"old")

    def fails(*names: str) -> None:
        raise OSError(errno.ENOSPC, f"no space for {len(names)}")

    monkeypatch.setattr(type(disk), "_rename", fails)
    monkeypatch.setattr(type(disk), step, fails)  # a name that cannot be removed is left, and the first error counts
    with pytest.raises(OSError, match="no space for 3"):
        disk.replace_private_file(f"{root}/key", b"new")
    assert disk.read_file(f"{root}/key") == b"old"
    assert disk.listdir(root) == (["key"] if step == "_rename" else ["key", "key.tmp"])


def test_create_private(place) -> None:
    disk, root = place
    disk.mkdir(root)
    for content in (b"one, longer", b"two"):
        file = disk.create_private(f"{root}/export")
        file.pwrite(content, 0)
        file.close()
        assert disk.read_file(f"{root}/export") == content and disk.mode(f"{root}/export") == 0o600


def test_a_private_file_is_private_whatever_an_earlier_try_left(tmp_path) -> None:
    left = tmp_path / "key.tmp"
    left.write_text("x")
    left.chmod(0o644)
    disk = RealDisk()
    disk.replace_private_file(str(tmp_path / "key"), b"secret")
    assert disk.mode(str(tmp_path / "key")) == 0o600


def test_nothing_is_written_through_a_link_that_somebody_else_has_put_there(tmp_path) -> None:
    (tmp_path / "elsewhere").write_text("theirs")
    for name in ("a", "key"):
        (tmp_path / f"{name}.tmp").symlink_to(tmp_path / "elsewhere")
    disk = RealDisk()
    for write in (lambda: disk.replace_file(str(tmp_path / "a"), b"x"), lambda: disk.replace_private_file(str(tmp_path / "key"), b"x")):
        with pytest.raises(OSError, match="symbolic links"):
            write()
    assert (tmp_path / "elsewhere").read_text() == "theirs"


def test_a_regular_file_is_no_link_and_no_directory(place, tmp_path) -> None:
    disk, root = place
    disk.mkdir(root)
    disk.replace_file(f"{root}/a", b"content")
    file = disk.open_regular(f"{root}/a")
    assert file.pread(99, 0) == b"content"
    file.close()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "a").write_text("content")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "."):
        with pytest.raises(OSError):
            RealDisk().open_regular(str(tmp_path / name))
    assert RealDisk().resolve(str(tmp_path / "link")) == str((tmp_path / "a").resolve())


def test_the_lock_has_one_holder(place) -> None:
    disk, root = place
    disk.mkdir(root)
    lock = disk.lock(f"{root}/LOCK")
    with pytest.raises(Locked):
        disk.lock(f"{root}/LOCK")
    lock.release()
    lock.release()
    disk.lock(f"{root}/LOCK").release()


def test_free_bytes(place) -> None:
    disk, root = place
    disk.mkdir(root)
    assert disk.free_bytes(root) > 0


def test_the_lock_names_its_holder_to_another_process(tmp_path) -> None:
    lock = RealDisk().lock(str(tmp_path / "LOCK"))
    code = f"from vaylix_resp.storage.disk import RealDisk; RealDisk().lock({str(tmp_path / 'LOCK')!r})"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert other.returncode and f"used by process {os.getpid()}" in other.stderr
    lock.release()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_short_writes_and_eagain_are_completed(tmp_path, monkeypatch) -> None:
    disk = RealDisk()
    file = disk.create(str(tmp_path / "a"))
    real, calls = os.pwrite, []

    def grudging(fd: int, data, offset: int) -> int:
        calls.append(offset)
        if len(calls) % 3 == 0:
            raise BlockingIOError
        return real(fd, bytes(data)[:7], offset)

    monkeypatch.setattr(disk_module.os, "pwrite", grudging)
    content = bytes(range(1, 101))
    file.pwrite(content, 50)
    assert file.pread(200, 0) == bytes(50) + content
    assert len(calls) > 20


def test_a_write_that_writes_nothing_is_an_error(tmp_path, monkeypatch) -> None:
    file = RealDisk().create(str(tmp_path / "a"))
    monkeypatch.setattr(disk_module.os, "pwrite", lambda *_: 0)
    with pytest.raises(OSError, match="wrote nothing"):
        file.pwrite(b"x", 0)


def test_reads_are_completed(tmp_path, monkeypatch) -> None:
    (tmp_path / "a").write_bytes(bytes(range(100)))
    file = RealDisk().open(str(tmp_path / "a"))
    assert isinstance(file, RealFile)
    real = os.pread
    monkeypatch.setattr(disk_module.os, "pread", lambda fd, size, offset: real(fd, min(size, 7), offset))
    assert file.pread(200, 10) == bytes(range(10, 100))


def test_every_new_name_is_followed_by_an_fsync_of_its_directory(place) -> None:
    disk, root = place
    calls: list[tuple[str, str]] = []
    for name in ("_create", "_rename", "_link", "_unlink", "_mkdir", "_rmdir", "fsync_dir"):
        real = getattr(disk, name)

        def spy(*arguments, name=name, real=real):
            calls.append((name, arguments[-1]))
            return real(*arguments)

        setattr(disk, name, spy)
    disk.mkdir(f"{root}/sub")
    disk.create(f"{root}/sub/a")
    disk.rename(f"{root}/sub/a", f"{root}/sub/b")
    disk.link(f"{root}/sub/b", f"{root}/sub/d")
    disk.unlink(f"{root}/sub/b")
    disk.replace_file(f"{root}/sub/c", b"x")
    disk.mkdir(f"{root}/empty")
    disk.rmdir(f"{root}/empty")
    for (name, path), (following, directory) in zip(calls, calls[1:] + [("", "")], strict=True):
        if name != "fsync_dir":
            assert (following, directory) == ("fsync_dir", os.path.dirname(path) or ".")
