"""What a primary says behind PSYNC, however its bytes arrive."""

import pytest

from vaylix_resp.interchange.replication_link import (
    Continued,
    Declined,
    Full,
    LinkError,
    Payload,
    PayloadBegin,
    PayloadEnd,
    ReplicationLink,
    Stream,
)

ID = "0123456789abcdef0123456789abcdef01234567"
NEW = "f" * 40
MARK = b"m" * 40
FULL = b"+FULLRESYNC %s 1234\r\n" % ID.encode()

CASES = [
    (FULL + b"\n\n$5\r\nRDB\r\n*1\r\n", [Full(ID, 1234), PayloadBegin(5), Payload(b"RDB\r\n"), PayloadEnd(), Stream(b"*1\r\n")]),
    (FULL + b"$EOF:" + MARK + b"\r\nRDB" + MARK + b"*1\r\n",
     [Full(ID, 1234), PayloadBegin(0), Payload(b"RDB"), PayloadEnd(), Stream(b"*1\r\n")]),
    # A value that ends like the beginning of the mark.
    (FULL + b"$EOF:" + MARK + b"\r\nRDB" + MARK[:39] + b"n" + MARK,
     [Full(ID, 1234), PayloadBegin(0), Payload(b"RDB" + MARK[:39] + b"n"), PayloadEnd()]),
    (b"\n+CONTINUE\r\nabc", [Continued(""), Stream(b"abc")]),
    (b"+CONTINUE " + NEW.encode() + b"\r\n\n\n", [Continued(NEW), Stream(b"\n\n")]),
    (b"-NOMASTERLINK Can't SYNC while not connected with my master\r\n",
     [Declined("NOMASTERLINK Can't SYNC while not connected with my master")]),
    (FULL + b"-ERR no child\r\n", [Full(ID, 1234), Declined("ERR no child")]),
]  # fmt: skip


def joined(parts):
    """Neighbours of one kind are one."""
    out = []
    for part in parts:
        if isinstance(part, Payload | Stream) and out and type(out[-1]) is type(part):
            part = type(part)(out.pop().data + part.data)
        out.append(part)
    return out


@pytest.mark.parametrize("wire, parts", CASES)
def test_it_does_not_matter_how_the_bytes_arrive(wire, parts):
    for step in (len(wire), 1, 2, 7, 39, 40, 41):
        link = ReplicationLink()
        assert joined(part for at in range(0, len(wire), step) for part in link.feed(wire[at : at + step])) == parts, step


@pytest.mark.parametrize(
    "wire, said",
    [
        (b"+OK\r\n", "answered PSYNC with '+OK'"),
        (b"+FULLRESYNC abc 1\r\n", "answered PSYNC with"),
        (b"x" * 5000, "where a line was expected"),
        (FULL + b"$12x\r\n", "announced its file with"),
        (FULL + b"$EOF:short\r\n", "announced its file with"),
    ],
)
def test_what_no_primary_says_is_refused(wire, said):
    with pytest.raises(LinkError, match=said.replace("+", r"\+")):
        list(ReplicationLink().feed(wire))


def test_an_empty_file_ends_at_once():
    assert list(ReplicationLink().feed(FULL + b"$0\r\n*")) == [Full(ID, 1234), PayloadBegin(0), PayloadEnd(), Stream(b"*")]
