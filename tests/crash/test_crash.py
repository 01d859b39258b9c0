"""A daemon is killed while it answers an edit, and ended as an operator does; `tests/torture` does all the rest."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.testing.smtp_server import SmtpProcess
from tests.processes import GatewayProcess

PEOPLE = 400
W = 8
SECONDS_MAX = 60.0
FINAL = {"completed", "partial", "failed", "cancelled"}


@pytest.fixture
async def smtp(tmp_path: Path) -> AsyncIterator[SmtpProcess]:
    async with SmtpProcess(tmp_path / "mails.tsv") as server:
        yield server


async def import_people(gateway: GatewayProcess, number: int) -> None:
    rows = "".join(f"m-{n},Ada{n},m{n}@example.org\n" for n in range(number))
    status, answer = await gateway.call(
        "POST",
        "/v1/contacts/import",
        data=f"id,first_name,email\n{rows}",
        headers={"Content-Type": "text/csv"},
    )
    assert (status, answer["created"]) == (200, number), answer


async def send_to_all(gateway: GatewayProcess, **schedule: Any) -> str:
    body = {
        "operation": "send_message",
        "recipients": {"all": True},
        "message": {"channel": "email", "subject": "News", "body": "Hi {{ first_name }}"},
        "schedule": schedule or {"mode": "now"},
    }
    status, answer = await gateway.call("POST", "/v1/bulk-actions", body)
    assert status == 201, answer
    identifier: str = answer["id"]
    return identifier


async def wait_until_final(gateway: GatewayProcess, action: str) -> dict[str, Any]:
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            _, answer = await gateway.call("GET", f"/v1/bulk-actions/{action}")
            if answer["status"] in FINAL:
                found: dict[str, Any] = answer
                return found
            await asyncio.sleep(0.05)


async def test_killed_while_an_edit_is_answered_the_edit_stands(
    tmp_path: Path, smtp: SmtpProcess, unused_tcp_port: int
) -> None:
    async with GatewayProcess(tmp_path, smtp.port, port=unused_tcp_port) as gateway:
        await gateway.start(crash_at="edit_committed:1")
        await import_people(gateway, 10)
        action = await send_to_all(gateway, mode="at", start_at="2099-01-01T09:00:00Z")
        with pytest.raises(aiohttp.ClientError):
            await gateway.call("PATCH", f"/v1/bulk-actions/{action}", {"label": "changed"})
        assert await gateway.wait_for_death(5)
        await gateway.start()
        _, answer = await gateway.call("GET", f"/v1/bulk-actions/{action}")
        assert (answer["label"], answer["revision"], answer["counts"]["total"]) == ("changed", 2, 10)
        assert (await gateway.cli("verify"))["faults"] == []


async def test_sigterm_under_load_leaves_nothing_unknown(
    tmp_path: Path, smtp: SmtpProcess, unused_tcp_port: int
) -> None:
    async with GatewayProcess(tmp_path, smtp.port, port=unused_tcp_port, rate=500, concurrency=W) as gateway:
        await gateway.start()
        await import_people(gateway, PEOPLE)
        action = await send_to_all(gateway)
        await asyncio.sleep(0.2)
        async with asyncio.timeout(10):
            assert await gateway.terminate() == 0
        verified = await gateway.cli("verify")
        assert (verified["faults"], verified["unknown"], sum(verified["sending"].values())) == ([], 0, 0)
        await gateway.start()
        await wait_until_final(gateway, action)
        received = Counter(mail.recipient for mail in smtp.record())
        assert received == Counter(f"m{n}@example.org" for n in range(PEOPLE))
