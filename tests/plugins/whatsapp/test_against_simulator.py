"""The Cloud API adapter over the daemon's HTTP client against a simulated Meta: two readings of the same pages."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest

from gateway import (
    Accepted,
    CallbackAnswer,
    Consent,
    Event,
    Inbound,
    Media,
    Misconfigured,
    Outcome,
    Receipt,
    Rejected,
    Retry,
    Status,
    TemplateChange,
    TemplateUse,
    Unknown,
)
from gateway.outbound.client import HttpClient
from gateway.testing.doubles import make_message, make_tools
from gateway.testing.meta_simulator import (
    Fate,
    Garbage,
    Hang,
    MetaSimulator,
    ReceiptTrouble,
    Refuse,
    ServerError,
    Throttle,
)
from gateway.testing.provider_faults import Fault
from gateway.validation import convert
from gateway_whatsapp.cloud import WhatsAppCloud
from gateway_whatsapp.settings import CloudSettings
from tests.plugins.twilio.receiver import Receiver
from tests.plugins.whatsapp.harness import CALLBACK_URL

PERSON = "+14155550100"
OTHER = "+14155550199"


@pytest.fixture
async def door() -> AsyncIterator[Receiver]:
    async with Receiver() as running:
        yield running


@pytest.fixture
async def meta(door: Receiver) -> AsyncIterator[MetaSimulator]:
    async with MetaSimulator(callback_url=CALLBACK_URL, callback_base=door.url) as running:
        yield running


@pytest.fixture
async def cloud(meta: MetaSimulator) -> AsyncIterator[WhatsAppCloud]:
    http = HttpClient(connections=8)
    yield WhatsAppCloud(convert(meta.settings, CloudSettings), make_tools(http=http, callback_url=CALLBACK_URL))
    await http.close()


async def events(cloud: WhatsAppCloud, door: Receiver) -> Sequence[Event]:
    """What the adapter reads from everything that was called back."""
    read: list[Event] = []
    for request in door.requests:
        assert await cloud.authenticate(request) is True
        read += cloud.parse(request)
    return read


def use(name: str, parameters: dict[str, str] | None = None) -> TemplateUse:
    return TemplateUse(name, "en_US", parameters or {})


async def test_a_template_is_taken_and_its_statuses_come_under_our_reference(
    cloud: WhatsAppCloud, meta: MetaSimulator, door: Receiver
) -> None:
    meta.add_template("june", "Hi {{1}}, see you at {{2}}.")
    message = make_message(PERSON, None, template=use("june", {"1": "Ada Ł", "2": "ten"}))
    outcome = await cloud.send(message)
    await meta.drained()
    (taken,) = meta.record
    assert outcome == Accepted((taken.wamid,))
    assert (taken.to, taken.text, taken.template) == ("14155550100", "Hi Ada Ł, see you at ten.", "june")
    receipts = [event for event in await events(cloud, door) if isinstance(event, Receipt)]
    assert [(one.ref, one.status, one.provider_ids) for one in receipts] == [
        (message.ref, Status.SENT, (taken.wamid,)),
        (message.ref, Status.DELIVERED, (taken.wamid,)),
    ]
    assert len(door.requests) == 1, "both in one batch"


async def test_named_parameters_a_picture_and_a_button_arrive_where_they_belong(
    cloud: WhatsAppCloud, meta: MetaSimulator
) -> None:
    button = {"type": "URL", "text": "Open", "url": "https://grace.example/{{1}}"}
    meta.add_template("visit", "Hi {{first_name}}", header="IMAGE", named=True, buttons=[button])
    (listed,) = await cloud.templates()
    assert (listed.parameters, listed.media, listed.status) == (("first_name", "button.0"), "image", "approved")
    chosen = TemplateUse(listed.name, listed.language, {"first_name": "Ada", "button.0": "june"}, listed.details)
    picture = (Media("https://files.example/a.png", "image/png"),)
    outcome = await cloud.send(make_message(PERSON, None, template=chosen, media=picture))
    assert isinstance(outcome, Accepted)
    (taken,) = meta.record
    assert taken.text == "Hi Ada"
    components = taken.fields["template"]["components"]
    assert [part["type"] for part in components] == ["header", "body", "button"]
    assert components[2] == {
        "type": "button",
        "sub_type": "url",
        "index": "0",
        "parameters": [{"type": "text", "text": "june"}],
    }


async def test_all_templates_are_listed_page_by_page(cloud: WhatsAppCloud, meta: MetaSimulator) -> None:
    for number in range(130):
        meta.add_template(f"t{number}", "Hi", status="PAUSED" if number % 2 else "APPROVED")
    listed = await cloud.templates()
    assert Counter(one.status for one in listed) == {"approved": 65, "paused": 65}


@pytest.mark.parametrize(
    ("status", "outcome"), [("PAUSED", Misconfigured), ("DISABLED", Misconfigured), ("REJECTED", Misconfigured)]
)
async def test_a_template_that_cannot_be_sent_pauses_the_action(
    cloud: WhatsAppCloud, meta: MetaSimulator, status: str, outcome: type[Outcome]
) -> None:
    meta.add_template("june", "Hi", status=status)
    answer = await cloud.send(make_message(PERSON, None, template=use("june")))
    assert isinstance(answer, outcome)
    assert answer.scope == "action"  # type: ignore[union-attr]


async def test_wrong_parameters_fail_the_recipient(cloud: WhatsAppCloud, meta: MetaSimulator) -> None:
    meta.add_template("june", "Hi {{1}}")
    answer = await cloud.send(make_message(PERSON, None, template=use("june")))
    assert isinstance(answer, Rejected)
    assert answer.provider_code == "132000"


async def test_a_free_text_outside_the_window_fails_in_a_status(
    cloud: WhatsAppCloud, meta: MetaSimulator, door: Receiver
) -> None:
    assert isinstance(await cloud.send(make_message(PERSON, "Hi")), Accepted)
    await meta.drained()
    (receipt,) = await events(cloud, door)
    assert isinstance(receipt, Receipt)
    assert (receipt.status, receipt.provider_code) == (Status.FAILED, "131047")
    door.requests.clear()
    assert await meta.reply(PERSON, "Hello?") == 200
    assert isinstance(await cloud.send(make_message(PERSON, "Hi")), Accepted)
    await meta.drained()
    inbound, *receipts = await events(cloud, door)
    assert isinstance(inbound, Inbound)
    assert (inbound.address.lstrip("+"), inbound.text) == (PERSON[1:], "Hello?")
    assert [one.status for one in receipts if isinstance(one, Receipt)] == [Status.SENT, Status.DELIVERED]


async def test_what_people_do_is_read(cloud: WhatsAppCloud, meta: MetaSimulator, door: Receiver) -> None:
    await meta.reply(PERSON, "Does it come in grün? 🙏", quotes="wamid.X", name="Ada")
    await meta.press_button(PERSON, "STOP_PROMO", "Stop promotions")
    await meta.send_media(PERSON, "image", id="991", mime_type="image/jpeg", sha256="x", caption="Look")
    await meta.prefer(PERSON, "stop")
    text, button, picture, wish = await events(cloud, door)
    assert isinstance(text, Inbound)
    assert (text.text, text.quotes, text.name) == ("Does it come in grün? 🙏", ("wamid.X",), "Ada")
    assert text.aliases, "the business-scoped user id"
    assert isinstance(button, Inbound)
    assert (button.button, button.text) == ("STOP_PROMO", "Stop promotions")
    assert isinstance(picture, Inbound)
    assert (picture.text, picture.media[0].content_type) == ("Look", "image/jpeg")
    assert isinstance(wish, Consent)
    assert (wish.wish, wish.category) == ("out", "marketing")


async def test_who_stopped_marketing_is_out_when_written_to(
    cloud: WhatsAppCloud, meta: MetaSimulator, door: Receiver
) -> None:
    meta.add_template("june", "Hi")
    meta.stopped_marketing.add(PERSON[1:])
    await cloud.send(make_message(PERSON, None, template=use("june")))
    await meta.drained()
    read = await events(cloud, door)
    assert [type(event) for event in read] == [Receipt, Consent]


async def test_a_template_s_news_is_read(cloud: WhatsAppCloud, meta: MetaSimulator, door: Receiver) -> None:
    template = meta.add_template("june", "Hi")
    assert await meta.change_template(template, "PAUSED") == 200
    (change,) = await events(cloud, door)
    assert isinstance(change, TemplateChange)
    assert (change.name, change.language, change.status) == ("june", "en_US", "paused")


async def test_the_webhook_is_set_up_by_a_handshake(cloud: WhatsAppCloud, meta: MetaSimulator, door: Receiver) -> None:
    assert not await meta.subscribe(), "this door does not know the token"
    (request,) = door.requests
    answer = await cloud.authenticate(request)
    assert isinstance(answer, CallbackAnswer)
    assert (answer.status, answer.body) == (200, b"1158201444")


@pytest.mark.parametrize(
    ("fault", "outcome", "taken"),
    [
        (Throttle(), Retry, 0),
        (Refuse(code=131056, message="pair"), Retry, 0),
        (Refuse(code=80007, message="limit"), Retry, 0),
        (Refuse(code=131026, message="not on WhatsApp"), Rejected, 0),
        (Refuse(code=131031, message="locked"), Misconfigured, 0),
        (ServerError(), Unknown, 0),
        (ServerError(accepted=True), Unknown, 1),
        (Garbage(kind="html"), Unknown, 0),
        (Garbage(kind="empty", accepted=True), Unknown, 1),
        (Garbage(kind="huge"), Unknown, 0),
        (Garbage(kind="redirect"), Unknown, 0),
        (Garbage(kind="wrong_type"), Unknown, 0),
    ],
)
async def test_what_goes_wrong_is_told_apart(
    cloud: WhatsAppCloud, meta: MetaSimulator, fault: Fault, outcome: type[object], taken: int
) -> None:
    meta.add_template("june", "Hi")
    meta.faults = [fault]
    assert isinstance(await cloud.send(make_message(PERSON, None, template=use("june"))), outcome)
    assert len(meta.record) == taken


async def test_an_expired_token_is_ours_to_repair_and_check_sees_it(cloud: WhatsAppCloud, meta: MetaSimulator) -> None:
    assert await cloud.check() is None
    meta.access_token = "another"
    assert isinstance(await cloud.send(make_message(PERSON, "Hi")), Misconfigured)
    assert await cloud.check() is not None


async def test_an_answer_that_never_comes_can_be_cut(cloud: WhatsAppCloud, meta: MetaSimulator) -> None:
    meta.faults = [Hang(accepted=True)]
    sending = asyncio.create_task(cloud.send(make_message(PERSON, "Hi")))
    await meta.hanging.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert len(meta.record) == 1


async def test_statuses_come_late_repeated_shuffled_and_some_people_fail(
    cloud: WhatsAppCloud, meta: MetaSimulator, door: Receiver
) -> None:
    meta.add_template("june", "Hi")
    meta.fates = [Fate(to=OTHER[1:], status="failed", error_code=131026)]
    meta.receipt_trouble = ReceiptTrouble(delayed=True, copies=3, shuffled=True)
    for to in (PERSON, OTHER):
        await cloud.send(make_message(to, None, template=use("june")))
    await meta.drained()
    assert door.requests == []
    assert meta.release_receipts() == 9
    await meta.drained()
    read = [event for event in await events(cloud, door) if isinstance(event, Receipt)]
    assert Counter(event.status for event in read) == {Status.SENT: 3, Status.DELIVERED: 3, Status.FAILED: 3}


async def test_a_webhook_that_is_not_answered_200_comes_again(
    cloud: WhatsAppCloud, meta: MetaSimulator, door: Receiver
) -> None:
    door.answers = [503, 503, 200]
    assert await meta.reply(PERSON, "Hi") == 200
    assert meta.answers == [503, 503, 200]
    assert len(set(await events(cloud, door))) == 1


async def test_it_posts_to_nobody_beyond_this_machine() -> None:
    async with MetaSimulator(callback_url=CALLBACK_URL) as meta:
        assert await meta.reply(PERSON, "Hi") is None
        assert not await meta.subscribe()
