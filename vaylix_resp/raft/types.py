"""What names a place in the log.

An index (here also: sequence) counts entries from 1; 0 is "before the first". A term counts leaderships.
Source: Raft (Ongaro, 2014), figure 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EntryId:
    """The same (index, term) is the same entry on every node."""

    index: int
    term: int
