"""Strings as arrays of bits; bit 0 is the highest bit of the first byte.

No loop here runs once per bit or per byte: counting, searching and combining work on blocks in C, and a field
is cut out of the few bytes it lies in. Setting a bit copies the value, which is one immutable object.
As in Redis before 8.0, BITCOUNT and BITPOS look at their range only once there is a string to count in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from ..errors import SYNTAX, CommandError
from ..limits import KIB, VALUE_BYTES_MAX
from ..state.values import VERSION_BYTES, Item
from ..state.views import ReadView, WriteTx
from .arguments import integer, parse_int
from .spec import FIRST_KEY_RW, READ_KEY, Argv, KeySpec, Kind, command

BAD_OFFSET: Final = "ERR bit offset is not an integer or out of range"
BAD_BIT: Final = "ERR bit is not an integer or out of range"
BAD_TYPE: Final = (
    "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."
)
_COUNT_BLOCK: Final = 4 * KIB  # an integer that stays in the first-level cache while its bits are counted
_SEARCH_BLOCK: Final = 64 * KIB
_ALIKE: Final = {0: bytes(_SEARCH_BLOCK), 1: b"\xff" * _SEARCH_BLOCK}  # a block without the opposite bit
_OPPOSITE: Final = bytes(255 - byte for byte in range(256))


def _offset(raw: bytes, field_bits: int = 0) -> int:
    """A bit offset; with a field's width also `#n`, the n-th such field."""
    counted = field_bits > 0 and raw.startswith(b"#")
    offset = parse_int(raw[1:] if counted else raw)
    if offset is not None and counted:
        offset *= field_bits
    if offset is None or offset < 0 or offset >> 3 >= VALUE_BYTES_MAX:
        raise CommandError(BAD_OFFSET)
    return offset


def _setbit_arguments(argv: Argv) -> tuple[int, int]:
    offset = _offset(argv[2])
    if argv[3] not in (b"0", b"1"):
        raise CommandError(BAD_BIT)
    return offset, int(argv[3])


@command(
    "SETBIT", arity=4, kind=Kind.WRITE, flags="write denyoom", group="bitmap", since="2.2.0",
    keys=FIRST_KEY_RW, check=_setbit_arguments,
    complexity="O(N) where N is the length of the value, which is copied.", syntax="key offset value",
)  # fmt: skip
def setbit(tx: WriteTx, argv: Argv) -> Any:
    """Set or clear one bit and return what it was; the string grows as far as the bit."""
    offset, bit = _setbit_arguments(argv)
    key, byte, mask = argv[1], offset >> 3, 0x80 >> (offset & 7)
    item = tx.item(key)
    size = 0 if item is None else len(item) - VERSION_BYTES
    old = memoryview(b"" if item is None else item)[VERSION_BYTES:]
    was = old[byte] if byte < size else 0
    now = was | mask if bit else was & ~mask
    if now != was or byte >= size or item is None:
        tx.update(key, b"".join((old[:byte], bytes(max(byte - size, 0)), bytes((now,)), old[byte + 1 :])))
        tx.event("$", "setbit", key)
    return 1 if was & mask else 0


@command(
    "GETBIT", arity=3, kind=Kind.READ, flags="readonly fast", group="bitmap", since="2.2.0", keys=READ_KEY,
    syntax="key offset",
)  # fmt: skip
def getbit(view: ReadView, argv: Argv) -> Any:
    """Return one bit; 0 beyond the end of the string."""
    offset = _offset(argv[2])
    item = view.lookup(argv[1])
    at = VERSION_BYTES + (offset >> 3)
    return item[at] >> (7 - (offset & 7)) & 1 if item is not None and at < len(item) else 0


def _in_bits(word: bytes) -> bool:
    unit = word.upper()
    if unit not in (b"BIT", b"BYTE"):
        raise CommandError(SYNTAX)
    return unit == b"BIT"


def _bit_range(start: int, end: int, size: int, in_bits: bool) -> tuple[int, int]:
    """First bit and the bit behind the last of a range given as in Redis; empty if the first is not below."""
    total = size * 8 if in_bits else size
    start = max(start + total, 0) if start < 0 else start
    end = max(end + total, 0) if end < 0 else end
    end = min(end, total - 1)
    return (start, end + 1) if in_bits else (start * 8, end * 8 + 8)


def _count(item: Item, first: int, behind: int) -> int:
    """Set bits among first..behind of the string."""
    low, high = VERSION_BYTES + (first >> 3), VERSION_BYTES + (behind + 7 >> 3)
    whole = sum(
        int.from_bytes(item[at : min(at + _COUNT_BLOCK, high)], "little").bit_count()
        for at in range(low, high, _COUNT_BLOCK)
    )
    before, after = item[low] & ~(0xFF >> (first & 7)), item[high - 1] & ((1 << (-behind & 7)) - 1)
    return whole - before.bit_count() - after.bit_count()


def _first(item: Item, first: int, behind: int, bit: int) -> int:
    """The first such bit among first..behind of the string, -1 if there is none."""
    low, high = VERSION_BYTES + (first >> 3), VERSION_BYTES + (behind + 7 >> 3)
    flip = 0 if bit else 0xFF
    found = (item[low] ^ flip) & 0xFF >> (first & 7)
    at = low if found else low + 1
    alike = _ALIKE[1 - bit]
    while not found and at < high:
        block = item[at : min(at + _SEARCH_BLOCK, high)]
        if block != (alike if len(block) == _SEARCH_BLOCK else alike[: len(block)]):
            at += len(block) - len(block.lstrip(alike[:1]))
            found = item[at] ^ flip
        else:
            at += len(block)
    offset = (at - VERSION_BYTES) * 8 + 8 - found.bit_length()
    return offset if found and offset < behind else -1


@command(
    "BITCOUNT", arity=-2, kind=Kind.READ, flags="readonly", group="bitmap", since="2.6.0", keys=READ_KEY,
    complexity="O(N)", syntax="key [start end [BYTE | BIT]]",
    history=(("7.0.0", "Added the `BYTE|BIT` option."),),
)  # fmt: skip
def bitcount(view: ReadView, argv: Argv) -> Any:
    """Count the bits that are set, in the whole string or in a range of it."""
    item = view.lookup(argv[1])
    if item is None:
        return 0
    if len(argv) not in (2, 4, 5):
        raise CommandError(SYNTAX)
    start, end = (integer(argv[2]), integer(argv[3])) if len(argv) > 2 else (0, -1)
    if start < 0 and end < 0 and start > end:
        return 0  # whatever the unit
    in_bits = len(argv) == 5 and _in_bits(argv[4])
    first, behind = _bit_range(start, end, len(item) - VERSION_BYTES, in_bits)
    return _count(item, first, behind) if first < behind else 0


@command(
    "BITPOS", arity=-3, kind=Kind.READ, flags="readonly", group="bitmap", since="2.8.7", keys=READ_KEY,
    complexity="O(N)", syntax="key bit [start [end [BYTE | BIT]]]",
    history=(("7.0.0", "Added the `BYTE|BIT` option."),),
)  # fmt: skip
def bitpos(view: ReadView, argv: Argv) -> Any:
    """Return the offset of the first bit that is set or clear, in the whole string or in a range of it."""
    bit = integer(argv[2])
    if bit not in (0, 1):
        raise CommandError("ERR The bit argument must be 1 or 0.")
    item = view.lookup(argv[1])
    if item is None:  # an endless row of zeros
        return -1 if bit else 0
    if len(argv) > 6:
        raise CommandError(SYNTAX)
    start = integer(argv[3]) if len(argv) > 3 else 0
    in_bits = len(argv) == 6 and _in_bits(argv[5])
    end = integer(argv[4]) if len(argv) > 4 else -1
    first, behind = _bit_range(start, end, len(item) - VERSION_BYTES, in_bits)
    if first >= behind:
        return -1
    found = _first(item, first, behind, bit)
    # Zeros follow the string, unless the request said where to stop.
    return behind if found < 0 and bit == 0 and len(argv) <= 4 else found


_BITOPS: Final = frozenset({b"AND", b"OR", b"XOR", b"NOT"})


def _check_bitop(argv: Argv) -> None:
    operation = argv[1].upper()
    if operation not in _BITOPS:
        raise CommandError(SYNTAX)
    if operation == b"NOT" and len(argv) != 4:
        raise CommandError("ERR BITOP NOT must be called with a single source key.")


@command(
    "BITOP", arity=-4, kind=Kind.WRITE, flags="write denyoom", group="bitmap", since="2.6.0",
    check=_check_bitop, keys=(KeySpec("OW update", begin=2), KeySpec("RO access", begin=3, last=-1)),
    complexity="O(N)", syntax="<AND | OR | XOR | NOT> destkey key [key ...]",
)  # fmt: skip
def bitop(tx: WriteTx, argv: Argv) -> Any:
    """Combine strings bit by bit and store the result; shorter ones count as padded with zero bytes."""
    _check_bitop(argv)
    operation, target = argv[1].upper(), argv[2]
    result = _combined(operation, (tx.string(key) or b"" for key in argv[3:]))
    if not result:
        if tx.delete(target):
            tx.event("g", "del", target)
        return 0
    tx.put(target, result)
    tx.event("$", "set", target)
    return len(result)


def _combined(operation: bytes, values: Iterator[bytes]) -> bytes:
    """As long as the longest. One value at a time: a request may name a large one more often than memory would hold."""
    value = next(values)
    if operation == b"NOT":
        return value.translate(_OPPOSITE)
    # As numbers they are little-endian, so that a shorter string lacks its highest, zero bytes.
    total, size = int.from_bytes(value, "little"), len(value)
    for value in values:
        number, size = int.from_bytes(value, "little"), max(size, len(value))
        if operation == b"AND":
            total &= number
        elif operation == b"OR":
            total |= number
        else:
            total ^= number
    return total.to_bytes(size, "little")


class _Operation(NamedTuple):
    """One step of a BITFIELD; `amount` is None for GET."""

    incr: bool
    signed: bool
    bits: int
    offset: int
    amount: int | None
    overflow: bytes


def _operations(argv: Argv) -> list[_Operation]:
    found: list[_Operation] = []
    overflow, at = b"WRAP", 2
    while at < len(argv):
        word, rest = argv[at].upper(), len(argv) - at - 1
        if word == b"OVERFLOW" and rest >= 1:
            overflow = argv[at + 1].upper()
            if overflow not in (b"WRAP", b"SAT", b"FAIL"):
                raise CommandError("ERR Invalid OVERFLOW type specified")
            at += 2
            continue
        operands = 2 if word == b"GET" else 3
        if word not in (b"GET", b"SET", b"INCRBY") or rest < operands:
            raise CommandError(SYNTAX)
        signed, bits = _field_type(argv[at + 1])
        offset = _offset(argv[at + 2], bits)
        amount = integer(argv[at + 3]) if operands == 3 else None
        found.append(_Operation(word == b"INCRBY", signed, bits, offset, amount, overflow))
        at += operands + 1
    return found


def _bitfield_steps(argv: Argv) -> list[_Operation]:
    steps = _operations(argv)
    if any(s.amount is not None and s.offset + s.bits > VALUE_BYTES_MAX * 8 for s in steps):
        raise CommandError(BAD_OFFSET)  # Redis lets a value grow these few bits beyond its bound
    return steps


def _reach(steps: list[_Operation]) -> int:
    """The length that a value needs for the fields that are written."""
    return max((s.offset + s.bits + 7 >> 3 for s in steps if s.amount is not None), default=0)


def setbit_reach(argv: Argv) -> int:
    """The length that SETBIT gives a shorter value."""
    return (_setbit_arguments(argv)[0] >> 3) + 1


def bitfield_reach(argv: Argv) -> int:
    """The length that BITFIELD gives a shorter value."""
    return _reach(_bitfield_steps(argv))


def _bitfield_flags(argv: Argv) -> str:
    """Only GET and OVERFLOW leave the value alone; whatever else there is may be a write."""
    at = 2
    while at < len(argv):
        word, rest = argv[at].upper(), len(argv) - at - 1
        if word == b"GET" and rest >= 2:
            at += 3
        elif word == b"OVERFLOW" and rest >= 1:
            at += 2
        else:
            return "RW access update"
    return "RO access"


def _field_type(raw: bytes) -> tuple[bool, int]:
    signed = raw.startswith(b"i")
    bits = parse_int(raw[1:]) if signed or raw.startswith(b"u") else None
    if bits is None or not 1 <= bits <= (64 if signed else 63):
        raise CommandError(BAD_TYPE)
    return signed, bits


def _field(value: bytes | bytearray, step: _Operation, base: int = 0) -> int:
    """The field's value in the string that begins at `base`; zero bits follow the string."""
    first, behind = base + (step.offset >> 3), base + ((step.offset + step.bits + 7) >> 3)
    window = int.from_bytes(value[first:behind].ljust(behind - first, b"\0"), "big")
    number = window >> (-(step.offset + step.bits) & 7) & ((1 << step.bits) - 1)
    return number - (1 << step.bits) if step.signed and number >> (step.bits - 1) else number


def _set_field(value: bytearray, step: _Operation, number: int) -> None:
    """`value` reaches to the field's end."""
    first, behind = step.offset >> 3, (step.offset + step.bits + 7) >> 3
    shift, mask = -(step.offset + step.bits) & 7, (1 << step.bits) - 1
    window = int.from_bytes(value[first:behind], "big")
    window = window & ~(mask << shift) | (number & mask) << shift
    value[first:behind] = window.to_bytes(behind - first, "big")


def _fitted(number: int, step: _Operation) -> int | None:
    """The number as the field can hold it, by the overflow rule in force; None for FAIL."""
    top = (1 << (step.bits - 1 if step.signed else step.bits)) - 1
    bottom = -top - 1 if step.signed else 0
    if bottom <= number <= top:
        return number
    if step.overflow == b"FAIL":
        return None
    if step.overflow == b"SAT":
        # Redis works out how far a SET is from the top in 64 bits: from far enough below, it comes out above.
        above = number > top or (step.signed and not step.incr and top - number >= 1 << 63)
        return top if above else bottom
    number &= (1 << step.bits) - 1
    return number - (1 << step.bits) if number > top else number


@command(
    "BITFIELD", arity=-2, kind=Kind.WRITE, flags="write denyoom", group="bitmap", since="3.2.0",
    keys=KeySpec(
        "RW access update variable_flags",
        varying=_bitfield_flags,
        notes="This command allows both access and modification of the key",
    ),
    check=_bitfield_steps,
    complexity="O(1) for each subcommand specified, and O(N) to copy the value if one of them writes.",
    syntax="key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | "
    "INCRBY encoding offset increment> [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] "
    "<SET encoding offset value | INCRBY encoding offset increment> ...]]",
)  # fmt: skip
def bitfield(tx: WriteTx, argv: Argv) -> Any:
    """Read, set and increment integers of any width inside a string."""
    steps, key = _bitfield_steps(argv), argv[1]
    reach = _reach(steps)
    if not reach:
        return _read_fields(tx.lookup(key), steps)
    item = tx.item(key)
    value = bytearray(b"" if item is None else item[VERSION_BYTES:])
    grown = len(value) < reach
    value.extend(bytes(max(reach - len(value), 0)))
    replies: list[Any] = []
    changed = False
    for step in steps:
        old = _field(value, step)
        if step.amount is None:
            replies.append(old)
            continue
        number = _fitted(old + step.amount if step.incr else _as_field(step), step)
        if number is None:
            replies.append(None)
            continue
        _set_field(value, step, number)
        changed = changed or grown or number != old
        replies.append(number if step.incr else old)
    if changed or grown:  # the string grows even if every step fails, as in Redis, which then tells nobody
        tx.update(key, bytes(value))
    if changed:
        tx.event("$", "setbit", key)
    return replies


def _as_field(step: _Operation) -> int:
    """What SET was given; for an unsigned field a negative number means its 64-bit pattern."""
    assert step.amount is not None
    return step.amount if step.signed else step.amount & (1 << 64) - 1


def _read_fields(item: Item | None, steps: list[_Operation]) -> list[int]:
    return [0 if item is None else _field(item, step, VERSION_BYTES) for step in steps]


@command(
    "BITFIELD_RO", arity=-2, kind=Kind.READ, flags="readonly fast", group="bitmap", since="6.0.0",
    keys=READ_KEY, complexity="O(1) for each subcommand specified",
    syntax="key [GET encoding offset [GET encoding offset ...]]",
)  # fmt: skip
def bitfield_ro(view: ReadView, argv: Argv) -> Any:
    """Read integers of any width inside a string."""
    steps = _operations(argv)
    if any(step.amount is not None for step in steps):
        raise CommandError("ERR BITFIELD_RO only supports the GET subcommand")
    return _read_fields(view.lookup(argv[1]), steps)
