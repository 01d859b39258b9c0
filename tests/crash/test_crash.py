"""The promise, word for word: after any number of process kills nobody is lost, the books balance, and at most W
messages a kill are ambiguous. The SMTP server's own record is the judge."""

from __future__ import annotations

import asyncio
import json
import random
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
RANDOM_KILLS = 20
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
    key = {"Idempotency-Key": "the-one-action"}
    for _ in range(5):
        try:
            status, answer = await gateway.call("POST", "/v1/bulk-actions", body, headers=key)
        except aiohttp.ClientError:
            await gateway.wait_for_death(5)
            await gateway.start()
            continue
        if status == 201:
            identifier: str = answer["id"]
            return identifier
        assert status == 409, answer
        await asyncio.sleep(0.1)
    raise AssertionError("the action could not be created")


async def wait_until_final(gateway: GatewayProcess, action: str) -> dict[str, Any]:
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            _, answer = await gateway.call("GET", f"/v1/bulk-actions/{action}")
            if answer["status"] in FINAL:
                found: dict[str, Any] = answer
                return found
            await asyncio.sleep(0.05)


def assert_everybody_was_written_to(smtp: SmtpProcess, people: int, kills: int) -> None:
    received = Counter(mail.recipient for mail in smtp.record())
    assert set(received) == {f"m{n}@example.org" for n in range(people)}
    doubled = sum(number - 1 for number in received.values())
    assert doubled <= kills * W, f"{doubled} doubled after {kills} kills with W = {W}"


@pytest.mark.parametrize(
    "point",
    [
        "snapshot_chunk:1",
        "batch_released:1",
        "batch_released:3",
        "intent_committed:1",
        "intent_committed:7",
        "provider_answered:1",
        "provider_answered:100",
        "outcome_committed:1",
        "outcome_committed:9",
    ],
)
async def test_killed_at_a_named_point_it_goes_on_and_everybody_is_accounted_for(
    point: str, tmp_path: Path, smtp: SmtpProcess, unused_tcp_port: int
) -> None:
    drip = {"batch_quantity": 100, "repeat_after": "30s"}
    schedule = {"mode": "drip", "drip": drip} if point == "batch_released:3" else {"mode": "now"}
    if point == "batch_released:3":
        drip["repeat_after"] = "1s"
    async with GatewayProcess(tmp_path, smtp.port, port=unused_tcp_port, concurrency=W) as gateway:
        await gateway.start()
        await import_people(gateway, PEOPLE)
        await gateway.terminate()
        await gateway.start(crash_at=point)
        action = await send_to_all(gateway, **schedule)
        if gateway.starts == 2:  # it may have died, and been started again, while the request was answered
            assert await gateway.wait_for_death(20), f"{point} was never reached:\n{gateway.log}"
            await gateway.start()
        ended = await wait_until_final(gateway, action)
        assert ended["counts"]["succeeded"] == ended["counts"]["total"] == PEOPLE, ended
        assert (await gateway.cli("verify"))["faults"] == []
        assert_everybody_was_written_to(smtp, PEOPLE, kills=1)


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


async def test_killed_at_random_instants_again_and_again_nobody_is_lost(
    tmp_path: Path, smtp: SmtpProcess, unused_tcp_port: int
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    people = 6_000
    async with GatewayProcess(tmp_path, smtp.port, port=unused_tcp_port, rate=1_000, concurrency=W) as gateway:
        await gateway.start()
        await import_people(gateway, people)
        action = await send_to_all(gateway)
        kills = 0
        while kills < RANDOM_KILLS:
            await asyncio.sleep(chance.uniform(0.02, 0.25))
            await gateway.kill()
            kills += 1
            verified = await gateway.cli("verify")
            assert verified["faults"] == [], f"after kill {kills}, seed {seed}"
            assert sum(verified["sending"].values()) <= W
            await gateway.start()
        ended = await wait_until_final(gateway, action)
        assert ended["counts"]["succeeded"] == people, json.dumps(ended)
        assert (await gateway.cli("verify"))["faults"] == []
        assert_everybody_was_written_to(smtp, people, kills)


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
        assert_everybody_was_written_to(smtp, PEOPLE, kills=0)
