"""`/callbacks/{sender}`: the door for providers. It takes no key: each adapter knows its provider's requests by itself.

A provider that is answered with an error sends the same again for days, or never again. So whatever is genuine is
answered with success once it is on disk, however little it can be understood.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import web

from gateway.contract import CallbackAnswer, CallbackRequest
from gateway.engine.catalogue import Catalogue, Sender
from gateway.engine.intake import Intake
from gateway.errors import NotFound, Refused
from gateway.http.plain_requests import PlainRequest
from gateway.http.problems import COMMON_HEADERS
from gateway.http.reading import BodyReader, HttpLimits

PARAMETERS_MAX: Final = 250  # of a query string; Kannel's have a dozen
BODY_BYTES_MAX: Final = 4 * 1024 * 1024  # Meta batches updates into up to 3 MB; a mail that bounced is cut short
PREFIX: Final = "/callbacks/"
PATHS: Final = (f"{PREFIX}{{sender}}", f"{PREFIX}{{sender}}/{{tail:.*}}")
METHODS: Final = ("GET", "POST")

# What our own callback URLs have, `ref=msg_...`, and nothing that could stand for something else.
_PAIR: Final = re.compile(r"[A-Za-z0-9_-]+=[A-Za-z0-9_-]*")


class CallbackDoor:
    """The handler of both paths."""

    def __init__(
        self, intake: Intake, catalogue: Catalogue, public_url: str | None, limits: HttpLimits | None = None
    ) -> None:
        """`public_url`: what providers believe to call, and sign; None: what each request says."""
        self._intake = intake
        self._catalogue = catalogue
        self._public_url = None if public_url is None else public_url.rstrip("/")
        self._reader = BodyReader(limits or HttpLimits())

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Register the paths."""
        for path in PATHS:
            for method in METHODS:
                router.add_route(method, path, self.handle)

    @property
    def knows_itself(self) -> bool:
        """Whether it is configured what providers call it; else each request has to say it."""
        return self._public_url is not None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Take one callback. NotFound: no such sender. Refused: too large, too slow, not genuine."""
        sender = self._sender(request.match_info["sender"])
        body = await self._reader.raw(request, BODY_BYTES_MAX)
        answer = await self._receive(sender, self._read(request, body))
        return web.Response(
            status=answer.status, body=answer.body, headers={**COMMON_HEADERS, "Content-Type": answer.content_type}
        )

    def take(self, plain: PlainRequest) -> Coroutine[Any, Any, CallbackAnswer]:
        """Take one that is plain; only where `knows_itself`. What this and its awaiting raise is that of `handle`."""
        path, _, query = plain.target.partition("?")
        name, slash, rest = path.removeprefix(PREFIX).partition("/")
        request = CallbackRequest(
            method=plain.method,
            url=f"{self._public_url}{plain.target}",
            tail=slash + rest,
            query=_pairs(query),
            headers=plain.headers,
            body=plain.body,
        )
        return self._receive(self._sender(name), request)

    def _sender(self, name: str) -> Sender:
        sender = self._catalogue.senders.get(name)
        if sender is None:
            raise NotFound("sender", name[:100])
        return sender

    async def _receive(self, sender: Sender, request: CallbackRequest) -> CallbackAnswer:
        answer = await self._intake.receive(sender, request)
        if answer is None:
            raise Refused("callback_refused", "The request does not prove that it comes from the provider.")
        return answer

    def _read(self, request: web.Request, body: bytes) -> CallbackRequest:
        tail = request.match_info.get("tail")
        origin = self._public_url if self._public_url is not None else str(request.url.origin())
        headers: dict[str, str] = {}
        for name, value in request.headers.items():
            lowered = name.lower()
            headers[lowered] = f"{headers[lowered]}, {_text(value)}" if lowered in headers else _text(value)
        return CallbackRequest(
            method=request.method,
            url=origin + _text(request.raw_path),
            tail="" if tail is None else f"/{_text(tail)}",
            query=_pairs(_text(request.raw_path).partition("?")[2]),
            headers=headers,
            body=body,
        )


def _pairs(query: str) -> tuple[tuple[str, str], ...]:
    if _PAIR.fullmatch(query):
        name, _, value = query.partition("=")
        return ((name, value),)
    try:
        return tuple(parse_qsl(query, keep_blank_values=True, errors="replace", max_num_fields=PARAMETERS_MAX))
    except ValueError as exc:
        raise Refused("malformed_request", f"The query string cannot be read: {exc}.") from exc


def _text(value: str) -> str:
    """Bytes that are no UTF-8 reach us as unpaired surrogates, which cannot be stored."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()
