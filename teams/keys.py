"""What an API key looks like: `parley_`, 256 random bits, a checksum.

The prefix lets secret scanners find a leaked key, and the checksum lets us refuse a mistyped one without asking the
database. A random key of 256 bits cannot be guessed, so one round of SHA-256 is enough to store it by.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib

PREFIX = "parley_"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_LENGTH = 43  # 62**43 > 2**256
_CHECKSUM_LENGTH = 6  # 62**6 > 2**32
_SHAPE = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_SECRET_LENGTH + _CHECKSUM_LENGTH}}}")
SHOWN_LENGTH = len(PREFIX) + 6


def generate_key() -> str:
    """A new plain key. It exists outside of the client's hands only now."""
    body = PREFIX + _base62(int.from_bytes(secrets.token_bytes(32)), _SECRET_LENGTH)
    return body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Whether this could be a key of ours: shape and checksum."""
    if _SHAPE.fullmatch(key) is None:
        return False
    body, checksum = key[:-_CHECKSUM_LENGTH], key[-_CHECKSUM_LENGTH:]
    return secrets.compare_digest(_checksum(body), checksum)


def hash_key(key: str) -> str:
    """What the database keeps: SHA-256, 64 hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()


def shown_part(key: str) -> str:
    """The beginning by which people tell their keys apart."""
    return key[:SHOWN_LENGTH]


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
