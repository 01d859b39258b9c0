"""A bulk e-mail to many people through a real daemon, and who got it how often."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.testing.smtp_server import SmtpProcess
from tests.processes import GatewayProcess

POLL_SECONDS = 0.02
FINAL = {"completed", "partial", "failed", "cancelled"}


async def import_people(gateway: GatewayProcess, number: int) -> None:
    """Contacts `m0@example.org` and so on."""
    rows = "".join(f"m-{n},Ada{n},m{n}@example.org\n" for n in range(number))
    status, answer = await gateway.call(
        "POST", "/v1/contacts/import", data=f"id,first_name,email\n{rows}", headers={"Content-Type": "text/csv"}
    )
    assert (status, answer["created"]) == (200, number), answer


async def mail_all(gateway: GatewayProcess, sender: str | None = None) -> str:
    """An e-mail to everybody; the action's id."""
    message = {"channel": "email", "subject": "News", "body": "Hi {{ first_name }}"}
    if sender is not None:
        message["sender"] = sender
    body = {"operation": "send_message", "recipients": {"all": True}, "message": message}
    status, answer = await gateway.call("POST", "/v1/bulk-actions", body)
    assert status == 201, answer
    return str(answer["id"])


async def until(reached: Callable[[], Awaitable[bool]], seconds: float, what: str) -> None:
    """Wait for a condition, at most so long."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                if await reached():
                    return
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what}") from None


async def until_received(smtp: SmtpProcess, number: int, seconds: float) -> None:
    """Until so many mails have arrived."""

    async def arrived() -> bool:
        return smtp.count() >= number

    await until(arrived, seconds, f"{number} mails")


async def until_final(gateway: GatewayProcess, action: str, seconds: float) -> dict[str, Any]:
    """The action when it has ended."""
    found: dict[str, Any] = {}

    async def ended() -> bool:
        nonlocal found
        _, found = await gateway.call("GET", f"/v1/bulk-actions/{action}")
        return found["status"] in FINAL

    await until(ended, seconds, f"the end of the action, which is {found}")
    return found


def lost_and_doubled(smtp: SmtpProcess, people: int) -> tuple[int, int]:
    """How many of the people got nothing, and how many mails were too many."""
    received = Counter(mail.recipient for mail in smtp.record())
    lost = sum(f"m{n}@example.org" not in received for n in range(people))
    return lost, received.total() - len(received)
