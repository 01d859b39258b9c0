"""Connections, and what is said to a caller whose request is none: aiohttp answers those before any route of ours.

Its own words quote what was sent, a key in a broken header or the secret of a callback's path included, and belong
neither into an answer nor into the log, which anybody on the internet could fill that way.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.errors import Refused
from gateway.http.problems import CONTENT_TYPE, ProblemAnswer, problem

COMMON_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Server": "dripgate"}
)
"""Of every answer, whoever made it."""


class Runner(web.AppRunner):
    """A runner whose connections answer malformed requests in our words."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made.request_handler, request_factory=made.request_factory, loop=made._loop, **made._kwargs)


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        super().handle_error(request, status, exc, message)  # logs, and raises if an answer has begun
        told = _told(status)
        answer = web.Response(
            status=told.status,
            body=told.body,
            content_type=CONTENT_TYPE,
            headers={**COMMON_HEADERS, **told.headers},
        )
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
