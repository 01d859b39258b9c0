"""The HTTP client that adapters are given: it tells what certainly did not arrive from everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlencode

import aiohttp
import msgspec

from gateway.contract import HttpResponse, NotSent

BODY_BYTES_MAX: Final = 1024 * 1024  # of an answer; the rest is not read
CONNECT_SECONDS: Final = 10.0


class HttpClient:
    """`contract.Http` over aiohttp, one for each sender. The time limit of a call is the deadline of its attempt."""

    def __init__(self, connections: int) -> None:
        """`connections`: at most this many at once to all hosts together."""
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

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
            # aiohttp would do the same by way of a FormData and a payload, in five times the time.
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
                auto_decompress=True,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session
