"""What the adapter asks of Meta, promises, logs and says of the number; its answers are in cases.py."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from gateway import Accepted, HttpResponse, Misconfigured, NotSent, Receipt, Rejected, Retry
from gateway.testing.doubles import Hang, text_reply
from gateway_whatsapp import gateway_adapters, gateway_channels
from gateway_whatsapp.channel import WHATSAPP
from tests.plugins.whatsapp.harness import (
    MEDIA_URL,
    MESSAGES_URL,
    NUMBER_ID,
    PERSON,
    REF,
    TOKEN,
    WAMID,
    RecordingLog,
    ScriptedHttp,
    accepted,
    cloud,
    failure,
    json_reply,
    make_message,
    refusal,
    template_message,
    told,
)


def taken() -> ScriptedHttp:
    return ScriptedHttp(accepted())


def test_the_plugin_offers_the_channel_and_its_adapter() -> None:
    assert tuple(gateway_channels()) == (WHATSAPP,)
    assert [(adapter.channel, adapter.name) for adapter in gateway_adapters()] == [("whatsapp", "cloud")]


def test_the_channel_knows_the_window_and_wants_templates_in_bulk() -> None:
    assert WHATSAPP.reply_window == timedelta(hours=24)
    assert WHATSAPP.template_required
    assert WHATSAPP.takes == {"text", "media", "template"}


@pytest.mark.parametrize(
    ("given", "spelled"),
    [
        (PERSON, PERSON),
        (" +1 (650) 555-1234 ", PERSON),
        ("US.13491208655302741918", "US.13491208655302741918"),
        (" US.ENT.118 ", "US.ENT.118"),
    ],
)
def test_an_address_is_a_number_or_a_business_scoped_user_id(given: str, spelled: str) -> None:
    assert WHATSAPP.normalise(given, None) == spelled


@pytest.mark.parametrize(
    "given", ["us.1349", "US.", "U.1", "US.13 49", "US.13\u00e9", f"US.{'1' * 129}", "ada@grace.example"]
)
def test_what_is_neither_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        WHATSAPP.normalise(given, None)


async def test_a_text_is_posted_to_the_number_with_its_token() -> None:
    http = taken()
    assert await cloud(http).send(make_message(PERSON, "Hello")) == Accepted((WAMID,))
    (call,) = http.calls
    assert (call.method, call.url) == ("POST", MESSAGES_URL)
    assert call.headers["Authorization"] == f"Bearer {TOKEN}"
    assert call.json == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": PERSON[1:],
        "biz_opaque_callback_data": REF,
        "type": "text",
        "text": {"body": "Hello", "preview_url": False},
    }


async def test_another_version_and_another_host_are_asked_where_the_settings_say_so() -> None:
    http = taken()
    await cloud(http, version="v26.0", api_url="http://127.0.0.1:8099").send(make_message(PERSON))
    assert http.calls[0].url == f"http://127.0.0.1:8099/v26.0/{NUMBER_ID}/messages"


async def test_links_are_previewed_where_the_settings_say_so() -> None:
    http = taken()
    await cloud(http, link_previews=True).send(make_message(PERSON, "https://grace.example"))
    assert http.calls[0].json["text"]["preview_url"] is True  # type: ignore[index]


async def test_what_never_left_is_told_from_what_may_have() -> None:
    with pytest.raises(NotSent):
        await cloud(ScriptedHttp(NotSent("refused"))).send(make_message(PERSON))
    with pytest.raises(ConnectionResetError):
        await cloud(ScriptedHttp(ConnectionResetError())).send(make_message(PERSON))


async def test_a_send_can_be_cancelled() -> None:
    sending = asyncio.create_task(cloud(ScriptedHttp(Hang())).send(make_message(PERSON)))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_a_repeat_carries_the_same_reference() -> None:
    http = taken()
    for attempt in (1, 2):
        await cloud(http).send(make_message(PERSON, attempt=attempt))
    assert http.calls[0] == http.calls[1]


async def test_a_pair_that_is_too_fast_waits_and_the_others_go_on() -> None:
    http = ScriptedHttp(refusal(131056, "Pair rate limit hit"))
    waits = [await cloud(http).send(make_message(PERSON, attempt=attempt)) for attempt in (1, 2, 3)]
    assert [wait.after for wait in waits if isinstance(wait, Retry) and wait.scope == "message"] == [
        timedelta(seconds=4),
        timedelta(seconds=16),
        timedelta(seconds=64),
    ]


async def test_an_operator_s_override_decides_for_answers_and_receipts() -> None:
    http = ScriptedHttp(refusal(131026, "Message undeliverable"))
    outcome = await cloud(http, errors={"131026": "address_dead"}).send(make_message(PERSON))
    assert isinstance(outcome, Rejected)
    assert outcome.address_dead
    receipt, wish = cloud(errors={"131049": "opt_out"}).parse(told(failure(131049)))
    assert isinstance(receipt, Receipt)
    assert receipt.provider_code == "131049"
    assert (wish.wish, wish.category) == ("out", None)  # type: ignore[union-attr]


@pytest.mark.parametrize("state", ["held_for_quality_assessment", "paused", "something\nnew"])
async def test_a_template_whose_messages_are_held_back_is_told_once_sent(state: str) -> None:
    log = RecordingLog()
    outcome = await cloud(ScriptedHttp(accepted(state)), log=log).send(template_message())
    assert outcome == Accepted((WAMID,))
    assert log.events == ["template_held_back"]
    assert log.values == [{"template": "order_update", "message_status": state.replace("\n", " ")}]


@pytest.mark.parametrize("answer", [accepted(), accepted("accepted"), accepted(message_status=None)])
async def test_nothing_is_told_of_a_message_that_is_on_its_way(answer: HttpResponse) -> None:
    log = RecordingLog()
    await cloud(ScriptedHttp(answer), log=log).send(template_message())
    assert log.events == []


async def test_what_is_logged_and_held_for_names_no_number() -> None:
    http = ScriptedHttp(refusal(131045, "Incorrect certificate", "The number 15550783881 is not registered"))
    outcome = await cloud(http).send(make_message(PERSON))
    assert isinstance(outcome, Misconfigured)
    assert "15550783881" not in outcome.reason


def test_the_capabilities_are_those_of_a_number() -> None:
    capabilities = cloud().capabilities
    assert (capabilities.rate, capabilities.concurrency) == (80.0, 64)
    assert (capabilities.receipts, capabilities.templates, capabilities.answers_opt_out) == (True, True, False)
    assert (capabilities.lookup, capabilities.on_unknown, capabilities.idempotent_for) == (False, "hold", None)


def test_without_a_public_url_no_receipt_is_awaited() -> None:
    assert cloud(callback_url=None).capabilities.receipts is False


def test_a_message_costs_one_whatever_its_length() -> None:
    assert cloud().cost(make_message(PERSON, "a" * 4_000)) == 1
    assert cloud().cost(template_message({"1": "a" * 1_000})) == 1


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (json_reply(200, {"id": NUMBER_ID, "status": "CONNECTED"}), None),
        (json_reply(200, {"id": NUMBER_ID, "status": "BANNED"}), "The number is banned."),
        (text_reply(200, "<html>"), "Meta answered with something that is not this number."),
        (text_reply(502, "<html>"), "Meta does not let us in: HTTP 502."),
        (
            refusal(190, "Error validating access token: Session has expired", http_status=401),
            "Meta does not let us in: HTTP 401, code 190: Error validating access token: Session has expired.",
        ),
    ],
)
async def test_the_number_is_checked_without_sending(answer: HttpResponse, sentence: str | None) -> None:
    http = ScriptedHttp(answer)
    assert await cloud(http).check() == sentence
    (call,) = http.calls
    assert (call.method, call.url) == ("GET", f"{MEDIA_URL}/{NUMBER_ID}?fields=id,status,health_status")
    assert call.headers["Authorization"] == f"Bearer {TOKEN}"


def test_a_callback_is_answered_with_an_empty_200() -> None:
    answer = cloud().answer(told())
    assert (answer.status, answer.body) == (200, b"")
