"""One connection to a provider: a request goes out, its answer comes back, and nothing else ever passes."""

from __future__ import annotations

import asyncio
import select
from typing import cast

from gateway.contract import HttpResponse
from gateway.outbound.answers import AnswerReader, InvalidAnswer


class ConnectionLost(ConnectionError):
    """The connection ended after the request was written and before its answer was complete: nobody knows."""


class Connection(asyncio.Protocol):
    """Serves one request at a time. What goes wrong with one closes it: no later answer can be taken for another's."""

    def __init__(self) -> None:
        self.usable = True  # False as soon as it is known to be closed, or not to be in order
        self.kept_until = 0.0  # by the loop's clock: when it was idle for too long
        self.keep_seconds: float | None = None  # how long the other side keeps it idle, where it says so
        self._loop = asyncio.get_running_loop()
        self._arrivals = select.poll()
        self._transport: asyncio.Transport | None = None
        self._reader: AnswerReader | None = None
        self._waiter: asyncio.Future[HttpResponse] | None = None

    @property
    def quiet(self) -> bool:
        """Whether an idle connection is open and nothing has come over it, as far as this machine knows by now.

        The loop may not have looked since: a request that meets an end which is here already would be lost for nothing.
        """
        return self.usable and not self._arrivals.poll(0)

    def exchange(self, request: bytes, *, bodiless: bool) -> asyncio.Future[HttpResponse]:
        """Write a request; the future is its answer, InvalidAnswer or ConnectionLost. The connection must be usable.

        Whoever gives up waiting must `abort`.
        """
        assert self._transport is not None
        assert self.usable
        self._reader = AnswerReader(bodiless=bodiless)
        self._waiter = waiter = self._loop.create_future()
        self._transport.write(request)
        return waiter

    def abort(self) -> None:
        """Close it now, without a word. The descriptor is free after the loop's next round."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses
        self._arrivals.register(transport.get_extra_info("socket"), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self._reader is None:  # nobody asked: the next answer could not be told from this
            self.abort()
            return
        try:
            if self._reader.feed(data):
                self._answered(self._reader)
        except InvalidAnswer as exc:
            self._fail(exc)

    def eof_received(self) -> None:
        self.usable = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        reader = self._reader
        if reader is None:
            return
        if exc is not None or not reader.begun:
            lost = ConnectionLost(f"the connection ended {'within' if reader.begun else 'without'} an answer")
            lost.__cause__ = exc
            self._fail(lost)
            return
        try:
            reader.end()
            self._answered(reader)
        except InvalidAnswer as invalid:
            self._fail(invalid)

    def _answered(self, reader: AnswerReader) -> None:
        assert self._transport is not None
        self._reader = None
        self.keep_seconds = reader.keep_seconds
        # An answer may come before the request has been taken whole, as a refusal does.
        if not reader.keep or self._transport.get_write_buffer_size():
            self.abort()
        assert self._waiter is not None
        assert reader.answer is not None
        if not self._waiter.done():
            self._waiter.set_result(reader.answer)

    def _fail(self, exc: Exception) -> None:
        self._reader = None
        self.abort()
        assert self._waiter is not None
        if not self._waiter.done():
            self._waiter.set_exception(exc)
