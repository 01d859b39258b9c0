"""The inbox over HTTP: which conversations are listed, what was read, who takes care of it, what a reply answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.core.ids import CONVERSATION, MESSAGE, format_id
from tests.stories.conftest import Story, story_in
from tests.stories.test_whatsapp_cloud import CloudStory, cloud_story
from tests.stories.twilio import phone, sms_story

NO_CONVERSATION, NO_MESSAGE = format_id(CONVERSATION, 77), format_id(MESSAGE, 77)
USER = "US.13491208655302741918"


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[CloudStory]:
    async with cloud_story(tmp_path) as running:
        yield running


async def listed(story: Story, query: str = "") -> list[str]:
    """The addresses of the conversations, in their order."""
    return [one["address"] for one in await story.everything(f"/v1/conversations{query}")]


async def test_conversations_are_found_by_what_is_known_of_them(tmp_path: Path) -> None:
    async with sms_story(tmp_path) as told:
        await told.people(2)
        for number in (0, 1, 7):
            await told.replies(phone(number), "Hello")
        story = told.story
        assert await listed(story) == [phone(7), phone(1), phone(0)]
        assert await listed(story, "?unmatched=true") == [phone(7)]
        assert await listed(story, "?unmatched=false") == [phone(1), phone(0)]
        assert await listed(story, "?contact=m-2") == [phone(1)]
        assert await listed(story, "?contact=nobody") == []
        assert await listed(story, "?channel=sms") == [phone(7), phone(1), phone(0)]
        assert await listed(story, "?channel=email") == []
        (first,) = (await story.get("/v1/conversations?contact=m-1"))["items"]
        assert (await story.post(f"/v1/conversations/{first['id']}/read"))["unread"] == 0
        assert await listed(story, "?unread=false") == [phone(0)]
        assert await listed(story, "?unread=true&channel=sms&unmatched=false") == [phone(1)]
        assert (await story.post(f"/v1/conversations/{first['id']}/assign", {"to": "user:42"}))["assigned_to"]
        assert await listed(story, "?assigned_to=user:42") == [phone(0)]
        assert await listed(story, "?assigned_to=user:4") == []
        assert (await story.post(f"/v1/conversations/{first['id']}/assign", {"to": None}))["assigned_to"] is None
        assert await listed(story, "?assigned_to=user:42") == []
        await told.replies(phone(0), "Hello again")
        assert await listed(story) == [phone(0), phone(7), phone(1)]


async def pages(story: Story, path: str) -> list[Any]:
    """Every item of a list that is read one by one."""
    items: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await story.get(f"{path}?limit=1{cursor and f'&cursor={cursor}'}")
        assert len(page["items"]) == 1
        items += page["items"]
        cursor = page["next_cursor"]
    return items


async def test_a_list_read_page_by_page_has_each_once(tmp_path: Path) -> None:
    async with sms_story(tmp_path) as told:
        for text in ("one", "two", "three"):
            await told.replies(phone(7), text)
            await told.replies(phone(8), text)
        conversations = await pages(told.story, "/v1/conversations")
        assert [one["address"] for one in conversations] == [phone(8), phone(7)]
        messages = await pages(told.story, f"/v1/conversations/{conversations[0]['id']}/messages")
        assert [one["text"] for one in messages] == ["three", "two", "one"]


async def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    async with sms_story(tmp_path) as told:
        await told.replies(phone(7), "Hello")
        (one,) = await told.story.everything("/v1/conversations")
        path = f"/v1/conversations/{one['id']}"
        for method, tail, body in (
            ("GET", "", None),
            ("GET", "/messages", None),
            ("POST", "/reply", {"body": "Hi"}),
            ("POST", "/read", {}),
            ("POST", "/assign", {"to": "user:42"}),
        ):
            for id in (NO_CONVERSATION, "cv_", NO_MESSAGE):
                reply = await told.story.call(method, f"/v1/conversations/{id}{tail}", body)
                assert (reply.status, reply.code) == (404, "not_found"), (method, tail, id)
        unknown = await told.story.call("POST", f"{path}/read", {"up_to": NO_MESSAGE})
        assert (unknown.status, unknown.code) == (404, "not_found")
        wrong = await told.story.call("POST", f"{path}/read", {"up_to": one["id"]})
        assert (wrong.status, wrong.code) == (422, "invalid")
        assert (await told.story.get(path))["unread"] == 1


async def test_a_conversation_whose_sender_is_gone_is_shown_and_cannot_be_answered(tmp_path: Path) -> None:
    async with sms_story(tmp_path) as told:
        await told.replies(phone(7), "Hello")
    async with story_in(tmp_path) as story:
        (one,) = await story.everything("/v1/conversations")
        assert (one["sender"], one["address"]) == (None, phone(7))
        reply = await story.call("POST", f"/v1/conversations/{one['id']}/reply", {"body": "Hi"})
        assert (reply.status, reply.code) == (422, "unknown_sender")


async def test_a_reply_quotes_what_came_last_and_goes_within_the_window_only(told: CloudStory) -> None:
    assert await told.meta.reply(phone(7), "First", id="wamid.FIRST") == 200
    assert await told.meta.reply(phone(7), "Second", id="wamid.SECOND") == 200
    await told.settle()
    (one,) = await told.story.everything("/v1/conversations")
    assert one["window_expires_at"] == "2026-06-02T08:00:00Z"
    await told.story.post(f"/v1/conversations/{one['id']}/reply", {"body": "Yes?"}, 202)
    await told.settle()
    assert [(message.to, message.text, message.quotes) for message in told.meta.record] == [
        (phone(7)[1:], "Yes?", "wamid.SECOND")
    ]
    await told.story.advance(timedelta(hours=24), timedelta(hours=6))
    late = await told.story.call("POST", f"/v1/conversations/{one['id']}/reply", {"body": "Still there?"})
    assert (late.status, late.code) == (422, "window_closed")


async def test_a_person_with_a_user_id_alone_has_a_conversation_and_is_answered_under_it(told: CloudStory) -> None:
    assert await told.meta.reply(USER, "Hello") == 200
    await told.settle()
    (one,) = await told.story.everything("/v1/conversations")
    assert (one["address"], one["unread"], one["contact_id"]) == (USER, 1, None)
    await told.story.post(f"/v1/conversations/{one['id']}/reply", {"body": "Who is it?"}, 202)
    await told.settle()
    (sent,) = told.meta.record
    assert (sent.to, sent.fields["recipient"], "to" in sent.fields) == (USER, USER, False)


@pytest.mark.parametrize("known_first", ["the id", "the number"])
async def test_a_user_id_and_the_number_behind_it_are_one_conversation_and_one_wish(
    told: CloudStory, known_first: str
) -> None:
    await told.people(1)
    await told.meta.reply(*((USER, "Hello") if known_first == "the id" else (phone(0), "Hello")), from_user_id=USER)
    await told.meta.reply(phone(0), "It is me", from_user_id=USER)
    await told.meta.reply(USER, "STOP")
    await told.settle()
    (one,) = await told.story.everything("/v1/conversations")
    assert (one["address"], one["contact_id"], one["unread"]) == (phone(0), "m-1", 3)
    action = await told.template_all()
    assert (await told.story.books(action))["counts"] == {"total": 1, "skipped": 1}
