"""Reading a request's body: bounded in size and in time, never compressed, and not before the caller is known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.errors import Invalid, Problem, Refused
from gateway.http.routing import Route
from gateway.validation import decode_json

BROKEN_OFF: Final = (ConnectionError, ClientPayloadError, HttpProcessingError, web.RequestPayloadError)
"""What aiohttp raises when the caller hangs up in the middle of a body or breaks its framing."""

ASIDE_BYTES: Final = 128 * 1024  # about a millisecond of decoding; a thread costs a tenth of that
JSON_TYPES: Final = frozenset({"application/json", "application/merge-patch+json"})

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """How long a caller may take, in seconds. The sizes of bodies stand on the routes."""

    body_seconds: float = 30.0  # a whole body that is held in memory: a megabyte on a slow line
    chunk_seconds: float = 30.0  # the next piece of a streamed body: whoever is silent for longer has gone
    stream_seconds: float = 3_600.0  # a whole streamed body: an import of a million rows takes minutes
    write_seconds: float = 60.0  # one piece of a streamed answer to a reader that is too slow
    idle_seconds: float = 75.0  # a connection without a request, and the headers of one that trickle in
    linger_seconds: float = 5.0  # reading on after a refusal, so that the caller sees it instead of a reset
    shutdown_seconds: float = 8.0  # requests in progress when the daemon ends; it drains within 10 s


class BodyReader:
    """Reads bodies by one set of limits."""

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits

    async def decode(self, request: web.Request, route: Route) -> Any:
        """The JSON body of a route that takes one; None if it is absent and need not be there.

        Refused: `unsupported_media_type`, `body_too_large`, `request_timeout`, `malformed_json`.
        """
        _check_encoding(request)
        if not request.body_exists and not route.body_required:
            return None
        _check_media_type(request, JSON_TYPES)
        body = await self._read(request, route.body_bytes_max)
        if not body and not route.body_required:
            return None
        decoded = await aside(len(body), lambda: decode_json(body))
        if route.merge_patch and not isinstance(decoded, dict):
            raise Invalid([Problem("", "A merge patch is a JSON object.")])
        return decoded

    async def raw(self, request: web.Request, bytes_max: int) -> bytes:
        """The body as it came, of any media type. Refused: `unsupported_media_type`, `body_too_large`, ..."""
        _check_encoding(request)
        return await self._read(request, bytes_max)

    def chunks(self, request: web.Request, route: Route) -> AsyncIterator[bytes]:
        """The raw body of a route that streams; too much or too slow raises while it is read."""
        _check_encoding(request)
        _check_media_type(request, frozenset(route.streams))
        _check_length(request, route.body_bytes_max)
        return self._chunks(request, route.body_bytes_max)

    async def _read(self, request: web.Request, bytes_max: int) -> bytes:
        _check_length(request, bytes_max)
        if request.content.is_eof():
            # It came with its headers, as most do. A time limit costs as much as reading it.
            try:
                body = request.content.read_nowait()
            except BROKEN_OFF as exc:
                raise _broken_off() from exc
            if len(body) > bytes_max:
                raise _too_large(bytes_max)
            return body
        return await self._gather(request, bytes_max)

    async def _gather(self, request: web.Request, bytes_max: int) -> bytes:
        await _invite(request)
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                async for chunk in request.content.iter_any():
                    body += chunk
                    if len(body) > bytes_max:
                        raise _too_large(bytes_max)
        except TimeoutError as exc:
            detail = f"The body did not arrive within {self._limits.body_seconds:g} s."
            raise Refused("request_timeout", detail) from exc
        except BROKEN_OFF as exc:
            raise _broken_off() from exc
        return bytes(body)

    async def _chunks(self, request: web.Request, bytes_max: int) -> AsyncIterator[bytes]:
        await _invite(request)
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._limits.stream_seconds
        received = 0
        while True:
            try:
                async with asyncio.timeout_at(min(ends, loop.time() + self._limits.chunk_seconds)):
                    chunk = await request.content.readany()
            except TimeoutError as exc:
                raise Refused("request_timeout", "The body stopped arriving.") from exc
            except BROKEN_OFF as exc:
                raise _broken_off() from exc
            if not chunk:
                return
            received += len(chunk)
            if received > bytes_max:
                raise _too_large(bytes_max)
            yield chunk


async def aside(size: int, work: Callable[[], T]) -> T:
    """Do `work` at once, or on a thread where `size` bytes would hold the event loop up for milliseconds."""
    return work() if size < ASIDE_BYTES else await asyncio.to_thread(work)


async def keep_waiting(request: web.Request) -> None:
    """The answer to `Expect: 100-continue` before the caller is known: none. `_invite` gives it when it is wanted."""


async def _invite(request: web.Request) -> None:
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the interim line is no part of the answer that is still to come


def _check_encoding(request: web.Request) -> None:
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding != "identity":
        detail = f"Bodies are taken uncompressed only, this one has Content-Encoding {encoding!r}."
        raise Refused("unsupported_media_type", detail)


def _check_media_type(request: web.Request, taken: frozenset[str]) -> None:
    if request.content_type not in taken:
        given = request.headers.get("Content-Type")
        said = f"Content-Type is {given!r}" if given else "There is no Content-Type"
        raise Refused("unsupported_media_type", f"{said}; this path takes {', '.join(sorted(taken))}.")


def _check_length(request: web.Request, bytes_max: int) -> None:
    if request.content_length is not None and request.content_length > bytes_max:
        raise _too_large(bytes_max)


def _broken_off() -> Refused:
    return Refused("malformed_request", "The body broke off, or its framing is wrong.")


def _too_large(bytes_max: int) -> Refused:
    return Refused("body_too_large", f"The body is over {bytes_max:,} bytes.", more={"bytes_max": bytes_max})
