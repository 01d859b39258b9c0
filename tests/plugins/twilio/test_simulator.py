"""The adapters against the simulator, through the HTTP client that the daemon gives them."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections import Counter
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from gateway import (
    Absent,
    Accepted,
    CannotTell,
    Code,
    Event,
    Found,
    Inbound,
    Media,
    Misconfigured,
    NotSent,
    OptedOut,
    Receipt,
    Rejected,
    Retry,
    Status,
    TemplateUse,
    Unknown,
)
from gateway.outbound.client import HttpClient
from gateway.testing.provider_faults import Troublemaker
from gateway.testing.twilio_simulator import (
    Fate,
    Garbage,
    Hang,
    ReceiptTrouble,
    Refuse,
    ServerError,
    Throttle,
    TwilioSimulator,
    serve,
)
from gateway_twilio.adapter import TwilioAdapter
from tests.plugins.twilio.harness import (
    ACCOUNT,
    CALLBACK_URL,
    KEY,
    NOW,
    NUMBER,
    PERSON,
    SERVICE,
    TOKEN,
    make_message,
    question,
    sms,
    whatsapp,
)
from tests.plugins.twilio.receiver import Receiver

PATIENCE_SECONDS = 20.0


def sms_at(twilio: TwilioSimulator, http: HttpClient, **more: Any) -> TwilioAdapter[Any]:
    return sms(http, api_url=twilio.url, content_url=twilio.url, **more)


def whatsapp_at(twilio: TwilioSimulator, http: HttpClient, **more: Any) -> TwilioAdapter[Any]:
    return whatsapp(http, api_url=twilio.url, content_url=twilio.url, **more)


async def events(adapter: TwilioAdapter[Any], door: Receiver) -> list[Event]:
    """What came in, every callback of it genuine."""
    for request in door.requests:
        assert await adapter.authenticate(request) is True
    return [event for request in door.requests for event in adapter.parse(request)]


def statuses(found: list[Event]) -> Counter[Status]:
    return Counter(event.status for event in found if isinstance(event, Receipt))


async def test_a_message_is_taken_and_its_receipts_name_it(
    twilio: TwilioSimulator, door: Receiver, http: HttpClient
) -> None:
    adapter = sms_at(twilio, http)
    outcome = await adapter.send(make_message(PERSON, "Hello \N{GRINNING FACE} & caf\xe9 + 100%", ref="msg_7"))
    (kept,) = twilio.record
    assert outcome == Accepted((kept.sid,))
    assert (kept.to, kept.body, kept.ref) == (PERSON, "Hello \N{GRINNING FACE} & caf\xe9 + 100%", "msg_7")
    await twilio.drained()
    found = await events(adapter, door)
    assert statuses(found) == {Status.SENT: 1, Status.DELIVERED: 1}
    assert {(event.ref, event.provider_ids) for event in found if isinstance(event, Receipt)} == {
        ("msg_7", (kept.sid,))
    }


async def test_an_mms_has_an_id_of_its_own_kind(twilio: TwilioSimulator, http: HttpClient) -> None:
    media = (Media(url="https://files.example/a.jpg"), Media(url="https://files.example/b.jpg"))
    outcome = await sms_at(twilio, http).send(make_message(PERSON, media=media))
    assert isinstance(outcome, Accepted)
    assert outcome.provider_ids[0].startswith("MM")
    assert twilio.record[0].media == ("https://files.example/a.jpg", "https://files.example/b.jpg")


async def test_a_messaging_service_chooses_the_sender(
    twilio: TwilioSimulator, door: Receiver, http: HttpClient
) -> None:
    adapter = sms_at(twilio, http, messaging_service_sid=SERVICE, own=None)
    assert isinstance(await adapter.send(make_message(PERSON)), Accepted)
    assert (twilio.record[0].sender, twilio.record[0].service_sid) == (None, SERVICE)
    await twilio.drained()
    assert statuses(await events(adapter, door)) == {Status.SENT: 1, Status.DELIVERED: 1}


@pytest.mark.parametrize(
    ("to", "outcome"),
    [
        ("+15005550001", Rejected),
        ("+15005550002", Rejected),
        ("+15005550003", Rejected),
        ("+15005550004", OptedOut),
        ("+15005550009", Rejected),
        ("12", Rejected),
    ],
)
async def test_twilio_s_test_numbers_are_refused_as_there(
    twilio: TwilioSimulator, http: HttpClient, to: str, outcome: type
) -> None:
    assert isinstance(await sms_at(twilio, http).send(make_message(to)), outcome)
    assert twilio.record == []


@pytest.mark.parametrize("sender", ["+15005550001", "+15005550007"])
async def test_a_wrong_number_of_ours_is_ours_to_repair(twilio: TwilioSimulator, http: HttpClient, sender: str) -> None:
    outcome = await sms_at(twilio, http, own=sender).send(make_message(PERSON))
    assert isinstance(outcome, Misconfigured)


async def test_a_full_queue_makes_the_sender_wait(twilio: TwilioSimulator, http: HttpClient) -> None:
    outcome = await sms_at(twilio, http, own="+15005550008").send(make_message(PERSON))
    assert isinstance(outcome, Retry)
    assert outcome.scope == "sender"


async def test_credentials_expire_and_recover(twilio: TwilioSimulator, http: HttpClient) -> None:
    adapter = sms_at(twilio, http)
    assert await adapter.check() is None
    twilio.credentials = {}
    assert isinstance(await adapter.send(make_message(PERSON)), Misconfigured)
    assert "HTTP 401" in (await adapter.check() or "")
    twilio.credentials = {ACCOUNT: TOKEN}
    assert await adapter.check() is None
    assert isinstance(await adapter.send(make_message(PERSON)), Accepted)


async def test_an_api_key_sends_and_is_checked(twilio: TwilioSimulator, http: HttpClient) -> None:
    twilio.credentials = {KEY: "key's secret"}
    adapter = sms_at(twilio, http, api_key_sid=KEY, api_key_secret="key's secret")
    assert await adapter.check() is None
    assert isinstance(await adapter.send(make_message(PERSON)), Accepted)


async def test_a_suspended_account_is_unwell(twilio: TwilioSimulator, http: HttpClient) -> None:
    twilio.account_status = "suspended"
    assert await sms_at(twilio, http).check() == "The Twilio account is suspended."


@pytest.mark.parametrize(("retry_after", "seconds"), [(None, 1), ("12", 12), ("soon", 1)])
async def test_throttling_is_certainly_not_sent(
    twilio: TwilioSimulator, http: HttpClient, retry_after: str | None, seconds: int
) -> None:
    twilio.faults = [Throttle(retry_after=retry_after, times=1)]
    outcome = await sms_at(twilio, http).send(make_message(PERSON))
    assert isinstance(outcome, Retry)
    assert (outcome.after, outcome.scope) == (timedelta(seconds=seconds), "sender")
    assert twilio.record == []
    assert isinstance(await sms_at(twilio, http).send(make_message(PERSON)), Accepted)


@pytest.mark.parametrize("accepted", [True, False])
async def test_an_answer_that_never_comes_is_found_out_by_a_look_up(
    twilio: TwilioSimulator, http: HttpClient, accepted: bool
) -> None:
    twilio.faults = [Hang(accepted=accepted)]
    adapter = sms_at(twilio, http)
    sending = asyncio.create_task(adapter.send(make_message(PERSON)))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await twilio.hanging.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    answer = await adapter.lookup(question())
    if accepted:
        assert isinstance(answer, Found)
        assert answer.provider_ids == (twilio.record[0].sid,)
        assert answer.receipt.status is Status.DELIVERED
    else:
        assert answer == Absent()


@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize("accepted", [True, False])
async def test_after_a_5xx_nobody_knows(twilio: TwilioSimulator, http: HttpClient, status: int, accepted: bool) -> None:
    twilio.faults = [ServerError(status=status, accepted=accepted)]
    assert isinstance(await sms_at(twilio, http).send(make_message(PERSON)), Unknown)
    assert len(twilio.record) == int(accepted)


@pytest.mark.parametrize("kind", ["html", "empty", "huge", "redirect", "wrong_type"])
async def test_garbage_says_nothing_about_the_message(twilio: TwilioSimulator, http: HttpClient, kind: Any) -> None:
    twilio.faults = [Garbage(kind=kind), Garbage(kind=kind, on="read")]
    adapter = whatsapp_at(twilio, http)
    assert isinstance(await adapter.send(make_message(PERSON)), Unknown)
    assert isinstance(await adapter.lookup(question()), CannotTell)
    assert isinstance(await adapter.lookup(question(None, "SM" + "0" * 32)), CannotTell)
    assert await adapter.check() is not None
    with pytest.raises(Exception, match="instead of its templates"):
        await adapter.templates()


async def test_a_scripted_refusal_is_one_of_twilio_s_errors(twilio: TwilioSimulator, http: HttpClient) -> None:
    twilio.faults = [Refuse(code=30007, to="+1415555*", first=2, times=1)]
    adapter = sms_at(twilio, http)
    outcomes = [await adapter.send(make_message(PERSON)) for _ in range(3)]
    assert [type(outcome) for outcome in outcomes] == [Accepted, Rejected, Accepted]


async def test_nothing_arrives_where_nobody_listens(http: HttpClient, unused_tcp_port: int) -> None:
    adapter = sms(http, api_url=f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(NotSent):
        await adapter.send(make_message(PERSON))


async def test_receipts_come_when_they_are_released_tripled_shuffled_and_partly_lost(
    twilio: TwilioSimulator, door: Receiver, http: HttpClient
) -> None:
    twilio.receipt_trouble = ReceiptTrouble(delayed=True, copies=3, shuffled=True, lost=0.25, seed=7)
    adapter = sms_at(twilio, http)
    for number in range(20):
        await adapter.send(make_message(PERSON, ref=f"msg_{number}"))
    await twilio.drained()
    assert door.requests == []
    released = twilio.release_receipts()
    await twilio.drained()
    assert 60 < released < 120
    assert len(door.requests) == released
    found = [event for event in await events(adapter, door) if isinstance(event, Receipt)]
    assert max(Counter((event.ref, event.status) for event in found).values()) == 3
    assert [event.ref for event in found] != sorted(str(event.ref) for event in found)
    assert twilio.release_receipts() == 0


async def test_the_same_seed_gives_the_same_trouble() -> None:
    trouble = ReceiptTrouble(copies=2, shuffled=True, lost=0.5, seed=3)
    left = Troublemaker(trouble).befall(range(100))
    assert left == Troublemaker(trouble).befall(range(100))
    assert left != Troublemaker(ReceiptTrouble(copies=2, shuffled=True, lost=0.5, seed=4)).befall(range(100))


async def test_no_receipts_at_all_if_none_are_wanted(twilio: TwilioSimulator, door: Receiver, http: HttpClient) -> None:
    twilio.callbacks = False
    await sms_at(twilio, http).send(make_message(PERSON))
    await sms_at(twilio, http, callback_url=None).send(make_message(PERSON))
    await twilio.drained()
    assert len(twilio.record) == 2
    assert door.requests == []


async def test_a_provider_that_never_confirms_says_so_when_it_is_asked(
    twilio: TwilioSimulator, door: Receiver, http: HttpClient
) -> None:
    twilio.steps = ()
    adapter = sms_at(twilio, http)
    outcome = await adapter.send(make_message(PERSON))
    assert isinstance(outcome, Accepted)
    answer = await adapter.lookup(question(None, *outcome.provider_ids))
    assert isinstance(answer, Found)
    assert answer.receipt.status is Status.ACCEPTED
    assert door.requests == []


async def test_some_recipients_have_another_fate(twilio: TwilioSimulator, door: Receiver, http: HttpClient) -> None:
    twilio.fates = [Fate(to="*99", status="undelivered", error_code=30003), Fate(to="*98", status="failed")]
    adapter = sms_at(twilio, http)
    outcomes = [await adapter.send(make_message(to)) for to in ("+14155550199", "+14155550198", PERSON)]
    await twilio.drained()
    found = await events(adapter, door)
    expected = {Status.SENT: 2, Status.UNDELIVERED: 1, Status.FAILED: 1, Status.DELIVERED: 1}
    assert statuses(found) == expected
    (unreachable,) = [event for event in found if isinstance(event, Receipt) and event.provider_code == "30003"]
    assert unreachable.code is Code.UNREACHABLE
    assert isinstance(outcomes[0], Accepted)
    answer = await adapter.lookup(question(None, *outcomes[0].provider_ids))
    assert isinstance(answer, Found)
    assert (answer.receipt.status, answer.receipt.provider_code) == (Status.UNDELIVERED, "30003")


async def test_callbacks_are_repeated_as_our_url_asks(
    twilio: TwilioSimulator, door: Receiver, http: HttpClient
) -> None:
    twilio.steps = ("delivered",)
    door.answers = [503, 400, 503, 200]
    await sms_at(twilio, http).send(make_message(PERSON))
    await twilio.drained()
    assert len(door.requests) == 4
    assert len({request.headers["i-twilio-idempotency-token"] for request in door.requests}) == 1
    assert (twilio.tally.posted, twilio.tally.delivered, twilio.tally.failed) == (4, 1, 0)


async def test_callbacks_are_given_up_in_the_end(twilio: TwilioSimulator, door: Receiver, http: HttpClient) -> None:
    twilio.steps = ("delivered",)
    door.answers = [500]
    await sms_at(twilio, http).send(make_message(PERSON))
    await twilio.drained()
    assert len(door.requests) == 6
    assert (twilio.tally.failed, twilio.tally.last_status) == (1, 500)


async def test_callbacks_that_nobody_took_are_posted_again_on_request_five_times_at_most(
    twilio: TwilioSimulator, door: Receiver, http: HttpClient
) -> None:
    twilio.steps = ("delivered",)
    door.answers = [500]
    await sms_at(twilio, http).send(make_message(PERSON))
    await twilio.drained()
    for _ in range(5):
        assert twilio.post_missed() == 1
        await twilio.drained()
    assert twilio.post_missed() == 0
    assert len(door.requests) == 6 * 6


async def test_a_slow_provider_has_taken_a_message_before_it_answers(twilio: TwilioSimulator, http: HttpClient) -> None:
    twilio.delays = (0.001, 3600.0)
    sending = asyncio.create_task(sms_at(twilio, http).send(make_message(PERSON)))
    async with asyncio.timeout(10):
        await twilio.received(1)
    assert not sending.done()
    sending.cancel()


async def test_without_overrides_a_refused_callback_is_not_repeated(twilio: TwilioSimulator, door: Receiver) -> None:
    door.answers = [500]
    received = await twilio.reply(PERSON, "Hello", to=NUMBER)
    assert received.status == 500
    assert len(door.requests) == 1


async def test_a_reply_comes_from_whom_it_says(twilio: TwilioSimulator, door: Receiver, http: HttpClient) -> None:
    adapter = sms_at(twilio, http)
    await adapter.send(make_message(PERSON))
    await twilio.drained()
    door.requests.clear()
    received = await twilio.reply(
        PERSON, "Ja, gern \N{GRINNING FACE}", media=[("https://api.twilio.com/m", "image/png")]
    )
    (event,) = await events(adapter, door)
    assert isinstance(event, Inbound)
    assert (event.provider_id, event.address, event.text) == (received.sid, PERSON, "Ja, gern \N{GRINNING FACE}")
    assert [one.content_type for one in event.media] == ["image/png"]


async def test_stop_keeps_further_messages_back_until_start(
    twilio: TwilioSimulator, door: Receiver, http: HttpClient
) -> None:
    twilio.advanced_opt_out = True
    adapter = sms_at(twilio, http)
    await twilio.reply(PERSON, " Stop ", to=NUMBER)
    assert isinstance(await adapter.send(make_message(PERSON)), OptedOut)
    await twilio.reply(PERSON, "start", to=NUMBER)
    assert isinstance(await adapter.send(make_message(PERSON)), Accepted)
    await twilio.drained()
    wishes = [event.wish for event in await events(adapter, door) if hasattr(event, "wish")]
    assert wishes == ["out", "in"]


async def test_callbacks_may_be_signed_with_a_shared_key(
    twilio: TwilioSimulator, door: Receiver, http: HttpClient
) -> None:
    twilio.webhook_key = ("webhooks_sharedkey_1", "the shared key")
    adapter = sms_at(twilio, http, webhook_keys={"webhooks_sharedkey_1": "the shared key"})
    await adapter.send(make_message(PERSON))
    await twilio.drained()
    assert len(await events(adapter, door)) == 2
    assert await sms_at(twilio, http).authenticate(door.requests[0]) is False


async def test_a_rotated_token_signs_callbacks(twilio: TwilioSimulator, door: Receiver, http: HttpClient) -> None:
    twilio.auth_token = "the new token"
    await sms_at(twilio, http).send(make_message(PERSON))
    await twilio.drained()
    assert await sms_at(twilio, http).authenticate(door.requests[0]) is False
    during = sms_at(twilio, http, auth_token_secondary="the new token")
    assert len(await events(during, door)) == 2


async def test_a_template_is_listed_sent_and_rendered(twilio: TwilioSimulator, http: HttpClient) -> None:
    adapter = whatsapp_at(twilio, http)
    for number in range(230):
        twilio.add_template(f"t{number}", "Hi {{1}}", status="approved" if number % 2 else "paused")
    kept = twilio.add_template("reminder", "Hi {{1}}, at {{2}}.")
    found = await adapter.templates()
    assert len(found) == 231
    template = found[-1]
    assert (template.name, template.status, template.parameters) == ("reminder", "approved", ("1", "2"))
    use = TemplateUse(template.name, template.language, {"1": "Ada", "2": "10:00"}, template.details)
    message = make_message(PERSON, None, template=use)
    assert adapter.refuse(message) is None
    assert isinstance(await adapter.send(message), Accepted)
    sent = twilio.record[0]
    assert (sent.to, sent.body, sent.content_sid) == (f"whatsapp:{PERSON}", "Hi Ada, at 10:00.", kept.sid)
    assert isinstance(await adapter.lookup(question(message)), Found)


async def test_a_template_that_is_gone_pauses_the_action(twilio: TwilioSimulator, http: HttpClient) -> None:
    use = TemplateUse("reminder", "en", {}, {"content_sid": "HX" + "9" * 32})
    outcome = await whatsapp_at(twilio, http).send(make_message(PERSON, None, template=use))
    assert isinstance(outcome, Misconfigured)
    assert outcome.scope == "action"


@pytest.mark.parametrize(("status", "variables", "code"), [("approved", {}, "63028"), ("paused", {"1": "a"}, "63041")])
async def test_a_template_that_does_not_fit_fails_later(
    twilio: TwilioSimulator, door: Receiver, http: HttpClient, status: str, variables: dict[str, str], code: str
) -> None:
    kept = twilio.add_template("reminder", "Hi {{1}}", status=status)
    adapter = whatsapp_at(twilio, http)
    use = TemplateUse("reminder", "en", variables, {"content_sid": kept.sid})
    assert isinstance(await adapter.send(make_message(PERSON, None, template=use)), Accepted)
    await twilio.drained()
    (event,) = await events(adapter, door)
    assert isinstance(event, Receipt)
    assert (event.status, event.provider_code, event.code) == (Status.FAILED, code, Code.TEMPLATE)


async def test_a_free_text_needs_a_person_who_wrote_within_a_day(door: Receiver, http: HttpClient) -> None:
    now: list[datetime] = [NOW]
    twilio = TwilioSimulator(
        account_sid=ACCOUNT, auth_token=TOKEN, callback_base=door.url, inbound_url=CALLBACK_URL, now=lambda: now[0]
    )
    codes = []
    async with twilio:
        adapter = whatsapp_at(twilio, http)
        for step in ("never wrote", "wrote", "a day later"):
            if step == "wrote":
                await twilio.reply(PERSON, "Hi", to=NUMBER, channel="whatsapp")
            if step == "a day later":
                now[0] += timedelta(hours=24, seconds=1)
            await adapter.send(make_message(PERSON))
            codes.append(twilio.record[-1].error_code)
    assert codes == [63016, None, 63016]


async def test_a_person_without_a_number_is_written_to_by_user_id(
    twilio: TwilioSimulator, door: Receiver, http: HttpClient
) -> None:
    adapter = whatsapp_at(twilio, http)
    await twilio.reply("US.13491208655302741918", "Hi", to=NUMBER, channel="whatsapp")
    (event,) = await events(adapter, door)
    assert isinstance(event, Inbound)
    assert isinstance(await adapter.send(make_message(event.address)), Accepted)
    assert twilio.record[0].to == "whatsapp:US.13491208655302741918"
    assert twilio.record[0].status == "delivered"


async def test_the_list_of_messages_is_paged_and_filtered(twilio: TwilioSimulator, http: HttpClient) -> None:
    adapter = sms_at(twilio, http, callback_url=None)
    for number in range(120):
        await adapter.send(make_message(PERSON, f"Hello {number}"))
    answer = await adapter.lookup(question(make_message(PERSON, "Hello 0")))
    assert isinstance(answer, Found), "the oldest is on the third page"
    assert answer.provider_ids == (twilio.record[0].sid,)
    assert await adapter.lookup(question(make_message(PERSON, "Hello 120"))) == Absent()
    assert isinstance(await adapter.lookup(question(None, "SM" + "0" * 32)), CannotTell)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 3),
        (f"?To=%2B{PERSON[1:]}", 2),
        ("?To=%2B14155550199&From=%2B14155552345", 1),
        ("?From=%2B14155559999", 0),
        ("?DateSent=2026-06-01", 3),
        ("?DateSent=2026-06-02", 0),
        ("?DateSent>=2026-06-01&DateSent<=2026-06-01", 3),
        ("?DateSent>=2026-06-02", 0),
        ("?PageSize=2", 2),
        ("?PageSize=2&Page=1&PageToken=PA1", 1),
        ("?PageSize=nonsense", 3),
    ],
)
async def test_the_list_is_filtered_as_twilio_filters_it(
    twilio: TwilioSimulator, http: HttpClient, query: str, count: int
) -> None:
    adapter = sms_at(twilio, http, callback_url=None)
    for to in (PERSON, PERSON, "+14155550199"):
        await adapter.send(make_message(to))
    account = f"{twilio.url}/2010-04-01/Accounts/{ACCOUNT}"
    headers = {"Authorization": "Basic " + b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()}
    answer = await http("GET", f"{account}/Messages.json{query}", headers=headers)
    page = msgspec.json.decode(answer.body)
    assert (answer.status, len(page["messages"])) == (200, count)
    assert (await http("GET", f"{account}/Elsewhere.json", headers=headers)).status == 404
    assert (await http("GET", f"{account}/Messages.json")).status == 401


async def test_a_thousand_messages_pass_in_a_few_seconds(twilio: TwilioSimulator, http: HttpClient) -> None:
    """Not a benchmark: it notices a server that has become ten times slower."""
    twilio.callbacks = False
    adapter = sms_at(twilio, http)
    started = time.perf_counter()

    async def send(first: int) -> None:
        for number in range(first, 1_000, 16):
            assert isinstance(await adapter.send(make_message(PERSON, ref=f"msg_{number}")), Accepted)

    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        for first in range(16):
            group.create_task(send(first))
    await twilio.received(1_000)
    assert len({message.ref for message in twilio.record}) == 1_000
    assert time.perf_counter() - started < PATIENCE_SECONDS


async def test_it_runs_until_it_is_cancelled(http: HttpClient) -> None:
    started: asyncio.Queue[TwilioSimulator] = asyncio.Queue()
    running = asyncio.create_task(serve(0, account_sid=ACCOUNT, auth_token=TOKEN, ready=started.put_nowait))
    simulator = await started.get()
    assert urlsplit(simulator.url).hostname == "127.0.0.1"
    assert await sms_at(simulator, http).check() is None
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    fresh = HttpClient(connections=1)
    with pytest.raises(NotSent):
        await sms_at(simulator, fresh).check()
    await fresh.close()


async def test_it_calls_nobody_beyond_this_machine(http: HttpClient) -> None:
    with pytest.raises(ValueError, match="this machine only"):
        TwilioSimulator(callback_base="https://gateway.example")
    async with TwilioSimulator(account_sid=ACCOUNT, auth_token=TOKEN) as twilio:
        await sms_at(twilio, http).send(make_message(PERSON))
        await twilio.drained()
        assert (twilio.tally.delivered, twilio.tally.last_status) == (0, None)
