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
    assert story.mails().total() == 10
    await story.advance(4 * HOUR, timedelta(minutes=30))
    books = await story.books(action)
    assert (books["status"], books["counts"]) == ("completed", {"total": 20, "succeeded": 20})
    batches = await story.batches(action)
    assert [batch["quantity"] for batch in batches] == [5, 5, 5, 5]
    assert [batch["started_at"] for batch in batches] == [
        "2026-06-01T08:00:00Z",
        "2026-06-01T13:30:00Z",
        "2026-06-01T14:30:00Z",
        "2026-06-01T15:30:00Z",
    ]
    assert story.mails() == {f"{id}@example.org": 1 for id in people}


async def test_paused_before_its_first_batch_everything_can_be_edited_and_after_it_only_the_quantity(
    story: Story,
) -> None:
    await story.contacts(6)
    drip = {"mode": "drip", "start_at": "2026-06-01T10:00:00Z", "drip": {"batch_quantity": 2, "repeat_after": "1h"}}
    action = await story.mail_all(drip)
    path = f"/v1/bulk-actions/{action}"
    await story.post(f"{path}/pause")
    assert (await story.call("PATCH", path, {"label": "Edited", "message": {"subject": "Other"}})).status == 200
    await story.post(f"{path}/resume")
    await story.advance(2 * HOUR, HOUR)
    assert story.mails("Other").total() == 2

    await story.post(f"{path}/pause")
    refused = await story.call("PATCH", path, {"label": "Again"})
    assert (refused.status, refused.code) == (409, "only_batch_quantity_editable")
    edited = await story.call("PATCH", path, {"schedule": {"drip": {"batch_quantity": 4}}})
    assert (edited.status, edited.json["applies_from_batch"]) == (200, 2)
    await story.post(f"{path}/resume")
    await story.advance(2 * HOUR, HOUR)
    assert [batch["quantity"] for batch in await story.batches(action)] == [2, 4]
    assert (await story.books(action))["status"] == "completed"


async def test_cancelled_while_paused_it_cannot_be_resumed(story: Story) -> None:
    await story.contacts(6)
    action = await story.mail_all({"mode": "drip", "drip": {"batch_quantity": 2, "repeat_after": "1h"}})
    await story.post(f"/v1/bulk-actions/{action}/pause")
    answer = await story.post(f"/v1/bulk-actions/{action}/cancel")
    assert (answer["status"], answer["paused_from"], answer["cancelled"]) == ("cancelled", None, 4)
    reply = await story.call("POST", f"/v1/bulk-actions/{action}/resume")
    assert (reply.status, reply.code) == (409, "not_resumable")
    await story.advance(3 * HOUR, HOUR)
    assert story.mails().total() == 2
