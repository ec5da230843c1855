"""The last step: expiries that were shifted become what they are."""

import hiredis
import pytest

from vaylix_resp.tools.moving import settle
from vaylix_resp.tools.moving.channel import Denied
from vaylix_resp.tools.moving.meaning import SHIFT_MS


class FakeChannel:
    """Answers each round of requests with the next list of replies."""

    def __init__(self, *rounds):
        self.rounds, self.asked = list(rounds), []

    def select(self, db):
        self.asked.append(db)

    def all(self, requests):
        self.asked += requests
        return self.rounds.pop(0)


def test_only_what_is_shifted_is_moved_back():
    channel = FakeChannel([SHIFT_MS + 5, -1, 7, -2], [1])
    assert settle._portion(channel, 3, [b"a", b"b", b"c", b"d"]) == 1
    assert channel.asked[-1] == (b"PEXPIREAT", b"a", b"5", b"LT")


@pytest.mark.parametrize("rounds", [
    [[hiredis.ReplyError("CLUSTERDOWN no leader")]], [[SHIFT_MS + 5], [hiredis.ReplyError("CLUSTERDOWN no leader")]],
])  # fmt: skip
def test_an_error_of_the_target_is_told_whichever_question_it_answers(rounds):
    with pytest.raises(Denied, match="CLUSTERDOWN no leader; the same command goes on"):
        settle._portion(FakeChannel(*rounds), 0, [b"a"])
