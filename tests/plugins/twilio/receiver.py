"""A gateway's callback door on loopback: it keeps what comes, and answers as it is told."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from aiohttp import web

from gateway import CallbackRequest

PUBLIC = "https://gateway.example"


class Receiver:
    """`answers` are the statuses to give, one after the other, the last again and again."""

    def __init__(self) -> None:
        self.requests: list[CallbackRequest] = []
        self.answers: list[int] = [200]
        self.url = ""
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._take, access_log=None), shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            await asyncio.sleep(0)

    async def _take(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        query = tuple(request.query.items())
        url = f"{PUBLIC}{request.raw_path}"
        tail = "/".join(request.path.split("/")[3:])
        self.requests.append(
            CallbackRequest(method=request.method, url=url, tail=tail, query=query, headers=headers, body=body)
        )
        return web.Response(status=self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
