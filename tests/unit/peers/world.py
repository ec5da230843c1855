"""Nodes on real sockets of this machine, for test_link.py and its like. Nothing here waits for a time to pass."""

from __future__ import annotations

import asyncio
import contextlib
from functools import wraps
from random import Random

import uvloop

from tests.patience import PATIENCE_S
from tests.unit.peers.worlds import identity
from vaylix_resp.peers import dialer, door, founder, link
from vaylix_resp.peers.link import Peers
from vaylix_resp.peers.messages import Member
from vaylix_resp.peers.ports import Timing, Trust
from vaylix_resp.peers.roster import Roster

KEY = b"s" * 32
QUICK = Timing(heartbeat_s=0.02, silence_s=5.0)


def on_both_loops(test):
    """Run a coroutine on uvloop, which serves, and on asyncio's own loop."""

    @wraps(test)
    def run(*args, **kwargs):
        for factory in (uvloop.new_event_loop, asyncio.new_event_loop):
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(asyncio.wait_for(test(*args, **kwargs), PATIENCE_S))

    del run.__wrapped__  # pytest-asyncio would take it for a coroutine
    return run


class Node:
    """Hears everything and remembers it."""

    def __init__(self, number=1, *, trust=None, timing=QUICK, me=None, places=None):
        self.me = me or identity(number)
        self.roster = Roster(self.me)
        self.messages, self.guests, self.connected, self.unreachable, self.gone = [], [], [], [], []
        self._news = asyncio.Event()
        self.answer = None  # called for each message of a guest
        self.peers = Peers(self.roster, trust or Trust(KEY), self, Random(number), timing=timing, places=places)

    @property
    def id(self):
        return self.me.node

    @property
    def port(self):
        return self.peers.ports[0]

    @property
    def member(self):
        return Member(self.id, self.me.name, "127.0.0.1", self.port)

    def on_message(self, node, message):
        self.messages.append((node, message))
        self._news.set()

    def on_connected(self, node):
        self.connected.append(node)
        self._news.set()

    def on_unreachable(self, node):
        self.unreachable.append(node)
        self._news.set()

    def on_gone(self, node):
        self.gone.append(node)
        self._news.set()

    def on_guest(self, guest, message):
        self.guests.append((guest, message))
        if self.answer is not None:
            self.answer(guest, message)
        self._news.set()

    def told(self, *_):
        self._news.set()

    async def until(self, what):
        """Wait until `what()` is true; looked at after each event, and now and then."""
        while not what():
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    await self._news.wait()

    def of(self, node, kind=object):
        return [message for frm, message in self.messages if frm == node and isinstance(message, kind)]


@contextlib.asynccontextmanager
async def nodes(*made, meet=True):
    """Listening; if `meet`, members of one group who have all reached each other."""
    try:
        for one in made:
            await one.peers.listen("127.0.0.1", 0)
        if meet:
            await join(*made)
        yield made
    finally:
        for one in made:
            one.peers.close()


async def join(*made):
    members = [one.member for one in made]
    for one in made:
        one.peers.set_members(members)
    for one in made:
        for other in made:
            if other is not one:
                await one.until(lambda one=one, other=other: dialed(one, other.id))


def bulk(node, to):
    """Our open connection for large messages."""
    return node.peers._parties[to].channel(link.Purpose.BULK)


def dialed(node, to):
    """Whether both of our own connections to it are open."""
    dialers = node.peers._parties[to].dialers.values()
    return all(one.channel is not None and one.channel.is_open for one in dialers)


class Said:
    """Lines of the log, in place of it."""

    def __init__(self, monkeypatch):
        self.lines = []
        for module in (dialer, door, founder, link):
            monkeypatch.setattr(module, "log", self)
        monkeypatch.setattr(door.Lines.__init__, "__defaults__", (self,))

    def notice(self, text, **fields):
        self.lines.append(f"{text} {' '.join(f'{name}={value}' for name, value in fields.items())}")

    warning = verbose = notice

    def about(self, *words):
        return [line for line in self.lines if all(word in line for word in words)]
