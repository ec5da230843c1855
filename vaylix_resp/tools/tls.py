"""`vaylix tls ...`: certificates to try TLS with.

`example-certs` makes a CA of its own and has it sign a server's and a client's certificate. Promises: no file is ever
overwritten; keys are readable by their owner only; the key of the CA is thrown away unless asked for, so that nothing
more can be signed by it. Units: days. Not here: using them (`security.tls`).
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from ..errors import EX_OK, EX_USAGE, Refused
from .output import Group, print_json

DAYS: Final = 365
DAYS_MAX: Final = 3650
COMMON_NAME_CHARS_MAX: Final = 64  # RFC 5280
EARLY: Final = timedelta(hours=1)  # clocks differ

Name = x509.GeneralName


class Unfit(Refused):
    exit_code = EX_USAGE


def register(add: Group) -> None:
    """The verbs of the group."""
    example = add(
        "example-certs", "make a CA, a server's and a client's certificate, to try TLS with",
        "vaylix tls example-certs --dir /tmp/tls --host cache.example.org --user alice",
    )  # fmt: skip
    example.add_argument("--dir", required=True, metavar="D", help="where to put the files; it is made if need be")
    example.add_argument(
        "--host", action="append", default=[], metavar="NAME",
        help="further name or address of the server, may be repeated (always: localhost, 127.0.0.1, ::1, this machine)",
    )  # fmt: skip
    example.add_argument(
        "--user", default="default", metavar="NAME",
        help="user in the client's certificate, as its CN, as URI urn:vaylix:user:NAME (default: default)",
    )  # fmt: skip
    example.add_argument("--days", type=int, default=DAYS, metavar="N", help=f"valid for so long (default: {DAYS})")
    example.add_argument("--keep-ca-key", action="store_true", help="keep ca.key, to sign more with it")
    example.add_argument("--json", action="store_true", help="the result as JSON")
    example.set_defaults(run=_example_certs)


class Authority:
    """A key and its own certificate, which sign others."""

    def __init__(self, name: str, now: datetime, days: int) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self._now, self._days = now, days
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self.name, self.key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(certs=True), critical=True)
        self.certificate = builder.sign(self.key, hashes.SHA256())

    def issue(
        self, name: str, alternatives: Sequence[Name], purpose: ObjectIdentifier
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """A certificate for one purpose, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(certs=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
        )
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return builder.sign(self.key, hashes.SHA256()), key

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - EARLY)
            .not_valid_after(self._now + timedelta(days=self._days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )


def _usage(*, certs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certs, key_cert_sign=certs, crl_sign=certs, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def names_of_hosts(hosts: Sequence[str]) -> list[Name]:
    """Names and addresses as they stand in a certificate. Raises Unfit."""
    found: list[Name] = []
    for host in dict.fromkeys(hosts):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            try:
                found.append(x509.DNSName(host))
            except ValueError as bad:
                raise Unfit(f"--host {host}: neither an address nor a name of a host") from bad
    return found


def pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def make(now: datetime, days: int, hosts: Sequence[str], user: str, *, keep_ca_key: bool = False) -> dict[str, bytes]:
    """The files by name. Raises Unfit."""
    if not 1 <= days <= DAYS_MAX:
        raise Unfit(f"--days {days}: give 1 to {DAYS_MAX}")
    if not user or len(user) > COMMON_NAME_CHARS_MAX or not (user.isascii() and user.isprintable()) or " " in user:
        raise Unfit(f"--user: give 1 to {COMMON_NAME_CHARS_MAX} printable ASCII characters without spaces")
    authority = Authority("Vaylix example CA", now, days)
    server = authority.issue(hosts[0], names_of_hosts(hosts), ExtendedKeyUsageOID.SERVER_AUTH)
    uri = x509.UniformResourceIdentifier(f"urn:vaylix:user:{user}")
    client = authority.issue(user, [uri], ExtendedKeyUsageOID.CLIENT_AUTH)
    files = {"ca.crt": authority.certificate.public_bytes(serialization.Encoding.PEM)}
    for name, (certificate, key) in (("server", server), ("client", client)):
        files[f"{name}.crt"] = certificate.public_bytes(serialization.Encoding.PEM)
        files[f"{name}.key"] = pem_of_key(key)
    if keep_ca_key:
        files["ca.key"] = pem_of_key(authority.key)
    return files


def _example_certs(arguments: argparse.Namespace) -> int:
    directory = os.path.abspath(arguments.dir)
    hosts = ["localhost", "127.0.0.1", "::1", socket.gethostname(), *arguments.host]
    files = make(datetime.now(UTC), arguments.days, hosts, arguments.user, keep_ca_key=arguments.keep_ca_key)
    os.makedirs(directory, exist_ok=True)
    paths = {name: os.path.join(directory, name) for name in files}
    taken = [path for path in paths.values() if os.path.lexists(path)]
    if taken:
        raise Unfit(f"{taken[0]}: exists already, and nothing is overwritten; choose another --dir")
    for name, content in files.items():
        mode = 0o600 if name.endswith(".key") else 0o644
        with open(os.open(paths[name], os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
    if arguments.json:
        print_json({"dir": directory, "files": sorted(files), "days": arguments.days, "hosts": hosts})
        return EX_OK
    print(
        f"{directory}: {', '.join(sorted(files))}; valid for {arguments.days} days, for trying only\n\n"
        f"vaylix serve --port 0 --tls-port 6379 --tls-cert-file {paths['server.crt']} \\\n"
        f"  --tls-key-file {paths['server.key']} --tls-ca-cert-file {paths['ca.crt']}\n"
        f"redis-cli --tls --cacert {paths['ca.crt']} --cert {paths['client.crt']} --key {paths['client.key']}"
    )
    return EX_OK
