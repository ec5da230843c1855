"""What is refused before it is queued or run, and so makes EXEC refuse its block: as redis-server does it."""

import pytest

from tests.unit.server.front import Stage
from vaylix_resp.commands.debug import REFUSED

ABORTED = "-EXECABORT Transaction discarded because of previous errors."


@pytest.mark.parametrize(
    "line, refusal",
    [
        ("COMMAND NOSUCH", "ERR unknown subcommand 'NOSUCH'. Try COMMAND HELP."),
        ("command nosuch x", "ERR unknown subcommand 'nosuch'. Try COMMAND HELP."),
        ("CLIENT NOSUCH", "ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP."),
        ("OBJECT nosuch k", "ERR unknown subcommand 'nosuch'. Try OBJECT HELP."),
        ("CONFIG", "ERR wrong number of arguments for 'config' command"),
        ("DEBUG NOSUCH", REFUSED),
        ("DEBUG DIGEST", REFUSED),
    ],
)
def test_refused_while_queueing(line: str, refusal: str) -> None:
    client = Stage().connect()
    assert client.ask(line) == [f"-{refusal}"]
    assert client.ask("MULTI", line, "EXEC") == ["+OK", f"-{refusal}", ABORTED]


@pytest.mark.parametrize("line", ["COMMAND", "DEBUG NOSUCH"])
def test_queued(line: str) -> None:
    """DEBUG, once allowed, has no subcommands that a queue could know: the error comes from within the block."""
    client = Stage(enable_debug_command="yes").connect()
    (reply,) = client.ask(line)
    assert client.ask("MULTI", line, "EXEC") == ["+OK", "+QUEUED", f"[{reply}]"]


def test_what_settings_forbid_is_refused_before_the_log_in() -> None:
    client = Stage(requirepass="secret").connect()
    assert client.ask("DEBUG DIGEST") == [f"-{REFUSED}"]


def test_a_watched_key_that_was_written_and_flushed_in_one_batch() -> None:
    """It is missing before and after; it was touched all the same."""
    stage = Stage()
    client, other = stage.connect(), stage.connect()
    client.ask("WATCH k")
    other.ask("SET k v", "FLUSHDB")
    assert client.ask("MULTI", "PING", "EXEC") == ["+OK", "+QUEUED", "*_"]
