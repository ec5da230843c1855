"""Ed25519 signatures over the head of the audit's chain: proof for somebody who trusts a key, but not this machine.

What is signed is `vaylix audit <sequence> <hash>` of a record; the signature stands in the record behind it.
Promise: no error and no repr shows the key. Not here: when a checkpoint is made (`engine.audit.log`).
"""

from __future__ import annotations

from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ..errors import EX_CONFIG, Refused
from .audit import Head

PublicKey = Ed25519PublicKey
HINT = "make one with: openssl genpkey -algorithm ed25519 -out FILE"


class BadSigningKey(Refused):
    exit_code = EX_CONFIG


class Signer:
    """Holds the private key of one server. `key_id` names it: the first 16 hex digits of the public key's SHA-256."""

    def __init__(self, pem: bytes, path: str) -> None:
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError) as unusable:
            raise BadSigningKey(f"{path}: no private key in PEM without a passphrase; {HINT}") from unusable
        if not isinstance(key, Ed25519PrivateKey):
            raise BadSigningKey(f"{path}: the key is not of Ed25519; {HINT}")
        self._key = key
        self.key_id = id_of(key.public_key())

    def __repr__(self) -> str:
        return f"Signer({self.key_id})"

    def sign(self, head: Head) -> str:
        return self._key.sign(_message(head)).hex()


def verified(key: PublicKey, head: Head, signature: object) -> bool:
    try:
        key.verify(bytes.fromhex(str(signature)), _message(head))
    except (InvalidSignature, ValueError):
        return False
    return True


def load_public_key(pem: bytes, path: str) -> PublicKey:
    """From a public key in PEM. Raises BadSigningKey."""
    try:
        key = serialization.load_pem_public_key(pem)
    except ValueError as unusable:
        hint = "make one with: openssl pkey -in PRIVATE -pubout -out FILE"
        raise BadSigningKey(f"{path}: no public key in PEM; {hint}") from unusable
    if not isinstance(key, Ed25519PublicKey):
        raise BadSigningKey(f"{path}: the key is not of Ed25519")
    return key


def id_of(key: PublicKey) -> str:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return sha256(raw).hexdigest()[:16]


def _message(head: Head) -> bytes:
    return f"vaylix audit {head.sequence} {head.hash}".encode("ascii")
