"""People are left in peace at night, each by the clock where they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.stories.conftest import Story, story_in

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

QUIET = """
[plugins.quiet_hours]
between = ["21:00", "08:00"]
"""

# At 22:30 UTC: half past seven in the morning, half past six and half past eleven in the evening.
TOKYO, NEW_YORK, LAGOS = "Asia/Tokyo", "America/New_York", "Africa/Lagos"
EVENING = "2026-06-01T22:30Z"


@pytest.fixture
async def story(tmp_path: Path) -> AsyncIterator[Story]:
    async with story_in(tmp_path, more=QUIET) as told:
        yield told


async def person(story: Story, id: str, **fields: Any) -> None:
    reply = await story.call("PUT", f"/v1/contacts/{id}", {"email": f"{id}@example.org", **fields})
    assert reply.status == 201, reply.raw


async def arrived(story: Story) -> list[str]:
    return sorted(address.partition("@")[0] for address in story.mails())


async def test_over_three_time_zones_each_gets_it_in_the_own_morning(story: Story) -> None:
    for id, zone in (("tokyo", TOKYO), ("york", NEW_YORK), ("lagos", LAGOS)):
        await person(story, id, time_zone=zone)
    await story.advance_to(EVENING, HOUR)
    action = await story.mail_all()
    assert await arrived(story) == ["york"]
    await story.advance(SECOND)
    books = await story.books(action)
    assert (books["status"], books["counts"]) == ("processing", {"total": 3, "pending": 2, "succeeded": 1})
    assert (books["wait_reason"], books["next_batch_at"]) == ("quiet_hours", "2026-06-01T23:00:00Z")
    waiting = await story.people(action)
    assert (waiting["tokyo"]["state"], waiting["tokyo"]["not_before"]) == ("pending", "2026-06-01T23:00:00Z")
    assert waiting["lagos"]["not_before"] == "2026-06-02T07:00:00Z"

    await story.advance_to("2026-06-01T22:59:59Z", 10 * MINUTE)
    assert await arrived(story) == ["york"]
    await story.advance(2 * SECOND, SECOND)
    assert await arrived(story) == ["tokyo", "york"]
    books = await story.books(action)
    assert (books["wait_reason"], books["next_batch_at"]) == ("quiet_hours", "2026-06-02T07:00:00Z")

    await story.advance_to("2026-06-02T06:59:59Z", HOUR)
    assert await arrived(story) == ["tokyo", "york"]
    await story.advance(2 * SECOND, SECOND)
    assert await arrived(story) == ["lagos", "tokyo", "york"]
    books = await story.books(action)
    assert (books["status"], books["counts"], books["wait_reason"]) == (
        "completed",
        {"total": 3, "succeeded": 3},
        None,
    )


async def test_where_the_contact_says_nothing_the_number_does_and_else_the_org(story: Story) -> None:
    await person(story, "nigeria", phone="+2348012345678")
    await person(story, "australia", phone="+61412345678")  # a mobile: anywhere from Cocos to Lord Howe Island
    await person(story, "nowhere")
    await story.advance_to("2026-06-01T22:30Z", HOUR)
    action = await story.mail_all()
    not_before = {id: each["not_before"] for id, each in (await story.people(action)).items()}
    assert not_before == {
        "nigeria": "2026-06-02T07:00:00Z",
        "australia": "2026-06-02T01:30:00Z",  # 08:00 on the Cocos Islands, 12:00 on Lord Howe Island
        "nowhere": "2026-06-02T08:00:00Z",
    }
    await story.advance_to("2026-06-02T08:01Z", 10 * MINUTE)
    assert await arrived(story) == ["australia", "nigeria", "nowhere"]


async def test_people_of_a_drip_leave_their_batch_and_take_a_later_place(story: Story) -> None:
    for number in range(3):
        await person(story, f"lagos-{number}", time_zone=LAGOS)
    for number in range(3):
        await person(story, f"york-{number}", time_zone=NEW_YORK)
    await story.advance_to(EVENING, HOUR)
    action = await story.mail_all({"mode": "drip", "drip": {"batch_quantity": 2, "repeat_after": "1h"}})
    assert await arrived(story) == []
    await story.advance(2 * HOUR, 10 * MINUTE)
    assert await arrived(story) == ["york-0", "york-1", "york-2"]
    books = await story.books(action)
    assert (books["counts"], books["wait_reason"]) == ({"total": 6, "pending": 3, "succeeded": 3}, "quiet_hours")
    assert books["next_batch_at"] == "2026-06-02T07:00:00Z"
    await story.advance_to("2026-06-02T07:00:01Z", 10 * MINUTE)
    assert await arrived(story) == ["lagos-0", "lagos-1", "york-0", "york-1", "york-2"]
    await story.advance(HOUR, 10 * MINUTE)
    books = await story.books(action)
    assert (books["status"], books["counts"]) == ("completed", {"total": 6, "succeeded": 6})
    assert [batch["counts"]["succeeded"] for batch in await story.batches(action)] == [0, 1, 2, 2, 1]


async def test_a_single_message_at_night_is_refused_with_the_instant(story: Story) -> None:
    await person(story, "lagos", time_zone=LAGOS)
    await story.advance_to(EVENING, HOUR)
    body = {"channel": "email", "contact": "lagos", "subject": "News", "body": "Hello"}
    refused = await story.call("POST", "/v1/messages", body)
    assert (refused.status, refused.code, refused.json["until"]) == (422, "window_closed", "2026-06-02T07:00:00Z")
    assert "21:00 to 08:00" in refused.json["detail"]
    assert (await story.call("POST", "/v1/messages", {**body, "category": "transactional"})).status == 202
    await story.settle()
    assert await arrived(story) == ["lagos"]


async def test_a_message_that_was_accepted_by_day_leaves_whenever_it_can(story: Story) -> None:
    await person(story, "lagos", time_zone=LAGOS)
    await story.post("/v1/senders/mail/pause")
    body = {"channel": "email", "contact": "lagos", "subject": "News", "body": "Hello"}
    assert (await story.call("POST", "/v1/messages", body)).status == 202
    await story.advance_to(EVENING, HOUR)
    await story.post("/v1/senders/mail/resume")
    assert await arrived(story) == ["lagos"]


async def test_cancelling_at_night_leaves_nobody_to_be_woken(story: Story) -> None:
    await person(story, "lagos", time_zone=LAGOS)
    await story.advance_to(EVENING, HOUR)
    action = await story.mail_all()
    assert (await story.post(f"/v1/bulk-actions/{action}/cancel"))["cancelled"] == 1
    await story.advance_to("2026-06-02T12:00Z", HOUR)
    assert await arrived(story) == []


async def test_who_is_paused_over_the_morning_leaves_when_it_goes_on(story: Story) -> None:
    await person(story, "lagos", time_zone=LAGOS)
    await story.advance_to(EVENING, HOUR)
    action = await story.mail_all()
    await story.post(f"/v1/bulk-actions/{action}/pause")
    await story.advance_to("2026-06-02T12:00Z", HOUR)
    assert await arrived(story) == []
    await story.post(f"/v1/bulk-actions/{action}/resume")
    await story.advance(SECOND)
    assert await arrived(story) == ["lagos"]
