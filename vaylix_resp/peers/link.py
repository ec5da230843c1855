"""The connections of one node to all others: what the driver sends by, and hears through.

Each node dials each other one twice: a connection for messages, and one for what is large, so that heartbeats pass.
What a node has to say goes over the connections that it has dialed, or else over those of the other side (`party`).
An append that follows a large one travels behind it until that one has arrived: overtaking it would be refused by the
follower and sent again.
Promises: `send` never waits and never raises; False means that the message will certainly not arrive, True that it may.
A message is sent at most once. Queues are bounded; a peer that is slow, silent or gone costs others nothing but its
dropped messages. `on_unreachable`, `on_gone` and `on_message` come from the loop, never from within `send`.
Units: bytes, seconds. Not here: what messages mean (`engine`), who is welcome (`roster`).
Source: Raft (Ongaro, 2014), section 10.2 (separate streams, pipelining).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import Random
from typing import Final

from ..config_cluster import PEERS_MAX
from ..limits import KIB, MIB
from ..observability.logs import get_log
from ..raft.messages import Append
from ..security.tls import TlsError
from .channel import Channel
from .codec import RAFT_KIND_MAX, Message, encode, fits, size_of
from .dialer import Dialer, Target
from .door import Door, Lines
from .hello import GUESTS, NONCE_BYTES, Code, Hello, Identity, Purpose, Refusal
from .messages import Member, Pong, SnapshotChunk
from .party import Party, Wanted
from .ports import Events, Timing, Trust
from .roster import Roster
from .secure import Engine
from .stats import PeerStats
from .tls import binding, stands_for

log = get_log("peers")

LARGE_BYTES: Final = MIB + 64 * KIB  # an append of ordinary size is at most 1 MiB and its headers
QUEUE_BYTES_MAX: Final = 16 * MIB  # waiting on one connection; twice the window of a follower. One more message fits
STRANGERS_MAX: Final = 64
TLS_WORKERS: Final = 1
# The one that is here has the newer data; a copy of its directory has forgotten what was promised since.
ANOTHER: Final = (
    "another process of {peer} is connected and alive; if this one runs from a copy of its data directory, stop it: a "
    "copy never takes its place"
)


class Peers:
    """Make it on a running loop; set_members() and listen(); close() at the end."""

    def __init__(
        self, roster: Roster, trust: Trust, events: Events, rng: Random, *, timing: Timing | None = None,
        places: Mapping[str, tuple[str, int]] | None = None, nonce: Callable[[int], bytes] = os.urandom,
    ) -> None:  # fmt: skip
        """`places`: where the local configuration finds a name, whatever the replicated membership says (NAT)."""
        self.roster, self._trust, self._events, self._rng = roster, trust, events, rng
        self._timing, self._places, self._nonce = timing or Timing(), dict(places or {}), nonce
        self._loop = asyncio.get_running_loop()
        self._parties: dict[int, Party] = {}
        self._guests: dict[Channel, None] = {}
        self._deadlines: dict[Channel, asyncio.TimerHandle] = {}
        self._lost: set[int] = set()
        self._queued: dict[Channel, None] = {}  # since `flush`
        self._names = ThreadPoolExecutor(PEERS_MAX, "peer-names")
        self._shaking = ThreadPoolExecutor(TLS_WORKERS, "peer-tls")
        self._lines = Lines(self._loop.time)
        self._door = Door(lambda: self._channel(None))
        self._ticked_at = self._loop.time()
        self._closed = False
        self._timer = self._loop.call_later(self._timing.heartbeat_s, self._tick)

    # Opening and closing.

    async def listen(self, host: str, port: int) -> None:
        """Raises OSError when the address cannot be had, Untrusted when strangers would get in."""
        self._trust.check(host)
        await self._door.listen(host, port)

    @property
    def ports(self) -> tuple[int, ...]:
        return self._door.ports

    def close(self) -> None:
        """Nothing is sent or heard any more."""
        self._closed = True
        self._timer.cancel()
        self._door.close()
        for node in list(self._parties):
            self._part(node)
        for channel in [*self._guests, *self._deadlines]:
            channel.end("this node stops")
        self._names.shutdown(wait=False, cancel_futures=True)
        self._shaking.shutdown(wait=False, cancel_futures=True)

    def set_members(self, members: Iterable[Member], retired: Iterable[int] = ()) -> None:
        """Who belongs to the group now; this node may be among them. Others are let go at once."""
        self.roster.set_members(members, retired)
        wanted = {node: one for node, one in self.roster.members.items() if node != self.roster.me.node}
        for node, party in list(self._parties.items()):
            gone = node not in wanted and (party.member is not None or node in self.roster.retired)
            if gone or (party.member is not None and wanted[node] != party.member):
                self._part(node)
        for member in wanted.values():
            self._meet(member)

    def reload_tls(self, why: str) -> bool:
        """Take the certificates as they are now, for new connections; False: the log says why they cannot be used."""
        if self._trust.tls is None:
            return True
        try:
            self._trust.tls.reload()
        except TlsError as bad:
            log.warning(f"the nodes' certificates were not reloaded ({why}): {bad}; mend them: the old ones still hold")
            return False
        log.notice(f"the nodes' certificates were reloaded ({why}) for new connections")
        return True

    def _meet(self, member: Member) -> None:
        party = self._parties.setdefault(member.node, Party())
        if party.member is not None:
            return
        party.member, party.name = member, member.name
        host, port = self._places.get(member.name, (member.host, member.port))
        for purpose in (Purpose.TALK, Purpose.BULK):
            what = member.name if purpose is Purpose.TALK else f"{member.name} (large messages)"
            wanted = Wanted(member.name, host, member.node)
            party.dialers[purpose] = self._dial(Target(host, port, what), purpose, wanted, absent=self._absent)

    def _absent(self, node: int) -> None:
        """It takes no connections; while one is open all the same, that is the fault of an address or a firewall."""
        party = self._parties.get(node)
        if party is not None and not any(one.is_open for one in party.channels()) and not self._closed:
            self._events.on_gone(node)

    def _part(self, node: int) -> None:
        party = self._parties.pop(node)
        for dialer in party.dialers.values():
            dialer.close()
        for channel in list(party.incoming.values()):
            channel.end("it is no member any more")

    def _dial(
        self, target: Target, purpose: Purpose, wanted: Wanted, failed: Callable[[str], None] | None = None,
        absent: Callable[[int], None] | None = None,
    ) -> Dialer:  # fmt: skip
        def make() -> Channel:
            channel = self._channel(purpose, target.address)
            channel.tag = wanted
            return channel

        attempt_s = self._timing.attempt_s
        gone = None if absent is None else partial(absent, wanted.node)
        wanted.dialer = Dialer(target, make, self._names, self._rng, attempt_s=attempt_s, failed=failed, absent=gone)
        return wanted.dialer

    def visit(
        self, target: Target, purpose: Purpose, name: str = "", failed: Callable[[str], None] | None = None
    ) -> Dialer:
        """Keep a connection to a node that is no member; close() the dialer when it is not needed any more.

        `failed` hears why an attempt, or the connection, has come to an end."""
        assert purpose in GUESTS, purpose
        return self._dial(target, purpose, Wanted(name, target.host), failed)

    # Sending.

    def send(self, node: int, message: Message) -> bool:
        party = self._parties.get(node)
        if party is None:
            return False
        kind, pieces = encode(message)
        appends = isinstance(message, Append)
        large = size_of(pieces) > LARGE_BYTES or isinstance(message, SnapshotChunk) or (appends and party.behind > 0)
        channel = party.channel(Purpose.BULK if large else Purpose.TALK)
        if channel is None or channel.queue_bytes >= QUEUE_BYTES_MAX or not fits(message, party.stats.version):
            party.stats.dropped += 1
            if kind <= RAFT_KIND_MAX:
                self._lose(node)
            return False
        channel.queue(kind, pieces)
        self._queued[channel] = None
        if large and appends:
            party.behind = channel.ping().number
        return True

    def flush(self) -> None:
        """What has been sent leaves now, not with the end of this turn of the loop: the caller is about to be busy."""
        queued, self._queued = self._queued, {}
        for channel in queued:
            channel.flush()

    def _lose(self, node: int) -> None:
        if not self._lost and not self._closed:
            self._loop.call_soon(self._tell_lost)
        self._lost.add(node)

    def _tell_lost(self) -> None:
        lost, self._lost = self._lost, set()
        for node in sorted(lost):
            if node in self._parties and not self._closed:
                self._events.on_unreachable(node)

    def is_connected(self, node: int) -> bool:
        party = self._parties.get(node)
        return party is not None and party.channel(Purpose.TALK) is not None

    def queue_bytes(self, node: int, *, large: bool = False) -> int:
        """What waits for a peer; whoever streams a snapshot sends the next piece when this is low."""
        party = self._parties.get(node)
        channel = party.channel(Purpose.BULK if large else Purpose.TALK) if party is not None else None
        return channel.queue_bytes if channel is not None else 0

    def status(self) -> dict[int, PeerStats]:
        """Of each other member (and who has proven to be one); the queues as they are now."""
        for party in self._parties.values():
            party.stats.connected = party.channel(Purpose.TALK) is not None
            party.stats.queue_bytes = sum(one.queue_bytes for one in party.channels())
        return {node: party.stats for node, party in self._parties.items()}

    # What a channel asks (`channel.Host`).

    def _channel(self, purpose: Purpose | None, target: str = "") -> Channel:
        channel = Channel(self, self.roster.me.node, purpose, target)
        end = self._timing.handshake_s + (self._timing.attempt_s if purpose is not None else 0)
        self._deadlines[channel] = self._loop.call_later(end, channel.end, "the handshake took too long")
        return channel

    def engine(self, channel: Channel) -> Engine | None:
        tls = self._trust.tls
        if tls is None:
            return None
        if tls.expired:
            channel.end("our own certificate has expired; renew it")
            return None
        pair = tls.pair
        channel.own_certificate = pair.certificate
        return Engine(pair.dial if channel.dialed else pair.accept, dialed=channel.dialed)

    def greet(self, channel: Channel) -> Hello:
        bound = b""
        if self._trust.tls is not None:
            mine, theirs = channel.own_certificate, channel.peer_certificate
            bound = binding(mine, theirs) if channel.dialed else binding(theirs, mine)

        def judge(peer: Identity, purpose: Purpose) -> Refusal | None:
            return self._judge(channel, peer, purpose)

        nonce = self._nonce(NONCE_BYTES)
        return Hello(self.roster.me, judge, self._trust.key, nonce, purpose=channel.purpose, binding=bound)

    def _judge(self, channel: Channel, peer: Identity, purpose: Purpose) -> Refusal | None:
        wanted: Wanted | None = channel.tag
        if wanted is not None and ((wanted.node or peer.node) != peer.node or (wanted.name or peer.name) != peer.name):
            itself = "this node itself" if peer.node == self.roster.me.node else str(peer)
            return Refusal(Code.NAME, f"{itself} answers at {channel.target}, where {wanted.name} should be")
        refusal = self.roster.judge(peer, purpose)
        guest = purpose in GUESTS
        full = len(self._guests if guest else self._parties) >= STRANGERS_MAX
        if refusal is None and full and (guest or peer.node not in self.roster.members):
            refusal = Refusal(Code.BUSY, "too many nodes that are no members are connected; try again")
        if refusal is None and not guest and self._another_lives(peer):
            refusal = Refusal(Code.BUSY, ANOTHER.format(peer=peer))
        if refusal is not None or self._trust.tls is None:
            return refusal
        if not stands_for(channel.peer_certificate, peer.name, self._host_of(peer, wanted)):
            return Refusal(Code.CERTIFICATE, f"the certificate of {peer} does not bear that name")
        return None

    def _another_lives(self, peer: Identity) -> bool:
        """Another process of that node is talking to us; one that has died is missed within `silence_s` at most."""
        party = self._parties.get(peer.node)
        channel = party.channel(Purpose.TALK) if party is not None else None
        return channel is not None and channel.peer is not None and channel.peer.boot != peer.boot

    def _host_of(self, peer: Identity, wanted: Wanted | None) -> str:
        if wanted is not None:
            return wanted.host
        member = self.roster.members.get(peer.node)
        return self._places.get(peer.name, (member.host if member is not None else "", 0))[0]

    def work(self, step: Callable[[], bool]) -> asyncio.Future[bool]:
        return self._loop.run_in_executor(self._shaking, step)

    def opened(self, channel: Channel) -> None:
        peer, purpose, wanted = channel.peer, channel.purpose, channel.tag
        assert peer is not None and purpose is not None and channel.agreed is not None
        self._settle(channel)
        if wanted is not None and wanted.dialer is not None:
            wanted.dialer.opened()
        if purpose in GUESTS:
            self._guests[channel] = None
            self._events.on_guest(channel, None)
            return
        party = self._parties.setdefault(peer.node, Party())
        if party.member is None:
            party.name = peer.name
        stats, known = party.stats, party.channel(Purpose.TALK) is not None
        stats.bytes_in += channel.stats.bytes_in
        stats.bytes_out += channel.stats.bytes_out
        stats.heard_at, stats.version = self._loop.time(), channel.agreed.version
        channel.stats = stats
        if self.roster.note(peer):
            for other in party.channels():
                if other.peer is not None and other.peer.boot != peer.boot:
                    other.end("its process is another one now")
        if not channel.dialed:
            old = party.incoming.get(purpose)
            party.incoming[purpose] = channel
            if old is not None:
                old.end("it has connected anew")
            for dialer in party.dialers.values():
                dialer.nudge()
        if purpose is Purpose.TALK and (channel.dialed or not known):
            self._reached(peer, channel.dialed)

    def _reached(self, peer: Identity, dialed: bool) -> None:
        stats = self._parties[peer.node].stats
        stats.failure = ""
        if dialed:
            stats.connects += 1
            log.notice("connected to a node", node=peer.name, id=f"{peer.node:016x}", connects=stats.connects)
        self._events.on_connected(peer.node)

    def message(self, channel: Channel, message: Message) -> None:
        peer = channel.peer
        assert peer is not None
        party = self._parties.get(peer.node)
        if channel.purpose in GUESTS:
            if not isinstance(message, Pong):
                self._events.on_guest(channel, message)
        elif party is None:
            channel.end("it is no member any more")
        elif not isinstance(message, Pong):
            self._events.on_message(peer.node, message)
        elif channel is party.channel(Purpose.BULK) and message.number >= party.behind:
            party.behind = 0

    def closed(self, channel: Channel, why: str, refusal: Refusal | None) -> None:
        pending = self._settle(channel)
        self._guests.pop(channel, None)
        peer, wanted = channel.peer, channel.tag
        node = peer.node if peer is not None else wanted.node if wanted is not None else 0
        party = self._parties.get(node)
        if party is not None:
            self._less(node, party, channel, why)
        if wanted is not None and wanted.dialer is not None:
            wanted.dialer.closed(why, refusal)
        if wanted is None and (pending or refusal is not None) and not self._closed:
            claimed = channel.claimed
            self._lines.say(f"a connection to the raft port was closed: {why}", addr=channel.addr,
                            claimed=str(claimed) if claimed is not None else "-")  # fmt: skip

    def _less(self, node: int, party: Party, channel: Channel, why: str) -> None:
        """One connection less, or an attempt that came to nothing."""
        if channel.dialed:
            party.stats.failure = why
        if channel.agreed is None or channel.purpose is None:
            return
        used = channel.dialed or party.incoming.get(channel.purpose) is channel
        if not channel.dialed and used:
            del party.incoming[channel.purpose]
        if used:  # what was queued on it is gone
            if channel.purpose is Purpose.BULK:
                party.behind = 0
            self._lose(node)
        if party.member is None and not party.incoming:
            del self._parties[node]

    def _settle(self, channel: Channel) -> bool:
        """It is open or over; True: it was neither before."""
        self._door.settled(channel)
        deadline = self._deadlines.pop(channel, None)
        if deadline is not None:
            deadline.cancel()
        return deadline is not None

    # Time.

    def _tick(self) -> None:
        now, timing = self._loop.time(), self._timing
        late = now - self._ticked_at > max(3 * timing.heartbeat_s, timing.silence_s / 2)
        self._ticked_at = now
        self._timer = self._loop.call_later(timing.heartbeat_s, self._tick)
        self._lines.turn()
        channels = [channel for party in self._parties.values() for channel in party.channels()]
        for channel in [*channels, *self._guests]:
            if late:
                channel.excuse(now)
            else:
                channel.look(now, timing.silence_s)
            if channel.dialed and channel.is_open:
                channel.ping()
