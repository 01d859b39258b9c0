"""Somebody opts out while a drip runs."""

from __future__ import annotations

from datetime import timedelta

from tests.stories.conftest import Story


async def test_an_opt_out_between_two_batches_is_obeyed_and_is_no_failure(story: Story) -> None:
    people = await story.contacts(9)
    action = await story.mail_all({"mode": "drip", "drip": {"batch_quantity": 3, "repeat_after": "1h"}})
    assert story.mails().total() == 3
    first = await story.post("/v1/opt-outs", {"channel": "email", "contact": "m-5"}, 201)
    assert first["contact_id"] == "m-5"
    again = await story.post("/v1/opt-outs", {"channel": "email", "contact": "m-5"}, 200)
    assert again["id"] == first["id"]
    await story.post("/v1/opt-outs", {"channel": "email", "address": "m-9@example.org", "reason": "letter"}, 201)
    await story.advance(timedelta(hours=3), timedelta(hours=1))

    books = await story.books(action)
    assert (books["status"], books["counts"]) == ("completed", {"total": 9, "succeeded": 7, "skipped": 2})
    assert books["failed_count"] == 0
    told = await story.people(action)
    for id in ("m-5", "m-9"):
        assert (told[id]["state"], told[id]["code"]) == ("skipped", "opted_out")
        assert told[id]["reason"].startswith("Opted out of ")
    assert story.mails() == {f"{id}@example.org": 1 for id in people if id not in ("m-5", "m-9")}
    skipped = await story.everything(f"/v1/bulk-actions/{action}/recipients?state=skipped&state=failed")
    assert sorted(each["contact_id"] for each in skipped) == ["m-5", "m-9"]
