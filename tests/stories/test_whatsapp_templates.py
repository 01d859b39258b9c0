"""WhatsApp: in bulk by approved templates, free texts only while somebody's window is open, replies to their action."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.stories.twilio import SmsStory, phone, twilio_story

TEMPLATE = ("sunday_service", "Hi {{first_name}}, we meet at {{1}}.")


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[SmsStory]:
    async with twilio_story(
        tmp_path, "whatsapp", steps=("sent", "delivered", "read"), templates=[TEMPLATE, ("old_one", "Gone.")]
    ) as story:
        yield story


async def send_template(told: SmsStory, **message: Any) -> str:
    content = {"channel": "whatsapp", "template": "sunday_service", "parameters": {"1": "ten"}, **message}
    return await told.story.create(operation="send_message", recipients={"all": True}, message=content)


async def refusal(told: SmsStory, **message: Any) -> tuple[int, str, list[str]]:
    """Status, code and pointers of a bulk action that is refused."""
    body = {"operation": "send_message", "recipients": {"all": True}, "message": {"channel": "whatsapp", **message}}
    reply = await told.story.call("POST", "/v1/bulk-actions", body)
    return reply.status, reply.code, [error["pointer"] for error in reply.json.get("errors", [])]


async def test_a_template_goes_to_everybody_with_their_own_parameters_and_its_answers_come_home(
    told: SmsStory,
) -> None:
    await told.people(3)
    action = await send_template(told)
    await told.settle()
    books = await told.story.books(action)
    assert (books["status"], books["counts"]) == ("completed", {"total": 3, "succeeded": 3})
    assert sorted(message.body for message in told.twilio.record) == [f"Hi Ada{n}, we meet at ten." for n in range(3)]
    (message, *_) = await told.story.everything(f"/v1/messages?bulk_action={action}&status=read")
    assert (message["template"], message["text"]) == ("sunday_service", "Hi Ada2, we meet at ten.")
    await told.replies(phone(1), "I will bring cake", channel="whatsapp")
    (conversation,) = await told.story.everything("/v1/conversations")
    assert (conversation["contact_id"], conversation["channel"]) == ("m-2", "whatsapp")
    assert conversation["window_expires_at"] == "2026-06-02T08:00:00Z"
    (answer,) = await told.story.everything(f"/v1/messages?bulk_action={action}&direction=inbound")
    assert answer["text"] == "I will bring cake"


async def test_a_free_text_is_taken_while_the_window_is_open_and_not_a_moment_longer(told: SmsStory) -> None:
    await told.people(1)
    text = {"channel": "whatsapp", "to": phone(0), "body": "Just so"}
    reply = await told.story.call("POST", "/v1/messages", text)
    assert (reply.status, reply.code) == (422, "window_closed")
    await told.replies(phone(0), "Hello", channel="whatsapp")
    assert (await told.story.call("POST", "/v1/messages", text)).status == 202
    await told.settle()
    (conversation,) = await told.story.everything("/v1/conversations")
    path = f"/v1/conversations/{conversation['id']}/reply"
    await told.story.advance(timedelta(hours=23, minutes=59), timedelta(hours=6))
    assert (await told.story.call("POST", path, {"body": "Still there?"})).status == 202
    await told.story.advance(timedelta(minutes=1))
    reply = await told.story.call("POST", path, {"body": "And now?"})
    assert (reply.status, reply.code) == (422, "window_closed")
    by_template = {"template": "sunday_service", "parameters": {"1": "noon"}}
    assert (await told.story.call("POST", path, by_template)).status == 202
    await told.settle()
    assert [message.body for message in told.twilio.record] == [
        "Just so",
        "Still there?",
        "Hi Ada0, we meet at noon.",
    ]


async def test_what_is_wrong_with_a_template_is_said_before_anybody_is_written_to(told: SmsStory) -> None:
    await told.people(1)
    assert await refusal(told, body="Free text") == (422, "template_required", ["/message/template"])
    assert await refusal(told, template="nothing_like_it") == (422, "invalid", ["/message/template"])
    assert await refusal(told, template="sunday_service") == (422, "invalid", ["/message/parameters"])
    assert await refusal(told, template="sunday_service", parameters={"1": "ten", "2": "more"}) == (
        422,
        "invalid",
        ["/message/parameters/2"],
    )
    assert await refusal(told, template="sunday_service", parameters={"1": "{{ unclosed"}) == (
        422,
        "invalid",
        ["/message/parameters/1"],
    )
    assert await refusal(told, template="sunday_service", language="de", parameters={"1": "zehn"}) == (
        422,
        "invalid",
        ["/message/language"],
    )
    assert told.twilio.record == []


async def test_a_template_that_is_paused_is_refused_and_a_person_may_override(told: SmsStory) -> None:
    await told.people(1)
    told.twilio.templates.clear()
    told.twilio.add_template(*TEMPLATE, status="paused")
    assert (await told.story.post("/v1/templates/sync"))["senders"] == [{"sender": "whatsapp", "problem": None}]
    (listed,) = await told.story.everything("/v1/templates?channel=whatsapp")
    assert (listed["name"], listed["status"], listed["parameters"]) == ("sunday_service", "paused", ["1", "first_name"])
    nobody = await told.story.key("members.edit", "messaging.send", "messaging.read")
    body = {
        "operation": "send_message",
        "recipients": {"all": True},
        "message": {"channel": "whatsapp", "template": "sunday_service", "parameters": {"1": "ten"}},
    }
    reply = await told.story.call("POST", "/v1/bulk-actions", body, token=nobody)
    assert (reply.status, reply.code) == (422, "template_not_approved")
    assert (await told.story.call("POST", "/v1/bulk-actions", body)).status == 201


async def test_a_parameter_without_a_value_fails_its_recipient_and_leaves_no_gap(told: SmsStory) -> None:
    await told.people(1)
    await told.story.call("POST", "/v1/contacts", {"contacts": [{"id": "nameless", "phone": phone(9)}]})
    action = await send_template(told)
    await told.settle()
    people = await told.story.people(action)
    assert (people["nameless"]["state"], people["nameless"]["code"]) == ("failed", "missing_variable")
    assert people["m-1"]["state"] == "succeeded"


async def test_an_action_keeps_the_template_that_it_was_created_with(told: SmsStory) -> None:
    await told.people(2)
    content = {"channel": "whatsapp", "template": "sunday_service", "parameters": {"1": "ten"}}
    action = await told.story.create(
        operation="send_message",
        recipients={"all": True},
        message=content,
        schedule={"mode": "drip", "drip": {"batch_quantity": 1, "repeat_after": "1h"}},
    )
    await told.settle()
    sid = told.twilio.record[0].content_sid
    told.twilio.add_template("sunday_service", "Quite another text, {{first_name}} {{1}}.", language="de")
    await told.story.post("/v1/templates/sync")
    await told.story.advance(timedelta(hours=1), timedelta(minutes=20))
    await told.settle()
    assert [message.content_sid for message in told.twilio.record] == [sid, sid]
    assert (await told.story.books(action))["status"] == "completed"
