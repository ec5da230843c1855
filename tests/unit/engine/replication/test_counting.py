"""Who has a sequence on disk, as a leader counts it: never more than is so, and never for ever."""

from types import SimpleNamespace

import pytest

from vaylix_resp.engine.replication.counting import DEPOSED, Counting
from vaylix_resp.errors import CommandError
from vaylix_resp.raft.progress import Progress, State
from vaylix_resp.raft.ready import Config


class Stage:
    def __init__(self, *matches):
        self.peers, self.timers = {}, []
        for node, match in enumerate(matches, 2):
            self.peers[node] = progress = Progress(Config(1), 100, 0)
            progress.match = match
        self.leads = True
        self.counting = Counting(self.leading, lambda seconds, then: self.timers.append((seconds, then)))

    def leading(self):
        return SimpleNamespace(replication=SimpleNamespace(peers=self.peers)) if self.leads else None


@pytest.mark.parametrize(("matches", "sequence", "count"), [
    ((), 5, 0), ((5,), 5, 1), ((4,), 5, 0), ((5, 9), 5, 2), ((5, 4, 6, 0), 5, 2),
])  # fmt: skip
def test_who_has_it_is_counted(matches, sequence, count):
    stage = Stage(*matches)
    assert stage.counting.acknowledged(sequence) == count
    stage.leads = False
    assert stage.counting.acknowledged(sequence) == 0, "only a leader knows"


def test_a_node_that_has_lost_something_counts_for_nothing():
    stage = Stage(9, 9)
    stage.peers[2].become(State.LOST, 1)
    assert stage.peers[2].match == 9
    assert stage.counting.acknowledged(5) == 1


def test_a_node_that_has_been_removed_counts_no_more():
    stage = Stage(9, 4)
    later = stage.counting.wait(5, 2, 0)
    del stage.peers[2]
    stage.peers[3].match = 9
    stage.counting.look()
    assert not later.done and stage.counting.acknowledged(5) == 1


def test_it_is_answered_when_enough_have_it():
    stage = Stage(9, 4)
    assert stage.counting.wait(5, 1, 0).reply == 1
    later = stage.counting.wait(5, 2, 0)
    stage.counting.look()
    assert not later.done
    stage.peers[3].match = 5
    stage.counting.look()
    assert later.reply == 2


def test_at_the_end_of_its_time_what_is_so_is_answered():
    stage = Stage(9, 4)
    later = stage.counting.wait(5, 2, 1.5)
    ((seconds, ring),) = stage.timers
    ring()
    assert (seconds, later.reply) == (1.5, 1)
    stage.counting.look()


@pytest.mark.parametrize("timeout_s", [0.0, 60.0])
def test_who_waits_for_a_node_that_leads_no_more_is_told(timeout_s):
    """Its count has stopped: without this, WAIT with a timeout of 0 would never end."""
    stage = Stage(9, 4)
    later = stage.counting.wait(5, 2, timeout_s)
    stage.leads = False
    stage.counting.look()
    assert isinstance(later.reply, CommandError) and later.reply.text == DEPOSED
    assert later.reply.code == "UNBLOCKED"
    again = stage.counting.wait(5, 2, timeout_s)
    assert again.done and again.reply.code == "UNBLOCKED", "it led when it was asked, and does not now"
    for _, ring in stage.timers:
        ring()
    assert later.reply.text == DEPOSED


def test_who_has_gone_is_forgotten():
    stage = Stage(4, 4)
    later = stage.counting.wait(5, 2, 0)
    later.cancel()
    stage.counting.look()
    stage.peers.clear()
    stage.leads = False
    stage.counting.look()
    assert later.reply is None
