"""Whether a callback comes from Meta: the header X-Hub-Signature-256, and the handshake that sets a webhook up.

Sources: developers.facebook.com/docs/graph-api/webhooks/getting-started, 2026-11; nyaruka/courier, handlers/meta, and
pywa 4.5.0, against which the vector in the tests was run. What is signed are the bytes as they come: Meta writes
characters beyond ASCII as escapes, so the same JSON written again has another signature.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Final

from gateway import CallbackAnswer, CallbackRequest

SIGNATURE: Final = "x-hub-signature-256"
CHALLENGE_MAX: Final = 1_024  # characters; Meta's has about ten digits


class Verifier:
    """Knows an app's secrets and the webhook's verify token. Compares in constant time."""

    def __init__(self, app_secrets: Iterable[str], verify_token: str) -> None:
        """`app_secrets`: the current one, and during a rotation the other."""
        self._app_secrets = tuple(secret.encode() for secret in app_secrets)
        self._verify_token = verify_token.encode()

    def verify(self, request: CallbackRequest) -> bool | CallbackAnswer:
        """Whether Meta signed the request; the answer to a handshake."""
        if request.method == "GET":
            return self._handshake(request)
        given = request.headers.get(SIGNATURE, "").encode("utf-8", "replace")
        return any(hmac.compare_digest(given, signature(secret, request.body)) for secret in self._app_secrets)

    def _handshake(self, request: CallbackRequest) -> bool | CallbackAnswer:
        """The challenge, to whoever knows our token: Meta asks so once, when the webhook is set up."""
        asked = dict(request.query)
        token = asked.get("hub.verify_token", "").encode("utf-8", "replace")
        challenge = asked.get("hub.challenge", "").encode("utf-8", "replace")
        known = hmac.compare_digest(token, self._verify_token)
        if not known or asked.get("hub.mode") != "subscribe" or not 0 < len(challenge) <= CHALLENGE_MAX:
            return False
        return CallbackAnswer(200, challenge)


def signature(app_secret: bytes, body: bytes) -> bytes:
    """`sha256=` and the HMAC of the raw body in hexadecimal digits, as the header has it."""
    return b"sha256=" + hmac.digest(app_secret, body, "sha256").hex().encode()
