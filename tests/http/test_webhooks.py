"""Webhooks over HTTP: what can be said of them, and what is refused."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from gateway.core.ids import IdSequence, OrgId
from gateway.engine.webhooks import Webhooks
from gateway.http.webhooks import WebhookDesk, webhook_routes
from gateway.posting import Poster
from gateway.store.codec import to_micros
from gateway.store.database import Database
from gateway.store.deliveries import DeliveryStore
from gateway.store.events import EventStore
from gateway.store.outbox import publish
from gateway.store.webhooks import WebhookStore
from gateway.testing.clock import FakeClock
from tests.http.conftest import DEFAULT, OTHER, Api, Reply, StartApi
from tests.receiver import Receiver, down, ok, receiving

URL = "https://receiver.example/hook"


@dataclass
class World:
    api: Api
    database: Database
    clock: FakeClock
    deliveries: DeliveryStore
    loop: Webhooks
    allowed: set[str]  # URLs that may lead home: those of the receivers of these tests

    async def add(self, **fields: Any) -> Any:
        reply = await self.api.post("/v1/webhooks", {"url": URL, **fields})
        assert reply.status == 201, reply.raw
        return reply.json

    async def patch(self, webhook: Any, fields: Any, **headers: str) -> Reply:
        return await self.api.call("PATCH", f"/v1/webhooks/{webhook['id']}", json=fields, headers=headers)

    async def shown(self, webhook: Any) -> Any:
        reply = await self.api.get(f"/v1/webhooks/{webhook['id']}")
        assert reply.status == 200
        return reply.json

    async def tell(self, number: int = 1) -> None:
        at = to_micros(self.clock.now())
        for _ in range(number):
            await self.database.write(lambda conn: publish(conn, DEFAULT.id, "opt_out.recorded", at, {}))

    async def deliver(self) -> None:
        """One look of the loop, and everything that follows from it."""
        task = asyncio.create_task(self.loop.run())
        for _ in range(1_000):
            await asyncio.sleep(0.002)
            if not await self.deliveries.due(self.clock.now()) and not self.loop._rounds:
                break
        task.cancel()
        await asyncio.wait({task})

    async def log(self, webhook: Any, query: str = "") -> Any:
        reply = await self.api.get(f"/v1/webhooks/{webhook['id']}/deliveries{query}")
        assert reply.status == 200
        return reply.json


@pytest.fixture
async def world(start_api: StartApi, database: Database, clock: FakeClock, ids: IdSequence) -> AsyncIterator[World]:
    inside = Poster(clock, allow_private=True)
    outside = Poster(clock, allow_private=False)
    deliveries = DeliveryStore(database)
    loop = Webhooks(deliveries, inside, clock, lambda: 0.5)
    allowed: set[str] = set()
    desk = WebhookDesk(
        store=WebhookStore(database, ids),
        deliveries=deliveries,
        loop=loop,
        clock=clock,
        refusal=lambda url: None if url in allowed else outside.refusal(url),
    )
    yield World(await start_api(webhook_routes(desk)), database, clock, deliveries, loop, allowed)
    await inside.close()
    await outside.close()


@pytest.fixture
async def receiver(world: World) -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        world.allowed.add(receiver.url)
        yield receiver


# ---- making


async def test_a_new_webhook_shows_its_secret_once(world: World) -> None:
    reply = await world.api.post("/v1/webhooks", {"url": URL, "description": "Ours"})
    made = reply.json
    assert (reply.status, reply.headers["Location"], reply.headers["ETag"]) == (
        201,
        f"/v1/webhooks/{made['id']}",
        '"1"',
    )
    assert len(base64.b64decode(made["secret"].removeprefix("whsec_"), validate=True)) == 32
    assert made["types"] == ["bulk_action.*", "message.received", "opt_out.*"]
    shown = await world.shown(made)
    assert "secret" not in shown
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert (shown["enabled"], shown["held"], shown["waiting"], shown["retries"]) == (True, False, 0, 0)


async def test_a_repeated_creation_makes_one_webhook_and_shows_no_secret(world: World) -> None:
    headers = {"Idempotency-Key": "one"}
    first = await world.api.post("/v1/webhooks", {"url": URL}, headers=headers)
    second = await world.api.post("/v1/webhooks", {"url": URL}, headers=headers)
    assert first.json["id"] == second.json["id"]
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "secret" not in second.json
    assert len((await world.api.get("/v1/webhooks")).json["items"]) == 1


async def test_webhooks_are_listed_newest_first(world: World) -> None:
    ids = [(await world.add())["id"] for _ in range(3)]
    first = (await world.api.get("/v1/webhooks?limit=2")).json
    second = (await world.api.get(f"/v1/webhooks?limit=2&cursor={first['next_cursor']}")).json
    assert [one["id"] for one in (*first["items"], *second["items"])] == ids[::-1]
    assert second["next_cursor"] is None


@pytest.mark.parametrize(
    "url",
    [
        "ftp://receiver.example/hook",
        "receiver.example/hook",
        "https://",
        "https://[",
        "https://user:secret@receiver.example/hook",
        "https://user@receiver.example/hook",
        "https://receiver.example/hook#part",
        "https://receiver.example:0/hook",
        "https://receiver.example:99999/hook",
        "https://receiver.example/a b",
        "http://127.0.0.1/hook",
        "http://127.1/hook",
        "http://2130706433/",
        "http://localhost:8080/v1/keys",
        "http://a.localhost./",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://10.1.2.3/",
        "http://169.254.169.254/latest/meta-data",
        "http://[fd00:ec2::254]/",
        "http://100.64.0.1/",
        "https://" + "x" * 2_000,
        "",
    ],
)
async def test_urls_that_lead_home_or_nowhere_are_refused(world: World, url: str) -> None:
    reply = await world.api.post("/v1/webhooks", {"url": url})
    assert (reply.status, reply.code, reply.pointers) == (422, "invalid", ["/url"])


async def test_all_that_is_wrong_is_told_at_once(world: World) -> None:
    wrong = {"url": "http://10.0.0.1/", "types": ["opt_out.*", "message.recieved", "x"]}
    reply = await world.api.post("/v1/webhooks", wrong)
    assert reply.pointers == ["/url", "/types/1", "/types/2"]
    assert "Did you mean 'message.received'?" in reply.json["errors"][1]["detail"]
    assert "bulk_action.batch_finished" in reply.json["errors"][2]["detail"]
    assert (await world.api.get("/v1/webhooks")).json["items"] == []


async def test_the_21st_webhook_is_refused(world: World) -> None:
    for _ in range(20):
        await world.add()
    reply = await world.api.post("/v1/webhooks", {"url": URL})
    assert (reply.status, reply.code) == (409, "too_many_webhooks")


# ---- editing


async def test_an_edit_replaces_what_it_names(world: World) -> None:
    made = await world.add(types=["sender.*"], description="Ours")
    edited = await world.patch(made, {"description": None, "url": URL + "/2"})
    assert (edited.status, edited.headers["ETag"]) == (200, '"2"')
    assert (edited.json["url"], edited.json["description"], edited.json["types"]) == (URL + "/2", None, ["sender.*"])
    assert (await world.patch(made, {"types": None})).json["types"] == [
        "bulk_action.*",
        "message.received",
        "opt_out.*",
    ]
    assert (await world.patch(made, {"enabled": True})).json["revision"] == 3, "nothing is edited"
    assert (await world.patch(made, {"types": ["x"]})).pointers == ["/types/0"]
    assert (await world.patch(made, {"url": "http://[::1]/"})).pointers == ["/url"]
    assert (await world.patch(made, {"secret": "whsec_mine"})).pointers == ["/secret"]


async def test_an_edit_of_an_older_revision_is_refused(world: World) -> None:
    made = await world.add()
    assert (await world.patch(made, {"description": "a"}, **{"If-Match": '"1"'})).status == 200
    reply = await world.patch(made, {"description": "b"}, **{"If-Match": '"1"'})
    assert (reply.status, reply.code) == (412, "revision_mismatch")


async def test_a_disabled_webhook_goes_on_from_where_it_stood(world: World, receiver: Receiver) -> None:
    made = await world.add(url=receiver.url)
    off = (await world.patch(made, {"enabled": False})).json
    assert (off["enabled"], off["disabled_reason"], off["disabled_at"]) == (False, "by_hand", "2026-06-01T08:00:00Z")
    await world.tell(3)
    await world.deliver()
    assert receiver.asked == []
    assert (await world.shown(made))["waiting"] == 4, "the news that it was disabled among them"
    on = (await world.patch(made, {"enabled": True})).json
    assert (on["enabled"], on["disabled_reason"]) == (True, None)
    await world.deliver()
    assert sorted(receiver.seqs) == [2, 3, 4]


async def test_a_webhook_that_was_moved_is_tried_at_once(world: World, receiver: Receiver) -> None:
    async with receiving(down) as old:
        world.allowed.add(old.url)
        made = await world.add(url=old.url)
        await world.tell(10)
        await world.deliver()
        assert (await world.shown(made))["held"]
    moved = (await world.patch(made, {"url": receiver.url})).json
    assert (moved["held"], moved["next_attempt_at"]) == (False, None)
    await world.deliver()
    assert sorted(receiver.seqs) == list(range(1, 11))


async def test_a_rotated_secret_is_shown_and_the_old_one_signs_for_a_while(world: World, receiver: Receiver) -> None:
    made = await world.add(url=receiver.url)
    rotated = (await world.api.post(f"/v1/webhooks/{made['id']}/rotate", {"overlap": "2h"})).json
    assert rotated["secret"] != made["secret"]
    assert rotated["overlap_until"] == "2026-06-01T10:00:00Z"
    await world.tell()
    await world.deliver()
    assert [receiver.taken[0].signed_with(each["secret"]) for each in (made, rotated)] == [True, True]
    at_once = (await world.api.post(f"/v1/webhooks/{made['id']}/rotate", {"overlap": "0s"})).json
    await world.tell()
    await world.deliver()
    signed = [receiver.taken[1].signed_with(each["secret"]) for each in (made, rotated, at_once)]
    assert signed == [False, False, True]
    wrong = await world.api.post(f"/v1/webhooks/{made['id']}/rotate", {"overlap": "soon"})
    assert wrong.pointers == ["/overlap"]


async def test_a_deleted_webhook_is_gone(world: World) -> None:
    made = await world.add()
    path = f"/v1/webhooks/{made['id']}"
    assert (await world.api.call("DELETE", path)).status == 204
    assert (await world.api.get(path)).status == 404
    assert (await world.api.call("DELETE", path)).status == 404


# ---- what became of it


async def test_deliveries_are_logged_with_what_the_receiver_said(world: World, receiver: Receiver) -> None:
    receiver.behave = lambda taken: down(taken) if taken.seq == 2 else ok(taken)
    made = await world.add(url=receiver.url)
    await world.tell(3)
    await world.deliver()
    lines = (await world.log(made))["items"]
    assert {line["seq"]: (line["result"], line["status"], line["detail"]) for line in lines} == {
        1: ("delivered", 204, ""),
        2: ("failed", 503, "Back soon"),
        3: ("delivered", 204, ""),
    }
    (failed,) = (await world.log(made, "?result=failed"))["items"]
    assert failed["next_attempt_at"] == "2026-06-01T08:00:05Z"
    assert (failed["attempt"], failed["type"], failed["at"]) == (1, "opt_out.recorded", "2026-06-01T08:00:00Z")
    assert failed["event_id"] == next(taken.id for taken in receiver.asked if taken.seq == 2)
    page = await world.log(made, "?limit=2")
    rest = await world.log(made, f"?limit=2&cursor={page['next_cursor']}")
    assert [*page["items"], *rest["items"]] == lines


async def test_a_test_says_at_once_what_the_receiver_answered(world: World, receiver: Receiver) -> None:
    made = await world.add(url=receiver.url)
    path = f"/v1/webhooks/{made['id']}/test"
    assert (await world.api.post(path)).json["result"] == "delivered"
    assert receiver.types == ["webhook.test"]
    assert receiver.taken[0].json["data"] == {"webhook_id": made["id"]}
    receiver.behave = lambda taken: web.Response(status=403, text="Who are you?")
    failed = (await world.api.post(path)).json
    assert (failed["result"], failed["status"], failed["detail"]) == ("failed", 403, "Who are you?")
    assert failed["next_attempt_at"] is None
    assert len((await world.log(made))["items"]) == 2
    assert (await world.shown(made))["failures"] == 0, "a test says nothing against a webhook"


async def test_a_replay_delivers_again(world: World, receiver: Receiver) -> None:
    made = await world.add(url=receiver.url)
    path = f"/v1/webhooks/{made['id']}/replay"
    await world.tell(3)
    await world.deliver()
    back = await world.api.post(path, {"after": 1})
    assert (back.status, back.json["position"], back.json["waiting"]) == (200, 1, 2)
    await world.deliver()
    assert sorted(receiver.seqs) == [1, 2, 2, 3, 3]
    assert (await world.api.post(path, {"from": "2026-06-01T10:00:00+02:00"})).json["position"] == 0
    await world.deliver()
    assert sorted(receiver.seqs) == [1, 1, 2, 2, 2, 3, 3, 3]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"after": 1, "from": "2026-06-01T10:00:00Z"}, ""),
        ({"after": 3}, "/after"),
        ({"after": 0}, "/after"),
        ({"after": -1}, "/after"),
        ({"after": "1"}, "/after"),
        ({"from": "2026-05-01T10:00:00Z"}, "/from"),
        ({"from": "2026-06-01T10:00:00"}, "/from"),
        ({"since": "2026-06-01T10:00:00Z"}, "/since"),
    ],
)
async def test_replays_from_nowhere_are_refused(world: World, receiver: Receiver, body: Any, pointer: str) -> None:
    await world.tell()
    world.clock.advance(timedelta(hours=1))
    await EventStore(world.database).purge(world.clock.now())
    made = await world.add(url=receiver.url)
    await world.tell()
    await world.deliver()
    reply = await world.api.post(f"/v1/webhooks/{made['id']}/replay", body)
    assert (reply.status, reply.pointers) == (422, [pointer])


# ---- who may


async def test_another_org_s_webhook_is_not_there(world: World) -> None:
    made = await world.add()
    other = await world.api.key("admin", org=OTHER.id)
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"enabled": False}),
        ("DELETE", "", None),
        ("POST", "/rotate", None),
        ("GET", "/deliveries", None),
        ("POST", "/replay", {"after": 0}),
        ("POST", "/replay", {"from": "2026-06-01T10:00:00Z"}),
        ("POST", "/test", None),
    ):
        reply = await world.api.call(method, f"/v1/webhooks/{made['id']}{path}", json=body, token=other)
        assert (reply.status, reply.code) == (404, "not_found"), (method, path)
    assert (await world.api.get("/v1/webhooks", token=other)).json["items"] == []
    assert (await world.shown(made))["enabled"]


@pytest.mark.parametrize("id", ["wh_0000000000000", "wh_x", "x", "evt_0000000000000"])
async def test_what_is_no_webhook_is_not_found(world: World, id: str) -> None:
    assert (await world.api.get(f"/v1/webhooks/{id}")).status == 404
    assert (await world.api.post(f"/v1/webhooks/{id}/test")).status == 404


async def test_webhooks_are_for_admins(world: World) -> None:
    reply = await world.api.get("/v1/webhooks", token=await world.api.key("messaging.read"))
    assert (reply.status, reply.json["missing"]) == (403, ["admin"])


async def test_orgs_are_told_of_their_own_events_only(world: World, receiver: Receiver) -> None:
    await world.add(url=receiver.url, types=["*"])
    at = to_micros(world.clock.now())
    await world.database.write(lambda conn: publish(conn, OrgId(OTHER.id), "opt_out.recorded", at, {}))
    await world.deliver()
    assert receiver.asked == []
