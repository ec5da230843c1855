"""Entries that nobody here waits for."""

import pytest

from tests.unit.unheard import Reader
from vaylix_resp.engine import entries
from vaylix_resp.engine.boot import replay
from vaylix_resp.engine.replication.applier import Applier
from vaylix_resp.storage.batch import Batch


def follow(machine, body):
    Applier(machine, None, (1, 1), None, None, None).apply_body(body)


def recover(machine, body):
    replay(machine, Batch(1, 5, 1, 1000, 0, 0, body), 3)


@pytest.mark.parametrize("apply", [follow, recover])
def test_their_replies_are_not_kept(apply):
    """A batch of GETEX of one large value has replies for more memory than there is: followers and restarts would die."""
    reader = Reader()
    apply(reader.machine, entries.encode([(b"READ",)] * 5))
    assert reader.machine.applied == 5 and max(reader.most) <= 1
