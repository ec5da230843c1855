"""TLS contexts: made from directives, checked before they are used, made anew when the files change.

    keeper = Keeper(options, clock)        # raises TlsError: nothing to serve with
    keeper.context                         # for the next connection; those that are open keep theirs
    keeper.reload(options)                 # raises TlsError and keeps what it had

Promises: a context in force has a certificate that was valid, with its own key, when it was loaded, and all its files
were read in one state; a reload that fails changes nothing; no text made here holds the key or its passphrase, and a
missing passphrase is an error, never a question on the terminal.
Units: seconds since the epoch. OpenSSL reads its files by itself, so the few reads of ours go past `storage.disk`.
Not here: handshakes (`server.tls_link`), when to reload (`server.tls_door`), who a client is (`certificates`).
"""

from __future__ import annotations

import os
import ssl
import stat
from dataclasses import dataclass, field
from typing import Final

from ..clock import Clock
from ..config import Settings
from ..errors import EX_CONFIG, Refused, printable
from .certificates import Facts, read_der, read_pem
from .openssl import Unsupported, set_ciphersuites, set_session_cache

DAY_S: Final = 86_400
WARN_DAYS: Final = (30, 7, 1)  # before the end, one line each
FILE_BYTES_MAX: Final = 1 << 20  # a chain is a few KiB
READS_MAX: Final = 3  # while somebody writes the files

NO, OPTIONAL, YES = "no", "optional", "yes"
AUTH: Final = (NO, OPTIONAL, YES)
VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_SPELLED: Final = {name.lower(): name for name in VERSIONS}  # Redis takes them in any case
_VERIFY: Final = {NO: ssl.CERT_NONE, OPTIONAL: ssl.CERT_OPTIONAL, YES: ssl.CERT_REQUIRED}

Stamp = tuple[tuple[int, int, int] | None, ...]


class TlsError(Refused):
    """Certificates or settings that cannot be used; one line that names the directive or file and the way out."""

    exit_code = EX_CONFIG


@dataclass(frozen=True, slots=True)
class Options:
    """What makes two contexts differ. Defaults are those of the directives."""

    cert_file: str = ""
    key_file: str = ""
    key_pass: str = field(default="", repr=False)
    ca_file: str = ""
    ca_dir: str = ""
    auth_clients: str = YES
    protocols: tuple[str, ...] = ()
    ciphers: str = ""
    ciphersuites: str = ""
    prefer_server_ciphers: bool = False
    sessions: int = 20480  # 0: none are resumed
    session_s: int = 300

    @classmethod
    def of(cls, settings: Settings) -> Options:
        value = settings.value
        return cls(
            cert_file=value("tls-cert-file"), key_file=value("tls-key-file"), key_pass=value("tls-key-file-pass"),
            ca_file=value("tls-ca-cert-file"), ca_dir=value("tls-ca-cert-dir"),
            auth_clients=value("tls-auth-clients"),
            protocols=tuple(_SPELLED.get(word.lower(), word) for word in value("tls-protocols").split()),
            ciphers=value("tls-ciphers"), ciphersuites=value("tls-ciphersuites"),
            prefer_server_ciphers=value("tls-prefer-server-ciphers"),
            sessions=(value("tls-session-cache-size") or SESSIONS_MAX) if value("tls-session-caching") else 0,
            session_s=value("tls-session-cache-timeout"),
        )  # fmt: skip

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(path for path in (self.cert_file, self.key_file, self.ca_file, self.ca_dir) if path)


SESSIONS_MAX: Final = 1 << 20  # Redis's 0 means no limit; a session takes about a KiB


@dataclass(frozen=True, slots=True)
class Material:
    """One context with what it was made of."""

    context: ssl.SSLContext
    options: Options
    stamp: Stamp
    server: Facts  # of the chain, the one that ends first
    authorities: tuple[Facts, ...]
    warnings: tuple[str, ...]


def stamp_of(options: Options) -> Stamp:
    """Tells whether a file may have changed: inode, time and size, of what a symbolic link leads to."""
    found: list[tuple[int, int, int] | None] = []
    for path in options.files:
        try:
            info = os.stat(path)
        except (OSError, ValueError):
            found.append(None)
        else:
            found.append((info.st_ino, info.st_mtime_ns, info.st_size))
    return tuple(found)


def load(options: Options, now_s: int) -> Material:
    """A context that can be used now. Raises TlsError."""
    for _ in range(READS_MAX):
        stamp = stamp_of(options)
        material = _load(options, stamp, now_s)
        if stamp_of(options) == stamp:
            return material
    raise TlsError(f"{options.cert_file}: certificate, key or CA are being written; try again when they are in place")


def _load(options: Options, stamp: Stamp, now_s: int) -> Material:
    _check(options)
    _check_kinds(options)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _set_protocols(context, options)
    sessions = _set_sessions(context, options)
    _load_chain(context, options)
    _load_authorities(context, options)
    context.verify_mode = _VERIFY[options.auth_clients]
    chain = _read_chain(options.cert_file)
    _check_dates(chain, options.cert_file, now_s)
    authorities = tuple(read_der(context.get_ca_certs(binary_form=True)))
    return Material(
        context, options, stamp, min(chain, key=lambda one: one.not_after_s), authorities,
        tuple(filter(None, (sessions, *_warnings(options, chain, authorities, now_s)))),
    )  # fmt: skip


def _check(options: Options) -> None:
    if not options.cert_file:
        raise TlsError("tls-cert-file is not set, and tls-port needs it; try one: vaylix tls example-certs --dir D")
    if options.auth_clients != NO and not (options.ca_file or options.ca_dir):
        raise TlsError(
            f"tls-auth-clients is {options.auth_clients}, and neither tls-ca-cert-file nor tls-ca-cert-dir says whose "
            "certificates clients may show; set one of them, or tls-auth-clients no"
        )
    unknown = [name for name in options.protocols if name not in VERSIONS]
    if unknown:
        raise TlsError(f"tls-protocols: {unknown[0]} is not among {' '.join(VERSIONS)}; older versions can be broken")


def _check_kinds(options: Options) -> None:
    """OpenSSL would read a pipe, or a device without an end, for ever."""
    for path in filter(None, (options.cert_file, options.key_file, options.ca_file)):
        try:
            regular = stat.S_ISREG(os.stat(path).st_mode)
        except (OSError, ValueError):
            continue  # what is wrong with it is said when it is read
        if not regular:
            raise TlsError(f"{path}: this is not a regular file; tls-cert-file, -key-file and -ca-cert-file are")


def _set_protocols(context: ssl.SSLContext, options: Options) -> None:
    wanted = [VERSIONS[name] for name in options.protocols] or list(VERSIONS.values())
    context.minimum_version, context.maximum_version = min(wanted), max(wanted)
    # A client that renegotiates makes the server work as often as it likes; TLS 1.3 has no such thing.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if options.prefer_server_ciphers:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if options.ciphers:
        try:
            context.set_ciphers(options.ciphers)
        except ssl.SSLError as bad:
            raise TlsError("tls-ciphers: OpenSSL knows no cipher in it; see `openssl ciphers`") from bad
    try:
        if options.ciphersuites:
            set_ciphersuites(context, options.ciphersuites)
    except Unsupported as bad:
        raise TlsError(f"tls-ciphersuites: {bad}") from bad


def _set_sessions(context: ssl.SSLContext, options: Options) -> str:
    """A warning, or "": whoever did not ask for anything special is served without it, too."""
    try:
        set_session_cache(context, sessions=options.sessions, seconds=options.session_s)
    except Unsupported as bad:
        if not options.sessions:
            raise TlsError(f"tls-session-caching: {bad}") from bad
        return f"TLS sessions live as long as OpenSSL lets them, whatever tls-session-cache-timeout says: {bad}"
    return ""


def _load_chain(context: ssl.SSLContext, options: Options) -> None:
    key_file = options.key_file or options.cert_file
    asked = False

    def passphrase() -> str:
        nonlocal asked
        asked = True
        return options.key_pass

    try:
        context.load_cert_chain(options.cert_file, key_file, passphrase)
    except ssl.SSLError as bad:
        if asked:
            what = "is wrong" if options.key_pass else "is not set, and the key is encrypted"
            raise TlsError(f"{key_file}: tls-key-file-pass {what}") from bad
        if bad.reason == "KEY_VALUES_MISMATCH":
            raise TlsError(f"{key_file}: this is not the key of the certificate in {options.cert_file}") from bad
        raise TlsError(f"{options.cert_file} and {key_file}: no usable certificate and key ({_reason(bad)})") from bad
    except (OSError, ValueError) as bad:
        raise _unreadable("tls-cert-file or tls-key-file", (options.cert_file, key_file), bad) from bad


def _load_authorities(context: ssl.SSLContext, options: Options) -> None:
    if not (options.ca_file or options.ca_dir):
        return
    try:
        context.load_verify_locations(options.ca_file or None, options.ca_dir or None)
        if options.ca_dir:
            os.listdir(options.ca_dir)  # OpenSSL looks into it only when a client comes
    except ssl.SSLError as bad:
        raise TlsError(f"{options.ca_file or options.ca_dir}: no CA certificate in it ({_reason(bad)})") from bad
    except (OSError, ValueError) as bad:
        raise _unreadable("tls-ca-cert-file or tls-ca-cert-dir", (options.ca_file, options.ca_dir), bad) from bad


def _read_chain(path: str) -> list[Facts]:
    try:
        with open(path, "rb") as file:
            return read_pem(file.read(FILE_BYTES_MAX))
    except OSError as bad:
        raise _unreadable("tls-cert-file", (path,), bad) from bad
    except ValueError as bad:
        raise TlsError(f"{path}: a certificate in it cannot be parsed") from bad


def _check_dates(chain: list[Facts], path: str, now_s: int) -> None:
    for one in chain:
        if now_s >= one.not_after_s:
            raise TlsError(
                f"{path}: the certificate of {one.subject} has expired at {_date(one.not_after_s)}; renew it"
            )
        if now_s < one.not_before_s:
            raise TlsError(
                f"{path}: the certificate of {one.subject} is not valid before {_date(one.not_before_s)}; "
                "check the clock of this machine"
            )


def _warnings(options: Options, chain: list[Facts], authorities: tuple[Facts, ...], now_s: int) -> list[str]:
    found = []
    if not chain[0].serves:
        found.append(f"{options.cert_file}: its extended key usage lacks serverAuth: clients will refuse it")
    key_file = options.key_file or options.cert_file
    try:
        mode = stat.S_IMODE(os.stat(key_file).st_mode)
    except OSError:
        mode = 0
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        found.append(f"{key_file}: the key can be read by others than its owner (mode {mode:04o}); run: chmod 600")
    ended = [one.subject for one in authorities if one.not_after_s <= now_s]
    if ended:
        found.append(f"{options.ca_file}: the CA {ended[0]} has expired: whoever it signed for is refused")
    return found


def _unreadable(directive: str, paths: tuple[str, ...], bad: Exception) -> TlsError:
    """OpenSSL's error does not say which of its files it means."""
    for path in filter(None, paths):
        if not os.access(path, os.R_OK):
            what = "it cannot be read; check its permissions" if os.path.exists(path) else "there is no such file"
            return TlsError(f"{path}: {what} ({directive})")
    return TlsError(f"{directive}: {getattr(bad, 'strerror', None) or 'cannot be read'}")


def _reason(bad: ssl.SSLError) -> str:
    """OpenSSL's word for it, without the place in its source."""
    return printable((getattr(bad, "reason", None) or "unknown format").replace("_", " ").lower().encode())


def _date(seconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Keeper:
    """The context in force. Not thread-safe but for `load`, which touches nothing of it."""

    def __init__(self, options: Options, clock: Clock) -> None:
        self._clock = clock
        self._material = load(options, self.now_s())
        self._tried = self._material.stamp  # the state of the files that the last attempt has seen
        self._told_days = self._days_to_tell()
        self.reloads = 0
        self.failure = ""  # of the last attempt

    @property
    def context(self) -> ssl.SSLContext:
        return self._material.context

    @property
    def material(self) -> Material:
        return self._material

    def now_s(self) -> int:
        return self._clock.wall_ms() // 1000

    @property
    def expired(self) -> bool:
        return self.now_s() >= self._material.server.not_after_s

    @property
    def days_left(self) -> int:
        """Whole days; negative when it is over."""
        return (self._material.server.not_after_s - self.now_s()) // DAY_S

    def changed(self, options: Options) -> bool:
        """Whether an attempt with `options` would find anything that the last one has not seen."""
        return options != self._material.options or stamp_of(options) != self._tried

    def reload(self, options: Options) -> None:
        """Take over what is there now. Raises TlsError, and goes on with what it had."""
        stamp = stamp_of(options)
        try:
            material = load(options, self.now_s())
        except TlsError as bad:
            self.refuse(options, stamp, str(bad))
            raise
        self.take(material)

    def take(self, material: Material) -> None:
        self._material, self._tried = material, material.stamp
        self._told_days = self._days_to_tell()
        self.reloads += 1
        self.failure = ""

    def refuse(self, options: Options, stamp: Stamp, why: str) -> None:
        """Remember a failed attempt, so that it is not made again before a file changes."""
        self.failure = why
        if options == self._material.options:
            self._tried = stamp

    def warning(self) -> str:
        """What to say of the certificate's end, once for each of WARN_DAYS; otherwise ""."""
        step = self._days_to_tell()
        if step >= self._told_days:
            return ""
        self._told_days = step
        server = self._material.server
        left = "has expired: new connections are refused" if self.expired else f"has {self.days_left} days left"
        return f"the TLS certificate of {server.subject} {left} ({_date(server.not_after_s)}); renew {self._path}"

    @property
    def _path(self) -> str:
        return self._material.options.cert_file

    def _days_to_tell(self) -> int:
        """The least of WARN_DAYS that the end is within, -1 when it is over, something larger when there is time."""
        if self.expired:
            return -1
        left_s = self._material.server.not_after_s - self.now_s()
        return min((days for days in WARN_DAYS if left_s <= days * DAY_S), default=max(WARN_DAYS) + 1)
