"""The audit's records and their chain: whatever is changed in a set of files, it is found and named."""

from __future__ import annotations

import json
from hashlib import sha256
from random import Random

import pytest

from vaylix_resp.security import audit
from vaylix_resp.security.audit import (
    BEGIN,
    BREAK,
    CURRENT,
    GENESIS,
    PRUNED,
    SEALED,
    START,
    FileName,
    Head,
    fields,
    is_torn,
    parse_name,
    read,
    scan,
    seal,
)
from vaylix_resp.security.audit_check import Check, in_order

TIME, NODE = "2026-11-22T10:00:00.000Z", "ab" * 16


def record(event, **more):
    return fields(event, more.pop("outcome", "ok"), TIME, NODE, **more)


def appended(head, *events, **details):
    """The bytes of one append and the head behind it."""
    batch, data = head.sequence + 1, b""
    for event in events:
        line, head = seal(head, batch, record(event, details=details))
        data += line
    return data, head


class Chain:
    """Files by name, made as a server makes them."""

    def __init__(self):
        self.files, self.head, self.first = {}, START, 1
        self.data = b""

    def append(self, *events, **details):
        data, self.head = appended(self.head, *events, **details)
        self.data += data
        return self

    def rotate(self):
        self.append(SEALED)
        self.files[str(FileName(self.first, self.head.sequence))] = self.data
        self.data, self.first = b"", self.head.sequence + 1
        return self

    def all(self):
        return {**self.files, CURRENT: self.data}


def whole():
    chain = Chain().append(BEGIN, "start").append("acl", user="x").rotate()
    chain.append("auth").append("config", "flush").rotate()
    return chain.append("auth", "auth").append("stop")


def check(files, committed=None, **more):
    checking = Check(committed, **more)
    for name in in_order(files):
        checking.add(name, files[name])
    return checking.end()


def test_a_line_is_json_in_order_and_its_hash_is_that_of_the_bytes_before_it():
    line, head = seal(START, 1, record("auth", user="bob", keys=2, details={"known": False}))
    found = json.loads(line)
    assert [*found] == [
        "version", "sequence", "batch", "previous", "event", "outcome", "time", "node", "connection", "address", "user",
        "command", "keys", "code", "latency_us", "details", "hash",
    ]  # fmt: skip
    assert found["previous"] == GENESIS and found["hash"] == head.hash
    assert sha256(line.rsplit(b',"hash":', 1)[0]).hexdigest() == head.hash
    assert line.isascii() and line.endswith(b"\n") and line.count(b"\n") == 1
    assert read(line[:-1]) == (1, 1, GENESIS, head.hash)


@pytest.mark.parametrize("user", ["a\nb", "\udcff", '"},"hash":"', "\x00", "ä"])
def test_whatever_a_name_holds_a_record_stays_one_line(user):
    line, _ = seal(START, 1, record("auth", user=user))
    assert line.count(b"\n") == 1 and line.isascii() and b"\0" not in line
    assert json.loads(line)["user"] == user and read(line[:-1]) is not None


def test_a_whole_set_is_whole():
    chain = whole()
    report = check(chain.all(), chain.head)
    assert report.whole and report.faults == [] and not report.torn
    assert (report.first, report.head, report.records) == (1, chain.head, chain.head.sequence)
    assert [name for name, _ in report.files] == in_order(chain.all())


CHANGES = {
    "a bit": lambda byte: byte ^ 1,
    "zero": lambda byte: 0 if byte else 1,
    "an end of line": lambda byte: 10 if byte != 10 else 32,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_any_byte_is_found_and_its_record_is_named(change):
    chain = whole()
    files = chain.all()
    for name, data in files.items():
        for at in range(len(data)):
            damaged = bytearray(data)
            damaged[at] = CHANGES[change](damaged[at])
            report = check({**files, name: bytes(damaged)}, chain.head)
            assert not report.whole, (name, at)
            first = report.faults[0]
            assert first.file == name, (name, at, str(first))
            before = scan(data, None).first + data[:at].count(b"\n")
            assert first.sequence == before or at < data.index(b"\n"), (name, at, str(first))


def lines_of(data):
    return data.split(b"\n")[:-1]


def joined(lines):
    return b"".join(line + b"\n" for line in lines)


def test_any_record_that_is_removed_is_missed():
    chain = whole()
    files = chain.all()
    for name, data in files.items():
        for at in range(len(lines_of(data))):
            lines = lines_of(data)
            del lines[at]
            report = check({**files, name: joined(lines)}, chain.head)
            assert not report.whole, (name, at)
            assert any(fault.file == name or fault.sequence for fault in report.faults)


def test_any_record_that_is_added_or_doubled_is_found():
    chain, rng = whole(), Random(4)
    files = chain.all()
    stranger, _ = appended(Head(rng.randrange(9), "1" * 64), "auth")
    for name, data in files.items():
        for at in range(len(lines_of(data)) + 1):
            for added in (stranger[:-1], lines_of(data)[min(at, len(lines_of(data)) - 1)], b"", b"{}"):
                lines = lines_of(data)
                lines.insert(at, added)
                assert not check({**files, name: joined(lines)}, chain.head).whole, (name, at, added)


def test_any_two_records_that_are_exchanged_are_found():
    chain = whole()
    files = chain.all()
    for name, data in files.items():
        count = len(lines_of(data))
        for one in range(count):
            for other in range(one):
                lines = lines_of(data)
                lines[one], lines[other] = lines[other], lines[one]
                assert not check({**files, name: joined(lines)}, chain.head).whole, (name, one, other)


def test_a_file_that_is_cut_anywhere_is_found():
    """Of the current one by the head in the log: at the end of a record nothing in the file itself shows a cut."""
    chain = whole()
    files = chain.all()
    for name, data in files.items():
        for size in range(len(data)):
            report = check({**files, name: data[:size]}, chain.head)
            assert not report.whole, (name, size)


def test_a_file_that_is_gone_is_named_by_what_is_missing():
    chain = whole()
    files = chain.all()
    for name in files:
        rest = {other: data for other, data in files.items() if other != name}
        report = check(rest, chain.head)
        assert not report.whole, name


@pytest.mark.parametrize(
    "events, committed, text",
    [
        ((), Head(1, "a" * 64), "the end is missing: the log has committed up to record 1"),
        ((BEGIN, "start"), Head(3, "a" * 64), "the end is missing: the log has committed up to record 3"),
        ((BEGIN, "start"), Head(2, "a" * 64), "the audit was rewritten"),
    ],
)
def test_the_head_in_the_log_shows_what_the_files_alone_do_not(events, committed, text):
    chain = Chain().append(*events) if events else Chain()
    assert check(chain.all()).whole
    (fault,) = check(chain.all(), committed).faults
    assert text in fault.problem


def test_a_chain_that_was_made_anew_from_some_record_on_disagrees_with_the_head_in_the_log():
    chain = whole()
    forged = Chain()
    forged.append(BEGIN, "start").append("acl", user="someone else").rotate()
    forged.append("auth").append("config", "flush").rotate().append("auth", "auth").append("stop")
    assert check(forged.all()).whole, "a forger who computes every hash leaves no trace in the files"
    assert "rewritten" in str(check(forged.all(), chain.head).faults[0])


def test_files_that_were_deleted_by_the_directive_are_explained_and_others_are_not():
    chain = whole()
    first = in_order(chain.files)[0]
    last = json.loads(lines_of(chain.files[first])[-1])
    rest = {name: data for name, data in chain.all().items() if name != first}
    assert "records 1 to 4 are missing" in str(check(rest).faults[0])
    chain.append(PRUNED, through=last["sequence"], hash=last["hash"])
    rest[CURRENT] = chain.data
    assert check(rest, chain.head).whole
    wrong = whole().append(PRUNED, through=last["sequence"], hash="0" * 64)
    assert not check({**rest, CURRENT: wrong.data}).whole
    second = json.loads(lines_of(chain.files[in_order(chain.files)[1]])[-1])
    crashed = whole().append(PRUNED, through=second["sequence"], hash=second["hash"])
    assert check({**rest, CURRENT: crashed.data}).whole, "a crash came when one of two had been deleted"


def test_behind_an_acknowledged_break_the_chain_goes_on_and_the_break_stays_a_fault():
    chain = whole()
    files = chain.all()
    files[str(FileName(10, 12, broken=True))] = b"garbage"
    data, head = appended(Head(12, "7" * 64), BREAK, problem="line 3: record 9: ...")
    more, head = appended(head, "start")
    report = check({**chain.files, str(FileName(10, 12, broken=True)): b"garbage", CURRENT: data + more}, head)
    assert [fault.problem for fault in report.faults] == [
        "the server was told to go on behind a break: line 3: record 9: ..."
    ]
    assert report.head == head


def test_a_sealed_file_whose_name_lies_is_named():
    chain = whole()
    (first, second) = in_order(chain.files)
    report = check({str(FileName(1, 7)): chain.files[first], second: chain.files[second], CURRENT: chain.data})
    assert "its name promises records 1 to 7" in str(report.faults[0])


@pytest.mark.parametrize(
    "name, parsed",
    [
        ("audit-0000000000000001-0000000000000004.jsonl", FileName(1, 4)),
        ("audit-0000000000000005-0000000000000009.broken.jsonl", FileName(5, 9, True)),
        ("audit.jsonl", None),
        ("audit-1-4.jsonl", None),
        ("audit-0000000000000001-0000000000000004.jsonl.tmp", None),
    ],
)
def test_names(name, parsed):
    assert parse_name(name) == parsed
    if parsed is not None:
        assert str(parsed) == name


class TestTorn:
    """What a crash leaves of the last append, and what only somebody else can have done."""

    durable, middle = appended(START, BEGIN, "start", "recovery")
    last, _ = appended(middle, "acl", "auth", "config")

    def found(self, data):
        return is_torn(data, scan(data, START))

    def test_every_prefix_is_torn_or_whole(self):
        for size in range(len(self.last)):
            data = self.durable + self.last[:size]
            found = scan(data, START)
            assert found.fault is None or is_torn(data, found), size

    def test_any_sectors_that_are_missing_are_torn(self):
        data, rng = self.durable + self.last, Random(1)
        start = len(self.durable)
        pieces = [start, *range((start // 512 + 1) * 512, len(data), 512), len(data)]
        for _ in range(200):
            damaged = bytearray(data)
            lost = False
            for one, other in zip(pieces, pieces[1:], strict=False):
                if rng.random() < 0.5:
                    damaged[one:other] = bytes(other - one)
                    lost = True
            found = scan(bytes(damaged), START)
            assert found.fault is None or is_torn(bytes(damaged), found)
            assert (found.fault is not None) == lost
            assert found.head.sequence >= 3, "what was durable before stays"

    def test_a_change_of_a_byte_is_not_torn(self):
        data = self.durable + self.last
        for at in range(len(data)):
            damaged = bytearray(data)
            damaged[at] ^= 1
            assert not self.found(bytes(damaged)), at

    def test_damage_with_a_later_append_behind_it_is_never_torn(self):
        data = bytearray(self.durable + self.last)
        data[0:512] = bytes(512)
        assert not self.found(bytes(data))

    @pytest.mark.parametrize("end", [b"junk", b'{"version":1,"sequence":9', b"{", b"\xff" * 600])
    def test_bytes_behind_the_end_that_are_no_next_record(self, end):
        assert self.found(self.durable + end) is (end == b"{")

    def test_no_file_of_zeros_stops_a_start(self):
        assert self.found(bytes(700))


class TestBesideAServer:
    """`durable` is what it had written when it was asked; it goes on meanwhile."""

    def found(self, files, durable):
        check = Check(durable=durable)
        for name in in_order(files):
            check.add(name, files[name])
        return check.end()

    def test_what_is_written_and_sealed_meanwhile_is_no_fault(self):
        chain = whole()
        durable = chain.head
        chain.append("auth").rotate().append("auth").rotate().append("auth")
        files = chain.all()
        assert self.found(files, durable).whole
        assert self.found({**files, CURRENT: files[CURRENT][:-5]}, durable).whole, "an append that is being made"
        assert self.found({**files, CURRENT: b""}, durable).whole
        assert not self.found({**files, CURRENT: files[CURRENT][:-5]}, chain.head).whole

    def test_what_it_had_written_is_there(self):
        chain = whole()
        assert self.found(chain.all(), chain.head).whole
        for other in (Head(chain.head.sequence + 1, "0" * 64), Head(chain.head.sequence, "0" * 64)):
            (fault,) = self.found(chain.all(), other).faults
            assert fault.sequence == other.sequence and "than this server has written" in fault.problem


def test_of_the_chain():
    for event, expected in ((BEGIN, True), (SEALED, True), ("auth", False)):
        line, _ = seal(START, 1, record(event, details={"event": "audit.begin"}))
        assert audit.of_the_chain(line) is expected
        assert audit.is_event(line, event)


LONG = "\N{GRINNING FACE}" * 100_000


@pytest.mark.parametrize(
    "fields, kept",
    [
        ({"user": LONG}, lambda found: found["details"] == {"rules": ["on"]}),
        (
            {"user": "\udcff" * 9000, "details": {"target": LONG}},
            lambda found: found["details"]["target"].count("...") == 1,
        ),
        (
            {"details": {"rules": ["x" * 1000] * 100}, "key_names": ["k"] * 10},
            lambda found: len(found["details"]["rules"]) == 100 and found["key_names"] == ["k"] * 10,
        ),
        ({"key_names": ["\\xff" * 128] * 32}, lambda found: len(found["key_names"]) == 32),
        (
            {"user": LONG, "details": {"targets": [LONG] * 40}, "key_names": [LONG] * 32},
            lambda found: "too_large" in found["details"],
        ),
    ],
)
def test_no_name_makes_a_record_too_large(fields, kept):
    made = record("acl", **{"command": "acl|setuser", "user": "bob", "details": {"rules": ["on"]}, **fields})
    line, head = seal(START, 1, made)
    assert len(line) <= audit.RECORD_BYTES_MAX and audit.read(line[:-1]).head == head
    found = json.loads(line)
    assert kept(found) and (found["event"], found["command"]) == ("acl", "acl|setuser")
    assert found["user"] == "bob" or found["user"].startswith(made["user"][:32])


def test_shortened_names_are_still_told_apart():
    one, other = (json.loads(seal(START, 1, record("auth", user=LONG + end))[0])["user"] for end in "ab")
    assert one != other
