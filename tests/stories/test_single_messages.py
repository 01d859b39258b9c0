"""One message to one person, while thousands wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stories.conftest import Story, story_in


async def test_a_single_message_goes_before_what_is_left_of_a_bulk_action(tmp_path: Path) -> None:
    async with story_in(tmp_path, rate="10/s", burst=1) as story:
        people = await story.contacts(100)
        action = await story.mail_all()
        for _ in range(20):
            await story.tick()
        before = story.mails().total()
        assert 1 <= before <= 30
        reply = await story.call(
            "POST",
            "/v1/messages",
            {"channel": "email", "to": "visitor@example.com", "subject": "Welcome", "body": "Come in"},
        )
        assert (reply.status, reply.json["source"], reply.json["bulk_action_id"]) == (202, "api", None)
        await story.settle()
        for _ in range(2):
            await story.tick()
        assert story.mails("Welcome") == {"visitor@example.com": 1}
        assert story.mails().total() - before <= 4
        assert (await story.books(action))["counts"]["pending"] > 60

        shown = await story.get(f"/v1/messages/{reply.json['id']}")
        assert (shown["status"], shown["address"], shown["attempts"]) == ("accepted", "visitor@example.com", 1)
        for _ in range(120):
            await story.tick()
        assert (await story.books(action))["counts"] == {"total": 100, "succeeded": 100}
        assert story.mails("News") == {f"{id}@example.org": 1 for id in people}


@pytest.mark.parametrize(
    ("to", "code"),
    [
        ({"contact": "m-1"}, "opted_out"),
        ({"to": "m-1@example.org"}, "opted_out"),
        ({"to": "m-1@EXAMPLE.ORG"}, "opted_out"),
        ({"contact": "nowhere"}, "no_address"),
    ],
)
async def test_who_may_not_or_cannot_be_reached_is_told_at_once(story: Story, to: Any, code: str) -> None:
    await story.contacts(2)
    await story.call("PUT", "/v1/contacts/nowhere", {"name": "Without an address"})
    await story.post("/v1/opt-outs", {"channel": "email", "contact": "m-1"}, 201)
    reply = await story.call("POST", "/v1/messages", {"channel": "email", "subject": "Hi", "body": "Hi", **to})
    assert (reply.status, reply.code) == (422, code)
    await story.settle()
    assert not story.mails()
    assert await story.everything("/v1/messages") == []


async def test_a_message_to_a_contact_is_in_its_timeline_and_names_the_person(story: Story) -> None:
    await story.contacts(1, name="Ada")
    sent = await story.post(
        "/v1/messages", {"channel": "email", "contact": "m-1", "subject": "Hi", "body": "Hi {{ name }}"}, 202
    )
    (told,) = await story.everything("/v1/contacts/m-1/messages")
    assert (told["id"], told["contact_id"], told["status"], told["text"]) == (sent["id"], "m-1", "accepted", "Hi Ada")
    (letter,) = story.letters()
    assert letter.recipient == "m-1@example.org"
    assert b"Hi Ada" in letter.content
