"""Alive, ready, and figures: without a key."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.errors import StoreUnavailable
from gateway.http import health
from gateway.http.health import Probe, health_routes
from tests.http.conftest import StartApi


class Figures:
    def render(self) -> bytes:
        return b"messages_sent_total 3\n"


async def well() -> str | None:
    return None


async def unwell() -> str | None:
    return "the scheduler has not moved for 60 s"


async def broken() -> str | None:
    raise StoreUnavailable("database is locked")


async def silent() -> str | None:
    await asyncio.Event().wait()
    return None


async def test_a_living_process_says_so_without_a_key(start_api: StartApi) -> None:
    api = await start_api([], open_routes=health_routes({"store": broken}, Figures()))
    reply = await api.get("/healthz", token=None)
    assert (reply.status, reply.json) == (200, {"status": "alive"})
    assert (await api.call("HEAD", "/healthz", token=None)).status == 200


@pytest.mark.parametrize(
    ("probes", "status", "checks"),
    [
        ({"store": well, "loops": well}, 200, {"store": "ok", "loops": "ok"}),
        (
            {"store": broken, "loops": unwell},
            503,
            {"store": "database is locked", "loops": "the scheduler has not moved for 60 s"},
        ),
        ({"store": well, "loops": unwell}, 503, {"store": "ok", "loops": "the scheduler has not moved for 60 s"}),
    ],
)
async def test_ready_means_that_every_probe_is_content(
    start_api: StartApi, probes: dict[str, Probe], status: int, checks: dict[str, Any]
) -> None:
    api = await start_api([], open_routes=health_routes(probes, Figures()))
    reply = await api.get("/readyz", token=None)
    assert (reply.status, reply.json["checks"]) == (status, checks)


async def test_a_probe_that_does_not_answer_is_not_ready(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PROBE_SECONDS", 0.01)
    api = await start_api([], open_routes=health_routes({"store": silent}, Figures()))
    reply = await api.get("/readyz", token=None)
    assert (reply.status, reply.json["checks"]) == (503, {"store": "no answer within 0.01 s"})


async def test_metrics_are_plain_text(start_api: StartApi) -> None:
    api = await start_api([], open_routes=health_routes({}, Figures()))
    reply = await api.get("/metrics", token=None)
    assert (reply.status, reply.raw) == (200, b"messages_sent_total 3\n")
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
