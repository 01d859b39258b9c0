"""A bulk action that stops and asks a person."""

from __future__ import annotations

from datetime import timedelta

from gateway.testing.smtp_server import Fault, Faults, Stage
from tests.stories.conftest import Story


async def test_refused_for_our_own_sake_again_and_again_it_pauses_instead_of_burning_everybody(story: Story) -> None:
    people = await story.contacts(100)
    story.smtp.faults = Faults([Fault(stage=Stage.RCPT, reply="550 5.7.1 Your address is on a list")])
    action = await story.mail_all()
    books = await story.books(action)
    assert (books["status"], books["pause_reason"]) == ("paused", "failing")
    failed = books["failed_count"]
    assert 20 <= failed < 20 + 2 * 8  # the answers of one turn, and what was on its way
    assert books["counts"] == {"total": 100, "failed": failed, "pending": 100 - failed}

    story.smtp.faults = Faults()
    await story.post(f"/v1/bulk-actions/{action}/resume")
    books = await story.books(action)
    assert (books["status"], books["counts"]) == (
        "partial",
        {"total": 100, "succeeded": 100 - failed, "failed": failed},
    )
    await story.post(f"/v1/bulk-actions/{action}/retry", {"states": ["failed"]})
    books = await story.books(action)
    assert (books["status"], books["counts"]) == ("completed", {"total": 100, "succeeded": 100})
    assert story.mails() == {f"{id}@example.org": 1 for id in people}


async def test_dead_addresses_are_no_reason_to_pause_and_are_not_written_to_again(story: Story) -> None:
    people = await story.contacts(40)
    story.smtp.faults = Faults([Fault(stage=Stage.RCPT, to="m-[123]*", reply="550 5.1.1 No such user")])
    action = await story.mail_all()
    dead = {id for id in people if id[2] in "123"}
    books = await story.books(action)
    assert (books["status"], books["counts"]) == (
        "partial",
        {"total": 40, "succeeded": 40 - len(dead), "failed": len(dead)},
    )
    told = await story.people(action)
    assert {told[id]["code"] for id in dead} == {"invalid_address"}

    story.smtp.faults = Faults()
    second = await story.mail_all(subject="More news")
    books = await story.books(second)
    assert books["counts"] == {"total": 40, "succeeded": 40 - len(dead), "skipped": len(dead)}
    assert story.mails("More news") == {f"{id}@example.org": 1 for id in people if id not in dead}


async def test_a_message_for_an_hour_that_has_long_passed_asks_before_it_is_sent(story: Story) -> None:
    people = await story.contacts(5)
    action = await story.mail_all({"mode": "at", "start_at": "2026-06-01T18:00:00Z"})
    await story.advance(timedelta(hours=12))  # as a machine that slept meanwhile sees it: 20:00
    books = await story.books(action)
    assert (books["status"], books["pause_reason"]) == ("paused", "missed_schedule")
    assert not story.mails()
    await story.post(f"/v1/bulk-actions/{action}/resume")
    assert (await story.books(action))["status"] == "completed"
    assert story.mails() == {f"{id}@example.org": 1 for id in people}
