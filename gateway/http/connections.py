"""Connections, and what is said to a caller whose request is none: aiohttp answers those before any route of ours.

Its own words quote what was sent, a key in a broken header or the secret of a callback's path included, and belong
neither into an answer nor into the log, which anybody on the internet could fill that way.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any, Final

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.errors import Refused
from gateway.http.callbacks import METHODS, PREFIX
from gateway.http.express import Express
from gateway.http.plain_requests import PlainRequest, Unfinished, read_plain
from gateway.http.problems import ProblemAnswer, problem, response

_BEGINNINGS: Final = tuple(f"{method} {PREFIX}".encode() for method in METHODS)

EXPRESS: Final = web.AppKey("express", Express)
HOLD_SECONDS: Final = 1.0  # for the body of a plain request that came behind its head; then aiohttp waits for it


class Runner(web.AppRunner):
    """A runner whose connections take callbacks the short way, and answer malformed requests in our words."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            self.app.get(EXPRESS),
            request_factory=made.request_factory,
            loop=made._loop,
            **made._kwargs,
        )


class _Server(web.Server):
    def __init__(self, handler: Any, express: Express | None, **more: Any) -> None:
        super().__init__(handler, **more)
        self._express = express

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, self._express, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    """aiohttp's, but for plain callbacks: those are answered here, one at a time, and aiohttp hears nothing of them.

    What is no plain request makes the connection aiohttp's for good: nobody else knows where it ends.
    """

    __slots__ = ("_express", "_held", "_patience", "_taking", "_wanted")

    def __init__(self, manager: web.Server, express: Express | None, **more: Any) -> None:
        super().__init__(manager, **more)
        self._express = express
        self._held = b""  # what has come and is neither taken nor aiohttp's
        self._wanted = 0  # bytes of the request that it is the beginning of
        self._patience: asyncio.TimerHandle | None = None  # until aiohttp gets that beginning
        self._taking: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._express is None:
            super().data_received(data)
            return
        self._held += data
        if self._taking is None:
            self._read_on(self._express)
        elif self.transport is not None:
            self.transport.pause_reading()  # whoever does not wait for the answer must wait here

    def _read_on(self, express: Express) -> None:
        if self._force_close or self._close:
            return
        data = self._held
        if len(data) < self._wanted:
            return
        idle = not self._messages and not self._request_in_progress
        plain = read_plain(data) if idle else None
        if isinstance(plain, Unfinished) and data.startswith(_BEGINNINGS):
            self._wanted = plain.size
            self._patience = self._loop.call_later(HOLD_SECONDS, self._give_up)
            return
        self._hold_nothing()
        if isinstance(plain, PlainRequest) and express.takes(plain):
            self._taking = self._loop.create_task(self._take(express, plain))
            return
        if not isinstance(plain, PlainRequest):
            self._express = None
        super().data_received(data)

    def _hold_nothing(self) -> None:
        self._held, self._wanted = b"", 0
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        data, self._express = self._held, None
        self._hold_nothing()
        if self.transport is not None:
            super().data_received(data)

    async def _take(self, express: Express, plain: PlainRequest) -> None:
        answer = await express.answer(plain)
        if self.transport is not None:
            self.transport.write(answer)
            if self._paused:
                await self._drain()
        self._taking = None
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if plain.closes:
            self.force_close()
        elif self._held and self.transport is not None:
            self.transport.resume_reading()
            self._read_on(express)

    async def _drain(self) -> None:
        with suppress(ConnectionError):
            await self._drain_helper()

    def _process_keepalive(self) -> None:
        """A connection is idle while nothing is taken, either."""
        if self._taking is not None:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - as aiohttp calls it
        """Let what is being taken be answered, then end."""
        if (taking := self._taking) is not None:
            await asyncio.wait((taking,), timeout=timeout)
            taking.cancel()
        await super().shutdown(timeout)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        super().handle_error(request, status, exc, message)  # logs, and raises if an answer has begun
        answer = response(_told(status))
        answer.force_close()
        return answer


def _told(status: int) -> ProblemAnswer:
    if status < 500:
        return problem(Refused("malformed_request", "The request cannot be read."))
    return problem(Refused("internal_error", "An error that was not expected. The log tells more."))


class ConnectionLog(logging.LoggerAdapter[logging.Logger]):
    """What aiohttp logs of connections. A malformed request is its sender's fault: one line at debug."""

    def exception(self, msg: object, *args: object, exc_info: Any = True, **more: Any) -> None:
        """An error that aiohttp met outside of our handlers."""
        if isinstance(exc_info, HttpProcessingError):
            structlog.get_logger("gateway.http").debug("malformed_request", error=type(exc_info).__name__)
            return
        super().exception(msg, *args, exc_info=exc_info, **more)
