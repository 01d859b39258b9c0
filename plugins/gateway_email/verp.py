"""Return paths that name the message they belong to, and cannot be made up (variable envelope return paths).

`bounce@grace.example` becomes `bounce+msg_0c3v8h2k9m4qa-k3v9q2m4xa@grace.example`: the reference, and the beginning of
an HMAC of it. Whatever else a bounce says or lacks, the address that it came to says which message it is about.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from itertools import islice
from typing import Final

from gateway import ascii_domain

SECRET_CHARACTERS_MIN: Final = 16
LOCAL_CHARACTERS_MAX: Final = 12  # of the address itself: 64 (RFC 5321 4.5.3.1.1) less "+", 40 of a ref, "-" and 10
PATHS_MAX: Final = 10  # in one header field: what is looked at costs an HMAC each
_PROOF_CHARACTERS: Final = 10  # 50 bits: as many guesses over SMTP take longer than anybody lives
_PROOF_OCTETS: Final = 10  # as many as those characters need, to whole groups of eight
_PURPOSE: Final = b"gateway_email return path "  # the same secret in another use proves nothing here


class ReturnPaths:
    """The return paths of one sender. Their spelling survives servers that change the case of letters."""

    def __init__(self, address: str, secret: str) -> None:
        """`address`: validated, ASCII before the @."""
        local, _, domain = address.rpartition("@")
        self._local = local
        self._domain = ascii_domain(domain)
        self._secret = secret.encode()
        path = rf"(?<![^\s<>,;:\"'(]){re.escape(local)}\+([a-z0-9_]{{1,40}})-([a-z2-7]{{10}})@{re.escape(self._domain)}"
        self._path = re.compile(path, re.IGNORECASE)
        self._token = re.compile(rf"<?([a-z0-9_]{{1,40}})-([a-z2-7]{{10}})@{re.escape(self._domain)}>?", re.IGNORECASE)

    def path(self, ref: str) -> str:
        """Where bounces of this message go."""
        return self.path_of(self.envelope_id(ref))

    def path_of(self, envelope_id: str) -> str:
        """The same, of what `envelope_id` has made."""
        return f"{self._local}+{envelope_id}"

    def envelope_id(self, ref: str) -> str:
        """The message's name in its envelope (RFC 3461 4.4), from which a report says it again."""
        return f"{ref}-{self._proof(ref)}@{self._domain}"

    def ref_in(self, text: str) -> str | None:
        """The reference of the first return path of ours in a header field."""
        return self._proved(self._path.finditer(text))

    def ref_of_envelope_id(self, text: str) -> str | None:
        """The reference that `envelope_id` was made of."""
        found = self._token.fullmatch(text.strip())
        return self._proved([found] if found else [])

    def _proved(self, found: Iterable[re.Match[str]]) -> str | None:
        for match in islice(found, PATHS_MAX):
            ref, proof = match[1].lower(), match[2].lower()
            if hmac.compare_digest(proof, self._proof(ref)):
                return ref
        return None

    def _proof(self, ref: str) -> str:
        digest = hmac.digest(self._secret, _PURPOSE + ref.encode("ascii"), hashlib.sha256)
        return base64.b32encode(digest[:_PROOF_OCTETS])[:_PROOF_CHARACTERS].decode("ascii").lower()
