"""Processes that the server starts for itself: readers of the data directory, so that long work never stops the loop.

A child is this program with a hidden subcommand. It gets its secrets through standard input, where neither `ps` nor
the environment shows them, prints JSON lines, and may send raw bytes behind a line that says how many.
Promise: no child outlives `cancel` by more than its answer to SIGTERM. Not here: what they do (`snapshot_child`).
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any, Final

from ..errors import Refused

MESSAGE_BYTES_MAX: Final = 64 * 1024  # of one line that a child prints


class ChildFailed(Refused):
    """A child ended without a result; the text is its last line."""


def unwatched(message: dict[str, Any]) -> None:
    """For `run`, when nobody wants to know how far the child is."""


class Children:
    """All children of one server. `secret` is what each gets as its standard input."""

    def __init__(self, secret: Callable[[], bytes] = bytes) -> None:
        self._secret = secret
        self._processes: set[asyncio.subprocess.Process] = set()
        self._cancelled = False

    def cancel(self) -> None:
        """The server is stopping: end those that run and those that are just being started."""
        self._cancelled = True
        for process in self._processes:
            if process.returncode is None:
                process.terminate()

    async def run(
        self, arguments: list[str], on_message: Callable[[dict[str, Any]], None],
        on_bytes: Callable[[dict[str, Any], bytes], Any] | None = None, request: bytes = b"",
    ) -> dict[str, Any]:  # fmt: skip
        """Run a child to its end; the last message. Raises ChildFailed.

        `request` follows the secret in a line of its own: what no process list may show either, such as a key's name.

        A message with "bytes": n is followed by n raw bytes, for `on_bytes`; the child is not read while that (a
        coroutine function) is awaited, so it cannot get far ahead.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "vaylix_resp", *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            limit=MESSAGE_BYTES_MAX,
        )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        if self._cancelled:
            process.terminate()
        errors = asyncio.get_running_loop().create_task(process.stderr.read())
        message: dict[str, Any] = {}
        self._processes.add(process)
        try:
            process.stdin.write(self._secret() + (b"\n" + request if request else b""))
            process.stdin.close()
            async for line in process.stdout:
                message = json.loads(line)
                if on_bytes is not None and "bytes" in message:
                    await on_bytes(message, await process.stdout.readexactly(message["bytes"]))
                else:
                    on_message(message)
            code = await process.wait()
        except asyncio.IncompleteReadError:
            code = await process.wait() or 1
        finally:
            if process.returncode is None:
                process.terminate()  # whoever listened has failed: nobody wants the rest
                await process.wait()
            self._processes.discard(process)
        text = (await errors).decode("utf-8", "replace").strip().splitlines()
        if code != 0:
            raise ChildFailed(text[-1] if text else f"the child process ended with status {code}")
        return message
