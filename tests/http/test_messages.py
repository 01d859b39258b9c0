"""`/v1/messages` and a contact's timeline."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec
import pytest

from gateway.core.ids import ACTION, MESSAGE, IdSequence, format_id
from gateway.core.states import MessageStatus
from gateway.http.messages import MessageView, MessageWithHistory, message_routes
from gateway.http.paging import Page
from gateway.store.codec import to_json, to_micros
from gateway.store.database import Database
from gateway.store.keys import PERMISSIONS, KeyStore
from gateway.testing.clock import FakeClock
from tests.http.conftest import OTHER, Api, StartApi
from tests.http.sending import Sending, build_sending


@pytest.fixture
async def sending(database: Database, clock: FakeClock, ids: IdSequence, keys: KeyStore) -> Sending:
    return await build_sending(database, clock, ids)


@pytest.fixture
async def api(start_api: StartApi, sending: Sending, database: Database, clock: FakeClock) -> Api:
    """Ann, m/1, has an address; Ben, m-2, has none."""
    now = to_micros(clock.now())

    def operation(conn: sqlite3.Connection) -> None:
        conn.executemany(
            "INSERT INTO contacts (id, org, public_id, first_name, email, created_at, updated_at, seen_at) "
            "VALUES (?, 1, ?, ?, ?, ?, ?, ?)",
            [(1, "m/1", "Ann", "ann@example.org", now, now, now), (2, "m-2", "Ben", None, now, now, now)],
        )

    await database.write(operation)
    routes = message_routes(sending.log, sending.singles, sending.catalogue)
    return await start_api(routes, within=sending.catalogue)


HELLO = {"channel": "email", "contact": "m/1", "subject": "News", "body": "Hi {{ first_name }}"}


async def test_a_single_message_is_accepted_with_its_text(api: Api, sending: Sending) -> None:
    reply = await api.post("/v1/messages", HELLO | {"requested_by": "user:42"})
    assert reply.status == 202
    message = msgspec.json.decode(reply.raw, type=MessageView)
    assert reply.headers["Location"] == f"/v1/messages/{message.id}"
    assert (message.address, message.contact_id, message.sender) == ("ann@example.org", "m/1", "mail")
    assert (message.subject, message.text, message.html) == ("News", "Hi Ann", None)
    assert (message.status, message.source, message.direction) == ("pending", "api", "outbound")
    assert (message.requested_by, message.attempts, message.category) == ("user:42", 0, "general")
    assert reply.json["created_at"] == "2026-06-01T08:00:00Z"
    assert sending.nudges == ["mail"]


async def test_a_repeated_message_is_sent_once(api: Api, database: Database) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await api.post("/v1/messages", HELLO, headers=headers)
    again = await api.post("/v1/messages", HELLO, headers=headers)
    assert (again.status, again.raw) == (202, first.raw)
    assert await database.read(lambda conn: conn.execute("SELECT count(*) FROM messages").fetchone()) == (1,)


async def test_a_message_whose_answer_was_lost_in_a_crash_is_not_sent_again(api: Api, database: Database) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await api.post("/v1/messages", HELLO, headers=headers)
    await database.write(lambda conn: conn.execute("UPDATE idempotency SET status = NULL, headers = NULL, body = NULL"))
    again = await api.post("/v1/messages", HELLO, headers=headers)
    assert (again.status, again.json["id"]) == (202, first.json["id"])
    assert again.headers["Location"] == first.headers["Location"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"channel": "email", "body": "x"}, 422, "invalid"),
        ({"channel": "email", "body": "x", "to": "a@b.c", "contact": "m-2"}, 422, "invalid"),
        ({"channel": "email", "body": "x", "to": "nowhere"}, 422, "invalid"),
        ({"channel": "email", "to": "a@b.c"}, 422, "invalid"),
        ({"channel": "email", "to": "a@b.c", "body": "{{ "}, 422, "invalid"),
        ({"channel": "email", "to": "a@b.c", "body": "{{ nobody_knows }}"}, 422, "invalid"),
        ({"channel": "email", "to": "a@b.c", "body": "x", "media": ["http://a/b"]}, 422, "invalid"),
        ({"channel": "email", "to": "a@b.c", "body": "x", "boddy": "x"}, 422, "invalid"),
        ({"channel": "email", "body": "x", "contact": "nobody"}, 404, "not_found"),
        ({"channel": "email", "body": "x", "contact": "m-2"}, 422, "no_address"),
        ({"channel": "pigeon", "body": "x", "to": "a@b.c"}, 422, "unknown_channel"),
        ({"channel": "email", "sender": "other-mail", "body": "x", "to": "a@b.c"}, 422, "unknown_sender"),
    ],
)
async def test_what_cannot_be_sent_is_refused_before_the_answer(
    api: Api, database: Database, body: dict[str, Any], status: int, code: str
) -> None:
    reply = await api.post("/v1/messages", body)
    assert (reply.status, reply.code) == (status, code)
    assert await database.read(lambda conn: conn.execute("SELECT count(*) FROM messages").fetchone()) == (0,)


async def test_a_person_who_opted_out_is_not_written_to(api: Api, database: Database, clock: FakeClock) -> None:
    await database.write(
        lambda conn: conn.execute(
            "INSERT INTO opt_outs (org, channel, contact, source, created_at) VALUES (1, 'email', 1, 'api', ?)",
            (to_micros(clock.now()),),
        )
    )
    reply = await api.post("/v1/messages", HELLO)
    assert (reply.status, reply.code) == (422, "opted_out")


async def bulk(database: Database, clock: FakeClock, ids: IdSequence) -> tuple[str, str]:
    """One delivered message of a bulk action to Ann; the public ids of both."""
    action, message = ids.take(), ids.take()
    now = to_micros(clock.now())

    def operation(conn: sqlite3.Connection) -> None:
        conn.execute(
            "INSERT INTO bulk_actions (id, org, operation, channel, sender, status, selection, message, schedule, "
            "origin, created_at) VALUES (?, 1, 'send_message', 'email', 1, 'completed', '{}', ?, '{}', 'api', ?)",
            (
                action,
                to_json({"channel": "email", "subject": "To {{ first_name }}", "body": "Hi {{ first_name }}"}),
                now,
            ),
        )
        conn.execute(
            "INSERT INTO messages (id, org, channel, sender, address, contact, source, status, action, seq, attempt, "
            "variables, provider_ids, created_at, attempted_at, accepted_at, delivered_at) "
            "VALUES (?, 1, 'email', 1, 'ann@example.org', 1, 0, ?, ?, 1, 1, '{\"first_name\":\"Anna\"}', '[\"p1\"]', "
            "?, ?, ?, ?)",
            (message, MessageStatus.DELIVERED, action, now, now, now, now + 5),
        )
        conn.execute("INSERT INTO message_history VALUES (?, ?, 'receipt', 'delivered', NULL)", (message, now + 5))

    await database.write(operation)
    return format_id(ACTION, action), format_id(MESSAGE, message)


async def test_a_bulk_message_is_shown_with_the_text_that_was_sent_and_its_history(
    api: Api, database: Database, clock: FakeClock, ids: IdSequence
) -> None:
    action, message = await bulk(database, clock, ids)
    reply = await api.get(f"/v1/messages/{message}")
    shown = msgspec.json.decode(reply.raw, type=MessageWithHistory)
    assert (shown.subject, shown.text) == ("To Anna", "Hi Anna")
    assert (shown.bulk_action_id, shown.source, shown.status) == (action, "bulk_action", "delivered")
    assert (shown.provider_ids, shown.attempts) == (["p1"], 1)
    assert [(one.kind, one.status) for one in shown.history] == [("attempt", "accepted"), ("receipt", "delivered")]


async def test_a_bulk_message_whose_text_cannot_be_rendered_any_more_is_shown_without(
    api: Api, database: Database, clock: FakeClock, ids: IdSequence
) -> None:
    _, message = await bulk(database, clock, ids)
    await database.write(lambda conn: conn.execute("UPDATE messages SET variables = NULL"))
    reply = await api.get(f"/v1/messages/{message}")
    assert (reply.status, reply.json["text"]) == (200, None)
    broken = to_json({"channel": "email", "body": "{{ "})
    await database.write(lambda conn: conn.execute("UPDATE bulk_actions SET message = ?", (broken,)))
    reply = await api.get(f"/v1/messages/{message}")
    assert (reply.status, reply.json["text"]) == (200, None)


async def test_the_log_and_the_timeline_are_pages_of_messages(
    api: Api, database: Database, clock: FakeClock, ids: IdSequence
) -> None:
    action, message = await bulk(database, clock, ids)
    singles = [(await api.post("/v1/messages", HELLO)).json["id"] for _ in range(3)]
    await api.post("/v1/messages", HELLO | {"contact": None, "to": "else@example.org", "body": "Hi"})

    async def listed(path: str) -> list[str]:
        reply = await api.get(path)
        return [item.id for item in msgspec.json.decode(reply.raw, type=Page[MessageView]).items]

    newest_first = [*reversed(singles), message]
    assert await listed("/v1/contacts/m%2F1/messages") == newest_first
    assert await listed("/v1/messages?contact=m%2F1") == newest_first
    assert await listed("/v1/messages?address=ANN@example.org") == newest_first
    assert await listed(f"/v1/messages?bulk_action={action}&status=delivered&status=read") == [message]
    assert await listed("/v1/messages?source=api&contact=m%2F1") == newest_first[:3]
    assert len(await listed("/v1/messages?address=else@example.org")) == 1
    first = await api.get("/v1/contacts/m%2F1/messages?limit=3")
    cursor = first.json["next_cursor"]
    assert await listed(f"/v1/contacts/m%2F1/messages?limit=3&cursor={cursor}") == [message]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("status=lost", "?status/0"),
        ("direction=sideways", "?direction"),
        ("source=dream", "?source/0"),
        ("bulk_action=17", "?bulk_action"),
        ("created_after=yesterday", "?created_after"),
        ("cursor=x", "?cursor"),
        ("statuss=read", "?statuss"),
    ],
)
async def test_a_wrong_filter_is_named(api: Api, query: str, pointer: str) -> None:
    reply = await api.get(f"/v1/messages?{query}")
    assert (reply.status, reply.pointers) == (422, [pointer])


async def test_what_is_not_there_is_not_found(api: Api, database: Database, clock: FakeClock, ids: IdSequence) -> None:
    _, message = await bulk(database, clock, ids)
    other = await api.key(*PERMISSIONS, org=OTHER.id)
    for path in (f"/v1/messages/{message}", "/v1/contacts/m%2F1/messages"):
        assert (await api.get(path)).status == 200
        assert (await api.get(path, token=other)).status == 404
    for path in ("/v1/messages/17", "/v1/messages/msg_zzzzzzzzzzzzz", "/v1/contacts/nobody/messages"):
        reply = await api.get(path)
        assert (reply.status, reply.code) == (404, "not_found")
    assert (await api.get("/v1/messages", token=other)).json["items"] == []
