"""The audit on a simulated disk: what a crash at any call leaves, what somebody else leaves, and what a start makes of it."""

from __future__ import annotations

import json
from random import Random

import pytest

from tests.sim.disk.simdisk import MODES, Fault, PowerCut, SimDisk
from tests.unit.engine.lab import START_MS, Clock
from vaylix_resp.engine.audit.files import Failed, NoRoom
from vaylix_resp.engine.audit.reading import check_files, last_lines
from vaylix_resp.engine.audit.recovery import Broken, Opening
from vaylix_resp.errors import EX_DATA
from vaylix_resp.security.audit import BEGIN, BREAK, CUT, PRUNED, SEALED, Head
from vaylix_resp.storage.errors import IoFailed, Unreadable

ROOT, NODE = "data", "ab" * 16
CURRENT = "data/audit/audit.jsonl"


class Life:
    """From a start to whatever ends it. `told` is the head that somebody was told of."""

    def __init__(self, disk, committed=None, *, alarm=False, copied=False, clock=None):
        self.disk = disk
        self.clock = clock or Clock(START_MS)
        opened = Opening(disk, ROOT, NODE, self.clock, committed, copied=copied).open(alarm=alarm)
        self.files, self.opened = opened.files, opened
        self.told = self.files.head
        self.write(*opened.owed)

    def write(self, *records):
        if records:
            sealed = self.files.append(records)
            self.told = self.files.head
            return sealed
        return False

    def event(self, *names, **details):
        return self.write(*(self.files.fields(name, details=details) for name in names))


def records(disk):
    return [json.loads(line) for line in last_lines(disk, ROOT, 1000)]


def events(disk):
    return [record["event"] for record in records(disk)]


def story(disk, clock, told):
    """Appends of different sizes, a rotation by size and one by age, files deleted; `told` gets each durable head."""
    life = Life(disk, told[-1] if told else None, clock=clock)
    told.append(life.told)
    life.files.rotate_bytes, life.files.retain = 3000, 1
    for number in range(5):
        clock.ms += 1000
        life.event(*["auth"] * (number % 3 + 1), text="x" * 200)
        told.append(life.told)
    life.files.rotate_age_s = 1
    clock.ms += 5000
    life.event("acl", "config")
    told.append(life.told)
    return life


def test_a_new_directory_begins_a_chain():
    disk = SimDisk()
    life = Life(disk)
    assert events(disk) == [BEGIN] and life.files.head.sequence == 1
    assert not life.event("start")
    again = Life(disk.kill(), life.told)
    assert again.opened.owed == [] and again.files.head == life.told
    again.event("start")
    assert events(disk) == [BEGIN, "start", "start"]
    assert check_files(disk, ROOT, committed=again.told).whole


def test_the_story_is_whole_and_old_files_are_gone():
    disk, told = SimDisk(), []
    life = story(disk, Clock(START_MS), told)
    report = check_files(disk, ROOT, committed=told[-1])
    assert report.whole and report.head == life.files.head, report.faults
    assert report.first > 1 and PRUNED in events(disk)
    assert len([name for name in disk.files() if "/audit-" in name]) == 1


def calls_of_the_story():
    disk = SimDisk()
    story(disk, Clock(START_MS), [])
    return disk.calls


CALLS = calls_of_the_story()


@pytest.mark.parametrize("mode", (*MODES, None, "kill"))
def test_a_crash_at_any_call_never_stops_a_start_and_loses_nothing_that_was_told(mode):
    for call in range(1, CALLS + 1):
        disk, told, clock = SimDisk(), [], Clock(START_MS)
        disk.faults[call] = Fault("crash")
        with pytest.raises(PowerCut):
            story(disk, clock, told)
        after = disk.kill() if mode == "kill" else disk.crash(Random(call), mode)
        starts_and_is_whole(after, told, clock)


@pytest.mark.parametrize("mode", ("lose", "keep", "sectors", None))
def test_a_crash_in_a_start_that_cuts_never_stops_the_next(mode):
    """The first crash tears an append; the second comes at each call of the start that mends it."""
    torn = torn_disk()
    whole = torn.copy()
    Life(whole)
    for call in range(1, whole.calls + 1):
        disk, told = torn.copy(), []
        disk.faults[call] = Fault("crash")
        with pytest.raises(PowerCut):
            Life(disk)
        after = disk.crash(Random(call), mode)
        starts_and_is_whole(after, told, Clock(START_MS))
        assert CUT in events(after), (call, "a record says that something was cut")


def torn_disk():
    disk = SimDisk()
    life = Life(disk)
    life.event("start", "recovery")
    data, size = bytearray(disk.files()[CURRENT]), life.files.size
    life.event("acl", "auth", "flush", text="y" * 300)
    data += disk.files()[CURRENT][size : size + 700]
    disk.put(CURRENT, bytes(data))
    return disk.copy()


def starts_and_is_whole(disk, told, clock):
    committed = told[-1] if told else None
    life = Life(disk, committed, clock=clock)
    if committed is not None:
        assert life.files.head.sequence >= committed.sequence
    life.event("auth")
    report = check_files(disk, ROOT, committed=life.told)
    assert report.whole, [str(fault) for fault in report.faults]


def test_a_torn_append_is_cut_into_quarantine_and_a_record_says_so():
    disk = torn_disk()
    size = len(disk.files()[CURRENT])
    life = Life(disk)
    (warning,) = life.opened.warnings
    assert "record 4" in warning and "quarantine/audit-4.torn" in warning
    (kept,) = [data for name, data in disk.files().items() if "quarantine" in name]
    note = records(disk)[-1]
    assert (note["event"], note["sequence"]) == (CUT, 4)
    assert note["details"]["bytes"] == len(kept) == 700 and note["details"]["file"] == "quarantine/audit-4.torn"
    assert size > 700
    Life(disk.kill(), life.told)
    assert events(disk).count(CUT) == 1, "the next start does not say it again"


def prepared():
    """Two sealed files and a current one; the head."""
    disk = SimDisk()
    life = Life(disk)
    life.event("start", "acl")
    life.files.rotate()
    life.event("auth", "auth")
    life.files.rotate()
    life.event("config")
    life.event("flush", "stop")
    return disk.copy(), life.told


def changed(name, change):
    def damage(disk):
        disk.put(name, change(disk.files()[name]))

    return damage


def sealed_name(disk, number):
    return sorted(name for name in disk.files() if "/audit-" in name)[number]


def without_line(number):
    def change(data):
        lines = data.split(b"\n")
        del lines[number]
        return b"\n".join(lines)

    return change


def flipped(place):
    def change(data):
        damaged = bytearray(data)
        damaged[place] ^= 4
        return bytes(damaged)

    return change


BREAKS = {
    "a changed byte": (changed(CURRENT, flipped(300)), "line 1 (byte 0): record 8: its content does not match"),
    "the last byte": (changed(CURRENT, flipped(-1)), "record 10: the line has no end"),
    "a removed record": (changed(CURRENT, without_line(1)), "line 2"),
    "a removed first record": (changed(CURRENT, without_line(0)), "record 9 stands in its place"),
    "a removed last record": (changed(CURRENT, without_line(2)), "record 10: the end is missing"),
    "an emptied file": (changed(CURRENT, lambda data: b""), "record 8: the end is missing"),
    "a removed file": (lambda disk: disk.remove(CURRENT), "record 8: the end is missing"),
    "a removed sealed file": (lambda disk: disk.remove(sealed_name(disk, 1)), "record 8 stands in its place"),
    "a changed end of the sealed file": (
        lambda disk: changed(sealed_name(disk, 1), flipped(-10))(disk), "record 7: the file does not end with the record",
    ),
    "all of it": (
        lambda disk: [disk.remove(name) for name in list(disk.files()) if "/audit/" in name], "the audit is missing",
    ),
    "all but the current": (
        lambda disk: [disk.remove(name) for name in list(disk.files()) if "/audit-" in name], "the files before it",
    ),
    "something else": (changed(CURRENT, lambda data: b"hello\nworld\n"), "this is no record"),
}  # fmt: skip


@pytest.mark.parametrize("what", BREAKS)
def test_a_start_refuses_a_break_and_names_it(what):
    disk, head = prepared()
    BREAKS[what][0](disk)
    before = disk.files()
    with pytest.raises(Broken) as refused:
        Life(disk, head)
    assert BREAKS[what][1] in str(refused.value) and refused.value.exit_code == EX_DATA
    assert "data/audit" in str(refused.value) and "audit-on-break alarm" in str(refused.value)
    assert disk.files() == before, "nothing has been changed"


@pytest.mark.parametrize("what", BREAKS)
def test_alarm_goes_on_behind_a_break_keeps_what_was_there_and_says_so(what):
    disk, head = prepared()
    BREAKS[what][0](disk)
    content = [data for name, data in disk.files().items() if name == CURRENT and data]
    life = Life(disk, head, alarm=True)
    assert life.opened.alarm and life.files.head.sequence > head.sequence
    first = [record for record in records(disk) if record["event"] == BREAK]
    assert len(first) == 1 and first[0]["outcome"] == "broken"
    assert first[0]["details"]["committed_hash"] == head.hash
    assert all(data in disk.files().values() for data in content), "what was put aside is still there"
    life.event("start")
    report = check_files(disk, ROOT, committed=life.told)
    assert not report.whole and report.head == life.told
    assert any("told to go on" in fault.problem for fault in report.faults)
    again = Life(disk.kill(), life.told)  # a break that was acknowledged does not stop the next start
    assert not again.opened.alarm
    again.event("stop")
    again.files.rotate()
    again.event("start")
    Life(disk.kill(), again.told)


def test_a_crash_in_an_alarm_start_is_mended_by_the_next():
    disk, head = prepared()
    BREAKS["a changed byte"][0](disk)
    whole = disk.copy()
    Life(whole, head, alarm=True)
    for call in range(1, whole.calls + 1):
        one = disk.copy()
        one.faults[call] = Fault("crash")
        with pytest.raises(PowerCut):
            Life(one, head, alarm=True)
        after = one.crash(Random(call))
        life = Life(after, head, alarm=True)
        life.event("start")
        assert BREAK in events(after) and check_files(after, ROOT).head == life.told


def test_a_copy_of_a_backup_goes_on_where_the_original_was():
    committed = Head(41, "c" * 64)
    with pytest.raises(Broken):
        Life(SimDisk(), committed)
    disk = SimDisk()
    life = Life(disk, committed, copied=True)
    life.event("start")
    (begin, start) = records(disk)
    assert (begin["event"], begin["sequence"], begin["previous"]) == (BEGIN, 42, committed.hash)
    assert begin["details"]["continues"] == {"sequence": 41, "hash": committed.hash}
    assert check_files(disk, ROOT, committed=committed).whole
    assert check_files(disk, ROOT, committed=life.told).whole
    Life(disk.kill(), life.told, copied=True)


@pytest.mark.parametrize("mode", ("lose", "prefix", "sectors", "lengths", None))
def test_a_crash_in_the_first_start_of_a_copy(mode):
    committed = Head(41, "c" * 64)
    whole = SimDisk()
    Life(whole, committed, copied=True)
    for call in range(1, whole.calls + 1):
        disk = SimDisk()
        disk.faults[call] = Fault("crash")
        with pytest.raises(PowerCut):
            Life(disk, committed, copied=True)
        after = disk.crash(Random(call), mode)
        life = Life(after, committed, copied=True)
        assert check_files(after, ROOT, committed=life.told).whole


def test_a_full_disk_is_definite_and_the_file_can_be_used_again():
    disk = SimDisk()
    life = Life(disk)
    life.event("start")
    before = disk.files()[CURRENT]
    disk.full = "growth"
    for _ in range(2):
        with pytest.raises(NoRoom):
            life.event("acl")
    assert disk.files()[CURRENT] == before and life.files.head == life.told
    disk.full = ""
    life.event("acl")
    assert check_files(disk, ROOT, committed=life.told).whole


def test_a_part_of_an_append_on_a_full_disk_is_taken_back():
    disk = SimDisk()
    life = Life(disk)
    disk.faults[disk.calls + 1] = Fault("enospc", part=0.5)
    with pytest.raises(NoRoom):
        life.event("acl", text="z" * 400)
    life.event("auth")
    assert events(disk) == [BEGIN, "auth"]
    assert check_files(disk.crash(Random(1), "lose"), ROOT, committed=life.told).whole


@pytest.mark.parametrize("call", ["pwrite", "fdatasync", "truncate"])
def test_a_failing_disk_is_final(call):
    disk = SimDisk()
    life = Life(disk)
    at = disk.calls + {"pwrite": 1, "fdatasync": 2, "truncate": 2}[call]
    if call == "truncate":
        disk.faults[at - 1] = Fault("enospc", part=0.5)
    disk.faults[at] = Fault("eio")
    with pytest.raises(Failed) as failed:
        life.event("acl")
    assert "audit.jsonl" in str(failed.value)
    again = Life(disk.kill(), life.told)
    again.event("start")
    assert check_files(disk, ROOT, committed=again.told).whole


def test_a_record_of_a_killed_process_is_on_disk_before_anything_follows_it():
    disk = SimDisk()
    life = Life(disk)
    disk.faults[disk.calls + 2] = Fault("crash")  # between the write and the end of its fsync
    with pytest.raises(PowerCut):
        life.event("acl")
    disk.kill()
    again = Life(disk, life.told)
    assert again.files.head.sequence == 2, "the whole record is visible, and counts"
    after = disk.crash(Random(1), "lose")
    assert events(after) == [BEGIN, "acl"]


def test_what_cannot_be_read_is_no_break():
    disk, head = prepared()
    disk.read_error_on = "audit.jsonl"
    with pytest.raises(Unreadable):
        Life(disk, head, alarm=True)
    disk = SimDisk()
    disk.faults[1] = Fault("eio")
    with pytest.raises(IoFailed):
        Life(disk)


def test_a_sealed_file_without_its_name_gets_it():
    disk = SimDisk()
    life = Life(disk)
    life.event("start")
    life.files._write([life.files.fields(SEALED)])
    again = Life(disk.kill(), life.files.head)
    again.event("start")
    assert [name.rpartition("/")[2] for name in sorted(disk.files()) if "/audit/" in name] == [
        "audit-0000000000000001-0000000000000003.jsonl", "audit.jsonl",
    ]  # fmt: skip
    assert check_files(disk, ROOT, committed=again.told).whole


def test_the_age_of_a_file_counts_from_its_first_record_also_after_a_restart():
    disk, clock = SimDisk(), Clock(START_MS)
    Life(disk, clock=clock)
    clock.ms += 50_000
    life = Life(disk.kill(), clock=clock)
    life.files.rotate_age_s = 60
    assert not life.event("auth")
    clock.ms += 10_000
    assert life.event("auth")
    assert life.files.head.sequence == 4 and events(disk)[-1] == SEALED


def test_the_newest_records_come_from_several_files():
    disk, head = prepared()
    assert [record["sequence"] for record in records(disk)] == [*range(1, head.sequence + 1)]
    assert [json.loads(line)["sequence"] for line in last_lines(disk, ROOT, 4)] == [7, 8, 9, 10]
    assert last_lines(SimDisk(), ROOT, 4) == []
