"""Somebody else's server, which is told of events: it checks signatures by the published rules, by code of its own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer


@dataclass(frozen=True)
class Taken:
    """One request as it came."""

    id: str
    timestamp: int
    signatures: tuple[str, ...]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def seq(self) -> int:
        return int(self.json["seq"])

    def signed_with(self, secret: str) -> bool:
        """Whether one of the signatures was made with `secret`."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        digest = hmac.new(key, f"{self.id}.{self.timestamp}.".encode() + self.body, hashlib.sha256).digest()
        expected = f"v1,{base64.b64encode(digest).decode()}"
        return any(hmac.compare_digest(expected, one) for one in self.signatures)


Behave = Callable[[Taken], Awaitable[web.StreamResponse] | web.StreamResponse]


def ok(taken: Taken) -> web.StreamResponse:
    return web.Response(status=204)


def down(taken: Taken) -> web.StreamResponse:
    return web.Response(status=503, text="Back soon")


@dataclass
class Receiver:
    """`behave` answers; what it answered with a 2xx stands in `taken`, everything that came in `asked`."""

    url: str = ""
    behave: Behave = ok
    asked: list[Taken] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        taken = Taken(
            id=request.headers["webhook-id"],
            timestamp=int(request.headers["webhook-timestamp"]),
            signatures=tuple(request.headers["webhook-signature"].split(" ")),
            body=await request.read(),
        )
        self.asked.append(taken)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            answer = self.behave(taken)
            response = answer if isinstance(answer, web.StreamResponse) else await answer
        finally:
            self.at_once -= 1
        if 200 <= response.status < 300:
            self.taken.append(taken)
        return response

    @property
    def types(self) -> list[str]:
        return [taken.json["type"] for taken in self.taken]

    @property
    def seqs(self) -> list[int]:
        return [taken.seq for taken in self.taken]


@asynccontextmanager
async def receiving(behave: Behave = ok) -> AsyncIterator[Receiver]:
    """A receiver on loopback."""
    receiver = Receiver(behave=behave)
    app = web.Application()
    app.router.add_post("/hook", receiver.handle)
    async with TestServer(app) as server:
        receiver.url = str(server.make_url("/hook"))
        yield receiver
