"""A view of a cluster without a cluster: three nodes, of which the test says who this one is and who leads.

    view = FakeView()                      we are node-1 and lead
    view = FakeView(me=2)                  we are node-2 and follow node-1
    view.lead(3)                           node-3 leads from now on; whoever listens is told
    view.lead(None)                        no majority has been heard lately; whoever listens is told None

What is asked of it is kept in `asked`; the test resolves `later` when it likes.
"""

from dataclasses import replace

from vaylix_resp.commands.cluster_view import Address, Member
from vaylix_resp.commands.ports import Later
from vaylix_resp.peers.stats import PeerStats
from vaylix_resp.state.versions import CURRENT

IDS = {1: 0x1111, 2: 0x2222, 3: 0x3333}


def member(number, **facts):
    lead = number == 1
    made = Member(
        IDS[number], f"node-{number}", Address(f"10.0.0.{number}", 6379), Address(f"10.0.0.{number}", 16379), True,
        "leader" if lead else "replicate", 100 - 10 * (number - 1), 10 * (number - 1), 0.25 * (number - 1),
        CURRENT,
    )  # fmt: skip
    return replace(made, **facts)


class FakeView:
    cluster_id = "c" * 32
    term, voted_for = 7, None
    last, committed, applied = 100, 90, 90
    snapshot_sequence = 50
    stopped = comparison = None
    removed = False
    elections, leader_changes = 2, 3
    traffic = {IDS[2]: PeerStats(connected=True, bytes_in=10, bytes_out=20, queue_bytes=5, rtt_s=0.001, dropped=1)}

    def __init__(self, me=1, leader=1):
        self.id, self.name = IDS[me], f"node-{me}"
        self.members = tuple(member(number) for number in IDS)
        self.on_leader = []
        self.staleness_s = 0.1
        self.transferring = False
        self.have = 1  # other nodes that have acknowledged what is asked for
        self.asked = []
        self.later = Later()
        self._leader = leader

    def change(self, number, **facts):
        self.members = tuple(replace(one, **facts) if one.id == IDS[number] else one for one in self.members)

    def lead(self, number):
        before, self._leader = self.leader, number
        for told in self.on_leader:
            told(before, self.leader)

    @property
    def leader(self):
        return next((one for one in self.members if one.id == IDS.get(self._leader)), None)

    @property
    def quorum_fresh(self):
        return self._leader is not None

    @property
    def role(self):
        return "leader" if self._leader is not None and IDS[self._leader] == self.id else "follower"

    def acknowledged(self, sequence):
        return self.have

    def _asked(self, *what):
        self.asked.append(what)
        return self.later

    def wait_acknowledged(self, sequence, nodes, timeout_s):
        return self._asked("wait", sequence, nodes, timeout_s)

    def transfer(self, to, timeout_s=0.0):
        return self._asked("transfer", to, timeout_s)

    def abort_transfer(self):
        was, self.transferring = self.transferring, False
        return was

    def add_learner(self, address):
        return self._asked("add", address)

    def join(self, addresses):
        return self._asked("join", addresses)

    def promote(self, node):
        return self._asked("promote", node)

    def demote(self, node, *, force=False):
        return self._asked("demote", node)

    def remove(self, node, *, force=False):
        return self._asked("remove", node, force)
