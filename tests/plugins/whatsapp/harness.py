"""Meta's webhooks, signed as Meta signs them, and what its Graph API answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway import CallbackRequest, HttpResponse, Media, Outbound, TemplateUse
from gateway.contract import Http
from gateway.testing.cases import callback
from gateway.testing.doubles import NOW, RecordingLog, ScriptedHttp, json_reply, make_message, make_settings, make_tools
from gateway_whatsapp.cloud import WhatsAppCloud
from gateway_whatsapp.settings import CloudSettings
from gateway_whatsapp.signature import signature

NUMBER_ID = "106540352242922"
OTHER_NUMBER_ID = "106540352242999"
ACCOUNT = "102290129340398"
SECRET = "app-secret-canary-5Jq8"
TOKEN = "EAAJB-token-canary-9Xw2"
VERIFY_TOKEN = "meatyhamhock-canary-1Ks7"
PERSON = "+16505551234"
USER = "US.13491208655302741918"
PARENT = "US.ENT.11815799212886844830"
WAMID = "wamid.HBgLMTY1MDM4Nzk0MzkVAgARGBJCOTY3NDc0NDFDRUI3NTA0Q0UA"
QUOTED = "wamid.HBgLMTY0NjcwNDM1OTUVAgARGBI1RjQyNUE3NEYxMzAzMzQ5MkEA"
REF = "msg_0c3v8h2k9m4qa"
CALLBACK_URL = "https://gateway.example/callbacks/main"
MEDIA_URL = "https://graph.facebook.com/v23.0"
MESSAGES_URL = f"{MEDIA_URL}/{NUMBER_ID}/messages"
SETTINGS: Mapping[str, object] = {
    "phone_number_id": NUMBER_ID,
    "business_account_id": ACCOUNT,
    "access_token": TOKEN,
    "app_secret": SECRET,
    "verify_token": VERIFY_TOKEN,
}

Value = dict[str, Any]

__all__ = ["NOW", "RecordingLog", "ScriptedHttp", "json_reply", "make_message"]


def cloud(
    http: Http | None = None, *, callback_url: str | None = CALLBACK_URL, log: RecordingLog | None = None, **more: Any
) -> WhatsAppCloud:
    """The adapter, as the daemon would make it of a sender's table."""
    settings = make_settings({**SETTINGS, **more}, CloudSettings)
    return WhatsAppCloud(settings, make_tools(http, callback_url=callback_url, log=log))


def template_message(
    parameters: Mapping[str, str] | None = None,
    *,
    to: str = PERSON,
    media: tuple[Media, ...] = (),
    details: Mapping[str, object] | None = None,
) -> Outbound:
    """A message with a template. `details`: what the list of templates says of it; None: it was never listed."""
    use = TemplateUse("order_update", "en_US", parameters or {}, details or {})
    return make_message(to, None, template=use, media=media)


def signed(document: object, *, secret: str = SECRET) -> CallbackRequest:
    """A webhook as it arrives: characters beyond ASCII are escaped in the bytes that are signed."""
    body = json.dumps(document, separators=(",", ":")).encode()
    return signed_bytes(body, secret=secret)


def signed_bytes(body: bytes, *, secret: str = SECRET) -> CallbackRequest:
    claimed = signature(secret.encode(), body).decode()
    headers = {"X-Hub-Signature-256": claimed, "User-Agent": "facebookexternalua"}
    return callback(CALLBACK_URL, body, headers=headers, content_type="application/json")


def webhook(field: str, *values: Value, account: str = ACCOUNT) -> Value:
    """A batch: one entry with one change for each value."""
    changes = [{"value": value, "field": field} for value in values]
    return {"object": "whatsapp_business_account", "entry": [{"id": account, "changes": changes}]}


def value(number_id: str = NUMBER_ID, **more: Any) -> Value:
    """What a change of one of our numbers holds."""
    metadata = {"display_phone_number": "15550783881", "phone_number_id": number_id}
    return {"messaging_product": "whatsapp", "metadata": metadata, **more}


def status(state: str, **more: Any) -> Value:
    """One status, as since 2026."""
    fields = {
        "id": WAMID,
        "status": state,
        "timestamp": "1698266945",
        "recipient_id": PERSON[1:],
        "recipient_user_id": USER,
        "biz_opaque_callback_data": REF,
        "pricing": {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "utility"},
    }
    return {**fields, **more}


def contact(**more: Any) -> Value:
    return {"profile": {"name": "Sheena Nelson"}, "wa_id": PERSON[1:], **more}


def message(kind: str, part: object, **more: Any) -> Value:
    """One message of a person, as before there were user ids."""
    return {"from": PERSON[1:], "id": WAMID, "timestamp": "1749416383", "type": kind, kind: part, **more}


def written(*messages: Value, contacts: list[Value] | None = None, number_id: str = NUMBER_ID) -> CallbackRequest:
    """A webhook with messages of people."""
    beside = [contact()] if contacts is None else contacts
    return signed(webhook("messages", value(number_id, contacts=beside, messages=list(messages))))


def told(*statuses: Value, number_id: str = NUMBER_ID) -> CallbackRequest:
    """A webhook with statuses."""
    return signed(webhook("messages", value(number_id, contacts=[contact(user_id=USER)], statuses=list(statuses))))


def failure(code: object, title: str = "", details: str = "") -> Value:
    """The status of a message that failed."""
    error = {"code": code, "title": title, "message": title, "error_data": {"details": details}}
    return status("failed", errors=[error])


def accepted(message_status: str | None = None, **more: Any) -> HttpResponse:
    """The answer to a message that was taken."""
    taken = {"id": WAMID, **({"message_status": message_status} if message_status is not None else {}), **more}
    contacts = [{"input": PERSON, "wa_id": PERSON[1:]}]
    return json_reply(200, {"messaging_product": "whatsapp", "contacts": contacts, "messages": [taken]})


def refusal(code: int, title: str, details: str | None = None, *, http_status: int = 400, **more: Any) -> HttpResponse:
    """An error as the Graph API answers it."""
    data = {} if details is None else {"error_data": {"messaging_product": "whatsapp", "details": details}}
    error = {"message": f"(#{code}) {title}", "type": "OAuthException", "code": code, "fbtrace_id": "AZ1", **data}
    return json_reply(http_status, {"error": {**error, **more}})
