"""`vaylix completion`: a script that teaches a shell the commands, their options and what these take.

Promise: the script holds everything and starts no `vaylix`, so that a key press costs nothing; where it has nothing to
offer the shell offers files. Not here: what there is to complete (`command_tree`).
Source: bash(1) "Programmable Completion"; zshcompsys(1) and compadd in zshcompwid(1); fish complete(1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from textwrap import shorten
from typing import Final

from .command_tree import Command, Option

_LINE_MAX: Final = 100  # characters of a description; shells put it beside the name


def script(shell: str, root: Command) -> str:
    """For one of SHELLS."""
    return SHELLS[shell](root)


def _paths(root: Command) -> list[str]:
    """Each command as ` group verb`, the form in which the scripts gather it from the words of a line."""
    return [_path(command) for command in root.walk() if command.path]


def _path(command: Command) -> str:
    return "".join(f" {word}" for word in command.path)


def _valued(root: Command) -> Iterator[tuple[Command, Option]]:
    for command in root.walk():
        for option in command.options:
            if option.names and option.value:
                yield command, option


def _words(command: Command) -> list[str]:
    """What may stand where a word begins."""
    words = [below.name for below in command.commands]
    words += [choice for option in command.options if not option.names for choice in option.choices]
    return words + [name for option in command.options for name in option.names]


def _text(help_text: str, *unwanted: str) -> str:
    """One line without what would end a quotation or a field there."""
    line = shorten(help_text, _LINE_MAX, placeholder="...")
    for character in ("'", "\\", *unwanted):
        line = line.replace(character, "")
    return line


def _files(root: Command) -> str:
    """A pattern of all places where anything may stand, such as the name of a file."""
    return "|".join(
        f"'{_path(command)} {name}'"
        for command, option in _valued(root) if not option.choices
        for name in option.names
    )  # fmt: skip


def _bash(root: Command) -> str:
    choices = [
        f"        '{_path(command)} {name}') words='{' '.join(option.choices)}' ;;"
        for command, option in _valued(root) if option.choices
        for name in option.names
    ]  # fmt: skip
    words = [f"            '{_path(command)}') words='{' '.join(_words(command))}' ;;" for command in root.walk()]
    return "\n".join([
        "# bash completion of vaylix; made by `vaylix completion bash`",
        "_vaylix() {",
        "    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} at='' words='' i",
        "    for ((i = 1; i < COMP_CWORD; i++)); do",
        "        case \"$at ${COMP_WORDS[i]}\" in",
        f"            {'|'.join(repr(path) for path in _paths(root))}) at=\"$at ${{COMP_WORDS[i]}}\" ;;",
        "        esac",
        "    done",
        "    case \"$at $before\" in",
        *choices,
        f"        {_files(root)}) ;;",
        "        *) case \"$at\" in",
        *words,
        "        esac ;;",
        "    esac",
        "    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))",
        "}",
        "complete -o default -F _vaylix vaylix",
        "",
    ])  # fmt: skip


def _zsh(root: Command) -> str:
    choices = [
        f"    ('{_path(command)} {name}') compadd -- {' '.join(option.choices)}; return ;;"
        for command, option in _valued(root) if option.choices
        for name in option.names
    ]  # fmt: skip
    return "\n".join([
        "#compdef vaylix",
        "# zsh completion of vaylix; made by `vaylix completion zsh`",
        "_vaylix() {",
        "  local at='' word",
        "  local -a items",
        "  for word in ${words[2,CURRENT-1]}; do",
        "    case \"$at $word\" in",
        f"    ({'|'.join(repr(path) for path in _paths(root))}) at=\"$at $word\" ;;",
        "    esac",
        "  done",
        "  case \"$at ${words[CURRENT-1]}\" in",
        *choices,
        f"    ({_files(root)}) _files; return ;;",
        "  esac",
        "  case \"$at\" in",
        *(f"    ('{_path(command)}') items=({' '.join(_zsh_items(command))}) ;;" for command in root.walk()),
        "  esac",
        "  _describe vaylix items || _files",
        "}",
        "if [ \"$funcstack[1]\" = _vaylix ]; then _vaylix; else compdef _vaylix vaylix; fi",
        "",
    ])  # fmt: skip


def _zsh_items(command: Command) -> Iterator[str]:
    helps = {below.name: below.help for below in command.commands}
    helps |= {name: option.help for option in command.options for name in option.names}
    for word in _words(command):
        text = _text(helps.get(word, ""), ":")
        yield f"'{word}:{text}'" if text else f"'{word}'"


def _fish(root: Command) -> str:
    lines = []
    for command in root.walk():
        here = f"complete -c vaylix -n '__vaylix_at \"{_path(command)}\"'"
        lines += [f"{here} -f -a {below.name} -d '{_text(below.help)}'" for below in command.commands]
        for option in command.options:
            names = "".join(f" -l {name[2:]}" if name.startswith("--") else f" -s {name[1:]}" for name in option.names)
            takes = f" -x -a '{' '.join(option.choices)}'" if option.choices else " -r" if option.value else ""
            if names or option.choices:
                lines.append(f"{here}{names}{takes} -d '{_text(option.help)}'")
    return "\n".join([
        "# fish completion of vaylix; made by `vaylix completion fish`",
        "function __vaylix_at",
        "    set -l at ''",
        "    for word in (commandline -opc)[2..]",
        "        switch \"$at $word\"",
        f"            case {' '.join(repr(path) for path in _paths(root))}",
        "                set at \"$at $word\"",
        "        end",
        "    end",
        "    test \"$at\" = \"$argv[1]\"",
        "end",
        *lines,
        "",
    ])  # fmt: skip


SHELLS: Final[Mapping[str, Callable[[Command], str]]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
