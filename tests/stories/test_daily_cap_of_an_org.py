"""An org may send so many messages a day, whatever number of senders it has."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.stories.conftest import Story, story_in

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
MIDNIGHT = "2026-06-02T00:00:00Z"

BACKUP = """
default = true
[senders.backup]
channel = "email"
adapter = "smtp"
rate = "5000/s"
burst = 5000
concurrency = 8
host = "127.0.0.1"
port = {port}
security = "none"
from = "Grace Church <more@grace.example>"
daily_cap = 9
"""


async def test_two_senders_do_not_exceed_the_cap_together(tmp_path: Path) -> None:
    async with story_in(tmp_path, org="daily_cap = 20", more=BACKUP) as story:
        people = await story.contacts(40)  # enough for two days, even if one sender takes the whole of the first
        first, second = await asyncio.gather(send(story, people, "mail"), send(story, people, "backup"))
        await story.advance(2 * SECOND, SECOND)
        assert story.mails().total() == 20
        for action in (first, second):
            books = await waiting(story, action)
            assert (books["wait_reason"], books["next_batch_at"]) == ("daily_cap", MIDNIGHT)
        limits = (await story.get("/v1/me"))["limits"]
        assert limits["messages"] == {"daily_cap": 20, "sent_today": 20, "left": 0, "resets_at": MIDNIGHT}
        assert sum(sender["sent_today"] for sender in limits["senders"]) == 20

        await story.advance_to("2026-06-02T12:00Z", HOUR)
        for _ in range(20):
            if story.mails().total() == 40:
                break
            await story.advance(SECOND, SECOND)  # a lane that lost its places to the other one looks again by then
        assert story.mails().total() == 40
        for day in range(3, 9):
            before = story.mails().total()
            await story.advance_to(f"2026-06-0{day}T12:00Z", HOUR)
            assert story.mails().total() - before <= 20
        assert story.mails() == {f"{id}@example.org": 2 for id in people}


async def waiting(story: Story, action: str) -> dict[str, Any]:
    """The action once it says what it waits for: that is looked at once a second."""
    books = await story.books(action)
    for _ in range(20):
        if books["wait_reason"] is not None:
            break
        await story.advance(SECOND, SECOND)
        books = await story.books(action)
    return books


async def test_a_restart_does_not_begin_the_day_anew(tmp_path: Path) -> None:
    async with story_in(tmp_path, org="daily_cap = 5") as story:
        await story.contacts(8)
        action = await story.mail_all()
        clock = story.clock
        assert story.mails().total() == 5
    clock.move_to(clock.now() + HOUR)
    async with story_in(tmp_path, org="daily_cap = 5", clock=clock) as story:
        await story.advance(2 * SECOND, SECOND)
        assert story.mails().total() == 0
        books = await story.books(action)
        assert (books["counts"], books["wait_reason"]) == ({"total": 8, "pending": 3, "succeeded": 5}, "daily_cap")
        await story.advance_to("2026-06-02T01:00Z", HOUR)
        assert story.mails().total() == 3


async def test_single_messages_take_the_places_before_bulk_and_wait_too(tmp_path: Path) -> None:
    async with story_in(tmp_path, org="daily_cap = 2") as story:
        await story.contacts(3)
        await story.post("/v1/senders/mail/pause")
        action = await story.mail_all()
        for subject in ("One", "Two", "Three"):
            body = {"channel": "email", "to": "ada@example.org", "subject": subject, "body": "Hello"}
            assert (await story.call("POST", "/v1/messages", body)).status == 202
        await story.post("/v1/senders/mail/resume")
        await story.advance(2 * SECOND, SECOND)
        assert [letter.subject for letter in story.letters()] == ["One", "Two"]
        assert (await story.books(action))["counts"] == {"total": 3, "pending": 3}
        await story.advance_to("2026-06-04T12:00Z", HOUR)
        assert sorted(letter.subject for letter in story.letters()) == ["News", "News", "News", "One", "Three", "Two"]


async def test_the_forecast_counts_the_cap_in_days_of_the_org(tmp_path: Path) -> None:
    async with story_in(tmp_path, org="daily_cap = 10", more="daily_cap = 20") as story:
        await story.contacts(25)
        action = await story.mail_all({"mode": "now", "time_zone": "Pacific/Auckland"})
        await story.advance(SECOND)
        forecast = await story.get(f"/v1/bulk-actions/{action}/forecast")
        ends = datetime.fromisoformat(forecast["ends_at"])
        assert abs(ends - datetime(2026, 6, 3, tzinfo=UTC)) < timedelta(minutes=1)
        await story.advance_to("2026-06-03T01:00Z", HOUR)
        assert (await story.books(action))["status"] == "completed"


async def send(story: Story, people: list[str], sender: str) -> str:
    reply = await story.call(
        "POST",
        "/v1/bulk-actions",
        {
            "operation": "send_message",
            "recipients": {"contacts": people},
            "message": {"channel": "email", "sender": sender, "subject": sender, "body": "Hello"},
        },
    )
    assert reply.status == 201, reply.raw
    return str(reply.json["id"])
