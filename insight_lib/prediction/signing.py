"""The key that signs what the registry keeps, and the signature itself (HMAC-SHA256).

A signature shows that bytes are those this project wrote. It is checked before the bytes
are parsed, so nothing that somebody else wrote reaches a parser.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from pathlib import Path

KEY_VARIABLE = "INSIGHT_SIGNING_KEY"
_KEY_BYTES = 32


class KeyRefused(PermissionError):
    """The signing key is missing, too short or readable by others; says what to do."""


def read_key(path: Path, *, may_create: bool = True) -> bytes:
    """The signing key: from `INSIGHT_SIGNING_KEY` (hex), else from a file of mode 0600.

    Args:
        path: Key file; made on first use.
        may_create: Whether a missing file is made; leave off where models already exist.

    Raises:
        KeyRefused: The key is missing, not hex, too short, or others may read the file.
    """
    given = os.environ.get(KEY_VARIABLE)
    if given is not None:
        return _parse(given, KEY_VARIABLE)
    if not path.exists():
        if not may_create:
            raise KeyRefused(
                f"{path}: no signing key; put the key back from its backup, or set {KEY_VARIABLE}"
            )
        _create(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise KeyRefused(f"{path}: others may read it (mode {mode:o}); run `chmod 600 {path}`")
    return _parse(path.read_text(), str(path))


def _create(path: Path) -> None:
    """Write a new key beside its name and link it into place; the first of two writers wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(beside)
        except FileExistsError:
            return
    finally:
        beside.unlink(missing_ok=True)


def _parse(text: str, where: str) -> bytes:
    cleaned = text.strip()
    if not re.fullmatch(r"([0-9a-fA-F]{2})+", cleaned) or len(cleaned) < 2 * _KEY_BYTES:
        raise KeyRefused(
            f"{where}: a signing key is at least {2 * _KEY_BYTES} hex digits; "
            "take it from its backup"
        )
    return bytes.fromhex(cleaned)


def sign(key: bytes, *parts: bytes) -> str:
    """HMAC-SHA256 over the parts and their lengths, as hex."""
    return hmac.new(key, _framed(parts), hashlib.sha256).hexdigest()


def is_signed(signature: str, key: bytes, *parts: bytes) -> bool:
    """Whether `sign` would give this signature; takes the same time either way."""
    return hmac.compare_digest(signature.encode(), sign(key, *parts).encode())


def key_name(key: bytes) -> str:
    """A short name of a key that does not give it away."""
    return sign(key, b"name of the key")[:8]


def _framed(parts: tuple[bytes, ...]) -> bytes:
    """Parts with their lengths, so that ("ab", "c") and ("a", "bc") differ."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)
