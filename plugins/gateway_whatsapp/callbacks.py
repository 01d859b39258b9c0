"""What Meta posts to us: batches of statuses, messages, preferences and news of templates.

Sources: developers.facebook.com, WhatsApp, webhooks/reference, 2026-05-21; pywa 4.5.0, tests/data/updates, and
nyaruka/courier, handlers/meta testdata, 2026-11. `contacts` beside statuses is new in 2026, and older captures lack it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from gateway import CallbackRequest, Consent, Event, Receipt, Status, TemplateChange
from gateway_whatsapp.errors import MARKETING, OPT_OUT, ErrorTable, MetaError, cleaned, failed_receipt, meta_error
from gateway_whatsapp.inbound import People, inbound_of
from gateway_whatsapp.values import Json, address, instant, json_object, mapping, mappings, provider_id, text

State = Literal["approved", "pending", "rejected", "paused"]

# "delivered" is left out while the person has the chat open; `played` (of a voice message) and `deleted` tell nothing.
STATUSES: Final[Mapping[str, Status]] = {
    "sent": Status.SENT,
    "delivered": Status.DELIVERED,
    "read": Status.READ,
    "failed": Status.FAILED,
}
# Every state of pywa 4.5.0 (types/templates.py, 2026-11). Only an approved template can be sent; the others are told
# apart by whether they may become so again.
TEMPLATE_STATES: Final[Mapping[str, State]] = {
    "APPROVED": "approved",
    "REINSTATED": "approved",
    "UNARCHIVED": "approved",
    "PENDING": "pending",
    "IN_APPEAL": "pending",
    "PAUSED": "paused",
    "FLAGGED": "paused",
    "LIMIT_EXCEEDED": "paused",
    "LOCKED": "paused",
    "ARCHIVED": "paused",
    "REJECTED": "rejected",
    "DISABLED": "rejected",
    "PENDING_DELETION": "rejected",
    "DELETED": "rejected",
}
NO_REASON: Final = frozenset({"", "NONE"})

_REF: Final = re.compile(r"[a-z0-9_]{1,40}")
_WISHES: Final[Mapping[str, Literal["out", "in"]]] = {"stop": "out", "resume": "in"}
_MARKETING_MESSAGES: Final = "marketing_messages"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """Whose callbacks these are: one number of one business account. `media_url`: where files are asked for."""

    phone_number_id: str
    business_account_id: str
    media_url: str


def events_of(request: CallbackRequest, mailbox: Mailbox, table: ErrorTable) -> Sequence[Event]:
    """Every event in a callback; none of what is for another number or cannot be read."""
    found: list[Event] = []
    for entry in mappings(json_object(request.body).get("entry")):
        for change in mappings(entry.get("changes")):
            found.extend(_events_of_change(change, text(entry.get("id")), mailbox, table))
    return found


def _events_of_change(change: Json, business_account_id: str, mailbox: Mailbox, table: ErrorTable) -> Iterator[Event]:
    value = mapping(change.get("value"))
    # News of a template belongs to the business account, and names no number.
    if change.get("field") == "message_template_status_update":
        if business_account_id == mailbox.business_account_id:
            yield from _template_change(value)
    elif mapping(value.get("metadata")).get("phone_number_id") != mailbox.phone_number_id:
        return
    elif change.get("field") == "messages":
        yield from _messages(value, mailbox, table)
    elif change.get("field") == "user_preferences":
        for preference in mappings(value.get("user_preferences")):
            yield from _preference(preference)


def _messages(value: Json, mailbox: Mailbox, table: ErrorTable) -> Iterator[Event]:
    for status in mappings(value.get("statuses")):
        yield from _receipt(status, table)
    people = People.of(value.get("contacts"))
    for message in mappings(value.get("messages")):
        inbound = inbound_of(message, people, mailbox.media_url)
        if inbound is not None:
            yield inbound


def _receipt(said: Json, table: ErrorTable) -> Iterator[Event]:
    id, echoed, state = provider_id(said.get("id")), said.get("biz_opaque_callback_data"), said.get("status")
    ref = echoed if isinstance(echoed, str) and _REF.fullmatch(echoed) else None
    status = STATUSES.get(state) if isinstance(state, str) else None
    if status is None or (id is None and ref is None):
        return
    at = instant(said.get("timestamp"))
    receipt = Receipt(status=status, ref=ref, provider_ids=(id,) if id is not None else (), at=at)
    if status is not Status.FAILED:
        yield receipt
        return
    error = _first_error(said.get("errors"))
    meaning = table.meaning(error.code) if error is not None else None
    failed = failed_receipt(receipt, error, meaning)
    yield failed
    if meaning is not None and meaning.verdict == OPT_OUT:
        yield Consent(
            address=address(said.get("recipient_id")) or address(said.get("recipient_user_id")),
            wish="out",
            source="provider",
            category=meaning.category,
            at=at,
            reason=failed.reason,
            ref=ref,
            provider_ids=failed.provider_ids,
        )


def _first_error(errors: object) -> MetaError | None:
    return next((error for error in map(meta_error, mappings(errors)) if error is not None), None)


def _preference(said: Json) -> Iterator[Event]:
    """A person stopped marketing messages in the chat's own menu, or wants them again."""
    value = said.get("value")
    wish = _WISHES.get(value) if isinstance(value, str) else None
    person = address(said.get("wa_id")) or address(said.get("user_id"))
    if wish is None or not person or said.get("category", _MARKETING_MESSAGES) != _MARKETING_MESSAGES:
        return
    yield Consent(
        address=person,
        wish=wish,
        source="provider",
        category=MARKETING,
        at=instant(said.get("timestamp")),
        reason=cleaned(said.get("detail")) or None,
    )


def _template_change(said: Json) -> Iterator[Event]:
    name, language = text(said.get("message_template_name")), text(said.get("message_template_language"))
    status = template_state(said.get("event"))
    if name and language and status is not None:
        yield TemplateChange(name=name, language=language, status=status, reason=template_reason(said.get("reason")))


def template_state(said: object) -> State | None:
    """What a state of Meta's is to us; None for one that nobody knows."""
    return TEMPLATE_STATES.get(said.upper()) if isinstance(said, str) else None


def template_reason(said: object) -> str | None:
    """Why a template is not approved, as Meta's word for it."""
    reason = cleaned(said)
    return None if reason.upper() in NO_REASON else reason
