"""A drip with a window on some days only: it freezes over the others and goes on with one batch."""

from __future__ import annotations

from datetime import timedelta

from tests.stories.conftest import Story

DRIP = {
    "mode": "drip",
    "start_at": "2026-06-03T15:00:00Z",  # a Wednesday
    "time_zone": "UTC",
    "drip": {
        "batch_quantity": 10,
        "repeat_after": "1h",
        "send_on": ["mon", "tue", "wed"],
        "process_between": ["09:00", "17:00"],
        "time_zone_mode": "account",
    },
}

RAN = [
    ("2026-06-03T15:00:00Z", 10),
    ("2026-06-03T16:00:00Z", 10),
    ("2026-06-08T09:00:00Z", 10),  # the next Monday: one batch, not the ninety that fell due meanwhile
    ("2026-06-08T10:00:00Z", 5),
]


async def test_a_drip_freezes_over_unselected_days_and_runs_exactly_what_its_forecast_said(story: Story) -> None:
    people = await story.contacts(35)
    action = await story.mail_all(DRIP)
    books = await story.books(action)
    assert (books["status"], books["wait_reason"]) == ("queued", "scheduled")
    assert books["next_batch_at"] == "2026-06-03T15:00:00Z"
    forecast = await story.get(f"/v1/bulk-actions/{action}/forecast")
    assert [(batch["at"], batch["quantity"]) for batch in forecast["batches"]] == RAN
    assert forecast["batch_count"] == 4
    assert not story.mails()

    await story.advance_to("2026-06-03T16:59:00Z", timedelta(hours=1))
    assert story.mails().total() == 20
    await story.advance_to("2026-06-03T17:00:00Z")
    books = await story.books(action)
    assert (books["status"], books["wait_reason"]) == ("processing", "window")
    assert books["next_batch_at"] == "2026-06-08T09:00:00Z"
    await story.advance_to("2026-06-08T08:59:00Z", timedelta(hours=3))
    assert story.mails().total() == 20

    await story.advance_to("2026-06-08T09:00:00Z")
    assert story.mails().total() == 30
    await story.advance_to("2026-06-08T09:59:00Z")
    assert story.mails().total() == 30
    await story.advance_to("2026-06-08T10:00:00Z")

    books = await story.books(action)
    assert (books["status"], books["counts"]) == ("completed", {"total": 35, "succeeded": 35})
    batches = await story.batches(action)
    assert [(batch["planned_at"], batch["quantity"]) for batch in batches] == RAN
    assert [batch["started_at"] for batch in batches] == [at for at, _ in RAN]
    assert story.mails() == {f"{id}@example.org": 1 for id in people}
    told = await story.people(action)
    assert [told[id]["batch"] for id in people] == [1] * 10 + [2] * 10 + [3] * 10 + [4] * 5
