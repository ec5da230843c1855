"""How long a dialer waits, and what it tries. (Real connections: test_link.py)"""

import asyncio
import socket
from concurrent.futures import Future
from random import Random

import pytest
import uvloop

from vaylix_resp.peers import dialer as module
from vaylix_resp.peers.channel import Channel
from vaylix_resp.peers.dialer import FIRST_S, LONGEST_S, REFUSED_S, Backoff, Dialer, Target, look_up
from vaylix_resp.peers.hello import Code, Purpose, Refusal, Step


def test_each_wait_is_twice_the_last_up_to_a_bound_and_less_a_random_part():
    waits = [Backoff(Random(seed)).next() for seed in range(50)]
    assert all(FIRST_S / 2 < wait <= FIRST_S for wait in waits) and len(set(waits)) == 50
    one = Backoff(Random(1))
    for step in range(12):
        top = min(FIRST_S * 2**step, LONGEST_S)
        assert top / 2 < one.next() <= top
    one.reset()
    assert one.next() <= FIRST_S
    assert FIRST_S < LONGEST_S < REFUSED_S


class Names:
    """An executor whose answers the test gives."""

    def __init__(self):
        self.asked = []

    def submit(self, work, *args):
        answer = Future()
        self.asked.append((args, answer))
        return answer


class Host:
    """Channels end, and their dialer hears of it."""

    def __init__(self):
        self.made = []

    def closed(self, channel, why, refusal):
        self.dialer.closed(why, refusal)


class World:
    def __init__(self, host="name", port=1):
        self.names, self.host, self.failures = Names(), Host(), []
        self.news = asyncio.Queue()
        self.dialer = Dialer(Target(host, port, "node-2"), self.make, self.names, Random(1), failed=self.failed)
        self.host.dialer = self.dialer

    def make(self):
        channel = Channel(self.host, 1, Purpose.TALK, "name:1")
        self.host.made.append(channel)
        return channel

    def failed(self, why):
        self.failures.append(why)
        self.news.put_nowait(why)


async def test_a_name_is_looked_up_for_each_attempt_and_a_failure_is_no_end(monkeypatch):
    monkeypatch.setattr(module, "FIRST_S", 0.0)
    world = World()
    try:
        for number in range(3):
            while len(world.names.asked) <= number:
                await asyncio.sleep(0)
                world.dialer.nudge()
            args, answer = world.names.asked[number]
            assert args == ("name", 1) or args[1:] == ("name", 1)
            answer.set_exception(socket.gaierror(socket.EAI_AGAIN, "try again later"))
            assert "name is not resolved: try again later" in await world.news.get()
    finally:
        world.dialer.close()
    assert world.host.made == []


async def test_a_resolver_that_hangs_has_one_thread_at_most(monkeypatch):
    monkeypatch.setattr(module, "LOOKUP_S", 0.0)
    world = World()
    try:
        for _ in range(3):
            assert "not resolved in time" in await world.news.get()
            world.dialer.nudge()
        assert len(world.names.asked) == 1
    finally:
        world.dialer.close()


async def test_an_address_needs_no_resolver_and_nobody_there_is_an_answer():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but it does not listen: refused at once
        world = World("127.0.0.1", taken.getsockname()[1])
        try:
            assert "refused" in (await world.news.get()).lower()
            assert world.names.asked == []
            assert [one.state for one in world.host.made] == ["closed"]
        finally:
            world.dialer.close()


@pytest.mark.parametrize("host, families", [("127.0.0.1", {socket.AF_INET}), ("::1", {socket.AF_INET6})])
def test_look_up_gives_what_connect_takes(host, families):
    found = look_up(host, 5)
    assert {family for family, _ in found} == families
    assert all(address[:2] == (host, 5) for _, address in found)


@pytest.mark.parametrize(
    "code, lasting", [(Code.SECRET, True), (Code.STORE, True), (Code.NOT_YET, False), (Code.BUSY, False)]
)
def test_only_what_somebody_has_to_mend_is_waited_for_longer(code, lasting):
    assert (Refusal(code, "").code not in module.PASSING) is lasting


class CutShort(Host):
    """Whoever runs the dialer is cancelled (the loop ends) when the connection stands and nothing has been said yet."""

    def engine(self, channel):
        return None

    def greet(self, channel):
        self.dialer._task.cancel()
        return self

    def start(self):
        return Step(send=((1, (b"hello",)),))


def test_a_dialer_that_is_cancelled_while_it_connects_leaves_nothing_behind():
    """uvloop closes the transport then and tells nobody; what was queued must not be written to it."""

    async def story():
        complaints = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        world = World("127.0.0.1", server.sockets[0].getsockname()[1])
        world.host = host = CutShort()
        host.dialer = world.dialer
        await asyncio.wait([world.dialer._task])
        for _ in range(5):
            await asyncio.sleep(0)
        server.close()
        assert [one.state for one in host.made] == ["closed"] and complaints == []

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())
