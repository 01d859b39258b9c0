"""Killed between a receipt and its commit, or between its commit and its merge: no receipt is lost or counted twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.testing.provider_faults import ReceiptTrouble
from gateway.testing.smtp_process import SmtpProcess
from gateway.testing.twilio_simulator import TwilioSimulator
from tests.crash.test_crash import wait_until_final
from tests.processes import GatewayProcess

PEOPLE = 150
SENDER = """
[senders.sms]
channel = "sms"
adapter = "twilio"
rate = "5000/s"
concurrency = 8
account_sid = "{sid}"
auth_token = "{token}"
from = "+14155552345"
api_url = "{url}"
"""


@pytest.mark.parametrize("point", ["receipt_stored:120", "receipt_merged:1", "receipt_merged:4"])
async def test_killed_in_the_middle_of_its_receipts_it_reads_what_it_stored(
    point: str, tmp_path: Path, unused_tcp_port: int
) -> None:
    async with SmtpProcess(tmp_path / "mails.tsv") as smtp, TwilioSimulator() as twilio:
        sender = SENDER.format(sid=twilio.account_sid, token=twilio.auth_token, url=twilio.url)
        async with GatewayProcess(tmp_path, smtp.port, port=unused_tcp_port, more=sender) as gateway:
            public = {"GATEWAY_SERVER__PUBLIC_URL": "https://gateway.example"}
            twilio.callback_base = gateway.url
            twilio.receipt_trouble = ReceiptTrouble(delayed=True, copies=2, shuffled=True)
            await gateway.start(**public)
            action = await send_and_wait(gateway)
            await gateway.terminate()
            await gateway.start(crash_at=point, **public)
            twilio.release_receipts()
            assert await gateway.wait_for_death(20), f"{point} was never reached:\n{gateway.log}"
            await twilio.drained()
            answered = twilio.tally.delivered
            await gateway.start(**public)
            # Whatever was acknowledged is on disk, and is read without being sent again.
            assert await kept_and_read(gateway) >= answered
            twilio.receipt_trouble = ReceiptTrouble()
            twilio.repeat_receipts()
            ended = await wait_until_final(gateway, action)
            assert ended["counts"]["succeeded"] == ended["counts"]["total"] == PEOPLE, ended
            assert (await gateway.cli("verify"))["faults"] == []
            assert len({message.to for message in twilio.record}) == len(twilio.record) == PEOPLE


async def send_and_wait(gateway: GatewayProcess) -> str:
    """An SMS to everybody, all of them handed over."""
    people = [{"id": f"m-{n}", "phone": f"+1415555{100 + n:04d}"} for n in range(PEOPLE)]
    status, answer = await gateway.call("POST", "/v1/contacts", {"contacts": people})
    assert status == 200, answer
    status, action = await gateway.call(
        "POST",
        "/v1/bulk-actions",
        {"operation": "send_message", "recipients": {"all": True}, "message": {"channel": "sms", "body": "Hi"}},
    )
    assert status == 201, action
    async with asyncio.timeout(30):
        while action["status"] != "delegated":
            await asyncio.sleep(0.05)
            _, action = await gateway.call("GET", f"/v1/bulk-actions/{action['id']}")
    return str(action["id"])


async def kept_and_read(gateway: GatewayProcess) -> int:
    """How many callbacks were kept, when all of them have been read."""
    for _ in range(20):
        ((about),) = await gateway.cli("callbacks", "list")
        if about["waiting"] == 0:
            assert about["unreadable"] == 0
            return int(about["kept"])
        await asyncio.sleep(0.05)
    raise AssertionError("they are not read")
