"""A caller that did not hear the answer asks again."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.stories.conftest import Reply, Story

ORDER: dict[str, Any] = {
    "operation": "send_message",
    "recipients": {"all": True},
    "message": {"channel": "email", "subject": "News", "body": "Hello"},
}


async def order(story: Story, body: Any, key: str = "june") -> Reply:
    return await story.call("POST", "/v1/bulk-actions", body, headers={"Idempotency-Key": key})


async def test_the_same_key_twice_makes_one_action(story: Story) -> None:
    people = await story.contacts(5)
    first = await order(story, ORDER)
    await story.settle()
    second = await order(story, dict(reversed(ORDER.items())), key='"june"')
    assert (first.status, second.status) == (201, 201)
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.json == first.json
    assert second.headers["Location"] == first.headers["Location"]
    await story.settle()
    assert len(await story.everything("/v1/bulk-actions")) == 1
    assert story.mails() == {f"{id}@example.org": 1 for id in people}

    other = await order(story, {**ORDER, "label": "Another"})
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    assert len(await story.everything("/v1/bulk-actions")) == 1
    assert (await order(story, ORDER, key="july")).status == 201
    await story.settle()
    assert len(await story.everything("/v1/bulk-actions")) == 2


async def test_ten_at_once_with_one_key_make_one_action(story: Story) -> None:
    people = await story.contacts(5)
    replies = await asyncio.gather(*(order(story, ORDER) for _ in range(10)))
    assert {reply.status for reply in replies} <= {201, 409}
    assert {reply.code for reply in replies if reply.status == 409} <= {"in_progress"}
    assert len({reply.json["id"] for reply in replies if reply.status == 201}) == 1
    await story.settle()
    assert len(await story.everything("/v1/bulk-actions")) == 1
    assert story.mails() == {f"{id}@example.org": 1 for id in people}


async def test_a_refused_request_leaves_its_key_free(story: Story) -> None:
    await story.contacts(1)
    refused = await order(story, {**ORDER, "schedule": {"mode": "never"}})
    assert refused.status == 422
    assert (await order(story, ORDER)).status == 201
