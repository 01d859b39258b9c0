"""What Twilio posts to us: status callbacks and inbound messages, of SMS and of WhatsApp.

Sources: twilio.com/docs/messaging/guides/webhook-request and .../outbound-message-status-in-status-callbacks, 2026-07;
nyaruka/courier, handlers/twiml, 2026-11, for what they look like in production. Twilio adds fields without notice.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from gateway import CallbackRequest, Consent, Event, Inbound, Media, Receipt, Status
from gateway_twilio.api import NEVER_LEFT, STATUSES
from gateway_twilio.errors import OPT_OUT, ErrorTable, cleaned, error_code, failed_receipt
from gateway_twilio.settings import CHANNEL_PREFIX
from gateway_twilio.signature import FORM, form_pairs

MEDIA_MAX: Final = 10  # files of one message
BASE64_MIN: Final = 64  # characters: shorter texts are not what Twilio's fault makes of concatenated messages

_REF: Final = re.compile(r"[a-z0-9_]{1,40}")
_SID: Final = re.compile(r"[A-Za-z0-9]{2,64}")
_DIGITS: Final = re.compile(r"[0-9]{7,15}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_OTHER_CHANNEL: Final = re.compile(r"[a-z]{2,20}:", re.IGNORECASE)
_WHATSAPP_FIELDS: Final = frozenset({"WaId", "ProfileName", "ExternalUserId"})
_WISHES: Final[Mapping[str, Literal["out", "in"]]] = {"STOP": "out", "START": "in"}  # HELP is no wish

Fields = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """Whose callbacks these are: one channel of one account, and its number or Messaging Service."""

    channel: Literal["sms", "whatsapp"]
    account_sid: str
    number: str | None
    service_sid: str | None


def events_of(request: CallbackRequest, mailbox: Mailbox, table: ErrorTable) -> Sequence[Event]:
    """Every event in a callback; none in one that is for somebody else or that cannot be read."""
    fields = fields_of(request)
    if fields.get("AccountSid") != mailbox.account_sid:
        return ()
    state = (fields.get("MessageStatus") or fields.get("SmsStatus") or "").lower()
    if state == "received" or (not state and "Body" in fields):
        return _inbound(fields, mailbox)
    ref = next((value for name, value in request.query if name == "ref" and _REF.fullmatch(value)), None)
    status = STATUSES.get(state)
    if status is None or not (ref or _is_outbound_of(fields, mailbox)):
        return ()
    return _receipt(fields, status, ref, table)


def fields_of(request: CallbackRequest) -> Fields:
    """The fields by name: of a form, or of the query where Twilio is set to call with GET."""
    if request.method == "GET":
        return {name: _plain(value) for name, value in request.query}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    pairs = form_pairs(request.body) if kind == FORM else None
    # As `_plain`; what was decoded has no unpaired surrogates.
    return {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace").replace("\0", "")
        for name, value in pairs or ()
    }


def _plain(value: str) -> str:
    """Without what no database keeps: NULs and unpaired surrogates."""
    return value.replace("\0", "").encode("utf-8", "replace").decode()


def bare(address: str) -> str:
    """An address without the channel's prefix, and a WhatsApp number with its plus."""
    stripped = address.strip()
    if stripped[: len(CHANNEL_PREFIX)].lower() == CHANNEL_PREFIX:
        stripped = stripped[len(CHANNEL_PREFIX) :].strip()
        return f"+{stripped}" if _DIGITS.fullmatch(stripped) else stripped
    return stripped


def _same(one: str, other: str) -> bool:
    """Whether two addresses are one, written with plus and prefix or without."""
    return bare(one).lstrip("+").casefold() == bare(other).lstrip("+").casefold()


def _on_whatsapp(fields: Fields) -> bool:
    prefixed = any(fields.get(name, "").lower().startswith(CHANNEL_PREFIX) for name in ("From", "To"))
    return prefixed or fields.get("ChannelPrefix") == "whatsapp" or not _WHATSAPP_FIELDS.isdisjoint(fields)


def _is_ours(fields: Fields, own: str, mailbox: Mailbox) -> bool:
    """Whether a message to or from `own` belongs to this number or service, on this channel."""
    service = fields.get("MessagingServiceSid")
    if mailbox.number is not None and not _same(own, mailbox.number):
        return False
    if mailbox.service_sid is not None and service and service != mailbox.service_sid:
        return False
    if mailbox.channel == "whatsapp":
        # Some callbacks of WhatsApp senders come without any prefix: then our own number has to vouch for them.
        return _on_whatsapp(fields) or mailbox.number is not None
    return not _on_whatsapp(fields) and not _OTHER_CHANNEL.match(own)


def _is_outbound_of(fields: Fields, mailbox: Mailbox) -> bool:
    return _is_ours(fields, fields.get("From", ""), mailbox)


def _receipt(fields: Fields, status: Status, ref: str | None, table: ErrorTable) -> Sequence[Event]:
    sid = fields.get("MessageSid") or fields.get("SmsSid") or ""
    ids = (sid,) if _SID.fullmatch(sid) else ()
    if not ids and ref is None:
        return ()
    receipt = Receipt(status=status, ref=ref, provider_ids=ids)
    if status not in NEVER_LEFT:
        return (receipt,)
    code = error_code(fields.get("ErrorCode"))
    meaning = table.meaning(code)
    said = cleaned(fields.get("ErrorMessage") or fields.get("ChannelStatusMessage"))
    failed = failed_receipt(receipt, code, meaning, said)
    if meaning is None or meaning.verdict != OPT_OUT:
        return (failed,)
    address = bare(fields.get("To", ""))
    wish = Consent(
        address=address, wish="out", source="provider", reason=failed.reason, ref=ref, provider_ids=failed.provider_ids
    )
    return failed, wish


def _inbound(fields: Fields, mailbox: Mailbox) -> Sequence[Event]:
    sid = next((fields[name] for name in ("MessageSid", "SmsSid", "SmsMessageSid") if fields.get(name)), "")
    address = _person(fields, mailbox)
    if not _SID.fullmatch(sid) or not address or not _is_ours(fields, fields.get("To", ""), mailbox):
        return ()
    quoted = fields.get("OriginalRepliedMessageSid", "")
    message = Inbound(
        provider_id=sid,
        address=address,
        aliases=_aliases(fields, address),
        text=_text(fields, mailbox),
        quotes=(quoted,) if _SID.fullmatch(quoted) else (),
        button=fields.get("ButtonPayload") or fields.get("ListId") or None,
        media=_media(fields),
        name=fields.get("ProfileName") or None,
    )
    wish = _WISHES.get(fields.get("OptOutType", "").upper())
    if wish is None:
        return (message,)
    reason = f"Twilio's Advanced Opt-Out read {fields['OptOutType'].upper()}"
    return message, Consent(address=address, wish=wish, source="provider", reason=reason, provider_ids=(sid,))


def _person(fields: Fields, mailbox: Mailbox) -> str:
    """Who wrote: as the channel spells it, if From says so without the channel's prefix too."""
    sender = fields.get("From", "").strip()
    prefixed = sender.lower().startswith(CHANNEL_PREFIX)
    return bare(sender if prefixed or mailbox.channel == "sms" else CHANNEL_PREFIX + sender)


def _aliases(fields: Fields, address: str) -> tuple[str, ...]:
    """The same person's other ids: a business-scoped user id, and the number behind it."""
    number = fields.get("WaId", "")
    candidates = (bare(fields.get("ExternalUserId", "")), f"+{number}" if _DIGITS.fullmatch(number) else "")
    return tuple(dict.fromkeys(one for one in candidates if one and one != address))


def _text(fields: Fields, mailbox: Mailbox) -> str:
    body = fields.get("Body", "")
    if body:
        return unpacked(body) if mailbox.channel == "sms" else body
    if "Latitude" in fields and "Longitude" in fields:
        place = (fields.get("Label", ""), fields.get("Address", ""), f"{fields['Latitude']}, {fields['Longitude']}")
        return "\n".join(part for part in place if part)
    return fields.get("ButtonText", "")


def unpacked(body: str) -> str:
    """A long SMS as it was written: Twilio now and then delivers concatenated ones as base64.

    Read so only if nothing speaks against it: one long word of base64 that holds a readable UTF-8 text.
    """
    packed = body.replace("\r", "").replace("\n", "")
    if len(packed) < BASE64_MIN:
        return body
    try:
        text = b64decode(packed, validate=True).decode()
    except ValueError:
        return body
    return body if _CONTROL.search(text) else text


def _media(fields: Fields) -> tuple[Media, ...]:
    """By reference: fetching one needs the account's credentials."""
    urls = ((fields.get(f"MediaUrl{index}", ""), fields.get(f"MediaContentType{index}")) for index in range(MEDIA_MAX))
    return tuple(Media(url=url, content_type=kind or None) for url, kind in urls if url.startswith(("https:", "http:")))
