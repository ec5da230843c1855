"""What lies in wal/, and what of it counts: the names alone say it, also in the middle of a cut or an install.

    <first>-<last>.wal, active-<first>.wal    the log
    cut-<first>.wal       an active segment in the making: from <first> on, nothing in other segments counts any more
    fresh-<first>.wal     the same for a log that begins anew behind an installed snapshot: no other segment counts,
                          once the manifest names that snapshot as its newest; before, this file does not
Both get the name active-<first>.wal when what does not count is gone, and nothing is written to them before that. Each
such change is made by one rename (of the cut segment, of the manifest), so whoever looks sees all of it or none.
Promise: whatever a crash leaves, the segments that count are those before the change or those after it.
Not here: who makes them (`cutting`); what the segments hold (`segment`).
Source: Raft (Ongaro, 2014), figure 3.1 (AppendEntries, step 3) and figure 5.3 (InstallSnapshot, step 7).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from vaylix_resp.storage.disk import Disk, join
from vaylix_resp.storage.errors import Corrupt, Unreadable
from vaylix_resp.storage.segment import SegmentName, parse_name

DIRECTORY = "wal"
QUARANTINE = "quarantine"
NEVER = 1 << 64

_OPENING = re.compile(r"(cut|fresh)-(\d{20})\.wal")


def cut_name(first: int) -> str:
    return f"cut-{first:020d}.wal"


def fresh_name(first: int) -> str:
    return f"fresh-{first:020d}.wal"


@dataclass(slots=True)
class Listing:
    """`opening` is the active segment of an unfinished change, also the only one in `active`; `void` are names of files
    that do not count any more. A segment that is `clipped` counts up to its `last`."""

    sealed: list[SegmentName] = field(default_factory=list)
    active: list[SegmentName] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    void: list[str] = field(default_factory=list)
    opening: SegmentName | None = None
    strange: list[str] = field(default_factory=list)

    @property
    def segments(self) -> list[SegmentName]:
        return [*self.sealed, *self.active]


def arrange(names: Iterable[str], installed: int) -> Listing:
    """Sort out the names of a directory. `installed`: the sequence of the newest snapshot in the manifest, or 0."""
    listing, cuts, fresh = Listing(), list[SegmentName](), list[SegmentName]()
    for name in sorted(names):
        parsed = parse_name(name)
        if parsed is not None:
            (listing.active if parsed.last is None else listing.sealed).append(parsed)
        elif match := _OPENING.fullmatch(name):
            (cuts if match[1] == "cut" else fresh).append(SegmentName(name, int(match[2]), None))
        elif name.endswith(".tmp"):
            listing.leftovers.append(name)
        else:
            listing.strange.append(name)
    listing.sealed.sort(key=lambda segment: segment.first)
    listing.active.sort(key=lambda segment: segment.first)
    for one in fresh:
        if one.first == installed + 1 and installed:
            listing.void = [other.name for other in (*listing.segments, *cuts)]
            listing.sealed, listing.active, listing.opening, cuts = [], [one], one, []
        elif one.first > installed + 1:
            listing.leftovers.append(one.name)  # its snapshot never became current
        else:
            listing.strange.append(one.name)  # it would have had its last name before the next snapshot
    if cuts and len(listing.active) > 1:
        listing.strange.append(listing.active.pop(0).name)  # it would have been sealed before the cut
    listing.strange += [one.name for one in cuts[1:]]  # nobody begins a second cut before the first is done
    for one in cuts[:1]:
        _cut(listing, one)
    return listing


def _cut(listing: Listing, opening: SegmentName) -> None:
    """What counts when everything from `opening.first` on is void."""
    last = opening.first - 1
    kept = [segment for segment in listing.sealed if segment.last is not None and segment.last <= last]
    whole = {segment.first for segment in kept}
    for segment in listing.segments:
        if segment in kept:
            continue
        if segment.first > last or segment.first in whole:  # in whole: its kept part has a file of its own already
            listing.void.append(segment.name)
        else:
            kept.append(replace(segment, last=last, clipped=True))
    listing.sealed = sorted(kept, key=lambda segment: segment.first)
    listing.active, listing.opening = [opening], opening


def list_wal(disk: Disk, root: str, installed: int) -> Listing:
    """As `arrange`. A name that is not ours is refused: it may be a part of the log."""
    directory = join(root, DIRECTORY)
    try:
        names = disk.listdir(directory)
    except OSError as cause:
        raise Unreadable(directory, 0, cause) from cause
    listing = arrange(names, installed)
    for name in listing.strange:
        raise Corrupt(join(directory, name), 0, "only segments here", advice="move this file elsewhere")
    return listing
