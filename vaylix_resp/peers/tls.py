"""Mutual TLS between nodes: contexts for both directions, and whether a certificate is that of the node it comes with.

Promises: TLS 1.3 only; a certificate of our own that other nodes would refuse stops the start, not the first election;
a certificate stands for a node when it bears the node's name, or the host that the configuration gives for that name,
as DNS name, address or (single) common name. Anything else that the CA has signed is not a node.
Units: seconds since the epoch. Not here: handshakes (`channel`), the proof of the secret (`hello`), reading of files
and dates (`security.tls`).
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from ..clock import Clock
from ..config import Settings
from ..security.tls import FILE_BYTES_MAX, READS_MAX, Keeper, Material, Options, TlsError, load, stamp_of

_BOTH: Final = ((ExtendedKeyUsageOID.SERVER_AUTH, "serverAuth"), (ExtendedKeyUsageOID.CLIENT_AUTH, "clientAuth"))


def options_of(settings: Settings) -> Options:
    """What `tls-cluster yes` means; the files of the server where the cluster has none of its own."""
    own = settings.tls_cluster_cert_file
    return Options(
        cert_file=own or settings.tls_cert_file,
        key_file=settings.tls_cluster_key_file or ("" if own else settings.tls_key_file),
        key_pass=settings.tls_cluster_key_file_pass or ("" if own else settings.tls_key_file_pass),
        ca_file=settings.tls_cluster_ca_cert_file or settings.tls_ca_cert_file,
        protocols=("TLSv1.3",),
    )


@dataclass(frozen=True, slots=True)
class Pair:
    """The two contexts in force, and what they were made of."""

    accept: ssl.SSLContext
    dial: ssl.SSLContext
    certificate: bytes  # our own, DER
    material: Material


class ClusterTls:
    """Contexts for the next connection; those that are open keep theirs."""

    def __init__(self, options: Options, clock: Clock) -> None:
        """Raises TlsError: there is nothing to talk to other nodes with."""
        self.options = options
        self._keeper = Keeper(options, clock)
        self.pair = _load(options, self._keeper.now_s())

    @property
    def expired(self) -> bool:
        return self._keeper.expired

    @property
    def changed(self) -> bool:
        """Whether a file may have changed since the last attempt to read them."""
        return self._keeper.changed(self.options)

    def reload(self) -> None:
        """Take over what is there now. Raises TlsError, and goes on with what it had."""
        stamp = stamp_of(self.options)
        try:
            self.pair = _load(self.options, self._keeper.now_s())
        except TlsError as bad:
            self._keeper.refuse(self.options, stamp, str(bad))
            raise
        self._keeper.take(self.pair.material)

    def warning(self) -> str:
        """What is to be said of the certificate's end, once for each step; otherwise ""."""
        return self._keeper.warning()


def _load(options: Options, now_s: int) -> Pair:
    for _ in range(READS_MAX):
        material = load(options, now_s)
        material.context.num_tickets = 0  # a connection between nodes lives for days: nothing to resume
        dial = _dialing(options)
        with open(options.cert_file, "rb") as file:
            own = x509.load_pem_x509_certificates(file.read(FILE_BYTES_MAX))[0]
        if stamp_of(options) == material.stamp:
            _check_purposes(own, options.cert_file)
            return Pair(material.context, dial, own.public_bytes(Encoding.DER), material)
    raise TlsError(f"{options.cert_file}: certificate, key or CA are being written; try again when they are in place")


def _dialing(options: Options) -> ssl.SSLContext:
    """For our connections to others; `load` has just found nothing wrong with the files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # a node is known by its own name as well: see `stands_for`
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(options.cert_file, options.key_file or options.cert_file, lambda: options.key_pass)
        context.load_verify_locations(options.ca_file)
    except (OSError, ValueError) as bad:  # changed within the last millisecond
        raise TlsError(f"{options.cert_file}: it cannot be read any more; are the files being written?") from bad
    return context


def _check_purposes(own: x509.Certificate, path: str) -> None:
    """A node is server and client at once, and OpenSSL refuses a certificate that does not say so."""
    try:
        usage = own.extensions.get_extension_for_oid(ExtensionOID.EXTENDED_KEY_USAGE).value
    except x509.ExtensionNotFound:
        return
    except ValueError as bad:
        raise TlsError(f"{path}: an extension of the certificate cannot be parsed") from bad
    assert isinstance(usage, x509.ExtendedKeyUsage), usage
    for purpose, name in _BOTH:
        if purpose not in usage and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usage:
            raise TlsError(f"{path}: its extended key usage lacks {name}; a node's certificate needs both, or none")


def names_in(der: bytes) -> frozenset[str]:
    """Who a verified certificate is for, in lower case; empty when that cannot be read."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        common = [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        found = common if len(common) == 1 else []  # of several, software differs in which one counts
        found += _alternative_names(certificate)
    except ValueError:
        return frozenset()
    # Software that stops at a NUL may have signed only what stands before it.
    return frozenset(one.lower() for one in found if one and one.isprintable())


def _alternative_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def stands_for(der: bytes, name: str, host: str) -> bool:
    """Whether a certificate is that of node `name`, which the configuration looks for at `host` ("": nowhere)."""
    names = names_in(der)
    return name.lower() in names or (host != "" and host.lower() in names)


def binding(dialer: bytes, listener: bytes) -> bytes:
    """What ties the proof of the secret to the two certificates, which both sides see alike."""
    return hashlib.sha256(dialer).digest() + hashlib.sha256(listener).digest()
