"""A command's one-line syntax, as the documentation prints it, to the argument maps of COMMAND DOCS and back.

    key value [NX | XX] [GET] [EX seconds | PX milliseconds | KEEPTTL]

Words in capitals (and symbols) are tokens; other words are values. `[a]` may be left out, `<a | b>` asks for one of
them, `x [x ...]` may be repeated. A client such as redis-cli prints its hints from the maps, and what it prints for
ours is the line again (`render`); only which words form a block is a matter of taste.
Not here: the reply (`introspection`); whether a request is well formed (each handler).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

_LEXER: Final = re.compile(r"\.\.\.|[\[\]<>|]|[^\s\[\]<>|]+")
_TOKEN: Final = re.compile(r'[A-Z][A-Z0-9_-]*\Z|[=~*$]\Z|""\Z')
_CLOSING: Final = {"[": "]", "<": ">"}

KEYS: Final = frozenset("key key1 key2 newkey source destination destkey sourcekey".split())
INTEGERS: Final = frozenset(
    """
    bit client-id count cursor db decrement destination-db end flags frequency idle-time increment index index1 index2
    len limit lower max-len maxage milliseconds min-match-len n number numkeys numlocal numreplicas offset port
    protover seconds start timeout ttl upper version
    """.split()
)
UNIX_TIMES: Final = frozenset({"unix-time-seconds", "unix-time-milliseconds"})
DOUBLES: Final = frozenset({"longitude", "latitude", "radius", "score", "weight"})


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument as COMMAND DOCS describes it. `text` is the word in the line, for a single value or token."""

    name: str
    type: str  # key, string, integer, double, pattern, unix-time, pure-token, oneof, block
    text: str = ""
    token: str | None = None
    optional: bool = False
    multiple: bool = False
    multiple_token: bool = False
    children: tuple[Argument, ...] = ()
    key_spec_index: int | None = None


@dataclass(frozen=True, slots=True)
class _Group:
    """`[...]` or `<...>`: alternatives, each a sequence of nodes."""

    bracket: str
    alternatives: tuple[tuple[_Node, ...], ...]
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class _Repeat:
    """`a b [a b ...]`"""

    body: tuple[_Node, ...]


_Node = str | _Group | _Repeat
_ELLIPSIS: Final = "..."

KeyIndex = Callable[[int, str | None], int | None]  # (number among the key arguments, its token) -> specification


def parse(line: str, *, floating: bool = False, key_index: KeyIndex | None = None) -> tuple[Argument, ...]:
    """The arguments of a syntax line. `floating`: increments are doubles. ValueError if the line is malformed.

    Without `key_index` no argument is a key: that is what the command's key specifications say.
    """
    words = _LEXER.findall(line)
    reader = _Reader(words)
    alternatives = reader.alternatives("")
    if len(alternatives) != 1:
        raise ValueError(f"alternatives need brackets: {line}")
    return tuple(_Builder(floating, key_index).sequence(alternatives[0]))


class _Reader:
    """Words to nodes."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._at = 0

    def alternatives(self, closing: str) -> tuple[tuple[_Node, ...], ...]:
        """Up to and past `closing`; an empty one is the end of the line."""
        found: list[tuple[_Node, ...]] = []
        nodes: list[_Node] = []
        while True:
            word = self._next()
            if word == closing:
                return (*found, tuple(nodes))
            if word == "|":
                found.append(tuple(nodes))
                nodes = []
            elif word in _CLOSING:
                self._add(nodes, _group(word, self.alternatives(_CLOSING[word])))
            elif word in ("]", ">", ""):
                raise ValueError(f"unbalanced brackets: {' '.join(self._words)}")
            else:
                nodes.append(word)

    def _next(self) -> str:
        self._at += 1
        return self._words[self._at - 1] if self._at <= len(self._words) else ""

    @staticmethod
    def _add(nodes: list[_Node], group: _Group) -> None:
        """Append a group, or recognise it as `[what stands before ...]`."""
        body = _body_of_repetition(group)
        if body and tuple(nodes[-len(body) :]) == body:
            nodes[-len(body) :] = [_Repeat(body)]
        else:
            nodes.append(group)


def _body_of_repetition(group: _Group) -> tuple[_Node, ...]:
    only = group.alternatives[0]
    if group.bracket == "[" and len(group.alternatives) == 1 and only[-1:] == (_ELLIPSIS,):
        return only[:-1]
    return ()


def _group(bracket: str, alternatives: tuple[tuple[_Node, ...], ...]) -> _Group:
    """A group; `[a | b [a | b ...]]` and, shorter, `[a | b [...]]` are repeated groups."""
    *others, last = alternatives
    tail = last[-1] if last else None
    if isinstance(tail, _Group) and tail.bracket == "[":
        stripped = (*others, last[:-1])
        if tail.alternatives in ((*others, (*last[:-1], _ELLIPSIS)), ((_ELLIPSIS,),)):
            return _Group(bracket, stripped, repeated=True)
    return _Group(bracket, alternatives)


def _is_token(node: _Node) -> bool:
    return isinstance(node, str) and _TOKEN.match(node) is not None


def _is_value(node: _Node) -> bool:
    if isinstance(node, _Repeat):
        return not _is_token(node.body[0])
    return isinstance(node, str) and not _is_token(node) and node != _ELLIPSIS


class _Builder:
    """Nodes to arguments."""

    def __init__(self, floating: bool, key_index: KeyIndex | None) -> None:
        self._floating = floating
        self._key_index = key_index
        self._keys = 0

    def sequence(self, nodes: tuple[_Node, ...]) -> list[Argument]:
        found: list[Argument] = []
        at = 0
        while at < len(nodes):
            node = nodes[at]
            at += 1
            if isinstance(node, _Repeat):
                found.append(self._repeat(node, None))
            elif isinstance(node, _Group):
                found.append(self._group(node, None))
            elif _is_token(node):
                end = at
                while end < len(nodes) and _is_value(nodes[end]):
                    end += 1
                if end == at and end < len(nodes) and _is_choice(nodes[end]):
                    end += 1
                found.append(self._behind(node, nodes[at:end]))
                at = end
            else:
                found.append(self._value(node, None))
        return found

    def _behind(self, token: str, nodes: tuple[_Node, ...]) -> Argument:
        """A token with the nodes that belong to it."""
        name = token.lower() if token != '""' else "empty"
        if not nodes:
            return Argument(name, "pure-token", text=token, token=token)
        if len(nodes) == 1:
            only = nodes[0]
            if isinstance(only, str):
                return self._value(only, token)
            return self._repeat(only, token) if isinstance(only, _Repeat) else self._group(only, token)
        return Argument(name, "block", token=token, children=tuple(self.sequence(nodes)))

    def _value(self, word: str, token: str | None) -> Argument:
        if word == _ELLIPSIS:
            raise ValueError("`...` repeats nothing")
        kind = self._type(word)
        index = None
        if kind == "key":
            assert self._key_index is not None
            index = self._key_index(self._keys, token)
            self._keys += 1
        return Argument(word, kind, text=word, token=token, key_spec_index=index)

    def _type(self, word: str) -> str:
        if word in KEYS and self._key_index is not None:
            return "key"
        if word in UNIX_TIMES:
            return "unix-time"
        if word in DOUBLES or (self._floating and word == "increment"):
            return "double"
        if word in INTEGERS:
            return "integer"
        return "pattern" if word == "pattern" else "string"

    def _repeat(self, node: _Repeat, token: str | None) -> Argument:
        arguments = self.sequence(node.body)
        one = arguments[0] if len(arguments) == 1 else _block(arguments)
        with_token = token is None and one.token is not None and one.type != "pure-token"
        return replace(one, token=one.token or token, multiple=True, multiple_token=with_token)

    def _group(self, group: _Group, token: str | None) -> Argument:
        one = self._inside(group)
        if token is not None:
            one = replace(one, token=token)
        return replace(
            one, optional=one.optional or group.bracket == "[", multiple=one.multiple or group.repeated
        )

    def _inside(self, group: _Group) -> Argument:
        if len(group.alternatives) > 1:
            children = tuple(self._alternative(nodes) for nodes in group.alternatives)
            return Argument("_".join(child.name for child in children), "oneof", children=children)
        return self._alternative(group.alternatives[0])

    def _alternative(self, nodes: tuple[_Node, ...]) -> Argument:
        head, rest = nodes[0], nodes[1:]
        # `LIMIT offset count`, `TO host port [FORCE]`: all that follows belongs to the token it begins with.
        if _is_token(head) and rest and _is_value(rest[0]) and not any(map(_is_token, rest)):
            assert isinstance(head, str)
            return self._behind(head, rest)
        arguments = self.sequence(nodes)
        return arguments[0] if len(arguments) == 1 else _block(arguments)


def _is_choice(node: _Node) -> bool:
    """`<a | b>`, which needs an answer and so can belong to the token before it."""
    return isinstance(node, _Group) and node.bracket == "<"


def _block(arguments: list[Argument]) -> Argument:
    return Argument("_".join(one.name for one in arguments), "block", children=tuple(arguments))


def render(arguments: tuple[Argument, ...]) -> str:
    """The syntax line that clients make of the arguments."""
    return " ".join(map(_render, arguments))


def _render(one: Argument) -> str:
    match one.type:
        case "pure-token":
            plain = ""
        case "oneof":
            plain = " | ".join(map(_render, one.children))
            if not one.optional or one.token is not None:
                plain = f"<{plain}>"
        case "block":
            plain = render(one.children)
        case _:
            plain = one.text
    full = plain if one.token is None else f"{one.token} {plain}".rstrip()
    text = full
    if one.multiple:
        text = f"{full} [{full if one.multiple_token else plain} ...]"
    return f"[{text}]" if one.optional else text
