"""SMS end to end over HTTP, and receipts by themselves: the daemon in one process, the provider in another.

The provider is `bench.sink`. Receipts by themselves are made beforehand and posted by this process.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.measuring import cpu_seconds, free_port, import_contacts, peak_memory_mb, send_to_all, watch
from bench.receipts import Poster, receipts_of
from bench.sink import SinkProcess
from gateway.testing.provider_faults import ReceiptTrouble
from gateway.testing.smtp_process import SmtpProcess
from gateway.testing.twilio_simulator import ACCOUNT_SID, AUTH_TOKEN, TwilioSimulator
from tests.processes import GatewayProcess

CONCURRENCY = 64
MESSAGE = {"channel": "sms", "body": "Hi {{ first_name }}, see you on Sunday in {{ city }}."}
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
    async with SinkProcess() as sink, gateway_at(sink.url) as gateway:
        if receipts:
            await sink.post_receipts(urlsplit(gateway.url).netloc)
        figures = await _measure_texts(gateway, recipients, receipts, sink.pid)
        taken = await sink.taken()
        assert not taken["refused"], taken
        figures.texts_taken = taken["twilio"]
        return figures


async def _measure_texts(gateway: GatewayProcess, recipients: int, receipts: int, provider: int) -> TextFigures:
    """`provider`: its process."""
    await import_contacts(gateway, recipients)
    cpu, theirs = cpu_seconds(gateway.pid), cpu_seconds(provider)
    started = time.perf_counter()
    action = await send_to_all(gateway, MESSAGE)
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
        twilio.receipt_trouble = ReceiptTrouble(lost=1.0)
        await import_contacts(gateway, recipients)
        action = await send_to_all(gateway, MESSAGE)
        await watch(gateway, action, time.perf_counter(), "handed_over")
        at = urlsplit(gateway.url)
        requests = [request for message in twilio.record for request in receipts_of(message, at.netloc)]
        poster = Poster()
        await poster.open(at.hostname or "", at.port or 0)
        cpu = cpu_seconds(gateway.pid)
        started = time.perf_counter()
        poster.put(requests)
        await poster.all_answered.wait()
        answered = time.perf_counter()
        poster.close()
        assert not poster.refused
        seen = await watch(gateway, action, answered)
        return ReceiptFigures(
            receipts=len(requests),
            receipts_per_second=len(requests) / (answered - started),
            cpu_seconds_per_1000=(cpu_seconds(gateway.pid) - cpu) / len(requests) * 1000,
            merged_after_ms=seen.finished * 1000,
        )
