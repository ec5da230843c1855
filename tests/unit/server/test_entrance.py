"""CONFIG SET requirepass changes users once every setting of the request has been taken; the ACL file."""

import asyncio
import os
import threading
from types import SimpleNamespace

import pytest

from tests.unit.server.front import Stage
from vaylix_resp.resp.reply import OK
from vaylix_resp.server import entrance
from vaylix_resp.server.entrance import AccountFile, read_file
from vaylix_resp.storage.disk import RealDisk

PASS = "-WRONGPASS invalid username-password pair or user is disabled."
CONTENTS = (b"user one off\n", b"user two off\n", b"user three off\n")
HISTORY = "-ERR The password is one of the last 3 (password-history)"


@pytest.fixture
def stage():
    made = Stage(password_history=3)
    made.admin = made.connect()
    yield made
    made.close()


def refuse_ciphers(stage):
    """A setting that its owner refuses, as the door for TLS does; the value from before it takes."""

    def taken(value):
        if value == "BAD":
            raise ValueError("no such cipher")

    stage.settings.subscribe("tls-ciphers", taken)


@pytest.mark.parametrize("words", [
    ("requirepass", "new", "tls-ciphers", "BAD"), ("tls-ciphers", "BAD", "requirepass", "new"),
    ("requirepass", "", "tls-ciphers", "BAD"),
])  # fmt: skip
@pytest.mark.parametrize("before", ["", "old"])
def test_a_request_that_fails_for_another_setting_changes_no_password(stage, words, before):
    """Taking `requirepass` back must not put its value in place: users may have got another password since."""
    refuse_ciphers(stage)
    if before:
        stage.admin.ask(f"CONFIG SET requirepass {before}")
    stage.admin.ask("ACL SETUSER default resetpass >by-acl")
    (refused,) = stage.admin.ask(("CONFIG", "SET", *words))
    assert "no such cipher" in refused
    assert stage.admin.ask("CONFIG SET timeout 100") == ["+OK"], "nothing of it is left for the next request"
    assert not stage.shared.accounts.open
    assert stage.connect().ask("AUTH new", "AUTH old", "AUTH by-acl") == [PASS, PASS, "+OK"]
    assert stage.settings.requirepass == before


def test_a_password_that_is_refused_later_is_not_shown_as_the_one_in_force(stage):
    assert stage.admin.ask("CONFIG SET requirepass one", "CONFIG SET requirepass two") == ["+OK", "+OK"]
    assert stage.admin.ask("CONFIG SET requirepass one") == [HISTORY]
    assert stage.settings.requirepass == "two"
    assert stage.connect().ask("AUTH one", "AUTH two") == [PASS, "+OK"]


def hold(stage):
    """From now on passwords are worked out by `work(at)` only."""
    held = []
    stage.shared.entrance._workers.run = lambda work, finished: held.append((work, finished))

    def work(at):
        job, finished = held.pop(at)
        try:
            result = job()
        except ValueError as refused:
            result = refused
        finished(result)
        stage.commit()

    return held, work


def test_of_two_requests_the_later_one_counts(stage):
    other = stage.connect()
    held, work = hold(stage)
    stage.admin.send("CONFIG SET requirepass one")
    other.send("CONFIG SET requirepass two")
    assert len(held) == 1, "the second waits for the first: which is quicker must not matter"
    work(0)
    assert (stage.admin.heard(), other.heard()) == (["+OK"], [])
    work(0)
    assert other.heard() == ["+OK"]
    assert stage.settings.requirepass == "two"
    (form,) = stage.shared.accounts.users["default"].passwords
    assert form not in stage.shared.accounts.users["default"].history


def test_one_that_fails_does_not_undo_the_next(stage):
    other = stage.connect()
    stage.admin.ask("CONFIG SET requirepass one", "CONFIG SET requirepass two")
    _, work = hold(stage)
    stage.admin.send("CONFIG SET requirepass one")
    other.send("CONFIG SET requirepass three")
    work(0)
    work(0)
    assert (stage.admin.heard(), other.heard()) == ([HISTORY], ["+OK"])
    assert stage.settings.requirepass == "three"


def test_an_acl_file_that_is_a_pipe_is_refused(tmp_path):
    """Reading it would take a thread for ever, and the server's stop would wait for that."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe"):
        read_file(str(tmp_path / "pipe"))


def test_the_acl_file_is_written_once_at_a_time_and_ends_as_it_was_saved_last(tmp_path, monkeypatch):
    """Two at once would write to one temporary file, and leave a mixture under its name."""
    steps, go, write = [], threading.Event(), RealDisk.replace_private_file

    def slow(disk, path, content):
        steps.append(("begin", content))
        assert go.wait(10)
        write(disk, path, content)
        steps.append(("end", content))

    async def save_three_times():
        loop, file, ended = asyncio.get_running_loop(), AccountFile(str(tmp_path / "users.acl")), asyncio.Queue()
        for content in CONTENTS:
            file.write(content).listen(ended.put_nowait)
        loop.call_later(0.05, go.set)  # were they written at once, all would have begun by then
        return [await asyncio.wait_for(ended.get(), 10) for _ in CONTENTS]

    monkeypatch.setattr(RealDisk, "replace_private_file", slow)
    assert asyncio.run(save_three_times()) == [OK] * 3
    assert steps == [(step, content) for content in CONTENTS for step in ("begin", "end")]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"users.acl": CONTENTS[-1]}


def test_who_asked_may_go_away(stage):
    _, work = hold(stage)
    gone = stage.connect()
    gone.send("CONFIG SET requirepass one")
    gone.vanish()
    work(0)
    del stage.shared.entrance._workers.run
    assert stage.connect().ask("PING", "AUTH one") == ["-NOAUTH Authentication required.", "+OK"]


@pytest.mark.parametrize("user, shown", [("admin", "user admin;"), ("hunter2", "user that does not exist;")])
def test_a_name_that_is_nobody_s_is_not_in_the_log(stage, monkeypatch, user, shown):
    """It may be a password in the wrong place, which a client repeats until it is locked out."""
    told = []
    monkeypatch.setattr(entrance, "log", SimpleNamespace(warning=lambda text, **more: told.append(text)))
    assert stage.admin.ask("CONFIG SET login-user-limit 3 login-address-limit 0", "ACL SETUSER admin on >pass") == ["+OK"] * 2
    for _ in range(4):
        stage.connect().ask(f"AUTH {user} wrong")
    assert len(told) == 1 and shown in told[0]
