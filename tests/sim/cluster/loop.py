"""An event loop of one life of a node, on simulated time: for code of the server that is written with asyncio.

What is called, and when, is an event like any other, so one seed decides it. Calls that go to a thread in the server are
made in one step here, after the time that a disk takes.
Promise: when the life ends nothing of it runs on; its `finally` blocks find a disk that is off.
Not here: sockets, processes, threads.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from vaylix_resp.errors import Refused

CALL_S = 1e-6
Loop: Any = asyncio.AbstractEventLoop  # of its many methods only those are here that the server's code uses


class SimLoop(Loop):  # type: ignore[misc]
    """`after` makes an event of this life; `now` and `disk_time` are the world's."""

    def __init__(self, after: Callable[..., None], now: Callable[[], float], disk_time: Callable[[], float]) -> None:
        self._after, self._now, self._disk_time = after, now, disk_time
        self._tasks: dict[asyncio.Task[Any], Coroutine[Any, Any, Any]] = {}
        self._ended = False

    def time(self) -> float:
        return self._now()

    def get_debug(self) -> bool:
        return False

    def is_closed(self) -> bool:
        return self._ended

    def call_soon(self, callback: Any, *args: Any, context: contextvars.Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._event(CALL_S, self._call, handle)
        return handle

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(self._now() + delay, callback, args, self, context)
        self._event(delay, self._call, handle)
        return handle

    def call_at(
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_later(when - self._now(), callback, *args, context=context)

    def _event(self, delay: float, call: Callable[..., None], *arguments: Any) -> None:
        if not self._ended:
            self._after(max(CALL_S, delay), call, *arguments)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Its event finds it cancelled."""

    def _call(self, handle: asyncio.Handle) -> None:
        if not handle.cancelled():
            self.run(handle._context.run, handle._callback, *handle._args)  # type: ignore[attr-defined]

    def run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """With this as the loop that runs. What is raised goes to the caller: it is a finding, or a power cut."""
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=_let_go)
        asyncio._set_running_loop(self)
        try:
            return call(*arguments)
        finally:
            asyncio._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **_: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self)
        # Kept here until it is done, so it is only destroyed with the loop: when a test lets go of a world that runs.
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        if self._ended:
            self._forget(coro)
            return task
        self._tasks[task] = coro
        task.add_done_callback(self._ended_task)
        return task

    def _ended_task(self, task: asyncio.Task[Any]) -> None:
        del self._tasks[task]
        failure = None if task.cancelled() else task.exception()
        if failure is not None and not isinstance(failure, Refused):
            raise failure

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:
        future = self.create_future()
        self._event(self._disk_time(), self._work, future, func, args)
        return future

    def _work(self, future: asyncio.Future[Any], func: Any, args: Any) -> None:
        """Done even if nobody waits for it any more: a thread cannot be called back."""
        try:
            result = func(*args)
        except Exception as failure:
            if not future.done():
                future.set_exception(failure)
            return
        if not future.done():
            future.set_result(result)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._ended:
            raise context.get("exception") or AssertionError(context["message"])

    def end(self) -> None:
        """The process has died, or the story is over. The caller has switched its disk off."""
        self._ended = True
        asyncio._set_running_loop(self)
        try:
            for coroutine in list(self._tasks.values()):
                self._forget(coroutine)
        finally:
            asyncio._set_running_loop(None)

    def _forget(self, coroutine: Any) -> None:
        """Whatever a dead process does on its way out, nobody is there to see it."""
        with suppress(BaseException):
            coroutine.close()


def _let_go(generator: object) -> None:
    """Of a process that has died in the middle of it."""
