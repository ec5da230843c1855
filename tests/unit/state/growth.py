"""python -m tests.unit.state.growth KEYS BYTES [WORD...]: what a process of its own gains by that many keys.

Prints three numbers of bytes: measured, the sum of MEMORY USAGE, and what is compared with maxmemory. WORD: PXAT, so
that each key has an expiry (a second for 25 of them), or FLAGS.
"""

from __future__ import annotations

import sys
from random import Random

from vaylix_resp.commands.registry import apply_table, new_accounts, row_table
from vaylix_resp.observability.process import Process
from vaylix_resp.state.footprint import data_bytes, key_bytes
from vaylix_resp.state.machine import StateMachine

START_MS, APART_MS = 1_800_000_000_000, 40


def operation(number: int, size: int, words: list[str]) -> tuple[bytes, ...]:
    key, value = b"key:%012d" % number, number.to_bytes(8, "big") * (size // 8)
    if "FLAGS" in words:
        return b"EXSET", key, value, b"FLAGS", b"7"
    if "PXAT" in words:
        return b"SET", key, value, b"PXAT", b"%d" % (START_MS + APART_MS * number)
    return b"SET", key, value


def main(keys: int, size: int, words: list[str]) -> None:
    machine = StateMachine(apply_table(), 1, rng=Random(1), accounts=new_accounts(), rows=row_table())
    machine.world.index()
    machine.world.weigh(wanted=True)
    machine.begin_batch(START_MS - 1, 7)
    before = Process().memory().used
    for number in range(keys):
        machine.apply(operation(number, size, words))
    grown = Process().memory().used - before
    db = machine.world.databases[0]
    print(grown, sum(key_bytes(db, key) for key in db.items), data_bytes(machine.world))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
