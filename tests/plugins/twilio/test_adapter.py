"""What the adapters send to Twilio, refuse beforehand, promise, and are configured by."""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64encode
from datetime import timedelta
from typing import Any

import pytest

from gateway import Code, Media, NotSent, Rejected, TemplateUse
from gateway.errors import Invalid
from gateway.testing.doubles import Hang
from gateway_twilio import gateway_adapters
from gateway_twilio.adapter import BODY_MAX, MEDIA_COUNT_MAX, MEGABYTE
from tests.plugins.twilio.harness import (
    ACCOUNT,
    CALLBACK_URL,
    CONTENT,
    KEY,
    MESSAGES_URL,
    NUMBER,
    PERSON,
    REF,
    SERVICE,
    TOKEN,
    ScriptedHttp,
    json_reply,
    make_message,
    refusal,
    resource,
    signed,
    sms,
    status_fields,
    template_message,
    whatsapp,
)

PICTURE = "https://files.example/a.jpg"


def created() -> ScriptedHttp:
    return ScriptedHttp(json_reply(201, resource()))


def file(size: int | None = None, kind: str | None = None, url: str = PICTURE) -> Media:
    return Media(url=url, content_type=kind, size=size)


def test_the_plugin_offers_one_adapter_for_each_channel() -> None:
    assert {(adapter.channel, adapter.name) for adapter in gateway_adapters()} == {
        ("sms", "twilio"),
        ("whatsapp", "twilio"),
    }


async def test_an_sms_is_a_form_with_our_reference_in_the_callback_url() -> None:
    http = created()
    await sms(http).send(make_message(PERSON, "Hello"))
    (call,) = http.calls
    assert (call.method, call.url) == ("POST", f"{MESSAGES_URL}.json")
    assert call.form == (
        ("To", PERSON),
        ("From", NUMBER),
        ("Body", "Hello"),
        ("StatusCallback", f"{CALLBACK_URL}?ref={REF}#rc=5&rp=all"),
    )


async def test_the_account_s_token_or_an_api_key_is_shown() -> None:
    for more, pair in (
        ({}, f"{ACCOUNT}:{TOKEN}"),
        ({"api_key_sid": KEY, "api_key_secret": "hush"}, f"{KEY}:hush"),
    ):
        http = created()
        await sms(http, **more).send(make_message(PERSON))
        assert http.calls[0].headers["Authorization"] == "Basic " + b64encode(pair.encode()).decode()
        assert f"/Accounts/{ACCOUNT}/" in http.calls[0].url


async def test_without_a_public_url_there_is_no_callback_and_no_receipt() -> None:
    http = created()
    adapter = sms(http, callback_url=None)
    await adapter.send(make_message(PERSON))
    assert "StatusCallback" not in http.calls[0].fields
    assert adapter.capabilities.receipts is False
    assert sms().capabilities.receipts is True


async def test_files_are_named_one_after_the_other() -> None:
    http = created()
    await sms(http).send(make_message(PERSON, None, media=(file(), file(url="https://files.example/b.png"))))
    fields = [pair for pair in http.calls[0].form if pair[0] == "MediaUrl"]
    assert fields == [("MediaUrl", PICTURE), ("MediaUrl", "https://files.example/b.png")]
    assert "Body" not in http.calls[0].fields


async def test_a_messaging_service_and_a_validity_are_passed_on() -> None:
    http = created()
    await sms(http, messaging_service_sid=SERVICE, validity_seconds=600, own=None).send(make_message(PERSON))
    fields = http.calls[0].fields
    assert (fields["MessagingServiceSid"], fields["ValidityPeriod"]) == (SERVICE, "600")
    assert "From" not in fields


@pytest.mark.parametrize("own", [NUMBER, f"whatsapp:{NUMBER}"])
async def test_whatsapp_addresses_have_the_channel_s_prefix(own: str) -> None:
    http = created()
    await whatsapp(http, own=own).send(make_message(PERSON, "Hello"))
    fields = http.calls[0].fields
    assert (fields["To"], fields["From"], fields["Body"]) == (f"whatsapp:{PERSON}", f"whatsapp:{NUMBER}", "Hello")


async def test_a_template_is_named_by_its_content_sid() -> None:
    http = created()
    await whatsapp(http).send(template_message(**{"1": "Ada \N{SNOWMAN}", "2": '10:00 "sharp"'}))
    fields = http.calls[0].fields
    assert fields["ContentSid"] == CONTENT
    assert json.loads(fields["ContentVariables"]) == {"1": "Ada \N{SNOWMAN}", "2": '10:00 "sharp"'}
    assert "Body" not in fields


async def test_a_template_without_parameters_has_no_variables() -> None:
    http = created()
    await whatsapp(http).send(template_message())
    assert "ContentVariables" not in http.calls[0].fields


async def test_what_never_left_is_told_from_what_may_have() -> None:
    with pytest.raises(NotSent):
        await sms(ScriptedHttp(NotSent("refused"))).send(make_message(PERSON))
    with pytest.raises(ConnectionResetError):
        await sms(ScriptedHttp(ConnectionResetError())).send(make_message(PERSON))


async def test_a_send_can_be_cancelled() -> None:
    sending = asyncio.create_task(sms(ScriptedHttp(Hang())).send(make_message(PERSON)))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_an_operator_s_override_decides_for_answers_and_receipts() -> None:
    http = ScriptedHttp(refusal(21408, "Not enabled"))
    outcome = await sms(http, errors={"21408": "address_dead"}).send(make_message(PERSON))
    assert isinstance(outcome, Rejected)
    assert outcome.address_dead
    request = signed(status_fields("failed", ErrorCode="30008"))
    (receipt, wish) = sms(errors={"30008": "opt_out"}).parse(request)
    assert receipt.provider_code == "30008"  # type: ignore[union-attr]
    assert wish.wish == "out"  # type: ignore[union-attr]


@pytest.mark.parametrize("make", [sms, whatsapp])
@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"text": "x" * BODY_MAX}, None),
        ({"text": "x" * (BODY_MAX + 1)}, Code.TOO_LONG),
        ({"text": None}, Code.CONTENT),
        ({"text": ""}, Code.CONTENT),
        ({"text": None, "media": (file(),)}, None),
        ({"media": (file(),) * MEDIA_COUNT_MAX}, None),
        ({"media": (file(),) * (MEDIA_COUNT_MAX + 1)}, Code.MEDIA),
        ({"media": (file(url="ftp://files.example/a"),)}, Code.MEDIA),
    ],
)
def test_what_twilio_would_refuse_is_not_sent(make: Any, more: dict[str, Any], code: Code | None) -> None:
    refused = make().refuse(make_message(PERSON, **more))
    assert (refused.code if refused is not None else None) == code


@pytest.mark.parametrize(
    ("make", "size", "kind", "refused"),
    [
        (sms, 5 * MEGABYTE, "image/jpeg", False),
        (sms, 5 * MEGABYTE + 1, "image/jpeg", True),
        (sms, 5 * MEGABYTE, "Image/PNG; q=1", False),
        (sms, 500 * 1024, "application/pdf", False),
        (sms, 500 * 1024 + 1, "application/pdf", True),
        (sms, 5 * MEGABYTE, None, False),
        (sms, 5 * MEGABYTE + 1, None, True),
        (sms, None, "application/pdf", False),
        (whatsapp, 16 * MEGABYTE, "application/pdf", False),
        (whatsapp, 16 * MEGABYTE + 1, "application/pdf", True),
    ],
)
def test_files_that_are_too_large_are_refused(make: Any, size: int | None, kind: str | None, refused: bool) -> None:
    answer = make().refuse(make_message(PERSON, media=(file(), file(size, kind))))
    assert (answer is not None and answer.code is Code.MEDIA) is refused
    if answer is not None:
        assert f"{size:,}" in answer.reason


@pytest.mark.parametrize(
    ("make", "kind", "refused"),
    [
        (sms, "image/gif", False),
        (sms, "video/quicktime", False),
        (sms, "text/vcard; charset=utf-8", False),
        (sms, "text/html", True),
        (sms, "application/zip", True),
        (sms, None, False),
        (whatsapp, "image/png", False),
        (whatsapp, "Image/GIF", False),
        (whatsapp, "Image/SVG+XML", True),
        (whatsapp, "video/x-ms-wmv", True),
        (whatsapp, "application/pdf", False),
        (whatsapp, None, False),
    ],
)
def test_files_of_a_type_that_is_not_passed_on_are_refused(make: Any, kind: str | None, refused: bool) -> None:
    answer = make().refuse(make_message(PERSON, media=(file(kind=kind),)))
    assert (answer is not None and answer.code is Code.MEDIA) is refused
    if answer is not None and kind is not None:
        assert kind.lower() in answer.reason


def test_a_template_that_is_none_of_twilio_s_is_refused() -> None:
    foreign = make_message(PERSON, None, template=TemplateUse("reminder", "en", {}))
    refused = whatsapp().refuse(foreign)
    assert refused is not None
    assert refused.code is Code.TEMPLATE
    assert "reminder" in refused.reason
    assert whatsapp().refuse(template_message(**{"1": "Ada"})) is None


def test_a_template_takes_no_file_beside_its_own() -> None:
    use = TemplateUse("reminder", "en", {}, {"content_sid": CONTENT})
    refused = whatsapp().refuse(make_message(PERSON, None, template=use, media=(file(),)))
    assert refused is not None
    assert refused.code is Code.MEDIA


@pytest.mark.parametrize(
    ("text", "cost"), [("a" * 160, 1), ("a" * 161, 2), ("\u044e" * 70, 1), ("\u044e" * 71, 2), ("", 1), (None, 1)]
)
def test_an_sms_costs_its_segments(text: str | None, cost: int) -> None:
    assert sms().cost(make_message(PERSON, text)) == cost


def test_an_mms_and_a_whatsapp_message_cost_one() -> None:
    assert sms().cost(make_message(PERSON, "a" * 400, media=(file(),))) == 1
    assert whatsapp().cost(make_message(PERSON, "a" * 400)) == 1


def test_the_capabilities_are_those_of_the_routes() -> None:
    short, long = sms().capabilities, whatsapp().capabilities
    assert (short.rate, short.templates, short.answers_opt_out) == (1.0, False, True)
    assert (long.rate, long.templates, long.answers_opt_out) == (80.0, True, False)
    for capabilities in (short, long):
        assert (capabilities.lookup, capabilities.on_unknown) == (True, "hold")
        assert capabilities.lookup_settle == timedelta(minutes=2)
        assert capabilities.idempotent_for is None
    assert sms(answers_opt_out=False).capabilities.answers_opt_out is False
    assert sms(lookup=False).capabilities.lookup is False
    assert sms(lookup_settle_seconds=600).capabilities.lookup_settle == timedelta(minutes=10)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (json_reply(200, {"sid": ACCOUNT, "status": "active"}), None),
        (json_reply(200, {"sid": ACCOUNT, "status": "closed"}), "The Twilio account is closed."),
        (json_reply(200, {"sid": "AC0"}), "Twilio answered with something that is not this account."),
        (
            refusal(20003, "Authenticate", 401),
            "Twilio does not let us in: HTTP 401, code 20003: Authenticate.",
        ),
    ],
)
async def test_the_account_is_checked_without_sending(answer: Any, sentence: str | None) -> None:
    http = ScriptedHttp(answer)
    assert await sms(http).check() == sentence
    assert (http.calls[0].method, http.calls[0].url) == (
        "GET",
        f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}.json",
    )


async def test_an_api_key_is_checked_by_what_it_may_read() -> None:
    http = ScriptedHttp(json_reply(200, {"messages": []}))
    adapter = sms(http, api_key_sid=KEY, api_key_secret="hush")
    assert await adapter.check() is None
    assert http.calls[0].url == f"{MESSAGES_URL}.json?PageSize=1"
    http.replies = [json_reply(200, [])]
    assert await adapter.check() is not None


def test_a_callback_is_answered_with_twiml_that_says_nothing() -> None:
    answer = sms().answer(signed(status_fields("sent")))
    assert (answer.status, answer.content_type) == (200, "text/xml")
    assert answer.body.endswith(b"<Response/>")


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"own": None}, "Exactly one of from and messaging_service_sid"),
        ({"messaging_service_sid": SERVICE}, "Exactly one of from and messaging_service_sid"),
        ({"api_key_sid": KEY}, "api_key_sid and api_key_secret come together"),
        ({"account_sid": "AC1"}, "AC and 32 hexadecimal digits"),
        ({"validity_seconds": 36_001}, "36,?000"),
        ({"validity_seconds": 0}, "1"),
        ({"api_url": "https://api.twilio.com/2010-04-01"}, "a URL without a path"),
        ({"errors": {"21": "permanent"}}, "five digits"),
        ({"errors": {"21610": "sometimes"}}, "permanent"),
        ({"own": "a name that is much too long"}, "short code"),
        ({"tokn": "x"}, "no such field"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_a_reason(more: dict[str, Any], complaint: str) -> None:
    with pytest.raises(Invalid) as caught:
        sms(**more)
    said = " ".join(problem.detail for problem in caught.value.problems)
    assert re.search(complaint, said), said


@pytest.mark.parametrize("own", ["+14155552345", "72342", "GraceChurch"])
def test_an_sms_comes_from_a_number_a_short_code_or_a_name(own: str) -> None:
    assert sms(own=own).settings.number == own


def test_whatsapp_comes_from_a_number_only() -> None:
    with pytest.raises(Invalid):
        whatsapp(own="GraceChurch")


@pytest.mark.parametrize("make", [sms, whatsapp])
def test_secrets_do_not_show(make: Any) -> None:
    settings = make(api_key_sid=KEY, api_key_secret="hush", webhook_keys={"webhooks_sharedkey_1": "quiet"}).settings
    assert TOKEN not in repr(settings)
    assert "hush" not in repr(settings)
    assert "quiet" not in repr(settings)
