"""`contract.Http` over aiohttp, for tests that intercept aiohttp's client, as aioresponses does.

The daemon gives adapters `gateway.outbound.client`, which nothing intercepts. This one keeps the same promises, and the
same tests hold both to them: what an adapter makes of its answers it would make of the daemon's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlencode

import aiohttp
import msgspec

from gateway.contract import HttpResponse, NotSent

BODY_BYTES_MAX: Final = 1024 * 1024  # of an answer; the rest is not read
CONNECT_SECONDS: Final = 10.0


class AiohttpClient:
    """`async with AiohttpClient() as http`: then `make_tools(http)`."""

    def __init__(self, connections: int = 16) -> None:
        """`connections`: at most this many at once to all hosts together."""
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def __call__(
        self,
        method: str,
        url: str,
        *,
        json: object = None,
        form: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        """One request. NotSent: no byte of it can have arrived. Every other exception: nobody knows."""
        sent = dict(headers or {})
        data = body
        if form is not None:
            data = urlencode(form if isinstance(form, Sequence) else list(form.items())).encode()
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        if json is not None:
            data = msgspec.json.encode(json)
            sent.setdefault("Content-Type", "application/json")
        try:
            answer = await self._opened().request(method, url, data=data, headers=sent, allow_redirects=False)
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as exc:
            raise NotSent(f"{type(exc).__name__}: {exc}") from exc
        async with answer:
            content = await answer.content.read(BODY_BYTES_MAX)
            while content and len(content) < BODY_BYTES_MAX:
                more = await answer.content.read(BODY_BYTES_MAX - len(content))
                if not more:
                    break
                content += more
            lowered = {name.lower(): value for name, value in answer.headers.items()}
            return HttpResponse(status=answer.status, headers=lowered, body=content)

    async def close(self) -> None:
        """Close the connections that are kept."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        """The session, made at the first call: it belongs to the event loop that runs then."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections),
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity"},
            )
        return self._session
