"""Whether a callback comes from Twilio: the header X-Twilio-Signature.

Source: twilio-python 9.13.0, twilio/request_validator.py (run against the vectors in the tests), and the page
twilio.com/docs/usage/webhooks/webhooks-security, 2026-11. Twilio signs the URL that it was given, so ours is the
configured public one, never the request's Host; a connection override after # is not part of it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Final
from urllib.parse import unquote_to_bytes

from gateway import CallbackRequest

FIELDS_MAX: Final = 1_000  # of one form: Twilio's largest has about sixty
REMEMBERED_BYTES_MAX: Final = 4_096  # of one form; a receipt has about 400
SHORT_BYTES_MAX: Final = 64  # of a name or a value; a telephone number has about 16
FORM: Final = "application/x-www-form-urlencoded"
SIGNATURE: Final = "x-twilio-signature"
SETTINGS: Final = "x-twilio-webhooks-signature-settings"

Pairs = Sequence[tuple[bytes, bytes]]

_ALGORITHMS: Final = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}
_ORIGIN: Final = re.compile(r"[^:/?]*://[^/?]*")
_NETLOC: Final = re.compile(r"(?P<user>.*@)?(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>\d*))?", re.DOTALL)
_DEFAULT_PORTS: Final = {"https": "443", "http": "80"}


class Verifier:
    """Knows one account's secrets, and tells genuine callbacks from others. Compares in constant time."""

    def __init__(self, auth_tokens: Iterable[str], webhook_keys: Mapping[str, str]) -> None:
        """`auth_tokens`: the primary, and during a rotation the secondary. `webhook_keys`: shared keys by name."""
        self._auth_tokens = tuple(token.encode() for token in auth_tokens)
        self._webhook_keys = {name: key.encode() for name, key in webhook_keys.items()}

    def verify(self, request: CallbackRequest) -> bool:
        """Whether the request bears a signature that only Twilio and we can make."""
        claimed = request.headers.get(SIGNATURE, "")
        secrets, algorithm = self._secrets(request.headers.get(SETTINGS))
        pairs = signed_pairs(request)
        if not claimed or not secrets or algorithm is None or pairs is None:
            return False
        given = claimed.encode("utf-8", "replace")
        form = signed_form(pairs)
        for url in url_spellings(request.url):
            for secret in secrets:
                if hmac.compare_digest(given, signature(secret, url, form, algorithm)):
                    return True
        return False

    def _secrets(self, settings: str | None) -> tuple[tuple[bytes, ...], str | None]:
        """What the signature is made with: the account's token and SHA-1, unless a header names a key and a hash."""
        if settings is None:
            return self._auth_tokens, "HMAC_SHA1"
        named = dict(part.strip().split("=", 1) for part in settings.split(",") if "=" in part)
        key = self._webhook_keys.get(named.get("key", ""))
        algorithm = named.get("algorithm", "")
        return (key,) if key else (), algorithm if algorithm in _ALGORITHMS else None


def signature(secret: bytes, url: str, form: bytes, algorithm: str = "HMAC_SHA1") -> bytes:
    """base64(HMAC(secret, url + form))."""
    mac = _keyed(secret, algorithm).copy()
    mac.update(url.encode("utf-8", "replace") + form)
    return b64encode(mac.digest())


@lru_cache(maxsize=16)
def _keyed(secret: bytes, algorithm: str) -> hmac.HMAC:
    """With the key taken in, which is half of the work for a text as short as a receipt."""
    return hmac.new(secret, digestmod=_ALGORITHMS[algorithm])


def signed_form(pairs: Pairs) -> bytes:
    """Names and values as they are signed: distinct names in byte order, of each the distinct values."""
    return b"".join(chain.from_iterable(sorted(set(pairs))))


def signed_pairs(request: CallbackRequest) -> Pairs | None:
    """The form's pairs, which are signed with the URL; none where the URL vouches for the body by its hash.

    None: nothing vouches for this body, or it is no form that can be read.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == FORM:
        return form_pairs(request.body)
    if not request.body:
        return ()
    claimed = dict(request.query).get("bodySHA256", "")
    actual = hashlib.sha256(request.body).hexdigest()
    return () if hmac.compare_digest(claimed.lower().encode("utf-8", "replace"), actual.encode()) else None


def form_pairs(body: bytes) -> Pairs | None:
    """Names and values as the bytes that they stand for; None if there are absurdly many."""
    return _remembered(body) if len(body) <= REMEMBERED_BYTES_MAX else _split(body)


@lru_cache(maxsize=256)
def _remembered(body: bytes) -> Pairs | None:
    """The same body is read for its signature and, a moment later, for what it says."""
    return _split(body)


def _split(body: bytes) -> Pairs | None:
    if body.count(b"&") >= FIELDS_MAX:
        return None
    pairs = []
    for part in filter(None, body.split(b"&")):
        name, _, value = part.partition(b"=")
        # Numbers, not b"%" and b"+": looking for bytes in bytes takes five times as long.
        if 0x25 in part or 0x2B in part:
            name, value = _unquoted(name), _unquoted(value)
        pairs.append((name, value))
    return tuple(pairs)


def _unquoted(text: bytes) -> bytes:
    return _short_unquoted(text) if len(text) <= SHORT_BYTES_MAX else unquote_to_bytes(text.replace(b"+", b" "))


@lru_cache(maxsize=1024)
def _short_unquoted(text: bytes) -> bytes:
    """Of one callback to the next our own number is the same, and of one receipt of a message to the next the other."""
    return unquote_to_bytes(text.replace(b"+", b" "))


def url_spellings(url: str) -> tuple[str, ...]:
    """The URL without its fragment, without a port and with one: Twilio's servers do not agree on which they sign."""
    signed = url.partition("#")[0]
    found = _ORIGIN.match(signed)
    end = 0 if found is None else found.end()
    return tuple([origin + signed[end:] for origin in _origins(signed[:end])])


@lru_cache(maxsize=64)
def _origins(origin: str) -> tuple[str, ...]:
    scheme, separator, netloc = origin.partition("://")
    found = _NETLOC.fullmatch(netloc)
    default = _DEFAULT_PORTS.get(scheme.lower())
    if not separator or found is None or default is None:
        return (origin,)
    bare = f"{scheme}://{found['user'] or ''}{found['host']}"
    return bare, f"{bare}:{found['port'] or default}"
