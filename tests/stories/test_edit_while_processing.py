"""What may be edited when: everything while queued, the batch quantity while processing, nothing afterwards."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.stories.conftest import Reply, Story

HOUR = timedelta(hours=1)


def drip(quantity: int, **more: Any) -> dict[str, Any]:
    return {"mode": "drip", "drip": {"batch_quantity": quantity, "repeat_after": "1h"}, **more}


async def edit(story: Story, action: str, body: Any, **headers: str) -> Reply:
    reply = await story.call(
        "PATCH", f"/v1/bulk-actions/{action}", body, headers={name.replace("_", "-"): v for name, v in headers.items()}
    )
    await story.settle()
    return reply


async def test_a_new_batch_quantity_applies_from_the_batch_that_the_answer_names(story: Story) -> None:
    people = await story.contacts(20)
    action = await story.mail_all(drip(4))
    await story.advance(HOUR)
    assert (await story.books(action))["counts"] == {"total": 20, "pending": 12, "succeeded": 8}
    reply = await edit(story, action, {"schedule": {"drip": {"batch_quantity": 6}}})
    assert (reply.status, reply.json["applies_from_batch"], reply.json["revision"]) == (200, 3, 2)
    await story.advance(2 * HOUR, HOUR)
    batches = await story.batches(action)
    assert [(each["quantity"], each["revision"]) for each in batches] == [(4, 1), (4, 1), (6, 2), (6, 2)]
    assert (await story.books(action))["status"] == "completed"
    assert story.mails() == {f"{id}@example.org": 1 for id in people}


@pytest.mark.parametrize(
    "patch",
    [
        {"label": "Another"},
        {"message": {"body": "Something else"}},
        {"schedule": {"drip": {"repeat_after": "2h"}}},
        {"schedule": {"drip": {"batch_quantity": 6, "repeat_after": "2h"}}},
        {"schedule": {"mode": "now", "drip": None}},
    ],
)
async def test_while_processing_nothing_else_can_be_edited_and_nothing_is(story: Story, patch: Any) -> None:
    await story.contacts(8)
    action = await story.mail_all(drip(4))
    before = await story.get(f"/v1/bulk-actions/{action}")
    assert before["status"] == "processing"
    reply = await edit(story, action, patch)
    assert (reply.status, reply.code) == (409, "only_batch_quantity_editable")
    assert reply.json["detail"] == "Only batch quantity is editable once processing begins"
    assert await story.get(f"/v1/bulk-actions/{action}") == before


async def test_a_completed_bulk_action_cannot_be_edited(story: Story) -> None:
    await story.contacts(2)
    action = await story.mail_all()
    before = await story.get(f"/v1/bulk-actions/{action}")
    assert before["status"] == "completed"
    reply = await edit(story, action, {"label": "Late"})
    assert (reply.status, reply.code) == (409, "completed_not_editable")
    assert reply.json["detail"] == "Completed bulk actions cannot be edited"
    assert await story.get(f"/v1/bulk-actions/{action}") == before


async def test_until_the_first_batch_schedule_message_and_label_can_be_edited(story: Story) -> None:
    people = await story.contacts(6)
    action = await story.mail_all(drip(2, start_at="2026-06-02T09:00:00Z"))
    for patch in (
        {"label": "June"},
        {"message": {"subject": "Changed", "body": "Dear {{ name | default('friend') }}"}},
        {"schedule": {"start_at": "2026-06-02T12:00:00Z", "drip": {"batch_quantity": 3}}},
    ):
        assert (await edit(story, action, patch)).status == 200
    await story.advance_to("2026-06-02T11:00Z", HOUR)
    assert not story.mails()
    await story.advance(2 * HOUR, HOUR)
    books = await story.books(action)
    assert (books["status"], books["label"], books["revision"]) == ("completed", "June", 4)
    batches = await story.batches(action)
    assert [(each["planned_at"], each["quantity"]) for each in batches] == [
        ("2026-06-02T12:00:00Z", 3),
        ("2026-06-02T13:00:00Z", 3),
    ]
    assert story.mails("Changed") == {f"{id}@example.org": 1 for id in people}
    assert all(b"Dear friend" in letter.content for letter in story.letters())


async def test_an_edit_of_a_revision_that_is_no_longer_the_present_one_is_refused(story: Story) -> None:
    await story.contacts(1)
    action = await story.mail_all({"mode": "at", "start_at": "2026-06-02T09:00:00Z"})
    shown = await story.call("GET", f"/v1/bulk-actions/{action}")
    first = await edit(story, action, {"label": "Mine"}, If_Match=shown.headers["ETag"])
    assert first.status == 200
    second = await edit(story, action, {"label": "Yours"}, If_Match=shown.headers["ETag"])
    assert (second.status, second.code) == (412, "revision_mismatch")
    assert (await story.books(action))["label"] == "Mine"
    third = await edit(story, action, {"label": "Yours"}, If_Match=first.headers["ETag"])
    assert (third.status, third.json["label"]) == (200, "Yours")
