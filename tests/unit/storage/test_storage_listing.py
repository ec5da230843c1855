"""What counts in wal/, by its names alone: a table of what a crash may leave."""

from __future__ import annotations

import pytest

from tests.sim.disk.simdisk import SimDisk
from vaylix_resp.storage.errors import Corrupt
from vaylix_resp.storage.listing import arrange, cut_name, fresh_name, list_wal
from vaylix_resp.storage.segment import active_name, sealed_name

A, B, LONG = sealed_name(1, 4), sealed_name(5, 7), sealed_name(5, 9)
C, D = active_name(8), active_name(10)


@pytest.mark.parametrize(
    "names, installed, counts, void, leftovers, strange",
    [
        ([], 0, "", [], [], []),
        ([C, B, A, "spare-1.tmp"], 0, "1-4 5-7 8-", [], ["spare-1.tmp"], []),
        ([A, "notes.txt", C], 0, "1-4 8-", [], [], ["notes.txt"]),
        # A cut inside the active segment, at its start, inside a sealed one, between two, before everything.
        ([A, B, C, cut_name(9)], 0, "1-4 5-7 8-8c 9-", [], [], []),
        ([A, B, C, cut_name(8)], 0, "1-4 5-7 8-", [C], [], []),
        ([A, B, C, cut_name(6)], 0, "1-4 5-5c 6-", [C], [], []),
        ([A, B, C, cut_name(5)], 0, "1-4 5-", [B, C], [], []),
        ([A, B, C, cut_name(1)], 0, "1-", [A, B, C], [], []),
        # Half-way through: the active one gone, the shorter copy there, the longer one gone.
        ([A, LONG, cut_name(8), B + ".tmp"], 0, "1-4 5-7c 8-", [], [B + ".tmp"], []),
        ([A, B, LONG, cut_name(8)], 0, "1-4 5-7 8-", [LONG], [], []),
        ([A, B, cut_name(8)], 0, "1-4 5-7 8-", [], [], []),
        # What no crash leaves.
        ([A, cut_name(5), cut_name(3)], 0, "1-2c 3-", [], [], [cut_name(5)]),
        ([A, B, C, D, cut_name(9)], 0, "1-4 5-7 9-", [D], [], [C]),
        # An install: before and after the manifest names the snapshot, and long after.
        ([A, B, C, fresh_name(31)], 4, "1-4 5-7 8-", [], [fresh_name(31)], []),
        ([A, B, C, fresh_name(31)], 30, "31-", [A, B, C], [], []),
        ([fresh_name(31)], 30, "31-", [], [], []),
        ([active_name(31)], 30, "31-", [], [], []),
        ([A, C, cut_name(6), fresh_name(31)], 30, "31-", [A, C, cut_name(6)], [], []),
        ([active_name(31), fresh_name(21)], 30, "31-", [], [], [fresh_name(21)]),
        ([C, fresh_name(1)], 0, "8-", [], [], [fresh_name(1)]),
    ],
)
def test_what_counts(
    names: list[str], installed: int, counts: str, void: list[str], leftovers: list[str], strange: list[str]
) -> None:
    found = arrange(names, installed)
    assert " ".join(f"{one.first}-{one.last or ''}{'c' if one.clipped else ''}" for one in found.segments) == counts
    assert (sorted(found.void), found.leftovers, found.strange) == (sorted(void), leftovers, strange)
    opening = [
        name for name in names if name.startswith(("cut-", "fresh-")) and name not in [*void, *leftovers, *strange]
    ]
    assert ([found.opening.name] if found.opening else []) == opening


def test_a_name_that_is_not_ours_is_refused() -> None:
    disk = SimDisk()
    disk.mkdir("data/wal")
    disk.create("data/wal/notes.txt").close()
    with pytest.raises(Corrupt, match="only segments here"):
        list_wal(disk, "data", 0)
