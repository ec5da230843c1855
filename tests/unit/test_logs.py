"""Log lines: levels, forms, and that nothing from outside can forge one."""

import contextlib
import json
import logging
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaylix_resp.observability import logs


@pytest.fixture(autouse=True)
def put_back():
    yield
    for name in (logs.ROOT, *logs._FOREIGN):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)


def lines(path):
    return path.read_text().splitlines()


def test_a_plain_line_has_time_level_part_and_fields(tmp_path):
    path = tmp_path / "log"
    logs.configure("notice", str(path))
    log = logs.get_log("wal")
    log.notice("sealed a segment", first=1, path="/a b", key=b"k\xff", empty="")
    log.verbose("not shown")
    (line,) = lines(path)
    stamp, rest = line.split(" ", 1)
    assert rest == 'notice [wal] sealed a segment first=1 path="/a b" key=k\\xff empty=""'
    assert stamp.endswith("Z") and len(stamp) == len("2026-11-22T13:27:49.910Z")


def test_a_json_line_is_one_object(tmp_path):
    path = tmp_path / "log"
    logs.configure("debug", str(path), "json")
    logs.get_log("wal").debug("cut\n", bytes=5, ok=True, none=None, rate=0.5, raw=b"\x00", message="clash")
    (line,) = lines(path)
    row = json.loads(line)
    assert row.pop("time").endswith("Z")
    assert row == {
        "level": "debug", "part": "wal", "message": "cut\n", "message_": "clash",
        "bytes": 5, "ok": True, "none": None, "rate": "0.5", "raw": "\x00",
    }  # fmt: skip


@pytest.mark.parametrize("level, shown", [("debug", 4), ("verbose", 3), ("notice", 2), ("warning", 1)])
def test_levels_are_those_of_redis(tmp_path, level, shown):
    path = tmp_path / "log"
    logs.configure("warning", str(path))
    logs.set_level(level)
    log = logs.get_log("x")
    for write in (log.debug, log.verbose, log.notice, log.warning):
        write("m")
    assert len(lines(path)) == shown
    assert log.enabled(logs.DEBUG) is (level == "debug")


@pytest.mark.parametrize("style", ["plain", "json"])
@given(text=st.text(st.characters(codec=None), max_size=60))
def test_no_text_makes_a_second_line_or_a_control_character(style, text):
    form = logs._Json() if style == "json" else logs._Plain()
    record = logging.LogRecord("vaylix.x", logs.NOTICE, "", 0, text.replace("%", "%%"), (), None)
    record.fields = {"field": text, "raw": text.encode("utf-8", "surrogatepass")}
    line = form.format(record)
    assert line.splitlines() == [line]
    assert all(ord(c) >= 32 and not 127 <= ord(c) < 160 for c in line)
    line.encode()


def test_a_failure_shows_its_place_on_marked_lines(tmp_path):
    path = tmp_path / "log"
    logs.configure("notice", str(path))
    try:
        raise RuntimeError("odd\x1b[2J\n2026 notice forged")
    except RuntimeError as error:
        logs.get_log("x").failure("unforeseen", error, client=3)
    head, *rest = lines(path)
    assert head.endswith("warning [x] unforeseen client=3")
    assert rest and all(row.startswith("    | ") for row in rest)
    assert "\x1b" not in path.read_text()


def test_a_long_message_is_cut(tmp_path):
    path = tmp_path / "log"
    logs.configure("notice", str(path))
    logs.get_log("x").notice("a" * 1_000_000)
    assert len(path.read_text()) < logs.MESSAGE_CHARS_MAX + 100


def test_messages_of_asyncio_arrive_too_but_not_its_chatter(tmp_path):
    path = tmp_path / "log"
    logs.configure("debug", str(path))
    logging.getLogger("asyncio").error("loop trouble %s", 1)
    logging.getLogger("asyncio").debug("Using selector")
    assert [line.split(" ", 1)[1] for line in lines(path)] == ["warning [asyncio] loop trouble 1"]


def test_a_file_that_was_moved_away_is_opened_anew(tmp_path):
    path = tmp_path / "log"
    logs.configure("notice", str(path))
    log = logs.get_log("x")
    log.notice("one")
    path.rename(tmp_path / "log.1")
    log.notice("two")
    assert "two" in path.read_text() and "two" not in (tmp_path / "log.1").read_text()


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path, capsys):
    logs.configure("notice", "/dev/full")
    log = logs.get_log("x")
    for _ in range(10):
        log.notice("lost")
    assert capsys.readouterr().err.count("cannot write the log") == logs._FAILURES_SHOWN
    logs.configure("notice", str(tmp_path / "log"))


def test_wrong_names_are_refused(tmp_path):
    with pytest.raises(ValueError):
        logs.configure("loud")
    with pytest.raises(ValueError):
        logs.configure("notice", "", "xml")
    with pytest.raises(OSError):
        logs.configure("notice", str(tmp_path / "absent" / "log"))


# The system's log.


class Daemon:
    """What listens at /dev/log: a socket of datagrams."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setblocking(False)

    def heard(self):
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.socket.recv(65536).decode("utf-8", "replace"))
        return found

    def die(self):
        self.socket.close()
        os.unlink(self.path)


def to_syslog(tmp_path, style="plain"):
    logs.configure("debug", str(tmp_path / "log"), style, logs.Syslog("my server", "local3", str(tmp_path / "dev")))


@pytest.mark.parametrize("style", ["plain", "json"])
def test_messages_also_go_to_the_systems_log(tmp_path, style):
    daemon = Daemon(tmp_path / "dev")
    to_syslog(tmp_path, style)
    log = logs.get_log("wal")
    for write in (log.debug, log.verbose, log.notice, log.warning):
        write("cut\n", bytes=5)
    log.failure("a bug", ValueError("x"))
    pid = os.getpid()
    assert daemon.heard() == [
        *(f"<{19 * 8 + severity}>my server[{pid}]: [wal] cut\\n bytes=5" for severity in (7, 6, 5, 4)),
        f"<{19 * 8 + 4}>my server[{pid}]: [wal] a bug",
    ]
    assert len(lines(tmp_path / "log")) >= 5
    daemon.die()


def test_a_system_log_that_does_not_read_is_not_waited_for(tmp_path):
    daemon = Daemon(tmp_path / "dev")
    to_syslog(tmp_path)
    log = logs.get_log("x")
    for number in range(2000):  # some hundred datagrams fit
        log.notice(f"message {number}")
    early = daemon.heard()
    assert 0 < len(early) < 2000 and early[-1].endswith(f"message {len(early) - 1}")
    log.notice("again")
    told, last = daemon.heard()
    assert told.endswith(f"{2000 - len(early)} messages did not get here in time") and last.endswith("again")
    assert len(lines(tmp_path / "log")) == 2001
    daemon.die()


def test_a_system_log_that_comes_back(tmp_path, capsys):
    daemon = Daemon(tmp_path / "dev")
    to_syslog(tmp_path)
    log = logs.get_log("x")
    log.notice("one")
    daemon.die()
    for _ in range(10):
        log.notice("nobody hears this")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and all("syslog-enabled no" in line for line in said)
    daemon = Daemon(tmp_path / "dev")
    log.notice("two")
    assert [line.rpartition(" ")[2] for line in daemon.heard()] == ["two"]
    daemon.die()
    daemon = Daemon(tmp_path / "dev")  # between two messages
    log.notice("three")
    assert [line.rpartition(" ")[2] for line in daemon.heard()] == ["three"]
    daemon.die()


def test_a_long_message_is_cut_for_the_system_alone(tmp_path):
    daemon = Daemon(tmp_path / "dev")
    to_syslog(tmp_path)
    logs.get_log("x").notice("é" * 10_000)
    (found,) = [len(line) for line in daemon.heard()]
    assert 4000 < found < 8200 and len(lines(tmp_path / "log")[0]) > 10_000
    daemon.die()
