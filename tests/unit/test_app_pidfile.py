"""`pidfile`: there while clients are served, and only ours is taken away."""

from types import SimpleNamespace

import pytest

from vaylix_resp import app_pidfile as module
from vaylix_resp.app_pidfile import PidFile


@pytest.fixture
def warnings(monkeypatch):
    found = []
    monkeypatch.setattr(module, "log", SimpleNamespace(warning=found.append))
    return found


def test_it_comes_and_goes(tmp_path, warnings):
    path = tmp_path / "pid"
    path.write_text("1\n")  # of a server that was killed
    file = PidFile(str(path), 4711)
    file.write()
    assert path.read_text() == "4711\n" and [p.name for p in tmp_path.iterdir()] == ["pid"]
    file.remove()
    assert not path.exists() and warnings == []


def test_without_a_path_there_is_none(tmp_path, monkeypatch, warnings):
    monkeypatch.chdir(tmp_path)
    file = PidFile("", 4711)
    file.write()
    file.remove()
    assert list(tmp_path.iterdir()) == [] and warnings == []


def test_a_start_that_failed_takes_nothing_away(tmp_path):
    path = tmp_path / "pid"
    path.write_text("1\n")
    PidFile(str(path), 4711).remove()
    assert path.read_text() == "1\n"


@pytest.mark.parametrize("content", ["1\n", "", "ä"])
def test_that_of_another_one_stays(content, tmp_path, warnings):
    path = tmp_path / "pid"
    file = PidFile(str(path), 4711)
    file.write()
    path.write_text(content, encoding="utf-8")
    file.remove()
    assert path.read_text(encoding="utf-8") == content


def test_what_cannot_be_written_is_a_warning(tmp_path, warnings):
    file = PidFile(str(tmp_path / "nowhere" / "pid"), 4711)
    file.write()
    file.remove()
    assert len(warnings) == 1 and "nowhere/pid cannot be written: No such file" in warnings[0]
