"""Signatures of artefacts: Ed25519 (RFC 8032) over the manifest, which names every file by its SHA-256.

The trainer signs with a private key, replicas check with the public one. Keys are 32 bytes in base64.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from schema.errors import ArtefactError, ConfigError

SIGNATURE: Final = "manifest.sig"
MAX_SIGNATURE_BYTES: Final = 1024


def new_pair() -> tuple[str, str]:
    """A fresh private and its public key."""
    key = Ed25519PrivateKey.generate()
    return _text(key.private_bytes_raw()), _text(key.public_key().public_bytes_raw())


def sign(content: bytes, private_key: str) -> bytes:
    """The signature of `content`, in base64.

    Raises:
        ConfigError: the key is none.
    """
    return base64.b64encode(Ed25519PrivateKey.from_private_bytes(_key(private_key, "INTENTLOOP_SIGNING_KEY")).sign(content))


def check(content: bytes, signature: bytes, public_key: str, where: str) -> None:
    """Check the signature of `content`.

    Raises:
        ArtefactError: it is none of the key's owner.
        ConfigError: the key is none.
    """
    key = Ed25519PublicKey.from_public_bytes(_key(public_key, "INTENTLOOP_VERIFY_KEY"))
    try:
        key.verify(base64.b64decode(signature, validate=True), content)
    except (InvalidSignature, binascii.Error, ValueError):
        raise ArtefactError(f"the signature of {where} is not of the owner of INTENTLOOP_VERIFY_KEY") from None


def _key(text: str, name: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:
        raise ConfigError(f"{name} is no key: make a pair with `intentloop signing-keys`")
    return raw


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
