"""The HTTP client that adapters are given: it tells what certainly did not arrive from everything else.

NotSent means that no byte of the request was written: no address, no connection, no TLS. A kept connection that turns
out to be closed before anything was written is replaced in silence. From the first byte on nothing is certain but a
whole answer: whatever else happens, the request is not repeated, and the connection serves no other.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from gateway.contract import HttpResponse
from gateway.outbound.pool import Pool
from gateway.outbound.requests import BYTES_TYPE, FORM_TYPE, JSON_TYPE, Requests, form_body

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class HttpClient:
    """`contract.Http`, one for each sender. The time limit of a call is the deadline of its attempt.

    No redirects, cookies or proxies. Compression is not asked for; what comes in gzip or deflate all the same is
    unpacked, within the limit of every body, and what comes otherwise encoded is handed on as it is.
    """

    def __init__(self, connections: int, tls: ssl.SSLContext | None = None) -> None:
        """`connections`: at most this many at once to all hosts together. `tls`: None for this machine's own trust."""
        self._requests = Requests()
        self._pool = Pool(connections, tls)

    @property
    def connections(self) -> int:
        """How many there are, or are being made."""
        return self._pool.size

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
        kind = None if body is None else BYTES_TYPE
        if form is not None:
            kind, body = FORM_TYPE, form_body(form)
        if json is not None:
            kind, body = JSON_TYPE, msgspec.json.encode(json)
        origin, wire, bodiless = self._requests.make(method, url, kind, body or b"", headers or _NONE)
        connection = self._pool.take(origin) or await self._pool.acquire(origin)
        try:
            answer = await connection.exchange(wire, bodiless=bodiless)
        except BaseException:
            self._pool.discard(connection)
            raise
        self._pool.release(connection, origin)
        return answer

    async def close(self) -> None:
        """Close the connections that are kept."""
        self._pool.close()
        # Their descriptors are given back in the loop's next rounds.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
