"""The arithmetic behind INCRBYFLOAT: x86's 80-bit `long double`, in integers.

Redis adds in `long double`; on x86-64, where its results are best known, that is 64 bits of mantissa.
Python's float has 53 and the platform's own type differs by machine, so replicas would disagree: here a
number is the pair (mantissa, exponent of 2) and every operation rounds to nearest, ties to even, exactly as
the x87 unit does.
Promise: the same text for the same operands on every machine. Not here: infinity and nan, which no key may
hold.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

MANTISSA_BITS: Final = 64
EXPONENT_MIN: Final = -16445  # of the smallest denormal
BITS_MAX: Final = 16384  # a number of more bits before the point is infinite
TEXT_MAX: Final = 5 * 1024 - 1  # Redis's buffer for one number
FRACTION_DIGITS: Final = 17
_SCALE: Final = 10**FRACTION_DIGITS

LongDouble = tuple[int, int]  # mantissa * 2**exponent; the sign is the mantissa's
ZERO: Final[LongDouble] = (0, 0)

_DECIMAL: Final = re.compile(rb"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:[eE]([+-]?[0-9]+))?\Z")
_HEX: Final = re.compile(rb"([+-]?)0x(?=\.?[0-9a-f])([0-9a-f]*)\.?([0-9a-f]*)(?:p([+-]?[0-9]+))?\Z", re.I)
_INFINITE: Final = re.compile(rb"[+-]?inf(?:inity)?\Z", re.I)
_EXPONENT_DIGITS_MAX: Final = 9  # an exponent of more digits is beyond every range, whatever the mantissa is


def is_infinite(text: bytes) -> bool:
    """A number by C's grammar, but no result can be made with it."""
    return _INFINITE.match(text) is not None


def parse(text: bytes) -> LongDouble | None:
    """What `strtold` reads when it takes the whole text and stays within range; None otherwise."""
    if not 0 < len(text) <= TEXT_MAX:
        return None
    matched = _DECIMAL.match(text)
    if matched:
        return _from_decimal(matched[1], matched[2] or b"0")
    matched = _HEX.match(text)
    if matched:
        sign, whole, fraction, power = matched.groups()
        mantissa = int(sign + whole + fraction, 16)
        return _in_range(mantissa, 1, _clamp(power or b"0") - 4 * len(fraction))
    return None


def add(left: LongDouble, right: LongDouble) -> LongDouble | None:
    """None when the sum is infinite."""
    low = min(left[1], right[1])
    return _round((left[0] << (left[1] - low)) + (right[0] << (right[1] - low)), 1, low)


def compare(left: LongDouble, right: LongDouble) -> int:
    """Negative, zero or positive, as left is below, equal to or above right."""
    low = min(left[1], right[1])
    return (left[0] << (left[1] - low)) - (right[0] << (right[1] - low))


def text_of(value: LongDouble) -> bytes:
    """`%.17Lf` without the zeros at its end, as Redis stores and returns it; never "-0"."""
    mantissa, exponent = value
    if exponent >= 0:
        scaled = abs(mantissa) * _SCALE << exponent
    else:
        scaled = _half_even(abs(mantissa) * _SCALE, 1 << -exponent)
    whole, fraction = divmod(scaled, _SCALE)
    # Decimal, because str() of an int refuses more than 4300 digits.
    text = format(Decimal(whole), "f") + (f".{fraction:017d}".rstrip("0") if fraction else "")
    return (b"-" if mantissa < 0 and scaled else b"") + text.encode()


def _from_decimal(digits: bytes, exponent: bytes) -> LongDouble | None:
    number = Decimal(digits.decode())
    if not number:
        return ZERO  # with any exponent
    power = _clamp(exponent)
    if not -5200 - len(digits) < number.adjusted() + power < 5200:
        return None  # far out of range: spare us the large powers
    top, bottom = number.as_integer_ratio()
    if power >= 0:
        top *= 10**power
    else:
        bottom *= 10**-power
    return _in_range(top, bottom, 0)


def _in_range(top: int, bottom: int, exponent: int) -> LongDouble | None:
    """As `_round`; what is not 0 but becomes 0 is out of range, as strtold reports it."""
    value = _round(top, bottom, exponent)
    return None if value == ZERO and top else value


def _clamp(exponent: bytes) -> int:
    """An exponent as an int of bounded size."""
    digits = exponent.lstrip(b"+-0")
    limit = 10**_EXPONENT_DIGITS_MAX
    size = limit if len(digits) > _EXPONENT_DIGITS_MAX else int(digits or b"0")
    return -size if exponent.startswith(b"-") else size


def _round(top: int, bottom: int, exponent: int) -> LongDouble | None:
    """top / bottom * 2**exponent to the nearest number there is; None when that is infinite."""
    size = abs(top)
    bits = size.bit_length() - bottom.bit_length()  # the quotient has as many before the point, or one more
    if not top or bits + 1 + exponent < EXPONENT_MIN:
        return ZERO
    shift = max(bits - MANTISSA_BITS, EXPONENT_MIN - exponent)
    if bits + exponent > BITS_MAX:
        return None
    mantissa = _scaled(size, bottom, shift)
    if mantissa.bit_length() > MANTISSA_BITS:
        shift += 1
        mantissa = _scaled(size, bottom, shift)
    exponent += shift
    if mantissa.bit_length() + exponent > BITS_MAX:
        return None
    return ((-mantissa if top < 0 else mantissa), exponent) if mantissa else ZERO


def _scaled(top: int, bottom: int, shift: int) -> int:
    return _half_even(top, bottom << shift) if shift >= 0 else _half_even(top << -shift, bottom)


def _half_even(top: int, bottom: int) -> int:
    quotient, rest = divmod(top, bottom)
    twice = 2 * rest
    return quotient + (twice > bottom or (twice == bottom and quotient & 1))
