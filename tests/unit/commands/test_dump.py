"""DUMP and RESTORE beside payloads that redis-server 7.0.15 wrote."""

import anycrc
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from vaylix_resp.errors import SYNTAX, CommandError
from vaylix_resp.interchange.dump_payload import deserialize, serialize
from vaylix_resp.interchange.rdb_strings import COMPRESS_BYTES_MAX
from vaylix_resp.limits import VALUE_BYTES_MAX
from vaylix_resp.resp.reply import OK

MAX = 9223372036854775807
BAD_PAYLOAD = "ERR DUMP payload version or checksum are wrong"
BAD_FORMAT = "ERR Bad data format"
BUSY = "BUSYKEY Target key name already exists."

FROM_REDIS = [  # value, what DUMP gave
    (b"", b"\x00\x00\n\x00]\x9b\\@\x0f\x7f\xa2\xda"),
    (b"a", b"\x00\x01a\n\x00\xbf\xfe\xef\x9b\x8f6}\xb4"),
    (b"0", b"\x00\xc0\x00\n\x00\x98@\xa7x\xf8P\x03\x08"),
    (b"-1", b"\x00\xc0\xff\n\x00\x0c\x93~$\x85\x08\x9d\xc5"),
    (b"127", b"\x00\xc0\x7f\n\x00\r\xb5\xeb1RT\xc5\x14"),
    (b"-128", b"\x00\xc0\x80\n\x00\x99f2m/\x0c[\xd9"),
    (b"128", b"\x00\xc1\x80\x00\n\x00\xebz\xb3\xb5\x10\xcfKe"),
    (b"-129", b"\x00\xc1\x7f\xff\n\x00\x17`\x82(T\x80\x84\x80"),
    (b"32767", b"\x00\xc1\xff\x7f\n\x00IZ7\xda\x17\xf4\xd5+"),
    (b"32768", b"\x00\xc2\x00\x80\x00\x00\n\x00E\xd8.\xed\xd5\xbd\xa9\x10"),
    (b"2147483647", b"\x00\xc2\xff\xff\xff\x7f\n\x00,t\xe5\x9e\xe0.\xad\xa1"),
    (b"-2147483648", b"\x00\xc2\x00\x00\x00\x80\n\x00\xc7O\x87>3U\x81\x87"),
    (b"2147483648", b"\x00\n2147483648\n\x00\xe7\xb1)\xa3L\x1dv\xee"),
    (b"-2147483649", b"\x00\x0b-2147483649\n\x00\xc2a7y\x08\xf2\x02\x8c"),
    (b"007", b"\x00\x03007\n\x00rX\xe2{Li\xba\xd9"),
    (b"-0", b"\x00\x02-0\n\x00\xd5A\x1f\xd9\xd6\xd0P\xcc"),
    (b"9223372036854775807", b'\x00\x139223372036854775807\n\x00:e~\x94\x81\xe8_"'),
    (b"x" * 20, b"\x00\x14xxxxxxxxxxxxxxxxxxxx\n\x00[<\x81\xec\xa5\x8c\xc5k"),
    (b"x" * 21, b"\x00\xc3\x06\x15\x01xx\xe0\n\x00\n\x00\x94\x1a\x83g`\x17\x19/"),
    (b"abc" * 21, b'\x00\xc3\x0b?\x03abca\xe00\x02\x01bc\n\x00\x02"w\xe4\xa5FJ:'),
]
A_LIST = b"\x12\x01\x02\r\r\x00\x00\x00\x02\x00\x81a\x02\x81b\x02\xff\n\x00h\xeb\n\x89\x13A\xbb\xb1"


def sealed(body, version=10):
    """A payload with a right checksum around any bytes."""
    body = body + version.to_bytes(2, "little")
    return body + anycrc.Model("CRC64-REDIS").calc(body).to_bytes(8, "little")


@pytest.mark.parametrize("value, payload", FROM_REDIS, ids=lambda x: None)
def test_the_bytes_are_redis_s(box, value, payload):
    box("SET", "k", value)
    assert box("DUMP", "k") == payload
    assert box("RESTORE", "other", "0", payload) == OK
    assert box("GET", "other") == value


@settings(max_examples=500)
@given(
    value=st.binary(max_size=300)
    | st.integers(-(1 << 66), 1 << 66).map(lambda n: b"%d" % n)
    | st.tuples(st.binary(min_size=1, max_size=9), st.integers(0, 3000)).map(lambda t: t[0] * t[1])
)
def test_round_trip(value):
    assert deserialize(serialize(value)) == value


@pytest.mark.parametrize("size", [63, 64, 16383, 16384, 70_000])
def test_round_trip_at_the_lengths_encodings_change(size):
    plain = bytes(range(256)) * (size // 256 + 1)
    for value in (b"y" * size, plain[:size]):
        assert deserialize(serialize(value)) == value


def test_a_very_long_value_is_not_compressed():
    value = b"y" * (COMPRESS_BYTES_MAX + 1)
    payload = serialize(value)
    assert len(payload) > len(value)
    assert deserialize(payload) == value


@pytest.mark.parametrize(
    "payload, error",
    [
        (b"", BAD_PAYLOAD),
        (b"junk", BAD_PAYLOAD),
        (b"\0" * 10, BAD_FORMAT),  # the checksum of two zeros is zero
        (sealed(b"\x00\x01a")[:-1], BAD_PAYLOAD),
        (sealed(b"\x00\x01a", version=13), BAD_PAYLOAD),  # of Redis 8.6
        (sealed(b"\x00\x01a", version=79), BAD_PAYLOAD),
        (sealed(b"\x00\x01a", version=81), BAD_PAYLOAD),
        (sealed(b""), BAD_FORMAT),
        (sealed(b"\x00"), BAD_FORMAT),
        (A_LIST, BAD_FORMAT + ": this is a list, and this server keeps strings"),
        (sealed(b"\x07\x00"), BAD_FORMAT + ": this is a module, and this server keeps strings"),
        (sealed(b"\x08\x00"), BAD_FORMAT),  # no type
        (sealed(b"\xfa\x01a"), BAD_FORMAT),
        (sealed(b"\x00\x02a"), BAD_FORMAT),
        (sealed(b"\x00\x01ab"), BAD_FORMAT),
        (sealed(b"\x00\x40"), BAD_FORMAT),
        (sealed(b"\x00\x80\x00\x00\x00"), BAD_FORMAT),
        (sealed(b"\x00\x81" + b"\xff" * 8), BAD_FORMAT),
        (sealed(b"\x00\x82\x00"), BAD_FORMAT),
        (sealed(b"\x00\xc4\x00"), BAD_FORMAT),
        (sealed(b"\x00\xc0"), BAD_FORMAT),
        (sealed(b"\x00\xc2\x00\x00\x00"), BAD_FORMAT),
        (sealed(b"\x00\xc3\x02\x05\x00"), BAD_FORMAT),  # LZF: data too short
        (sealed(b"\x00\xc3\x02\x05\x00a"), BAD_FORMAT),  # gives one byte and not five
        (sealed(b"\x00\xc3\x06\x03\x05abcdef"[:11]), BAD_FORMAT),  # gives more than it says
        (sealed(b"\x00\xc3\x02\x05\x20\x05"), BAD_FORMAT),  # refers to before the start
        (sealed(b"\x00\xc3\x00\x00"), BAD_FORMAT),
        (sealed(b"\x00\xc3\xc0\x01\x00a"), BAD_FORMAT),  # a length that is an integer
    ],
)
def test_bad_payloads(box, payload, error):
    assert box("RESTORE", "k", "0", payload) == error
    assert box("EXISTS", "k") == 0


@pytest.mark.parametrize("version", [0, 6, 9, 10, 11, 12, 80])
def test_versions_that_are_read(version):
    assert deserialize(sealed(b"\x00\x01a", version)) == b"a"


def test_other_encodings_of_a_length_are_read():
    for head in (b"\x03", b"\x40\x03", b"\x80\x00\x00\x00\x03", b"\x81" + bytes(7) + b"\x03"):
        assert deserialize(sealed(b"\x00" + head + b"abc")) == b"abc"


def test_a_bomb_is_refused_before_it_takes_memory():
    size = (VALUE_BYTES_MAX + 1).to_bytes(4, "big")
    with pytest.raises(CommandError, match="string exceeds maximum allowed size"):
        deserialize(sealed(b"\x00\xc3\x03\x80" + size + b"\x01aa"))


@settings(max_examples=300)
@given(body=st.binary(max_size=40))
def test_no_bytes_do_harm(body):
    try:
        assert isinstance(deserialize(sealed(b"\x00" + body)), bytes)
    except CommandError as refused:
        assert refused.text in (BAD_FORMAT, "ERR string exceeds maximum allowed size (proto-max-bulk-len)")


@settings(max_examples=200)
@given(data=st.data(), value=st.binary(max_size=60))
def test_any_changed_bit_is_noticed(data, value):
    payload = bytearray(serialize(value))
    bit = data.draw(st.integers(0, 8 * len(payload) - 1))
    payload[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CommandError) as refused:
        deserialize(bytes(payload))
    assert refused.value.text == BAD_PAYLOAD


GOOD = serialize(b"value")


@pytest.mark.parametrize(
    "words, reply, pttl",
    [
        (("0", GOOD), OK, -1),
        (("5000", GOOD), OK, 5000),
        (("1700000005000", GOOD, "ABSTTL"), OK, 5000),
        (("1699999999999", GOOD, "absttl"), OK, -2),
        (("1700000000000", GOOD, "ABSTTL"), OK, -2),
        (("0", GOOD, "ABSTTL"), OK, -1),
        (("0", GOOD, "REPLACE", "REPLACE"), OK, -1),
        (("0", GOOD, "IDLETIME", "5"), OK, -1),
        (("0", GOOD, "FREQ", "255"), OK, -1),
        ((str(MAX), GOOD, "ABSTTL"), OK, MAX - 1_700_000_000_000),
        ((str(MAX), GOOD), "ERR invalid expire time in 'restore' command", -2),
        (("-1", GOOD), "ERR Invalid TTL value, must be >= 0", -2),
        (("abc", b"junk"), "ERR value is not an integer or out of range", -2),
        (("abc", b"junk", "FOO"), SYNTAX, -2),
        (("0", GOOD, "IDLETIME"), SYNTAX, -2),
        (("0", GOOD, "FREQ"), SYNTAX, -2),
        (("0", GOOD, "IDLETIME", "-1"), "ERR Invalid IDLETIME value, must be >= 0", -2),
        (("0", GOOD, "IDLETIME", "x"), "ERR value is not an integer or out of range", -2),
        (("0", GOOD, "FREQ", "256"), "ERR Invalid FREQ value, must be >= 0 and <= 255", -2),
        (("0", GOOD, "FREQ", "1", "IDLETIME", "1"), SYNTAX, -2),
        (("0", GOOD, "IDLETIME", "1", "FREQ", "1"), SYNTAX, -2),
    ],
)
def test_restore(box, words, reply, pttl):
    assert box("RESTORE", "k", *words) == reply
    assert box("PTTL", "k") == pttl


@pytest.mark.parametrize(
    "words, reply, value",
    [
        (("0", GOOD), BUSY, b"old"),
        (("abc", b"junk"), BUSY, b"old"),
        (("0", GOOD, "FOO"), SYNTAX, b"old"),
        (("0", GOOD, "REPLACE"), OK, b"value"),
        (("abc", b"junk", "REPLACE"), "ERR value is not an integer or out of range", b"old"),
        (("0", b"junk", "REPLACE"), BAD_PAYLOAD, b"old"),
        (("1", GOOD, "REPLACE", "ABSTTL"), OK, None),
    ],
)
def test_restore_over_a_key(box, words, reply, value):
    box("EXSET", "k", "old", "EX", "100", "FLAGS", "7")
    version = box("OBJECT", "VERSION", "k")
    assert box("RESTORE", "k", *words) == reply
    assert box("GET", "k") == value
    if value == b"value":
        assert box("PTTL", "k") == -1 and box.db().flags(b"k") == 0
        assert box("OBJECT", "VERSION", "k") > version


@pytest.mark.parametrize(
    "words, events",
    [
        (("new", "0", GOOD), ["n new new", "g restore new"]),
        (("new", "100", GOOD), ["n new new", "g restore new"]),
        (("old", "0", GOOD, "REPLACE"), ["n new old", "g restore old"]),
        (("old", "1", GOOD, "REPLACE", "ABSTTL"), ["g del old"]),
        (("new", "1", GOOD, "REPLACE", "ABSTTL"), []),
        (("old", "0", GOOD), []),
    ],
)
def test_events(box, words, events):
    box("SET", "old", "1")
    box.listen()
    box("RESTORE", *words)
    assert box.events == events


def test_dump_of_no_key(box):
    assert box("DUMP", "none") is None
    box("SET", "gone", "1", "PX", "1")
    box.now += 1
    assert box("DUMP", "gone") is None
