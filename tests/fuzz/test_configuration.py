"""Configuration files, options and environments of any kind: settings come out, or one line that says where and what.

The corpus has whole files: ours, one in the manner of redis.conf, one with quotes and includes. Settings that were taken
can be written back, and mean the same when they are read again. In CI a thousand inputs;
`python -m tests.fuzz configuration --seconds 600` for longer.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from tests.fuzz.mutation import corpus, mutated
from vaylix_resp.config import ConfigError, Settings, load
from vaylix_resp.directives import DIRECTIVES

FILES = {"vaylix.conf": (Path(__file__).parents[2] / "conf/vaylix.conf").read_bytes(), **corpus("configuration")}
LINES = [line for raw in FILES.values() for line in raw.splitlines() if line and not line.startswith(b"#")]
TOKENS = [
    b"\n", b'"', b"'", b"\\", b"#", b" ", b"\0", b"-1", b"0", b"18446744073709551616", b"1gb", b"yes", b"no", b"%", b"1e9",
    b"\xff", b"\\x00", b"include other.conf\n", b"include *.conf\n", b"save ", b"user a on >b ~* +@all\n", b"::1", b"1k",
    *(f"{name} ".encode() for name in DIRECTIVES),
]  # fmt: skip
MADE_OF_LINES = 12
SECRET = "cluster-secret"  # the one on which other settings depend


def text_of(rng: Random) -> bytes:
    if rng.random() < 0.1:
        return mutated(rng, rng.choice(list(FILES.values())), TOKENS)
    return mutated(rng, b"\n".join(rng.choices(LINES, k=rng.randrange(1, MADE_OF_LINES))) + b"\n", TOKENS)


def settings_of(text: bytes, options: list[str], environ: dict[str, str]) -> Settings | None:
    def read_text(path: str) -> str:
        if path != "a.conf":
            raise FileNotFoundError(2, "No such file or directory", path)
        return text.decode("utf-8", "surrogateescape")

    try:
        return load("a.conf", options, environ, read_text)
    except ConfigError as refused:
        said = str(refused)
        assert said and "\n" not in said and len(said) < 2000, said
        return None


def check(rng: Random) -> None:
    text, options, environ = text_of(rng), [], {}
    if rng.random() < 0.3:
        words = rng.choice(LINES).decode("utf-8", "surrogateescape").split()
        options = [f"--{words[0]}", *words[1:]]
        options[rng.randrange(len(options))] += rng.choice(TOKENS).decode("utf-8", "surrogateescape")
    if rng.random() < 0.3:
        name = rng.choice(sorted(DIRECTIVES)).upper().replace("-", "_")
        environ = {f"VAYLIX_{name}": mutated(rng, b"yes", TOKENS).decode("utf-8", "surrogateescape")}
    found = settings_of(text, options, environ)
    if found is None:
        return
    # Of a secret that came from elsewhere nothing is written back.
    secret = {f"VAYLIX_{SECRET.upper().replace('-', '_')}": found.rendered(SECRET)} if found.rendered(SECRET) else {}
    again = settings_of(found.rewrite(lambda path: "").encode("utf-8", "surrogateescape"), [], secret)
    assert again is not None, "what was taken is refused when it is read again"
    for name, directive in DIRECTIVES.items():
        assert directive.spec.secret or again.value(name) == found.value(name), name


def test_the_corpus_is_taken() -> None:
    assert all(settings_of(raw, [], {}) is not None for raw in FILES.values())


def test_mutated_configurations() -> None:
    for seed in range(1000):
        check(Random(seed))
