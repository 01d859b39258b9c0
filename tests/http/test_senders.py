"""`/v1/channels`, `/v1/senders` and `/v1/operations`."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.core.ids import IdSequence
from gateway.http.operations import operation_routes
from gateway.http.senders import sender_routes
from gateway.store.callbacks import CallbackStore
from gateway.store.database import Database
from gateway.store.keys import PERMISSIONS, KeyStore
from gateway.testing.clock import FakeClock
from tests.http.conftest import OTHER, Api, StartApi, make_catalogue
from tests.http.sending import Sending, build_sending


@pytest.fixture
async def sending(database: Database, clock: FakeClock, ids: IdSequence, keys: KeyStore) -> Sending:
    return await build_sending(database, clock, ids)


@pytest.fixture
async def api(start_api: StartApi, sending: Sending, database: Database, ids: IdSequence) -> Api:
    return await start_api(
        sender_routes(sending.catalogue, sending.control, CallbackStore(database, ids)), within=sending.catalogue
    )


MAIL = {
    "name": "mail",
    "adapter": "fake",
    "default": True,
    "health": "healthy",
    "held": None,
    "held_detail": None,
    "held_since": None,
    "rate": 50.0,
    "daily_cap": 1000,
    "in_flight_limit": 4,
    "dry_run": False,
    "capabilities": {
        "takes": ["html", "subject", "text"],
        "template_required": False,
        "conversations": False,
        "receipts": True,
        "receipt_deadline": "24h",
        "lookup": True,
        "idempotent_for": "15m",
        "on_unknown": "resend",
    },
}


async def test_an_org_sees_its_channels_and_senders_only(api: Api) -> None:
    reply = await api.get("/v1/channels")
    assert reply.json == {
        "items": [{"channel": "email", "title": "e-mail", "senders": [MAIL]}],
        "next_cursor": None,
    }
    other = await api.get("/v1/channels", token=await api.key("messaging.read", org=OTHER.id))
    assert [one["name"] for one in other.json["items"][0]["senders"]] == ["other-mail"]


async def test_a_paused_sender_says_so_until_it_is_resumed(api: Api, sending: Sending) -> None:
    paused = await api.post("/v1/senders/mail/pause")
    assert (paused.status, paused.json["held"], paused.json["health"]) == (200, "manual", "healthy")
    assert paused.json["held_since"] == "2026-06-01T08:00:00Z"
    assert paused.json["held_detail"].startswith("paused by gwk_")
    listed = await api.get("/v1/channels")
    assert listed.json["items"][0]["senders"][0]["held"] == "manual"
    resumed = await api.post("/v1/senders/mail/resume")
    assert resumed.json == MAIL
    assert sending.nudges == ["sender", "sender"]


async def test_an_unwell_sender_is_unhealthy(api: Api, sending: Sending, database: Database) -> None:
    await database.write(
        lambda conn: conn.execute(
            "UPDATE senders SET held = 'outage', held_detail = 'refused', held_at = 0 WHERE id = 1"
        )
    )
    (sender,) = (await api.get("/v1/channels")).json["items"][0]["senders"]
    assert (sender["health"], sender["held"], sender["held_detail"]) == ("unhealthy", "outage", "refused")


async def test_a_test_runs_the_check_and_sends_only_with_an_address(
    api: Api, sending: Sending, database: Database
) -> None:
    checked = await api.post("/v1/senders/mail/test")
    assert checked.json == {"healthy": True, "detail": None, "message_id": None}
    sent = await api.post("/v1/senders/mail/test", {"to": "me@example.org"})
    assert sent.json["message_id"].startswith("msg_")
    sending.adapter.problem = "535 wrong password"
    unwell = await api.post("/v1/senders/mail/test", {"to": "me@example.org"})
    assert unwell.json == {"healthy": False, "detail": "535 wrong password", "message_id": None}
    assert await database.read(lambda conn: conn.execute("SELECT count(*) FROM messages").fetchone()) == (1,)


@pytest.mark.parametrize("what", ["pause", "resume", "test"])
async def test_another_orgs_sender_and_none_at_all_are_not_found(api: Api, what: str) -> None:
    other = await api.key(*PERMISSIONS, org=OTHER.id)
    assert (await api.post(f"/v1/senders/mail/{what}", token=other)).status == 404
    assert (await api.post(f"/v1/senders/nobody/{what}")).status == 404


class TagSettings(msgspec.Struct, forbid_unknown_fields=True):
    """Which tags."""

    tags: list[str]


class AddTags:
    """An operation as the catalogue has it."""

    name = "add_tags"
    title = "Add tags"
    parameters_type = TagSettings


class Message(msgspec.Struct):
    """What a bulk message says."""

    channel: str
    body: str | None = None


async def test_operations_are_listed_with_the_schema_of_what_they_take(start_api: StartApi) -> None:
    operations: dict[str, Any] = {"add_tags": AddTags()}
    api = await start_api(operation_routes(make_catalogue(operations=operations), Message))
    reply = await api.get("/v1/operations", token=await api.key())
    send, tags = reply.json["items"]
    assert (send["name"], send["field"]) == ("send_message", "message")
    assert send["permissions"] == ["members.edit", "messaging.send"]
    assert (tags["name"], tags["title"], tags["field"]) == ("add_tags", "Add tags", "parameters")
    assert tags["permissions"] == ["members.edit"]
    assert tags["json_schema"]["$defs"]["TagSettings"]["required"] == ["tags"]
