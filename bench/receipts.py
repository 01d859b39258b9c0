"""Receipts as Twilio posts them: signed, over kept connections, each sent when the one before it has been answered."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, cast
from urllib.parse import urlencode, urlsplit

from gateway.testing.twilio_callbacks import receipt_call, signature_of
from gateway.testing.twilio_messages import SimMessage
from gateway.testing.twilio_simulator import ACCOUNT_SID, AUTH_TOKEN

CONNECTIONS: Final = 128
STATUSES: Final = ("sent", "delivered")


def receipts_of(message: SimMessage, host: str) -> Sequence[bytes]:
    """The receipts of a message, as requests to `host`."""
    requests = []
    for status in STATUSES:
        call = receipt_call(message, status, ACCOUNT_SID, f"{message.sid}-{status}")
        parts, body = urlsplit(call.url), urlencode(call.fields)
        requests.append(
            f"POST {parts.path}?{parts.query} HTTP/1.1\r\nHost: {host}\r\n"
            f"Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\n"
            f"X-Twilio-Signature: {signature_of(call.url, call.fields, AUTH_TOKEN)}\r\n"
            f"I-Twilio-Idempotency-Token: {call.token}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
    return requests


class Poster:
    """Posts what it is given, as soon as one of its connections is free. `refused` counts answers that are no 2xx."""

    def __init__(self) -> None:
        self.jobs: deque[bytes] = deque()
        self.lines: list[_Line] = []
        self.idle: list[_Line] = []
        self.refused = 0
        self.all_answered = asyncio.Event()

    async def open(self, host: str, port: int) -> None:
        """Connect."""
        loop = asyncio.get_running_loop()
        for _ in range(CONNECTIONS):
            _, line = await loop.create_connection(lambda: _Line(self), host, port)
            self.lines.append(line)
        self.idle = list(self.lines)

    def put(self, requests: Sequence[bytes]) -> None:
        """Post these."""
        self.all_answered.clear()
        self.jobs.extend(requests)
        while self.idle and self.jobs:
            self.idle.pop().post(self.jobs.popleft())

    def close(self) -> None:
        """Hang up."""
        for line in self.lines:
            line.transport.close()


class _Line(asyncio.Protocol):
    """One connection, with one request on it at a time."""

    transport: asyncio.Transport

    def __init__(self, poster: Poster) -> None:
        self._poster = poster
        self._heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def post(self, request: bytes) -> None:
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._heard += data
        head, found, body = self._heard.partition(b"\r\n\r\n")
        if not found or len(body) < body_length(head):
            return
        self._heard = b""
        poster = self._poster
        poster.refused += not head.startswith(b"HTTP/1.1 20")
        if poster.jobs:
            self.post(poster.jobs.popleft())
            return
        poster.idle.append(self)
        if len(poster.idle) == len(poster.lines):
            poster.all_answered.set()


def body_length(head: bytes) -> int:
    """Octets of the body behind this head; 0 if it does not say."""
    return int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
