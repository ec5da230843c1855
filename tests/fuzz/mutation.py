"""What all fuzz targets do to their inputs, and where their seed inputs lie.

A corpus is a folder `corpus/<target>/` of files, each a valid input or one that once found a mistake; a file added there
is used by the next run. Everything is drawn from the generator handed in, so each input can be had again by its seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

CORPUS = Path(__file__).parent / "corpus"
TIMES = (1, 1, 2, 5)


def corpus(target: str) -> dict[str, bytes]:
    """The seed inputs of a target by their file names, in order."""
    found = {path.name: path.read_bytes() for path in sorted((CORPUS / target).iterdir())}
    assert found, f"no corpus for {target}"
    return found


def mutated(rng: Random, raw: bytes, tokens: Sequence[bytes], times: Sequence[int] = TIMES) -> bytes:
    """A few bytes taken out, changed, repeated, put in or overwritten; now and then the rest is cut off."""
    data = bytearray(raw)
    for _ in range(rng.choice(times)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(12):
            case 0 | 1:
                del data[at : at + rng.randrange(1, 40)]
            case 2 | 3:
                data[at:at] = rng.choice(tokens)
            case 4 | 5:
                data[at : at + 1] = rng.randbytes(1)
            case 6 | 7:
                data[at:at] = data[at : at + rng.randrange(1, 200)]
            case 8 | 9:
                token = rng.choice(tokens)
                data[at : at + len(token)] = token
            case 10 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case _:
                del data[at:]
    return bytes(data)
