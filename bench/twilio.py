"""SMS end to end over HTTP, and receipts by themselves: the daemon in one process, the provider in another.

Without receipts the provider is `bench.sink`. Receipts come from Twilio's simulator, which runs in this process.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from bench.measuring import cpu_seconds, free_port, import_contacts, peak_memory_mb, watch
from bench.sink import SinkProcess
from gateway.testing.provider_faults import ReceiptTrouble
from gateway.testing.smtp_process import SmtpProcess
from gateway.testing.twilio_callbacks import receipt_call, signature_of
from gateway.testing.twilio_simulator import ACCOUNT_SID, AUTH_TOKEN, TwilioSimulator
from tests.processes import GatewayProcess

CONCURRENCY = 64
CONNECTIONS = 128  # of the provider that posts receipts
BODY = "Hi {{ first_name }}, see you on Sunday in {{ city }}."
SENDER = """
[senders.sms]
channel = "sms"
adapter = "twilio"
rate = "100000/s"
concurrency = {concurrency}
account_sid = "{sid}"
auth_token = "{token}"
from = "+14155552345"
api_url = "{url}"
"""


@dataclass
class TextFigures:
    """One run of a bulk action. `receipts` is how many each message has; it ends when the last one is merged."""

    recipients: int
    receipts: int
    first_message_ms: float
    messages_per_second: float
    settled_per_second: float
    cpu_seconds_per_1000: float
    provider_cpu_seconds_per_1000: float
    peak_memory_mb: float
    api_p99_ms: float
    texts_taken: int


@dataclass
class ReceiptFigures:
    """Receipts by themselves: posted signed, on kept connections, each answered after its commit."""

    receipts: int
    receipts_per_second: float
    cpu_seconds_per_1000: float
    merged_after_ms: float  # from the last answer until the books are right


@asynccontextmanager
async def gateway_at(url: str) -> AsyncIterator[GatewayProcess]:
    """A daemon that sends to a provider at `url`."""
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        async with SmtpProcess(Path(folder) / "mails.tsv") as smtp:
            port = free_port()
            sender = SENDER.format(concurrency=CONCURRENCY, sid=ACCOUNT_SID, token=AUTH_TOKEN, url=url)
            async with GatewayProcess(Path(folder), smtp.port, port=port, more=sender) as gateway:
                await gateway.start(GATEWAY_SERVER__PUBLIC_URL="https://gateway.example")
                yield gateway


async def measure_texts(recipients: int, receipts: int) -> TextFigures:
    """`receipts`: none, or two for each message."""
    if receipts == 0:
        async with SinkProcess() as sink, gateway_at(sink.url) as gateway:
            figures = await _measure_texts(gateway, recipients, receipts, sink.pid)
            figures.texts_taken = (await sink.taken())["twilio"]
            return figures
    async with TwilioSimulator() as twilio, gateway_at(twilio.url) as gateway:
        twilio.callback_base = gateway.url
        figures = await _measure_texts(gateway, recipients, receipts, os.getpid())
        figures.texts_taken = len(twilio.record)
        return figures


async def _measure_texts(gateway: GatewayProcess, recipients: int, receipts: int, provider: int) -> TextFigures:
    """`provider`: its process."""
    await import_contacts(gateway, recipients)
    cpu, theirs = cpu_seconds(gateway.pid), cpu_seconds(provider)
    started = time.perf_counter()
    action = await _text_all(gateway)
    seen = await watch(gateway, action, started, "finished" if receipts else "handed_over")
    return TextFigures(
        recipients=recipients,
        receipts=receipts,
        first_message_ms=seen.first_message * 1000,
        messages_per_second=recipients / seen.handed_over,
        settled_per_second=recipients / seen.finished,
        cpu_seconds_per_1000=(cpu_seconds(gateway.pid) - cpu) / recipients * 1000,
        provider_cpu_seconds_per_1000=(cpu_seconds(provider) - theirs) / recipients * 1000,
        peak_memory_mb=peak_memory_mb(gateway.pid),
        api_p99_ms=seen.latency_ms(99),
        texts_taken=0,
    )


async def measure_receipts(recipients: int) -> ReceiptFigures:
    """Two for each of so many messages that were handed over before."""
    async with TwilioSimulator() as twilio, gateway_at(twilio.url) as gateway:
        twilio.callback_base = gateway.url
        twilio.receipt_trouble = ReceiptTrouble(lost=1.0)
        await import_contacts(gateway, recipients)
        action = await _text_all(gateway)
        await _handed_over(gateway, action, recipients, time.perf_counter())
        requests = _requests(twilio, gateway.url)
        cpu = cpu_seconds(gateway.pid)
        started = time.perf_counter()
        await _post_all(gateway.url, requests)
        answered = time.perf_counter()
        seen = await watch(gateway, action, answered)
        return ReceiptFigures(
            receipts=len(requests),
            receipts_per_second=len(requests) / (answered - started),
            cpu_seconds_per_1000=(cpu_seconds(gateway.pid) - cpu) / len(requests) * 1000,
            merged_after_ms=seen.finished * 1000,
        )


async def _text_all(gateway: GatewayProcess) -> str:
    status, action = await gateway.call(
        "POST",
        "/v1/bulk-actions",
        {"operation": "send_message", "recipients": {"all": True}, "message": {"channel": "sms", "body": BODY}},
    )
    assert status == 201, action
    return str(action["id"])


async def _handed_over(gateway: GatewayProcess, action: str, recipients: int, started: float) -> float:
    """Seconds until everybody's message has been accepted."""
    while True:
        _, answer = await gateway.call("GET", f"/v1/bulk-actions/{action}")
        if answer["counts"]["handed_over"] + answer["counts"]["succeeded"] == recipients:
            return time.perf_counter() - started
        await asyncio.sleep(0.02)


def _requests(twilio: TwilioSimulator, url: str) -> Sequence[bytes]:
    """The receipts as they go over the wire: made before the clock runs."""
    host = urlsplit(url).netloc
    requests = []
    for status in ("sent", "delivered"):
        for message in twilio.record:
            call = receipt_call(message, status, twilio.account_sid, "IT0")
            body = urlencode(call.fields).encode()
            parts = urlsplit(call.url)
            signature = signature_of(call.url, call.fields, twilio.auth_token)
            requests.append(
                f"POST {parts.path}?{parts.query} HTTP/1.1\r\nHost: {host}\r\n"
                f"Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\nX-Twilio-Signature: {signature}\r\n"
                f"I-Twilio-Idempotency-Token: {call.token}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
    return requests


async def _post_all(url: str, requests: Sequence[bytes]) -> None:
    """Each connection posts its part, one after another, as a provider does."""
    parts = urlsplit(url)
    await asyncio.gather(
        *(_post(parts.hostname or "", parts.port or 0, requests[n::CONNECTIONS]) for n in range(CONNECTIONS))
    )


async def _post(host: str, port: int, requests: Sequence[bytes]) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    for request in requests:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 20"), head
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
        if length:
            await reader.readexactly(length)
    writer.close()
    await writer.wait_closed()
