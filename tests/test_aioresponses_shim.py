"""The repaired aioresponses answers; and the unrepaired one does not, or the repair is not needed any more."""

from __future__ import annotations

import aiohttp
import pytest
from aioresponses import aioresponses

from tests.aioresponses_shim import mocked

URL = "https://provider.example/x"


async def test_a_mocked_answer_arrives_whole() -> None:
    async with aiohttp.ClientSession() as session:
        with mocked() as responses:
            responses.post(URL, status=201, body=b"x" * 300_000, headers={"X-Kind": "mocked"})
            async with session.post(URL, data={"a": "b"}) as answer:
                assert (answer.status, answer.headers["X-Kind"]) == (201, "mocked")
                assert len(await answer.read()) == 300_000


async def test_the_repair_is_still_needed() -> None:
    """When this fails, delete tests/aioresponses_shim.py and this file, and use `aioresponses()` itself."""
    async with aiohttp.ClientSession() as session:
        with aioresponses() as responses:
            responses.post(URL, status=201)
            with pytest.raises(TypeError, match="stream_writer"):
                await session.post(URL)
