"""What is written for a request. Requests that differ in query and body alone share one head, which is made once."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote

from yarl import URL

from gateway.contract import NotSent
from gateway.outbound.pool import Origin

HEADS_MAX: Final = 256  # that are kept: a sender has a handful, and one for each message that it looks up
FORM_TYPE: Final = "application/x-www-form-urlencoded"
JSON_TYPE: Final = "application/json"
BYTES_TYPE: Final = "application/octet-stream"

_EMPTY: Final = URL()
# What a URL may consist of (RFC 3986); anything else is made such a URL first: spaces, umlauts, a stray percent sign.
_LETTERS: Final = r"[A-Za-z0-9._~!$&'()*+,;=:@/-]*+"
_PATH: Final = rf"{_LETTERS}(?:%[0-9A-Fa-f]{{2}}{_LETTERS})*+"
_QUERY: Final = re.compile(_PATH.replace("@/", "@/?"))
_BASE: Final = re.compile(
    r"(?P<scheme>https?)://(?:(?P<user>[^/?#@\s]*)@)?(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    rf"(?P<path>/{_PATH})?",
    re.IGNORECASE | re.ASCII,
)
_METHOD: Final = re.compile(r"[A-Z]{1,32}")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNFIT: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# What these say is for the client alone to decide.
_RESERVED: Final = frozenset(
    {"connection", "content-length", "expect", "te", "trailer", "transfer-encoding", "upgrade"}
)
_SAYS_NONE: Final = frozenset({"POST", "PUT", "PATCH"})  # without a body they have one of no octets


class Request(NamedTuple):
    """Bytes, and where they go."""

    origin: Origin
    wire: bytes
    bodiless: bool  # the answer has no body, whatever it says


class _Head(NamedTuple):
    origin: Origin
    start: bytes  # method and path
    rest: bytes  # what follows the query; with a body, up to the value of Content-Length
    bodiless: bool


def form_body(form: Mapping[str, str] | Sequence[tuple[str, str]]) -> bytes:
    """Fields as HTML forms are sent. UnicodeEncodeError for half a character."""
    pairs = list(form.items()) if isinstance(form, Mapping) else form
    for name, value in pairs:
        if not (name.isascii() and value.isascii()):
            (name + value).encode()  # yarl would leave half a character out, and nobody would know
    # A quarter of the time that the standard library's urlencode takes.
    return _EMPTY.with_query(pairs).raw_query_string.encode()


class Requests:
    """Makes requests. The heads that it keeps hold credentials, as the adapter does whose they are."""

    def __init__(self) -> None:
        self._heads: dict[tuple[object, ...], _Head] = {}

    def make(self, method: str, url: str, kind: str | None, body: bytes, headers: Mapping[str, str]) -> Request:
        """`kind`: the media type of `body` if `headers` say no other; None: there is no body.

        NotSent if `url` is none of http or https; ValueError for a method or header that cannot be sent as it is.
        """
        base, mark, query = url.partition("?")
        key = (method, base, kind, *headers.items())
        head = self._heads.get(key)
        if head is None or (query and not _QUERY.fullmatch(query)):
            plain, mark, query = _plain(url).partition("?")
            head = _made(method, plain, kind, headers)
            if plain == base:
                self._keep(key, head)
        parts = [head.start, f"{mark}{query}".encode(), head.rest]
        if kind is not None:
            parts += [b"%d\r\n\r\n" % len(body), body]
        return Request(head.origin, b"".join(parts), head.bodiless)

    def _keep(self, key: tuple[object, ...], head: _Head) -> None:
        if len(self._heads) >= HEADS_MAX:
            self._heads.clear()
        self._heads[key] = head


def _plain(url: str) -> str:
    """The URL in letters of URLs alone, without a fragment. NotSent if it is none."""
    if _is_plain(url):
        return url
    try:
        parsed = URL(url)
        quoted = str(parsed.with_fragment(None)) if parsed.absolute else ""
    except ValueError as exc:
        raise NotSent("what was to be asked is no URL") from exc
    if not _is_plain(quoted):
        raise NotSent("what was to be asked is no URL of http or https")
    return quoted


def _is_plain(url: str) -> bool:
    base, _, query = url.partition("?")
    return _BASE.fullmatch(base) is not None and _QUERY.fullmatch(query) is not None


def _made(method: str, base: str, kind: str | None, headers: Mapping[str, str]) -> _Head:
    if not _METHOD.fullmatch(method) or method == "CONNECT":
        raise ValueError(f"{method[:40]!r} is no method of a request")
    parts = _BASE.fullmatch(base)
    assert parts is not None
    secure, host = parts["scheme"].lower() == "https", parts["host"].lower()
    usual = 443 if secure else 80
    port = int(parts["port"] or usual)
    if not 0 < port < 65_536:
        raise NotSent(f"{port} is no port")
    fields = {
        "host": ("Host", host if port == usual else f"{host}:{port}"),
        "accept": ("Accept", "*/*"),
        "accept-encoding": ("Accept-Encoding", "identity"),
        "user-agent": ("User-Agent", "dripgate"),
    }
    if parts["user"]:
        credentials = b64encode(unquote(parts["user"]).encode()).decode()
        fields["authorization"] = ("Authorization", f"Basic {credentials}")
    if kind is not None:
        fields["content-type"] = ("Content-Type", kind)
    for name, value in headers.items():
        _check(name, value)
        fields[name.lower()] = (name, value)
    lines = "".join(f"\r\n{name}: {value}" for name, value in fields.values())
    if kind is not None:
        end = "\r\nContent-Length: "
    else:
        end = "\r\nContent-Length: 0\r\n\r\n" if method in _SAYS_NONE else "\r\n\r\n"
    origin = Origin(secure, host.strip("[]"), port)
    start = f"{method} {parts['path'] or '/'}".encode()
    return _Head(origin, start, f" HTTP/1.1{lines}{end}".encode(), method == "HEAD")


def _check(name: str, value: str) -> None:
    """A value with a line break in it would be a header more, or a request more."""
    if not _NAME.fullmatch(name) or _UNFIT.search(value):
        raise ValueError(f"the header {name[:40]!r} holds what no header may")
    if name.lower() in _RESERVED:
        raise ValueError(f"the header {name} is for the client to write")
