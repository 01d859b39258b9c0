"""The short way for callbacks: a plain request is answered without a route, middlewares and objects made for one use.

What a callback costs is mostly what stands around it, and a send to a million people brings two million of them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from gateway.http.callbacks import METHODS, PATHS, PREFIX, CallbackDoor
from gateway.http.hosts import check_host
from gateway.http.plain_requests import PlainRequest
from gateway.http.problems import COMMON_HEADERS, CONTENT_TYPE, explain

# No escapes, no dots and no empty parts: nothing that could be decoded or normalised.
_PATH: Final = re.compile(rf"{PREFIX}[A-Za-z0-9_-]++(?:/[A-Za-z0-9_-]++)*+(?:\?.*)?", re.DOTALL)
_BODILESS: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class Express:
    """Answers plain requests for the callbacks' paths as the door's handler would."""

    def __init__(self, door: CallbackDoor, hosts: frozenset[str] | None) -> None:
        """`hosts`: the only names it answers to; None: any."""
        self._door = door
        self._hosts = hosts

    def takes(self, plain: PlainRequest) -> bool:
        """Whether this request is for the door, in the usual spelling."""
        return plain.method in METHODS and _PATH.fullmatch(plain.target) is not None and self._door.knows_itself

    async def answer(self, plain: PlainRequest) -> bytes:
        """The whole answer, as it goes over the wire. Whatever happens, there is one."""
        try:
            check_host(plain.headers["host"], self._hosts)
            said = await self._door.take(plain)
            return _written(said.status, said.content_type, said.body, {}, plain.closes)
        except Exception as exc:  # noqa: BLE001 - the last handler: whatever it is, the provider gets an answer
            told = explain(exc, method=plain.method, route=PATHS[0])
            return _written(told.status, CONTENT_TYPE, told.body, told.headers, plain.closes)


def _written(status: int, content_type: str, body: bytes, headers: Mapping[str, str], closes: bool) -> bytes:
    head = _head(status, content_type, len(body), tuple(headers.items()), closes)
    return b"%bDate: %b\r\n\r\n%b" % (head, _date(int(time.time())), b"" if status in _BODILESS else body)


@lru_cache(maxsize=64)
def _head(status: int, content_type: str, length: int, headers: tuple[tuple[str, str], ...], closes: bool) -> bytes:
    """What is the same in answer after answer. ValueError where an adapter's media type is no header."""
    fields = {**COMMON_HEADERS, **dict(headers)}
    if status not in _BODILESS:
        fields |= {"Content-Type": content_type, "Content-Length": str(length)}
    if closes:
        fields["Connection"] = "close"
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in fields.items())]
    if not "".join(lines).isprintable():
        raise ValueError(f"not a header: {content_type!r}")
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")


@lru_cache(maxsize=1)
def _date(now: int) -> bytes:
    return formatdate(now, usegmt=True).encode()
