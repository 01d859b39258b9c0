"""Templates of the org's own in use: versions that stay, people without a value, plain text, WhatsApp, and a pause."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from gateway.testing.smtp_server import Fault, Faults, Mail, Stage
from tests.stories.conftest import Story
from tests.stories.twilio import SmsStory, phone, sms_story, twilio_story

DRIP = {"mode": "drip", "drip": {"batch_quantity": 2, "repeat_after": "1h"}}
REMINDER = ("reminder", "Hi {{first_name}}, we meet at {{1}}.")


async def approved(story: Story, **fields: Any) -> Any:
    """A template of which messages are made from now on."""
    body = {"channel": "email", "name": "welcome", **fields}
    made = await story.post("/v1/templates", body, status=201)
    return await story.post(f"/v1/templates/{made['id']}/approve")


async def approve_another(story: Story, template: Any, **fields: Any) -> None:
    """What messages are made from after this."""
    reply = await story.call("PATCH", f"/v1/templates/{template['id']}", fields)
    assert reply.status == 200, reply.raw
    shown = await story.post(f"/v1/templates/{template['id']}/approve", {"version": reply.json["latest_version"]})
    assert shown["version"] == reply.json["latest_version"]


async def by_template(story: Story, channel: str = "email", schedule: Any = None, **message: Any) -> str:
    """A bulk action to everybody by the template `welcome`."""
    return await story.create(
        operation="send_message",
        recipients={"all": True},
        message={"channel": channel, "template": "welcome", **message},
        schedule=schedule or {"mode": "now"},
    )


@pytest.fixture
async def sms(tmp_path: Path) -> AsyncIterator[SmsStory]:
    async with sms_story(tmp_path) as told:
        yield told


async def test_a_drip_keeps_its_version_to_the_end_and_so_does_a_retry(story: Story) -> None:
    await story.contacts(6)
    made = await approved(story, subject="One", body="Version one")
    story.smtp.faults = Faults([Fault(stage=Stage.RCPT, to="m-5@*", reply="550 5.2.2 Mailbox full")])
    action = await by_template(story, schedule=DRIP)
    assert story.mails("One").total() == 2
    await approve_another(story, made, subject="Two", body="Version two")
    await story.advance(timedelta(hours=2), timedelta(minutes=20))
    books = await story.books(action)
    assert (books["status"], books["counts"]) == ("partial", {"total": 6, "succeeded": 5, "failed": 1})
    story.smtp.faults = Faults()
    await story.post(f"/v1/templates/{made['id']}/pause")
    await story.call("DELETE", f"/v1/templates/{made['id']}")
    await story.post(f"/v1/bulk-actions/{action}/retry", {"states": ["failed"]})
    await story.advance(timedelta(hours=1), timedelta(minutes=20))
    assert story.mails("One") == {f"m-{n}@example.org": 1 for n in range(1, 7)}
    assert [text_of(letter) for letter in story.letters()] == ["Version one"] * 6
    assert (await story.books(action))["message"]["message_template"]["version"] == 1
    for message in await story.everything(f"/v1/messages?bulk_action={action}"):
        assert (message["template"], message["template_id"], message["template_version"]) == ("welcome", made["id"], 1)


async def test_an_edit_keeps_the_version_unless_it_names_a_template(story: Story) -> None:
    await story.contacts(1)
    made = await approved(story, subject="One", body="Hi {{ who }}", category="news")
    action = await by_template(
        story, schedule={"mode": "at", "start_at": "2026-06-01T12:00:00Z"}, variables={"who": "you"}
    )
    await approve_another(story, made, subject="Two")

    async def edited(**message: Any) -> tuple[str, int, str]:
        reply = await story.call("PATCH", f"/v1/bulk-actions/{action}", {"message": message})
        assert reply.status == 200, reply.raw
        content = reply.json["message"]
        return content["subject"], content["message_template"]["version"], content["category"]

    assert await edited(variables={"who": "all"}) == ("One", 1, "news")
    assert await edited(template=made["id"]) == ("One", 1, "news")
    assert await edited(template="welcome") == ("Two", 2, "news")
    await story.advance(timedelta(hours=4))
    (letter,) = story.letters()
    assert (letter.subject, text_of(letter)) == ("Two", "Hi all")


async def test_a_category_goes_with_its_template_when_a_message_takes_another(story: Story) -> None:
    await story.contacts(2)
    await story.post("/v1/opt-outs", {"channel": "email", "contact": "m-2", "category": "marketing"}, 201)
    await approved(story, subject="Service", body="Sunday")
    await approved(story, name="sale", subject="Sale", body="Cakes", category="marketing")
    at_noon = {"mode": "at", "start_at": "2026-06-01T12:00:00Z"}
    plain = await story.mail_all(at_noon)
    other = await by_template(story, schedule=at_noon)
    chosen = await by_template(story, schedule=at_noon, category="general")
    for action, patch, category in (
        (plain, {"subject": None, "body": None, "template": "sale"}, "marketing"),
        (other, {"template": "sale"}, "marketing"),
        (chosen, {"template": "sale"}, "general"),
    ):
        reply = await story.call("PATCH", f"/v1/bulk-actions/{action}", {"message": patch})
        assert (reply.status, reply.json["message"]["category"]) == (200, category), reply.raw
    await story.advance(timedelta(hours=4))
    assert story.mails("Sale") == {"m-1@example.org": 3, "m-2@example.org": 1}


async def test_who_lacks_a_value_fails_as_missing_variable_and_gets_no_gap(story: Story) -> None:
    await story.contacts(2, first_name="Ada", attributes={"seat": "A1"})
    await story.contacts(1, start=3, first_name="Grace")
    await story.contacts(1, start=4, first_name="", attributes={"seat": None})
    await approved(story, subject="Seat {{ seat }}", body="Dear {{ first_name | default('friend') }}: {{ seat }}.")
    action = await by_template(story)
    people = await story.people(action)
    assert {id: (one["state"], one["code"]) for id, one in people.items()} == {
        "m-1": ("succeeded", None),
        "m-2": ("succeeded", None),
        "m-3": ("failed", "missing_variable"),
        "m-4": ("failed", "missing_variable"),
    }
    assert "seat" in people["m-3"]["reason"]
    assert story.mails("Seat A1") == story.mails() == {"m-1@example.org": 1, "m-2@example.org": 1}
    await story.call("PATCH", "/v1/contacts/m-4", {"attributes": {"seat": "B2"}})
    await story.post(f"/v1/bulk-actions/{action}/retry", {"states": ["failed"]})
    (letter,) = story.letters("Seat B2")
    assert text_of(letter) == "Dear friend: B2."


async def test_html_alone_arrives_with_a_plain_text(story: Story) -> None:
    await story.contacts(1, first_name="Ada & Co")
    html = '<h1>Hi {{ first_name }}</h1><p>See <a href="https://example.org/x">the plan</a></p>'
    await approved(story, subject="Plan", html=html)
    await by_template(story)
    (letter,) = story.letters()
    parts = {
        part.get_content_type(): part.get_content().strip()
        for part in parsed(letter).walk()
        if part.is_attachment() is False and not part.is_multipart()
    }
    assert list(parts) == ["text/plain", "text/html"]
    assert "Hi Ada & Co" in parts["text/plain"]
    assert "https://example.org/x" in parts["text/plain"]
    assert "<" not in parts["text/plain"]
    assert "Hi Ada &amp; Co" in parts["text/html"]


async def test_one_of_ours_stands_for_a_providers_template_in_bulk(tmp_path: Path) -> None:
    async with twilio_story(tmp_path, "whatsapp", templates=[REMINDER]) as told:
        await told.people(2)
        made = await approved(
            told.story,
            channel="whatsapp",
            provider_template="reminder",
            parameters={"1": "{{ hour | default('ten') }}", "first_name": "dear {{ first_name }}"},
        )
        action = await by_template(told.story, "whatsapp", variables={"hour": "noon"})
        await told.settle()
        assert sorted(message.body for message in told.twilio.record) == [
            f"Hi dear Ada{n}, we meet at noon." for n in range(2)
        ]
        assert all(message.content_sid for message in told.twilio.record)
        (message, *_) = await told.story.everything(f"/v1/messages?bulk_action={action}")
        assert (message["template"], message["template_id"]) == ("welcome", made["id"])
        text = await approved(told.story, channel="whatsapp", name="text", body="Hello")
        body = {"operation": "send_message", "recipients": {"all": True}}
        reply = await told.story.call(
            "POST", "/v1/bulk-actions", body | {"message": {"channel": "whatsapp", "template": text["id"]}}
        )
        assert (reply.status, reply.code) == (422, "template_required")


async def test_a_paused_template_refuses_new_actions_and_replies(sms: SmsStory) -> None:
    story = sms.story
    await sms.people(1)
    made = await approved(story, channel="sms", body="Hi {{ first_name }}")
    running = await by_template(story, "sms", schedule={"mode": "at", "start_at": "2026-06-01T12:00:00Z"})
    await sms.replies(phone(0), "Hello")
    (conversation,) = await story.everything("/v1/conversations")
    await story.post(f"/v1/templates/{made['id']}/pause", {"reason": "Under discussion"})
    somebody = await story.key("members.edit", "messaging.send", "messaging.read")
    bulk = {
        "operation": "send_message",
        "recipients": {"all": True},
        "message": {"channel": "sms", "template": "welcome"},
    }
    single = {"channel": "sms", "contact": "m-1", "template": made["id"]}
    asked = [
        ("/v1/bulk-actions", bulk),
        ("/v1/bulk-actions/preview", bulk),
        ("/v1/messages", single),
        (f"/v1/conversations/{conversation['id']}/reply", {"template": "welcome"}),
    ]
    for path, body in asked:
        reply = await story.call("POST", path, body, token=somebody)
        assert (reply.status, reply.code) == (422, "template_not_approved"), (path, reply.raw)
        assert "Under discussion" in reply.json["errors"][0]["detail"]
    assert sms.twilio.record == []
    await story.post(f"/v1/templates/{made['id']}/approve")
    for path, body in asked[2:]:
        assert (await story.call("POST", path, body, token=somebody)).status == 202
    await story.advance(timedelta(hours=4))
    await sms.settle()
    assert [message.body for message in sms.twilio.record] == ["Hi Ada0"] * 3
    assert (await story.books(running))["status"] == "completed"


def parsed(letter: Mail) -> EmailMessage:
    return message_from_bytes(letter.content, _class=EmailMessage, policy=default)


def text_of(letter: Mail) -> str:
    """The plain text of a mail as it arrived, above its footer."""
    part = parsed(letter).get_body(("plain",))
    assert part is not None
    return str(part.get_content()).partition("-- ")[0].strip()
