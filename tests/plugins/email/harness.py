"""An adapter under test, as the daemon would make it, and messages for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gateway import Files, Outbound, Outcome, Tools
from gateway.testing.doubles import NOW, RecordingLog, make_tools
from gateway.testing.smtp_server import Fault, Faults, SmtpServer
from gateway.validation import convert
from gateway_email.settings import SmtpSettings
from gateway_email.smtp import SmtpAdapter

PATIENCE_SECONDS = 10.0  # for what must happen soon

__all__ = ["NOW", "RecordingLog", "adapter_for", "mail", "send_one", "settings", "tools"]


def tools(log: RecordingLog | None = None, files: Files | None = None) -> Tools:
    """SMTP needs no HTTP: any request is a failure of the test."""
    return make_tools(log=log, files=files, sender="mail")


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
async def adapter_for(server: SmtpServer, *, files: Files | None = None, **more: Any) -> AsyncIterator[SmtpAdapter]:
    """An open adapter. At its end nothing may be left of it at the server."""
    adapter = SmtpAdapter(settings(server, **more), tools(files=files))
    await adapter.open()
    try:
        yield adapter
    finally:
        await adapter.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await server.all_closed()
        assert server.improper == 0, "what is pipelined is what RFC 2920 allows"


def mail(number: int = 1, *, to: str | None = None, **more: Any) -> Outbound:
    fields: dict[str, Any] = {"subject": "News", "text": "Hello.\n", **more}
    return Outbound(ref=f"msg_{number}", attempt=1, to=to or f"m{number}@example.org", **fields)


async def send_one(server: SmtpServer, *faults: Fault, **more: Any) -> Outcome:
    """What a fresh adapter answers for one mail to a server with these faults."""
    server.faults = Faults(faults)
    async with adapter_for(server, **more) as adapter:
        return await adapter.send(mail())
