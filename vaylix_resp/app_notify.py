"""What a supervisor is told: started, reloading, stopping, still turning, and one line on how it stands (sd_notify).

Promise: READY is sent only when clients are let in, and again until it has been taken; a supervisor that does not
listen neither stops nor delays the server by more than SEND_SECONDS_MAX. While it starts over in the same process,
its watchdog is off: a long recovery is no hang.
Units: seconds; microseconds in what is sent. Not here: when these moments are (`app`), the unit (conf/systemd).
Source: sd_notify(3), "well-known assignments"; systemd.service(5), Type=notify.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from typing import Final

from .clock import Clock
from .observability import logs
from .server.readiness import checks_of
from .server.shared import Shared

log = logs.get_log("server")

VARIABLE: Final = "NOTIFY_SOCKET"
WATCHDOG_VARIABLES: Final = ("WATCHDOG_USEC", "WATCHDOG_PID")
SEND_SECONDS_MAX: Final = 1.0  # what must arrive may wait so long, once, for the supervisor to read
LOOK_SECONDS: Final = 2.0  # between two looks at how it stands; STATUS is sent when that has changed
SIGNS_PER_PERIOD: Final = 3  # of life, within what the watchdog allows: two may come late
STATUS_CHARACTERS_MAX: Final = 512


class Notifier:
    """The way to one supervisor; without an address nothing is sent. `watchdog` in seconds, 0: nobody wants signs."""

    def __init__(self, address: str, watchdog: float, clock: Clock) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog = watchdog
        self._clock = clock
        self._status = ""
        self._owed: tuple[str, ...] = ()  # what must be known and has not been taken yet
        self._started = False  # from READY to the stop
        self._complained = False

    @property
    def active(self) -> bool:
        return bool(self._address)

    def status(self, text: str) -> None:
        """One line for `systemctl status`, sent when it is another one than before."""
        line = "".join(c if c.isprintable() else "?" for c in text[:STATUS_CHARACTERS_MAX])
        if line != self._status and self._send((f"STATUS={line}",), 0):
            self._status = line

    def ready(self, status: str) -> None:
        """Clients are let in. With a watchdog it runs from here on, also if a start before this one had ended it."""
        self.status(status)
        self._started = True
        self._must("READY=1", *[f"WATCHDOG_USEC={round(self._watchdog * 1e6)}"] * bool(self._watchdog))

    def reloading(self) -> None:
        """Certificates are read anew, until `reloaded`. Nothing to tell before READY, which would come too early."""
        if self._started:
            self._must("RELOADING=1", f"MONOTONIC_USEC={round(self._clock.now() * 1e6)}")

    def reloaded(self) -> None:
        if self._started:
            self._must("READY=1")

    def stopping(self, *, again: bool = False) -> None:
        """`again`: this process goes on with a new start, which a supervisor need not take for an end."""
        self._started = False
        self.status("starting over" if again else "stopping")
        if not again:
            self._must("STOPPING=1")
        elif self._watchdog:
            self._must("WATCHDOG_USEC=0")

    async def run(self, status: Callable[[], str]) -> None:
        """Until cancelled: signs of life as often as they are wanted, and what `status` says when it says another."""
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, self._watchdog / SIGNS_PER_PERIOD or LOOK_SECONDS))
            if self._owed and self._send(self._owed, 0):
                self._owed = ()
            if self._watchdog:
                self._send(("WATCHDOG=1",), 0)
            self.status(status())

    def _must(self, *assignments: str) -> None:
        self._owed = () if self._send(assignments, SEND_SECONDS_MAX) else assignments

    def _send(self, assignments: tuple[str, ...], wait: float) -> bool:
        """Has it been taken, or is there nobody who would? Logged once: it may be lost for good, as the supervisor."""
        if not self._address:
            return True
        try:
            with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sender:
                sender.settimeout(wait)
                sender.connect(self._address)
                sender.send("\n".join(assignments).encode("utf-8", "backslashreplace"))
        except OSError as problem:
            if not self._complained:
                self._complained = True
                log.warning(f"the supervisor cannot be told {assignments[0]}: {problem}")
            return False
        return True


def notifier(supervised: str, environment: Mapping[str, str], pid: int, clock: Clock) -> Notifier:
    """For the directive `supervised`: where the supervisor listens, and whether it wants signs of life from `pid`."""
    address = environment.get(VARIABLE, "") if supervised != "no" else ""
    if address and address[0] not in "/@":
        log.warning(f"{VARIABLE} {address[:STATUS_CHARACTERS_MAX]!r} is neither a path nor abstract: nobody is told")
        address = ""
    elif not address and supervised == "systemd":
        log.warning(f"supervised systemd: {VARIABLE} is not set, so nobody is told; is it 'Type=notify'?")
    microseconds, whose = (environment.get(name, "") for name in WATCHDOG_VARIABLES)
    wanted = address and microseconds.isdecimal() and whose in ("", str(pid))
    return Notifier(address, int(microseconds) / 1e6 if wanted else 0.0, clock)


def standing(shared: Shared) -> str:
    """One line for the supervisor of a server that has started."""
    wrong = [check.detail for check in checks_of(shared) if not check.ok]
    if wrong:
        return "not ready: " + "; ".join(wrong)
    view = shared.cluster
    leader = view.leader if view is not None else None
    if view is None or leader is None:
        return "ready"
    return f"ready: {view.name} leads" if leader.id == view.id else f"ready: {view.name} follows {leader.name}"
