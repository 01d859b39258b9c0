"""The door for providers: what is genuine is stored before it is answered, and nothing hostile is an error of ours."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiohttp import ClientSession, web

from gateway.contract import CallbackRequest, Receipt, Status
from gateway.core.ids import IdSequence
from gateway.core.schedule import Schedule
from gateway.http.app import build_public_app, build_runner
from gateway.http.callbacks import BODY_BYTES_MAX, CallbackDoor
from gateway.http.reading import HttpLimits
from gateway.store.database import Database
from gateway.testing.clock import FakeClock
from tests.engine.world import World

PUBLIC = "https://gateway.example/gw/"


@dataclass
class Door:
    """The public application over an engine, and what its adapter was shown."""

    world: World
    client: ClientSession
    seen: list[CallbackRequest]

    async def stored(self) -> list[tuple[bytes]]:
        rows = await self.world.sql("SELECT body FROM callbacks ORDER BY id")
        return [(body,) for (body,) in rows]


@pytest.fixture(params=[build_runner, web.AppRunner], ids=["short way", "aiohttp's"])
async def door(
    request: pytest.FixtureRequest, database: Database, clock: FakeClock, ids: IdSequence
) -> AsyncIterator[Door]:
    """Of the daemon, where what is plain goes the short way, and without that."""
    world = World(database, clock, ids)
    await world.start()
    seen: list[CallbackRequest] = []
    sender = world.catalogue.senders["mail"]
    authenticate = sender.adapter.authenticate

    async def watch(request: CallbackRequest) -> object:
        seen.append(request)
        return await authenticate(request)

    sender.adapter.authenticate = watch  # type: ignore[method-assign, assignment]
    limits = HttpLimits(body_seconds=0.2, linger_seconds=0.1)
    app = build_public_app([CallbackDoor(world.engine.intake, world.catalogue, PUBLIC, limits)])
    runner = request.param(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with ClientSession(f"http://127.0.0.1:{site.port}") as client:
        yield Door(world, client, seen)
    await runner.cleanup()
    await world.kill()


async def test_a_genuine_callback_is_on_disk_when_it_is_answered(door: Door) -> None:
    async with door.client.post("/callbacks/mail", data=b"anything") as answer:
        assert answer.status == 200
    assert await door.stored() == [(b"anything",)]


async def test_a_forged_one_is_refused_and_leaves_nothing(door: Door) -> None:
    async with door.client.post("/callbacks/mail", data=b"forged") as answer:
        assert answer.status == 403
        assert (await answer.json(content_type=None))["code"] == "callback_refused"
    assert await door.stored() == []


async def test_a_handshake_is_answered_by_the_adapter_and_leaves_nothing(door: Door) -> None:
    async with door.client.get("/callbacks/mail", data=b"handshake") as answer:
        assert (answer.status, await answer.read()) == (200, b"challenge")
    assert await door.stored() == []


async def test_the_adapter_sees_the_public_url_and_everything_as_it_came(door: Door) -> None:
    headers = [("X-Signature", "one"), ("X-Signature", "two"), ("X-Odd", "caf\xe9")]
    path = "/callbacks/mail/dlr/a%2Fb?ref=msg_1&text=a+b%20c&empty=&text=%FF"
    async with door.client.post(path, data=b"x\x00\xff", headers=headers) as answer:
        assert answer.status == 200
    (request,) = door.seen
    assert request.url == "https://gateway.example/gw" + path
    assert request.tail == "/dlr/a/b"
    assert request.query == (("ref", "msg_1"), ("text", "a b c"), ("empty", ""), ("text", "\ufffd"))
    assert request.headers["x-signature"] == "one, two"
    assert request.body == b"x\x00\xff"
    await door.world.settle()
    assert await door.world.sql("SELECT state FROM callbacks") == [(1,)]


async def test_what_proves_who_calls_is_judged_by_and_not_kept(door: Door) -> None:
    proofs = {
        "Authorization": "Basic canary",
        "Proxy-Authorization": "canary",
        "Cookie": "canary",
        "X-API-Key": "canary",
    }
    async with door.client.post("/callbacks/mail", data=b"x", headers={**proofs, "X-Kind": "report"}) as answer:
        assert answer.status == 200
    assert all(name.lower() in door.seen[0].headers for name in proofs)
    ((kept,),) = await door.world.sql("SELECT request FROM callbacks")
    assert "canary" not in kept
    assert '"x-kind":"report"' in kept
    assert not any(
        f'"{name}"' in kept for name in ("host", "user-agent", "accept", "accept-encoding", "content-length")
    )


@pytest.mark.parametrize("path", ["/callbacks/nobody", "/callbacks/", "/v1/me", "/healthz", "/metrics", "/"])
async def test_nothing_else_is_behind_the_public_door(door: Door, path: str) -> None:
    async with door.client.post(path, data=b"x") as answer:
        assert answer.status == 404
    assert door.seen == []


async def test_a_body_over_the_limit_is_refused_before_anybody_looks_at_it(door: Door) -> None:
    async with door.client.post("/callbacks/mail", data=io.BytesIO(b"x" * (BODY_BYTES_MAX + 1))) as answer:
        assert answer.status == 413
    async with door.client.post("/callbacks/mail", data=io.BytesIO(b"x" * BODY_BYTES_MAX)) as answer:
        assert answer.status == 200
    assert len(door.seen) == 1


async def test_a_compressed_body_is_refused(door: Door) -> None:
    async with door.client.post("/callbacks/mail", data=b"x", headers={"Content-Encoding": "gzip"}) as answer:
        assert answer.status == 415


async def test_too_many_parameters_are_refused(door: Door) -> None:
    async with door.client.post("/callbacks/mail?" + "&".join("a=1" for _ in range(300)), data=b"x") as answer:
        assert answer.status == 400


async def test_an_adapter_that_raises_refuses_and_one_that_cannot_answer_has_taken_it(door: Door) -> None:
    adapter = door.world.catalogue.senders["mail"].adapter

    def raises(request: CallbackRequest) -> object:
        raise RuntimeError("a bug of the adapter")

    adapter.answer = raises  # type: ignore[method-assign, assignment]
    async with door.client.post("/callbacks/mail", data=b"taken") as answer:
        assert answer.status == 200
    adapter.authenticate = raises  # type: ignore[method-assign, assignment]
    async with door.client.post("/callbacks/mail", data=b"not taken") as answer:
        assert answer.status == 403
    assert await door.stored() == [(b"taken",)]


async def test_a_repeated_callback_is_taken_again_and_changes_nothing(door: Door) -> None:
    await door.world.contacts(1)
    await door.world.create(Schedule(mode="now", start_at=None, time_zone="UTC", drip=None))
    ref = door.world.provider.sent[0].ref
    door.world.provider.says[b"read"] = [Receipt(status=Status.READ, ref=ref)]
    for _ in range(3):
        async with door.client.post("/callbacks/mail", data=b"read") as answer:
            assert answer.status == 200
    await door.world.settle()
    assert await door.world.sql("SELECT status, kind FROM message_history") == [("read", "receipt")]


async def test_many_at_once_share_commits_and_all_are_kept(door: Door) -> None:
    async def post(number: int) -> int:
        async with door.client.post("/callbacks/mail", data=f"{number}".encode()) as answer:
            return answer.status

    assert set(await asyncio.gather(*(post(number) for number in range(200)))) == {200}
    assert {body for (body,) in await door.stored()} == {f"{number}".encode() for number in range(200)}
