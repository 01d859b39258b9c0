"""A drip that keeps to each person's own working hours."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from tests.stories.conftest import Story

ZONES: Final = ("Pacific/Auckland", "Africa/Lagos", "America/New_York", "America/Los_Angeles")


async def test_everybody_is_written_to_in_the_morning_of_their_own_zone(story: Story) -> None:
    homes: dict[str, str] = {}
    for place, zone in enumerate(ZONES):
        for id in await story.contacts(6, start=1 + 6 * place, time_zone=zone):
            homes[id] = zone
    for id in await story.contacts(2, start=25):
        homes[id] = "UTC"  # they have none: the action's counts
    action = await story.mail_all(
        {
            "mode": "drip",
            "start_at": "2026-06-01T12:00:00Z",
            "time_zone": "UTC",
            "drip": {
                "batch_quantity": 4,
                "repeat_after": "30m",
                "process_between": ["09:00", "11:00"],
                "send_on": ["mon", "tue", "wed"],
                "time_zone_mode": "contact",
            },
        }
    )
    forecast = await story.get(f"/v1/bulk-actions/{action}/forecast")
    await story.advance(timedelta(days=2), timedelta(minutes=30))
    books = await story.books(action)
    assert (books["status"], books["counts"]) == ("completed", {"total": 26, "succeeded": 26})
    assert story.mails() == {f"{id}@example.org": 1 for id in homes}
    for message in await story.everything(f"/v1/messages?bulk_action={action}"):
        local = datetime.fromisoformat(message["accepted_at"]).astimezone(ZoneInfo(homes[message["contact_id"]]))
        assert 9 <= local.hour < 11
        assert local.weekday() < 3
    batches = await story.batches(action)
    assert all(batch["quantity"] <= 4 for batch in batches)
    assert [(batch["started_at"], batch["quantity"]) for batch in batches] == [
        (batch["at"], batch["quantity"]) for batch in forecast["batches"]
    ]
