"""The program's commands as a tree, read from its argument parser, for completion scripts and the manual page.

Promise: whatever the parser knows is in the tree, in the parser's order; directives are the options of `serve` and
`check-config`, which the parser leaves to the configuration.
Not here: what is made of it (`completion`, release/manual.py), parsing (`cli`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from ..config_values import OneOf, YesNo
from ..directive import Directive
from ..directives import DIRECTIVES

CONFIGURED = ("serve", "check-config")  # take every directive as an option


@dataclass(frozen=True, slots=True)
class Option:
    """`--name VALUE`, or without a value a mere flag; a positional has no names."""

    names: tuple[str, ...]
    value: str  # what it is called, "" for a flag
    choices: tuple[str, ...]  # empty: anything
    help: str


@dataclass(frozen=True, slots=True)
class Command:
    """`path` is empty for the program itself."""

    path: tuple[str, ...]
    help: str  # one line
    parser: argparse.ArgumentParser
    options: tuple[Option, ...]
    commands: tuple[Command, ...]

    @property
    def name(self) -> str:
        return self.path[-1]

    def walk(self) -> Iterator[Command]:
        """This one, then all below it."""
        yield self
        for command in self.commands:
            yield from command.walk()


def tree(parser: argparse.ArgumentParser, path: tuple[str, ...] = (), help_text: str = "") -> Command:
    """The command that `parser` reads, with those below it."""
    options, commands = [], []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            commands = [tree(below, (*path, name), helps.get(name, "")) for name, below in action.choices.items()]
        elif action.help != argparse.SUPPRESS:
            options.append(_option(action))
    if path[:1] and path[0] in CONFIGURED:
        options += [of_directive(directive) for directive in DIRECTIVES.values()]
    return Command(path, help_text, parser, tuple(options), tuple(commands))


def of_directive(directive: Directive) -> Option:
    kind = directive.spec.kind
    choices = kind.names if isinstance(kind, OneOf) else ("yes", "no") if isinstance(kind, YesNo) else ()
    return Option((f"--{directive.name}",), "VALUE", choices, directive.spec.help)


def _option(action: argparse.Action) -> Option:
    takes = action.nargs != 0
    called = action.metavar if isinstance(action.metavar, str) else action.dest.upper().replace("_", "-")
    choices = tuple(str(choice) for choice in action.choices or ())
    text = (action.help or "") % {"default": action.default, "prog": "vaylix"}
    return Option(tuple(action.option_strings), called if takes else "", choices, text)
