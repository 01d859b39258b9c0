"""What a forecast says before, and a preview before that, is what runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.stories.conftest import Story, story_in

MESSAGE = {"channel": "email", "subject": "News", "body": "Hello"}
HOUR = timedelta(hours=1)


def ahead(forecast: Any) -> list[tuple[str, int]]:
    return [(batch["at"], batch["quantity"]) for batch in forecast["batches"]]


async def ran(story: Story, action: str) -> list[tuple[str, int]]:
    return [(batch["started_at"], batch["quantity"]) for batch in await story.batches(action)]


@pytest.mark.parametrize(
    "schedule",
    [
        {"start_at": "2026-06-01T10:00:00Z", "drip": {"batch_quantity": 10, "repeat_after": "2h"}},
        {"start_at": "2026-06-02T09:00:00Z", "drip": {"batch_quantity": 10, "repeat_after": "1d"}},
        {  # open over midnight
            "start_at": "2026-06-01T12:00:00Z",
            "drip": {"batch_quantity": 10, "repeat_after": "3h", "process_between": ["22:00", "02:00"]},
        },
        {  # business hours far from UTC
            "start_at": "2026-06-05T09:00:00-04:00",
            "time_zone": "America/New_York",
            "drip": {
                "batch_quantity": 10,
                "repeat_after": "4h",
                "send_on": ["fri", "sun"],
                "process_between": ["09:00", "17:00"],
            },
        },
    ],
)
async def test_preview_forecast_and_batches_are_the_same(story: Story, schedule: Any) -> None:
    people = await story.contacts(35)
    order = {
        "operation": "send_message",
        "recipients": {"all": True},
        "message": MESSAGE,
        "schedule": {"mode": "drip", **schedule},
    }
    preview = await story.post("/v1/bulk-actions/preview", order)
    assert (preview["total"], preview["reachable"]) == (35, 35)
    action = await story.create(**order)
    forecast = await story.get(f"/v1/bulk-actions/{action}/forecast")
    assert ahead(forecast) == ahead(preview["forecast"])
    assert (forecast["batch_count"], sum(quantity for _, quantity in ahead(forecast))) == (4, 35)
    for at, _ in ahead(forecast):
        if at > story.clock.now().isoformat():
            await story.advance_to(at, (datetime.fromisoformat(at) - story.clock.now()) / 2)
    assert (await story.books(action))["status"] == "completed"
    assert await ran(story, action) == ahead(forecast)
    assert story.mails() == {f"{id}@example.org": 1 for id in people}


async def test_a_forecast_in_the_middle_says_what_is_left(story: Story) -> None:
    await story.contacts(35)
    action = await story.mail_all({"mode": "drip", "drip": {"batch_quantity": 10, "repeat_after": "2h"}})
    await story.advance(3 * HOUR, HOUR)
    forecast = await story.get(f"/v1/bulk-actions/{action}/forecast")
    assert [batch["number"] for batch in forecast["batches"]] == [3, 4]
    assert ahead(forecast) == [("2026-06-01T12:00:00Z", 10), ("2026-06-01T14:00:00Z", 5)]
    await story.advance(4 * HOUR, HOUR)
    assert (await ran(story, action))[2:] == ahead(forecast)
    assert ahead(await story.get(f"/v1/bulk-actions/{action}/forecast")) == []


async def test_a_daily_cap_is_counted_and_kept(tmp_path: Path) -> None:
    async with story_in(tmp_path, more="daily_cap = 10") as story:
        people = await story.contacts(25)
        action = await story.mail_all()
        await story.advance(timedelta(seconds=1))
        books = await story.books(action)
        assert (books["counts"], books["wait_reason"]) == ({"total": 25, "pending": 15, "succeeded": 10}, "daily_cap")
        forecast = await story.get(f"/v1/bulk-actions/{action}/forecast")
        await story.advance_to("2026-06-01T23:00Z", HOUR)
        assert story.mails().total() == 10
        await story.advance_to("2026-06-02T12:00Z", HOUR)
        assert story.mails().total() == 20
        await story.advance_to("2026-06-03T00:00Z", HOUR)
        assert (await story.books(action))["status"] == "completed"
        assert story.mails() == {f"{id}@example.org": 1 for id in people}
        ends = datetime.fromisoformat(forecast["ends_at"])
        assert abs(ends - datetime(2026, 6, 3, tzinfo=UTC)) < timedelta(minutes=1)
