"""Settings: where their values come from, and CONFIG GET, SET and REWRITE.

Sources, the stronger first: command line (`--name value`), environment (`VAYLIX_NAME`, for secrets also
`VAYLIX_NAME_FILE`), file (redis.conf syntax), default. A hot value is read as a plain attribute: `settings.timeout`.
Promise: a change is all or nothing; an error names the place, the directive, what is wrong and what to do.
Not here: the table (`directives`), kinds of values (`config_values` and others), syntax of files (`config_text`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from vaylix_resp import config_text
from vaylix_resp.config_text import ConfigError, Item, ReadText, read_file
from vaylix_resp.config_values import BadValue
from vaylix_resp.config_words import OutputLimit, OutputLimits, SavePoint
from vaylix_resp.directive import Directive
from vaylix_resp.directives import ALIASES, DIRECTIVES, Table
from vaylix_resp.directives_cluster_rules import faults, warnings
from vaylix_resp.directives_redis import IGNORED, REFUSED
from vaylix_resp.errors import CommandError, printable
from vaylix_resp.glob import any_of

__all__ = ["ConfigError", "OutputLimit", "OutputLimits", "SavePoint", "Settings", "load"]

COMMAND_LINE = "command line"
ENVIRONMENT = "VAYLIX_"
NO_FILE = "ERR The server is running without a config file"

Subscriber = Callable[[Any], None]

# Not meant for us: variables that Kubernetes derives from a service called "vaylix" (its VAYLIX_PORT is a URL), and
# those of our own tests.
_FOREIGN_VARIABLE = re.compile(r"VAYLIX_(?:SERVICE_(?:HOST|PORT(?:_\w+)?)|PORT_\d+_(?:TCP|UDP)(?:_\w+)?|TEST_\w+)")
_FOREIGN_PORT = re.compile(r"(?:tcp|udp)://.*")


class Settings(Table):
    """The values in force: an attribute per directive, `data-dir` and other aliases excepted.

    Change them only through set_many(), which keeps subscribers informed.
    """

    __slots__ = ("_changed", "_subscribers", "config_file", "restoring", "sources", "warnings")

    def __init__(self, config_file: str | None = None) -> None:
        super().__init__()
        self.config_file = config_file  # None: started without one
        self.sources: dict[str, str] = {}  # name -> where its value was given; absent: default
        self.warnings: list[str] = []  # one line each, for the log at start
        self._changed: set[str] = set()  # names that CONFIG SET has changed
        self._subscribers: dict[str, list[Subscriber]] = {}
        self.restoring = False  # subscribers are being told the values from before: a change was refused

    def __repr__(self) -> str:
        """Without values: one of them is a password."""
        return f"Settings({', '.join(f'{name}: {where}' for name, where in self.sources.items())})"

    def value(self, name: str) -> Any:
        """The value of a directive by its name in the table."""
        return getattr(self, DIRECTIVES[name].attribute)

    # Reading.

    def get_matching(self, patterns: Iterable[str | bytes]) -> dict[str, str]:
        """CONFIG GET: names that match any pattern (globs, any case) with their values in Redis's form."""
        wanted = any_of([_text(pattern).encode("utf-8", "surrogateescape") for pattern in patterns], nocase=True)
        names = [name for d in DIRECTIVES.values() for name in (d.name, *d.spec.aliases)]
        return {name: self.rendered(name) for name in names if wanted(name.encode())}

    def rendered(self, name: str) -> str:
        """One value in Redis's form: bytes in decimal, yes or no. A secret is shown: mask it before logging."""
        directive = DIRECTIVES[ALIASES.get(name, name)]
        return directive.spec.kind.render(getattr(self, directive.attribute))

    # Changing.

    def subscribe(self, name: str, subscriber: Subscriber) -> None:
        """Call `subscriber` with the new value after each change; it may raise ValueError to refuse the change."""
        assert name in DIRECTIVES, name
        self._subscribers.setdefault(name, []).append(subscriber)

    def set_many(self, pairs: Sequence[tuple[str | bytes, str | bytes]]) -> None:
        """CONFIG SET: all of `pairs` or none. Raises CommandError with Redis's text."""
        given = [(_text(name), _text(value)) for name, value in pairs]
        directives = _changeable([name for name, _ in given])
        old = {d.name: getattr(self, d.attribute) for d in directives}
        new: dict[str, Any] = {}
        for directive, (name, value) in zip(directives, given, strict=True):
            spec = directive.spec
            try:
                if spec.inert and spec.kind.parse((value,), directive.default, again=False) != directive.default:
                    raise BadValue(spec.inert)  # an OK would claim that something changed
                new[directive.name] = directive.parse((value,), old[directive.name], again=False)
            except BadValue as bad:
                raise _set_failed(name, str(bad)) from bad
        self._assign(new)
        for at, (directive, (name, _)) in enumerate(zip(directives, given, strict=True)):
            try:
                self._tell(directive.name, new)
            except ValueError as refused:
                self._restore(old, [told.name for told in directives[: at + 1]])
                raise _set_failed(name, str(refused)) from refused
        for name in new:
            self.sources[name] = "CONFIG SET"
        self._changed.update(new)

    def _restore(self, old: Mapping[str, Any], told: Iterable[str]) -> None:
        self._assign(old)
        self.restoring = True
        try:
            for name in told:
                self._tell(name, old)
        finally:
            self.restoring = False

    def _assign(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            setattr(self, DIRECTIVES[name].attribute, value)

    def _tell(self, name: str, values: Mapping[str, Any]) -> None:
        for subscriber in self._subscribers.get(name, ()):
            subscriber(values[name])

    # Writing back.

    def rewrite(self, read_text: ReadText = read_file) -> str:
        """CONFIG REWRITE: the new text of `config_file`, which the caller writes. Raises CommandError.

        The file is read again, includes too. Only directives whose value in force differs from what the file says
        are written. A secret from the command line or the environment stays out of the file.
        """
        if self.config_file is None:
            raise CommandError(NO_FILE)
        try:
            on_file = Settings(self.config_file)
            on_file.take(config_text.read_items(self.config_file, read_text))
            text = read_text(self.config_file)
        except (ConfigError, OSError) as error:
            raise CommandError(f"ERR Rewriting config file: {_one_line(str(error))}") from error
        changed = {}
        for directive in DIRECTIVES.values():
            value = getattr(self, directive.attribute)
            if value == getattr(on_file, directive.attribute):
                continue
            if directive.spec.secret and directive.name not in self._changed:
                continue
            changed[directive.name] = directive.spec.kind.lines(value)
        return config_text.rewrite(text, changed, ALIASES)

    # Filling.

    def take(self, items: Iterable[Item]) -> None:
        """Put one source over what is there. Raises ConfigError."""
        seen: set[str] = set()
        ignored: list[str] = []
        for item in items:
            directive = _find(item)
            if directive is None:
                ignored.append(f"{item.name} ({item.where})")
                continue
            name, base = directive.name, getattr(self, directive.attribute)
            try:
                value = directive.parse(item.words, base, again=name in seen)
            except BadValue as bad:
                raise _refusal(item, directive, str(bad)) from bad
            if directive.spec.inert and " ".join(item.words) != directive.spec.kind.render(value):
                self.warnings.append(f"{item.where}: {item.name} has no effect here: {directive.spec.inert}")
            setattr(self, directive.attribute, value)
            self.sources[name] = item.where
            seen.add(name)
        if ignored:
            self.warnings.append("tuning of Redis's own internals has no effect here: " + ", ".join(ignored))

    def check(self) -> None:
        """What no directive can see alone. Raises ConfigError."""
        if ((self.port == 0 and self.tls_port == 0) or not self.bind) and not self.unixsocket:
            raise ConfigError(
                "nowhere to listen: port and tls-port are 0 or bind is empty; set one of them and bind, or unixsocket"
            )
        if self.port and self.port == self.tls_port:
            raise ConfigError(f"port and tls-port are both {self.port}; give TLS a port of its own, or set port 0")
        where = self.sources.get("master-key", ENVIRONMENT)
        if self.master_key and not where.startswith(ENVIRONMENT):
            seen = "ps shows it to everybody" if where == COMMAND_LINE else "copies of this file would carry it along"
            raise ConfigError(
                f"{where}: master-key: {seen}; put it into a file of mode 0600 for master-key-file, or into "
                "VAYLIX_MASTER_KEY"
            )
        if self.aclfile and (self.user or self.role):
            raise ConfigError(
                "users stand in the configuration and in aclfile: keep one of the two; move the lines into the file"
            )
        for fault in faults(self):
            raise ConfigError(fault)
        self.warnings.extend(warnings(self))
        for name, where in self.sources.items():
            if where == COMMAND_LINE and DIRECTIVES[name].spec.secret and self.value(name):
                variable = ENVIRONMENT + name.upper().replace("-", "_")
                self.warnings.append(
                    f"{COMMAND_LINE}: {name}: ps shows it to everybody on this machine; put it into the configuration, "
                    f"or into a file of mode 0600 that {variable}_FILE names"
                )
        if self.maxmemory and self.maxmemory_policy != "noeviction":
            self.warnings.append(
                f"maxmemory-policy {self.maxmemory_policy}: at maxmemory, keys that were acknowledged are deleted"
            )


def load(
    config_file: str | None = None,
    options: Sequence[str] = (),
    environ: Mapping[str, str] = MappingProxyType({}),
    read_text: ReadText = read_file,
) -> Settings:
    """The settings from all sources. `options` are words such as `--port 6380`. Raises ConfigError."""
    settings = Settings(config_file)
    if config_file is not None:
        settings.take(config_text.read_items(config_file, read_text))
    in_file = {name: (where, settings.value(name)) for name, where in settings.sources.items()}
    settings.take(environment_items(environ, read_text))
    # Who mounts a file into a container may not know what its image sets: data could go to a volume that is dropped.
    settings.warnings += [
        f"{where}: {name} does not count: {settings.sources[name]} says otherwise, and wins over the file"
        for name, (where, value) in in_file.items()
        if settings.value(name) != value
    ]
    settings.take(option_items(options))
    settings.check()
    return settings


def option_items(options: Sequence[str]) -> Iterator[Item]:
    """`--name value...` up to the next `--`, or `--name=value` for one value that itself begins with `--`."""
    at = 0
    while at < len(options):
        name, equals, value = options[at].partition("=")
        if not name.startswith("--") or len(name) == 2:
            raise ConfigError(
                f"{COMMAND_LINE}: {_one_line(options[at])}: not an option; give '--name value', the file comes first"
            )
        end = at + 1
        while not equals and end < len(options) and not options[end].startswith("--"):
            end += 1
        words = (value,) if equals else tuple(options[at + 1 : end])
        yield Item(name[2:].lower(), words, COMMAND_LINE)
        at = end


def environment_items(environ: Mapping[str, str], read_text: ReadText) -> Iterator[Item]:
    """`VAYLIX_MAX_THING` sets max-thing; a secret may instead be in a file that `VAYLIX_SECRET_FILE` names."""
    for variable in sorted(environ):
        value = environ[variable]
        if not variable.startswith(ENVIRONMENT) or _FOREIGN_VARIABLE.fullmatch(variable):
            continue
        if variable == "VAYLIX_PORT" and _FOREIGN_PORT.fullmatch(value):
            continue
        name = variable.removeprefix(ENVIRONMENT).lower().replace("_", "-")
        secret = DIRECTIVES.get(name.removesuffix("-file"))
        if name in DIRECTIVES or secret is None or not secret.spec.secret:
            yield Item(name, (value,), variable)
            continue
        plain = variable.removesuffix("_FILE")
        if plain in environ:
            raise ConfigError(f"{variable}: {plain} is set as well; unset one of the two")
        yield Item(secret.name, (_secret_from(variable, value, read_text),), variable)


def _secret_from(variable: str, path: str, read_text: ReadText) -> str:
    """The contents of a secret's file without the newline that editors add. Raises ConfigError."""
    try:
        secret = read_text(path)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"{variable}: {_one_line(path)}: {reason}; check the path and its permissions") from error
    secret = secret.removesuffix("\n").removesuffix("\r")
    if not secret:
        # An empty password would open the server to everyone, which nobody asks for with a file.
        raise ConfigError(f"{variable}: {_one_line(path)}: the file is empty; put the secret into it")
    return secret


def _find(item: Item) -> Directive | None:
    """The directive of an item; None when it is tuning of Redis's own. Raises ConfigError when unknown."""
    directive = DIRECTIVES.get(ALIASES.get(item.name, item.name))
    if directive is not None or item.name in IGNORED:
        return directive
    if item.name in REFUSED:
        raise ConfigError(f"{item.where}: {item.name}: {REFUSED[item.name]}")
    known = [*DIRECTIVES, *ALIASES]
    near = difflib.get_close_matches(item.name, known, 1, 0.7) or [n for n in known if item.name and item.name in n][:1]
    advice = f"did you mean {near[0]}?" if near else "see 'vaylix serve --help' for all directives"
    raise ConfigError(f"{item.where}: {_one_line(item.name)}: unknown directive; {advice}")


def _refusal(item: Item, directive: Directive, problem: str) -> ConfigError:
    """One line: where, directive and value, what is wrong, what to do."""
    spec = directive.spec
    advice = spec.kind.describe()
    if "#" in item.words:
        advice = "; a comment needs a line of its own"
    elif spec.only:
        advice = f"; the only value is {spec.kind.render(directive.default) or 'empty'}"
    elif advice:
        advice = f"; give {advice}" + (f" ({spec.unit})" if spec.unit else "")
    return ConfigError(f"{item.where}: {item.name} {directive.show(item.words)}: {problem}{advice}")


def _changeable(names: Sequence[str]) -> list[Directive]:
    """The directives that CONFIG SET names, once the first fault in argument order has been ruled out."""
    found: list[Directive] = []
    for name in names:
        directive = DIRECTIVES.get(ALIASES.get(name.lower(), name.lower()))
        if directive is None:
            raise CommandError(f"ERR Unknown option or number of arguments for CONFIG SET - '{_one_line(name)}'")
        if directive.spec.locked:
            raise _set_failed(name, f"can't set {directive.spec.locked} config")
        if directive in found:
            raise _set_failed(name, "duplicate parameter")
        found.append(directive)
    return found


def _set_failed(name: str, problem: str) -> CommandError:
    return CommandError(f"ERR CONFIG SET failed (possibly related to argument '{_one_line(name)}') - {problem}")


def _text(word: str | bytes) -> str:
    return word if isinstance(word, str) else word.decode("utf-8", "surrogateescape")


def _one_line(text: str) -> str:
    """Text from outside made safe for an error line."""
    return printable(text.encode("utf-8", "surrogateescape"), 512)
