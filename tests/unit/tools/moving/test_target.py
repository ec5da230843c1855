"""What a transaction sends."""

from argparse import Namespace

import hiredis
import pytest

from vaylix_resp.tools.moving import target
from vaylix_resp.tools.moving.channel import address_of
from vaylix_resp.tools.moving.meaning import MARK_KEY, PART_KEY, Operation
from vaylix_resp.tools.moving.patience import GivenUp
from vaylix_resp.tools.moving.target import Mark, Target, Transaction


def sent(transaction):
    reader = hiredis.Reader()
    reader.feed(transaction.data)
    requests = [b" ".join(reader.gets()) for _ in range(transaction.count)]
    assert reader.gets() is False
    return requests


def operations(*texts):
    return [Operation(int(db), tuple(words)) for db, *words in (text.encode().split() for text in texts)]


def test_the_mark_is_in_it_and_is_watched():
    mark = Mark("rdb", "f", "fail", keys=7)
    transaction = Transaction(operations("0 INCR a"), mark)
    assert sent(transaction) == [
        b"MULTI", b"INCR a", b"SET %s %s" % (MARK_KEY, transaction.mark), b"EXEC", b"WATCH " + MARK_KEY, b"GET " + MARK_KEY,
    ]  # fmt: skip
    assert Mark.decode(transaction.mark) == mark and mark.serial == 1
    assert sent(Transaction((), None))[1] == b"DEL " + MARK_KEY


def test_the_database_is_chosen_where_it_changes():
    transaction = Transaction(operations("3 INCR a", "3 INCR b", "0 INCR c", "1 INCR d"), None)
    body = sent(transaction)[1:-4]
    assert body == [b"SELECT 3", b"INCR a", b"INCR b", b"SELECT 0", b"INCR c", b"SELECT 1", b"INCR d", b"SELECT 0"]
    assert [body[place].split()[-1] for place in transaction.places] == [b"a", b"b", b"c", b"d"]


def test_plain_sets_that_follow_each_other_are_one(monkeypatch):
    monkeypatch.setattr(target, "MSET_KEYS", 3)
    given = operations(
        "0 SET a 1", "0 SET b 2", "0 SET b 3", "0 SET c 4", "0 SET d 5 PXAT 9", "0 SET e 6", "1 SET f 7", "1 DEL f", "1 SET g 8",
        f"1 SET {PART_KEY.decode()} x",
    )  # fmt: skip
    transaction = Transaction(given, None)
    body = sent(transaction)[1:-4]
    assert body == [
        b"MSET a 1 b 2 b 3", b"SET c 4", b"SET d 5 PXAT 9", b"SET e 6", b"SELECT 1", b"SET f 7", b"DEL f", b"SET g 8",
        b"SET %s x" % PART_KEY, b"SELECT 0",
    ]  # fmt: skip
    assert transaction.places == [0, 0, 0, 1, 2, 3, 5, 6, 7, 8]


def test_distinct_keys_may_change_places():
    given = operations("0 SET a 1 PXAT 9", "0 SET b 2", f"0 SET {PART_KEY.decode()} x", "0 SET c 3", "0 RENAME part d")
    transaction = Transaction(given, None, distinct=True)
    assert sent(transaction)[1:-4] == [b"MSET b 2 c 3", b"SET a 1 PXAT 9", b"SET %s x" % PART_KEY, b"RENAME part d"]
    assert [operation.words[1] for operation in transaction.operations] == [b"b", b"c", b"a", PART_KEY, b"part"]
    assert transaction.places == [0, 0, 1, 2, 3]


EXEC_REFUSED = "EXECABORT Transaction discarded because of: "


@pytest.mark.parametrize("told, helps", [
    ("OOM command not allowed when used memory > 'maxmemory'.", True), ("MISCONF the disk is full", True),
    (EXEC_REFUSED + "OOM command not allowed when used memory > 'maxmemory'.", True),
    (EXEC_REFUSED + "MISCONF the disk is full", True), (EXEC_REFUSED + "too large", False), ("NOPERM no", False),
])  # fmt: skip
def test_what_is_refused_for_now_is_tried_again_wherever_the_refusal_stands(told, helps):
    """A target may become full between the last request of a transaction and its EXEC."""
    pauses, asked = [], []
    one = Target(address_of("redis://127.0.0.1:1", Namespace(), "NONE"), sleep=pauses.append, now=lambda: 0.0)

    def attempt(again):
        asked.append(again)
        if not again:
            raise one._unanswered(hiredis.ReplyError(told))
        return "done"

    if helps:
        assert one.patience.until(attempt) == "done" and asked == [False, True] and len(pauses) == 1
    else:
        with pytest.raises(GivenUp, match=told):
            one.patience.until(attempt)


class FakeChannel:
    """Replies of a target, one after the other; what is sent to it goes nowhere."""

    def __init__(self, *replies):
        self.replies, self.socket = list(replies), Namespace(sendall=lambda data: None)

    def reply(self):
        return self.replies.pop(0)


@pytest.mark.parametrize("stored, told", [
    (None, "has lost the mark of this import.*maxmemory-policy"), (b"{}", "another import writes to this target"),
])  # fmt: skip
def test_whoever_finds_another_mark_or_none_says_so(stored, told):
    one = Target(address_of("redis://127.0.0.1:1", Namespace(), "NONE"))
    transaction = Transaction((), Mark("rdb", "f", "fail"))
    one._stored, one._channel = b"what it was", FakeChannel("OK", "QUEUED", None, "OK", stored)
    with pytest.raises(target.Overtaken, match=told):
        one._outcome(transaction, again=False)
