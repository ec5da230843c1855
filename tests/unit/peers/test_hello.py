"""The handshake, as a transcript: who says what, and how it ends on both sides."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.peers.worlds import identity
from vaylix_resp.peers import hello as module
from vaylix_resp.peers.hello import (
    CHALLENGE,
    HELLO,
    PROOF,
    REFUSED,
    WELCOME,
    Code,
    Hello,
    Identity,
    Purpose,
    Refusal,
    read_refusal,
    secret_key,
)
from vaylix_resp.peers.wire import HELLO_BODY_MAX, Frame

KEY = b"s" * 32
WORDS = {HELLO: "hello", CHALLENGE: "challenge", PROOF: "proof", WELCOME: "welcome", REFUSED: "refused"}


def welcome(_peer, _purpose):
    return None


def turn_away(_peer, _purpose):
    return Refusal(Code.REMOVED, "never heard of it")


def dialer(key=KEY, judge=welcome, nonce=b"d" * 32, **more):
    return Hello(identity(1), judge, key, nonce, purpose=more.pop("purpose", Purpose.TALK), **more)


def listener(key=KEY, judge=welcome, nonce=b"l" * 32, number=2, **more):
    return Hello(identity(number), judge, key, nonce, **more)


def talk(one, two, meddle=lambda frame: frame):
    """Both sides until nothing is left to say: (what was said, the steps of the dialer, those of the listener)."""
    said, last, done = [], [None, None], [False, False]
    pending = [(1, frame) for frame in one.start().send]
    while pending:
        side, (kind, pieces) = pending.pop(0)
        frame = meddle(Frame(kind, b"".join(pieces)))
        assert len(frame.body) <= HELLO_BODY_MAX
        if done[side]:
            continue
        said.append(WORDS[kind])
        step = last[side] = (one, two)[side].step(frame)
        done[side] = step.agreed is not None or step.refusal is not None
        pending += [(1 - side, frame) for frame in step.send]
    return said, *last


def test_two_nodes_of_one_secret_agree_on_everything():
    said, one, two = talk(dialer(), listener())
    assert said == ["hello", "challenge", "proof", "welcome"]
    assert one.refusal is None and two.refusal is None
    assert (one.agreed.peer, two.agreed.peer) == (identity(2), identity(1))
    assert one.agreed.purpose is two.agreed.purpose is Purpose.TALK
    assert one.agreed.version == two.agreed.version == module.VERSION_MAX
    assert one.agreed.seal_key == two.agreed.open_key != b""
    assert one.agreed.open_key == two.agreed.seal_key != one.agreed.seal_key


def test_without_a_secret_there_are_no_keys():
    _, one, two = talk(dialer(b""), listener(b""))
    assert one.agreed.seal_key == two.agreed.seal_key == one.agreed.open_key == b""


@pytest.mark.parametrize("change", [{"nonce": b"D" * 32}, {"purpose": Purpose.BULK}, {"binding": b"b"}])
def test_each_connection_has_keys_of_its_own(change):
    bound = {"binding": change["binding"]} if "binding" in change else {}
    _, one, _ = talk(dialer(), listener())
    _, other, _ = talk(dialer(**change), listener(**bound))
    assert one.agreed.seal_key != other.agreed.seal_key


@pytest.mark.parametrize(
    "one, two, said, code, word",
    [
        (dialer(b"t" * 32), listener(), "hello challenge proof refused", Code.SECRET, "same cluster-secret"),
        (dialer(b""), listener(), "hello refused", Code.SECRET_MODE, "only one of the two"),
        (dialer(), listener(b""), "hello refused", Code.SECRET_MODE, "only one of the two"),
        (dialer(versions=(3, 4)), listener(versions=(1, 2)), "hello refused", Code.VERSION, "dialer speaks 3 to 4, the listener 1 to 2"),
        (dialer(versions=(1, 2)), listener(versions=(3, 4)), "hello refused", Code.VERSION, "dialer speaks 1 to 2, the listener 3 to 4"),
        (dialer(), listener(judge=turn_away), "hello challenge proof refused", Code.REMOVED, "never heard of it"),
        (dialer(binding=b"a"), listener(binding=b"b"), "hello challenge proof refused", Code.SECRET, "stands between"),
    ],
)  # fmt: skip
def test_who_is_refused_hears_the_reason_and_so_does_the_operator_here(one, two, said, code, word):
    heard, mine, theirs = talk(one, two)
    assert " ".join(heard) == said
    assert (theirs.refusal.code, theirs.refusal.ours, theirs.agreed) == (code, True, None)
    assert (mine.refusal.code, mine.refusal.ours, mine.refusal.proven, mine.agreed) == (code, False, False, None)
    assert word in mine.refusal.text and mine.refusal.text == theirs.refusal.text


def test_a_dialer_that_does_not_want_the_listener_says_so_under_the_new_keys():
    said, mine, theirs = talk(dialer(judge=turn_away), listener())
    assert said[-1] == "welcome" and theirs.agreed is not None
    assert mine.agreed is not None and mine.refusal == Refusal(Code.REMOVED, "never heard of it")
    ((kind, pieces),) = mine.send
    assert kind == REFUSED
    assert read_refusal(b"".join(pieces), proven=True) == Refusal(Code.REMOVED, "never heard of it", False, True)


def test_a_listener_that_cannot_prove_itself_is_not_believed():
    """It says welcome to everybody, but does not know the secret."""
    one, fake = dialer(), listener(b"f" * 32)
    hello = one.start().send[0]
    challenge = fake.step(Frame(hello[0], b"".join(hello[1]))).send[0]
    one.step(Frame(challenge[0], b"".join(challenge[1])))
    step = one.step(Frame(WELCOME, b"w" * 32))
    assert step.refusal.code is Code.SECRET and step.agreed is None and step.send == ()


def test_the_judge_is_asked_only_about_who_has_proven_it():
    asked = []

    def judge(peer, purpose):
        asked.append((peer.name, purpose))
        return None

    talk(dialer(b"t" * 32), listener(judge=judge))
    assert asked == []
    talk(dialer(), listener(judge=judge))
    assert asked == [("node-1", Purpose.TALK)]


def test_a_proof_cannot_be_used_again_or_turned_around():
    frames = []

    def keep(frame):
        frames.append(frame)
        return frame

    talk(dialer(), listener(), keep)
    again = listener(nonce=b"L" * 32)
    again.step(frames[0])
    assert again.step(frames[2]).refusal.code is Code.SECRET, "another nonce, another proof"
    mirror = dialer()
    mirror.start()
    mirror.step(frames[1])
    assert mirror.step(Frame(WELCOME, frames[2].body)).refusal.code is Code.SECRET, (
        "the dialer's proof is not the listener's"
    )


@given(which=st.integers(0, 3), at=st.integers(0, 500), flip=st.integers(1, 255))
@settings(max_examples=150)
def test_nothing_that_is_said_can_be_changed_on_the_way(which, at, flip):
    count = 0

    def meddle(frame):
        nonlocal count
        count += 1
        if count - 1 != which or not frame.body:
            return frame
        body = bytearray(frame.body)
        body[at % len(body)] ^= flip
        return Frame(frame.kind, bytes(body))

    _, mine, theirs = talk(dialer(), listener(), meddle)
    assert mine is None or mine.agreed is None, "the dialer never takes it for good"
    if which < 3:
        assert theirs is None or theirs.agreed is None


@given(st.integers(0, 255), st.binary(max_size=200), st.integers(0, 2), st.booleans())
@settings(max_examples=200)
def test_any_frame_at_any_point_is_a_step_and_never_breaks(kind, body, after, as_dialer):
    one, two = dialer(), listener()
    hello = one.start().send[0]
    frames = [Frame(hello[0], b"".join(hello[1]))]
    if after:
        challenge = two.step(frames[0]).send[0]
        if as_dialer and after > 1:
            one.step(Frame(challenge[0], b"".join(challenge[1])))
    step = (one if as_dialer else two).step(Frame(kind, body))
    assert step.agreed is None


def test_what_later_versions_add_to_a_greeting_is_passed_over_and_proven(monkeypatch):
    monkeypatch.setattr(module, "_write_said", _with_extra(module._write_said))
    _, one, two = talk(dialer(versions=(1, 9)), listener(versions=(1, 5)))
    assert one.agreed.version == two.agreed.version == 5


def _with_extra(write):
    def wrapped(*given):
        return write(*given)[: -len(b"....vviidatabasecc")] + b"\0\0\0\x11\0\3\0\2" + b"\0\0\0\0\0\0\0\x10\0\0new"

    return wrapped


DATABASES = b"\0\0\0\0\0\1\0\0"
EARLIER = b"\0\2" + (9).to_bytes(8, "big") + (8).to_bytes(8, "big")


@pytest.mark.parametrize(("extra", "versions", "databases", "earlier"), [
    (b"", (1, 1), 0, ()), (b"\0\3\0\2", (3, 2), 0, ()), (b"\0\3\0\2" + DATABASES, (3, 2), 65536, ()),
    (b"\0\3\0\2" + DATABASES + EARLIER, (3, 2), 65536, (9, 8)),
    (b"\0\3\0\2" + DATABASES + EARLIER + b"and more", (3, 2), 65536, (9, 8)),
])  # fmt: skip
def test_what_was_added_later_stands_in_a_greeting(extra, versions, databases, earlier):
    """Nodes of earlier versions say nothing of it."""
    me = Identity(bytes(16), 1, "n1", 2, 3, 4, 3, 2, 65536, (9, 8))
    said = module._write_said(me, Purpose.TALK, (1, 1), False, bytes(32))
    assert said.endswith(b"\0\0\0\x1e\0\3\0\2" + DATABASES + EARLIER)
    found = module._read_said(said[:-34] + len(extra).to_bytes(4, "big") + extra).identity
    assert (found.understands, found.in_force, found.databases, found.earlier) == (*versions, databases, earlier)
    assert found.boot == 4


def test_half_a_cluster_version_is_garbage():
    said = module._write_said(Identity(bytes(16), 1, "n1", 2, 3, 4), Purpose.TALK, (1, 1), False, bytes(32))
    step = listener().step(Frame(HELLO, said[:-10] + b"\0\0\0\3\0\1\0"))
    assert step.refusal.code is Code.GARBAGE


@pytest.mark.parametrize("body", [b"", b"VxPeer\r\n", b"VxPeer\n" + bytes(150), b"x" * 150])
def test_a_greeting_that_is_none_is_garbage(body):
    step = listener().step(Frame(HELLO, body))
    assert step.refusal.code is Code.GARBAGE and step.send == ()


def test_a_member_that_runs_ahead_is_refused():
    step = listener().step(Frame(PROOF, b"p" * 32))
    assert step.refusal.code is Code.GARBAGE and "expects 241" in step.refusal.text


def test_the_key_of_a_secret_is_its_own_and_there_is_none_without_one():
    assert secret_key("") == b""
    keys = {secret_key(one) for one in ("a" * 16, "a" * 17, "\udcff" * 16)}
    assert len(keys) == 3 and {len(key) for key in keys} == {32}
