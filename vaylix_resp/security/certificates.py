"""What a certificate says: until when it is good, and which user it stands for.

Promise: a name that comes out of here is a whole field of the certificate, every character of it printable. A NUL or a
control character anywhere in the field refuses the certificate as an identity: other software may have checked only
what stands before it.
Units: seconds since the epoch. Not here: whether the signature is good (OpenSSL, in the handshake), which users there
are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

NAME_CHARS_MAX: Final = 256  # a user's name; RFC 5280 allows a CN of 64
NAMES_MAX: Final = 16  # alternative names that are tried; a certificate for more than that is not one identity

OFF, CN, URI, DNS = "off", "CN", "URI", "DNS"


class BadIdentity(ValueError):
    """A certificate that OpenSSL accepted but that stands for nobody; the text holds nothing that it says."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an operator wants to know of a certificate."""

    serial: str  # hex, as `openssl x509 -serial` prints it
    subject: str
    not_before_s: int
    not_after_s: int
    serves: bool  # may be shown by a server: no list of purposes, or serverAuth is in it


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection, as its certificate says."""

    names: tuple[bytes, ...]  # users it may be, to be tried in this order; empty: none
    refusal: str  # why there are none, when the certificate is at fault
    subject: str
    serial: str
    sha256: str  # of the whole certificate
    not_after_s: int


def facts_of(certificate: x509.Certificate) -> Facts:
    return Facts(
        serial=f"{certificate.serial_number:X}",
        subject=_subject(certificate),
        not_before_s=int(certificate.not_valid_before_utc.timestamp()),
        not_after_s=int(certificate.not_valid_after_utc.timestamp()),
        serves=_serves(certificate),
    )


def read_pem(pem: bytes) -> list[Facts]:
    """The certificates of a file, in its order. Raises ValueError when one cannot be read, or there is none."""
    return [facts_of(one) for one in x509.load_pem_x509_certificates(pem)]


def read_der(ders: Iterable[bytes]) -> list[Facts]:
    """Those that can be read; OpenSSL has taken all of them, and some old roots break today's rules."""
    found = []
    for der in ders:
        try:
            found.append(facts_of(x509.load_der_x509_certificate(der)))
        except ValueError:
            continue
    return found


def peer_of(der: bytes, field: str) -> Peer:
    """The identity in a certificate that the handshake has verified. Never raises: a bad one has no names."""
    sha256 = hashlib.sha256(der).hexdigest()
    try:
        certificate = x509.load_der_x509_certificate(der)
        facts = facts_of(certificate)
    except ValueError:
        return Peer((), "it cannot be parsed", "", "", sha256, 0)
    try:
        names, refusal = names_of(certificate, field), ""
    except BadIdentity as bad:
        names, refusal = (), str(bad)
    return Peer(names, refusal, facts.subject, facts.serial, sha256, facts.not_after_s)


def names_of(certificate: x509.Certificate, field: str) -> tuple[bytes, ...]:
    """Users that the certificate may stand for, best first; empty when it lacks the field. Raises BadIdentity."""
    if field == OFF:
        return ()
    try:
        found = _common_names(certificate) if field == CN else _alternative_names(certificate, field)
    except ValueError as bad:  # a field that breaks its own encoding
        raise BadIdentity(f"its {_title(field)} cannot be parsed") from bad
    if field == CN and len(found) > 1:
        # Software differs in whether the first or the last one counts, so whoever signed it may have meant the other.
        raise BadIdentity("it has more than one common name")
    if len(found) > NAMES_MAX:
        raise BadIdentity(f"it has more than {NAMES_MAX} names of the kind {field}")
    for name in found:
        if not name or len(name) > NAME_CHARS_MAX or not name.isprintable():
            raise BadIdentity(f"its {_title(field)} is empty, too long or has a control character in it")
    return tuple(name.encode() for name in found)


def _title(field: str) -> str:
    return "common name" if field == CN else f"alternative name ({field})"


def _common_names(certificate: x509.Certificate) -> Sequence[str]:
    return [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]


def _alternative_names(certificate: x509.Certificate, field: str) -> Sequence[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return names.get_values_for_type(x509.UniformResourceIdentifier if field == URI else x509.DNSName)


def _serves(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_oid(ExtensionOID.EXTENDED_KEY_USAGE).value
    except (x509.ExtensionNotFound, ValueError):
        return True
    assert isinstance(usage, x509.ExtendedKeyUsage), usage
    return ExtendedKeyUsageOID.SERVER_AUTH in usage or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage


def _subject(certificate: x509.Certificate) -> str:
    """For log lines: bounded, without controls."""
    try:
        text = certificate.subject.rfc4514_string()
    except ValueError:
        return "?"
    return "".join(c if c.isprintable() else "?" for c in text[:NAME_CHARS_MAX])
