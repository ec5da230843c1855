"""A seeded stream of steps: the same seed and the same payloads give the same stream.

What must not happen in it: a request whose reply hangs on time, on the machine or on chance (such ones
are steps of their own, or a rule in rules.py looks only at what is fixed), and a reply whose number of
frames is not known before. Hence the list of requests that are never mutated: a lost word could turn them
into a subscription, into tracking or into a pause.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from compat.listening import random_listening
from compat.material import ODD_NUMBERS, PATTERNS, Material
from compat.raw_bytes import random_raw
from compat.requests_connection import CONNECTION
from compat.requests_keys import KEYS_REQUESTS, RARE
from compat.requests_strings import STRINGS, Builder, Words
from compat.rules import BY_COMMAND, command_name
from compat.steps import (
    HELPER,
    LISTENER,
    WRITERS,
    Argv,
    DumpRestore,
    Notifications,
    Pause,
    RandomKey,
    Raw,
    Reconnect,
    Request,
    ScanAll,
    Step,
    Tracking,
)

MUTATE_SHARE = 0.06
RARE_SHARE = 0.003
SPECIAL_SHARE = 0.012  # steps with a sequence of their own
SHORT_TTL_MS, SHORT_PAUSE_MS = 5, 25
RUN_LENGTH_MAX = 40  # requests on one connection before the other gets a turn
STATE_VERBS = {b"MULTI": True, b"EXEC": False, b"DISCARD": False, b"RESET": False}


class Generator:
    """Knows which connection is inside MULTI, so that transactions end and steps with a sequence stay outside."""

    def __init__(self, seed: int, payloads: tuple[bytes, ...], protocol: int) -> None:
        self.rng = random.Random(f"{seed}/{protocol}")
        self.material = Material(self.rng, payloads)
        self.protocol = protocol
        self.connection = WRITERS[0]
        self.in_multi = dict.fromkeys(WRITERS, False)
        self.mutable = weighted(STRINGS + KEYS_REQUESTS)
        self.fixed = weighted(CONNECTION)
        self.rare = weighted(RARE)
        self.short_keys = itertools.count()

    def steps(self, count: int) -> Iterator[Step]:
        """At least `count` steps; a transaction under way is closed at the end."""
        made = 0
        while made < count:
            self.connection = self.rng.choice(WRITERS)
            for _ in range(self.rng.randint(1, RUN_LENGTH_MAX)):
                for step in self.next_steps():
                    made += 1
                    yield step
        for connection in WRITERS:
            if self.in_multi[connection]:
                yield self.note(Request(connection, (b"EXEC",)))

    def forget_connections(self) -> None:
        """The runner opened new connections: nobody is inside MULTI any more."""
        self.in_multi = dict.fromkeys(WRITERS, False)

    def next_steps(self) -> list[Step]:
        chance = self.rng.random()
        if chance < SPECIAL_SHARE:
            return self.special()
        if self.in_multi[self.connection] and chance < 0.12:
            verb = b"EXEC" if self.material.chance(0.85) else b"DISCARD"
            return [self.note(Request(self.connection, (verb,)))]
        argv = self.request()
        if self.in_multi[self.connection] and newer_than_peer(argv):
            argv = (b"PING",)  # the peer would abort the whole transaction
        return [self.note(Request(self.connection, argv))]

    def request(self) -> Argv:
        kind = self.rng.random()
        if kind < RARE_SHARE:
            words = self.choose(self.rare)
        elif kind < 0.78:
            words = self.choose(self.mutable)
            if self.material.chance(MUTATE_SHARE):
                words = self.mutate(words)
        else:
            words = self.choose(self.fixed)
        if self.material.chance(0.1):
            words = [words[0].lower(), *words[1:]]
        return tuple(words)

    def choose(self, builders: tuple[list[Builder], list[int]]) -> Words:
        return list(self.rng.choices(builders[0], cum_weights=builders[1])[0](self.material))

    def mutate(self, words: Words) -> Words:
        """Lose, double, add, swap or replace one word after the name."""
        place = self.rng.randint(1, len(words)) if len(words) > 1 else 1
        kind = self.rng.randrange(5)
        if kind == 0:
            return words[:place] + words[place + 1 :]
        if kind == 1:
            return [*words[:place], *words[place : place + 1], *words[place:]]
        if kind == 2:
            return [*words[:place], self.material.pick((b"x", b"EX", b"GET", b"")), *words[place:]]
        if kind == 3 and place + 1 < len(words) and words[0] not in (b"SETEX", b"PSETEX"):  # 7 is a value, but no time
            words[place], words[place + 1] = words[place + 1], words[place]
            return words
        odd = b"abc" if words[0] == b"RESTORE" else self.material.pick(ODD_NUMBERS)  # differences.py: restore-overflow
        return [*words[:place], odd, *words[place + 1 :]]

    def note(self, request: Request) -> Request:
        """Keep track of MULTI as far as the words tell; an error reply only means one EXEC too many."""
        verb = request.argv[0].upper()
        if verb in STATE_VERBS and len(request.argv) == 1:
            self.in_multi[request.connection] = STATE_VERBS[verb]
        return request

    def special(self) -> list[Step]:
        m = self.material
        kind = self.rng.randrange(10 if self.protocol == 3 else 9)
        if kind == 0:
            return self.short_time_to_live()
        if kind == 1:
            match = [b"MATCH", m.pick(PATTERNS)]
            return [ScanAll(tuple(m.some([b"COUNT", b"%d" % self.rng.randint(1, 9)], match, share=0.6)))]
        if kind == 2:
            return [RandomKey()]
        if kind == 3:
            options = m.some([b"REPLACE"], share=0.7)
            return [DumpRestore(m.key(), m.key(), tuple(options))]
        if kind == 4:
            return [Raw(random_raw(self.rng))]
        if kind == 5:
            return [self.notifications()]
        if kind == 6:
            return [random_listening(self.rng, m, self.protocol)]
        if kind == 7:
            self.in_multi[self.connection] = False
            return [Reconnect(self.connection)]
        if kind == 8:
            return self.reset()
        return [self.tracking()]

    def short_time_to_live(self) -> list[Step]:
        """Set keys that live for milliseconds, wait, look at them in every way, on the helper connection."""
        keys = [b"short%d" % next(self.short_keys) for _ in range(4)]
        time = b"%d" % SHORT_TTL_MS
        setters: list[Argv] = [
            (b"SET", keys[0], b"v", b"PX", time), (b"PSETEX", keys[1], time, b"v"),
            (b"SET", keys[2], b"v"), (b"PEXPIRE", keys[2], time), (b"SET", keys[3], b"v"),
            (b"GETEX", keys[3], b"PX", time),
        ]  # fmt: skip
        looks: list[Argv] = [
            (b"GET", keys[0]), (b"EXISTS", *keys), (b"TTL", keys[1]), (b"SET", keys[1], b"new", b"NX"),
            (b"APPEND", keys[2], b"x"), (b"INCR", keys[3]), (b"TTL", keys[3]), (b"KEYS", b"short*"),
            (b"DEL", *keys), (b"DEL", *keys),
        ]  # fmt: skip
        steps: list[Step] = [Request(HELPER, argv) for argv in setters]
        steps.append(Pause(SHORT_PAUSE_MS))
        steps += [Request(HELPER, argv) for argv in looks]
        return steps

    def notifications(self) -> Notifications:
        count = self.rng.randint(1, 6)
        requests = [tuple(self.choose(self.mutable)) for _ in range(count)]
        return Notifications(tuple(argv for argv in requests if argv[0] != b"SELECT"))

    def tracking(self) -> Tracking:
        """Reads of the listener under one of the modes, then writes of the helper and of the listener itself."""
        m = self.material
        modes: tuple[Words, ...] = ([], [b"NOLOOP"], [b"BCAST"], [b"BCAST", b"PREFIX", b"k1"], [b"OPTIN"], [b"OPTOUT"])
        mode = self.rng.choice(modes)
        reads: list[Argv] = []
        for _ in range(self.rng.randint(1, 5)):
            if mode in ([b"OPTIN"], [b"OPTOUT"]) and m.chance(0.5):
                reads.append((b"CLIENT", b"CACHING", b"YES" if mode == [b"OPTIN"] else b"NO"))
            reads.append(self.rng.choice(((b"GET", m.key()), (b"MGET", m.key(), m.key()), (b"STRLEN", m.key()))))
        writes = []
        for _ in range(self.rng.randint(1, 5)):
            argv = self.rng.choice(
                (
                    (b"SET", m.key(), m.value()), (b"DEL", m.key(), m.key()), (b"RENAME", m.key(), m.key()),
                    (b"APPEND", m.key(), b"x"), (b"EXPIRE", m.key(), m.seconds()),
                    (b"MSET", m.key(), b"1", m.key(), b"2"),
                )
            )  # fmt: skip
            writes.append(Request(LISTENER if m.chance(0.3) else HELPER, argv))
        if m.chance(0.1):
            writes.append(Request(HELPER, (b"FLUSHDB",)))
        return Tracking(tuple(mode), tuple(reads), tuple(writes))

    def reset(self) -> list[Step]:
        steps: list[Step] = [self.note(Request(self.connection, (b"RESET",)))]
        if self.protocol == 3:
            steps.append(Request(self.connection, (b"HELLO", b"3")))
        return steps


def newer_than_peer(argv: Argv) -> bool:
    return any(rule.difference == "new-in-7.2" for rule in BY_COMMAND.get(command_name(argv), ()))


def weighted(builders: tuple[tuple[int, Builder], ...]) -> tuple[list[Builder], list[int]]:
    """Builders and their cumulated weights, as random.choices wants them."""
    return [builder for _, builder in builders], list(itertools.accumulate(weight for weight, _ in builders))
