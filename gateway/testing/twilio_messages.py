"""Messages as the Twilio simulator keeps and shows them, and what Twilio refuses at once.

Sources: twilio/twilio-oai, twilio_api_v2010.json (the message resource and its example), and
twilio.com/docs/iam/test-credentials (the numbers that always fail), 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Final
from urllib.parse import urlencode, urlsplit

from gateway import count_segments

BODY_MAX: Final = 1_600
SHORT: Final = 35  # characters: one segment even if each is two UTF-16 units
PAGE_SIZE: Final = 50
PAGE_SIZE_MAX: Final = 1_000
MEDIA_COUNT_MAX: Final = 10
E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")
WHATSAPP_ADDRESS: Final = re.compile(r"whatsapp:(\+[1-9][0-9]{6,14}|[A-Z]{2}\.[A-Za-z0-9.]{1,140})")
REF: Final = re.compile(r"[?&]ref=([a-z0-9_]{1,40})")

MAGIC_TO: Final[Mapping[str, int]] = {
    "+15005550001": 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    "+15005550004": 21610,
    "+15005550009": 21614,
}
MAGIC_FROM: Final[Mapping[str, int]] = {"+15005550001": 21212, "+15005550007": 21606, "+15005550008": 21611}
SENTENCES: Final[Mapping[int, str]] = {
    20003: "Authenticate",
    20404: "The requested resource was not found",
    20429: "Too Many Requests",
    20500: "An internal server error has occurred",
    20503: "Service unavailable",
    21211: "The 'To' number {to} is not a valid phone number.",
    21212: "The 'From' number {sender} is not a valid phone number.",
    21408: "Permission to send an SMS has not been enabled for the region indicated by the 'To' number: {to}.",
    21602: "Message body is required.",
    21603: "A 'From' phone number is required.",
    21604: "A 'To' phone number is required.",
    21606: "The From phone number {sender} is not a valid, SMS-capable inbound phone number for your account.",
    21609: "The 'StatusCallback' URL is not a valid URL.",
    21610: "Attempt to send to unsubscribed recipient",
    21611: "This 'From' number has exceeded the maximum number of queued messages",
    21612: "The 'To' phone number {to} is not currently reachable",
    21614: "'To' number {to} is not a valid mobile number",
    21617: "The concatenated message body exceeds the 1600 character limit.",
    21623: "Number of media files exceeds the limit of 10",
    21655: "The ContentSid is invalid",
    63007: "Twilio could not find a Channel with the specified From address",
}

Form = Mapping[str, str]


@dataclass(slots=True, kw_only=True)
class SimMessage:
    """One message that the simulator took. `status` and `error_code` are how it ends."""

    sid: str
    to: str  # with the channel's prefix
    sender: str | None  # None: the Messaging Service chose
    service_sid: str | None
    body: str  # of a template: rendered
    media: tuple[str, ...]
    content_sid: str | None
    variables: str | None  # ContentVariables as they came
    callback: str | None  # StatusCallback, with its fragment
    created_at: datetime
    first_status: str  # what its sender was told
    status: str = "delivered"
    error_code: int | None = None

    @property
    def ref(self) -> str:
        """The gateway's reference, from the callback's URL; "" without one."""
        found = REF.search(self.callback or "")
        return found[1] if found else ""

    @property
    def on_whatsapp(self) -> bool:
        return self.to.startswith("whatsapp:")


def resource(message: SimMessage, account_sid: str, status: str, num_segments: str) -> dict[str, object]:
    """The message as the API shows it. Numbers of media and segments are texts, as Twilio's are."""
    path = f"/2010-04-01/Accounts/{account_sid}/Messages/{message.sid}"
    at = format_datetime(message.created_at)
    return {
        "account_sid": account_sid,
        "api_version": "2010-04-01",
        "body": message.body,
        "date_created": at,
        "date_sent": at,
        "date_updated": at,
        "direction": "outbound-api",
        "error_code": message.error_code if status in {"failed", "undelivered"} else None,
        "error_message": None,
        "from": message.sender,
        "messaging_service_sid": message.service_sid,
        "num_media": str(len(message.media)),
        "num_segments": num_segments,
        "price": None,
        "price_unit": None,
        "sid": message.sid,
        "status": status,
        "subresource_uris": {"media": f"{path}/Media.json"},
        "to": message.to,
        "uri": f"{path}.json",
    }


def refusal_code(form: Form, media: Sequence[str], opted_out: frozenset[str] | set[str]) -> int | None:
    """The error that Twilio answers to such a request, None if it takes it."""
    to, sender, body = form.get("To", ""), form.get("From", ""), form.get("Body", "")
    code = _address_code(to, sender, service="MessagingServiceSid" in form)
    if code is not None:
        return code
    if to in opted_out:
        return 21610
    if len(body) > BODY_MAX:
        return 21617
    if not body and not media and "ContentSid" not in form:
        return 21602
    if len(media) > MEDIA_COUNT_MAX:
        return 21623
    return 21609 if not _is_callable(form.get("StatusCallback")) else None


def _address_code(to: str, sender: str, *, service: bool) -> int | None:
    if not to:
        return 21604
    if not sender and not service:
        return 21603
    if to in MAGIC_TO:
        return MAGIC_TO[to]
    if sender in MAGIC_FROM:
        return MAGIC_FROM[sender]
    if not E164.fullmatch(to) and not WHATSAPP_ADDRESS.fullmatch(to):
        return 21211
    return 63007 if sender and to.startswith("whatsapp:") != sender.startswith("whatsapp:") else None


def _is_callable(callback: str | None) -> bool:
    """Whether Twilio takes this StatusCallback: a URL whose host has no underscore."""
    if callback is None:
        return True
    try:
        parts = urlsplit(callback)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and "_" not in (parts.hostname or "")


def error_body(code: int, status: int, message: str | None = None, **values: str) -> dict[str, object]:
    """An error as the API answers it."""
    sentence = message or SENTENCES.get(code, "An error occurred").format_map({"to": "", "sender": "", **values})
    more_info = f"https://www.twilio.com/docs/errors/{code}"
    return {"code": code, "message": sentence, "more_info": more_info, "status": status}


def listed(messages: Sequence[SimMessage], query: Form, account_sid: str) -> dict[str, object]:
    """One page of GET Messages, the newest first, of messages in the order in which they came."""
    size = min(PAGE_SIZE_MAX, whole_number(query, "PageSize", PAGE_SIZE))
    page = whole_number(query, "Page", 0)
    matching = [message for message in reversed(messages) if _is_asked_for(message, query)]
    start = page * size
    path = f"/2010-04-01/Accounts/{account_sid}/Messages.json"
    asked = {name: value for name, value in query.items() if name not in {"Page", "PageToken"}}

    def uri(number: int) -> str:
        return f"{path}?{urlencode({**asked, 'PageSize': str(size), 'Page': str(number)})}"

    return {
        "messages": [shown(message, account_sid) for message in matching[start : start + size]],
        "first_page_uri": uri(0),
        "next_page_uri": f"{uri(page + 1)}&PageToken=PA{matching[start].sid}" if start + size < len(matching) else None,
        "previous_page_uri": uri(page - 1) if page else None,
        "page": page,
        "page_size": size,
        "start": start,
        "end": min(start + size, len(matching)) - 1,
        "uri": uri(page),
    }


def shown(message: SimMessage, account_sid: str) -> dict[str, object]:
    """The message as it is now."""
    return resource(message, account_sid, message.status, segments(message))


def segments(message: SimMessage) -> str:
    """Counted once a sender is known; short texts are one in any encoding."""
    if message.service_sid is not None and message.sender is None:
        return "0"
    return "1" if len(message.body) <= SHORT else str(count_segments(message.body).segments)


def _is_asked_for(message: SimMessage, query: Form) -> bool:
    if query.get("To", message.to) != message.to or query.get("From", message.sender) != message.sender:
        return False
    day = message.created_at.date().isoformat()
    # Of `DateSent>=2026-06-01` the name is what stands before the =.
    earliest, latest = query.get("DateSent>", ""), query.get("DateSent<", "9999")
    return query.get("DateSent", day) == day and earliest <= day <= latest


def whole_number(query: Form, name: str, default: int) -> int:
    """A number of the query; what is none counts as not given."""
    text = query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default
