"""The e-mail adapter by itself: what handing over one mail costs this process, to a mail server in another one.

No engine, no store: W coroutines call `adapter.send`, as the engine's workers do. The mail is that of `bench/smtp.py`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.measuring import CONCURRENCY, cpu_seconds
from bench.smtp import HTML, TEXT
from gateway import Accepted, Outbound
from gateway.testing.doubles import NOW, make_tools
from gateway.testing.smtp_process import SmtpProcess
from gateway.validation import convert
from gateway_email.mime import Composer, on_the_wire
from gateway_email.settings import SmtpSettings
from gateway_email.smtp import SmtpAdapter

WARM_UP = 1_000  # mails before the clocks run: connections are made, and caches filled


@dataclass
class AdapterFigures:
    """One run. CPU is in microseconds for each mail: of this process, and of the mail server's."""

    mails: int
    pipelining: bool
    cpu_us_per_mail: float
    mails_per_second: float
    server_cpu_us_per_mail: float
    mime_us_per_mail: float


async def measure_adapter(mails: int, *, pipelining: bool) -> AdapterFigures:
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        async with SmtpProcess(Path(folder) / "mails.tsv", pipelining=pipelining) as smtp:
            table = {"host": "127.0.0.1", "port": smtp.port, "security": "none", "from": "Grace <news@grace.example>"}
            settings = convert(table, SmtpSettings)
            adapter = SmtpAdapter(settings, make_tools(sender="mail"))
            await adapter.open()
            try:
                await _send_all(adapter, _outbounds(WARM_UP, "warm"))
                return await _measured(adapter, smtp, _outbounds(mails, "msg"), settings, pipelining)
            finally:
                await adapter.close()


async def _measured(
    adapter: SmtpAdapter, smtp: SmtpProcess, outbounds: Sequence[Outbound], settings: SmtpSettings, pipelining: bool
) -> AdapterFigures:
    server, ours, started = cpu_seconds(smtp.pid), time.process_time(), time.perf_counter()
    await _send_all(adapter, outbounds)
    ours, elapsed = time.process_time() - ours, time.perf_counter() - started
    server = cpu_seconds(smtp.pid) - server
    assert len(smtp.record()) == len(outbounds) + WARM_UP
    return AdapterFigures(
        mails=len(outbounds),
        pipelining=pipelining,
        cpu_us_per_mail=ours / len(outbounds) * 1e6,
        mails_per_second=len(outbounds) / elapsed,
        server_cpu_us_per_mail=server / len(outbounds) * 1e6,
        mime_us_per_mail=_mime_us(settings, outbounds),
    )


async def _send_all(adapter: SmtpAdapter, outbounds: Sequence[Outbound]) -> None:
    """As the engine's workers do: each takes the next one as soon as its last one is answered."""
    left = iter(outbounds)

    async def work(left: Iterator[Outbound]) -> None:
        for outbound in left:
            outcome = await adapter.send(outbound)
            assert outcome == Accepted(), outcome

    await asyncio.gather(*(work(left) for _ in range(CONCURRENCY)))


def _mime_us(settings: SmtpSettings, outbounds: Sequence[Outbound]) -> float:
    """Building alone."""
    composer = Composer(settings.from_, settings.reply_to)
    started = time.process_time()
    for outbound in outbounds:
        on_the_wire(composer.build(outbound, NOW))
    return (time.process_time() - started) / len(outbounds) * 1e6


def _outbounds(number: int, prefix: str) -> Sequence[Outbound]:
    """Rendered beforehand: that is the engine's work."""
    return [
        Outbound(
            ref=f"{prefix}_{n:016d}",
            attempt=1,
            to=f"ada{n}@example.org",
            subject=f"Sunday, Ada{n} ✨",
            text=_filled(TEXT, n),
            html=_filled(HTML, n),
        )
        for n in range(number)
    ]


def _filled(template: str, number: int) -> str:
    values = {"first_name": f"Ada{number}", "city": "Ìbàdàn", "plan": "gold", "id": f"m-{number}"}
    for name, value in values.items():
        template = template.replace(f"{{{{ {name} }}}}", value)
    return template
