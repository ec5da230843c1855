"""Kinds of values that only the cluster's directives have: names of nodes, their addresses, the list of them all.

Promise: a list that is taken has no name and no address twice, so that it can only mean one thing on every node.
Not here: which directives there are and how they fit together (`directives_cluster`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vaylix_resp.config_values import BadValue, OneOf, Single
from vaylix_resp.config_words import Words

NODE_NAME_CHARS_MAX: Final = 63  # a label of a host name, which a node's name often is
HOST_CHARS_MAX: Final = 253  # of DNS
PEERS_MAX: Final = 15  # a quorum of more would not make anything safer, and each one costs the leader a copy
_NODE_NAME = re.compile(rf"[A-Za-z0-9](?:[A-Za-z0-9._-]{{0,{NODE_NAME_CHARS_MAX - 1}}})", re.ASCII)
_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?", re.ASCII)
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """One node of the configuration: what it is called and where its raft port is found."""

    name: str
    host: str  # resolved at each connect, never here
    port: int

    def __str__(self) -> str:
        return f"{self.name}@{host_and_port(self.host, self.port)}"


def host_and_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_node_name(word: str) -> bool:
    return _NODE_NAME.fullmatch(word) is not None


def split_address(word: str) -> tuple[str, int]:
    """`host:port`, `1.2.3.4:port` or `[::1]:port`. Raises BadValue."""
    host, colon, port = word.rpartition(":")
    if not colon or not _PORT.fullmatch(port) or int(port) > 65535:
        raise BadValue("argument must end in :PORT, from 1 to 65535")
    return host_of(host), int(port)


def host_of(word: str) -> str:
    """A host's name or address as it stands before a port; brackets are taken off. Raises BadValue."""
    if word.startswith("[") and word.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(word[1:-1]))
        except ValueError as bad:
            raise BadValue("argument has no IPv6 address between its brackets") from bad
    if not word or len(word) > HOST_CHARS_MAX or not _HOST_NAME.fullmatch(word):
        raise BadValue("argument must name a host; an IPv6 address stands in brackets")
    return word


@dataclass(frozen=True, slots=True)
class NodeName(Single[str]):
    """What a node is called in the configuration and in its certificate; empty: it has no name."""

    def parse_word(self, word: str) -> str:
        if word and not is_node_name(word):
            raise BadValue("argument must be letters, digits, '.', '_' or '-', and begin with a letter or digit")
        return word

    def describe(self) -> str:
        return f"up to {NODE_NAME_CHARS_MAX} of them, such as node-1"


@dataclass(frozen=True, slots=True)
class Advertised(Single[str]):
    """`host` or `host:port` that others are told; empty: what is listened on."""

    def parse_word(self, word: str) -> str:
        if word:
            bare = word.startswith("[") and word.endswith("]")
            if ":" in word and not bare:
                split_address(word)
            else:
                host_of(word)
        return word

    def describe(self) -> str:
        return "a host, or host:port, such as 10.0.0.1:6379 or [::1]:6379"


@dataclass(frozen=True, slots=True)
class PeerList(Words[tuple[PeerAddress, ...]]):
    """`name@host:port` for each node, between commas or spaces; in the order given, which means nothing."""

    def parse(self, words: Sequence[str], base: tuple[PeerAddress, ...], again: bool) -> tuple[PeerAddress, ...]:
        given = [part for word in words for part in re.split(r"[,\s]+", word) if part]
        found = [_peer(part) for part in given]
        if len(found) > PEERS_MAX:
            raise BadValue(f"argument must not name more than {PEERS_MAX} nodes")
        names = [one.name.lower() for one in found]
        places = [(one.host.lower(), one.port) for one in found]
        for what, values in (("name", names), ("address", places)):
            if len(set(values)) < len(values):
                raise BadValue(f"argument has the same {what} twice")
        return tuple(found)

    def render(self, value: tuple[PeerAddress, ...]) -> str:
        return ",".join(map(str, value))

    def describe(self) -> str:
        return "every node, this one too, such as node-1@10.0.0.1:7379,node-2@10.0.0.2:7379"


@dataclass(frozen=True, slots=True)
class AddressList(Words[tuple[str, ...]]):
    """`host:port` of several, between commas or spaces."""

    def parse(self, words: Sequence[str], base: tuple[str, ...], again: bool) -> tuple[str, ...]:
        given = [part for word in words for part in re.split(r"[,\s]+", word) if part]
        if len(given) > PEERS_MAX:
            raise BadValue(f"argument must not name more than {PEERS_MAX} nodes")
        for part in given:
            split_address(part)
        return tuple(given)

    def render(self, value: tuple[str, ...]) -> str:
        return ",".join(value)

    def describe(self) -> str:
        return "addresses such as 10.0.0.1:7379,10.0.0.2:7379"


def _peer(word: str) -> PeerAddress:
    name, at, address = word.partition("@")
    if not at or not is_node_name(name):
        raise BadValue("argument must be NAME@HOST:PORT for each node")
    return PeerAddress(name, *split_address(address))


@dataclass(frozen=True, slots=True)
class ClusterMode(OneOf):
    """Redis's `yes` asks for what `emulate` gives: its sharded cluster has no other meaning here."""

    names: tuple[str, ...] = ("no", "emulate", "yes")

    def parse_word(self, word: str) -> str:
        return "emulate" if OneOf.parse_word(self, word) == "yes" else word.lower()


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches what listens on `host`; a name other than localhost may mean anything."""
    word = host.lstrip("-").lower()
    if word == "localhost":
        return True
    try:
        return ipaddress.ip_address(word).is_loopback
    except ValueError:
        return False
