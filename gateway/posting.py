"""Posting events to their receivers, which are strangers: bounded in time and size, and to the public internet only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import aiohttp
import structlog

from gateway.clock import Clock
from gateway.core.delivery import Reply
from gateway.core.retry import parse_retry_after
from gateway.resolving import connector, refusal

ANSWER_SECONDS: Final = 15.0  # until the status is there; the scheme asks for 15 to 30
BODY_SECONDS: Final = 2.0  # for what stands behind the status: nobody needs it but to understand a failure
BODY_BYTES_MAX: Final = 64 * 1024  # the rest is not read, and the connection is closed
POSTS_MAX: Final = 200  # at once, to all receivers together
DETAIL_MAX: Final = 200  # characters of an answer that are kept


class Poster:
    """Posts, and returns whatever becomes of it: it raises nothing."""

    def __init__(self, clock: Clock, *, allow_private: bool, seconds: float = ANSWER_SECONDS) -> None:
        """`allow_private`: receivers may be on this machine and its networks. `seconds`: how long one may take."""
        self._clock = clock
        self._allow_private = allow_private
        self._seconds = seconds
        self._room = asyncio.Semaphore(POSTS_MAX)
        self._session: aiohttp.ClientSession | None = None
        self._log = structlog.get_logger("gateway.posting")

    async def __call__(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Post JSON. Redirects are not followed: they are answers like others."""
        fault = self.refusal(url)
        if fault is not None:
            return Reply(status=None, detail=f"The URL {fault}.")
        try:
            # Whoever waits for room has not begun: a crowd of slow receivers uses up nobody else's time.
            async with self._room:
                return await self._post(url, body, headers)
        except TimeoutError:
            return Reply(status=None, detail=f"No answer within {self._seconds:g} s.")
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            return Reply(status=None, detail=_short(f"{type(exc).__name__}: {exc}"))
        # A stranger answers: whatever a library makes of it is that receiver's trouble, not every receiver's.
        except Exception as exc:  # noqa: BLE001
            self._log.error("post_raised", exc_info=exc, may_quote=True)
            return Reply(status=None, detail=_short(f"{type(exc).__name__}: {exc}"))

    def refusal(self, url: str) -> str | None:
        """Why nothing is ever posted to `url`, as the end of a sentence. What its name stands for is seen later."""
        return refusal(url, allow_private=self._allow_private)

    async def close(self) -> None:
        """Close the connections that are kept."""
        if self._session is not None:
            await self._session.close()

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        sent = {"Content-Type": "application/json", **headers}
        async with asyncio.timeout(self._seconds):
            answer = await self._opened().post(url, data=body, headers=sent, allow_redirects=False)
        try:
            said = await _read(answer)
            if 200 <= answer.status < 300:
                return Reply(status=answer.status)
            asked = parse_retry_after(answer.headers.get("Retry-After", ""), self._clock.now())
            return Reply(status=answer.status, detail=_detail(answer, said), retry_after=asked)
        finally:
            answer.release()

    def _opened(self) -> aiohttp.ClientSession:
        """The session, made at the first call: it belongs to the event loop that runs then."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=connector(POSTS_MAX, allow_private=self._allow_private),
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"User-Agent": "dripgate", "Accept-Encoding": "identity"},
            )
        return self._session


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """The beginning of a body. One that is too long, too slow or broken costs the connection, and nothing else."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while len(body) < BODY_BYTES_MAX:
                piece = await answer.content.read(BODY_BYTES_MAX - len(body))
                if not piece:
                    return bytes(body)
                body += piece
    except (aiohttp.ClientError, OSError, TimeoutError):
        pass
    answer.close()
    return bytes(body)


def _detail(answer: aiohttp.ClientResponse, said: bytes) -> str:
    where = answer.headers.get("Location")
    if 300 <= answer.status < 400 and where is not None:
        return _short(f"Redirects are not followed; this one leads to {where}")
    return _short(said.decode("utf-8", "replace"))


def _short(text: str) -> str:
    """One printable line."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line[:DETAIL_MAX]
