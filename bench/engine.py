"""The engine by itself: everything but the provider, for its senders only make a dry run; and what a text costs."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.measuring import CONCURRENCY, cpu_seconds, free_port, import_contacts, peak_memory_mb, send_to_all, watch
from bench.smtp import HTML, TEXT
from gateway.core.template import Renderer
from tests.processes import GatewayProcess

RENDERINGS = 20_000
OUTPUT_MAX = 10_000  # characters
POLICIES = """
[plugins.quiet_hours]
between = ["{hour:02}:00", "{hour:02}:30"]

[plugins.frequency_cap]
per_day = 3
"""
NOBODY_LISTENS = 9  # the port of a provider that is never called


@dataclass
class EngineFigures:
    """One run. CPU is the daemon's: gate, three renderings, intent, record, and the books."""

    recipients: int
    policies: bool
    messages_per_second: float
    cpu_us_per_message: float
    peak_memory_mb: float
    rendering_us: float  # of the text with its four variables, in this process


async def measure_engine(recipients: int, policies: bool = False) -> EngineFigures:
    """`policies`: quiet hours, in the middle of another night, and a frequency cap are asked about everybody."""
    more = "dry_run = true\n" + (POLICIES.format(hour=(datetime.now(UTC).hour + 12) % 24) if policies else "")
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        installation = GatewayProcess(
            Path(folder), NOBODY_LISTENS, port=free_port(), concurrency=CONCURRENCY, more=more
        )
        async with installation as gateway:
            await gateway.start()
            await import_contacts(gateway, recipients)
            message = {"channel": "email", "subject": "Sunday, {{ first_name }}", "body": TEXT, "html": HTML}
            cpu, started = cpu_seconds(gateway.pid), time.perf_counter()
            seen = await watch(gateway, await send_to_all(gateway, message), started)
            return EngineFigures(
                recipients=recipients,
                policies=policies,
                messages_per_second=recipients / seen.finished,
                cpu_us_per_message=(cpu_seconds(gateway.pid) - cpu) / recipients * 1e6,
                peak_memory_mb=peak_memory_mb(gateway.pid),
                rendering_us=_rendering_us(),
            )


def _rendering_us() -> float:
    template = Renderer().compile(TEXT, OUTPUT_MAX)
    values = {"first_name": "Ada", "city": "Kraków", "plan": "gold", "id": "m-17"}
    started = time.process_time()
    for _ in range(RENDERINGS):
        template.render(values)
    return (time.process_time() - started) / RENDERINGS * 1e6
