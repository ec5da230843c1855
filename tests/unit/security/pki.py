"""Certificates for tests, made once per process: a CA, what it signs, and what is wrong with some of it."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vaylix_resp.tools.tls import Authority, names_of_hosts

NOW = datetime.now(UTC).replace(microsecond=0)
NOW_S = int(NOW.timestamp())
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@cache
def authority(name: str = "test CA", start_days: int = 0, days: int = 100) -> Authority:
    return Authority(name, NOW + timedelta(days=start_days), days)


@cache
def issued(
    name: str = "localhost", purpose: str = "server", *, ca: str = "test CA", start_days: int = 0, days: int = 100,
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1"), uris: tuple[str, ...] = (),
) -> tuple[bytes, bytes]:  # fmt: skip
    """(certificate, key) in PEM."""
    signer = authority(ca)
    signer_now, signer_days = signer._now, signer._days
    signer._now, signer._days = NOW + timedelta(days=start_days), days
    try:
        names = names_of_hosts(hosts) + [x509.UniformResourceIdentifier(uri) for uri in uris]
        return signer.issue(name, names, SERVER if purpose == "server" else CLIENT)
    finally:
        signer._now, signer._days = signer_now, signer_days


def ca_pem(name: str = "test CA") -> bytes:
    return authority(name).certificate.public_bytes(serialization.Encoding.PEM)


def put(directory: Path, name: str, pair: tuple[bytes, bytes]) -> tuple[str, str]:
    """Write a certificate and its key as renewals do: whole files renamed into place."""
    for suffix, content in zip((".crt", ".key"), pair, strict=True):
        put_file(directory / f"{name}{suffix}", content)
    return str(directory / f"{name}.crt"), str(directory / f"{name}.key")


def put_file(path: Path, content: bytes) -> str:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.chmod(0o600)
    new.replace(path)
    return str(path)


def odd(
    common_names: tuple[str, ...] = ("x",), uris: tuple[str, ...] = (), dns: tuple[str, ...] = (), *,
    purposes: tuple[x509.ObjectIdentifier, ...] = (),
) -> x509.Certificate:  # fmt: skip
    """A certificate with whatever names one likes, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, one, _validate=False) for one in common_names]
    name = x509.Name(attributes)
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(0xABC).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    )  # fmt: skip
    others = [x509.UniformResourceIdentifier(one) for one in uris] + [x509.DNSName(one) for one in dns]
    if others:
        builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    return builder.sign(key, hashes.SHA256())


def der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)


def client_context(
    ca: str = "test CA", pair: tuple[str, str] | None = None, *, version: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    """What a careful client uses."""
    context = ssl.create_default_context(cadata=ca_pem(ca).decode())
    if pair is not None:
        context.load_cert_chain(*pair)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context
