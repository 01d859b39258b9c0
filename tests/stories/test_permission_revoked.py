"""Whoever started a bulk action loses the right to do so while it runs."""

from __future__ import annotations

from datetime import timedelta

from tests.stories.conftest import Story

HOUR = timedelta(hours=1)


async def test_a_drip_pauses_when_its_creator_loses_the_key(story: Story) -> None:
    people = await story.contacts(9)
    key = await story.post(
        "/v1/keys", {"name": "secretary", "permissions": ["members.edit", "messaging.send", "messaging.read"]}, 201
    )
    reply = await story.call(
        "POST",
        "/v1/bulk-actions",
        {
            "operation": "send_message",
            "recipients": {"all": True},
            "message": {"channel": "email", "subject": "News", "body": "Hello"},
            "schedule": {"mode": "drip", "drip": {"batch_quantity": 3, "repeat_after": "1h"}},
        },
        token=key["secret"],
    )
    assert reply.status == 201
    action = reply.json["id"]
    assert reply.json["created_by"] == key["id"]
    await story.settle()
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
