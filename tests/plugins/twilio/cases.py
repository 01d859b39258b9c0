"""Recorded cases of both adapters: what Twilio answers and posts, and what is made of it.

Where a case names a code only, its shape is that of the Messages API's errors (twilio-oai, 2026-11) and its sentence is
Twilio's title for the code (twilio.com/docs/api/errors, 2026-11).
"""

from __future__ import annotations

import base64
from datetime import timedelta

from gateway import (
    Accepted,
    Code,
    Consent,
    Event,
    HttpResponse,
    Inbound,
    Media,
    Misconfigured,
    OptedOut,
    Outcome,
    Receipt,
    Rejected,
    Retry,
    Status,
    Unknown,
)
from gateway.testing.cases import CallbackCase, Cases, SendCase, callback
from gateway.testing.doubles import json_reply, text_reply
from gateway_twilio.errors import ERRORS
from tests.plugins.twilio.harness import (
    ACCOUNT,
    CALLBACK_URL,
    MEDIA_SID,
    NUMBER,
    OTHER_ACCOUNT,
    PERSON,
    REF,
    SERVICE,
    SID,
    STATUS_URL,
    inbound_fields,
    refusal,
    resource,
    signed,
    status_fields,
    whatsapp_fields,
)

OAI = "github.com/twilio/twilio-oai, spec/json/twilio_api_v2010.json, 2026-11"
ERROR_PAGES = "twilio.com/docs/api/errors, 2026-11"
COURIER = "github.com/nyaruka/courier, handlers/twiml/handlers_test.go, 2026-11"
GUIDE = "twilio.com/docs/messaging/guides, 2026-07"
MADE_UP = "made up: what proxies and broken servers answer"

DUE = timedelta(hours=1)
MINUTES = timedelta(minutes=5)


def said(code: int, sentence: str = "") -> str:
    return f"{ERRORS[code].title} (Twilio {code})" + (f": {sentence}" if sentence else "")


def refused(code: int, outcome: Outcome, sentence: str = "", status: int = 400, name: str = "") -> SendCase:
    answer = refusal(code, sentence or ERRORS[code].title, status)
    return SendCase(name=name or f"{code} {ERRORS[code].title}", answer=answer, outcome=outcome, source=ERROR_PAGES)


def rejected(code: int, why: Code, sentence: str = "", *, dead: bool = False) -> SendCase:
    return refused(code, Rejected(why, said(code, sentence), str(code), dead), sentence)


def ours(code: int, status: int = 400, scope: str = "sender") -> SendCase:
    outcome = Misconfigured(said(code)) if scope == "sender" else Misconfigured(said(code), scope="action")
    return refused(code, outcome, status=status)


CREATED: tuple[SendCase, ...] = (
    SendCase(name="queued", answer=json_reply(201, resource()), outcome=Accepted((SID,)), source=OAI),
    SendCase(
        name="accepted by a Messaging Service: no sender yet, no segments counted",
        answer=json_reply(
            201, resource(status="accepted", messaging_service_sid=SERVICE, num_segments="0", **{"from": None})
        ),
        outcome=Accepted((SID,)),
        source=OAI,
    ),
    SendCase(
        name="with media its id begins with MM",
        answer=json_reply(201, resource(sid=MEDIA_SID, num_media="1")),
        outcome=Accepted((MEDIA_SID,)),
        source=OAI,
    ),
    SendCase(
        name="a status that nobody knows yet",
        answer=json_reply(201, resource(status="teleporting")),
        outcome=Accepted((SID,)),
        source=OAI,
    ),
    SendCase(
        name="failed at once for a reason of the table",
        answer=json_reply(201, resource(status="failed", error_code=21610, error_message="Unsubscribed recipient")),
        outcome=OptedOut(said(21610, "Unsubscribed recipient")),
        source=OAI,
    ),
    SendCase(
        name="failed at once for a reason that nobody knows",
        answer=json_reply(201, resource(status="failed", error_code=99999, error_message="A new one")),
        outcome=Rejected(Code.PROVIDER, "Twilio says at once that it is failed: A new one", "99999"),
        source=OAI,
    ),
    SendCase(
        name="taken with another status of success",
        answer=json_reply(200, resource()),
        outcome=Accepted((SID,)),
        source=OAI,
    ),
    SendCase(
        name="undelivered at once without a reason",
        answer=json_reply(201, resource(status="undelivered")),
        outcome=Rejected(Code.PROVIDER, "Twilio says at once that it is undelivered"),
        source=OAI,
    ),
)

SHARED_REFUSALS: tuple[SendCase, ...] = (
    ours(20003, status=401),
    ours(20005, status=403),
    ours(20404, status=404),
    ours(21212),
    ours(21606),
    ours(21609),
    ours(21703),
    rejected(21211, Code.INVALID_ADDRESS, "The 'To' number +1555 is not a valid phone number.", dead=True),
    rejected(21408, Code.PROVIDER),
    rejected(21602, Code.CONTENT),
    rejected(21608, Code.PROVIDER),
    rejected(21612, Code.UNREACHABLE),
    rejected(21617, Code.TOO_LONG),
    rejected(21620, Code.MEDIA),
    rejected(30007, Code.CONTENT),
    rejected(30450, Code.BLOCKED),
    refused(21610, OptedOut(said(21610)), "Attempt to send to unsubscribed recipient"),
    refused(21611, Retry(said(21611), MINUTES, "sender")),
    refused(30017, Retry(said(30017))),
    refused(30610, Retry(said(30610), DUE)),
    SendCase(
        name="429 without Retry-After",
        answer=refusal(20429, "Too Many Requests", 429),
        outcome=Retry(
            "Twilio asks to send more slowly: HTTP 429, code 20429: Too Many Requests", timedelta(seconds=1), "sender"
        ),
        source="twilio.com/docs/errors/20429, 2026-11",
    ),
    SendCase(
        name="429 with Retry-After and no JSON",
        answer=text_reply(429, "slow down", retry_after="7"),
        outcome=Retry("Twilio asks to send more slowly: HTTP 429", timedelta(seconds=7), "sender"),
        source="RFC 9110, 10.2.3",
    ),
    SendCase(
        name="a code that is not in the table",
        answer=refusal(21999, "Something new"),
        outcome=Rejected(Code.PROVIDER, "Twilio refused it: Something new", "21999"),
        source=ERROR_PAGES,
    ),
    SendCase(
        name="a problem of RFC 9457 with a code",
        answer=json_reply(400, {"type": "about:blank", "title": "Bad", "detail": "No such region", "code": 21408}),
        outcome=Rejected(Code.PROVIDER, said(21408, "No such region"), "21408"),
        source="github.com/twilio/twilio-python 9.13.0, twilio/base/exceptions.py",
    ),
)

BROKEN: tuple[SendCase, ...] = (
    SendCase(
        name="500",
        answer=refusal(20500, "Internal Server Error", 500),
        outcome=Unknown("Twilio answered HTTP 500, code 20500: Internal Server Error"),
        source=ERROR_PAGES,
    ),
    SendCase(
        name="503",
        answer=refusal(20503, "Service Unavailable", 503),
        outcome=Unknown("Twilio answered HTTP 503, code 20503: Service Unavailable"),
        source=ERROR_PAGES,
    ),
    SendCase(
        name="502 of a proxy",
        answer=text_reply(502, "<html>Bad gateway</html>", "text/html"),
        outcome=Unknown("Twilio answered HTTP 502"),
        source=MADE_UP,
    ),
    SendCase(
        name="408",
        answer=text_reply(408, ""),
        outcome=Unknown("Twilio answered HTTP 408"),
        source="RFC 9110, 15.5.9",
    ),
    SendCase(
        name="a redirect",
        answer=text_reply(302, "", location="https://elsewhere.example/"),
        outcome=Unknown("Twilio answered HTTP 302"),
        source=MADE_UP,
    ),
    *(
        SendCase(
            name=f"201 with {name}",
            answer=HttpResponse(201, {}, body),
            outcome=Unknown("Twilio answered HTTP 201 with something that is no message"),
            source=MADE_UP,
        )
        for name, body in {
            "HTML": b"<html>Welcome to the hotel's network</html>",
            "nothing": b"",
            "a list": b"[]",
            "a number": b"7",
            "half a message": b'{"sid": "SM',
            "an id of another type": b'{"sid": 7}',
            "an id that is none": b'{"sid": "SMxyz"}',
            "bytes that are no text": b'\xff\xfe{"sid"',
            "deep nesting": b"[" * 100_000,
        }.items()
    ),
    SendCase(
        name="403 of a proxy",
        answer=text_reply(403, "<html>Forbidden</html>", "text/html"),
        outcome=Misconfigured("Twilio does not let us in: HTTP 403"),
        source=MADE_UP,
    ),
    SendCase(
        name="404 of another server: api_url is wrong",
        answer=text_reply(404, "not found"),
        outcome=Misconfigured("Twilio does not let us in: HTTP 404"),
        source=MADE_UP,
    ),
    SendCase(
        name="400 that says nothing",
        answer=text_reply(400, ""),
        outcome=Rejected(Code.PROVIDER, "Twilio refused it: HTTP 400", "HTTP 400"),
        source=MADE_UP,
    ),
)

SMS_REFUSALS = (
    rejected(21214, Code.UNREACHABLE),
    rejected(21614, Code.INVALID_ADDRESS),
    rejected(30005, Code.INVALID_ADDRESS),
    ours(30034),
    refused(30640, OptedOut(said(30640))),
)

WHATSAPP_REFUSALS = (
    rejected(63003, Code.UNREACHABLE),
    rejected(63015, Code.PROVIDER),
    rejected(63016, Code.WINDOW_CLOSED),
    rejected(63028, Code.TEMPLATE),
    rejected(63049, Code.BLOCKED),
    ours(63007),
    ours(21655, scope="action"),
    ours(63041, scope="action"),
    ours(63042, scope="action"),
    refused(63014, OptedOut(said(63014))),
    refused(63018, Retry(said(63018), timedelta(seconds=10), "sender")),
)


def posted(name: str, fields: dict[str, str], *events: Event, source: str, url: str = CALLBACK_URL) -> CallbackCase:
    return CallbackCase(name=name, request=signed(fields, url=url), events=events, source=source)


def receipt(state: str, status: Status, **more: object) -> CallbackCase:
    expected = Receipt(status=status, ref=REF, provider_ids=(SID,), **more)  # type: ignore[arg-type]
    return posted(f"status {state}", status_fields(state), expected, source=GUIDE, url=STATUS_URL)


def failure(code: int, status: Status, state: str, *, sentence: str = "", dead: bool = False) -> CallbackCase:
    expected = Receipt(
        status=status,
        ref=REF,
        provider_ids=(SID,),
        code=ERRORS[code].why,
        reason=said(code, sentence),
        provider_code=str(code),
        address_dead=dead,
    )
    events: list[Event] = [expected]
    if ERRORS[code].verdict == "opt_out":
        wish = Consent(
            address=PERSON, wish="out", source="provider", reason=expected.reason, ref=REF, provider_ids=(SID,)
        )
        events.append(wish)
    fields = status_fields(state, ErrorCode=str(code), ErrorMessage=sentence)
    return posted(f"status {state} with {code}", fields, *events, source=ERROR_PAGES, url=STATUS_URL)


RECEIPTS: tuple[CallbackCase, ...] = (
    receipt("queued", Status.ACCEPTED),
    receipt("sending", Status.ACCEPTED),
    receipt("sent", Status.SENT),
    receipt("delivered", Status.DELIVERED),
    receipt("canceled", Status.CANCELLED),
    receipt("undelivered", Status.UNDELIVERED, code=Code.PROVIDER),
    failure(30003, Status.UNDELIVERED, "undelivered", sentence="Handset is off"),
    failure(21211, Status.FAILED, "failed", dead=True),
    failure(30001, Status.FAILED, "failed"),
    failure(30036, Status.EXPIRED, "failed"),
    failure(21610, Status.FAILED, "failed"),
    posted(
        "a status of a Messaging Service without our reference, in Twilio's order of fields",
        {
            "SmsStatus": "sent",
            "MessageStatus": "sent",
            "To": "2021",
            "MessagingServiceSid": "MGdb23ec0f89ee2632e46e91d8128f5e2b",
            "MessageSid": "SM0b6e2697aae04182a9f5b5c7a8994c7f",
            "AccountSid": ACCOUNT,
            "From": NUMBER,
            "ApiVersion": "2010-04-01",
        },
        Receipt(status=Status.SENT, provider_ids=("SM0b6e2697aae04182a9f5b5c7a8994c7f",)),
        source=COURIER,
    ),
    posted(
        "fields that nobody has seen yet",
        status_fields("delivered", RawDlrDoneDate="2606010800", Quantum="\N{SNOWMAN}"),
        Receipt(status=Status.DELIVERED, ref=REF, provider_ids=(SID,)),
        source=GUIDE,
        url=STATUS_URL,
    ),
    posted("a status that nobody knows", status_fields("teleported"), source=GUIDE, url=STATUS_URL),
    posted(
        "a receipt of another account", status_fields("sent", AccountSid=OTHER_ACCOUNT), source=GUIDE, url=STATUS_URL
    ),
)

FORGED: tuple[CallbackCase, ...] = (
    CallbackCase(
        name="signed with another token",
        request=signed(status_fields("delivered"), url=STATUS_URL, token="not ours"),
        events=(Receipt(status=Status.DELIVERED, ref=REF, provider_ids=(SID,)),),
        source=GUIDE,
        genuine=False,
    ),
    CallbackCase(
        name="not signed",
        request=callback(STATUS_URL, b"MessageStatus=delivered"),
        events=(),
        source=GUIDE,
        genuine=False,
    ),
)

LONG_SMS = "Thank you all so much for coming on Sunday \N{HEAVY BLACK HEART} and for the cakes, they were wonderful."

SMS_INBOUND: tuple[CallbackCase, ...] = (
    posted("a text", inbound_fields("Yes"), Inbound(provider_id=SID, address=PERSON, text="Yes"), source=COURIER),
    posted(
        "a picture",
        inbound_fields(
            "",
            NumMedia="2",
            MediaUrl0="https://api.twilio.com/Media/ME0",
            MediaContentType0="image/jpeg",
            MediaUrl1="https://api.twilio.com/Media/ME1",
        ),
        Inbound(
            provider_id=SID,
            address=PERSON,
            media=(
                Media(url="https://api.twilio.com/Media/ME0", content_type="image/jpeg"),
                Media(url="https://api.twilio.com/Media/ME1"),
            ),
        ),
        source=COURIER,
    ),
    posted(
        "a long text that came as base64",
        inbound_fields(base64.b64encode(LONG_SMS.encode()).decode()),
        Inbound(provider_id=SID, address=PERSON, text=LONG_SMS),
        source=COURIER,
    ),
    posted(
        "STOP that Advanced Opt-Out read",
        inbound_fields("basta", OptOutType="STOP", MessagingServiceSid=SERVICE),
        Inbound(provider_id=SID, address=PERSON, text="basta"),
        Consent(
            address=PERSON,
            wish="out",
            source="provider",
            reason="Twilio's Advanced Opt-Out read STOP",
            provider_ids=(SID,),
        ),
        source=GUIDE,
    ),
    posted(
        "START that Advanced Opt-Out read",
        inbound_fields("start", OptOutType="START"),
        Inbound(provider_id=SID, address=PERSON, text="start"),
        Consent(
            address=PERSON,
            wish="in",
            source="provider",
            reason="Twilio's Advanced Opt-Out read START",
            provider_ids=(SID,),
        ),
        source=GUIDE,
    ),
    posted(
        "HELP is no wish",
        inbound_fields("help", OptOutType="HELP"),
        Inbound(provider_id=SID, address=PERSON, text="help"),
        source=GUIDE,
    ),
    posted("to another number of the account", inbound_fields("Yes", To="+14155559999"), source=COURIER),
    posted("for another account", inbound_fields("Yes", AccountSid=OTHER_ACCOUNT), source=COURIER),
    posted("on WhatsApp, with the same number", whatsapp_fields(inbound_fields("Yes")), source=COURIER),
    posted("on another channel", inbound_fields("Yes", From="messenger:123", To=f"messenger:{NUMBER}"), source=COURIER),
)

WHATSAPP_CALLBACKS: tuple[CallbackCase, ...] = (
    posted(
        "a text",
        whatsapp_fields(inbound_fields("Yes"), ProfileName="Ada", WaId=PERSON[1:]),
        Inbound(provider_id=SID, address=PERSON, text="Yes", name="Ada"),
        source=COURIER,
    ),
    posted(
        "a pressed button that answers our message",
        whatsapp_fields(
            inbound_fields("I come"),
            ButtonText="I come",
            ButtonPayload="rsvp_yes",
            OriginalRepliedMessageSid=MEDIA_SID,
            OriginalRepliedMessageSender=f"whatsapp:{NUMBER}",
        ),
        Inbound(provider_id=SID, address=PERSON, text="I come", button="rsvp_yes", quotes=(MEDIA_SID,)),
        source=COURIER,
    ),
    posted(
        "a person with a user name, and the number behind it",
        whatsapp_fields(inbound_fields("Hi"), From="whatsapp:US.13491208655302741918", WaId=PERSON[1:]),
        Inbound(provider_id=SID, address="US.13491208655302741918", aliases=(PERSON,), text="Hi"),
        source=COURIER,
    ),
    posted(
        "a number, and the user id beside it",
        whatsapp_fields(inbound_fields("Hi"), ExternalUserId="whatsapp:US.13491208655302741918"),
        Inbound(provider_id=SID, address=PERSON, aliases=("US.13491208655302741918",), text="Hi"),
        source=COURIER,
    ),
    posted(
        "without the channel's prefix",
        inbound_fields("Hi", From=PERSON[1:]),
        Inbound(provider_id=SID, address=PERSON, text="Hi"),
        source=COURIER,
    ),
    posted(
        "a place",
        whatsapp_fields(inbound_fields(""), Latitude="51.5", Longitude="-0.12", Label="Church"),
        Inbound(provider_id=SID, address=PERSON, text="Church\n51.5, -0.12"),
        source=GUIDE,
    ),
    posted(
        "read",
        whatsapp_fields(status_fields("read"), ChannelPrefix="whatsapp", EventType="READ"),
        Receipt(status=Status.READ, ref=REF, provider_ids=(SID,)),
        source=GUIDE,
        url=STATUS_URL,
    ),
    failure(63016, Status.FAILED, "failed"),
    failure(63014, Status.UNDELIVERED, "undelivered"),
)

SMS_CASES = Cases(
    sends=(*CREATED, *SHARED_REFUSALS, *SMS_REFUSALS, *BROKEN), callbacks=(*RECEIPTS, *SMS_INBOUND, *FORGED)
)
WHATSAPP_CASES = Cases(
    sends=(*CREATED, *SHARED_REFUSALS, *WHATSAPP_REFUSALS, *BROKEN),
    callbacks=(*WHATSAPP_CALLBACKS, *FORGED),
)
