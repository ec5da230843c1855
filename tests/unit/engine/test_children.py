"""Children as the server meets them: what they get, what they say, how they end. The child is a script of one test."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE_S
from vaylix_resp.engine.children import MESSAGE_BYTES_MAX, ChildFailed, Children

# `python -m vaylix_resp SCRIPT`: a package of that name in front of ours runs its argument.
STAND_IN = "import sys; exec(sys.argv[1])"


@pytest.fixture(autouse=True)
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "vaylix_resp"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(STAND_IN)
    # Without site-packages it starts in 20 ms. -S and a path of our own come from a wrapper that plays the interpreter.
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} -S -c "{STAND_IN}" "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(wrapper))


async def run(script: str, children: Children | None = None, **options: Any) -> tuple[dict[str, Any], list[Any]]:
    said: list[Any] = []
    end = await (children or Children()).run([script], said.append, **options)
    return end, said


ECHO = "import json; print(json.dumps({'got': sys.stdin.read()}))"


@pytest.mark.parametrize(
    ("secret", "request_", "got"),
    [(b"", b"", ""), (b"00ff", b"", "00ff"), (b"00ff", b'{"a": 1}', '00ff\n{"a": 1}'), (b"", b"x", "\nx")],
)
async def test_what_a_child_gets(secret: bytes, request_: bytes, got: str) -> None:
    end, said = await run(ECHO, Children(lambda: secret), request=request_)
    assert end == {"got": got} and said == [end]


async def test_messages_in_order_and_the_last_one() -> None:
    end, said = await run("print('{\"n\": 1}'); print('{\"n\": 2}')")
    assert said == [{"n": 1}, {"n": 2}] and end == {"n": 2}
    assert await run("pass") == ({}, [])


async def test_raw_bytes_behind_a_line() -> None:
    """More than the buffer holds, newlines and all; the child is not read while they are being looked at."""
    size = 3 * MESSAGE_BYTES_MAX
    script = (
        f"o = sys.stdout.buffer\nfor n in (1, 2):\n o.write(b'{{\"bytes\": {size}, \"n\": %d}}\\n' % n); "
        f"o.write(b'\\n' * {size})\no.write(b'{{\"end\": 1}}\\n')"
    )
    got: list[tuple[int, int]] = []
    busy = False

    async def take(message: dict[str, Any], raw: bytes) -> None:
        nonlocal busy
        assert not busy
        busy = True
        await asyncio.sleep(0.01)
        got.append((message["n"], raw.count(b"\n")))
        busy = False

    end, said = await run(script, on_bytes=take)
    assert got == [(1, size), (2, size)] and end == {"end": 1} and said == [end]


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("print('one', file=sys.stderr); print('two', file=sys.stderr); sys.exit(65)", "two"),
        ("sys.exit(3)", "the child process ended with status 3"),
        ("import os; os.kill(os.getpid(), 9)", "the child process ended with status -9"),
        ("print('{\"n\": 1}'); sys.exit(1)", "the child process ended with status 1"),
        ("print('{\"bytes\": 100}'); print('short')", "the child process ended with status 1"),
    ],
)
async def test_a_child_that_fails(script: str, why: str) -> None:
    async def take(message: dict[str, Any], raw: bytes) -> None:
        raise AssertionError("it never came whole")

    with pytest.raises(ChildFailed) as failed:
        await run(script, on_bytes=take)
    assert str(failed.value) == why


async def test_who_listens_fails_and_the_child_is_ended() -> None:
    children = Children()

    async def take(message: dict[str, Any], raw: bytes) -> None:
        raise ZeroDivisionError

    script = "import time; print('{\"bytes\": 1}'); print('x', flush=True); time.sleep(60)"
    with pytest.raises(ZeroDivisionError):
        await run(script, children, on_bytes=take)
    assert not children._processes


async def test_cancelling_ends_all_and_those_to_come() -> None:
    children = Children()
    works = [asyncio.ensure_future(run("import time; print('{}', flush=True); time.sleep(60)", children)) for _ in "ab"]
    while len(children._processes) < 2:
        await asyncio.sleep(0.001)
    children.cancel()
    for work in [*works, asyncio.ensure_future(run("import time; time.sleep(60)", children))]:
        with pytest.raises(ChildFailed, match=f"status -{int(signal.SIGTERM)}"):
            await asyncio.wait_for(work, PATIENCE_S)
    assert not children._processes


async def test_nothing_of_it_is_in_the_process_list() -> None:
    script = "import json; print(json.dumps({'argv': open('/proc/self/cmdline').read()})); sys.stdin.read()"
    end, _ = await run(script, Children(lambda: b"5ec7e7"), request=b"a key's name")
    assert "5ec7e7" not in end["argv"] and "a key's name" not in end["argv"]
    assert os.environ.get("VAYLIX_MASTER_KEY") is None
