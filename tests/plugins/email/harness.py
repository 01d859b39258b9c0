"""An adapter under test, as the daemon would make it, and messages for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from gateway import HttpResponse, Outbound, Outcome, Tools
from gateway.testing.smtp_server import Fault, Faults, SmtpServer
from gateway.validation import convert
from gateway_email.settings import SmtpSettings
from gateway_email.smtp import SmtpAdapter

NOW = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
PATIENCE_SECONDS = 10.0  # for what must happen soon


class RecordingLog:
    """Keeps what an adapter logs."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def info(self, event: str, **values: object) -> None:
        self.events.append(event)

    def warning(self, event: str, **values: object) -> None:
        self.events.append(event)


async def no_http(
    method: str,
    url: str,
    *,
    json: object = None,
    form: Mapping[str, str] | None = None,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    raise AssertionError("SMTP needs no HTTP")


def tools(log: RecordingLog | None = None) -> Tools:
    return Tools(http=no_http, log=log or RecordingLog(), sender="mail", now=lambda: NOW, callback_url=None)


def settings(server: SmtpServer, **more: Any) -> SmtpSettings:
    """Read as from gateway.toml."""
    table = {
        "host": "127.0.0.1",
        "port": server.port,
        "security": "none",
        "from": "Grace Church <news@grace.example>",
        **more,
    }
    return convert(table, SmtpSettings)


@asynccontextmanager
async def adapter_for(server: SmtpServer, **more: Any) -> AsyncIterator[SmtpAdapter]:
    """An open adapter. At its end nothing may be left of it at the server."""
    adapter = SmtpAdapter(settings(server, **more), tools())
    await adapter.open()
    try:
        yield adapter
    finally:
        await adapter.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await server.all_closed()


def mail(number: int = 1, *, to: str | None = None, **more: Any) -> Outbound:
    fields: dict[str, Any] = {"subject": "News", "text": "Hello.\n", **more}
    return Outbound(ref=f"msg_{number}", attempt=1, to=to or f"m{number}@example.org", **fields)


async def send_one(server: SmtpServer, *faults: Fault, **more: Any) -> Outcome:
    """What a fresh adapter answers for one mail to a server with these faults."""
    server.faults = Faults(faults)
    async with adapter_for(server, **more) as adapter:
        return await adapter.send(mail())
