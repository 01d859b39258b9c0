"""What providers call back with, over a whole engine: stored first, merged in any order, found again after a kill."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from gateway.contract import (
    Absent,
    Accepted,
    CannotTell,
    Capabilities,
    Code,
    Consent,
    Found,
    Inbound,
    Outbound,
    Receipt,
    Retry,
    Status,
    Unknown,
)
from gateway.core.ids import ActionId, IdSequence, MessageId, OrgId, format_id, parse_id
from gateway.core.schedule import Schedule
from gateway.core.states import MessageStatus, RecipientState
from gateway.store.actions import ActionStore
from gateway.store.callbacks import CallbackStore, ReplayFilter
from gateway.store.codec import to_micros
from gateway.store.database import Database
from gateway.store.verify import verify
from gateway.testing.clock import FakeClock
from tests.engine.world import World

NOW = Schedule(mode="now", start_at=None, time_zone="UTC", drip=None)
RECEIPTS = Capabilities(receipts=True, on_unknown="hold")
ASKABLE = Capabilities(receipts=True, lookup=True, lookup_settle=timedelta(minutes=2), on_unknown="hold")


def named(message: Outbound) -> Accepted:
    return Accepted((f"p-{message.ref}",))


@pytest.fixture
async def world(database: Database, clock: FakeClock, ids: IdSequence) -> AsyncIterator[World]:
    """A provider that names messages, sends receipts and can be asked."""
    world = World(database, clock, ids, capabilities=ASKABLE, on_unknown="hold")
    world.provider.answer = named
    await world.start()
    yield world
    await world.settle()
    assert (await verify(world.database)).faults == ()
    await world.kill()


async def send(world: World, number: int) -> tuple[ActionId, list[str]]:
    """A bulk action to so many; the refs of its messages in their order."""
    await world.contacts(number)
    action = await world.create(NOW)
    return action, [message.ref for message in sorted(world.provider.sent, key=lambda one: one.ref)]


async def statuses(world: World) -> Mapping[str, int]:
    rows = await world.sql("SELECT status FROM messages WHERE direction = 0")
    return Counter(MessageStatus(status).label for (status,) in rows)


async def test_accepted_messages_wait_for_their_receipts_and_the_last_one_completes_the_action(world: World) -> None:
    action, refs = await send(world, 3)
    assert await world.states(action) == {"handed_over": 3}
    assert await world.status(action) == "delegated"
    for ref in refs[:2]:
        await world.call_back(Receipt(status=Status.DELIVERED, ref=ref))
    await world.settle()
    assert await world.status(action) == "delegated"
    await world.call_back(Receipt(status=Status.READ, ref=refs[2]))
    await world.settle()
    assert await world.status(action) == "completed"
    assert await world.states(action) == {"succeeded": 3}


@pytest.mark.parametrize("seed", range(5))
async def test_tripled_shuffled_and_partly_unknown_receipts_end_as_an_oracle_says(world: World, seed: int) -> None:
    chance = random.Random(seed)
    action, refs = await send(world, 40)
    fates = {ref: chance.choice([Status.DELIVERED, Status.READ, Status.UNDELIVERED, Status.FAILED]) for ref in refs}
    receipts = []
    for ref, fate in fates.items():
        by_ref = chance.random() < 0.5
        for status in (Status.SENT, fate):
            ids = (f"p-{ref}",)
            receipts += [Receipt(status=status, ref=ref if by_ref else None, provider_ids=ids)] * 3
    receipts += [Receipt(status=Status.DELIVERED, provider_ids=(f"somebody-elses-{n}",)) for n in range(4)]
    chance.shuffle(receipts)
    while receipts:
        size = chance.randint(1, 30)
        await world.call_back(*receipts[:size])
        receipts = receipts[size:]
    await world.settle()
    assert await statuses(world) == Counter(fate.value for fate in fates.values())
    good = sum(fate in (Status.DELIVERED, Status.READ) for fate in fates.values())
    assert await world.states(action) == {"succeeded": good, "failed": 40 - good}
    assert await world.status(action) == "partial"
    assert (await world.sql("SELECT count(*) FROM parked_receipts"))[0][0] == 4


async def test_a_receipt_names_a_message_that_its_provider_had_not_named(world: World) -> None:
    """As Kannel's: the SMSC's id comes with the report, and later ones may come with that alone."""
    world.provider.answer = lambda message: Accepted()
    action, (ref,) = await send(world, 1)
    await world.call_back(Receipt(status=Status.ACCEPTED, ref=ref))
    await world.call_back(Receipt(status=Status.SENT, ref=ref, provider_ids=("f-1",)))
    await world.call_back(Receipt(status=Status.DELIVERED, provider_ids=("f-1",)))
    await world.call_back(Receipt(status=Status.READ, ref=ref, provider_ids=("f-2",)))
    await world.settle()
    assert await world.sql("SELECT status, provider_ids FROM messages") == [(MessageStatus.READ, '["f-1"]')]
    assert await world.states(action) == {"succeeded": 1}


async def test_what_was_delivered_was_accepted_and_what_failed_need_not_have_been(world: World) -> None:
    world.provider.answer = lambda message: Unknown("no answer")
    _, refs = await send(world, 2)
    at = world.clock.now() + timedelta(seconds=9)
    await world.call_back(
        Receipt(status=Status.DELIVERED, ref=refs[0], at=at), Receipt(status=Status.FAILED, ref=refs[1], at=at)
    )
    await world.settle()
    rows = await world.sql("SELECT accepted_at, sent_at, delivered_at FROM messages ORDER BY id")
    assert rows == [(to_micros(at), None, to_micros(at)), (None, None, None)]


async def test_each_instant_is_that_of_the_first_receipt_that_says_so(world: World) -> None:
    _, (ref,) = await send(world, 1)
    begin = world.clock.now()
    for status, seconds in ((Status.DELIVERED, 9), (Status.SENT, 5), (Status.SENT, 7), (Status.DELIVERED, 11)):
        await world.call_back(
            Receipt(status=status, ref=ref, at=begin + timedelta(seconds=seconds), reason=f"{seconds}")
        )
    await world.settle()
    rows = await world.sql("SELECT accepted_at, sent_at, delivered_at, due_at FROM messages")
    assert rows == [(to_micros(begin), *(to_micros(begin + timedelta(seconds=n)) for n in (5, 9)), None)]
    told = await world.sql("SELECT status, detail FROM message_history WHERE kind = 'receipt' ORDER BY at")
    assert told == [("sent", "5"), ("delivered", "9")]


async def test_who_was_sent_to_and_never_heard_of_again_is_unconfirmed_at_the_deadline(world: World) -> None:
    action, refs = await send(world, 2)
    world.provider.answers = lambda question: CannotTell("not yet")
    await world.call_back(Receipt(status=Status.SENT, ref=refs[0]), Receipt(status=Status.DELIVERED, ref=refs[1]))
    await world.advance(timedelta(hours=23), timedelta(hours=1))
    assert await world.states(action) == {"handed_over": 1, "succeeded": 1}
    await world.advance(timedelta(hours=2), timedelta(hours=1))
    assert await world.states(action) == {"succeeded": 2}
    assert await world.sql("SELECT unconfirmed FROM action_counts WHERE action = ?", action) == [(1,)]


async def test_a_receipt_of_an_unknown_message_gives_it_the_time_of_any_other(world: World) -> None:
    world.provider.answer = lambda message: Unknown("no answer")
    action, (ref,) = await send(world, 1)
    await world.call_back(Receipt(status=Status.SENT, ref=ref))
    world.provider.answers = lambda question: CannotTell("not yet")
    await world.advance(timedelta(hours=23), timedelta(hours=1))
    assert await world.states(action) == {"handed_over": 1}
    await world.advance(timedelta(hours=2), timedelta(hours=1))
    assert await world.states(action) == {"succeeded": 1}


async def test_a_failure_that_is_not_the_address_s_suppresses_nobody(world: World) -> None:
    _, (ref,) = await send(world, 1)
    await world.call_back(Receipt(status=Status.UNDELIVERED, ref=ref, reason="mailbox full"))
    await world.settle()
    assert await statuses(world) == {"undelivered": 1}
    assert await world.sql("SELECT 1 FROM opt_outs") == []


async def test_what_receipts_change_is_published_with_why(world: World) -> None:
    _, refs = await send(world, 3)
    await world.call_back(
        Receipt(status=Status.DELIVERED, ref=refs[0]),
        Receipt(status=Status.FAILED, ref=refs[1], code=Code.BLOCKED),
        Receipt(status=Status.UNDELIVERED, ref=refs[2]),
        Receipt(status=Status.SENT, ref=refs[0]),
    )
    await world.settle()
    rows = await world.sql(
        "SELECT type, number, data ->> 'status', data ->> 'code' FROM events WHERE type LIKE 'message.%'"
    )
    assert sorted(rows) == [
        ("message.accepted", 3, "accepted", None),
        ("message.delivered", 1, "delivered", None),
        ("message.failed", 1, "failed", "blocked"),
        ("message.failed", 1, "undelivered", "undelivered"),
    ]


async def test_the_first_reason_of_a_failure_is_kept_whatever_is_said_after_it(world: World) -> None:
    _, (ref,) = await send(world, 1)
    await world.call_back(
        Receipt(status=Status.FAILED, ref=ref, reason="first"), Receipt(status=Status.FAILED, ref=ref, reason="second")
    )
    await world.call_back(Receipt(status=Status.FAILED, ref=ref, reason="third"))
    await world.settle()
    assert await world.sql("SELECT reason FROM messages") == [("first",)]


async def test_a_receipt_that_overtakes_the_record_of_its_message_is_merged_when_that_is_written(world: World) -> None:
    early: list[Receipt] = []

    def answer(message: Outbound) -> Accepted:
        early.append(Receipt(status=Status.DELIVERED, provider_ids=(f"p-{message.ref}",)))
        return named(message)

    world.provider.answer = answer
    await world.contacts(1)
    # The provider calls back with an id that nobody here has heard of yet.
    await world.call_back(Receipt(status=Status.SENT, provider_ids=("p-later",)))
    await world.settle()
    assert await world.sql("SELECT provider_id FROM parked_receipts") == [("p-later",)]
    world.provider.answer = lambda message: Accepted(("p-later",))
    action = await world.create(NOW)
    assert await statuses(world) == {"sent": 1}
    assert await world.sql("SELECT 1 FROM parked_receipts") == []
    assert await world.states(action) == {"handed_over": 1}


@pytest.mark.parametrize("together", [True, False])
async def test_a_receipt_that_names_a_message_brings_in_those_that_came_before_it_under_that_name(
    world: World, together: bool
) -> None:
    """Nobody knows whether it was sent; the news that it was delivered comes first, and only with the provider's id."""
    world.provider.answer = lambda message: Unknown("the line broke")
    action, (ref,) = await send(world, 1)
    receipts = [
        Receipt(status=Status.DELIVERED, provider_ids=("p-first",)),
        Receipt(status=Status.SENT, ref=ref, provider_ids=("p-first",)),
    ]
    for callback in [receipts] if together else [[receipt] for receipt in receipts]:
        await world.call_back(*callback)
    await world.settle()
    assert await statuses(world) == {"delivered": 1}
    assert await world.states(action) == {"succeeded": 1}
    assert await world.sql("SELECT 1 FROM parked_receipts") == []


async def test_a_parked_receipt_is_forgotten_after_a_day(world: World) -> None:
    await world.call_back(Receipt(status=Status.SENT, provider_ids=("p-nobodys",)))
    await world.settle()
    await world.advance(timedelta(hours=25), timedelta(minutes=10))
    assert await world.sql("SELECT 1 FROM parked_receipts") == []


async def test_a_receipt_for_a_message_in_flight_is_not_undone_by_its_late_result(world: World) -> None:
    world.provider.gate = asyncio.Event()
    await world.contacts(1)
    action = await world.create(NOW)
    ((message,),) = await world.sql("SELECT id FROM messages")
    await world.call_back(Receipt(status=Status.DELIVERED, ref=_ref(message)))
    await world.settle()
    assert await world.states(action) == {"succeeded": 1}
    world.provider.answer = lambda message: Unknown("the line broke")
    world.provider.gate.set()
    await world.settle()
    assert await world.states(action) == {"succeeded": 1}
    assert await statuses(world) == {"delivered": 1}
    assert await world.status(action) == "completed"


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("order", list(itertools.permutations((Status.ACCEPTED, Status.SENT, Status.UNDELIVERED))))
async def test_receipts_of_an_attempt_that_was_to_be_repeated_end_alike_in_any_order(
    world: World, order: tuple[Status, ...], together: bool
) -> None:
    world.provider.answer = lambda message: Retry("busy", after=timedelta(hours=1))
    action, (ref,) = await send(world, 1)
    assert await world.states(action) == {"pending": 1}
    receipts = [Receipt(status=status, ref=ref, provider_ids=("p-first",)) for status in order for _ in range(3)]
    for callback in [receipts] if together else [[receipt] for receipt in receipts]:
        await world.call_back(*callback)
    await world.settle()
    assert await statuses(world) == {"undelivered": 1}
    assert await world.states(action) == {"failed": 1}
    assert await world.status(action) == "failed"
    assert await world.sql("SELECT 1 FROM parked_receipts") == []


async def test_good_news_spares_an_attempt_that_is_prepared_already(
    database: Database, clock: FakeClock, ids: IdSequence
) -> None:
    """It waits for a token; its recipient is asked about again when the intent is written."""
    world = World(database, clock, ids, capabilities=Capabilities(receipts=True), rate=1 / 60, burst=2.0)
    await world.start()
    world.provider.answer = lambda message: Retry("busy", after=timedelta(seconds=1))
    action, refs = await send(world, 2)
    await world.advance(timedelta(seconds=20), timedelta(seconds=10))
    assert await world.states(action) == {"pending": 2}
    world.provider.answer = named
    await world.call_back(Receipt(status=Status.DELIVERED, ref=refs[0]))
    await world.advance(timedelta(minutes=3), timedelta(seconds=30))
    assert Counter(message.ref for message in world.provider.sent) == {refs[0]: 1, refs[1]: 2}
    assert await world.states(action) == {"succeeded": 1, "handed_over": 1}
    await world.kill()


async def test_bad_news_alone_of_an_attempt_that_is_to_be_repeated_changes_nothing(world: World) -> None:
    world.provider.answer = lambda message: Retry("busy", after=timedelta(minutes=1))
    action, (ref,) = await send(world, 1)
    await world.call_back(Receipt(status=Status.UNDELIVERED, ref=ref, provider_ids=("p-first",)))
    await world.settle()
    assert await world.states(action) == {"pending": 1}
    world.provider.answer = lambda message: Accepted(("p-second",))
    await world.advance(timedelta(minutes=2))
    assert await statuses(world) == {"accepted": 1}
    await world.call_back(Receipt(status=Status.DELIVERED, ref=ref, provider_ids=("p-second",)))
    await world.settle()
    assert await world.states(action) == {"succeeded": 1}


async def test_a_late_delivery_mends_a_failure_and_recomputes_the_outcome(world: World) -> None:
    action, (ref,) = await send(world, 1)
    await world.call_back(Receipt(status=Status.UNDELIVERED, ref=ref, code=Code.UNREACHABLE, reason="no route"))
    await world.settle()
    assert await world.status(action) == "failed"
    assert await world.sql("SELECT code, reason FROM recipients") == [("unreachable", "no route")]
    await world.call_back(Receipt(status=Status.DELIVERED, ref=ref))
    await world.settle()
    assert await world.status(action) == "completed"
    assert await world.sql("SELECT code, reason FROM recipients") == [(None, None)]


async def test_a_receipt_proves_that_an_unknown_message_was_sent(world: World) -> None:
    world.provider.answer = lambda message: Unknown("no answer")
    await world.contacts(1)
    action = await world.create(NOW)
    assert await world.states(action) == {"unknown": 1}
    await world.call_back(Receipt(status=Status.SENT, ref=world.provider.sent[0].ref))
    await world.settle()
    assert await world.states(action) == {"handed_over": 1}
    assert len(world.provider.sent) == 1


async def test_another_senders_ref_and_a_ref_of_nobody_change_nothing(world: World) -> None:
    action, _ = await send(world, 1)
    await world.change(
        "INSERT INTO senders (id, org, name, channel, adapter, in_flight_limit) VALUES (9, 1, 'x', 'email', 'fake', 1)"
    )
    await world.change(
        "INSERT INTO messages (id, org, channel, sender, address, source, status, created_at) "
        "VALUES (77, 1, 'email', 9, 'a', 1, 3, 1)"
    )
    await world.call_back(
        Receipt(status=Status.READ, ref=_ref(77)),
        Receipt(status=Status.READ, ref="msg_nonsense"),
        Receipt(status=Status.READ),
    )
    await world.settle()
    assert await world.sql("SELECT status FROM messages WHERE id = 77") == [(3,)]
    assert await world.states(action) == {"handed_over": 1}


async def test_a_dead_address_is_not_written_to_again(world: World) -> None:
    _, (ref,) = await send(world, 1)
    await world.call_back(Receipt(status=Status.BOUNCED, ref=ref, address_dead=True, reason="no such mailbox"))
    await world.settle()
    again = await world.create(NOW)
    assert await world.states(again) == {"skipped": 1}


async def test_a_callback_that_is_not_genuine_leaves_nothing_and_a_handshake_is_only_answered(world: World) -> None:
    assert await world.call_back(body=b"forged") is None
    answer = await world.call_back(body=b"handshake")
    assert answer is not None
    assert answer.body == b"challenge"
    assert await world.sql("SELECT 1 FROM callbacks") == []


async def test_a_callback_that_cannot_be_read_is_kept_and_can_be_read_again(world: World) -> None:
    assert await world.call_back(body=b"unreadable") is not None
    await world.settle()
    assert await world.sql("SELECT state, problem FROM callbacks") == [(2, "parse raised KeyError")]


async def test_what_was_stored_and_not_read_when_the_process_died_is_read_by_the_next(world: World) -> None:
    action, (ref,) = await send(world, 1)
    await world.kill()
    await world.call_back(Receipt(status=Status.DELIVERED, ref=ref))
    assert await world.states(action) == {"handed_over": 1}
    await world.start()
    assert await world.states(action) == {"succeeded": 1}


async def test_callbacks_that_another_process_wants_read_again_are_read_within_a_second(world: World) -> None:
    action, (ref,) = await send(world, 1)
    await world.call_back(body=b"first misunderstood")
    await world.settle()
    world.provider.says[b"first misunderstood"] = [Receipt(status=Status.DELIVERED, ref=ref)]
    await CallbackStore(world.database, world.ids).replay(ReplayFilter(sender=world.catalogue.senders["mail"].id))
    await world.advance(timedelta(seconds=2), timedelta(seconds=1))
    assert await world.states(action) == {"succeeded": 1}


async def test_an_event_that_breaks_a_statement_keeps_no_other_out(world: World) -> None:
    action, refs = await send(world, 2)
    await world.call_back(Receipt(status=Status.FAILED, ref=refs[0], code=_Broken()))  # type: ignore[arg-type]
    await world.call_back(Receipt(status=Status.DELIVERED, ref=refs[1]))
    await world.settle()
    assert await world.states(action) == {"handed_over": 1, "succeeded": 1}
    assert [problem is None for (problem,) in await world.sql("SELECT problem FROM callbacks ORDER BY id")] == [
        False,
        True,
    ]


class _Broken:
    """A code that is none: writing it fails."""

    value = object()


async def test_aged_messages_are_asked_about_until_their_deadline_and_then_count_as_unconfirmed(world: World) -> None:
    action, _ = await send(world, 2)
    lucky = world.provider.sent[0].ref
    world.provider.answers = lambda question: (
        Found(Receipt(status=Status.DELIVERED)) if question.message.ref == lucky else CannotTell("not yet")
    )
    await world.advance(timedelta(minutes=59), timedelta(minutes=10))
    assert world.provider.asked == []
    await world.advance(timedelta(minutes=5), timedelta(minutes=1))
    assert await world.states(action) == {"succeeded": 1, "handed_over": 1}
    await world.advance(timedelta(hours=24), timedelta(hours=1))
    assert await world.states(action) == {"succeeded": 2}
    assert await world.sql("SELECT unconfirmed FROM action_counts WHERE action = ?", action) == [(1,)]
    questions = Counter(question.message.ref for question in world.provider.asked)
    assert questions[lucky] == 1
    assert 3 <= max(questions.values()) <= 8


async def test_a_receipt_after_the_deadline_confirms_or_denies(world: World) -> None:
    action, refs = await send(world, 2)
    await world.advance(timedelta(hours=25), timedelta(hours=1))
    assert await world.sql("SELECT unconfirmed, succeeded FROM action_counts WHERE action = ?", action) == [(2, 2)]
    await world.call_back(
        Receipt(status=Status.DELIVERED, ref=refs[0]), Receipt(status=Status.FAILED, ref=refs[1], reason="gone")
    )
    await world.settle()
    assert await world.sql("SELECT unconfirmed, succeeded, failed FROM action_counts") == [(0, 1, 1)]
    assert await world.status(action) == "partial"


async def test_a_receipt_after_the_deadline_that_is_not_the_last_one_settles_nobody_twice(world: World) -> None:
    action, refs = await send(world, 1)
    await world.advance(timedelta(hours=25), timedelta(hours=1))
    await world.call_back(Receipt(status=Status.SENT, ref=refs[0]))
    await world.advance(timedelta(hours=2), timedelta(hours=1))
    assert await statuses(world) == {"sent": 1}
    assert await world.states(action) == {"succeeded": 1}
    assert await world.sql("SELECT unconfirmed FROM action_counts") == [(1,)]
    await world.call_back(Receipt(status=Status.DELIVERED, ref=refs[0]))
    await world.settle()
    assert await world.sql("SELECT unconfirmed, succeeded FROM action_counts") == [(0, 1)]


async def test_who_turns_out_unsent_after_a_retry_began_is_sent_to_in_the_new_round(world: World) -> None:
    """Cancelled while one was unknown, then tried again: the one comes back out of the earlier round."""
    world.provider.by_address["c1@example.org"] = lambda message: Unknown("no answer")
    world.provider.by_address["c2@example.org"] = lambda message: Retry("busy", after=timedelta(hours=1))
    await world.contacts(2)
    action = await world.create(NOW)
    store = ActionStore(world.database)
    await store.cancel(OrgId(1), action, world.clock.now())
    world.engine.nudge()
    await world.settle()
    assert await world.states(action) == {"unknown": 1, "cancelled": 1}
    world.provider.by_address.clear()
    states = [RecipientState.CANCELLED]
    await store.retry(
        OrgId(1), action, world.clock.now(), 10, states=states, seqs=None, schedule=None, settle_anew=False
    )
    world.engine.nudge()
    await world.settle()
    world.provider.answers = lambda question: Absent()
    await world.advance(timedelta(minutes=3), timedelta(seconds=20))
    assert await world.states(action) == {"handed_over": 2}


async def test_an_unknown_message_is_asked_about_after_the_settle_time_and_sent_again_only_if_absent(
    world: World,
) -> None:
    world.provider.answer = lambda message: Unknown("no answer")
    await world.contacts(2)
    action = await world.create(NOW)
    kept = world.provider.sent[0].ref
    world.provider.answers = lambda question: (
        Found(Receipt(status=Status.SENT), ("p-found",)) if question.message.ref == kept else Absent()
    )
    world.provider.answer = named
    await world.advance(timedelta(minutes=1), timedelta(seconds=20))
    assert world.provider.asked == []
    await world.advance(timedelta(minutes=2), timedelta(seconds=20))
    assert await world.states(action) == {"handed_over": 2}
    assert world.provider.refs[kept] == 1
    assert sorted(world.provider.refs.values()) == [1, 2]
    assert await world.sql("SELECT message FROM provider_ids WHERE provider_id = 'p-found'") == [(_id(kept),)]


async def test_what_the_provider_shows_is_not_taken_for_two_messages(world: World) -> None:
    """The same text to the same person: of three the provider has one that we know, and one that we do not."""
    world.provider.answer = lambda message: Unknown("no answer")
    world.provider.by_address["c1@example.org"] = lambda message: Accepted(("p-one",))
    await world.contacts(4)
    action = await world.create(NOW)
    shown = {"c2@example.org": "p-one", "c3@example.org": "p-two", "c4@example.org": "p-two"}
    world.provider.answers = lambda question: Found(Receipt(status=Status.SENT), (shown[question.message.to],))
    await world.advance(timedelta(minutes=4), timedelta(seconds=20))
    assert await world.states(action) == {"handed_over": 2, "unknown": 2}
    await world.advance(timedelta(minutes=10), timedelta(minutes=1))
    assert await world.states(action) == {"handed_over": 2, "unknown": 2}


async def test_many_questions_are_asked_a_few_at_a_time_and_all_are_answered(world: World) -> None:
    world.provider.answer = lambda message: Unknown("no answer")
    await world.contacts(60)
    action = await world.create(NOW)
    world.provider.answers = lambda question: Found(Receipt(status=Status.DELIVERED))
    await world.advance(timedelta(minutes=4), timedelta(seconds=3))
    assert await world.states(action) == {"succeeded": 60}
    assert len(world.provider.asked) == 60


async def test_a_reply_is_kept_once_with_its_conversation_and_what_it_answers(world: World) -> None:
    action, (ref,) = await send(world, 1)
    reply = Inbound(provider_id="in-1", address="c1@example.org", text="Yes!", quotes=("unknown", f"p-{ref}"))
    await world.call_back(reply)
    await world.call_back(reply)
    await world.call_back(Inbound(provider_id="in-2", address="c1@example.org", text="And thanks"))
    await world.settle()
    rows = await world.sql(
        "SELECT content ->> '$.body', action, in_reply_to, link_reason, contact FROM messages WHERE direction = 1"
    )
    assert rows == [("Yes!", action, _id(ref), "quoted", 1), ("And thanks", action, _id(ref), "last_prompt", 1)]
    assert await world.sql("SELECT address, contact, unread FROM conversations") == [("c1@example.org", 1, 2)]


async def test_a_stranger_an_automatic_answer_and_a_late_one_are_linked_to_nothing(world: World) -> None:
    await send(world, 1)
    await world.call_back(Inbound(provider_id="in-1", address="stranger@example.org", text="Who is this?"))
    await world.call_back(Inbound(provider_id="in-2", address="c1@example.org", text="I am away", automatic=True))
    await world.advance(timedelta(days=8), timedelta(days=1))
    await world.call_back(Inbound(provider_id="in-3", address="c1@example.org", text="Sorry, was away"))
    await world.settle()
    assert await world.sql("SELECT action, link_reason FROM messages WHERE direction = 1") == [(None, "none")] * 3
    assert await world.sql("SELECT address, contact, unread FROM conversations ORDER BY id") == [
        ("stranger@example.org", None, 1),
        ("c1@example.org", 1, 1),
    ]


async def test_of_several_with_one_address_the_one_last_written_to_is_meant(world: World) -> None:
    await world.contacts(3, email="family@example.org")
    await world.create(NOW)
    assert len(world.provider.sent) == 1
    await world.call_back(Inbound(provider_id="in-1", address="family@example.org", text="Which of us?"))
    await world.settle()
    assert await world.sql("SELECT contact, candidates FROM conversations") == [(1, "[1,2,3]")]


async def test_of_several_who_were_never_written_to_the_one_changed_last_is_meant(world: World) -> None:
    await world.contacts(3, email="family@example.org")
    await world.change("UPDATE contacts SET updated_at = updated_at + 1 WHERE id = 2")
    await world.call_back(Inbound(provider_id="in-1", address="family@example.org", text="Which of us?"))
    await world.settle()
    assert await world.sql("SELECT contact, candidates FROM conversations") == [(2, "[1,2,3]")]


async def test_the_ids_of_one_person_lead_to_one_conversation_and_one_opt_out(world: World) -> None:
    """As with a user id of WhatsApp's, which is known before the number behind it is, or after it."""
    await world.contacts(1)
    await world.call_back(Inbound(provider_id="in-1", address="id@example.org", text="Who I am?"))
    await world.call_back(Consent(address="id@example.org", wish="out", source="provider"))
    await world.settle()
    both = Inbound(provider_id="in-2", address="c1@example.org", aliases=("id@example.org",), text="It is me")
    await world.call_back(both)
    await world.settle()
    assert await world.sql("SELECT address, contact, unread FROM conversations") == [("c1@example.org", 1, 2)]
    assert ("c1@example.org",) in await world.sql("SELECT address FROM opt_outs WHERE address IS NOT NULL")
    await world.call_back(
        Inbound(provider_id="in-3", address="id@example.org", text="By my id alone"),
        Inbound(provider_id="in-4", address="c1@example.org", text="By my address alone"),
        Inbound(provider_id="in-5", address="id@example.org", aliases=("third@example.org",), text="By a third"),
        Inbound(provider_id="in-6", address="third@example.org", text="By the third alone"),
    )
    await world.settle()
    assert await world.sql("SELECT address, contact, unread FROM conversations") == [("c1@example.org", 1, 6)]
    action = await world.create(NOW)
    assert await world.states(action) == {"skipped": 1}


async def test_a_wish_under_another_id_holds_for_the_address_that_is_written_to(world: World) -> None:
    await world.contacts(2)
    await world.call_back(
        Inbound(provider_id="in-1", address="c1@example.org", aliases=("id1@example.org",), text="Hi"),
    )
    action = await world.create(NOW)
    second = next(message.ref for message in world.provider.sent if message.to == "c2@example.org")
    await world.call_back(
        Consent(address="id1@example.org", wish="out", source="provider"),
        Consent(address="id2@example.org", wish="out", source="provider", ref=second),
    )
    await world.settle()
    assert await world.states(action) == {"handed_over": 2}
    assert await world.sql("SELECT address FROM opt_outs WHERE address IS NOT NULL ORDER BY address") == [
        ("c1@example.org",),
        ("c2@example.org",),
    ]
    assert await world.states(await world.create(NOW)) == {"skipped": 2}


async def test_who_left_under_one_id_is_not_written_to_under_another(world: World) -> None:
    await world.contacts(1, email="id@example.org")
    await world.call_back(
        Inbound(provider_id="in-1", address="number@example.org", aliases=("id@example.org",), text="Enough"),
        Consent(address="number@example.org", wish="out", source="provider", category="marketing"),
    )
    await world.settle()
    assert await world.states(await world.create(NOW)) == {"handed_over": 1}
    await world.call_back(Consent(address="number@example.org", wish="out", source="provider"))
    await world.settle()
    assert await world.states(await world.create(NOW)) == {"skipped": 1}


async def test_a_message_is_as_old_as_its_provider_says_and_never_of_the_future(world: World) -> None:
    now = world.clock.now()
    for id, at in (("in-1", now - timedelta(hours=3)), ("in-2", now + timedelta(hours=3)), ("in-3", None)):
        await world.call_back(Inbound(provider_id=id, address="c1@example.org", text="Hi", at=at))
    await world.settle()
    rows = await world.sql("SELECT created_at FROM messages WHERE direction = 1 ORDER BY id")
    ages = [(to_micros(now) - at) // 3_600_000_000 for (at,) in rows]
    assert ages == [3, 0, 0]


async def test_a_wish_to_leave_holds_for_the_address_and_for_its_only_contact(world: World) -> None:
    await world.contacts(1)
    await world.contacts(2, email="shared@example.org")
    await world.call_back(
        Consent(address="c1@example.org", wish="out", source="provider"),
        Consent(address="shared@example.org", wish="out", source="provider"),
    )
    await world.settle()
    assert await world.sql("SELECT address, contact FROM opt_outs ORDER BY id") == [
        ("c1@example.org", None),
        (None, 1),
        ("shared@example.org", None),
    ]
    await world.change("UPDATE contacts SET email = 'new@example.org', updated_at = updated_at + 1 WHERE id = 1")
    action = await world.create(NOW)
    assert await world.states(action) == {"skipped": 3}


async def test_a_wish_to_come_back_lifts_the_opt_out_and_the_ledger_keeps_both(world: World) -> None:
    await world.contacts(1)
    await world.call_back(Consent(address="c1@example.org", wish="out", source="provider"))
    await world.call_back(Consent(address="c1@example.org", wish="out", source="provider"))
    await world.call_back(Consent(address="c1@example.org", wish="in", source="provider"))
    await world.settle()
    assert await world.sql("SELECT 1 FROM opt_outs") == []
    assert await world.sql("SELECT wish FROM consent_ledger ORDER BY seq") == [("out",), ("in",)]


async def test_a_complaint_that_names_only_the_message_opts_its_address_out(world: World) -> None:
    action, (ref,) = await send(world, 1)
    await world.call_back(Consent(address="", wish="out", source="complaint", ref=ref))
    await world.settle()
    assert await world.sql("SELECT address, source, message FROM opt_outs WHERE address IS NOT NULL") == [
        ("c1@example.org", "complaint", _id(ref))
    ]
    assert await world.states(action) == {"handed_over": 1}


async def test_hostile_events_are_made_fit_or_left_out(world: World) -> None:
    await world.call_back(
        Inbound(provider_id="x" * 600, address="c1@example.org", text="an id of no provider"),
        Inbound(provider_id="in-1", address="", text="from nobody"),
        Inbound(provider_id="in-2", address="odd\x00\ud800@example.org", text="\ud83d half \x00", name="\ud800"),
        Receipt(status=Status.READ, provider_ids=("\ud800", "")),
        Consent(address="", wish="out", source="provider"),
    )
    await world.settle()
    rows = await world.sql("SELECT address, content ->> '$.body' FROM messages")
    assert rows == [("odd\ufffd\ufffd@example.org", "\ufffd half \ufffd")]
    assert await world.sql("SELECT state FROM callbacks") == [(1,)]


def _ref(message: int) -> str:
    return format_id("msg", message)


def _id(ref: str) -> MessageId | None:
    number = parse_id("msg", ref)
    return None if number is None else MessageId(number)


async def test_forged_callbacks_are_told_of_once_a_minute_with_their_number(world: World) -> None:
    with capture_logs() as logs:
        for _ in range(50):
            assert await world.call_back(body=b"forged") is None
        world.clock.advance(timedelta(minutes=1))
        assert await world.call_back(body=b"forged") is None
    assert [line["refused"] for line in logs if line["event"] == "callback_refused"] == [1, 50]
