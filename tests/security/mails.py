"""The e-mail adapter before a server that takes what it is given, with files that have any name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from gateway import File
from gateway.testing.doubles import MemoryFiles, make_tools
from gateway.validation import convert
from gateway_email.settings import SmtpSettings
from gateway_email.smtp import SmtpAdapter


@asynccontextmanager
async def adapter_at(port: int, files: Mapping[str, File] | None = None, **more: Any) -> AsyncIterator[SmtpAdapter]:
    """An open adapter, its settings read as from gateway.toml."""
    table = {"host": "127.0.0.1", "port": port, "security": "none", "from": "Grace Church <news@grace.example>"}
    adapter = SmtpAdapter(convert({**table, **more}, SmtpSettings), make_tools(files=MemoryFiles(files), sender="mail"))
    await adapter.open()
    try:
        yield adapter
    finally:
        await adapter.close()
