"""BACKUP: what each form asks of the two kinds of backup, and what it answers."""

from types import SimpleNamespace

import pytest

from tests.unit.fake_admin import FakeAdmin
from vaylix_resp.commands.registry import COMMANDS
from vaylix_resp.commands.spec import Kind
from vaylix_resp.errors import CommandError
from vaylix_resp.resp.reply import OK


class FakeBackups:
    """Writes down what it is asked."""

    running, progress, last_error, count = "", 0.0, "", 0

    def __init__(self):
        self.asked = []

    def _ask(self, *words):
        self.asked.append(words)
        return {b"name": words[1].encode("utf-8", "surrogateescape")}

    def to(self, name, *, plain):
        return self._ask("to", name, plain)

    def verify(self, name):
        return self._ask("verify", name)

    def check(self, name):
        return self._ask("check", name)

    def restore(self, name, *, plain):
        return self._ask("restore", name, plain)

    def names(self):
        return [{b"name": b"one", b"status": b"complete"}]

    def files(self, others):
        return [*others, b"/b/one.vxb", b"/b/one.json"]


@pytest.fixture
def client():
    server = FakeAdmin()
    server.backups = FakeBackups()
    server.node.refusal = None
    server.online_backup = SimpleNamespace(
        in_progress=False, list=lambda: [b"/b/online/manifest.json"], status=lambda: {b"state": b"idle"},
        **{verb: lambda verb=verb: server.backups.asked.append((verb,)) or OK
           for verb in ("start", "seal", "abort", "cleanup")},
    )  # fmt: skip
    return server.connect()


@pytest.mark.parametrize(
    "line, asked",
    [
        ("TO one", ("to", "one", False)), ("to one plain", ("to", "one", True)), ("VERIFY one", ("verify", "one")),
        ("CHECK one", ("check", "one")), ("RESTORE one", ("restore", "one", False)),
        ("RESTORE one PLAIN", ("restore", "one", True)),
    ],
)  # fmt: skip
def test_logical_backups(client, line, asked):
    assert client.call("BACKUP", *line.split()) == {b"name": b"one"}
    assert client.server.backups.asked == [asked]


@pytest.mark.parametrize("verb", ["START", "SEAL", "ABORT", "CLEANUP"])
def test_the_online_backup(client, verb):
    assert client.call("BACKUP", verb) is OK
    assert client.server.backups.asked == [(verb.lower(),)]


def test_status_and_lists(client):
    assert client.call("BACKUP", "STATUS") == {b"state": b"idle"}
    assert client.call("BACKUP", "LIST") == [b"/b/online/manifest.json", b"/b/one.vxb", b"/b/one.json"]
    assert client.call("BACKUP", "LIST", "names") == [{b"name": b"one", b"status": b"complete"}]


@pytest.mark.parametrize(
    "line", ["TO one x", "TO one PLAIN x", "RESTORE one x", "RESTORE one PLAIN PLAIN", "LIST x", "LIST NAMES x"]
)
def test_syntax_errors(client, line):
    assert client.call("BACKUP", *line.split()) == "ERR syntax error"
    assert client.server.backups.asked == []


@pytest.mark.parametrize("line", ["TO", "VERIFY", "VERIFY a b", "CHECK", "RESTORE", "START x", "STATUS x", "SEAL x"])
def test_wrong_number_of_words(client, line):
    assert client.call("BACKUP", *line.split()).startswith("arity of backup|")


def test_a_restore_is_a_write(client):
    client.server.node.refusal = CommandError("MISCONF the disk is full")
    assert client.call("BACKUP", "RESTORE", "one") == "MISCONF the disk is full"
    assert client.call("BACKUP", "VERIFY", "one") == {b"name": b"one"}


def test_names_keep_bytes_that_are_no_text(client):
    assert client.call("BACKUP", "VERIFY", b"\xff") == {b"name": b"\xff"}


@pytest.mark.parametrize("name", sorted(set(COMMANDS["backup"].subcommands) - {"help"}))
def test_who_may(name):
    """As Redis 8.10: admin, dangerous, slow; and nothing of it goes through the log as a request."""
    spec = COMMANDS["backup"].subcommands[name]
    assert {"admin", "dangerous", "slow"} <= spec.categories and spec.kind is Kind.SESSION
    assert {"admin", "noscript"} <= spec.flags
    assert ("write" in spec.categories) == (name == "restore")


def test_help(client):
    lines = client.call("BACKUP", "HELP")
    text = "\n".join(line.text if hasattr(line, "text") else str(line) for line in lines)
    for name in COMMANDS["backup"].subcommands:
        assert name.upper() in text
    assert COMMANDS["backup"].subcommands["help"].categories == frozenset({"slow"})
