"""What Twilio's error codes mean: one table for the answer to a send and for the error that a status callback brings.

Titles are Twilio's, from its error dictionary (twilio.com/docs/api/errors, read 2026-11) or where a row says otherwise.
What follows from a code is our judgement, and an operator may override it: `errors = { 30008 = "permanent" }`.

Three codes are about one recipient, although Twilio files them under the account: a country that is not enabled
(21408), a trial account's unverified number (21608), a sandbox that the person has not joined (63015). Holding the
sender for them would hold everybody for one foreign number, so that recipient fails; twenty such in a row pause the
action anyway.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, Literal

from gateway import Code, Misconfigured, OptedOut, Outcome, Receipt, Rejected, Retry, Status

Verdict = Literal["permanent", "transient", "opt_out", "sender", "action", "address_dead"]
"""`permanent`: this recipient fails. `transient`: tried again. `opt_out`: the person left. `sender`: ours to repair.
`action`: the template is to be repaired. `address_dead`: it fails, and nothing more goes to the address."""

REASON_MAX: Final = 300  # characters of a stranger's text that are kept
CODE_MAX: Final = 10**6  # a number beyond this is no error code of Twilio's

PERMANENT: Final = "permanent"
TRANSIENT: Final = "transient"
OPT_OUT: Final = "opt_out"
SENDER: Final = "sender"
ACTION: Final = "action"
DEAD: Final = "address_dead"

DICTIONARY: Final = "twilio.com/docs/api/errors, 2026-11"
SKILLS: Final = "github.com/twilio/ai, skills/twilio, 2026-06-29"
UNREAD: Final = "known, page not read"

_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_NUMBER: Final = re.compile(r"(?:whatsapp:)?\+?\d{6,}")


@dataclass(frozen=True, slots=True)
class Meaning:
    """One row."""

    verdict: Verdict
    title: str
    why: Code = Code.PROVIDER  # of a recipient that fails, and of every failed receipt
    after: timedelta | None = None  # of `transient`: how long to wait; None: our back-off
    whole_sender: bool = False  # of `transient`: every message of the sender waits, not only this one
    source: str = DICTIONARY


_SECOND: Final = timedelta(seconds=1)
_MINUTES: Final = timedelta(minutes=5)
_HOUR: Final = timedelta(hours=1)

ERRORS: Final[Mapping[int, Meaning]] = {
    20003: Meaning(SENDER, "Permission denied"),
    20005: Meaning(SENDER, "Account not active"),
    # At a send it is the account's own path that was not found, so nobody's address is at fault.
    20404: Meaning(SENDER, "The requested resource was not found"),
    20429: Meaning(TRANSIENT, "Too many requests", after=_SECOND, whole_sender=True),  # certainly not processed
    21211: Meaning(DEAD, "Invalid 'To' phone number", Code.INVALID_ADDRESS),
    21212: Meaning(SENDER, "Invalid 'From' number"),
    21214: Meaning(PERMANENT, "'To' phone number cannot be reached", Code.UNREACHABLE),
    21217: Meaning(PERMANENT, "Phone number does not appear to be valid", Code.INVALID_ADDRESS),
    21408: Meaning(PERMANENT, "Permission to send to this region is not enabled"),
    21601: Meaning(SENDER, "'From' is not capable of SMS"),
    21602: Meaning(PERMANENT, "Message body is required", Code.CONTENT),
    21603: Meaning(PERMANENT, "'From' or 'MessagingServiceSid' is required"),
    21604: Meaning(PERMANENT, "'To' is required"),
    21606: Meaning(SENDER, "'From' is not a message-capable number of this account"),
    21608: Meaning(PERMANENT, "Trial account: 'To' is not verified"),
    21609: Meaning(SENDER, "Invalid 'StatusCallback' URL"),
    21610: Meaning(OPT_OUT, "Attempt to send to unsubscribed recipient", Code.BLOCKED),
    21611: Meaning(TRANSIENT, "'From' has exceeded its queue", after=_MINUTES, whole_sender=True),
    21612: Meaning(PERMANENT, "'To' is not reachable from this 'From'", Code.UNREACHABLE),
    21614: Meaning(PERMANENT, "'To' is not a valid mobile number", Code.INVALID_ADDRESS),
    21617: Meaning(PERMANENT, "Message body exceeds 1600 characters", Code.TOO_LONG),
    21620: Meaning(PERMANENT, "Invalid media URL", Code.MEDIA),
    21623: Meaning(PERMANENT, "Too many media files", Code.MEDIA),
    21654: Meaning(PERMANENT, "'ContentSid' is required", Code.TEMPLATE),
    21655: Meaning(ACTION, "Invalid 'ContentSid'", Code.TEMPLATE),
    21656: Meaning(PERMANENT, "Invalid 'ContentVariables'", Code.TEMPLATE),
    21659: Meaning(SENDER, "'From' is not a Twilio number or short code of this account", source=UNREAD),
    21660: Meaning(SENDER, "'From' does not belong to this account", source=UNREAD),
    21701: Meaning(SENDER, "The Messaging Service does not exist"),
    21702: Meaning(SENDER, "The Messaging Service is not available"),
    21703: Meaning(SENDER, "The Messaging Service has no number to send from"),
    21704: Meaning(SENDER, "The Messaging Service has no number to send from"),
    21705: Meaning(SENDER, "The Messaging Service is invalid"),
    30001: Meaning(TRANSIENT, "Queue overflow", after=_MINUTES, whole_sender=True),
    30002: Meaning(SENDER, "Account suspended"),
    30003: Meaning(TRANSIENT, "Unreachable destination handset", Code.UNREACHABLE, after=_HOUR),
    30004: Meaning(PERMANENT, "Message blocked", Code.BLOCKED),
    30005: Meaning(PERMANENT, "Unknown destination handset", Code.INVALID_ADDRESS),  # it "may" be gone: not dead
    30006: Meaning(PERMANENT, "Landline or unreachable carrier", Code.UNREACHABLE),
    30007: Meaning(PERMANENT, "Message filtered", Code.CONTENT),
    30008: Meaning(TRANSIENT, "Unknown error"),
    30009: Meaning(PERMANENT, "Missing inbound segment"),
    30010: Meaning(PERMANENT, "Message price exceeds the maximum"),
    30011: Meaning(PERMANENT, "MMS is not supported in the region of this number", Code.MEDIA),
    30012: Meaning(PERMANENT, "Time to live too small"),
    30013: Meaning(PERMANENT, "Time to live too big"),
    30017: Meaning(TRANSIENT, "Carrier network congestion"),
    30018: Meaning(SENDER, "Destination carrier requires sender id pre-registration"),
    30019: Meaning(PERMANENT, "Content size exceeds the carrier's limit", Code.TOO_LONG),
    30022: Meaning(TRANSIENT, "US A2P 10DLC rate limits exceeded", after=_MINUTES, whole_sender=True),
    30023: Meaning(TRANSIENT, "US A2P 10DLC daily message cap reached", after=_HOUR, whole_sender=True),
    30024: Meaning(SENDER, "Numeric sender id not provisioned on the carrier"),
    30027: Meaning(TRANSIENT, "T-Mobile daily message limit reached", after=_HOUR),
    30032: Meaning(SENDER, "Toll-free number has not been verified"),
    30034: Meaning(SENDER, "US A2P 10DLC: message from an unregistered number", source=SKILLS),
    30036: Meaning(PERMANENT, "Validity period expired", Code.EXPIRED, source=SKILLS),
    30409: Meaning(PERMANENT, "Message cannot be canceled"),
    30410: Meaning(TRANSIENT, "Provider timeout"),
    30450: Meaning(PERMANENT, "Blocked by SMS pumping protection", Code.BLOCKED, source=SKILLS),
    30610: Meaning(TRANSIENT, "Blocked in the recipient's quiet hours", Code.BLOCKED, after=_HOUR, source=SKILLS),
    # A person who sues senders: Twilio will not send, and neither must another route.
    30640: Meaning(OPT_OUT, "Recipient is a known TCPA litigator", Code.BLOCKED, source=SKILLS),
    63001: Meaning(SENDER, "Channel could not authenticate the request"),
    63003: Meaning(PERMANENT, "Channel could not find the 'To' address", Code.UNREACHABLE),  # it may join later
    63005: Meaning(PERMANENT, "Channel did not accept the content", Code.CONTENT),
    63006: Meaning(PERMANENT, "Channel could not format the content", Code.CONTENT),
    63007: Meaning(SENDER, "Channel could not find a sender with this 'From' address"),
    63009: Meaning(TRANSIENT, "Channel provider returned an error"),
    63010: Meaning(TRANSIENT, "Channel provider returned an internal error"),
    63012: Meaning(TRANSIENT, "Channel provider returned an internal service error"),
    63013: Meaning(PERMANENT, "Message violates the channel provider's policy", Code.CONTENT),
    63014: Meaning(OPT_OUT, "Blocked by the recipient", Code.BLOCKED),
    63015: Meaning(PERMANENT, "Recipient has not joined the sandbox"),
    63016: Meaning(PERMANENT, "Free text outside the allowed window: a template is needed", Code.WINDOW_CLOSED),
    63017: Meaning(TRANSIENT, "Account exceeded 2000 messages per second", after=_SECOND, whole_sender=True),
    63018: Meaning(TRANSIENT, "Channel rate limit exceeded", after=timedelta(seconds=10), whole_sender=True),
    63019: Meaning(TRANSIENT, "Media failed to download", Code.MEDIA),
    63020: Meaning(SENDER, "Business has not accepted Twilio's invitation at Meta"),
    63021: Meaning(PERMANENT, "Channel refused the content", Code.CONTENT),
    63024: Meaning(PERMANENT, "Invalid message recipient", Code.INVALID_ADDRESS),
    63026: Meaning(PERMANENT, "Message was flagged as spam", Code.BLOCKED),
    63027: Meaning(ACTION, "Template does not exist for this language", Code.TEMPLATE),
    63028: Meaning(PERMANENT, "Number of parameters does not fit the template", Code.TEMPLATE),
    63030: Meaning(PERMANENT, "Unsupported parameter for this type of message", Code.CONTENT),
    63031: Meaning(PERMANENT, "'From' and 'To' are the same", Code.INVALID_ADDRESS),
    63032: Meaning(PERMANENT, "WhatsApp's limits for this person keep the message back", Code.BLOCKED),
    63033: Meaning(OPT_OUT, "Recipient is blocked from receiving messages", Code.BLOCKED),
    63034: Meaning(PERMANENT, "Media exceeds the size limit", Code.MEDIA),
    63038: Meaning(TRANSIENT, "Account exceeded its daily limit of messages", after=_HOUR, whole_sender=True),
    63040: Meaning(ACTION, "Template was not accepted by WhatsApp", Code.TEMPLATE),
    63041: Meaning(ACTION, "Template is paused", Code.TEMPLATE),
    63042: Meaning(ACTION, "Template is disabled", Code.TEMPLATE, source=UNREAD),
    # Another try within 24 hours harms the sender's standing, and no retry of ours waits that long: a person's does.
    63049: Meaning(PERMANENT, "Meta chose not to deliver this marketing message", Code.BLOCKED, source=UNREAD),
    68001: Meaning(TRANSIENT, "Network error"),
}


class ErrorTable:
    """The table above, with an operator's overrides."""

    def __init__(self, overrides: Mapping[str, Verdict]) -> None:
        self._overrides = {int(code): verdict for code, verdict in overrides.items()}

    def meaning(self, code: int | None) -> Meaning | None:
        """What a code means; None for one that nobody knows."""
        if code is None:
            return None
        known = ERRORS.get(code)
        verdict = self._overrides.get(code)
        if verdict is None:
            return known
        base = known or Meaning(verdict, "An error of Twilio's that is not in our table")
        return replace(base, verdict=verdict, why=Code.INVALID_ADDRESS if verdict == DEAD else base.why)


def error_code(value: object) -> int | None:
    """A code as Twilio writes it: a number in JSON, digits in a form. None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < len(str(CODE_MAX)):
        return int(value) or None
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < CODE_MAX:
        return value
    return None


def cleaned(said: object) -> str:
    """A stranger's text without control characters and at most 300 characters; "" for what is no text."""
    return _UNSAFE.sub(" ", said)[:REASON_MAX].strip() if isinstance(said, str) else ""


def discreet(text: str) -> str:
    """Without numbers of people: what is said of a sender is logged and shown to all who see it."""
    return _NUMBER.sub("(a number)", text)


def outcome_of(code: int, meaning: Meaning, said: str) -> Outcome:
    """What a refusal means for the message that was to be sent. `said`: Twilio's own sentence, cleaned."""
    reason = _sentence(code, meaning, said)
    match meaning.verdict:
        case "transient":
            scope: Literal["message", "sender"] = "sender" if meaning.whole_sender else "message"
            return Retry(discreet(reason), meaning.after, scope)
        case "opt_out":
            return OptedOut(reason)
        case "sender":
            return Misconfigured(discreet(reason))
        case "action":
            return Misconfigured(discreet(reason), scope="action")
        case "permanent" | "address_dead":
            return Rejected(meaning.why, reason, str(code), meaning.verdict == DEAD)


def failed_receipt(receipt: Receipt, code: int | None, meaning: Meaning | None, said: str) -> Receipt:
    """`receipt`, which says that a message failed, with the reason that the provider gave."""
    if code is None:
        why = None if receipt.status is Status.CANCELLED else Code.PROVIDER
        return _with_reason(receipt, why, said or None)
    if meaning is None:
        return _with_reason(receipt, Code.PROVIDER, said or f"Twilio's error {code}", code)
    expired = meaning.why is Code.EXPIRED
    return _with_reason(
        receipt,
        meaning.why,
        _sentence(code, meaning, said),
        code,
        dead=meaning.verdict == DEAD,
        status=Status.EXPIRED if expired else receipt.status,
    )


def _with_reason(
    receipt: Receipt,
    why: Code | None,
    reason: str | None,
    code: int | None = None,
    dead: bool = False,
    status: Status | None = None,
) -> Receipt:
    return Receipt(
        status=status or receipt.status,
        ref=receipt.ref,
        provider_ids=receipt.provider_ids,
        at=receipt.at,
        code=why,
        reason=reason,
        provider_code=str(code) if code is not None else None,
        address_dead=dead,
    )


def _sentence(code: int, meaning: Meaning, said: str) -> str:
    return f"{meaning.title} (Twilio {code})" + (f": {said}" if said and said != meaning.title else "")
