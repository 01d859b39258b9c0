"""A drip paused for some hours."""

from __future__ import annotations

from datetime import timedelta

from tests.stories.conftest import Story

HOUR = timedelta(hours=1)


async def test_batches_missed_in_a_pause_are_not_made_up(story: Story) -> None:
    people = await story.contacts(20)
    action = await story.mail_all({"mode": "drip", "drip": {"batch_quantity": 5, "repeat_after": "1h"}})
    await story.advance(timedelta(minutes=30))
    answer = await story.post(f"/v1/bulk-actions/{action}/pause")
    assert (answer["status"], answer["paused_from"]) == ("paused", "processing")
    assert set(answer["allowed"]) == {"edit_batch_quantity", "resume", "cancel"}
    again = await story.call("POST", f"/v1/bulk-actions/{action}/pause")
    assert (again.status, again.code) == (409, "not_pausable")
    await story.advance(5 * HOUR, HOUR)
    assert story.mails().total() == 5

    answer = await story.post(f"/v1/bulk-actions/{action}/resume")  # 13:30; batches of 09:00 to 13:00 were missed
    assert (answer["status"], answer["paused_from"], answer["pause_reason"]) == ("processing", None, None)
    again = await story.call("POST", f"/v1/bulk-actions/{action}/resume")
    assert (again.status, again.code) == (409, "not_resumable")
    assert story.mails().total() <= 10
    await story.advance(4 * HOUR, timedelta(minutes=30))
    books = await story.books(action)
    assert (books["status"], books["counts"]) == ("completed", {"total": 20, "succeeded": 20})
    batches = await story.batches(action)
    assert [batch["quantity"] for batch in batches] == [5, 5, 5, 5]
    hours = [int(batch["started_at"][11:13]) * 60 + int(batch["started_at"][14:16]) for batch in batches]
    assert hours[0] == 8 * 60
    assert hours[1] >= 13 * 60 + 30
    assert [hours[2] - hours[1], hours[3] - hours[2]] == [60, 60]
    assert story.mails() == {f"{id}@example.org": 1 for id in people}
