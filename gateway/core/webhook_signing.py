"""How deliveries to webhooks are signed: the symmetric scheme of Standard Webhooks 1.0.0.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, read 2026-11.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

SECRET_BYTES: Final = 32  # the scheme asks for 24 to 64
_PREFIX: Final = "whsec_"


def secret_text(random: bytes) -> str:
    """A secret as people carry it: `whsec_` and base64."""
    return _PREFIX + base64.b64encode(random).decode()


def headers(secrets: Sequence[str], id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of a delivery. `timestamp`: of the attempt, in seconds since 1970.

    Signed with each of `secrets`, so that a receiver can change from one to the next while both are good.
    """
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signature(secret, id, timestamp, body) for secret in secrets),
    }


def signature(secret: str, id: str, timestamp: int, body: bytes) -> str:
    """One signature: `v1,` and the base64 of an HMAC-SHA256."""
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    signed = b".".join((id.encode(), str(timestamp).encode(), body))
    return f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"
