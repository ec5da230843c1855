"""Commands of append only files and streams, however their bytes arrive."""

import pytest
from hiredis import pack_command

from vaylix_resp.interchange import command_stream
from vaylix_resp.interchange.command_stream import Command, CommandReader, StreamError

CASES = [
    (b"*1\r\n$4\r\nPING\r\n", [((b"PING",), 14)]),
    (b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*2\r\n$3\r\nDEL\r\n$0\r\n\r\n", [((b"SELECT", b"0"), 23), ((b"DEL", b""), 42)]),
    (b"*2\r\n$3\r\nDEL\r\n$6\r\n\r\n*1\r\n\r\n", [((b"DEL", b"\r\n*1\r\n"), 25)]),
    (b"#TS:1700000000\r\n*1\r\n$4\r\nEXEC\r\n", [((b"EXEC",), 30)]),
    (b"", []),
]


def read_all(*pieces, start=0):
    reader = CommandReader("f", start, notes=True)
    return [command for piece in pieces for command in reader.feed(piece)], reader


@pytest.mark.parametrize("wire, commands", CASES)
def test_it_does_not_matter_how_the_bytes_arrive(wire, commands):
    expected = [Command(*command) for command in commands]
    assert read_all(wire)[0] == expected
    assert read_all(*(wire[at : at + 1] for at in range(len(wire))))[0] == expected
    later, reader = read_all(wire, start=1000)
    assert later == [Command(words, end + 1000) for words, end in expected]
    assert reader.end == 1000 + len(wire) and reader.unfinished == 0


def test_every_cut_leaves_what_was_whole():
    wire = pack_command((b"SET", b"k", b"v")) + pack_command((b"INCR", b"n"))
    whole = len(pack_command((b"SET", b"k", b"v")))
    for cut in range(len(wire)):
        commands, reader = read_all(wire[:cut])
        assert len(commands) == (cut >= whole)
        assert (reader.end, reader.unfinished) == ((whole, cut - whole) if cut >= whole else (0, cut))
        assert len(commands + reader.feed(wire[cut:])) == 2


@pytest.mark.parametrize(
    "wire, offset, expected",
    [
        (b"+OK\r\n", 0, "'*' of a command, found 0x2b"),
        (b"*1\r\n$1\r\na\r\nx", 11, "'*' of a command"),
        (b"*0\r\n", 0, "at least one word"),
        (b"*-1\r\n", 0, "a number of words"),
        (b"*" + b"1" * 40, 0, "a number of words"),
        (b"*1\r\n:1\r\n", 4, "'$' of a word"),
        (b"*1\r\n$01\r\na\r\n", 4, "a word of at most"),
        (b"*1\r\n$999999999\r\n", 4, "a word of at most 536870912 bytes"),
        (b"*1\r\n$1\r\nab\r\n", 9, "the end of a word"),
        (b"#" + b"x" * 5000, 0, "the end of a note"),
    ],
)
def test_what_is_no_command_is_refused_with_its_place(wire, offset, expected):
    for pieces in ((wire,), [wire[at : at + 1] for at in range(len(wire))]):
        with pytest.raises(StreamError) as caught:
            read_all(*pieces, start=7)
        assert caught.value.offset == offset + 7 and expected in str(caught.value)


def test_a_stream_has_no_notes():
    with pytest.raises(StreamError, match="found 0x23"):
        CommandReader("the stream").feed(b"#TS:1\r\n")


def test_a_command_is_bounded_as_a_whole(monkeypatch):
    monkeypatch.setattr(command_stream, "COMMAND_BYTES_MAX", 10)
    with pytest.raises(StreamError, match="a command of at most 10 bytes"):
        CommandReader("f").feed(b"*2\r\n$6\r\nAPPEND\r\n$5\r\n")


def test_a_large_word_that_comes_in_small_pieces_is_looked_at_once():
    reader = CommandReader("f")
    wire = pack_command((b"SET", b"k", b"v" * 1_000_000))
    found = [command for at in range(0, len(wire), 1000) for command in reader.feed(wire[at : at + 1000])]
    assert found == [Command((b"SET", b"k", b"v" * 1_000_000), len(wire))]
