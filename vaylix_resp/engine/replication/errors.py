"""What clients are told when the group does not answer.

Promise: each but GIVEN_UP and NOT_EVERYWHERE is definite: nothing has been written.

Not here: MOVED and REDIRECT (`commands.cluster`), a full or failed disk (`errors`).
"""

from __future__ import annotations

from typing import Final

from ...raft.types import Refusal

GIVEN_UP: Final = (
    "INDETERMINATE the write was sent to the leader, but not seen to be committed in time: it may have been made, or "
    "be made later; read it back before you write again"
)
NOT_EVERYWHERE: Final = (
    "INDETERMINATE write-ack-mode is all, and it is not known in time that every voter has the write; a majority may "
    "have it, and then it stays"
)
NO_LEADER: Final = "NOREPLICAS no leader with a majority behind it is known here: nothing was written; try again"
NOT_TAKEN: Final = "BUSY the write could not be taken in time ({reason}): nothing was written; try again"
DIFFERS: Final = (
    "MISCONF this node's data differ from those of the other nodes, as was found at sequence {sequence} ({subject}): "
    "it answers neither reads nor writes any more; ask another one"
)
UNREACHABLE: Final = "there is no connection to the leader"
READ_REFUSED: Final = "CLUSTERDOWN no leader has confirmed in time that this node's data is the newest; try again"
READ_FULL: Final = (
    "CLUSTERDOWN the disk of this node is full, so it cannot take in what the others have committed: ask another one; "
    "reads go on here when space is back"
)

REFUSALS: Final = {  # of a proposal that this node, which leads, has not taken
    Refusal.NOT_READY: "BUSY this node has just begun to lead; try again",
    Refusal.TRANSFERRING: "BUSY leadership is being handed over; try again",
    Refusal.BUSY: "BUSY too much is on its way into the log; try again",
    Refusal.CHANGE_PENDING: "BUSY another change of the membership is on its way; one at a time",
    Refusal.CHANGE_INVALID: "ERR the membership as it is does not allow this change",
    Refusal.NOT_CAUGHT_UP: "ERR the node has not caught up: as a voter it would make every write wait; try again later",
    Refusal.QUORUM_AT_RISK: "ERR too few of the voters that would be left have been heard from lately: no majority of "
    "them could go on",
}
