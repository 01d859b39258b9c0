"""Reading a request that is plain: whole, in ASCII, of known length, without anything that changes how it is read.

Nearly every callback of a provider is. Whatever is not goes to aiohttp, so that this reads nothing in another way than
aiohttp would: where the two could differ, the request is not plain. Source: RFC 9112, sections 2 to 6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec

HEAD_BYTES_MAX: Final = 8 * 1024
BODY_BYTES_MAX: Final = 64 * 1024
END: Final = b"\r\n\r\n"

_START: Final = re.compile(
    r"(GET|HEAD|POST|PUT|PATCH|DELETE) (/[!-\"$-~]*) HTTP/1\.1"
)  # no "#": it would cut the path in some readers
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_LENGTH: Final = re.compile(r"[0-9]{1,6}")
_CHANGING: Final = frozenset({"transfer-encoding", "content-encoding", "expect", "upgrade", "trailer"})
_BODILESS: Final = frozenset({"GET", "HEAD", "DELETE"})
_ONCE: Final = ("host", "content-length", "content-type")


class PlainRequest(msgspec.Struct, frozen=True):
    """One request. Of a header that came several times, the values stand in one, as RFC 9110 (5.3) allows."""

    method: str
    target: str  # path and query as received
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def closes(self) -> bool:
        """Whether the other side wants no further answer on this connection."""
        return self.headers.get("connection", "").lower() == "close"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The head of a plain request, whose body is still to come. `size`: bytes of both together."""

    size: int


def read_plain(data: bytes) -> PlainRequest | Unfinished | None:
    """The request that these bytes are, and nothing else; None: they are no plain one."""
    end = data.find(END, 0, HEAD_BYTES_MAX)
    if end < 0:
        return None
    try:
        start, *lines = data[:end].decode("ascii").split("\r\n")
    except UnicodeDecodeError:
        return None
    first = _START.fullmatch(start)
    headers = None if first is None else _headers(lines)
    if first is None or headers is None:
        return None
    length = _length(first[1], headers)
    if length is None:
        return None
    size = end + len(END) + length
    if len(data) < size:
        return Unfinished(size)
    if len(data) > size:
        return None
    return PlainRequest(first[1], first[2], headers, data[size - length :])


def _headers(lines: list[str]) -> dict[str, str] | None:
    """By name in lower case; None where one of them is not plain."""
    if not "".join(lines).isprintable():
        return None
    headers: dict[str, str] = {}
    for line in lines:
        written, _, value = line.partition(":")
        name = _lower(written)
        if name is None:
            return None
        value = value.strip(" ")
        if name in headers:
            if name in _ONCE:
                return None
            value = f"{headers[name]}, {value}"
        headers[name] = value
    if not headers.get("host") or not _CHANGING.isdisjoint(headers):
        return None
    return headers if headers.get("connection", "close").lower() in ("close", "keep-alive") else None


@lru_cache(maxsize=512)
def _lower(name: str) -> str | None:
    """A header's name as it is compared; None if it is none. The same two dozen come again and again."""
    return name.lower() if _NAME.fullmatch(name) else None


def _length(method: str, headers: dict[str, str]) -> int | None:
    """Of the body, as the request says it; None if it does not say it plainly, or it is a large one."""
    said = headers.get("content-length", "0" if method in _BODILESS else "")
    if not _LENGTH.fullmatch(said) or int(said) > BODY_BYTES_MAX:
        return None
    return int(said)
