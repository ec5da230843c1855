"""A few cores on a bench: every message, fsync and tick moves only when a line of a script says so.

A script is text: commands, a line of dashes, what they are expected to print, an empty line, and so on. Commands:

    cluster 3 [learners 4 5] [lease] [small] [lazy]    nodes 1 2 3 vote, 4 and 5 learn; small: one batch in an append;
                        lazy: what is committed is not told at once              announce 1 5    it is, up to 5
    start 6             a node that knows nobody
    elect 1             node 1 becomes leader of all that it can reach       wait 1 2        an election timeout passes
    quiet|show          print nothing | all again
    tick 1 [n]          timeout 1   ticks until it asks for votes            deliver [1>2] [kind]   all, or the first such
    drop 1>2 [kind]     repeat 1>2 [kind]   as deliver, and it stays         cut 1>2 ...  heal      links that lose all
    propose 1 x [n]     n operations in one batch                            hold 1  fsync 1        its disk waits, goes on
    stall 1  apply 1    its state machine waits, goes on                     crash 1  restart 1     what is not synced is lost
    read 1 r            transfer 1 2    add 1 4    promote 1 4    remove 1 3 [force]     unreachable 1 2
    gone 2 1            node 2 is told that node 1 has died
    compact 1 5         stream 1 3 [failed|unread]   late-disk 1  fetched 1   status     log
    keep 1>2 [kind]     late        that message comes now                   forget 3 1      its disk is an older copy
Not here: chance. Elections end as the script delivers their messages; each node draws its timeouts from its own seed.
"""

from __future__ import annotations

from collections import deque
from random import Random

from tests.sim.raft.disk import SimDisk
from tests.sim.raft.node import Machine, decode_members, encode_members
from vaylix_resp.raft import messages as msg
from vaylix_resp.raft.core import RaftCore
from vaylix_resp.raft.ready import Config, Fetch, Persist, Ready
from vaylix_resp.raft.types import Change, ChangeKind, Entry, EntryKind, InvariantBroken, Membership, Refused, Role

KINDS = {
    msg.PreVote: "prevote",
    msg.PreVoteReply: "prevote-reply",
    msg.Vote: "vote",
    msg.VoteReply: "vote-reply",
    msg.Append: "append",
    msg.AppendReply: "append-reply",
    msg.Heartbeat: "heartbeat",
    msg.HeartbeatReply: "heartbeat-reply",
    msg.TimeoutNow: "timeout-now",
    msg.InstallSnapshot: "snapshot",
    msg.SnapshotReply: "snapshot-reply",
    msg.ReadIndex: "read-index",
    msg.ReadIndexReply: "read-index-reply",
}


def told(message: msg.Message) -> str:
    """One line: who to whom, what, its term, and what matters in it."""
    head = f"{message.frm}>{message.to} {KINDS[type(message)]} t{message.term}"
    match message:
        case msg.PreVote(last=last) | msg.Vote(last=last):
            return f"{head} last {last}" + (" transfer" if getattr(message, "transfer", False) else "")
        case msg.PreVoteReply(granted=granted) | msg.VoteReply(granted=granted):
            return f"{head} {'yes' if granted else 'no'}"
        case msg.Append():
            entries = "".join(f" [{entry}]" for entry in message.entries)
            return f"{head} #{message.number} behind {message.prev}{entries} commit {message.commit}"
        case msg.AppendReply(rejected=True):
            return f"{head} #{message.number} rejects {message.index}, hint {message.hint}"
        case msg.AppendReply():
            return f"{head} #{message.number} has {message.index}"
        case msg.Heartbeat():
            return f"{head} commit {message.commit} round {message.round}"
        case msg.HeartbeatReply():
            return f"{head} round {message.round}"
        case msg.InstallSnapshot():
            return f"{head} {message.snapshot.last} {message.snapshot.membership}"
        case msg.SnapshotReply():
            return f"{head} {'has' if message.ok else 'failed, has'} {message.index}"
        case msg.ReadIndexReply():
            return f"{head} {f'index {message.index}' if message.ok else 'no'}"
    return head


class Station:
    """One node: its disk, and what it has been given to do and has not done."""

    def __init__(self, bench: Bench, node_id: int, founders: Membership, config: Config) -> None:
        self.bench, self.id, self.config = bench, node_id, config
        self.disk = SimDisk(founders)
        self.held = self.stalled = False
        self.core: RaftCore | None = None
        self.boots = 0
        self.begin()

    def begin(self) -> None:
        self.boots += 1
        self.machine = Machine(self.disk.snapshot)
        self.writes: deque[Persist] = deque()
        self.applies: deque[Entry] = deque()
        self.fetches: list[Fetch] = []
        for entry in self.disk.batches:
            if self.machine.last.index < entry.last <= self.disk.committed:
                self.machine.apply(entry)
        applied = self.machine.last.index
        tail = [entry for entry in self.disk.batches if entry.last > applied]
        seed = Random(self.id * 1000 + self.boots)
        self.core = RaftCore(self.config, self.disk.hard_state, self.machine.membership, self.disk, seed, applied, tail)

    def say(self, text: str) -> None:
        self.bench.say(f"{self.id} {text}")

    def pump(self) -> None:
        while self.core is not None:
            work = self.core.ready()
            if work is not None:
                self.do(work)
            elif self.writes and not self.held:
                self.fsync()
            elif self.applies and not self.stalled:
                self.apply()
            else:
                return

    def do(self, work: Ready) -> None:
        assert self.core is not None
        for message in work.send:
            self.bench.sent(message)
        if work.status is not None:
            status = work.status
            knows = f"leader {status.leader}" if status.leader else "no leader"
            self.say(
                f"is {status.role.name.lower()} t{status.term}, {knows}{'' if status.quorum_fresh else ' (stale)'}"
            )
        if work.persist is not None:
            self.say("writes " + self.picture(work.persist))
            self.writes.append(work.persist)
        self.applies.extend(work.apply)
        for token, index in work.reads:
            self.say(f"may serve read {token} at {index}")
        for token in work.reads_failed:
            self.say(f"fails read {token}")
        for entry, fate in work.fates:
            self.say(f"proposal {entry} is {fate.name.lower()}")
        for fetch in work.fetch:
            self.say(f"fetches behind {fetch.after} for {fetch.to}")
            self.fetches.append(fetch)
        for node in work.stream:
            self.say(f"streams a snapshot to {node}")
        for node in work.lost:
            self.say(f"sees that {node} has lost data")
        if work.transfer_failed:
            self.say(f"gives up handing over to {work.transfer_failed}")
        if work.noop:
            self.core.propose(EntryKind.NOOP, 1, 0, 0, b"noop")

    @staticmethod
    def picture(persist: Persist) -> str:
        parts = []
        if persist.snapshot is not None:
            parts.append(f"snapshot {persist.snapshot.last}")
        if persist.truncate_after is not None:
            parts.append(f"cut after {persist.truncate_after}")
        if persist.hard_state_changed:
            parts.append(f"term {persist.hard_state.term} vote {persist.hard_state.vote or '-'}")
        return " ".join(parts + [f"[{entry}]" for entry in persist.entries])

    def fsync(self) -> None:
        persist = self.writes.popleft()
        saved = self.bench.snapshots.get(persist.snapshot.name) if persist.snapshot else None
        assert self.core is not None
        if persist.snapshot is not None and saved is None:
            self.core.install_failed()
            return
        self.disk.begin(persist)
        self.disk.finish(saved)
        if saved is not None:
            self.machine = Machine(saved)
        self.core.persisted(persist.number)

    def apply(self) -> None:
        assert self.core is not None
        entry = self.applies.popleft()
        self.machine.apply(entry)
        self.say(f"applies {entry}")
        if entry.kind is EntryKind.MEMBERS:
            self.core.apply_members(entry.last, decode_members(entry.body))
        self.core.applied(entry.last)


class Bench:
    def __init__(self) -> None:
        self.stations: dict[int, Station] = {}
        self.flying: list[msg.Message] = []
        self.cut_links: set[tuple[int, int]] = set()
        self.snapshots: dict[str, tuple] = {}
        self.out: list[str] = []
        self.silent = False
        self.lease = self.small = self.lazy = False

    def say(self, text: str) -> None:
        if not self.silent:
            self.out.append(text)

    def sent(self, message: msg.Message) -> None:
        if (message.frm, message.to) in self.cut_links:
            return
        self.flying.append(message)
        self.say(told(message))

    def run(self, line: str) -> None:
        word, *arguments = line.split()
        name = "do_" + word.replace("-", "_")
        try:
            getattr(self, name)(*arguments)
        except InvariantBroken as broken:
            self.say(f"halt: {broken}")

    def core(self, node: str) -> RaftCore:
        core = self.stations[int(node)].core
        assert core is not None, f"{node} is down"
        return core

    def pump(self, node: str | int) -> None:
        self.stations[int(node)].pump()

    def answer(self, made: object) -> None:
        if isinstance(made, Refused):
            self.say(f"refused: {made.reason.name.lower()}" + (f", leader {made.leader}" if made.leader else ""))

    # --- nodes ------------------------------------------------------------------------------------------------------

    def config(self, node: int) -> Config:
        return Config(
            node, election_ticks=10, heartbeat_ticks=2, inflight_messages=2, append_entries=1 if self.small else 4,
            cache_bytes=0, uncommitted_bytes=2000, promote_lag=3, lease_reads=self.lease,
            eager_commits=not self.lazy,
        )  # fmt: skip

    def do_cluster(self, count: str, *rest: str) -> None:
        self.lease = "lease" in rest
        self.small = "small" in rest
        self.lazy = "lazy" in rest
        voters = frozenset(range(1, int(count) + 1))
        learners = frozenset(int(one) for one in rest if one.isdigit())
        for node in sorted(voters | learners):
            self.stations[node] = Station(self, node, Membership(voters, learners), self.config(node))
            self.pump(node)
        if len(voters) > 1:
            self.out.clear()

    def do_start(self, node: str) -> None:
        self.stations[int(node)] = Station(self, int(node), Membership(), self.config(int(node)))
        self.pump(node)

    def do_crash(self, node: str) -> None:
        station = self.stations[int(node)]
        station.core = None
        station.held = station.stalled = False
        self.flying = [message for message in self.flying if message.to != int(node)]

    def do_restart(self, node: str, keeping: str = "") -> None:
        """`keeping`: what is on its way to it arrives."""
        flying = list(self.flying)
        self.do_crash(node)
        self.flying = flying if keeping else self.flying
        self.stations[int(node)].begin()
        self.pump(node)

    def do_tick(self, node: str, times: str = "1") -> None:
        for _ in range(int(times)):
            self.core(node).tick()
            self.pump(node)

    def do_timeout(self, node: str) -> None:
        for _ in range(40):
            if self.core(node).role in (Role.PRE_CANDIDATE, Role.CANDIDATE, Role.LEADER):
                return
            self.do_tick(node)
        self.say(f"{node} does not stand for election")

    def do_wait(self, *nodes: str) -> None:
        """An election timeout passes for these; what they say meanwhile is lost."""
        silent, self.silent = self.silent, True
        flying, self.flying = self.flying, []
        for node in nodes:
            self.do_tick(node, "10")
        self.flying = flying
        self.silent = silent

    def do_elect(self, node: str) -> None:
        """After a wait of all that it can reach; what was on its way before is lost."""
        silent, self.silent = self.silent, True
        self.flying.clear()
        for other, station in self.stations.items():
            if station.core is not None and str(other) != node and (int(node), other) not in self.cut_links:
                self.do_wait(str(other))
        for _ in range(80):
            if self.core(node).role is not Role.LEADER:
                self.do_tick(node)
                self.do_deliver()
        self.silent = silent
        if self.core(node).role is not Role.LEADER:
            self.out.append(f"{node} is not elected")

    def do_status(self) -> None:
        for node, station in sorted(self.stations.items()):
            if station.core is not None:
                core, log = station.core, station.core.log
                state = f"last {log.last_id} committed {log.committed} persisted {log.persisted} applied {log.applied}"
                self.say(f"{node} {core.role.name.lower()} t{core.term} {state}, {core.membership}")

    def do_log(self) -> None:
        for node, station in sorted(self.stations.items()):
            self.say(f"{node} has {station.disk.start} " + " ".join(str(entry) for entry in station.disk.batches))

    def do_quiet(self) -> None:
        self.silent = True

    def do_show(self) -> None:
        self.silent = False

    # --- the network ------------------------------------------------------------------------------------------------

    def _pick(self, link: str, kind: str) -> msg.Message | None:
        frm, to = (int(end) for end in link.split(">"))
        for message in self.flying:
            if (message.frm, message.to) == (frm, to) and kind in ("", KINDS[type(message)]):
                return message
        self.say(f"nothing like that from {link}")
        return None

    def _arrive(self, message: msg.Message) -> None:
        station = self.stations.get(message.to)
        if station is not None and station.core is not None and (message.frm, message.to) not in self.cut_links:
            station.core.step(message)
            station.pump()

    def do_deliver(self, link: str = "", kind: str = "") -> None:
        if link:
            message = self._pick(link, kind)
            if message is not None:
                self.flying.remove(message)
                self._arrive(message)
            return
        for _ in range(2000):
            if not self.flying:
                return
            self._arrive(self.flying.pop(0))
        self.say("the messages do not come to an end")

    def do_drop(self, link: str = "", kind: str = "") -> None:
        if link:
            message = self._pick(link, kind)
            if message is not None:
                self.flying.remove(message)
        else:
            self.flying.clear()

    def do_repeat(self, link: str, kind: str = "") -> None:
        message = self._pick(link, kind)
        if message is not None:
            self._arrive(message)

    def do_keep(self, link: str, kind: str = "") -> None:
        """The message comes later than all that is sent from now on."""
        message = self._pick(link, kind)
        if message is not None:
            self.flying.remove(message)
            self.late = message

    def do_late(self) -> None:
        self._arrive(self.late)

    def do_vote(self, frm: str, to: str) -> None:
        """As if somebody had skipped the first question."""
        core = self.core(frm)
        self.sent(msg.Vote(int(frm), int(to), core.term + 1, core.log.last_id))

    def do_cut(self, *links: str) -> None:
        for link in links:
            for one in (link, link[::-1]) if "-" in link else (link,):
                frm, to = one.replace("-", ">").split(">")
                self.cut_links.add((int(frm), int(to)))

    def do_heal(self) -> None:
        self.cut_links.clear()

    def do_unfit(self, node: str) -> None:
        """The driver says that it must not lead."""
        self.core(node).stand_down()
        self.pump(node)

    def do_gone(self, node: str, leader: str) -> None:
        self.core(node).leader_gone(int(leader))
        self.pump(node)

    def do_announce(self, node: str, index: str) -> None:
        self.core(node).announce(int(index))
        self.pump(node)

    # --- what the driver does ---------------------------------------------------------------------------------------

    def do_hold(self, node: str) -> None:
        self.stations[int(node)].held = True

    def do_fsync(self, node: str) -> None:
        self.stations[int(node)].fsync()
        self.pump(node)

    def do_release(self, node: str) -> None:
        self.stations[int(node)].held = self.stations[int(node)].stalled = False
        self.pump(node)

    def do_stall(self, node: str) -> None:
        self.stations[int(node)].stalled = True

    def do_propose(self, node: str, body: str, count: str = "1") -> None:
        text = b"\n".join(b"%s=%d" % (body.encode(), at) for at in range(int(count)))
        made = self.core(node).propose(EntryKind.NORMAL, int(count), 0, 0, text)
        self.answer(made)
        self.pump(node)

    def do_read(self, node: str, token: str) -> None:
        self.answer(self.core(node).read_index(token))
        self.pump(node)

    def do_transfer(self, node: str, to: str) -> None:
        self.answer(self.core(node).transfer(int(to)))
        self.pump(node)

    def do_unreachable(self, node: str, to: str) -> None:
        self.core(node).unreachable(int(to))
        self.pump(node)

    def do_resign(self, node: str) -> None:
        self.core(node).resign()
        self.pump(node)

    def do_lapse(self, node: str) -> None:
        self.core(node).lapse()

    def _change(self, kind: ChangeKind, node: str, who: str, force: bool) -> None:
        core, change = self.core(node), Change(kind, int(who))
        try:
            body = encode_members(core.membership.after(change))
        except ValueError:
            body = b"||"  # the core refuses it
        self.answer(core.propose_members(change, 0, 0, body, force=force))
        self.pump(node)

    def do_add(self, node: str, who: str) -> None:
        self._change(ChangeKind.ADD_LEARNER, node, who, False)

    def do_promote(self, node: str, who: str, *force: str) -> None:
        self._change(ChangeKind.PROMOTE, node, who, bool(force))

    def do_remove(self, node: str, who: str, *force: str) -> None:
        self._change(ChangeKind.REMOVE, node, who, bool(force))

    def do_compact(self, node: str, upto: str) -> None:
        station = self.stations[int(node)]
        station.disk.save(station.machine.save())
        station.disk.prune(next(entry.id for entry in station.disk.batches if entry.last == int(upto)))
        self.core(node).compacted(int(upto))
        self.pump(node)

    def do_forget(self, node: str, upto: str) -> None:
        """The disk is replaced by an older copy of itself."""
        disk = self.stations[int(node)].disk
        disk.batches = [entry for entry in disk.batches if entry.last <= int(upto)]
        disk.committed = min(disk.committed, int(upto))
        self.do_restart(node)

    def do_late_disk(self, node: str) -> None:
        self.stations[int(node)].disk.reads_wait = True

    def do_fetched(self, node: str) -> None:
        station = self.stations[int(node)]
        fetch = station.fetches.pop(0)
        self.core(node).fetched(fetch, station.disk.read(fetch.after, fetch.max_bytes))
        self.pump(node)

    def do_stream(self, node: str, to: str, how: str = "ok") -> None:
        saved = self.stations[int(node)].disk.snapshot
        if how != "unread":
            self.snapshots[saved[0].name] = saved
        self.core(node).snapshot_sent(int(to), None if how == "failed" else saved[0])
        self.pump(node)


def play(text: str) -> str:
    """The script with what its commands print now."""
    bench, done = Bench(), []
    for block in text.strip("\n").split("\n\n"):
        lines = block.split("\n")
        commands = lines[: lines.index("---")] if "---" in lines else lines
        for line in commands:
            if line and not line.startswith("#"):
                bench.run(line)
        done.append(
            "\n".join([*commands, "---", *bench.out]) if any(not c.startswith("#") for c in commands) else block
        )
        bench.out.clear()
    return "\n\n".join(done) + "\n"
