"""Recorded callbacks of Meta's, and what is made of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gateway import CallbackAnswer, Code, Consent, Event, Inbound, Media, Receipt, Status, TemplateChange
from gateway.testing.cases import CallbackCase, callback
from gateway_whatsapp.errors import ERRORS
from gateway_whatsapp.inbound import UNSUPPORTED
from tests.plugins.whatsapp.harness import (
    ACCOUNT,
    CALLBACK_URL,
    MEDIA_URL,
    NUMBER_ID,
    OTHER_NUMBER_ID,
    PARENT,
    PERSON,
    QUOTED,
    REF,
    USER,
    VERIFY_TOKEN,
    WAMID,
    Value,
    contact,
    failure,
    message,
    signed,
    signed_bytes,
    status,
    told,
    value,
    webhook,
    written,
)

STATUS_PAGE = "developers.facebook.com, WhatsApp, webhooks/reference/messages/status, 2026-05-21"
HANDSHAKE_PAGE = "developers.facebook.com/docs/graph-api/webhooks/getting-started, 2026-11"
ERROR_PAGE = "developers.facebook.com, WhatsApp, support/error-codes, 2026-05-15"
COURIER = "github.com/nyaruka/courier, handlers/meta testdata, 2026-11"
PYWA = "github.com/david-lev/pywa, tests/data/updates, 2026-11"

TOLD_AT = datetime(2023, 10, 25, 20, 49, 5, tzinfo=UTC)
WRITTEN_AT = datetime(2025, 6, 8, 20, 59, 43, tzinfo=UTC)
CHANGED_AT = datetime(2024, 11, 15, 21, 22, 1, tzinfo=UTC)


def said(code: int, details: str = "") -> str:
    return f"{ERRORS[code].title} (Meta {code})" + (f": {details}" if details else "")


def receipt(state: Status, **more: Any) -> Receipt:
    return Receipt(**{"status": state, "ref": REF, "provider_ids": (WAMID,), "at": TOLD_AT, **more})


def inbound(text: str = "", **more: Any) -> Inbound:
    fields = {"provider_id": WAMID, "address": PERSON, "text": text, "at": WRITTEN_AT, "name": "Sheena Nelson"}
    return Inbound(**{**fields, **more})


def statuses(name: str, given: Value, *events: Event, source: str = STATUS_PAGE) -> CallbackCase:
    return CallbackCase(name=f"status: {name}", request=told(given), events=events, source=source)


def failed(code: int, details: str = "", *more: Event) -> CallbackCase:
    row = ERRORS[code]
    expected = receipt(Status.FAILED, code=row.why, reason=said(code, details), provider_code=str(code))
    return statuses(f"failed with {code}", failure(code, row.title, details), expected, *more, source=ERROR_PAGE)


def messages(
    name: str, given: Value, *events: Event, contacts: list[Value] | None = None, source: str = PYWA
) -> CallbackCase:
    return CallbackCase(
        name=f"message: {name}", request=written(given, contacts=contacts), events=events, source=source
    )


def preference(wish: str, **more: Any) -> Value:
    fields = {"wa_id": PERSON[1:], "detail": f"User requested to {wish} marketing messages", "value": wish}
    return {**fields, "category": "marketing_messages", "timestamp": 1731705721, **more}


def preferences(name: str, given: Value, *events: Event) -> CallbackCase:
    request = signed(webhook("user_preferences", value(contacts=[{"wa_id": PERSON[1:]}], user_preferences=[given])))
    return CallbackCase(name=f"preference: {name}", request=request, events=events, source=PYWA)


def template(name: str, event: str, *events: Event, reason: str = "NONE", account: str = ACCOUNT) -> CallbackCase:
    news = {
        "event": event,
        "message_template_id": 1689556908129832,
        "message_template_name": "order_confirmation",
        "message_template_language": "en_US",
        "reason": reason,
        "message_template_category": "UTILITY",
    }
    request = signed(webhook("message_template_status_update", news, account=account))
    return CallbackCase(name=f"template: {name}", request=request, events=events, source=PYWA)


STATUSES: tuple[CallbackCase, ...] = (
    statuses("sent", status("sent"), receipt(Status.SENT)),
    statuses("delivered", status("delivered"), receipt(Status.DELIVERED)),
    statuses("read", status("read"), receipt(Status.READ)),
    statuses("played", status("played")),
    statuses("deleted", status("deleted")),
    statuses("one that nobody knows", status("teleported")),
    statuses("milliseconds", status("sent", timestamp="1698266945000"), receipt(Status.SENT), source=COURIER),
    statuses("a number as timestamp", status("sent", timestamp=1698266945), receipt(Status.SENT), source=COURIER),
    statuses("without our reference", status("sent", biz_opaque_callback_data=None), receipt(Status.SENT, ref=None)),
    statuses("of another program", status("sent", biz_opaque_callback_data="Order 7!"), receipt(Status.SENT, ref=None)),
    failed(
        131047,
        "Message failed to send because more than 24 hours have passed since the customer last replied to this number.",
    ),
    failed(131026, "Message Undeliverable."),
    failed(131049),
    failed(132015),
    failed(131053),
    failed(
        131050,
        "",
        Consent(
            address=PERSON,
            wish="out",
            source="provider",
            category="marketing",
            at=TOLD_AT,
            reason=said(131050),
            ref=REF,
            provider_ids=(WAMID,),
        ),
    ),
    statuses(
        "failed with a code that nobody knows",
        failure(139999, "Something new"),
        receipt(Status.FAILED, code=Code.PROVIDER, reason="Something new", provider_code="139999"),
    ),
    statuses("failed without a reason", status("failed"), receipt(Status.FAILED, code=Code.PROVIDER)),
    CallbackCase(
        name="status: without contacts, with a conversation, as before 2026",
        request=signed(
            webhook(
                "messages",
                value(
                    statuses=[
                        status(
                            "sent",
                            conversation={"id": "7270432eae", "expiration_timestamp": "1698339900"},
                            pricing={"billable": True, "pricing_model": "CBP", "category": "service"},
                        )
                    ]
                ),
            )
        ),
        events=(receipt(Status.SENT),),
        source=PYWA,
    ),
    CallbackCase(
        name="status: for another number of the account",
        request=told(status("sent"), number_id=OTHER_NUMBER_ID),
        events=(),
        source=STATUS_PAGE,
    ),
    CallbackCase(
        name="a batch of statuses and messages, of two numbers",
        request=signed(
            {
                "object": "whatsapp_business_account",
                "entry": [
                    webhook("messages", value(statuses=[status("sent"), status("delivered")]))["entry"][0],
                    webhook(
                        "messages",
                        value(OTHER_NUMBER_ID, statuses=[status("failed")]),
                        value(contacts=[contact()], messages=[message("text", {"body": "Hi"})], statuses=[]),
                    )["entry"][0],
                ],
            }
        ),
        events=(receipt(Status.SENT), receipt(Status.DELIVERED), inbound("Hi")),
        source=STATUS_PAGE,
    ),
    CallbackCase(
        name="an error of the number, with nothing else",
        request=signed(webhook("messages", value(errors=[{"code": 130429, "title": "Rate limit hit"}]))),
        events=(),
        source=PYWA,
    ),
)

MESSAGES: tuple[CallbackCase, ...] = (
    messages(
        "text",
        message("text", {"body": "Does it come in another color?"}),
        inbound("Does it come in another color?"),
    ),
    messages(
        "an answer that quotes us",
        message("text", {"body": "Yes"}, context={"from": "15550783881", "id": QUOTED}),
        inbound("Yes", quotes=(QUOTED,)),
    ),
    messages(
        "forwarded, which quotes nobody",
        message("text", {"body": "Look"}, context={"forwarded": True}),
        inbound("Look"),
    ),
    messages(
        "a quick reply of a template",
        message("button", {"payload": "Unsubscribe", "text": "Unsubscribe"}, context={"id": QUOTED}),
        inbound("Unsubscribe", button="Unsubscribe", quotes=(QUOTED,)),
    ),
    messages(
        "a quick reply without context",
        message("button", {"payload": "rsvp_yes", "text": "I come"}),
        inbound("I come", button="rsvp_yes"),
    ),
    messages(
        "a pressed button",
        message("interactive", {"type": "button_reply", "button_reply": {"id": "cancel-button", "title": "Cancel"}}),
        inbound("Cancel", button="cancel-button"),
    ),
    messages(
        "a chosen row",
        message("interactive", {"type": "list_reply", "list_reply": {"id": "r7", "title": "Row", "description": "x"}}),
        inbound("Row", button="r7"),
    ),
    messages(
        "a filled-in flow",
        message(
            "interactive",
            {"type": "nfm_reply", "nfm_reply": {"name": "flow", "body": "Sent", "response_json": '{"seats":2}'}},
        ),
        inbound('Sent\n{"seats":2}'),
    ),
    messages("an interaction that nobody knows", message("interactive", {"type": "call_permission_reply"})),
    messages(
        "a picture with a caption",
        message("image", {"id": "1003383421387256", "mime_type": "image/jpeg", "sha256": "a=", "caption": "Our cake"}),
        inbound("Our cake", media=(Media(url=f"{MEDIA_URL}/1003383421387256", content_type="image/jpeg"),)),
    ),
    messages(
        "a document with an id and a URL that lasts five minutes",
        message(
            "document",
            {"id": "77", "url": "https://lookaside.fbsbx.com/x", "mime_type": "application/pdf", "filename": "a.pdf"},
        ),
        inbound(media=(Media(url=f"{MEDIA_URL}/77", content_type="application/pdf", filename="a.pdf"),)),
    ),
    messages(
        "a voice message with a URL alone",
        message(
            "audio",
            {"url": "https://lookaside.fbsbx.com/x", "mime_type": "audio/ogg; codecs=opus", "voice": True},
        ),
        inbound(media=(Media(url="https://lookaside.fbsbx.com/x", content_type="audio/ogg; codecs=opus"),)),
    ),
    messages(
        "a sticker",
        message("sticker", {"id": "9", "mime_type": "image/webp", "animated": False}),
        inbound(media=(Media(url=f"{MEDIA_URL}/9", content_type="image/webp"),)),
    ),
    messages("a video that cannot be asked for", message("video", {"id": "../me", "url": "file:///x"}), inbound()),
    messages(
        "a place",
        message("location", {"latitude": 51.5, "longitude": -0.12, "name": "Church", "address": "1 High Street"}),
        inbound("Church\n1 High Street\n51.5, -0.12"),
    ),
    messages(
        "shared contacts",
        message(
            "contacts",
            [{"name": {"formatted_name": "Ada L."}, "phones": [{"phone": "+1 (650) 555-1234", "type": "CELL"}]}, {}],
        ),
        inbound("Ada L., +1 (650) 555-1234"),
    ),
    messages(
        "an order",
        message(
            "order",
            {
                "catalog_id": "1",
                "text": "Please",
                "product_items": [
                    {"product_retailer_id": "sku-17", "quantity": 2, "item_price": 9.5, "currency": "EUR"},
                    {"product_retailer_id": "sku-18"},
                ],
            },
        ),
        inbound("Please\n2 x sku-17 (9.5 EUR)\n1 x sku-18"),
    ),
    messages(
        "a reaction",
        message("reaction", {"message_id": QUOTED, "emoji": "\N{THUMBS UP SIGN}"}),
        inbound("\N{THUMBS UP SIGN}", quotes=(QUOTED,)),
    ),
    messages("a reaction that was taken back", message("reaction", {"message_id": QUOTED})),
    messages(
        "an edited text",
        message("edit", {"original_message_id": QUOTED, "message": {"type": "text", "text": {"body": "STOP"}}}),
        inbound("STOP"),
    ),
    messages("a revoked one", message("revoke", {"original_message_id": QUOTED})),
    messages(
        "unsupported",
        message("unsupported", {"type": "poll"}, errors=[{"code": 131051, "title": "Message type unknown"}]),
        inbound(UNSUPPORTED),
    ),
    messages("of a kind that nobody knows", message("hologram", {"body": "Hi"})),
    messages(
        "the person's number changed",
        message(
            "system",
            {
                "body": "User A changed from 16505551234 to 12195555358",
                "wa_id": "12195555358",
                "type": "user_changed_number",
            },
        ),
        inbound("User A changed from 16505551234 to 12195555358", name=None, automatic=True),
        contacts=[],
    ),
    CallbackCase(
        name="message: the person's user id changed",
        request=signed(
            webhook(
                "messages",
                value(
                    messages=[
                        {
                            "id": WAMID,
                            "timestamp": "1749416383",
                            "type": "system",
                            "system": {
                                "body": "User changed from CO.1234567890 to MX.0987654321",
                                "user_id": "MX.0987654321",
                                "previous_user_id": "CO.1234567890",
                                "type": "user_changed_user_id",
                            },
                        }
                    ]
                ),
            )
        ),
        events=(
            inbound(
                "User changed from CO.1234567890 to MX.0987654321",
                address="MX.0987654321",
                aliases=("CO.1234567890",),
                name=None,
                automatic=True,
            ),
        ),
        source=PYWA,
    ),
    messages(
        "a number and the user id beside it",
        message("text", {"body": "Hi"}, from_user_id=USER),
        inbound("Hi", aliases=(USER, PARENT)),
        contacts=[contact(user_id=USER, parent_user_id=PARENT)],
    ),
    messages(
        "a user id without a number",
        {"from_user_id": USER, "id": WAMID, "timestamp": "1749416383", "type": "text", "text": {"body": "Hi"}},
        inbound("Hi", address=USER, name="sheena"),
        contacts=[{"profile": {"username": "sheena"}, "user_id": USER}],
        source=COURIER,
    ),
    messages(
        "a user id where the number was",
        message("text", {"body": "Hi"}, **{"from": USER}),
        inbound("Hi", address=USER),
        contacts=[contact(wa_id=USER)],
        source=COURIER,
    ),
    messages(
        "a user id, and the number in the contact",
        message("text", {"body": "Hi"}, **{"from": USER}),
        inbound("Hi", address=USER, aliases=(PERSON,)),
        contacts=[contact(user_id=USER)],
        source=COURIER,
    ),
    messages(
        "no contact is this person",
        message("text", {"body": "Hi"}),
        inbound("Hi", name=None),
        contacts=[contact(wa_id="19995550000", user_id="US.9")],
    ),
    CallbackCase(
        name="message: two people in one batch",
        request=written(
            message("text", {"body": "One"}),
            message("text", {"body": "Two"}, id=QUOTED, **{"from": "19995550000"}),
            contacts=[contact(), contact(wa_id="19995550000", profile={"name": "Bob"})],
        ),
        events=(inbound("One"), inbound("Two", provider_id=QUOTED, address="+19995550000", name="Bob")),
        source=PYWA,
    ),
    CallbackCase(
        name="message: to another number of the account",
        request=written(message("text", {"body": "Hi"}), number_id=OTHER_NUMBER_ID),
        events=(),
        source=PYWA,
    ),
    CallbackCase(
        name="message: half an emoji in a name",
        request=signed_bytes(written(message("text", {"body": "Hi"})).body.replace(b"Nelson", b"\\ud83d")),
        events=(inbound("Hi", name="Sheena ?"),),
        source="made up: what a name looks like that somebody cut",
    ),
    messages("from nobody", message("text", {"body": "Hi"}, **{"from": ""}), contacts=[]),
)

OTHERS: tuple[CallbackCase, ...] = (
    preferences(
        "stop",
        preference("stop"),
        Consent(
            address=PERSON,
            wish="out",
            source="provider",
            category="marketing",
            at=CHANGED_AT,
            reason="User requested to stop marketing messages",
        ),
    ),
    preferences(
        "resume",
        preference("resume", timestamp="1731705721"),
        Consent(
            address=PERSON,
            wish="in",
            source="provider",
            category="marketing",
            at=CHANGED_AT,
            reason="User requested to resume marketing messages",
        ),
    ),
    preferences("signup, which takes no opt-out back", preference("signup")),
    preferences("of another kind", preference("stop", category="calls")),
    preferences(
        "of a person without a number",
        preference("stop", wa_id=None, user_id=USER, detail=None),
        Consent(address=USER, wish="out", source="provider", category="marketing", at=CHANGED_AT),
    ),
    template("approved", "APPROVED", TemplateChange(name="order_confirmation", language="en_US", status="approved")),
    template(
        "rejected",
        "REJECTED",
        TemplateChange(name="order_confirmation", language="en_US", status="rejected", reason="INVALID_FORMAT"),
        reason="INVALID_FORMAT",
    ),
    template("paused", "PAUSED", TemplateChange(name="order_confirmation", language="en_US", status="paused")),
    template("disabled", "DISABLED", TemplateChange(name="order_confirmation", language="en_US", status="rejected")),
    template("in a state that nobody knows", "SLEEPING"),
    template("of another account", "PAUSED", account="1"),
    CallbackCase(
        name="a field that nobody asked for",
        request=signed(
            webhook("account_update", {"event": "VERIFIED_ACCOUNT", "metadata": {"phone_number_id": NUMBER_ID}})
        ),
        events=(),
        source=PYWA,
    ),
    CallbackCase(
        name="signed with another secret",
        request=signed(webhook("messages", value(statuses=[status("sent")])), secret="not ours"),
        events=(receipt(Status.SENT),),
        source=HANDSHAKE_PAGE,
        genuine=False,
    ),
    CallbackCase(
        name="not signed",
        request=callback(CALLBACK_URL, b'{"entry":[]}', content_type="application/json"),
        events=(),
        source=HANDSHAKE_PAGE,
        genuine=False,
    ),
    CallbackCase(
        name="the handshake",
        request=callback(
            f"{CALLBACK_URL}?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={VERIFY_TOKEN}",
            method="GET",
        ),
        events=(),
        source=HANDSHAKE_PAGE,
        answer=CallbackAnswer(200, b"1158201444"),
    ),
    CallbackCase(
        name="a handshake with a wrong token",
        request=callback(
            f"{CALLBACK_URL}?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=x", method="GET"
        ),
        events=(),
        source=HANDSHAKE_PAGE,
        genuine=False,
    ),
)

CALLBACKS = (*STATUSES, *MESSAGES, *OTHERS)
