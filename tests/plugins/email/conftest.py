"""A server for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.testing.smtp_server import SmtpServer


@pytest.fixture
async def server() -> AsyncIterator[SmtpServer]:
    async with SmtpServer() as running:
        yield running
