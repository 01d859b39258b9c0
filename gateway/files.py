"""Fetching the files that messages name by URL: for adapters that hand over bytes, and to know a file beforehand.

The URLs come from callers: where they may lead is said in `gateway.resolving`. Each redirect is checked anew.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

import aiohttp

from gateway.clock import Clock
from gateway.contract import File, FileRefused, FileUnavailable, Media
from gateway.resolving import connector, refusal

KEPT_BYTES_MAX: Final = 64 * 1024 * 1024  # of all files together: the files of some bulk actions at once
KEPT_SECONDS: Final = 600.0  # a bulk action asks for the same file again and again
REDIRECTS_MAX: Final = 3
FETCH_SECONDS: Final = 20.0  # of one file, redirects included; shorter than an attempt's deadline
CONNECTIONS_MAX: Final = 8
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_UNKNOWN_TYPE: Final = "application/octet-stream"


class FileFetcher:
    """`contract.Files`, one for the daemon. What was fetched is kept for `KEPT_SECONDS`."""

    def __init__(self, clock: Clock, *, size_max: int, allow_private: bool) -> None:
        """`size_max`: octets of one file. `allow_private`: files may come from this machine and its networks."""
        self._clock = clock
        self._size_max = size_max
        self._allow_private = allow_private
        self._session: aiohttp.ClientSession | None = None
        self._kept: OrderedDict[str, tuple[float, File]] = OrderedDict()
        self._fetching: dict[str, asyncio.Task[File]] = {}

    async def __call__(self, media: Media) -> File:
        """The file; many that ask for the same one at once cause one request. FileRefused, FileUnavailable."""
        kept = self._kept.get(media.url)
        if kept is not None and self._clock.now().timestamp() - kept[0] < KEPT_SECONDS:
            return _as_meant(kept[1], media)
        task = self._fetching.get(media.url)
        if task is None:
            task = self._fetching[media.url] = asyncio.create_task(self._fetch(media.url))
            task.add_done_callback(lambda done: self._done(media.url, done))
        return _as_meant(await asyncio.shield(task), media)

    async def describe(self, url: str) -> Media:
        """What the file's server says of it without sending it; traits that it does not say are None.

        FileRefused, FileUnavailable.
        """
        async with self._answer("HEAD", url) as answer:
            if answer.status in (405, 501):  # a server that knows no HEAD says nothing
                return Media(url=url)
            _check_status(answer, url)
            self._check_size(answer, url)
            typed = "Content-Type" in answer.headers
            return Media(url=url, content_type=answer.content_type if typed else None, size=answer.content_length)

    async def close(self) -> None:
        """Stop fetching."""
        for task in self._fetching.values():
            task.cancel()
        if self._session is not None:
            await self._session.close()

    async def _fetch(self, url: str) -> File:
        """The file as its server has it: what a message says of it is that message's own."""
        async with self._answer("GET", url) as answer:
            _check_status(answer, url)
            self._check_size(answer, url)
            body = bytearray()
            async for piece in answer.content.iter_chunked(64 * 1024):
                body += piece
                if len(body) > self._size_max:
                    raise FileRefused(f"{url} is larger than {self._size_max:,} octets.")
            return File(bytes(body), answer.content_type or _UNKNOWN_TYPE, _name_of(url))

    @asynccontextmanager
    async def _answer(self, method: str, url: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer at the end of the redirects. Network trouble, also while it is read, is FileUnavailable."""
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                target = url
                for _ in range(REDIRECTS_MAX + 1):
                    self._check_target(target, url)
                    async with self._opened().request(method, target, allow_redirects=False) as answer:
                        where = answer.headers.get("Location")
                        if answer.status in _REDIRECTS and where is not None:
                            target = urljoin(target, where)
                            continue
                        yield answer
                        return
        except (aiohttp.InvalidURL, ValueError) as exc:
            raise FileRefused(f"{url} is no URL of a file: {exc}") from exc
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise FileUnavailable(f"{url} cannot be fetched: {type(exc).__name__} {exc}") from exc
        raise FileRefused(f"{url} redirects more than {REDIRECTS_MAX} times.")

    def _check_target(self, target: str, url: str) -> None:
        fault = refusal(target, allow_private=self._allow_private)
        if fault is not None:
            where = url if target == url else f"{url} leads to {target[:200]!r}, which"
            raise FileRefused(f"{where} {fault}.")

    def _check_size(self, answer: aiohttp.ClientResponse, url: str) -> None:
        if answer.content_length is not None and answer.content_length > self._size_max:
            raise FileRefused(f"{url} is larger than {self._size_max:,} octets.")

    def _done(self, url: str, task: asyncio.Task[File]) -> None:
        self._fetching.pop(url, None)
        if task.cancelled() or task.exception() is not None:
            return
        self._kept[url] = (self._clock.now().timestamp(), task.result())
        self._kept.move_to_end(url)
        while sum(len(file.body) for _, file in self._kept.values()) > KEPT_BYTES_MAX:
            self._kept.popitem(last=False)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=connector(CONNECTIONS_MAX, allow_private=self._allow_private),
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"User-Agent": "dripgate", "Accept-Encoding": "identity"},
            )
        return self._session


def _check_status(answer: aiohttp.ClientResponse, url: str) -> None:
    if answer.status >= 500 or answer.status in (408, 429):
        raise FileUnavailable(f"{url} answers {answer.status}")
    if answer.status != 200:
        raise FileRefused(f"{url} answers {answer.status}.")


def _as_meant(file: File, media: Media) -> File:
    return File(file.body, media.content_type or file.content_type, media.filename or file.filename)


def _name_of(url: str) -> str:
    """The last part of the path, as a name for the file."""
    return PurePosixPath(unquote(urlsplit(url).path)).name or "file"
