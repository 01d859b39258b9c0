"""`GET /v1/contacts/{id}/explain`, over a whole gateway: its answer is what then becomes of the message."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.stories.conftest import Story, story_in

SECOND = timedelta(seconds=1)
# Nobody listens on the port of the Graph API: nothing is sent there.
SETTINGS = """
daily_cap = 2

[senders.chat]
channel = "whatsapp"
adapter = "cloud"
access_token = "canary"
app_secret = "canary"
verify_token = "canary"
phone_number_id = "1"
business_account_id = "2"
api_url = "http://127.0.0.1:9"

[plugins.quiet_hours]
channels = { email = ["06:00", "09:30"] }

[plugins.frequency_cap]
per_day = 1
"""


@pytest.fixture
async def story(tmp_path: Path) -> AsyncIterator[Story]:
    """Monday, 08:00 in London, 09:00 in Lagos; e-mail is quiet until 09:30."""
    async with story_in(tmp_path, more=SETTINGS, org="daily_cap = 3") as told:
        yield told


async def explained(story: Story, contact: str, channel: str = "email", **query: str) -> Any:
    asked = "".join(f"&{name}={value}" for name, value in query.items())
    return await story.get(f"/v1/contacts/{contact}/explain?channel={channel}{asked}")


def verdicts(explanation: Any) -> dict[str, str]:
    return {check["check"]: check["verdict"] for check in explanation["checks"]}


def check(explanation: Any, name: str) -> Any:
    (found,) = [each for each in explanation["checks"] if each["check"] == name]
    return found


async def single(story: Story, contact: str, **more: Any) -> Any:
    body = {"channel": "email", "contact": contact, "subject": "News", "body": "Hello", **more}
    return await story.call("POST", "/v1/messages", body)


async def person(story: Story, id: str, **fields: Any) -> None:
    reply = await story.call("PUT", f"/v1/contacts/{id}", fields)
    assert reply.status == 201, reply.raw


async def test_nothing_is_against_somebody_who_can_be_written_to(story: Story) -> None:
    await person(story, "ada", email="ada@example.org", time_zone="Asia/Kolkata")
    explanation = await explained(story, "ada")
    assert {**explanation, "checks": None} == {
        "contact_id": "ada",
        "channel": "email",
        "sender": "mail",
        "address": "ada@example.org",
        "category": "general",
        "source": "api",
        "at": "2026-06-01T08:00:00Z",
        "verdict": "allow",
        "code": None,
        "reason": None,
        "until": None,
        "checks": None,
    }
    assert [(each["kind"], each["check"]) for each in explanation["checks"]] == [
        ("gate", "deleted"),
        ("gate", "address"),
        ("gate", "opt_out"),
        ("policy", "quiet_hours"),
        ("policy", "frequency_cap"),
        ("sender", "held"),
        ("sender", "daily_cap"),
        ("sender", "org_daily_cap"),
    ]
    assert set(verdicts(explanation).values()) == {"allow"}
    assert (await single(story, "ada")).status == 202


async def test_a_policy_that_defers_says_until_when_and_the_refusal_says_the_same(story: Story) -> None:
    await person(story, "ada", email="ada@example.org", phone="+2348012345678")
    explanation = await explained(story, "ada")
    assert (explanation["verdict"], explanation["until"]) == ("defer", "2026-06-01T08:30:00Z")
    assert check(explanation, "quiet_hours") == {
        "kind": "policy",
        "check": "quiet_hours",
        "verdict": "defer",
        "code": None,
        "reason": "Quiet hours are from 06:00 to 09:30 where the recipient is (Africa/Lagos)",
        "until": "2026-06-01T08:30:00Z",
    }
    refused = await single(story, "ada")
    assert (refused.status, refused.code) == (422, "window_closed")
    assert refused.json["until"] == explanation["until"]
    assert refused.json["detail"].startswith(explanation["reason"])


async def test_the_category_and_the_source_that_are_asked_about_count(story: Story) -> None:
    await person(story, "ada", email="ada@example.org", phone="+2348012345678")
    assert (await explained(story, "ada", category="transactional"))["verdict"] == "allow"
    assert (await explained(story, "ada", source="reply"))["verdict"] == "allow"
    assert (await explained(story, "ada", source="bulk_action"))["verdict"] == "defer"


async def test_an_opt_out_is_shown_with_its_id_and_since_when(story: Story) -> None:
    await person(story, "ada", email="ada@example.org", time_zone="Asia/Kolkata")
    general = await story.post("/v1/opt-outs", {"channel": "email", "contact": "ada", "category": "news"}, 201)
    await story.advance(SECOND)
    everything = await story.post("/v1/opt-outs", {"channel": "email", "address": "ADA@example.org"}, 201)
    explanation = await explained(story, "ada", category="news")
    assert (explanation["verdict"], explanation["code"]) == ("deny", "opted_out")
    assert check(explanation, "opt_out")["opt_outs"] == [
        {"id": general["id"], "category": "news", "source": "api", "since": "2026-06-01T08:00:00Z"},
        {"id": everything["id"], "category": "all", "source": "api", "since": "2026-06-01T08:00:01Z"},
    ]
    other = check(await explained(story, "ada"), "opt_out")
    assert [each["id"] for each in other["opt_outs"]] == [everything["id"]]
    assert (await single(story, "ada")).code == "opted_out"
    assert (await explained(story, "ada", channel="whatsapp"))["code"] != "opted_out"


async def test_who_has_no_address_or_was_deleted_is_told_so_and_policies_are_not_asked(story: Story) -> None:
    await person(story, "ada", phone="+2348012345678")
    explanation = await explained(story, "ada")
    assert (explanation["verdict"], explanation["code"], explanation["address"]) == ("deny", "no_address", None)
    assert explanation["reason"] == "No e-mail address"
    assert "quiet_hours" not in verdicts(explanation)
    assert (await story.call("DELETE", "/v1/contacts/ada")).status == 204
    explanation = await explained(story, "ada", channel="whatsapp")
    assert (explanation["code"], explanation["reason"]) == ("contact_deleted", "The contact was deleted")
    assert verdicts(explanation)["address"] == "allow"


async def test_a_held_sender_defers_until_nobody_knows(story: Story) -> None:
    await person(story, "ada", email="ada@example.org", phone="+2348012345678")
    await story.post("/v1/senders/mail/pause")
    explanation = await explained(story, "ada")
    assert (explanation["verdict"], explanation["code"], explanation["until"]) == ("defer", "sender_down", None)
    assert "held (manual)" in explanation["reason"]
    assert verdicts(explanation)["quiet_hours"] == "defer"


async def test_who_has_had_enough_is_refused(story: Story) -> None:
    await person(story, "ada", email="ada@example.org", time_zone="Asia/Kolkata")
    assert (await single(story, "ada")).status == 202
    explanation = await explained(story, "ada")
    assert (explanation["verdict"], explanation["code"]) == ("deny", "frequency_cap")
    assert explanation["reason"] == "Has had 1 message in the last 24 hours; the most is 1"
    refused = await single(story, "ada")
    assert (refused.status, refused.code) == (422, "frequency_cap")


async def test_caps_that_are_used_up_defer_until_midnight(story: Story) -> None:
    for name in ("ada", "bob", "cyd"):
        await person(story, name, email=f"{name}@example.org", time_zone="Asia/Kolkata")
    for name in ("ada", "bob"):
        assert (await single(story, name)).status == 202
    await story.settle()
    explanation = await explained(story, "cyd")
    assert check(explanation, "daily_cap") == {
        "kind": "sender",
        "check": "daily_cap",
        "verdict": "defer",
        "code": "daily_cap",
        "reason": "The sender mail has sent 2 messages today; the most is 2",
        "until": "2026-06-02T00:00:00Z",
    }
    assert verdicts(explanation)["org_daily_cap"] == "allow"


async def test_a_free_text_needs_a_person_who_wrote_and_a_template_does_not(story: Story) -> None:
    await person(story, "ada", phone="+2348012345678")
    explanation = await explained(story, "ada", channel="whatsapp")
    assert (explanation["verdict"], explanation["code"]) == ("deny", "window_closed")
    assert "never wrote to this sender" in explanation["reason"]
    assert "reply_window" not in verdicts(await explained(story, "ada", channel="whatsapp", template="true"))
    assert "reply_window" not in verdicts(await explained(story, "ada", channel="whatsapp", source="bulk_action"))


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/contacts/nobody/explain?channel=email", 404, "not_found"),
        ("/v1/contacts/ada/explain?channel=pigeon", 422, "unknown_channel"),
        ("/v1/contacts/ada/explain?channel=email&sender=other", 422, "unknown_sender"),
        ("/v1/contacts/ada/explain", 422, "invalid"),
        ("/v1/contacts/ada/explain?channel=email&source=campaign", 422, "invalid"),
        ("/v1/contacts/ada/explain?channel=email&kind=sms", 422, "invalid"),
    ],
)
async def test_what_cannot_be_explained_is_refused(story: Story, path: str, status: int, code: str) -> None:
    await person(story, "ada", email="ada@example.org")
    reply = await story.call("GET", path)
    assert (reply.status, reply.code) == (status, code)


async def test_it_takes_the_permission_to_read_contacts(story: Story) -> None:
    await person(story, "ada", email="ada@example.org")
    path = "/v1/contacts/ada/explain?channel=email"
    assert (await story.call("GET", path, token=await story.key("members.read"))).status == 200
    assert (await story.call("GET", path, token=await story.key("messaging.read"))).status == 403
