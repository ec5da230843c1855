"""Random lives of a member's log, in the number that CI has time for; `python -m tests.sim.disk --member` tells more.

And the proof that they find what is wrong: mistakes that somebody might well have made.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import pytest

from tests.sim.disk.member_story import MemberStory
from tests.sim.disk.mutations import replaced
from vaylix_resp.errors import Refused
from vaylix_resp.storage import active, cutting, log_files, recovery, segment, store, wal
from vaylix_resp.storage.batch import frame_bytes
from vaylix_resp.storage.disk import Disk
from vaylix_resp.storage.manifest import CleanStop, Manifest

SEEDS = int(os.environ.get("VAYLIX_DISK_SEEDS", "60"))
SEEDS_PER_MISTAKE_MAX = 200
# Where to begin with those that take many: a change of the storage or of the stories moves it.
FOUND = {
    "a_frame_speaks_of_what_comes_behind_it": 142,
    "recovery_writes_again_only_what_the_last_frame_is": 96,
    "term_and_vote_alone_are_not_synced": 29,
}


def test_stories() -> None:
    counts: Counter[str] = Counter()
    for seed in range(1, SEEDS + 1):
        try:
            counts += MemberStory(seed).tell().counts
        except Exception as broken:
            raise AssertionError(f"python -m tests.sim.disk --member --seed {seed} --seeds 1") from broken
    assert {
        "clean stop", "cut", "cut of the log", "cut while starting", "disk failed", "flips refused", "flips without effect",
        "group", "install", "power cut", "process killed", "pruned", "refused for want of room", "snapshot",
        "start refused by the disk", "verifications", "vote", "with a tail",
    } <= set(counts), "each of these happens"  # fmt: skip


def a_new_segment_does_not_get_term_and_vote(stack: ExitStack) -> None:
    def name_active(*arguments: Any) -> Any:
        return old(*arguments[:8], None, *arguments[9:])

    old = replaced(stack, active, "name_active", name_active)
    replaced(stack, log_files, "name_active", name_active)


def term_and_vote_alone_are_not_synced(stack: ExitStack) -> None:
    def sync(self: wal.Wal) -> None:
        if self._durable < self.last:
            old(self)

    old = replaced(stack, wal.Wal, "_sync", sync)


def batches_are_written_before_term_and_vote(stack: ExitStack) -> None:
    def save(self: wal.Wal, hard_state: Any, entries: Any, committed: int) -> None:
        with patch.object(wal.Wal, "_news", lambda self, wanted: None):
            old(self, None, entries, committed)
        old(self, hard_state, [], committed)

    old = replaced(stack, wal.Wal, "save", save)


def a_frame_says_that_its_own_group_is_durable(stack: ExitStack) -> None:
    def encode(*arguments: Any) -> Any:
        *others, synced = arguments
        at = end[0] if end[1] == synced else synced  # the next of the same group, or the first of another
        end[:] = at + frame_bytes(len(arguments[9])), synced
        return old(*others, at)

    end = [0, 0]
    old = replaced(stack, wal, "encode", encode)


def recovery_writes_again_only_what_the_last_frame_is(stack: ExitStack) -> None:
    """Of a group all frames may be missing on the disk, though the page cache shows them."""

    def unsynced(scan: segment.Scan) -> Any:
        last = scan.offset
        for batch in old(scan):
            last = scan.offset - frame_bytes(len(batch.body))
            yield batch
        scan.synced = last

    old = replaced(stack, segment.Scan, "__iter__", unsynced)


def a_cut_takes_effect_before_it_is_said(stack: ExitStack) -> None:
    replaced(stack, wal, "cut_name", segment.active_name)


def a_vote_is_forgotten_by_a_cut(stack: ExitStack) -> None:
    def open_cut(self: wal.Wal, cut: Any, end: Any, spanning: Any) -> Any:
        end.hard_state = None
        return old(self, cut, end, spanning)

    old = replaced(stack, wal.Wal, "_open_cut", open_cut)


def the_old_log_goes_before_the_manifest_names_the_snapshot(stack: ExitStack) -> None:
    def switch(self: store.Store, manifest: Manifest) -> None:
        if self._wal and self._wal._fresh:
            for one in self._wal.segments()[:-1]:
                self.disk.unlink(one.path)
        old(self, manifest)

    old = replaced(stack, store.Store, "_switch", switch)


def the_manifest_names_a_snapshot_before_the_fresh_log_is_there(stack: ExitStack) -> None:
    def prepare(self: wal.Wal, chain: Any, hard_state: Any = None) -> None:
        self._fresh_wanted = chain, hard_state  # type: ignore[attr-defined]

    def begin(self: wal.Wal) -> None:
        old(self, *self._fresh_wanted)  # type: ignore[attr-defined]
        old_begin(self)

    old = replaced(stack, wal.Wal, "prepare_fresh", prepare)
    old_begin = replaced(stack, wal.Wal, "begin_fresh", begin)


def everything_in_the_log_is_taken_for_committed(stack: ExitStack) -> None:
    def init(self: recovery.Replay, *arguments: Any) -> None:
        old(self, *arguments)
        self.known_only = False

    old = replaced(stack, recovery.Replay, "__init__", init)


def a_frame_speaks_of_what_comes_behind_it(stack: ExitStack) -> None:
    stack.enter_context(patch.object(wal, "min", lambda told, last: told, create=True))


def a_clean_stop_does_not_say_the_vote(stack: ExitStack) -> None:
    replaced(stack, store, "CleanStop", lambda sequence, tag, ms, term, vote: CleanStop(sequence, tag, ms, term, 0))


def a_copy_of_a_cut_segment_is_not_synced(stack: ExitStack) -> None:
    def copy(self: cutting.Cutting, name: Any) -> None:
        path = self._kept_path(name) + ".tmp"
        self._disk.create(path).pwrite(self._disk.read_file(self._path(name.name))[: self._measure(name)[1]], 0)

    replaced(stack, cutting.Cutting, "copy_kept", copy)


def a_rename_is_not_synced(stack: ExitStack) -> None:
    replaced(stack, Disk, "rename", lambda self, source, target: self._rename(source, target))


MISTAKES: list[Callable[[ExitStack], None]] = [
    a_new_segment_does_not_get_term_and_vote,
    term_and_vote_alone_are_not_synced,
    batches_are_written_before_term_and_vote,
    a_frame_says_that_its_own_group_is_durable,
    recovery_writes_again_only_what_the_last_frame_is,
    a_cut_takes_effect_before_it_is_said,
    a_vote_is_forgotten_by_a_cut,
    the_old_log_goes_before_the_manifest_names_the_snapshot,
    the_manifest_names_a_snapshot_before_the_fresh_log_is_there,
    everything_in_the_log_is_taken_for_committed,
    a_frame_speaks_of_what_comes_behind_it,
    a_clean_stop_does_not_say_the_vote,
    a_copy_of_a_cut_segment_is_not_synced,
    a_rename_is_not_synced,
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda one: one.__name__)
def test_a_mistake_is_found(mistake: Callable[[ExitStack], None]) -> None:
    begin = FOUND.get(mistake.__name__, 1)
    with ExitStack() as stack:
        mistake(stack)
        for seed in (*range(begin, SEEDS_PER_MISTAKE_MAX + 1), *range(1, begin)):
            try:
                MemberStory(seed).tell()
            except (AssertionError, Refused):  # anything else would be a mistake in the mistake
                return
    raise AssertionError(f"{SEEDS_PER_MISTAKE_MAX} seeds went well with this mistake")
