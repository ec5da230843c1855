"""TLS between two buffers in memory, for one connection between nodes.

OpenSSL is fed and emptied by hand, as for clients (`server.tls_link` says why: what the socket has not taken must
count as unsent, and uvloop loses the alert that says why a handshake failed). A step of the handshake signs or
verifies, so it runs in a thread; meanwhile what arrives is kept aside and nothing else here is called.
Promise: what `decrypt` returns came from the holder of the certificate.
Not here: who that is (`tls.stands_for`), sockets (`channel`).
"""

from __future__ import annotations

import ssl
from typing import Final

from ..errors import printable
from ..limits import KIB

READ_BYTES: Final = 256 * KIB  # asked of OpenSSL at once; it answers with a record, 16 KiB at most
HANDSHAKE_BYTES_MAX: Final = 256 * KIB  # a chain of certificates fits well


class Engine:
    """One side of one connection."""

    __slots__ = ("_arrived", "_in", "_out", "_ssl", "busy", "done")

    def __init__(self, context: ssl.SSLContext, *, dialed: bool) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._in, self._out, server_side=not dialed)
        self._arrived: list[bytes] = []
        self.busy = False  # a thread is at work
        self.done = False  # the handshake is

    def arrived(self, data: bytes) -> bool:
        """Bytes from the socket; False: more than a handshake can need."""
        if self.busy:
            self._arrived.append(data)
            return sum(map(len, self._arrived)) <= HANDSHAKE_BYTES_MAX
        self._in.write(data)
        return self.done or self._in.pending <= HANDSHAKE_BYTES_MAX

    def shake(self) -> bool:
        """One step, in a thread; True: complete. Raises ssl.SSLError."""
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def rest(self) -> bool:
        """After a step: take in what came meanwhile; True if there was anything."""
        waiting, self._arrived = self._arrived, []
        for data in waiting:
            self._in.write(data)
        return bool(waiting)

    def certificate(self) -> bytes:
        """Of the other side, DER; verified."""
        return self._ssl.getpeercert(binary_form=True) or b""

    def outgoing(self) -> bytes:
        return self._out.read()

    def encrypt(self, data: bytes | memoryview) -> bytes:
        self._ssl.write(data)
        return self._out.read()

    def decrypt(self) -> tuple[list[bytes], bool]:
        """All that is whole, and whether the other side has said goodbye. Raises ssl.SSLError."""
        pieces: list[bytes] = []
        try:
            while self._in.pending or self._ssl.pending():
                piece = self._ssl.read(READ_BYTES)
                if not piece:
                    return pieces, True
                pieces.append(piece)
        except ssl.SSLWantReadError:
            return pieces, False  # the rest of a record is still on its way
        except ssl.SSLZeroReturnError:
            return pieces, True
        return pieces, False


REASONS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it has shown no certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the CA of our certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate, and we have shown none",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it refuses our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it says that our certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it refuses our certificate",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it does not speak TLS 1.3",
    "UNSUPPORTED_PROTOCOL": "it does not speak TLS 1.3",
    "CERTIFICATE_VERIFY_FAILED": "its certificate was refused",
    "WRONG_VERSION_NUMBER": "it does not speak TLS; is tls-cluster set there?",
    "RECORD_LAYER_FAILURE": "it does not speak TLS; is tls-cluster set there?",
    "HTTP_REQUEST": "it speaks HTTP",
}


def explain(bad: ssl.SSLError) -> str:
    """One line for the log."""
    reason = getattr(bad, "reason", None) or ""
    text = REASONS.get(reason) or printable(reason.replace("_", " ").lower().encode()) or "the handshake failed"
    verdict = getattr(bad, "verify_message", "")
    return f"TLS: {text}: {verdict}" if verdict else f"TLS: {text}"
