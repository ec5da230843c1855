"""`vaylix tls ...`: certificates to try TLS with.

`example-certs` makes a CA of its own and has it sign a server's and a client's certificate; and, for the nodes of a
cluster, a second one, which signs nodes and nobody else: what it has signed is believed to be a node. Promises: no file
is ever overwritten; keys are readable by their owner only; the key of a CA is thrown away unless asked for, so that
nothing more can be signed by it. Units: days. Not here: using them (`security.tls`, `peers.tls`).
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from ..config_cluster import PEERS_MAX, is_node_name
from ..errors import EX_OK, EX_USAGE, Refused
from .output import Group, print_json

DAYS: Final = 365
DAYS_MAX: Final = 3650
COMMON_NAME_CHARS_MAX: Final = 64  # RFC 5280
EARLY: Final = timedelta(hours=1)  # clocks differ
TAKEN: Final = frozenset(("ca", "nodes-ca", "server", "client"))  # names of files that are no node's

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
    example.add_argument(
        "--node", action="append", default=[], metavar="NAME[@HOST,...]",
        help="a node of a cluster, by its node-id, and where others find it; may be repeated: a certificate for "
        "tls-cluster",
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

    def issue(self, name: str, alternatives: Sequence[Name], *purposes: ObjectIdentifier) -> tuple[bytes, bytes]:
        """A certificate for these purposes, and its key; PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(certs=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
        )
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return pem_of(builder.sign(self.key, hashes.SHA256())), pem_of_key(key)

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


def nodes_of(words: Sequence[str]) -> dict[str, list[str]]:
    """NAME@HOST,HOST of each: its hosts by its name. Raises Unfit."""
    found: dict[str, list[str]] = {}
    for word in words:
        name, _, hosts = word.partition("@")
        if not is_node_name(name) or name.lower() in TAKEN:
            raise Unfit(f"--node {word}: give NAME or NAME@HOST,HOST, the NAME as in node-id, such as node-1@10.0.0.1")
        if name.lower() in map(str.lower, found):
            raise Unfit(f"--node {word}: {name} is given twice; put its hosts between commas")
        found[name] = [host for host in hosts.split(",") if host]
    if len(found) > PEERS_MAX:
        raise Unfit(f"--node: a cluster has at most {PEERS_MAX} nodes")
    return found


def pem_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


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
    uri = x509.UniformResourceIdentifier(f"urn:vaylix:user:{user}")
    files = {"ca.crt": pem_of(authority.certificate)}
    _put(files, "server", authority.issue(hosts[0], names_of_hosts(hosts), ExtendedKeyUsageOID.SERVER_AUTH))
    _put(files, "client", authority.issue(user, [uri], ExtendedKeyUsageOID.CLIENT_AUTH))
    if keep_ca_key:
        files["ca.key"] = pem_of_key(authority.key)
    return files


def make_nodes(
    now: datetime, days: int, nodes: Mapping[str, Sequence[str]], *, keep_ca_key: bool = False
) -> dict[str, bytes]:
    """The files by name. Raises Unfit. Each node is a server and a client at once."""
    authority = Authority("Vaylix example CA of nodes", now, days)
    files = {"nodes-ca.crt": pem_of(authority.certificate)}
    both = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
    for name, hosts in nodes.items():
        _put(files, name, authority.issue(name, names_of_hosts([name, *hosts]), *both))
    if keep_ca_key:
        files["nodes-ca.key"] = pem_of_key(authority.key)
    return files


def _put(files: dict[str, bytes], name: str, pair: tuple[bytes, bytes]) -> None:
    files[f"{name}.crt"], files[f"{name}.key"] = pair


def _example_certs(arguments: argparse.Namespace) -> int:
    directory = os.path.abspath(arguments.dir)
    hosts = ["localhost", "127.0.0.1", "::1", socket.gethostname(), *arguments.host]
    nodes, now, keep = nodes_of(arguments.node), datetime.now(UTC), arguments.keep_ca_key
    files = make(now, arguments.days, hosts, arguments.user, keep_ca_key=keep)
    if nodes:
        files |= make_nodes(now, arguments.days, nodes, keep_ca_key=keep)
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
        print_json({"dir": directory, "files": sorted(files), "days": arguments.days, "hosts": hosts, "nodes": nodes})
        return EX_OK
    print(
        f"{directory}: {', '.join(sorted(files))}; valid for {arguments.days} days, for trying only\n\n"
        f"vaylix serve --port 0 --tls-port 6379 --tls-cert-file {paths['server.crt']} \\\n"
        f"  --tls-key-file {paths['server.key']} --tls-ca-cert-file {paths['ca.crt']}\n"
        f"redis-cli --tls --cacert {paths['ca.crt']} --cert {paths['client.crt']} --key {paths['client.key']}"
    )
    if nodes:
        print("\nand between the nodes, on each with its own certificate:")
    for name in nodes:
        print(
            f"vaylix serve --node-id {name} --tls-cluster yes --tls-cluster-cert-file {paths[name + '.crt']} \\\n"
            f"  --tls-cluster-key-file {paths[name + '.key']} --tls-cluster-ca-cert-file {paths['nodes-ca.crt']} ..."
        )
    return EX_OK
