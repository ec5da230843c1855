"""Nodes on real sockets: who reaches whom, what a slow or dead one costs, what strangers get."""

import asyncio
import socket

import pytest

from tests.unit.peers.world import KEY, QUICK, Node, Said, bulk, dialed, join, nodes, on_both_loops
from tests.unit.peers.worlds import big_append, identity, stranger
from vaylix_resp.peers import link as module
from vaylix_resp.peers.codec import VERSION_MAX, encode
from vaylix_resp.peers.dialer import Target
from vaylix_resp.peers.hello import Purpose
from vaylix_resp.peers.link import LARGE_BYTES
from vaylix_resp.peers.messages import JoinReply, JoinRequest, Publish, PublishKind, SnapshotChunk, chunk_checksum
from vaylix_resp.peers.ports import Timing, Trust, Untrusted
from vaylix_resp.peers.wire import Checksum, frame
from vaylix_resp.raft.messages import Append, Heartbeat
from vaylix_resp.raft.types import EntryId


def beat(frm, to, number):
    return Heartbeat(frm.id, to.id, 1, 0, number)


@on_both_loops
async def test_three_nodes_hear_everything_in_order():
    async with nodes(Node(1), Node(2), Node(3)) as trio:
        for number in range(200):
            for one in trio:
                for other in trio:
                    assert one is other or one.peers.send(other.id, beat(one, other, number))
        for one in trio:
            await one.until(lambda one=one: len(one.messages) == 400)
            for other in trio:
                if other is not one:
                    assert one.of(other.id) == [beat(other, one, number) for number in range(200)]
        status = trio[0].peers.status()
        assert set(status) == {2, 3}
        await trio[0].until(lambda: status[2].rtt_s >= 0)
        assert status[2].connected and status[2].connects == 1 and status[2].version == VERSION_MAX and status[2].failure == ""
        assert status[2].bytes_in > 0 and status[2].bytes_out > 200 * 24 and status[2].frames_out >= 200


@on_both_loops
async def test_a_node_that_dies_is_missed_and_found_again():
    async with nodes(Node(1), Node(2), Node(3)) as (one, two, three):
        port = two.port
        two.peers.close()
        await one.until(lambda: not one.peers.is_connected(2))
        await one.until(lambda: 2 in one.unreachable)
        assert one.peers.send(2, beat(one, two, 1)) is False
        assert one.peers.send(3, beat(one, three, 1)) is True
        again = Node(2, me=identity(2, incarnation=2, boot=77))
        try:
            await again.peers.listen("127.0.0.1", port)
            again.peers.set_members([one.member, again.member, three.member])
            await one.until(lambda: dialed(one, 2))
            assert one.peers.send(2, beat(one, again, 2))
            await again.until(lambda: again.of(1) == [beat(one, again, 2)])
            assert one.peers.status()[2].connects == 2
            assert one.roster.lives[2].boot == 77
        finally:
            again.peers.close()


@on_both_loops
async def test_a_node_that_does_not_read_loses_its_messages_and_delays_nobody():
    async with nodes(Node(1), Node(2), Node(3), meet=False) as (one, two, three):
        await join(one, two, three)
        deaf = three.peers._parties[1].incoming[Purpose.TALK]
        deaf._transport.pause_reading()
        news = Publish(PublishKind.CHANNEL, b"c", b"x" * 60_000)
        sent = 0
        while one.peers.send(3, news):
            sent += 1
            await asyncio.sleep(0)
            assert sent < 10_000
        assert one.peers.queue_bytes(3) <= module.QUEUE_BYTES_MAX + 70_000
        assert one.peers.status()[3].dropped == 1 and 3 not in one.unreachable
        assert not one.peers.send(3, beat(one, three, 1)), "what Raft loses it is told"
        await one.until(lambda: 3 in one.unreachable)
        for number in range(50):
            assert one.peers.send(2, beat(one, two, number))
        await two.until(lambda: len(two.of(1)) == 50)
        assert one.peers.is_connected(3), "slow is not dead, as long as the kernel takes some"
        deaf._transport.resume_reading()
        await three.until(lambda: len(three.of(1)) == sent)


@on_both_loops
async def test_what_is_large_lets_heartbeats_pass_and_keeps_appends_in_order():
    async with nodes(Node(1), Node(2)) as (one, two):
        two.peers._parties[1].incoming[Purpose.BULK]._transport.pause_reading()
        small = Append(1, 2, 1, 2, EntryId(1, 1), b"", (), 0)
        assert one.peers.send(2, big_append(1, 2, 8 << 20))
        assert one.peers.send(2, small), "it must not overtake"
        assert one.peers.send(2, beat(one, two, 5))
        await two.until(lambda: len(two.messages) == 1)
        assert two.of(1) == [beat(one, two, 5)]
        two.peers._parties[1].incoming[Purpose.BULK]._transport.resume_reading()
        await two.until(lambda: len(two.messages) == 3)
        assert [type(message) for message in two.of(1)] == [Heartbeat, Append, Append]
        assert [message.number for message in two.of(1, Append)] == [1, 2]
        await one.until(lambda: one.peers._parties[2].behind == 0)
        frames = bulk(one, 2).stats.frames_out
        assert one.peers.send(2, small)
        assert one.peers._parties[2].behind == 0 and bulk(one, 2).stats.frames_out == frames + 1
        await two.until(lambda: len(two.of(1, Append)) == 3)


@on_both_loops
async def test_pieces_of_a_snapshot_travel_with_what_is_large():
    async with nodes(Node(1), Node(2)) as (one, two):
        piece = SnapshotChunk(1, 0, b"x" * 1000, chunk_checksum(b"x" * 1000))
        talk = one.peers._parties[2].channel(Purpose.TALK)
        before = talk.queue_bytes
        assert one.peers.send(2, piece)
        assert one.peers.queue_bytes(2, large=True) >= 1000 and talk.queue_bytes == before
        await two.until(lambda: two.of(1) == [piece])
        assert sum(map(len, encode(big_append(1, 2, 1 << 20))[1])) <= LARGE_BYTES, "an ordinary append is not large"


@on_both_loops
async def test_silence_ends_a_connection_and_a_new_one_is_made():
    short = Timing(heartbeat_s=0.01, silence_s=0.2)
    async with nodes(Node(1, timing=short), Node(2, timing=QUICK)) as (one, two):
        dead = two.peers._parties[1].incoming[Purpose.TALK]
        dead._transport.pause_reading()  # as if its machine were gone: TCP takes what is sent, nothing comes back
        await one.until(lambda: one.peers.status()[2].connects >= 2 and one.peers.is_connected(2))
        assert 2 in one.unreachable
        assert one.peers.send(2, beat(one, two, 9))
        await two.until(lambda: beat(one, two, 9) in two.of(1))
        assert not dead.is_open, "the new connection has replaced it"


@on_both_loops
async def test_what_is_flushed_does_not_wait_for_the_loop():
    async with nodes(Node(1), Node(2)) as (one, two):
        talk = one.peers._parties[2].channel(Purpose.TALK)
        assert one.peers.send(2, beat(one, two, 1)) and talk.queue_bytes
        one.peers.flush()
        assert not talk.queue_bytes
        one.peers.send(2, beat(one, two, 2))
        one.peers.flush()
        await two.until(lambda: two.of(1, Heartbeat) == [beat(one, two, 1), beat(one, two, 2)])


@on_both_loops
async def test_a_node_that_takes_no_connections_any_more_is_gone():
    async with nodes(Node(1), Node(2), Node(3)) as (one, two, three):
        one.peers.close()
        await two.until(lambda: two.gone)
        await three.until(lambda: three.gone)
        assert {*two.gone, *three.gone} == {1} and two.peers.is_connected(3)


@on_both_loops
async def test_a_node_that_only_cannot_be_dialed_is_not_gone():
    async with nodes(Node(1), Node(2)) as (one, two):
        one.peers._door.close()  # what is connected stays
        for purpose in (Purpose.TALK, Purpose.BULK):
            two.peers._parties[1].dialers[purpose].channel.end("for the test")
        await two.until(lambda: "refused" in two.peers.status()[1].failure.lower())
        assert two.peers.is_connected(1) and not two.gone


@on_both_loops
async def test_two_secrets_are_refused_on_both_sides():
    patch = pytest.MonkeyPatch()
    said = Said(patch)
    try:
        async with nodes(Node(1), Node(2, trust=Trust(b"t" * 32)), meet=False) as (one, two):
            for node in (one, two):
                node.peers.set_members([one.member, two.member])
            await one.until(lambda: said.about("no connection to a node", "node=node-2", "same cluster-secret"))
            await one.until(lambda: said.about("raft port was closed", "same cluster-secret", "claimed=node-1"))
            await two.until(lambda: said.about("no connection to a node", "node=node-1", "same cluster-secret"))
            assert one.connected == two.connected == one.messages == two.messages == []
            assert "same cluster-secret" in one.peers.status()[2].failure
    finally:
        patch.undo()


@pytest.mark.parametrize(
    "two, word",
    [
        (lambda: Node(2, me=identity(2, cluster=b"D" * 16)), "is of the cluster"),
        (lambda: Node(2, me=identity(7)), "answers at 127.0.0.1"),
        (lambda: Node(2, me=identity(7, name="node-2")), "answers at 127.0.0.1"),
        (lambda: Node(2, me=identity(2, name="node-9")), "answers at 127.0.0.1"),
        (lambda: Node(2, trust=Trust(b"")), "only one of the two"),
        (lambda: Node(2, me=stranger(2, name="node-2")), "belongs to no cluster so far"),
    ],
)
def test_who_is_not_meant_is_refused_before_any_message(two, word):
    patch = pytest.MonkeyPatch()
    said = Said(patch)

    @on_both_loops
    async def scene():
        async with nodes(Node(1), two(), meet=False) as (one, other):
            expected = identity(2)
            one.peers.set_members([one.member, module.Member(2, expected.name, "127.0.0.1", other.port)])
            other.peers.set_members([one.member, other.member])
            await one.until(lambda: said.about("no connection to a node", word))
            await one.until(lambda: said.about("raft port was closed", word) or "answers at" in word)
            assert one.messages == other.messages == []
            assert not one.peers.send(2, beat(one, one, 1))
        said.lines.clear()

    try:
        scene()
    finally:
        patch.undo()


@on_both_loops
async def test_who_leaves_the_group_is_let_go_and_not_let_in_again():
    patch = pytest.MonkeyPatch()
    said = Said(patch)
    try:
        async with nodes(Node(1), Node(2)) as (one, two):
            one.peers.set_members([one.member], retired=[2])
            assert not one.peers.is_connected(2) and one.peers.status() == {}
            await two.until(lambda: said.about("no connection to a node", "was removed from the cluster"))
            assert not two.peers.send(1, beat(two, one, 1))
    finally:
        patch.undo()


@pytest.mark.parametrize(
    "garbage, word",
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "speaks HTTP"),
        (b"*1\r\n$4\r\nPING\r\n", "client of Redis"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "speaks TLS"),
        (b"\xff" * 100, "a frame of"),
        (b"\x00\x00\x00\x14\x01\x01\x00\x00" + bytes(16), "does not match its seal"),
        (b"\x00\x00\x10\x00\x01\x01\x00\x00", ""),  # the beginning of a frame that never comes
        (b"", ""),
    ],
)
def test_strangers_are_closed_with_one_line(garbage, word):
    patch = pytest.MonkeyPatch()
    said = Said(patch)

    @on_both_loops
    async def scene():
        async with nodes(Node(1, timing=Timing(handshake_s=0.1 if not word else 30)), meet=False) as (one,):
            reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
            writer.write(garbage)
            try:
                assert await reader.read() == b"", "nothing is told to strangers"
            except ConnectionResetError:
                pass  # closed with bytes unread
            writer.close()
            assert len(said.about("raft port was closed", word or "took too long", "claimed=-")) == 1
            assert len(said.lines) == 1
        said.lines.clear()

    try:
        scene()
    finally:
        patch.undo()


@on_both_loops
async def test_many_strangers_are_few_lines_and_members_still_come_in():
    patch = pytest.MonkeyPatch()
    said = Said(patch)
    held = []
    try:
        async with nodes(Node(1, timing=Timing(0.02, 5, 30)), Node(2), meet=False) as (one, two):
            for _ in range(100):
                held.append(socket.create_connection(("127.0.0.1", one.port)))
            await join(one, two)
            assert len(said.about("raft port was closed")) <= 3
            assert two.peers.send(1, beat(two, one, 1))
            await one.until(lambda: one.of(2))
    finally:
        patch.undo()
        for one in held:
            one.close()


@on_both_loops
async def test_a_member_that_speaks_nonsense_is_cut_off_and_its_nonsense_not_heard():
    async with nodes(Node(1), Node(2)) as (one, two):
        channel = one.peers._parties[2].channel(Purpose.TALK)
        channel.queue(7, [b"short"])
        channel.send(beat(one, two, 1))
        await one.until(lambda: one.peers.status()[2].connects == 2)
        assert two.of(1) == []


@on_both_loops
async def test_without_the_secret_nobody_adds_a_frame_to_a_connection():
    async with nodes(Node(1), Node(2)) as (one, two):
        channel = one.peers._parties[2].channel(Purpose.TALK)
        forged = Checksum()
        forged._frames = channel._seal._frames  # whoever listens can count
        channel._transport.writelines(frame(*encode(beat(one, two, 1)), forged))
        await one.until(lambda: one.peers.status()[2].connects == 2)
        assert two.messages == []
    async with nodes(Node(1, trust=Trust()), Node(2, trust=Trust())) as (one, two):
        channel = one.peers._parties[2].channel(Purpose.TALK)
        channel._transport.writelines(frame(*encode(beat(one, two, 1)), channel._seal))
        await two.until(lambda: two.of(1) == [beat(one, two, 1)])


@on_both_loops
async def test_a_second_process_gets_in_when_the_first_is_gone():
    """Not before: it may run from a copy of the data directory, made while the first one was writing to it."""
    async with nodes(Node(1), Node(2)) as (one, old):
        new = Node(2, me=identity(2, incarnation=2, boot=77))
        try:
            new.peers.set_members([one.member, old.member])
            await new.until(lambda: "alive" in new.peers.status()[1].failure)
            assert one.peers.is_connected(2) and one.roster.lives[2].boot == old.roster.me.boot
            assert {channel.peer.boot for channel in one.peers._parties[2].channels()} == {old.roster.me.boot}
            old.peers.close()
            await new.until(lambda: dialed(new, 1))
            assert {channel.peer.boot for channel in one.peers._parties[2].channels() if channel.is_open} == {77}
            assert one.roster.lives[2].boot == 77
        finally:
            new.peers.close()


@on_both_loops
async def test_a_node_that_has_been_away_answers_a_leader_that_it_does_not_know():
    async with nodes(Node(1), Node(2), Node(7), meet=False) as (old, away, leader):
        away.peers.set_members([old.member, away.member])
        leader.peers.set_members([away.member, leader.member], retired=[1])
        await leader.until(lambda: leader.peers.is_connected(2) and bulk(leader, 2))
        await away.until(lambda: away.peers.is_connected(7) and bulk(away, 7))
        assert leader.peers.send(2, beat(leader, away, 1))
        await away.until(lambda: away.of(7) == [beat(leader, away, 1)])
        assert away.peers.send(7, beat(away, leader, 2)), "over the connection that the leader has dialed"
        assert away.peers.send(7, big_append(2, 7))
        await leader.until(lambda: len(leader.of(2)) == 2)
        assert away.connected.count(7) == 1 and away.peers.status()[7].connected
        away.peers.set_members([away.member, leader.member], retired=[1])  # the log has told it
        await away.until(lambda: 7 in away.peers.status() and away.peers.status()[7].connects == 1)
        assert set(away.peers.status()) == {7}
        leader.peers.close()
        await away.until(lambda: not away.peers.is_connected(7))
        assert 7 in away.unreachable and 7 in away.peers.status()


@on_both_loops
async def test_who_was_known_only_by_its_own_connection_is_forgotten_with_it():
    async with nodes(Node(2), Node(7), meet=False) as (away, leader):
        away.peers.set_members([away.member])
        leader.peers.set_members([away.member, leader.member])
        await away.until(lambda: away.peers.is_connected(7))
        leader.peers.close()
        await away.until(lambda: away.peers.status() == {})
        assert not away.peers.send(7, beat(away, leader, 1))


@on_both_loops
async def test_a_guest_asks_to_join_and_says_nothing_else():
    async with nodes(Node(1), Node(9, me=stranger(9)), meet=False) as (one, guest):

        def answer(channel, message):
            if isinstance(message, JoinRequest):
                channel.send(JoinReply("", "", b"C" * 16, (one.member,)))

        one.answer = answer
        request = JoinRequest("node-9", "127.0.0.1", guest.port, "127.0.0.1:6379", "1.0")
        dialer = guest.peers.visit(Target("127.0.0.1", one.port, "a member"), Purpose.JOIN)
        await guest.until(lambda: guest.guests)
        door = guest.guests[0][0]
        assert door.peer == one.me and door.send(request)
        await guest.until(lambda: len(guest.guests) == 2)
        assert guest.guests[1][1] == JoinReply("", "", b"C" * 16, (one.member,))
        door.send(beat(guest, one, 1))
        await one.until(lambda: not door.is_open)
        assert one.messages == [] and [message for _, message in one.guests if message] == [request]
        dialer.close()


@on_both_loops
async def test_a_port_for_everybody_is_not_opened_by_mistake():
    one = Node(1, trust=Trust())
    try:
        for host in ("0.0.0.0", "*", "192.0.2.1", "example.org"):
            with pytest.raises(Untrusted, match="cluster-secret"):
                await one.peers.listen(host, 0)
        await one.peers.listen("127.0.0.1", 0)
    finally:
        one.peers.close()
    for trust in (Trust(KEY), Trust(insecure=True)):
        trust.check("0.0.0.0")


@on_both_loops
async def test_our_own_standstill_is_not_the_silence_of_others():
    async with nodes(Node(1, timing=Timing(heartbeat_s=3600, silence_s=1.0)), Node(2)) as (one, _):
        channel = one.peers._parties[2].channel(Purpose.TALK)
        now = asyncio.get_running_loop().time() + 100
        channel.excuse(now)
        channel.look(now + 0.5, 1.0)
        assert channel.is_open
        channel.look(now + 1.5, 1.0)
        assert not channel.is_open


@on_both_loops
async def test_a_closed_node_sends_and_hears_nothing():
    async with nodes(Node(1), Node(2)) as (one, two):
        one.peers.close()
        heard = len(one.messages)
        assert not one.peers.send(2, beat(one, two, 1))
        await two.until(lambda: not two.peers.is_connected(1))
        assert len(one.messages) == heard
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", two.peers._parties[1].member.port)
