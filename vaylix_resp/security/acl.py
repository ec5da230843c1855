"""Rules of access as Redis 7.2 has them (databases and roles as Valkey 9): what a rule means, and how it is described.

Pure: no clock, no log-in, no state of its own. Texts of errors and descriptions are Redis's, because clients and
operators compare them (ACL SETUSER, GETUSER, LIST).
Promise: what `describe` prints makes an equal selector when it is read again, here and in a later version.
Units: databases by number; a set of commands is an integer with one bit for each.
Not here: may this request run (`access`), passwords (`passwords`), where users are kept (`state.accounts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from ..glob import PATTERN_BYTES_MAX, matcher

READ: Final = 1
WRITE: Final = 2
BOTH: Final = READ | WRITE
DATABASE_MAX: Final = 2**31 - 1

UNKNOWN: Final = "Unknown command or category name in ACL"
SYNTAX: Final = "Syntax error"
EXPIRE: Final = b"expireat"  # of a user; the one rule of two words: `expireat <unix seconds>`
KEYS_AFTER_ALL: Final = (
    "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. "
    "Try 'resetkeys' to start with an empty list of patterns"
)
CHANNELS_AFTER_ALL: Final = (
    "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. "
    "Try 'resetchannels' to start with an empty list of channels"
)
FIRST_ARG_OF_SUB: Final = "Allowing first-arg of a subcommand is not supported"
PATTERN_TOO_LONG: Final = f"The pattern is longer than {PATTERN_BYTES_MAX} bytes"
DATABASE_RANGE: Final = "The provided database ID is out of range"


class RuleError(ValueError):
    """A rule that cannot be applied; str() is Redis's explanation."""


class CommandBits(NamedTuple):
    """A command or subcommand as rules see it."""

    bit: int  # a mask with one bit
    mask: int  # the same with the bits of its subcommands
    container: bool  # has subcommands
    sub: bool  # is one


class Commands(Protocol):
    """What rules may name: made once from the command table."""

    @property
    def everything(self) -> int:
        """The mask of all commands and subcommands."""

    def command(self, name: str) -> CommandBits | None:
        """By full name in lower case, a subcommand as `client|kill`."""

    def category(self, name: str) -> int | None:
        """The mask of a category without its @."""


class Pattern(NamedTuple):
    """A glob pattern, compiled when the rule is given: a check must not depend on a cache of patterns."""

    text: bytes
    rights: int
    fits: Callable[[bytes], object]

    @classmethod
    def of(cls, text: bytes, rights: int = BOTH) -> Pattern:
        """RuleError if it cannot stand in a rule."""
        if has_spaces(text):
            raise RuleError(SYNTAX)
        if len(text) > PATTERN_BYTES_MAX:
            raise RuleError(PATTERN_TOO_LONG)
        return cls(text, rights, matcher(text))


class Selector:
    """One set of permissions: commands, keys, channels, databases. A user may do what any one selector allows."""

    __slots__ = (
        "all_channels", "all_databases", "all_keys", "channels", "commands", "databases", "first_args", "keys",
        "open_ended", "rules",
    )  # fmt: skip

    def __init__(self) -> None:
        self.commands = 0  # mask of what is allowed
        self.open_ended = False  # began with +@all: commands that do not exist yet are allowed
        # Dictionaries, in the order of what was said: ten thousand rules must not be compared with each other.
        self.rules: dict[str, str] = {}  # what has been said of commands since, and its sign
        self.first_args: dict[int, dict[bytes, None]] = {}  # bit -> the only first arguments with which it is allowed
        self.keys: dict[bytes, Pattern] = {}
        self.all_keys = False
        self.channels: dict[bytes, Pattern] = {}
        self.all_channels = False
        self.databases: frozenset[int] = frozenset()
        self.all_databases = True

    def copy(self) -> Selector:
        twin = Selector()
        for name in self.__slots__:
            value = getattr(self, name)
            setattr(twin, name, value.copy() if isinstance(value, dict) else value)
        twin.first_args = {bit: words.copy() for bit, words in self.first_args.items()}
        return twin

    # Rules.

    def apply(self, rule: bytes, table: Commands) -> None:
        """One rule; RuleError leaves the selector as it was."""
        match rule[:1], rule.lower():
            case _, b"allkeys" | b"~*":
                self.all_keys, self.keys = True, {}
            case _, b"resetkeys":
                self.all_keys, self.keys = False, {}
            case _, b"allchannels" | b"&*":
                self.all_channels, self.channels = True, {}
            case _, b"resetchannels":
                self.all_channels, self.channels = False, {}
            case _, b"allcommands" | b"+@all":
                self._start(table.everything, open_ended=True)
            case _, b"nocommands" | b"-@all":
                self._start(0, open_ended=False)
            case _, b"alldbs":
                self.all_databases, self.databases = True, frozenset()
            case _, b"resetdbs":
                self.all_databases, self.databases = False, frozenset()
            case b"d" | b"D", word if word.startswith(b"db="):
                self.all_databases, self.databases = False, _database_numbers(word[3:])
            case b"~" | b"%", _:
                self._add_keys(rule)
            case b"&", _:
                self._add_channels(rule[1:])
            case b"+" | b"-", _:
                self._change_commands(rule[1:], rule[:1] == b"+", table)
            case _:
                raise RuleError(SYNTAX)

    def _start(self, commands: int, *, open_ended: bool) -> None:
        self.commands, self.open_ended = commands, open_ended
        self.rules, self.first_args = {}, {}

    def _add_keys(self, rule: bytes) -> None:
        if self.all_keys:
            raise RuleError(KEYS_AFTER_ALL)
        rights, text = (BOTH, rule[1:]) if rule[:1] == b"~" else _rights(rule)
        added = Pattern.of(text, rights)
        known = self.keys.get(text)
        self.keys[text] = added if known is None else added._replace(rights=known.rights | rights)

    def _add_channels(self, text: bytes) -> None:
        if self.all_channels:
            raise RuleError(CHANNELS_AFTER_ALL)
        self.channels.setdefault(text, Pattern.of(text))

    def _change_commands(self, name: bytes, allow: bool, table: Commands) -> None:
        lower = text_of(name.lower())
        if lower.startswith("@"):
            mask = table.category(lower[1:])
            if mask is None:
                raise RuleError(UNKNOWN)
            self._set(mask, allow)
        elif allow and "|" in lower:
            self._allow_within(name, lower, table)
        else:
            known = table.command(lower)
            if known is None:
                raise RuleError(UNKNOWN)
            self._set(known.mask, allow)
        self._note(lower, allow)

    def _allow_within(self, name: bytes, lower: str, table: Commands) -> None:
        """`+config|get`, or `+select|0`: one subcommand, or a command with this first argument only."""
        parent, _, word = lower.rpartition("|")
        known = table.command(parent)
        if known is None:
            raise RuleError(UNKNOWN)
        if known.sub:
            raise RuleError(FIRST_ARG_OF_SUB)
        if not word or has_spaces(name):
            raise RuleError(SYNTAX)
        if known.container:
            sub = table.command(lower)
            if sub is None:
                raise RuleError(UNKNOWN)
            self._set(sub.mask, True)
            return
        self.first_args.setdefault(known.bit, {})[name.rpartition(b"|")[2].lower()] = None

    def _set(self, mask: int, allow: bool) -> None:
        self.commands = self.commands | mask if allow else self.commands & ~mask
        for bit in [bit for bit in self.first_args if bit & mask]:
            del self.first_args[bit]

    def _note(self, name: str, allow: bool) -> None:
        """Keep what still counts: a later rule about a command makes earlier ones about it and its subcommands void."""
        self.rules.pop(name, None)
        if not name.startswith("@") and "|" not in name:
            within = name + "|"
            for known in [known for known in self.rules if known.startswith(within)]:
                del self.rules[known]
        self.rules[name] = "+" if allow else "-"

    # Descriptions.

    @property
    def commands_text(self) -> str:
        return " ".join(["+@all" if self.open_ended else "-@all", *(sign + name for name, sign in self.rules.items())])

    @property
    def keys_text(self) -> str:
        if self.all_keys:
            return "~*"
        return " ".join(map(_key_text, self.keys.values()))

    @property
    def channels_text(self) -> str:
        if self.all_channels:
            return "&*"
        return " ".join("&" + text_of(text) for text in self.channels)

    @property
    def databases_text(self) -> str:
        if self.all_databases:
            return "alldbs"
        return "db=" + ",".join(map(str, sorted(self.databases))) if self.databases else "resetdbs"

    def describe(self) -> str:
        """Rules that make this selector from a new one."""
        channels = self.channels_text
        if not self.all_channels:
            channels = f"resetchannels {channels}".rstrip(" ")
        databases = "" if self.all_databases else self.databases_text  # as before there were such rules
        return " ".join(part for part in (self.keys_text, channels, databases, self.commands_text) if part)


def _key_text(pattern: Pattern) -> str:
    if pattern.text == b"*" and pattern.rights == BOTH:
        return "%RW~*"  # Redis prints ~*, which is another rule (allkeys) when it is read again
    return _KEY_PREFIX[pattern.rights] + text_of(pattern.text)


_KEY_PREFIX: Final = {BOTH: "~", READ: "%R~", WRITE: "%W~"}
_SPACES: Final = frozenset(b" \t\n\v\f\r\0")


def has_spaces(word: bytes) -> bool:
    """Whether it would fall apart, or end early, where rules are written one after another."""
    return not _SPACES.isdisjoint(word)


def text_of(raw: bytes) -> str:
    """Bytes of a rule as text, whatever they are; `bytes_of` gives them back."""
    return raw.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _rights(rule: bytes) -> tuple[int, bytes]:
    """`%R~pattern`: the letters in any order and case, each once."""
    letters, tilde, pattern = rule[1:].partition(b"~")
    rights = 0
    for letter in letters.upper():
        right = {ord("R"): READ, ord("W"): WRITE}.get(letter, 0)
        if not right or rights & right:
            raise RuleError(SYNTAX)
        rights |= right
    if not (rights and tilde):
        raise RuleError(SYNTAX)
    return rights, pattern


def _database_numbers(words: bytes) -> frozenset[int]:
    found = set()
    for word in words.split(b","):
        if not word.isdigit():
            raise RuleError(SYNTAX)
        if len(word) > 10 or int(word) > DATABASE_MAX:
            raise RuleError(DATABASE_RANGE)
        found.add(int(word))
    return frozenset(found)


def merge_words(rules: Sequence[bytes]) -> list[bytes]:
    """Words of a command as rules: those from ( to ) become one, a selector; `expireat` takes the word behind it."""
    merged: list[bytes] = []
    begun: list[bytes] = []
    for rule in rules:
        if begun or (rule.startswith(b"(") and not rule.endswith(b")")):
            begun.append(rule)
            if len(begun) > 1 and rule.endswith(b")"):
                merged.append(b" ".join(begun))
                begun = []
        elif merged and merged[-1].lower() == EXPIRE:
            merged[-1] += b" " + rule
        else:
            merged.append(rule)
    if begun:
        raise RuleError(f"Unmatched parenthesis in acl selector starting at '{text_of(begun[0])}'.")
    return merged


def parse_selector(rule: bytes, table: Commands) -> Selector:
    """`(...)`, which begins with nothing allowed."""
    selector = Selector()
    for word in rule[1:-1].split():
        selector.apply(word, table)
    return selector


def selectors_text(selectors: Iterable[Selector]) -> str:
    """The first as it is, the others in parentheses."""
    return " ".join(f"({one.describe()})" if at else one.describe() for at, one in enumerate(selectors))
