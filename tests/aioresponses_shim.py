"""aioresponses 0.7.9 under aiohttp 3.14, which asks more of a response than it knows to give.

`ClientResponse` wants a `stream_writer` since aiohttp 3.14 (aioresponses issue 289, open in 2026-11), and a body of
more than 64 KiB pauses a protocol that has no transport. Use `mocked()` instead of `aioresponses()`; the day this file
is no longer needed, tests/test_aioresponses_shim.py fails.

It replaces what `ClientSession` does with a request altogether: time-outs, connection limits and the writing of bodies
do not happen. What depends on them is tested against servers on loopback.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest import mock

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aioresponses import aioresponses, core

BODY_BYTES_MAX: Final = 2**30  # a reader that may hold so much never asks its transport to pause


class _NothingWritten:
    """In place of the writer that sent the request: it has sent nothing."""

    output_size = 0


class _Response(aiohttp.ClientResponse):
    """A response to a request that nobody wrote."""

    def __init__(self, *args: Any, **more: Any) -> None:
        more.setdefault("stream_writer", _NothingWritten())
        super().__init__(*args, **more)


def _reader(loop: asyncio.AbstractEventLoop | None = None) -> aiohttp.StreamReader:
    running = loop or asyncio.get_running_loop()
    return aiohttp.StreamReader(ResponseHandler(loop=running), limit=BODY_BYTES_MAX, loop=running)


@contextmanager
def mocked() -> Iterator[aioresponses]:
    """`aioresponses()`, repaired until the block ends."""
    with (
        mock.patch.object(core, "ClientResponse", _Response),
        mock.patch.object(core, "stream_reader_factory", _reader),
        aioresponses() as responses,
    ):
        yield responses
