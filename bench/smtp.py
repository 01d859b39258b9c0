"""E-mail end to end: a bulk action to everybody, with the SMTP server in a process of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench.measuring import CONCURRENCY, cpu_seconds, import_contacts, mailing, peak_memory_mb, send_to_all, watch
from gateway.testing.smtp_process import SmtpProcess
from tests.processes import GatewayProcess

TEXT = (
    "Dear {{ first_name }},\n\n"
    "Thank you for being part of our community in {{ city }}. Your plan is “{{ plan }}”, your number is {{ id }}.\n\n"
    + "We would be glad to see you on Sunday — there will be music, food and good company. " * 6
    + "\n\nYours,\nGrace Church\n"
)
HTML = (
    "<html><body><p>Dear <b>{{ first_name }}</b>,</p>"
    "<p>Thank you for being part of our community in {{ city }}. "
    "Your plan is “{{ plan }}”, your number is {{ id }}.</p><p>"
    + "We would be glad to see you on Sunday — there will be music, food and good company. " * 6
    + "</p></body></html>"
)


@dataclass
class MailFigures:
    """One run. Rates are per second of wall-clock time, CPU is the daemon's own."""

    recipients: int
    concurrency: int
    imported_per_second: float
    first_message_ms: float
    snapshot_rows_per_second: float
    messages_per_second: float
    cpu_seconds_per_1000: float
    peak_memory_mb: float
    api_p50_ms: float
    api_p99_ms: float
    mails_received: int


async def measure_mail(recipients: int, concurrency: int = CONCURRENCY) -> MailFigures:
    """`concurrency`: W, messages in flight at most."""
    async with mailing(concurrency) as (gateway, smtp):
        return await _run(gateway, smtp, recipients)


async def _run(gateway: GatewayProcess, smtp: SmtpProcess, recipients: int) -> MailFigures:
    imported = await import_contacts(gateway, recipients)
    message = {"channel": "email", "subject": "Sunday, {{ first_name }} ✨", "body": TEXT, "html": HTML}
    cpu = cpu_seconds(gateway.pid)
    started = time.perf_counter()
    seen = await watch(gateway, await send_to_all(gateway, message), started)
    return MailFigures(
        recipients=recipients,
        concurrency=gateway.concurrency,
        imported_per_second=imported,
        first_message_ms=seen.first_message * 1000,
        snapshot_rows_per_second=recipients / seen.snapshot,
        messages_per_second=recipients / seen.finished,
        cpu_seconds_per_1000=(cpu_seconds(gateway.pid) - cpu) / recipients * 1000,
        peak_memory_mb=peak_memory_mb(gateway.pid),
        api_p50_ms=seen.latency_ms(50),
        api_p99_ms=seen.latency_ms(99),
        mails_received=len(smtp.record()),
    )
