"""The stock redis-cli: the switches that people use every day."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bench.processes import Server, wait_until

SECONDS_MAX = 30


def cli(server: Server, *words: str, stdin: bytes = b"") -> str:
    done = subprocess.run(
        ["redis-cli", "-p", str(server.port), *words],
        input=stdin,
        capture_output=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout.decode()


def watch_output(server: Server, words: tuple[str, ...], act: Callable[[], None], until: str, path: Path) -> str:
    """Start a redis-cli that does not end, act, wait for the text in its output, stop it."""
    with path.open("wb") as output:
        process = subprocess.Popen(["redis-cli", "-p", str(server.port), *words], stdout=output, stderr=output)
        try:
            act()
            wait_until(lambda: until in path.read_text(), SECONDS_MAX, f"{until!r} from redis-cli {words}")
        finally:
            process.kill()
            process.wait()
    return path.read_text()


def test_x_reads_the_last_argument_from_standard_input(fresh: Server) -> None:
    value = bytes(range(256)) * 10
    assert cli(fresh, "-x", "SET", "blob", stdin=value) == "OK\n"
    raw = subprocess.run(
        ["redis-cli", "-p", str(fresh.port), "GET", "blob"], capture_output=True, check=True, timeout=SECONDS_MAX
    ).stdout
    assert raw == value + b"\n"


def test_X_puts_standard_input_in_the_middle(fresh: Server) -> None:
    assert cli(fresh, "-X", "tag", "SET", "k", "tag", "EX", "100", stdin=b"middle") == "OK\n"
    assert cli(fresh, "GET", "k") == "middle\n"


def test_scan_lists_every_key_and_honours_a_pattern(fresh: Server) -> None:
    cli(fresh, "--pipe", stdin=b"".join(b"SET key:%d x\r\n" % i for i in range(500)))
    assert sorted(cli(fresh, "--scan").split()) == sorted(f"key:{i}" for i in range(500))
    assert sorted(cli(fresh, "--scan", "--pattern", "key:49*").split()) == sorted(
        ["key:49", *(f"key:49{i}" for i in range(10))]
    )


def test_pipe_loads_in_bulk_and_counts_errors(fresh: Server) -> None:
    good = b"".join(b"*3\r\n$3\r\nSET\r\n$5\r\nk%04d\r\n$1\r\nv\r\n" % i for i in range(3000))
    assert "errors: 0, replies: 3000" in cli(fresh, "--pipe", stdin=good)
    assert cli(fresh, "DBSIZE") == "3000\n"
    bad = subprocess.run(
        ["redis-cli", "-p", str(fresh.port), "--pipe"],
        input=b"SET a 1\r\nINCR a b c\r\nSET b 2\r\n", capture_output=True, timeout=SECONDS_MAX, check=False,
    )  # fmt: skip
    assert b"errors: 1, replies: 3" in bad.stdout


def test_bigkeys_and_memkeys_find_the_biggest(fresh: Server) -> None:
    cli(fresh, "SET", "small", "x")
    cli(fresh, "SET", "giant", "y" * 5000)
    found = cli(fresh, "--bigkeys")
    assert "Sampled 2 keys in the keyspace!" in found
    assert """Biggest string found '"giant"' has 5000 bytes""" in " ".join(found.split())
    found = cli(fresh, "--memkeys")
    assert "Sampled 2 keys in the keyspace!" in found
    assert """Biggest string found '"giant"' has""" in " ".join(found.split())


def test_stat_prints_a_line_each_interval(fresh: Server, tmp_path: Path) -> None:
    cli(fresh, "MSET", "a", "1", "b", "2", "c", "3")
    text = watch_output(fresh, ("--stat", "-i", "0.1"), lambda: time.sleep(0.8), "(+", tmp_path / "stat")
    lines = text.splitlines()
    assert "keys" in lines[0] and "requests" in lines[0] or "keys" in lines[1]
    assert any(line.split()[:1] == ["3"] for line in lines), text


def test_monitor_shows_requests(fresh: Server, tmp_path: Path) -> None:
    output = tmp_path / "monitor"

    def act() -> None:
        wait_until(lambda: "OK" in output.read_text(), SECONDS_MAX, "monitor to start")
        cli(fresh, "-n", "3", "SET", "watched", 'a "quoted" \n value')

    text = watch_output(fresh, ("monitor",), act, '"watched"', output)
    line = next(line for line in text.splitlines() if '"watched"' in line)
    assert line.endswith(r'"SET" "watched" "a \"quoted\" \n value"'), line
    assert " [3 127.0.0.1:" in line


def test_resp3_and_output_formats(fresh: Server) -> None:
    assert "=>" in cli(fresh, "-3", "--no-raw", "CONFIG", "GET", "databases")
    assert cli(fresh, "-3", "--json", "CONFIG", "GET", "databases").strip() == '{"databases":"16"}'
    assert cli(fresh, "--csv", "MSET", "a", "1", "b", "2") == '"OK"\n' or cli(fresh, "--csv", "GET", "a") == '"1"\n'
    assert cli(fresh, "--csv", "MGET", "a", "b", "c") == '"1","2",NULL\n'
    assert cli(fresh, "--no-raw", "GET", "missing") == "(nil)\n"
    assert cli(fresh, "--no-raw", "INCR", "n") == "(integer) 1\n"


def test_repeat_database_and_exit_code(fresh: Server) -> None:
    assert cli(fresh, "-r", "3", "-n", "2", "INCR", "n").split() == ["1", "2", "3"]
    assert cli(fresh, "-n", "2", "GET", "n") == "3\n"
    failed = subprocess.run(
        ["redis-cli", "-p", str(fresh.port), "-e", "INCR", "n", "too", "many"], capture_output=True, check=False
    )
    assert failed.returncode == 1
    assert b"wrong number of arguments for 'incr' command" in failed.stdout + failed.stderr


def test_latency_measures(fresh: Server) -> None:
    """Not a terminal: it measures for the interval, prints one line and ends."""
    least, most, average, samples = cli(fresh, "--latency", "-i", "0.5").split()[:4]
    assert float(least) <= float(average) <= float(most)
    assert int(samples) > 5


def test_subscribe_prints_messages(fresh: Server, tmp_path: Path) -> None:
    output = tmp_path / "subscribe"

    def act() -> None:
        wait_until(lambda: "news" in output.read_text(), SECONDS_MAX, "the subscription")
        assert cli(fresh, "PUBLISH", "news", "hello there") == "1\n"

    assert "message\nnews\nhello there" in watch_output(fresh, ("subscribe", "news"), act, "hello", output)


def test_interactive_mode_knows_the_commands(fresh: Server) -> None:
    """On a terminal: HELP from the server's own table, a MULTI in the prompt, errors shown as such."""
    typed = b"help getex\nSET a 1\nMULTI\nINCR a\nEXEC\nINCR a b\nexit\n"
    shown = type_on_a_terminal(fresh, typed)
    assert "GETEX key" in shown
    assert "since: 6.2.0" in shown
    assert "(TX)>" in shown
    assert "QUEUED" in shown
    assert "1) (integer) 2" in shown
    assert "(error) ERR wrong number of arguments for 'incr' command" in shown


def type_on_a_terminal(server: Server, typed: bytes) -> str:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "dumb"
        os.execvp("redis-cli", ["redis-cli", "-p", str(server.port)])
    shown = b""
    try:
        time.sleep(0.5)
        for line in typed.splitlines(keepends=True):
            os.write(terminal, line)
            time.sleep(0.15)
        while True:
            piece = os.read(terminal, 65536)
            if not piece:
                break
            shown += piece
    except OSError:
        pass  # Linux: EIO is how a terminal says that its program has ended
    finally:
        os.waitpid(pid, 0)
        os.close(terminal)
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", shown.decode(errors="replace"))  # without the colours


def test_command_docs_of_one_command(fresh: Server) -> None:
    shown = cli(fresh, "-3", "--json", "COMMAND", "DOCS", "getex")
    for text in ('"summary"', '"since":"6.2.0"', '"group":"string"', '"arguments"'):
        assert text in shown, shown[:300]


def test_rdb_is_given_or_refused_in_time(vaylix: Server, tmp_path: Path) -> None:
    """--rdb asks for a file by replication; we have none to give and say at once how to get one."""
    began = time.monotonic()
    done = subprocess.run(
        ["redis-cli", "-p", str(vaylix.port), "--rdb", str(tmp_path / "dump.rdb")],
        capture_output=True, timeout=SECONDS_MAX, check=False,
    )  # fmt: skip
    assert time.monotonic() - began < 10
    assert done.returncode != 0
    assert b"vaylix export --rdb FILE" in done.stdout + done.stderr
