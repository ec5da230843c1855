"""The program `vaylix`: reads arguments, prints for people or as JSON, and turns what was foreseen into one line.

Exit codes: 0 clean, 1 a check found something, 64 wrong usage, 65 damaged data, 70 broken invariant, 74 I/O error, 78
configuration, 130 interrupted.
Not here: what a subcommand does. Each imports its part only when asked, so that `version` stays quick.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import Any, Final, NoReturn

from vaylix_resp import __version__, heap
from vaylix_resp.config import ConfigError, Settings, load
from vaylix_resp.directive import Directive
from vaylix_resp.directives import DIRECTIVES, GROUPS
from vaylix_resp.errors import EX_BROKEN, EX_CONFIG, EX_IO, EX_OK, EX_USAGE, Halt, not_allowed, remedy

CHILD_NICENESS = 10  # a snapshot can wait; the server's fsync cannot

# Groups of offline verbs: module `tools.<name>` is imported when its group is asked for, its `register` adds the verbs.
_GROUPS: Final = {
    "audit": "check and read the record of who did what",
    "backup": "make, check and restore logical backups without a server",
    "cluster": "look at a running cluster",
    "pitr": "look into the past of a data directory, build a new one from any moment of it",
    "tls": "make certificates to try TLS with",
    "storage": "check, read, migrate and repair a data directory",
}

# Tools that are one command: its module in `tools`, whose `options` is called when it is asked for; help; an example.
_TOOLS: Final = {
    "bench": (
        "bench", "measure in a minute what this disk and a running server do",
        "vaylix bench --port 6379 --dir /srv/vaylix",
    ),
    "export": (
        "export", "write the data, as of now or of a moment in the past, as an RDB file that redis-server loads",
        "vaylix export --data-dir /srv/vaylix --rdb /mnt/out/dump.rdb",
    ),
    "healthcheck": (
        "healthcheck", "ask a running server for PONG; exit code 0 or 1",
        "vaylix healthcheck --host 127.0.0.1 --port 6379",
    ),
    "import": (
        "moving.importing", "bring data into a running server: from an RDB file, an append only file or a Redis",
        "vaylix import --from redis://10.0.0.7:6379 --to redis://127.0.0.1:6379 --follow --pause-source",
    ),
    "top": (
        "top", "watch a running server or cluster: rates, latency, fsync, lag, commands, clients",
        "vaylix top --port 6379 --interval 5",
    ),
}  # fmt: skip

# Started by the server for itself: not in --help, because nothing good comes of them by hand.
_CHILDREN: Final = {
    "audit-child": "audit.reading",
    "snapshot-child": "snapshot_child",
    "backup-child": "copies.backup_child",
    "history-child": "history.history_child",
}

_ALL: Final = "*"  # asked of `_parser`: the options and verbs of every command, for completion and manual

_EXIT_CODES = """exit codes:
  0 clean, 1 a check found something (unhealthy, no leader, not equal), 64 wrong usage, 65 damaged data,
  70 broken invariant, 74 I/O error, 78 configuration, 130 interrupted"""


class _Parser(argparse.ArgumentParser):
    """argparse that says what is wrong in one line and leaves with 64."""

    def error(self, message: str) -> NoReturn:
        self.exit(EX_USAGE, f"{self.prog}: {message}; see '{self.prog} --help'\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit code. `argv` defaults to the words after the program's name."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # the name of a file may be any bytes
    try:
        return _run(words)
    except ConfigError as error:
        return _complain(str(error), EX_CONFIG)
    except Halt as halt:
        return _complain(str(halt), halt.exit_code)
    except KeyboardInterrupt:
        return 130  # what a shell reports for SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter complains again while it exits
        return EX_IO
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        advice = f"; {remedy(error)}" if not_allowed(error) else ""
        return _complain(f"{place}{error.strerror or error}{advice}", EX_IO)
    except AssertionError as error:
        import traceback

        traceback.print_exc()  # our own mistake: whoever mends it needs the place
        return _complain(f"broken invariant: {error}; please report this", EX_BROKEN)
    except Exception as error:
        code = getattr(error, "exit_code", None)  # damage on disk names its own code
        if not isinstance(code, int):
            raise
        return _complain(str(error), code)


def _complain(text: str, code: int) -> int:
    line = "".join(c if c.isprintable() else "?" for c in text.replace("\n", " "))
    print(f"vaylix: {line}", file=sys.stderr)
    return code


def _run(words: list[str]) -> int:
    if words[:1] and words[0] in _CHILDREN:
        return _run_child(_CHILDREN[words[0]], words[1:])
    parser, commands = _parser(words[0] if words else "")
    if words[:1] and words[0] in ("serve", "check-config"):
        # Directives are options too, more than argparse should know: everything but the help is read by config.load.
        if not {"-h", "--help"} & set(words):
            return _serve(words[1:]) if words[0] == "serve" else _check_config(words[1:])
        commands[words[0]].print_help()
        return EX_OK
    if not words:
        parser.print_help(sys.stderr)
        return EX_USAGE
    arguments = parser.parse_args(words)
    run: Callable[[argparse.Namespace], int] = arguments.run
    return run(arguments)


def _run_child(module: str, words: list[str]) -> int:
    """A child builds a state and ends: nothing in it is cyclic garbage, and whatever it does can wait."""
    heap.keep_freed()
    gc.disable()
    with contextlib.suppress(OSError):  # not allowed in some containers, and not needed
        os.nice(CHILD_NICENESS)
    code: int = import_module(f"vaylix_resp.engine.{module}").child_main(words)
    return code


def _parser(asked: str) -> tuple[_Parser, dict[str, argparse.ArgumentParser]]:
    parser = _Parser(
        prog="vaylix",
        description="A key-value server that speaks the Redis protocol and never lies about durability.",
        epilog=f"'vaylix COMMAND --help' shows an example of each.\n\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"vaylix {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    commands: dict[str, argparse.ArgumentParser] = {}

    def add(name: str, text: str, example: str, usage: str | None = None) -> argparse.ArgumentParser:
        commands[name] = command = subparsers.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            usage=usage,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        return command

    serve = add("serve", "run the server", "vaylix serve --port 6380 --dir /srv/vaylix",
                "vaylix serve [FILE] [--NAME VALUE]...")  # fmt: skip
    serve.description = (
        "Run the server in the foreground until SIGTERM, SIGINT or SHUTDOWN.\n\n"
        "FILE is a configuration in redis.conf syntax. Every directive below is also an option (--name value) and an\n"
        "environment variable (VAYLIX_NAME with underscores; for secrets also VAYLIX_NAME_FILE). An option wins over\n"
        "the environment, that over the file, that over the default.\n\n" + directives_help()
    )
    serve.epilog = f"{serve.epilog}\n\n{_EXIT_CODES}"
    check = add("check-config", "read the configuration and its files, say what is wrong or what it amounts to",
                "vaylix check-config /etc/vaylix/vaylix.conf --json",
                "vaylix check-config [FILE] [--json] [--NAME VALUE]...")  # fmt: skip
    check.add_argument("--json", action="store_true", help="print every directive with its value and source as JSON")
    for name, (module, text, example) in _TOOLS.items():
        tool = add(name, text, example)
        if asked in (name, _ALL):
            import_module(f"vaylix_resp.tools.{module}").options(tool)
    version = add("version", "print the version", "vaylix version --json")
    version.add_argument("--json", action="store_true", help="as JSON")
    version.set_defaults(run=_version)
    completion = add("completion", "print a script that teaches a shell to complete commands and options",
                     "vaylix completion bash > /etc/bash_completion.d/vaylix")  # fmt: skip
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="which shell: bash, zsh or fish")
    completion.set_defaults(run=_completion)
    for group, text in _GROUPS.items():
        _add_group(subparsers, group, text, asked in (group, _ALL))
    return parser, commands


def _add_group(subparsers: Any, group: str, text: str, asked: bool) -> None:
    """`vaylix GROUP VERB`; the verbs only when somebody wants one of them."""
    parser = subparsers.add_parser(group, help=text, description=text[0].upper() + text[1:] + ".")
    if not asked:
        return
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def add(name: str, text: str, example: str) -> argparse.ArgumentParser:
        verb: argparse.ArgumentParser = verbs.add_parser(
            name, help=text, description=text[0].upper() + text[1:] + ".",
            epilog=f"example:\n  {example}\n\n{_EXIT_CODES}", formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        return verb

    import_module(f"vaylix_resp.tools.{group}").register(add)


def directives_help() -> str:
    """All directives by group, for `vaylix serve --help`."""
    parts = []
    for group in GROUPS:
        parts.append(f"{group}:")
        parts += [_directive_help(d) for d in DIRECTIVES.values() if d.spec.group == group]
        parts.append("")
    return "\n".join(parts).rstrip()


def _directive_help(directive: Directive) -> str:
    default = " ".join(" ".join(words) for words in directive.spec.kind.lines(directive.default)).strip()
    unit = f" {directive.spec.unit}" if default.isdigit() else ""
    return f"  --{directive.name}\n      {directive.spec.help} (default: {default or 'empty'}{unit.rstrip()})"


def _load(words: Sequence[str]) -> Settings:
    """The settings of `[FILE] [--name value]...` and the environment. Raises ConfigError."""
    words = list(words)
    file = words.pop(0) if words and not words[0].startswith("-") else None
    return load(file, words, os.environ)


def _serve(words: list[str]) -> int:
    settings = _load(words)
    from vaylix_resp.app import serve

    heap.keep_freed()
    return serve(settings)


def _check_config(words: list[str]) -> int:
    as_json = "--json" in words
    settings = _load([word for word in words if word != "--json"])
    code: int = import_module("vaylix_resp.tools.check_config").run(settings, as_json=as_json)
    return code


def _version(arguments: argparse.Namespace) -> int:
    python = ".".join(map(str, sys.version_info[:3]))
    if arguments.json:
        print(json.dumps({"vaylix": __version__, "python": python}))
    else:
        print(f"vaylix {__version__} (python {python})")
    return EX_OK


def whole_parser() -> argparse.ArgumentParser:
    """With the options and verbs of every command."""
    return _parser(_ALL)[0]


def _completion(arguments: argparse.Namespace) -> int:
    from vaylix_resp.tools.command_tree import tree
    from vaylix_resp.tools.completion import script

    print(script(arguments.shell, tree(whole_parser())), end="")
    return EX_OK
