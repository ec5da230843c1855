"""Bytes that no well-behaved client sends: inline requests, broken frames, lengths out of bounds.

Each ends in a frame that the server refuses and closes upon, or in QUIT, so that everything it says can
be read to the end. Only frames whose refusal does not hang on how the bytes are cut into packets.
"""

from __future__ import annotations

import random

QUIT = b"*1\r\n$4\r\nQUIT\r\n"
HARMLESS = (
    b"PING\r\n", b"PING\n", b"\r\n", b"\n", b"   \r\n", b"ping  hello\r\n", b'ECHO "a b\\x41\\n"\r\n',
    b"ECHO 'a b'\r\n",
    b"ECHO 'it\\'s'\r\n", b"*0\r\n", b"*-1\r\n", b"*-10\r\n", b"GET\r\n", b"NOSUCH a b\r\n", b"EXISTS raw\r\n",
    b'SET raw "x y"\r\n', b"GET raw\r\n", b"DEL raw\r\n", b"*1\r\n$4\r\nPING\r\n", b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
    b"*2\r\n$4\r\nECHO\r\n$2\r\n\r\n\r\n", b'ECHO ""\r\n', b"*1\r\n$0\r\n\r\n", b"+PING\r\n", b":1\r\n",
)  # fmt: skip
FATAL = (
    b"*abc\r\n", b"*1\r\nPING\r\n", b"*1\r\n$abc\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$-5\r\n", b"*1\r\n:4\r\n",
    b"*99999999999999999999\r\n", b"*2147483648\r\n", b"*1\r\n$99999999999\r\n", b"*1\r\n$536870913\r\n",
    b'ECHO "unbalanced\r\n', b"ECHO 'unbalanced\r\n", b'ECHO "a"b\r\n', b"*\r\n", b"*1\r\n$\r\n", b"*1 \r\n",
    b"*1\r\n$ 4\r\n", b"*1\r\n*1\r\n", b"*1\r\n\r\n",
)  # fmt: skip


def random_raw(rng: random.Random) -> bytes:
    """Some harmless frames, then one that ends the connection."""
    parts = [rng.choice(HARMLESS) for _ in range(rng.randint(0, 5))]
    return b"".join(parts) + (rng.choice(FATAL) if rng.random() < 0.6 else QUIT)
