"""The simulated Kannel, and the adapter over the daemon's HTTP client against it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest

from gateway import Accepted, Event, Inbound, Misconfigured, Receipt, Rejected, Retry, Status, Unknown
from gateway.outbound.client import HttpClient
from gateway.testing.doubles import make_message, make_tools
from gateway.testing.kannel_simulator import (
    Fate,
    Garbage,
    Hang,
    KannelSimulator,
    ReceiptTrouble,
    Refuse,
    ServerError,
    Throttle,
)
from gateway.validation import convert
from gateway_sms.kannel import Kannel
from gateway_sms.settings import KannelSettings
from tests.plugins.sms.cases import CALLBACK_URL, PASSWORD, PERSON, SECRET
from tests.plugins.twilio.receiver import Receiver

OTHER = "+14155550199"


@pytest.fixture
async def door() -> AsyncIterator[Receiver]:
    async with Receiver() as running:
        yield running


@pytest.fixture
async def simulator(door: Receiver) -> AsyncIterator[KannelSimulator]:
    inbound = f"{CALLBACK_URL}/{SECRET}/mo"
    async with KannelSimulator(password=PASSWORD, callback_base=door.url, inbound_url=inbound) as running:
        yield running


@pytest.fixture
async def kannel(simulator: KannelSimulator) -> AsyncIterator[Kannel]:
    http = HttpClient(connections=8)
    settings = {"url": simulator.url, "username": "dripgate", "password": PASSWORD, "secret": SECRET, "from": "13013"}
    yield Kannel(convert(settings, KannelSettings), make_tools(http=http, callback_url=CALLBACK_URL))
    await http.close()


async def events(kannel: Kannel, door: Receiver) -> Sequence[Event]:
    """What the adapter reads from everything that was called back."""
    read: list[Event] = []
    for request in door.requests:
        genuine = type(request)(
            method=request.method, url=request.url, tail=f"/{request.tail}", query=request.query,
            headers=request.headers, body=request.body,
        )  # fmt: skip
        assert await kannel.authenticate(genuine) is True
        read += kannel.parse(genuine)
    return read


async def test_a_message_is_taken_and_reported_under_our_reference(
    kannel: Kannel, simulator: KannelSimulator, door: Receiver
) -> None:
    message = make_message(PERSON, "Grüße & 100% 🙏")
    assert await kannel.send(message) == Accepted()
    await simulator.drained()
    (taken,) = simulator.record
    assert (taken.to, taken.text, taken.coding, taken.sender) == (PERSON, "Grüße & 100% 🙏", "2", "13013")
    receipts = [event for event in await events(kannel, door) if isinstance(event, Receipt)]
    assert {(one.ref, one.status) for one in receipts} == {
        (message.ref, Status.SENT),
        (message.ref, Status.DELIVERED),
    }


async def test_only_the_reports_that_were_asked_for_come(simulator: KannelSimulator, door: Receiver) -> None:
    http = HttpClient(connections=8)
    settings = {"url": simulator.url, "username": "dripgate", "password": PASSWORD, "secret": SECRET, "dlr_mask": 2}
    kannel = Kannel(convert(settings, KannelSettings), make_tools(http=http, callback_url=CALLBACK_URL))
    await kannel.send(make_message(PERSON, "Hi"))
    await simulator.drained()
    assert door.requests == []
    simulator.fates = [Fate(status="undelivered")]
    await kannel.send(make_message(PERSON, "Hi"))
    await simulator.drained()
    assert [event.status for event in await events(kannel, door) if isinstance(event, Receipt)] == [Status.UNDELIVERED]
    await http.close()


async def test_what_people_write_arrives_in_any_charset_and_is_answered_with_nothing(
    kannel: Kannel, simulator: KannelSimulator, door: Receiver
) -> None:
    assert await simulator.reply(PERSON, "STOP") == 200
    assert await simulator.reply(PERSON, "Привет 100%", charset="UTF-16BE") == 200
    read = await events(kannel, door)
    assert [(event.address, event.text) for event in read if isinstance(event, Inbound)] == [
        (PERSON, "STOP"),
        (PERSON, "Привет 100%"),
    ]
    assert simulator.replies_sent == []


@pytest.mark.parametrize(
    ("fault", "outcome", "taken"),
    [
        (Throttle(), Retry, 0),
        (ServerError(), Unknown, 0),
        (ServerError(accepted=True), Unknown, 1),
        (Refuse(code=0, status=403, message="Not routable. Do not try again."), Rejected, 0),
        (Garbage(kind="html"), Unknown, 0),
        (Garbage(kind="empty", accepted=True), Unknown, 1),
        (Garbage(kind="huge"), Unknown, 0),
        (Garbage(kind="redirect"), Unknown, 0),
        (Garbage(kind="wrong_type"), Unknown, 0),
    ],
)
async def test_what_goes_wrong_is_told_apart(
    kannel: Kannel, simulator: KannelSimulator, fault: Throttle, outcome: type[object], taken: int
) -> None:
    simulator.faults = [fault]
    assert isinstance(await kannel.send(make_message(PERSON, "Hi")), outcome)
    assert len(simulator.record) == taken


async def test_a_fault_may_be_for_some_numbers_and_some_times(kannel: Kannel, simulator: KannelSimulator) -> None:
    simulator.faults = [Throttle(to=OTHER, times=1)]
    assert isinstance(await kannel.send(make_message(PERSON, "Hi")), Accepted)
    assert isinstance(await kannel.send(make_message(OTHER, "Hi")), Retry)
    assert isinstance(await kannel.send(make_message(OTHER, "Hi")), Accepted)


async def test_an_answer_that_never_comes_can_be_cut(kannel: Kannel, simulator: KannelSimulator) -> None:
    simulator.faults = [Hang(accepted=True)]
    sending = asyncio.create_task(kannel.send(make_message(PERSON, "Hi")))
    await simulator.hanging.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert len(simulator.record) == 1


async def test_a_wrong_password_is_ours_to_repair_and_check_sees_it(kannel: Kannel, simulator: KannelSimulator) -> None:
    assert await kannel.check() is None
    simulator.users = {"dripgate": "another"}
    assert isinstance(await kannel.send(make_message(PERSON, "Hi")), Misconfigured)
    assert await kannel.check() is not None
    assert simulator.record == []


async def test_a_queued_message_is_taken(kannel: Kannel, simulator: KannelSimulator) -> None:
    simulator.link_is_up = False
    assert await kannel.send(make_message(PERSON, "Hi")) == Accepted()


async def test_reports_come_late_repeated_and_partly_not_at_all(
    kannel: Kannel, simulator: KannelSimulator, door: Receiver
) -> None:
    simulator.receipt_trouble = ReceiptTrouble(delayed=True, copies=3, shuffled=True)
    await kannel.send(make_message(PERSON, "Hi"))
    await simulator.drained()
    assert door.requests == []
    assert simulator.release_receipts() == 6
    await simulator.drained()
    read = await events(kannel, door)
    assert Counter(event.status for event in read if isinstance(event, Receipt)) == {
        Status.SENT: 3,
        Status.DELIVERED: 3,
    }
    simulator.receipt_trouble = ReceiptTrouble(lost=1.0)
    await kannel.send(make_message(PERSON, "Hi"))
    await simulator.drained()
    assert len(door.requests) == 6


async def test_it_calls_nobody_beyond_this_machine() -> None:
    async with KannelSimulator(inbound_url="https://gateway.example/callbacks/texts/x/mo") as simulator:
        assert await simulator.reply(PERSON, "Hi") is None
    with pytest.raises(ValueError, match="this machine only"):
        KannelSimulator(callback_base="https://gateway.example")
