"""The raft port and strangers: how many may wait, what the log says. (Real connections: test_link.py)"""

import asyncio
import socket

from vaylix_resp.peers import door as module
from vaylix_resp.peers.channel import Channel
from vaylix_resp.peers.door import ALL_MAX, SAME_MAX, WINDOW_S, Door, Lines


class Log:
    def __init__(self):
        self.lines = []

    def notice(self, text, **fields):
        self.lines.append((text, fields))


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_the_log_has_a_bounded_number_of_lines_for_whatever_strangers_do():
    clock, log = Clock(), Log()
    lines = Lines(clock, log)
    for number in range(1000):
        lines.say("garbage", addr=number)
        lines.say(f"own text {number}")
    assert len(log.lines) <= ALL_MAX
    assert [text for text, _ in log.lines].count("garbage") == SAME_MAX
    shown = len(log.lines)
    clock.now += WINDOW_S
    lines.turn()
    assert log.lines[shown:] == [("more of the same at the raft port", {"lines": 2000 - shown, "mostly": "garbage"})]
    lines.say("garbage")
    assert len(log.lines) == shown + 2


def test_few_lines_are_all_shown_and_nothing_is_summed_up():
    clock, log = Clock(), Log()
    lines = Lines(clock, log)
    lines.say("one")
    lines.say("two")
    clock.now += WINDOW_S
    lines.turn()
    lines.turn()
    assert [text for text, _ in log.lines] == ["one", "two"]


class Host:
    def __init__(self):
        self.ended = []

    def engine(self, channel):
        return None

    def greet(self, channel):
        return None

    def closed(self, channel, why, refusal):
        self.ended.append((channel, why))
        self.door.settled(channel)


async def test_when_too_many_have_not_proven_themselves_the_oldest_leaves(monkeypatch):
    monkeypatch.setattr(module, "PENDING_MAX", 3)
    host, made = Host(), []

    def make():
        made.append(Channel(host, 1))
        return made[-1]

    door = host.door = Door(make)
    await door.listen("127.0.0.1", 0)
    clients = []
    try:
        for number in range(5):
            client = socket.create_connection(("127.0.0.1", door.ports[0]))
            clients.append(client)
            while len(made) <= number:
                await asyncio.sleep(0)
        assert [channel for channel, _ in host.ended] == made[:2]
        assert "not proven" in host.ended[0][1]
        door.settled(made[2])
        clients.append(socket.create_connection(("127.0.0.1", door.ports[0])))
        while len(made) < 6:
            await asyncio.sleep(0)
        assert len(host.ended) == 2, "who has proven itself takes no place"
    finally:
        door.close()
        for client in clients:
            client.close()
    assert len(host.ended) == 5 and made[2] not in [channel for channel, _ in host.ended]
    made[2].end("the test is over")
