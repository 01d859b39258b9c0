"""A drip cancelled half-way, and later the rest."""

from __future__ import annotations

from datetime import timedelta

from tests.stories.conftest import Story


async def test_who_was_left_by_a_cancellation_is_reached_by_another_action_and_everybody_once(story: Story) -> None:
    people = await story.contacts(30)
    first = await story.mail_all({"mode": "drip", "drip": {"batch_quantity": 10, "repeat_after": "1h"}})
    await story.advance(timedelta(hours=1))
    answer = await story.post(f"/v1/bulk-actions/{first}/cancel")
    assert {name: answer[name] for name in ("cancelled", "in_flight", "already_sent")} == {
        "cancelled": 10,
        "in_flight": 0,
        "already_sent": 20,
    }
    books = await story.books(first)
    assert (books["status"], books["counts"]) == ("cancelled", {"total": 30, "succeeded": 20, "cancelled": 10})
    again = await story.call("POST", f"/v1/bulk-actions/{first}/cancel")
    assert (again.status, again.code) == (409, "not_cancellable")
    await story.advance(timedelta(hours=3), timedelta(hours=1))
    assert story.mails().total() == 20  # it stays cancelled

    rest = await story.create(
        operation="send_message",
        recipients={"bulk_action": first, "states": ["cancelled"]},
        message={"channel": "email", "subject": "News", "body": "Hello"},
    )
    books = await story.books(rest)
    assert (books["status"], books["counts"]) == ("completed", {"total": 10, "succeeded": 10})
    assert books["rerun_of"] == first
    assert set(await story.people(rest)) == set(people[20:])
    assert story.mails() == {f"{id}@example.org": 1 for id in people}
