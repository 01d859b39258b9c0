"""Whoever started a bulk action loses the right to do so while it runs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.stories.conftest import Story, story_in

HOUR = timedelta(hours=1)
SENDS = ["members.edit", "messaging.send", "messaging.read"]
ROLES = """
[plugins.permissions.roles]
secretary = {permissions}
"""


async def test_a_drip_pauses_when_its_creator_loses_the_key(story: Story) -> None:
    people = await story.contacts(9)
    key = await story.post("/v1/keys", {"name": "secretary", "permissions": SENDS}, 201)
    action = await drip(story, key)
    assert story.mails().total() == 3

    assert (await story.call("DELETE", f"/v1/keys/{key['id']}")).status in (200, 204)
    await story.advance(HOUR)
    books = await story.books(action)
    assert (books["status"], books["pause_reason"]) == ("paused", "permission_revoked")
    assert books["counts"] == {"total": 9, "pending": 6, "succeeded": 3}
    await story.advance(3 * HOUR, HOUR)
    assert story.mails().total() == 3

    rest = await story.post(f"/v1/bulk-actions/{action}/cancel")
    assert rest["cancelled"] == 6
    again = await story.create(
        operation="send_message",
        recipients={"bulk_action": action, "states": ["cancelled"]},
        message={"channel": "email", "subject": "News", "body": "Hello"},
    )
    assert (await story.books(again))["counts"] == {"total": 6, "succeeded": 6}
    assert story.mails() == {f"{id}@example.org": 1 for id in people}


async def test_a_permission_that_is_taken_away_pauses_and_given_back_lets_it_go_on(story: Story) -> None:
    people = await story.contacts(9)
    key = await story.post("/v1/keys", {"name": "secretary", "permissions": SENDS}, 201)
    action = await drip(story, key)

    await change(story, key, permissions=["members.edit", "messaging.read"])
    await story.advance(HOUR)
    books = await story.books(action)
    assert (books["status"], books["pause_reason"], books["paused_from"]) == (
        "paused",
        "permission_revoked",
        "processing",
    )
    assert books["pause_detail"] == f"The key {key['id']} that created it lacks messaging.send."
    assert story.mails().total() == 3

    await story.post(f"/v1/bulk-actions/{action}/resume")
    await story.advance(2 * HOUR, HOUR)
    assert (await story.books(action))["pause_reason"] == "permission_revoked", "somebody else's resume gives no right"
    assert story.mails().total() == 3

    await change(story, key, permissions=SENDS)
    await story.post(f"/v1/bulk-actions/{action}/resume")
    await story.advance(3 * HOUR, HOUR)
    assert (await story.books(action))["status"] == "completed"
    assert story.mails() == {f"{id}@example.org": 1 for id in people}


async def test_a_role_that_left_the_file_pauses_and_come_back_lets_it_go_on(tmp_path: Path) -> None:
    async with story_in(tmp_path, more=ROLES.format(permissions=SENDS)) as story:
        people = await story.contacts(6)
        key = await story.post("/v1/keys", {"name": "secretary", "roles": ["secretary"]}, 201)
        action = await drip(story, key)
        sent = story.mails()
        clock = story.clock

    async with story_in(tmp_path, clock=clock) as story:
        await story.advance(HOUR)
        books = await story.books(action)
        assert (books["status"], books["pause_reason"]) == ("paused", "permission_revoked")
        assert books["pause_detail"] == f"The key {key['id']} that created it lacks members.edit, messaging.send."
        assert not story.mails()

    async with story_in(tmp_path, more=ROLES.format(permissions=SENDS), clock=clock) as story:
        await story.post(f"/v1/bulk-actions/{action}/resume")
        await story.advance(2 * HOUR, HOUR)
        assert (await story.books(action))["status"] == "completed"
        assert sent + story.mails() == {f"{id}@example.org": 1 for id in people}


async def test_what_the_key_may_besides_is_its_own_business(story: Story) -> None:
    await story.contacts(6)
    key = await story.post("/v1/keys", {"name": "secretary", "permissions": [*SENDS, "admin"]}, 201)
    action = await drip(story, key)
    await change(story, key, permissions=["members.edit", "messaging.send"])
    await story.advance(2 * HOUR, HOUR)
    assert (await story.books(action))["status"] == "completed"


async def test_scheduling_takes_the_permission_to_send(story: Story) -> None:
    await story.contacts(1)
    token = await story.key("members.edit", "messaging.read")
    body = {
        "operation": "send_message",
        "recipients": {"all": True},
        "message": {"channel": "email", "subject": "News", "body": "Hello"},
        "schedule": {"mode": "at", "start_at": "2026-06-02T09:00:00Z"},
    }
    reply = await story.call("POST", "/v1/bulk-actions", body, token=token)
    assert (reply.status, reply.code, reply.json["missing"]) == (403, "permission_denied", ["messaging.send"])
    assert await story.everything("/v1/bulk-actions") == []


async def drip(story: Story, key: Any) -> str:
    """Three mails an hour to everybody, created with this key; the first three have left."""
    body = {
        "operation": "send_message",
        "recipients": {"all": True},
        "message": {"channel": "email", "subject": "News", "body": "Hello"},
        "schedule": {"mode": "drip", "drip": {"batch_quantity": 3, "repeat_after": "1h"}},
    }
    reply = await story.call("POST", "/v1/bulk-actions", body, token=key["secret"])
    assert reply.status == 201, reply.raw
    assert reply.json["created_by"] == key["id"]
    await story.settle()
    return str(reply.json["id"])


async def change(story: Story, key: Any, **fields: Any) -> None:
    reply = await story.call("PATCH", f"/v1/keys/{key['id']}", fields)
    assert reply.status == 200, reply.raw
