"""Callbacks that nobody recorded: odd ones, hostile ones, and mutations of good ones."""

from __future__ import annotations

import base64
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import CallbackRequest, Consent, Event, Inbound, Media, Receipt, Status
from gateway.testing.cases import callback
from gateway_twilio.callbacks import BASE64_MIN, MEDIA_MAX, unpacked
from tests.plugins.twilio.cases import SMS_CASES, WHATSAPP_CASES
from tests.plugins.twilio.harness import (
    CALLBACK_URL,
    MEDIA_SID,
    NUMBER,
    PERSON,
    REF,
    SERVICE,
    SID,
    STATUS_URL,
    inbound_fields,
    signed,
    sms,
    status_fields,
    whatsapp,
    whatsapp_fields,
)

RECORDED = [case.request for case in (*SMS_CASES.callbacks, *WHATSAPP_CASES.callbacks)]
FIELDS = sorted({**inbound_fields("x"), **status_fields("sent"), "OptOutType": "", "WaId": "", "MediaUrl0": ""})
SMS, WHATSAPP = sms(), whatsapp()


def inbound(fields: dict[str, str], own: str | None = NUMBER) -> Inbound | None:
    adapter = sms(own=own) if own is not None else sms(own=None, messaging_service_sid=SERVICE)
    found = adapter.parse(signed(fields))
    assert all(isinstance(event, Inbound | Consent) for event in found)
    return next((event for event in found if isinstance(event, Inbound)), None)


def without(fields: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in fields.items() if name not in names}


def test_callbacks_of_a_service_come_with_any_number() -> None:
    anywhere = inbound_fields("Hi", To="+14155559999", MessagingServiceSid=SERVICE)
    assert inbound(anywhere, own=None) is not None
    assert inbound(inbound_fields("Hi", MessagingServiceSid="MG" + "0" * 32), own=None) is None


def test_a_webhook_by_get_has_its_fields_in_the_query() -> None:
    request = callback(f"{CALLBACK_URL}?{urlencode(inbound_fields('Hi'))}", method="GET", content_type="")
    (event,) = SMS.parse(request)
    assert isinstance(event, Inbound)
    assert event.text == "Hi"


def test_a_reference_of_another_kind_is_no_reference() -> None:
    for query in ("ref=", "ref=A", "ref=" + "a" * 41, "ref=a%00b", "other=msg_1"):
        (event,) = SMS.parse(signed(status_fields("sent"), url=f"{CALLBACK_URL}?{query}"))
        assert isinstance(event, Receipt)
        assert event.ref is None


def test_our_reference_vouches_for_a_receipt_of_any_number() -> None:
    """A Messaging Service may have sent it from a number that we do not know."""
    fields = status_fields("sent", From="+14155559999")
    assert SMS.parse(signed(fields)) == ()
    (event,) = SMS.parse(signed(fields, url=STATUS_URL))
    assert isinstance(event, Receipt)
    assert event.ref == REF


def test_a_receipt_without_an_id_needs_our_reference() -> None:
    fields = without(status_fields("sent"), "MessageSid", "SmsSid")
    assert SMS.parse(signed(fields)) == ()
    (event,) = SMS.parse(signed(fields, url=STATUS_URL))
    assert event == Receipt(status=Status.SENT, ref=REF)


@pytest.mark.parametrize("missing", ["MessageStatus", "SmsStatus", "MessageSid", "SmsSid"])
def test_a_status_is_read_by_either_of_its_names(missing: str) -> None:
    fields = without(status_fields("delivered"), missing)
    assert SMS.parse(signed(fields)) == (Receipt(status=Status.DELIVERED, provider_ids=(SID,)),)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("accepted", Status.ACCEPTED),
        ("scheduled", Status.ACCEPTED),
        ("queued", Status.ACCEPTED),
        ("sending", Status.ACCEPTED),
        ("sent", Status.SENT),
        ("partially_delivered", Status.SENT),
        ("delivered", Status.DELIVERED),
        ("Read", Status.READ),
        ("failed", Status.FAILED),
        ("undelivered", Status.UNDELIVERED),
        ("canceled", Status.CANCELLED),
    ],
)
def test_every_status_of_a_message_of_ours_is_read(said: str, status: Status) -> None:
    (event,) = SMS.parse(signed(status_fields(said)))
    assert isinstance(event, Receipt)
    assert event.status is status


def test_a_status_that_brings_our_text_along_is_no_message_to_us() -> None:
    assert SMS.parse(signed(status_fields("sent", Body="Hi"))) == (Receipt(status=Status.SENT, provider_ids=(SID,)),)


def test_why_a_message_failed_on_its_channel_is_told_where_nothing_else_is() -> None:
    fields = status_fields("failed", ErrorCode="99999", ChannelStatusMessage="The recipient has no such app")
    (event,) = SMS.parse(signed(fields))
    assert isinstance(event, Receipt)
    assert event.reason == "The recipient has no such app"


@pytest.mark.parametrize(
    "missing",
    [("SmsSid", "SmsMessageSid"), ("MessageSid", "SmsMessageSid"), ("MessageSid", "SmsSid"), ("SmsStatus",)],
)
def test_a_message_to_us_is_read_with_the_names_that_there_are(missing: tuple[str, ...]) -> None:
    assert inbound(without(inbound_fields("Hi"), *missing)) == Inbound(provider_id=SID, address=PERSON, text="Hi")


def test_a_callback_that_says_neither_a_status_nor_a_text_is_left_out() -> None:
    assert SMS.parse(signed(without(inbound_fields("Hi"), "SmsStatus", "Body"))) == ()


def test_a_body_that_is_no_form_is_left_out() -> None:
    request = callback(CALLBACK_URL, urlencode(inbound_fields("Hi")).encode(), content_type="text/plain")
    assert SMS.parse(request) == ()


@pytest.mark.parametrize(
    "sign",
    [
        {"From": f"WhatsApp:{PERSON}"},
        {"To": f"whatsapp:{NUMBER}"},
        {"ChannelPrefix": "whatsapp"},
        {"WaId": PERSON[1:]},
        {"ProfileName": "Ada"},
        {"ExternalUserId": "whatsapp:US.13491208655302741918"},
    ],
)
def test_a_service_of_two_channels_tells_whatsapp_by_each_of_its_signs(sign: dict[str, str]) -> None:
    plain = inbound_fields("Hi", MessagingServiceSid=SERVICE)
    texts = sms(own=None, messaging_service_sid=SERVICE)
    chats = whatsapp(own=None, messaging_service_sid=SERVICE)
    assert texts.parse(signed(plain)) == (Inbound(provider_id=SID, address=PERSON, text="Hi"),)
    assert chats.parse(signed(plain)) == ()
    assert texts.parse(signed({**plain, **sign})) == ()
    (event,) = chats.parse(signed({**plain, **sign}))
    assert isinstance(event, Inbound)
    assert event.address == PERSON


def test_a_service_leaves_the_messages_of_third_channels_alone() -> None:
    fields = inbound_fields("Hi", From="messenger:123", To="messenger:456", MessagingServiceSid=SERVICE)
    assert sms(own=None, messaging_service_sid=SERVICE).parse(signed(fields)) == ()


def test_a_callback_that_names_no_service_may_be_of_any() -> None:
    assert inbound(inbound_fields("Hi"), own=None) is not None


@pytest.mark.parametrize("sid", ["", "SM 1", "x" * 65, "SM\N{SNOWMAN}"])
def test_an_inbound_message_without_a_proper_id_is_left_out(sid: str) -> None:
    assert inbound({**inbound_fields("Hi"), "MessageSid": sid, "SmsSid": "", "SmsMessageSid": ""}) is None


def test_an_inbound_message_from_nobody_is_left_out() -> None:
    assert inbound(inbound_fields("Hi", From="")) is None
    assert WHATSAPP.parse(signed(whatsapp_fields(inbound_fields("Hi"), From="whatsapp:"))) == ()


def test_no_more_files_than_twilio_sends_are_kept() -> None:
    many = {f"MediaUrl{number}": f"https://api.twilio.com/{number}" for number in range(40)}
    found = inbound(inbound_fields("", **many))
    assert found is not None
    assert len(found.media) == MEDIA_MAX


@pytest.mark.parametrize("url", ["javascript:alert(1)", "file:///etc/passwd", "", "//x"])
def test_only_urls_of_the_web_are_kept_as_files(url: str) -> None:
    found = inbound(inbound_fields("", MediaUrl0=url))
    assert found is not None
    assert found.media == ()


def test_a_button_answers_the_message_that_bore_it() -> None:
    fields = whatsapp_fields(inbound_fields(""), ButtonText="Yes", ListId="yes_7", OriginalRepliedMessageSid=MEDIA_SID)
    (event,) = WHATSAPP.parse(signed(fields))
    assert isinstance(event, Inbound)
    assert (event.text, event.button, event.quotes) == ("Yes", "yes_7", (MEDIA_SID,))


def test_what_a_callback_names_without_a_value_is_not_there() -> None:
    empty = {"ButtonPayload": "", "ListId": "", "ProfileName": "", "MediaUrl0": "https://x.example/1"}
    (event,) = WHATSAPP.parse(signed(whatsapp_fields(inbound_fields("Hi"), MediaContentType0="", **empty)))
    media = (Media(url="https://x.example/1"),)
    assert event == Inbound(provider_id=SID, address=PERSON, text="Hi", media=media)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"Latitude": "51.5", "Longitude": "-0.12", "Address": "1 Mill Lane"}, "1 Mill Lane\n51.5, -0.12"),
        ({"Latitude": "51.5", "ButtonText": "Here"}, "Here"),
        ({"Longitude": "-0.12", "ButtonText": "Here"}, "Here"),
    ],
)
def test_a_place_has_both_its_numbers(fields: dict[str, str], text: str) -> None:
    (event,) = WHATSAPP.parse(signed(whatsapp_fields(inbound_fields(""), **fields)))
    assert isinstance(event, Inbound)
    assert event.text == text


def test_a_chat_is_never_taken_for_packed() -> None:
    """Only long SMS, which are put together of parts, come packed now and then."""
    packed = base64.b64encode(b"A code of somebody who writes code, for us to see what is in it").decode()
    (event,) = WHATSAPP.parse(signed(whatsapp_fields(inbound_fields(packed))))
    assert isinstance(event, Inbound)
    assert event.text == packed
    read = inbound(inbound_fields(packed))
    assert read is not None
    assert read.text != packed


@pytest.mark.parametrize(
    "text",
    [
        "short",
        base64.b64encode(b"Hello").decode(),
        "d" * BASE64_MIN,  # base64 of bytes that are no text
        "Thank you so much for coming and for the cakes, they were wonderful!",
        "https://grace.example/a/very/long/link/without/any/white/space/at/all",
        base64.b64encode(b"\x00\x01\x02" * 30).decode(),
        base64.b64encode(b"x" * 60).decode()[:-1],
    ],
)
def test_a_text_that_is_no_base64_stays_as_it_is(text: str) -> None:
    assert unpacked(text) == text


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs", "Cf"]), min_size=48, max_size=300))
def test_any_readable_text_is_unpacked(text: str) -> None:
    packed = base64.encodebytes(text.encode()).decode()
    assert unpacked(packed) == text


def test_characters_that_no_database_keeps_are_left_out() -> None:
    request = callback(CALLBACK_URL, urlencode(inbound_fields("a")).encode() + b"&Body=%00b%ED%A0%80%FFc")
    (event,) = SMS.parse(request)
    assert isinstance(event, Inbound)
    assert event.text.startswith("b")
    assert event.text.endswith("c")
    assert event.text.encode()
    assert "\0" not in event.text


def check(events: object) -> None:
    assert isinstance(events, list | tuple)
    for event in events:
        assert isinstance(event, Event)
        for text in (getattr(event, name) for name in event.__struct_fields__):
            assert not isinstance(text, str) or ("\0" not in text and text.encode() is not None)


@given(st.binary(max_size=300), st.sampled_from(["application/x-www-form-urlencoded", "application/json", ""]))
def test_any_bytes_are_parsed_without_an_exception(body: bytes, kind: str) -> None:
    for adapter in (SMS, WHATSAPP):
        check(adapter.parse(callback(STATUS_URL, body, content_type=kind)))


@settings(max_examples=4 * settings().max_examples)  # of the active profile: a nightly run has a larger one
@given(
    st.sampled_from(RECORDED),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8),
    st.booleans(),
)
def test_mutations_of_recorded_callbacks_are_parsed_without_an_exception(
    request: CallbackRequest, changes: list[tuple[int, int]], cut: bool
) -> None:
    body = bytearray(request.body)
    for place, value in changes:
        body[place % len(body)] = value
    mutated = bytes(body[: changes[0][0] % len(body)] if cut else body)
    changed = callback(request.url, mutated, headers=request.headers)
    for adapter in (SMS, WHATSAPP):
        check(adapter.parse(changed))


@settings(max_examples=4 * settings().max_examples)  # of the active profile: a nightly run has a larger one
@given(
    st.booleans(),
    st.dictionaries(
        st.sampled_from(FIELDS),
        st.text(max_size=40) | st.sampled_from(["9" * 400, "-1", "NaN", "\0", "STOP", "received"]),
        max_size=8,
    ),
)
def test_hostile_values_in_any_field_are_parsed_without_an_exception(status: bool, changes: dict[str, str]) -> None:
    fields = {**(status_fields("sent") if status else inbound_fields("x")), **changes}
    body = urlencode(fields, errors="replace").encode()
    for adapter in (SMS, WHATSAPP):
        check(adapter.parse(callback(STATUS_URL, body)))


@given(st.sampled_from(RECORDED), st.binary(min_size=1, max_size=20))
async def test_whatever_is_added_to_a_genuine_callback_makes_it_a_forgery(
    request: CallbackRequest, added: bytes
) -> None:
    forged = callback(request.url, request.body + b"&" + urlencode({"Added": added}).encode(), headers=request.headers)
    assert await SMS.authenticate(forged) is False


def test_parsing_is_repeatable() -> None:
    for request in RECORDED:
        assert SMS.parse(request) == SMS.parse(request)
