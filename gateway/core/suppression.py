"""Opt-outs of people who were forgotten: their addresses as hashes that only this installation can make."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

HASH_FUNCTION: Final = "suppression_hash"
"""The name in SQL: (channel, address) to the hash."""


def hasher(secret: bytes) -> Callable[[str, str | None], str | None]:
    """What the SQL function does. Addresses are compared without regard to case, as in opt-outs."""

    def suppression_hash(channel: str, address: str | None) -> str | None:
        if address is None:
            return None
        said = f"suppression\0{channel}\0{address.lower()}".encode("utf-8", "surrogatepass")
        return hmac.digest(secret, said, hashlib.sha256).hex()

    return suppression_hash
