"""Three settings of a TLS context that OpenSSL has and Python's `ssl` does not reach: suites of TLS 1.3, session cache.

The functions are called in the very library that `ssl` is linked with, on the SSL_CTX that an SSLContext holds as its
first field (since Python 3.2). Newer Pythons have a method for the suites, which is then taken instead.
Promise: what was asked for is read back where it can be, and a difference is an Unsupported, never a silent default.
Not here: what OpenSSL is told otherwise (`tls`).
"""

from __future__ import annotations

import _ssl
import ctypes
import ssl
from functools import cache
from typing import Any, Final

_SET_SESSION_CACHE_SIZE: Final = 42  # numbers of SSL_CTX_ctrl; part of the library's ABI
_SET_SESSION_CACHE_MODE: Final = 44
_CACHE_OFF, _CACHE_SERVER = 0, 2
_TLS13: Final = "TLSv1.3"
UNREACHABLE: Final = "this Python's OpenSSL cannot be asked for it; leave the directive at its default"


class Unsupported(ValueError):
    """The library does not know it, or cannot be asked; the text says which of the two."""


@cache
def _library() -> Any:
    library = ctypes.CDLL(getattr(_ssl, "__file__", None))
    try:
        library.OpenSSL_version_num.restype = ctypes.c_ulong
        library.SSL_CTX_ctrl.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p)
        library.SSL_CTX_ctrl.restype = ctypes.c_long
        library.SSL_CTX_set_timeout.argtypes = (ctypes.c_void_p, ctypes.c_long)
        library.SSL_CTX_set_timeout.restype = ctypes.c_long
        library.SSL_CTX_set_ciphersuites.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
        library.SSL_CTX_set_ciphersuites.restype = ctypes.c_int
        version = int(library.OpenSSL_version_num())
    except AttributeError as absent:
        raise Unsupported(UNREACHABLE) from absent
    if version != ssl.OPENSSL_VERSION_NUMBER:  # another copy, to which our contexts mean nothing
        raise Unsupported(UNREACHABLE)
    return library


def _handle(context: ssl.SSLContext) -> int:
    """The address of the SSL_CTX."""
    return int(ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value or 0)


def set_ciphersuites(context: ssl.SSLContext, suites: str) -> None:
    """Names of TLS 1.3 suites between colons, the preferred one first. Raises Unsupported."""
    wanted = [name for name in suites.split(":") if name]
    method = getattr(context, "set_ciphersuites", None)
    try:
        if method is not None:
            method(suites)
        else:
            _library().SSL_CTX_set_ciphersuites(_handle(context), suites.encode("ascii", "replace"))
    except ssl.SSLError:
        pass  # the names that are missing below say it better
    got = [str(one["name"]) for one in context.get_ciphers() if one["protocol"] == _TLS13]
    missing = [name for name in wanted if name not in got]
    if not wanted or missing:
        raise Unsupported(f"OpenSSL does not know the suite {missing[0]}" if missing else "no suite is named")
    if got != wanted:
        raise Unsupported(UNREACHABLE)


def set_session_cache(context: ssl.SSLContext, *, sessions: int, seconds: int) -> None:
    """How many sessions clients may resume, and for how long; 0 sessions: none, by id or by ticket."""
    library, handle = _library(), _handle(context)
    library.SSL_CTX_ctrl(handle, _SET_SESSION_CACHE_MODE, _CACHE_SERVER if sessions else _CACHE_OFF, None)
    library.SSL_CTX_ctrl(handle, _SET_SESSION_CACHE_SIZE, sessions or 1, None)
    if sessions:
        library.SSL_CTX_set_timeout(handle, seconds)
    else:
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
