"""Entries that nobody here waits for."""

from random import Random
from weakref import WeakSet

import pytest

from vaylix_resp.commands.registry import new_accounts
from vaylix_resp.engine import entries
from vaylix_resp.engine.boot import replay
from vaylix_resp.engine.replication.applier import Applier
from vaylix_resp.state.machine import StateMachine
from vaylix_resp.storage.batch import Batch


class Value:
    """A reply that can be looked for."""


def follow(machine, body):
    Applier(machine, None, (1, 1), None, None, None).apply_body(body)


def recover(machine, body):
    replay(machine, Batch(1, 5, 1, 1000, 0, 0, body), 3)


@pytest.mark.parametrize("apply", [follow, recover])
def test_their_replies_are_not_kept(apply):
    """A batch of GETEX of one large value has replies for more memory than there is: followers and restarts would die."""
    kept, most = WeakSet(), []

    def read(tx, argv):
        most.append(len(kept))
        kept.add(reply := Value())
        return reply

    machine = StateMachine({b"READ": read}, 3, rng=Random(1), accounts=new_accounts())
    apply(machine, entries.encode([(b"READ",)] * 5))
    assert machine.applied == 5 and max(most) <= 1
