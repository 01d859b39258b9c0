"""Twilio's adapters as the daemon would make them, and callbacks signed as Twilio signs them."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from gateway import CallbackRequest, HttpResponse, Outbound, Question, TemplateUse
from gateway.contract import Http
from gateway.testing.cases import callback
from gateway.testing.doubles import NOW, RecordingLog, ScriptedHttp, json_reply, make_message, make_tools
from gateway.validation import convert
from gateway_twilio.settings import SmsSettings, WhatsAppSettings
from gateway_twilio.sms import TwilioSms
from gateway_twilio.whatsapp import TwilioWhatsApp

ACCOUNT = "AC" + "a1" * 16
OTHER_ACCOUNT = "AC" + "b2" * 16
SERVICE = "MG" + "c3" * 16
KEY = "SK" + "d4" * 16
TOKEN = "0123456789abcdef0123456789abcdef"
SID = "SM" + "e5" * 16
MEDIA_SID = "MM" + "f6" * 16
CONTENT = "HX" + "07" * 16
NUMBER = "+14155552345"
PERSON = "+14155550100"
REF = "msg_0c3v8h2k9m4qa"
CALLBACK_URL = "https://gateway.example/callbacks/main"
STATUS_URL = f"{CALLBACK_URL}?ref={REF}"
MESSAGES_URL = f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}/Messages"

__all__ = ["NOW", "RecordingLog", "ScriptedHttp", "json_reply", "make_message"]


def _table(own: str | None, more: Mapping[str, Any]) -> dict[str, Any]:
    """A sender's table, as it is read from gateway.toml."""
    return {"account_sid": ACCOUNT, "auth_token": TOKEN, **({"from": own} if own is not None else {}), **more}


def sms(
    http: Http | None = None, *, callback_url: str | None = CALLBACK_URL, own: str | None = NUMBER, **more: Any
) -> TwilioSms:
    return TwilioSms(convert(_table(own, more), SmsSettings), make_tools(http, callback_url=callback_url))


def whatsapp(
    http: Http | None = None,
    *,
    callback_url: str | None = CALLBACK_URL,
    own: str | None = NUMBER,
    log: RecordingLog | None = None,
    **more: Any,
) -> TwilioWhatsApp:
    settings = convert(_table(own, more), WhatsAppSettings)
    return TwilioWhatsApp(settings, make_tools(http, callback_url=callback_url, log=log))


def signed(fields: Mapping[str, str], *, url: str = CALLBACK_URL, token: str = TOKEN) -> CallbackRequest:
    """A form posted by Twilio: signed over the URL, then each name with its value, in the order of names."""
    text = url + "".join(name + fields[name] for name in sorted(fields))
    signature = base64.b64encode(hmac.digest(token.encode(), text.encode(), "sha1")).decode()
    return callback(url, urlencode(fields).encode(), headers={"X-Twilio-Signature": signature})


def status_fields(state: str, **more: str) -> dict[str, str]:
    """Twilio's status callback for an SMS of ours."""
    fields = {
        "SmsSid": SID,
        "SmsStatus": state,
        "MessageStatus": state,
        "To": PERSON,
        "MessageSid": SID,
        "AccountSid": ACCOUNT,
        "From": NUMBER,
        "ApiVersion": "2010-04-01",
    }
    return {**fields, **more}


def inbound_fields(text: str, **more: str) -> dict[str, str]:
    """Twilio's webhook for an SMS to us."""
    fields = {
        "ToCountry": "US",
        "ToState": "CA",
        "SmsMessageSid": SID,
        "NumMedia": "0",
        "ToCity": "",
        "FromZip": "94105",
        "SmsSid": SID,
        "SmsStatus": "received",
        "Body": text,
        "FromCountry": "US",
        "To": NUMBER,
        "NumSegments": "1",
        "MessageSid": SID,
        "AccountSid": ACCOUNT,
        "From": PERSON,
        "ApiVersion": "2010-04-01",
    }
    return {**fields, **more}


def whatsapp_fields(fields: Mapping[str, str], **more: str) -> dict[str, str]:
    """The same on WhatsApp: both addresses have the channel's prefix."""
    prefixed = {"From": f"whatsapp:{fields['From']}", "To": f"whatsapp:{fields['To']}"}
    return {**fields, **prefixed, **more}


def resource(**more: object) -> dict[str, object]:
    """A message as the API shows it: the example of POST Messages in twilio-oai, 2026-11, with our own ids."""
    fields: dict[str, object] = {
        "account_sid": ACCOUNT,
        "api_version": "2010-04-01",
        "body": "Hello",
        "date_created": "Mon, 01 Jun 2026 08:00:01 +0000",
        "date_sent": "Mon, 01 Jun 2026 08:00:01 +0000",
        "date_updated": "Mon, 01 Jun 2026 08:00:01 +0000",
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": NUMBER,
        "num_media": "0",
        "num_segments": "1",
        "price": None,
        "price_unit": None,
        "messaging_service_sid": None,
        "sid": SID,
        "status": "queued",
        "subresource_uris": {"media": f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{SID}/Media.json"},
        "to": PERSON,
        "uri": f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{SID}.json",
    }
    return {**fields, **more}


def listing(*messages: Mapping[str, object], next_page_uri: str | None = None) -> HttpResponse:
    """A page of GET Messages."""
    return json_reply(
        200,
        {"messages": messages, "next_page_uri": next_page_uri, "previous_page_uri": None, "page": 0, "page_size": 50},
    )


def refusal(code: int, message: str, status: int = 400) -> HttpResponse:
    """An error as the Messages API answers it."""
    more_info = f"https://www.twilio.com/docs/errors/{code}"
    return json_reply(status, {"code": code, "message": message, "more_info": more_info, "status": status})


def template_message(**parameters: str) -> Outbound:
    use = TemplateUse("reminder", "en", parameters, {"content_sid": CONTENT, "text": "Hi {{1}}, see you at {{2}}."})
    return make_message(PERSON, None, template=use)


def question(message: Outbound | None = None, *provider_ids: str) -> Question:
    return Question(message=message or make_message(PERSON), provider_ids=provider_ids, attempted_at=NOW)
