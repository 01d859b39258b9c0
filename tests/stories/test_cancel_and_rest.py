"""A drip cancelled half-way, and later the rest."""

from __future__ import annotations

from datetime import timedelta

from gateway.testing.smtp_server import Act, Fault, Faults, Stage
from tests.stories.conftest import Story

MESSAGE = {"channel": "email", "subject": "News", "body": "Hello"}


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


async def test_a_cancellation_counts_apart_what_is_on_its_way_at_that_moment(story: Story) -> None:
    people = await story.contacts(30)
    story.smtp.faults = Faults([Fault(stage=Stage.RCPT, act=Act.HANG, first=11)])
    order = {"operation": "send_message", "recipients": {"all": True}, "message": MESSAGE}
    action = (await story.call("POST", "/v1/bulk-actions", order)).json["id"]

    async def all_places_are_taken() -> bool:
        counts = (await story.books(action))["counts"]
        return bool(counts.get("in_flight") == 8 and counts.get("succeeded") == 10)

    await story.until(all_places_are_taken)
    answer = (await story.call("POST", f"/v1/bulk-actions/{action}/cancel")).json
    assert (answer["status"], answer["in_flight"], answer["already_sent"], answer["cancelled"]) == (
        "cancelled",
        8,
        10,
        12,
    )
    story.smtp.faults = Faults()
    story.smtp.drop()  # before the text: certainly not sent, so what is under way may finish or come back
    await story.settle()
    await story.advance(timedelta(hours=2), timedelta(minutes=10))
    books = await story.books(action)
    sent, cancelled = books["counts"]["succeeded"], books["counts"]["cancelled"]
    assert (books["status"], books["counts"]) == (
        "cancelled",
        {"total": 30, "succeeded": sent, "cancelled": cancelled},
    )
    assert 12 <= cancelled <= 20
    assert story.mails().total() == sent

    rest = await story.create(
        operation="send_message", recipients={"bulk_action": action, "states": ["cancelled"]}, message=MESSAGE
    )
    assert (await story.books(rest))["counts"] == {"total": cancelled, "succeeded": cancelled}
    assert story.mails() == {f"{id}@example.org": 1 for id in people}


async def test_a_mail_in_doubt_at_a_cancellation_is_not_sent_again(story: Story) -> None:
    people = await story.contacts(30)
    story.smtp.pipelining = False  # one mail on a connection: none waits behind another's silence
    story.smtp.faults = Faults([Fault(stage=Stage.DOT, act=Act.HANG, first=11)])
    order = {"operation": "send_message", "recipients": {"all": True}, "message": MESSAGE}
    action = (await story.call("POST", "/v1/bulk-actions", order)).json["id"]

    async def all_places_are_taken() -> bool:
        counts = (await story.books(action))["counts"]
        return bool(counts.get("in_flight") == 8 and story.smtp.count == 18)

    await story.until(all_places_are_taken)
    answer = (await story.call("POST", f"/v1/bulk-actions/{action}/cancel")).json
    assert (answer["in_flight"], answer["already_sent"], answer["cancelled"]) == (8, 10, 12)
    story.smtp.faults = Faults()
    story.smtp.drop()  # after the text: nobody knows
    await story.settle()
    books = await story.books(action)
    assert books["counts"] == {"total": 30, "succeeded": 10, "unknown": 8, "cancelled": 12}
    await story.advance(timedelta(hours=26), timedelta(minutes=30))
    books = await story.books(action)
    assert books["status"] == "cancelled"
    assert books["counts"] == {"total": 30, "succeeded": 10, "unknown": 8, "cancelled": 12}
    assert story.mails().total() == 18

    rest = await story.create(
        operation="send_message", recipients={"bulk_action": action, "states": ["cancelled"]}, message=MESSAGE
    )
    assert (await story.books(rest))["counts"] == {"total": 12, "succeeded": 12}
    assert story.mails() == {f"{id}@example.org": 1 for id in people}  # and nobody twice

    answer = await story.post(f"/v1/bulk-actions/{action}/resolve", {"recipients": "all", "as": "sent"})
    assert answer["resolved"] == 8
    assert (await story.books(action))["counts"] == {"total": 30, "succeeded": 18, "cancelled": 12}
