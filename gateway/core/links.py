"""Links that people carry away in a message: what they open is signed, so that nobody can make one up.

A link names its message and nothing else: no address stands in it, and none can be learnt from it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from gateway.core.ids import MessageId

PATH: Final = "/u/"
TOKEN_CHARACTERS: Final = 32  # base64 of 8 bytes of id and 16 of its mark

_MARK_BYTES: Final = 16
_ID_BYTES: Final = 8
_UNSUBSCRIBE: Final = b"unsubscribe\0"


@dataclass(frozen=True, slots=True)
class Links:
    """Makes and reads them. `secret` is the installation's own; `public_url` without a slash at its end."""

    secret: bytes
    public_url: str | None

    def unsubscribe(self, message: MessageId) -> str | None:
        """Where the reader of a message leaves; None without a public URL."""
        return None if self.public_url is None else f"{self.public_url}{PATH}{self.token(message)}"

    def token(self, message: MessageId) -> str:
        """What stands at the end of the link."""
        id = message.to_bytes(_ID_BYTES, "big")
        return base64.urlsafe_b64encode(id + self._mark(id)).decode()

    def message_of(self, token: str) -> MessageId | None:
        """The message that a link was made for; None if it was not made here."""
        if len(token) != TOKEN_CHARACTERS or not token.isascii():
            return None
        try:
            raw = base64.b64decode(token, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        id, mark = raw[:_ID_BYTES], raw[_ID_BYTES:]
        return MessageId(int.from_bytes(id, "big")) if hmac.compare_digest(mark, self._mark(id)) else None

    def _mark(self, id: bytes) -> bytes:
        return hmac.digest(self.secret, _UNSUBSCRIBE + id, hashlib.sha256)[:_MARK_BYTES]
