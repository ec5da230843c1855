"""The audit log of a running server, driven by hand: `step` is what its thread does, callbacks come at once."""

from __future__ import annotations

import json
import threading
from random import Random

import pytest

from tests.sim.disk.simdisk import Fault, SimDisk
from tests.unit.engine.audit.test_audit_files import CURRENT, NODE, ROOT
from tests.unit.engine.lab import START_MS, Clock
from vaylix_resp.commands.audit_operations import AUDIT
from vaylix_resp.commands.ports import Later
from vaylix_resp.engine.audit import log as module
from vaylix_resp.engine.audit.log import AuditLog
from vaylix_resp.engine.audit.reading import check_files
from vaylix_resp.engine.audit.recovery import Opening
from vaylix_resp.errors import EX_IO, CommandError
from vaylix_resp.resp.reply import OK
from vaylix_resp.security.audit import CHECKPOINT, LOST
from vaylix_resp.security.audit_signing import Signer


class Bench:
    """A log over a simulated disk; `proposed` are the entries for the data's log, answered when `land` is called."""

    def __init__(self, signer=None):
        self.disk, self.clock = SimDisk(), Clock(START_MS)
        opened = Opening(self.disk, ROOT, NODE, self.clock, None).open(alarm=False)
        self.log = AuditLog(opened.files, self.clock, lambda back, *args: back(*args), signer=signer)
        for fields in opened.owed:
            self.log.add(fields, wait=False)
        self.proposed, self.waiting, self.halts, self.rooms = [], [], [], 0
        self.log.propose, self.log.on_halt, self.log.on_room = self._propose, self.halts.append, self._room

    def _propose(self, entry):
        later = Later()
        self.proposed.append(entry)
        self.waiting.append(later)
        return later

    def _room(self):
        self.rooms += 1

    def land(self, reply=OK):
        self.waiting.pop(0).resolve(reply)

    def steps(self):
        while self.log._pending:
            if not self.log.step():
                return

    @property
    def events(self):
        return [json.loads(line)["event"] for line in self.disk.files()[CURRENT].splitlines()]


@pytest.fixture
def bench():
    return Bench()


def heard(later):
    """Its reply, or None while there is none."""
    replies = []
    later.listen(replies.append)
    return replies


@pytest.mark.parametrize(
    "mode, security, waits",
    [("security", True, True), ("security", False, False), ("all", False, True), ("no", True, False)],
)
def test_who_waits(bench, mode, security, waits):
    bench.log.durable = mode
    later = bench.log.record("acl", security=security)
    assert (later is not None) == waits
    if later is not None:
        replies = heard(later)
        assert not replies, "not before it is on disk"
        bench.steps()
        assert replies == [OK]
        assert "acl" in [json.loads(line)["event"] for line in bench.disk.crash(Random(1), "lose").files()[CURRENT].splitlines()]


def test_what_gathers_is_one_append(bench):
    for _ in range(5):
        bench.log.record("auth")
    syncs = len([one for one in bench.disk.log if one[0] == "fdatasync"])
    bench.steps()
    assert len([one for one in bench.disk.log if one[0] == "fdatasync"]) == syncs + 1
    assert bench.log.head == bench.log.files.head and bench.log.written == 6


def test_flush_is_behind_everything_that_was_taken_before_it(bench):
    bench.log.record("auth")
    replies = heard(bench.log.flush())
    assert replies == []
    bench.steps()
    assert replies == [OK]
    assert heard(bench.log.flush()) == [] and bench.log.step() and bench.events == ["audit.begin", "auth"]


def test_the_head_is_committed_when_there_is_anything_new(bench):
    log, clock = bench.log, bench.clock
    bench.steps()
    log.tick()
    assert bench.proposed == []
    clock.seconds += 61
    log.tick()
    assert bench.proposed == [(AUDIT, b"head", NODE.encode(), b"1", log.head.hash.encode())]
    clock.seconds += 61
    log.tick()
    assert len(bench.proposed) == 1, "one at a time"
    bench.land()
    assert log.committed == log.head
    clock.seconds += 61
    log.tick()
    assert len(bench.proposed) == 1, "nothing new"
    log.record("auth")
    clock.seconds += 61
    log.tick()
    assert len(bench.proposed) == 1, "not durable yet"
    bench.steps()
    clock.seconds += 61
    log.tick()
    bench.land(CommandError("MISCONF no"))
    assert len(bench.proposed) == 2 and log.committed.sequence == 1


def test_an_interval_that_is_set_later_counts_at_once(bench):
    bench.steps()
    bench.log.head_interval_s = 1
    bench.clock.seconds += 2
    bench.log.tick()
    assert len(bench.proposed) == 1
    bench.land()
    bench.log.record("auth")
    bench.steps()
    bench.log.head_interval_s = 0
    bench.clock.seconds += 1e6
    bench.log.tick()
    assert len(bench.proposed) == 1, "0: only when a file is sealed, and at the stop"


def test_a_sealed_file_commits_at_once(bench):
    bench.log.files.rotate_bytes = 1
    bench.steps()
    assert bench.proposed[0][3] == b"%d" % bench.log.head.sequence


def test_a_checkpoint_is_signed_before_it_is_committed(bench):
    pem = new_key()
    bench = Bench(Signer(pem, "k"))
    bench.steps()
    bench.clock.seconds += 61
    bench.log.tick()
    assert bench.proposed == []
    bench.steps()
    assert bench.proposed[0][3] == b"2" and bench.events == ["audit.begin", CHECKPOINT]
    report = check_files(bench.disk, ROOT, public_key=public(pem))
    assert (report.whole, report.checkpoints, report.signed_through) == (True, 1, 1)
    other = check_files(bench.disk, ROOT, public_key=public(new_key()))
    assert "its signature is not one of this key" in str(other.faults[0])


def new_key():
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public(pem):
    from cryptography.hazmat.primitives import serialization

    return serialization.load_pem_private_key(pem, None).public_key()


def test_a_full_disk_keeps_the_records_and_refuses_changes_until_there_is_room(bench):
    log = bench.log
    bench.steps()
    bench.disk.full = "growth"
    later = log.record("acl", security=True)
    replies = heard(later)
    log.record("auth")
    bench.steps()
    assert replies[0].code == "INDETERMINATE" and log.refusal.code == "MISCONF" and log.full
    assert log.info()["audit_failed"] == 1 and log.info()["audit_pending"] == 2
    bench.steps()
    assert log.failures == 2
    bench.disk.full = ""
    bench.steps()
    assert log.refusal is None and bench.events == ["audit.begin", "acl", "auth"] and log.lost == 0


def test_more_than_memory_holds_is_lost_counted_and_said(bench, monkeypatch):
    monkeypatch.setattr(module, "PENDING_MAX", 5)
    log = bench.log
    bench.steps()
    bench.disk.full = "growth"
    for _ in range(8):
        log.record("auth")
    assert heard(log.record("acl", security=True))[0].code == "INDETERMINATE"
    bench.steps()
    bench.disk.full = ""
    bench.steps()
    assert log.lost == 4 and bench.events == ["audit.begin", *["auth"] * 5, LOST]
    assert json.loads(bench.disk.files()[CURRENT].splitlines()[-1])["details"] == {"records": 4}


def test_a_failed_disk_is_final(bench):
    log = bench.log
    bench.steps()
    bench.disk.faults[bench.disk.calls + 2] = Fault("eio")  # the fsync
    replies = heard(log.record("acl", security=True))
    assert log.step() is None
    assert replies[0].code == "INDETERMINATE" and log.failure and log.refusal.code == "MISCONF"
    calls = bench.disk.calls
    assert heard(log.record("acl", security=True))[0].code == "INDETERMINATE"
    assert log.record("auth") is None and heard(log.flush())[0].code == "INDETERMINATE"
    assert log.lost == 3 and bench.disk.calls == calls and log.commit_head() is None


@pytest.mark.parametrize("fault", ["eio", "enospc"])
def test_audit_on_failure_stop_ends_the_server(bench, fault):
    bench.log.on_failure = "stop"
    bench.steps()
    bench.disk.faults[bench.disk.calls + 1] = Fault(fault)
    bench.log.record("auth")
    bench.log.step()
    assert [halt.exit_code for halt in bench.halts] == [EX_IO]


def test_crowded_until_half_of_it_is_written(bench, monkeypatch):
    monkeypatch.setattr(module, "CROWDED", 8)
    monkeypatch.setattr(module, "APPEND_RECORDS_MAX", 3)
    for _ in range(8):
        bench.log.record("auth")
    assert bench.log.crowded
    bench.log.step()
    assert bench.log.crowded and bench.rooms == 0
    bench.steps()
    assert not bench.log.crowded and bench.rooms == 1


def test_a_bug_in_the_writer_leaves_nobody_waiting(bench, monkeypatch):
    monkeypatch.setattr(bench.log.files, "append", lambda records: 1 // 0)
    replies = heard(bench.log.record("acl", security=True))
    assert bench.log.step() is None
    assert replies[0].code == "INDETERMINATE" and "ZeroDivisionError" in bench.log.failure


def test_the_thread_writes_what_is_there_and_ends():
    bench, done = Bench(), threading.Event()
    bench.log.start()
    bench.log.record("acl", security=True).listen(lambda reply: done.set())
    assert done.wait(20)
    bench.log.record("stop")
    bench.log.close()
    assert bench.events == ["audit.begin", "acl", "stop"]


def test_a_full_disk_keeps_nobody_waiting_however_much_is_there_to_write(bench):
    """A stop waits for `flush`: with more records than one append takes it would have waited for ever."""
    log = bench.log
    bench.steps()
    bench.disk.full = "growth"
    for _ in range(module.APPEND_RECORDS_MAX + 1):
        log.record("auth")
    flushed, change = heard(log.flush()), heard(log.record("acl", security=True))
    assert log.step() is False
    assert [reply.code for reply in (*flushed, *change)] == ["INDETERMINATE"] * 2
    assert len(log._pending) == module.APPEND_RECORDS_MAX + 2, "the records stay, those who only asked do not"
    bench.disk.full = ""
    bench.steps()
    assert log._pending == [] and bench.events[-1] == "acl" and not log.full


def test_a_full_disk_holds_no_request_back(bench):
    log = bench.log
    for _ in range(module.CROWDED):
        log.record("command")
    assert log.crowded
    bench.disk.full = "growth"
    assert log.step() is False
    assert not log.crowded and bench.rooms == 1
    for _ in range(module.CROWDED):
        log.record("command")
    assert not log.crowded and log.lost == 0
    bench.disk.full = ""
    log.step()
    log.record("command")
    assert log.crowded, "with room there is something to wait for"


def test_records_of_transactions_have_room_of_their_own(bench):
    log = bench.log
    for _ in range(module.PENDING_MAX + 1):
        log.record("command")
    assert log.lost > 0
    lost = log.lost
    log.record("flush", security=True, in_block=True)
    assert log.lost == lost and log._pending[-1].fields["event"] == "flush"


def test_files_that_are_deleted_while_they_are_checked_are_no_fault(bench, monkeypatch):
    log, files, read = bench.log, bench.log.files, bench.disk.read_file
    files.rotate_bytes = 1
    for _ in range(4):
        log.record("auth")
        bench.steps()
    durable = log.head

    def read_and_go_on(path):
        found = read(path)
        if not files.retain:
            files.retain = 2
            log.record("auth")
            bench.steps()
        return found

    monkeypatch.setattr(bench.disk, "read_file", read_and_go_on)
    report = check_files(bench.disk, ROOT, durable=durable)
    assert report.whole and report.first > 1 and len(report.files) == 3
