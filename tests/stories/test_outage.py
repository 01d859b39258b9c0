"""The mail server is gone, comes back ill, and is well at last: nobody is lost and nobody fails."""

from __future__ import annotations

from datetime import datetime, timedelta

from gateway.testing.smtp_server import Fault, Faults, Stage
from tests.stories.conftest import Story

HALF_A_MINUTE = timedelta(seconds=30)


async def test_an_outage_holds_the_sender_and_burns_nobody(story: Story) -> None:
    people = await story.contacts(30)
    await story.smtp.refuse()
    story.smtp.drop()
    action = await story.mail_all()
    await story.advance(timedelta(minutes=5), HALF_A_MINUTE)
    sender = await story.sender()
    assert (sender["held"], sender["health"]) == ("outage", "unhealthy")
    books = await story.books(action)
    assert (books["status"], books["wait_reason"]) == ("processing", "sender_down")
    assert books["counts"] == {"total": 30, "pending": 30}

    await story.smtp.listen()  # it is there again, but not yet in order
    story.smtp.faults = Faults([Fault(stage=Stage.GREETING, reply="421 4.3.2 Shutting down")])
    await story.advance(timedelta(minutes=2), HALF_A_MINUTE)
    assert (await story.sender())["held"] == "outage"
    assert (await story.books(action))["counts"] == {"total": 30, "pending": 30}

    story.smtp.faults = Faults([Fault(stage=Stage.RCPT, reply="450 4.2.1 Come back later")])
    await story.advance(timedelta(minutes=2), HALF_A_MINUTE)
    sender = await story.sender()  # by itself
    assert (sender["held"], sender["health"]) == (None, "healthy")
    books = await story.books(action)
    assert books["counts"] == {"total": 30, "pending": 30}
    assert books["wait_reason"] != "sender_down"
    assert not story.mails()

    story.smtp.faults = Faults()
    await story.advance(timedelta(hours=2), timedelta(minutes=10))
    books = await story.books(action)
    assert (books["status"], books["counts"]) == ("completed", {"total": 30, "succeeded": 30})
    assert story.mails() == {f"{id}@example.org": 1 for id in people}
    assert not story.smtp.duplicates


async def test_an_outage_in_the_middle_of_a_drip_makes_no_burst_afterwards(story: Story) -> None:
    people = await story.contacts(20)
    action = await story.mail_all({"mode": "drip", "drip": {"batch_quantity": 5, "repeat_after": "1h"}})
    await story.smtp.refuse()
    story.smtp.drop()
    await story.advance(timedelta(hours=4), timedelta(minutes=10))
    assert story.mails().total() == 5
    assert (await story.sender())["held"] == "outage"

    await story.smtp.listen()
    await story.advance(timedelta(minutes=20), timedelta(minutes=1))
    assert (await story.sender())["held"] is None
    assert story.mails().total() == 15  # the batch that was under way, and one: of the three that fell due
    await story.advance(timedelta(hours=3), timedelta(minutes=10))
    books = await story.books(action)
    assert (books["status"], books["counts"]) == ("completed", {"total": 20, "succeeded": 20})
    batches = await story.batches(action)
    assert [batch["quantity"] for batch in batches] == [5, 5, 5, 5]
    started = [datetime.fromisoformat(batch["started_at"]) for batch in batches]
    assert started[3] - started[2] >= timedelta(minutes=59)
    assert story.mails() == {f"{id}@example.org": 1 for id in people}


async def test_a_mailbox_that_stays_busy_is_given_up_after_the_time_that_the_sender_allows(story: Story) -> None:
    await story.contacts(3)
    story.smtp.faults = Faults([Fault(stage=Stage.RCPT, to="m-2@*", reply="450 4.2.1 Mailbox busy")])
    action = await story.mail_all()
    assert (await story.books(action))["counts"] == {"total": 3, "pending": 1, "succeeded": 2}
    await story.advance(timedelta(hours=13), timedelta(minutes=30))
    books = await story.books(action)
    assert (books["status"], books["counts"]) == ("partial", {"total": 3, "succeeded": 2, "failed": 1})
    assert (await story.people(action))["m-2"]["code"] == "gave_up"
