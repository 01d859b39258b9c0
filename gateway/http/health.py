"""For whoever watches the process: alive, ready, and figures. No key is needed, and nothing personal is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from gateway.errors import GatewayError
from gateway.http.routing import Answer, OpenRoute

PROBE_SECONDS: Final = 5.0  # a writer that is stuck behind a lock for longer is not ready

Probe = Callable[[], Awaitable[str | None]]
"""None: ready; else a sentence that says what is missing."""


class Rendered(Protocol):
    """Figures in the text format of Prometheus."""

    def render(self) -> bytes: ...


def health_routes(probes: Mapping[str, Probe], metrics: Rendered) -> list[OpenRoute]:
    """`/healthz`, `/readyz` (asks every probe, by name) and `/metrics`."""

    async def alive() -> Answer:
        return Answer(body={"status": "alive"})

    async def ready() -> Answer:
        answers = await asyncio.gather(*(_ask(probe) for probe in probes.values()))
        checks = {name: answer or "ok" for name, answer in zip(probes, answers, strict=True)}
        healthy = not any(answers)
        return Answer(
            body={"status": "ready" if healthy else "not ready", "checks": checks}, status=200 if healthy else 503
        )

    async def figures() -> Answer:
        return Answer(body=metrics.render(), content_type="text/plain; version=0.0.4; charset=utf-8")

    return [
        OpenRoute(path="/healthz", handler=alive),
        OpenRoute(path="/readyz", handler=ready),
        OpenRoute(path="/metrics", handler=figures),
    ]


async def _ask(probe: Probe) -> str | None:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            return await probe()
    except TimeoutError:
        return f"no answer within {PROBE_SECONDS:g} s"
    except GatewayError as exc:
        return str(exc)
