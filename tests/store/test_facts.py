"""What is counted of a person's messages, and how a contact stands on a channel."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest

from gateway.contract import Channel
from gateway.core.ids import ContactKey, OrgId
from gateway.core.states import MessageStatus
from gateway.store.codec import to_micros
from gateway.store.database import Database
from gateway.store.facts import FactStore, History, SentCounts
from gateway.testing.clock import FakeClock
from tests.explaining import Explaining

ADA = ContactKey(1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SMS = Channel(name="sms", title="SMS", normalise=lambda address, region: address, address_from="phone")


class Log:
    """Messages, written as they lie in the log."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        self._database = database
        self._clock = clock
        self._ids = itertools.count(1)
        self.facts = FactStore(database)

    async def add(self, ago: timedelta, *, accepted: bool = True, **columns: Any) -> None:
        at = to_micros(self._clock.now() - ago)
        row = {
            "id": next(self._ids),
            "org": 1,
            "direction": 0,
            "channel": "sms",
            "sender": 1,
            "address": "+15551230000",
            "contact": ADA,
            "source": 0,
            "status": MessageStatus.ACCEPTED,
            "action": 7,
            "created_at": at,
            "accepted_at": at if accepted else None,
        } | columns
        statement = f"INSERT INTO messages ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"
        await self._database.write(lambda conn: conn.execute(statement, tuple(row.values())))

    async def counts(self, contact: ContactKey | None = ADA, address: str = "+15551230000") -> SentCounts:
        return (await self.history(contact, address)).sent

    async def history(self, contact: ContactKey | None = ADA, address: str = "+15551230000") -> History:
        (history,) = await self.facts.histories(OrgId(1), "sms", [(contact, address)], self._clock.now())
        return history


@pytest.fixture
async def log(database: Database, clock: FakeClock, org: OrgId) -> Log:
    await database.write(
        lambda conn: conn.executemany(
            "INSERT INTO contacts (id, org, public_id, phone, time_zone, created_at, updated_at, seen_at) "
            "VALUES (?, 1, ?, ?, 'Africa/Lagos', 0, 0, 0)",
            [(1, "ada", "+15551230000"), (2, "bob", None)],
        )
    )
    return Log(database, clock)


async def test_messages_of_a_day_and_of_a_week_are_counted_on_all_channels_and_on_one(log: Log) -> None:
    await log.add(HOUR)
    await log.add(2 * HOUR, channel="email", address="ada@example.org")
    await log.add(3 * DAY)
    await log.add(8 * DAY)
    assert await log.counts() == SentCounts(day=2, week=3, day_on_channel=1, week_on_channel=2)


async def test_a_day_is_24_hours_to_the_microsecond(log: Log) -> None:
    await log.add(DAY)
    assert (await log.counts()).day == 0
    await log.add(DAY - timedelta(microseconds=1))
    assert (await log.counts()).day == 1


@pytest.mark.parametrize(
    ("columns", "counted"),
    [
        ({"status": MessageStatus.SENDING}, 1),
        ({"status": MessageStatus.UNKNOWN}, 1),
        ({"status": MessageStatus.PENDING, "action": None, "source": 1}, 1),  # a single one that was promised
        ({"status": MessageStatus.PENDING}, 0),  # the one that is judged, before a further attempt
        ({"status": MessageStatus.FAILED}, 0),
        ({"status": MessageStatus.RECEIVED, "direction": 1, "accepted": True}, 0),
        ({"status": MessageStatus.DELIVERED, "accepted": True}, 1),
        ({"status": MessageStatus.UNDELIVERED, "accepted": True}, 1),  # it went
        ({"org": 2, "accepted": True}, 0),
    ],
)
async def test_what_went_or_is_about_to_go_counts(log: Log, columns: dict[str, Any], counted: int) -> None:
    await log.add(HOUR, **{"accepted": False, **columns})
    assert (await log.counts()).day == counted


async def test_a_contact_counts_over_its_addresses_and_a_bare_address_by_itself(log: Log) -> None:
    await log.add(HOUR, address="+15551239999")
    await log.add(HOUR, contact=None)
    assert (await log.counts()).day == 1
    assert (await log.counts(contact=None)).day == 1
    assert (await log.counts(contact=None, address="+15551239999")).day == 0
    assert (await log.counts(contact=ContactKey(2))).day == 0


async def test_the_last_inbound_message_is_found(log: Log, clock: FakeClock) -> None:
    assert await log.history() == History()
    for ago in (3 * DAY, 2 * HOUR, 9 * DAY):
        await log.add(ago, accepted=False, direction=1, status=MessageStatus.RECEIVED)
    await log.add(HOUR)
    assert (await log.history()).last_inbound_at == clock.now() - 2 * HOUR


async def test_many_are_answered_in_the_order_of_the_question(log: Log, clock: FakeClock) -> None:
    await log.add(HOUR)
    await log.add(HOUR)
    await log.add(HOUR, contact=None, address='"odd"@example.org')
    people = [(ContactKey(2), ""), (None, '"odd"@example.org'), (ADA, "+15551230000"), (None, "+15551230000")]
    histories = await log.facts.histories(OrgId(1), "sms", people, clock.now())
    assert [history.sent.day for history in histories] == [0, 1, 2, 0]
    assert await log.facts.histories(OrgId(1), "sms", [], clock.now()) == []


async def test_counting_walks_through_no_more_than_the_messages_of_the_person(log: Log, database: Database) -> None:
    plans: dict[str, list[str]] = {}

    class Explained:
        """The database, with its plans."""

        async def read(self, query: Any) -> Any:
            return await database.read(lambda conn: query(Explaining(conn, plans)))

    stand_in: Any = Explained()
    people = [(ADA, "+15551230000"), (None, "+15551230000")]
    await FactStore(stand_in).histories(OrgId(1), "sms", people, FakeClock().now())
    (lines,) = plans.values()
    of_messages = [line for line in lines if "messages" in line]
    assert ["messages_contact" in line for line in of_messages] == [True, False]
    assert "USING INDEX messages_stranger (org=? AND address=?)" in of_messages[1]


async def test_how_a_contact_stands_is_read_for_one_channel_and_category(log: Log, database: Database) -> None:
    await database.write(
        lambda conn: conn.executemany(
            "INSERT INTO opt_outs (id, org, channel, address, contact, category, source, created_at) "
            "VALUES (?, 1, ?, ?, ?, ?, 'api', ?)",
            [
                (1, "sms", None, 1, "news", 5),
                (2, "email", None, 1, "all", 6),
                (3, "sms", "+15551239999", None, "all", 7),
            ],
        )
    )
    free = await log.facts.standing(OrgId(1), SMS, "ada", "general")
    assert free is not None
    assert (free.address, free.opted_out, free.opt_outs, free.time_zone) == ("+15551230000", False, (), "Africa/Lagos")
    out = await log.facts.standing(OrgId(1), SMS, "ada", "news")
    assert out is not None
    assert (out.opted_out, [each.id for each in out.opt_outs]) == (True, [1])
    nowhere = await log.facts.standing(OrgId(1), SMS, "bob", "news")
    assert nowhere is not None
    assert (nowhere.address, nowhere.opted_out) == (None, False)
    assert await log.facts.standing(OrgId(2), SMS, "ada", "news") is None
