"""What Meta's error codes mean: one table for the answer to a send and for the error that a status callback brings.

Only the code counts, never the HTTP status: sources give three statuses for one code, and Meta says to use the code
(developers.facebook.com, WhatsApp, support/error-codes, 2026-05-15). Titles are Meta's, as pywa 4.5.0 (errors.py) and
gokapso/whatsapp-cloud-api-js (src/errors) list them, 2026-11, unless a row says otherwise. What follows from a code is
our judgement, and an operator may override it: `errors = { 131026 = "address_dead" }`.

Two codes are about one recipient although a setting of the account would help: a test number's recipient who is not on
its list (131030) and a country that the business may not write to (130497). Holding the sender for them would hold
everybody for one number, so that recipient fails; twenty such in a row pause the action anyway.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, Literal

from gateway import Code, Misconfigured, OptedOut, Outcome, Receipt, Rejected, Retry

Verdict = Literal["permanent", "transient", "opt_out", "sender", "action", "address_dead"]
"""`permanent`: this recipient fails. `transient`: tried again. `opt_out`: the person left. `sender`: ours to repair.
`action`: the template is to be repaired. `address_dead`: it fails, and nothing more goes to the address."""

REASON_MAX: Final = 300  # characters of a stranger's text that are kept
CODE_MAX: Final = 10**8  # a number beyond this is no error code of Meta's
MARKETING: Final = "marketing"  # the category that a person can stop at WhatsApp
PAIR_BASE: Final = 4  # seconds: Meta asks to wait 4^n after the n-th refusal of one recipient
PAIR_EXPONENT_MAX: Final = 7  # 4.5 hours

PERMANENT: Final = "permanent"
TRANSIENT: Final = "transient"
OPT_OUT: Final = "opt_out"
SENDER: Final = "sender"
ACTION: Final = "action"
DEAD: Final = "address_dead"

LISTED: Final = "pywa 4.5.0 errors.py and gokapso src/errors, 2026-11"
COURIER: Final = "github.com/nyaruka/courier, handlers/meta, 2026-11"
VENDORS: Final = "two vendors' documents that quote Meta, 2026-11"
SINCE_V23: Final = "developers.facebook.com, WhatsApp, changelog, 2025-05-29: since version 23.0 of the API"
GRAPH: Final = "developers.facebook.com/docs/graph-api/guides/error-handling"

_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_NUMBER: Final = re.compile(r"\+?\d{7,}")  # a code has six digits
_TOKEN: Final = re.compile(r"EAA[\w-]{8,}")  # how every access token of Meta's begins
_CODE_PREFIX: Final = re.compile(r"\A\(#\d{1,9}\)\s*")


@dataclass(frozen=True, slots=True)
class Meaning:
    """One row."""

    verdict: Verdict
    title: str
    why: Code = Code.PROVIDER  # of a recipient that fails, and of every failed receipt
    after: timedelta | None = None  # of `transient`: how long to wait; None: our back-off
    whole_sender: bool = False  # of `transient`: every message of the sender waits, not only this one
    per_recipient: bool = False  # of `transient`: wait four times as long after each attempt
    tries_max: int | None = None  # of `transient`: after so many attempts this recipient fails
    category: str | None = None  # of `opt_out`: what the person left; None: everything
    source: str = LISTED


_SECONDS: Final = timedelta(seconds=5)
_MINUTES: Final = timedelta(minutes=5)
_HOUR: Final = timedelta(hours=1)
FEW: Final = 5  # attempts: what Meta cannot explain may never pass

ERRORS: Final[Mapping[int, Meaning]] = {
    0: Meaning(SENDER, "Could not authenticate"),
    1: Meaning(TRANSIENT, "API unknown", source=GRAPH),
    2: Meaning(TRANSIENT, "API service is down or overloaded", source=GRAPH),
    3: Meaning(SENDER, "The app may not use this API"),
    4: Meaning(TRANSIENT, "The app's call rate limit is reached", after=_MINUTES, whole_sender=True),
    10: Meaning(SENDER, "Permission is not granted or was removed"),
    33: Meaning(SENDER, "The business phone number does not exist"),
    100: Meaning(PERMANENT, "Invalid parameter"),
    104: Meaning(SENDER, "An access token is required", source=GRAPH),
    190: Meaning(SENDER, "The access token has expired or is invalid"),
    **{code: Meaning(SENDER, "Permission is not granted or was removed", source=GRAPH) for code in range(200, 300)},
    368: Meaning(SENDER, "Temporarily blocked for violations of policy"),
    80007: Meaning(TRANSIENT, "The business account's rate limit is reached", after=_MINUTES, whole_sender=True),
    130429: Meaning(TRANSIENT, "The number's throughput is reached", after=_SECONDS, whole_sender=True),
    130472: Meaning(PERMANENT, "The person is part of an experiment and gets no marketing", Code.BLOCKED),
    130497: Meaning(PERMANENT, "The business may not write to people in this country"),
    131000: Meaning(TRANSIENT, "Something went wrong", tries_max=FEW),
    131005: Meaning(SENDER, "Access denied"),
    131008: Meaning(PERMANENT, "A required parameter is missing"),
    131009: Meaning(PERMANENT, "A parameter's value is not valid"),
    131014: Meaning(TRANSIENT, "The media link could not be fetched", Code.MEDIA, tries_max=2, source=COURIER),
    131016: Meaning(TRANSIENT, "Service unavailable"),
    131021: Meaning(PERMANENT, "The recipient is the sender", Code.INVALID_ADDRESS),
    # Not on WhatsApp, an old client, terms not accepted: any of them may pass, so the address is not dead.
    131026: Meaning(PERMANENT, "Undeliverable", Code.UNREACHABLE),
    131030: Meaning(PERMANENT, "The recipient is not on the test number's list"),
    131031: Meaning(SENDER, "The account is locked"),
    131037: Meaning(SENDER, "The number's display name is not approved"),
    131042: Meaning(SENDER, "Something is wrong with the payment method"),
    131044: Meaning(SENDER, "The business is not eligible: payment"),
    131045: Meaning(SENDER, "The number is not registered properly"),
    131047: Meaning(PERMANENT, "More than 24 hours since the person last wrote", Code.WINDOW_CLOSED),
    131048: Meaning(TRANSIENT, "The number's spam rate limit is reached", after=_HOUR, whole_sender=True),
    # Another try within 24 hours is refused again, and no retry of ours waits that long: a person's does.
    131049: Meaning(PERMANENT, "Not delivered, to keep the ecosystem healthy", Code.BLOCKED),
    131050: Meaning(
        OPT_OUT, "The person stopped marketing messages of this business", Code.BLOCKED, category=MARKETING
    ),
    131051: Meaning(PERMANENT, "Unsupported type of message", Code.CONTENT),
    131052: Meaning(TRANSIENT, "Media could not be downloaded", Code.MEDIA, tries_max=2),
    131053: Meaning(TRANSIENT, "Media could not be uploaded", Code.MEDIA, tries_max=2, source=COURIER),
    131056: Meaning(TRANSIENT, "Too many messages to this recipient", per_recipient=True, source=VENDORS),
    # While Meta gives the number more throughput, for a minute or so, nothing can be sent from it.
    131057: Meaning(TRANSIENT, "The account is in maintenance", after=timedelta(minutes=1), whole_sender=True),
    131062: Meaning(PERMANENT, "This message cannot go to a business-scoped user id", Code.UNREACHABLE),
    131063: Meaning(ACTION, "Marketing templates are disabled for the Cloud API", Code.TEMPLATE),
    131064: Meaning(TRANSIENT, "Limited for templates in the wrong category", after=_HOUR, whole_sender=True),
    132000: Meaning(PERMANENT, "The number of parameters does not fit the template", Code.TEMPLATE),
    132001: Meaning(ACTION, "The template does not exist in this language, or is not approved", Code.TEMPLATE),
    132005: Meaning(PERMANENT, "The template is too long with its parameters", Code.TEMPLATE),
    132007: Meaning(PERMANENT, "The template's content violates a policy", Code.CONTENT),
    132008: Meaning(PERMANENT, "A parameter's value does not fit the template", Code.TEMPLATE),
    132012: Meaning(PERMANENT, "A parameter's format does not fit the template", Code.TEMPLATE),
    132015: Meaning(ACTION, "The template is paused", Code.TEMPLATE),
    132016: Meaning(ACTION, "The template is disabled", Code.TEMPLATE),
    132018: Meaning(PERMANENT, "A parameter cannot be put into the template", Code.TEMPLATE, source=SINCE_V23),
    132068: Meaning(ACTION, "The template's flow is blocked", Code.TEMPLATE),
    132069: Meaning(TRANSIENT, "The template's flow is throttled", Code.TEMPLATE, after=_MINUTES),
    133000: Meaning(SENDER, "An earlier deregistration is incomplete"),
    133004: Meaning(TRANSIENT, "The server is temporarily unavailable"),
    133005: Meaning(SENDER, "The two-step PIN is wrong"),
    133006: Meaning(SENDER, "The number has to be verified again"),
    133008: Meaning(SENDER, "Too many guesses of the two-step PIN"),
    133009: Meaning(SENDER, "The two-step PIN was guessed too fast"),
    133010: Meaning(SENDER, "The number is not registered"),
    133015: Meaning(SENDER, "The number was deleted a short while ago"),
    133016: Meaning(TRANSIENT, "Registered and deregistered too often", after=_HOUR, whole_sender=True, source=COURIER),
    134011: Meaning(SENDER, "The terms of payments are not accepted"),
    135000: Meaning(PERMANENT, "Generic user error"),
    137000: Meaning(PERMANENT, "The identity key does not match"),
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
        base = known or Meaning(verdict, "An error of Meta's that is not in our table")
        return replace(base, verdict=verdict, why=Code.INVALID_ADDRESS if verdict == DEAD else base.why, tries_max=None)


@dataclass(frozen=True, slots=True)
class MetaError:
    """An error as Meta tells it, in an answer or in a callback: its code, and its own words without line breaks.

    `transient`: Meta says that it will pass, which counts only where the table knows nothing.
    """

    code: int | None
    said: str = ""
    transient: bool = False


def meta_error(value: object) -> MetaError | None:
    """The error in a JSON value; None if there is none."""
    if not isinstance(value, dict):
        return None
    code = error_code(value.get("code"))
    if code == 100 and (error_code(value.get("error_subcode")) == 33 or value.get("type") == "GraphMethodException"):
        # The object in the path is not there or not ours to see: our phone_number_id, so nobody's message is at fault.
        code = 33
    data = value.get("error_data")
    details = cleaned(data.get("details")) if isinstance(data, dict) else ""
    said = details or _CODE_PREFIX.sub("", cleaned(value.get("message"))) or cleaned(value.get("title"))
    return MetaError(code, said, value.get("is_transient") is True) if code is not None or said else None


def error_code(value: object) -> int | None:
    """A code as Meta writes it, a number or digits; 0 is one. None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < len(str(CODE_MAX)):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < CODE_MAX:
        return value
    return None


def cleaned(said: object) -> str:
    """A stranger's text without control characters and at most 300 characters; "" for what is no text."""
    return _UNSAFE.sub(" ", said)[:REASON_MAX].strip() if isinstance(said, str) else ""


def discreet(text: str) -> str:
    """Without numbers of people or a token: what is said of a sender is logged and shown to all who see it."""
    return _NUMBER.sub("(a number)", _TOKEN.sub("(a token)", text))


def outcome_of(code: int, meaning: Meaning, said: str, attempt: int) -> Outcome:
    """What a refusal means for the message that was to be sent. `said`: Meta's own words, cleaned. `attempt`: 1, ..."""
    reason = sentence(code, meaning, said)
    match meaning.verdict:
        case "transient":
            return _again(code, meaning, said, attempt)
        case "opt_out":
            return OptedOut(reason, meaning.category)
        case "sender":
            return Misconfigured(_of_sender(code, meaning, said))
        case "action":
            return Misconfigured(_of_sender(code, meaning, said), scope="action")
        case "permanent" | "address_dead":
            return Rejected(meaning.why, reason, str(code), meaning.verdict == DEAD)


def _again(code: int, meaning: Meaning, said: str, attempt: int) -> Outcome:
    if meaning.tries_max is not None and attempt >= meaning.tries_max:
        return Rejected(meaning.why, sentence(code, meaning, said), str(code))
    after = meaning.after
    if meaning.per_recipient:
        after = timedelta(seconds=PAIR_BASE ** max(1, min(attempt, PAIR_EXPONENT_MAX)))
    return Retry(_of_sender(code, meaning, said), after, "sender" if meaning.whole_sender else "message")


def failed_receipt(receipt: Receipt, error: MetaError | None, meaning: Meaning | None) -> Receipt:
    """`receipt`, which says that a message failed, with the reason that Meta gave."""
    code = error.code if error is not None else None
    return Receipt(
        status=receipt.status,
        ref=receipt.ref,
        provider_ids=receipt.provider_ids,
        at=receipt.at,
        code=meaning.why if meaning is not None else Code.PROVIDER,
        reason=_reason(error, meaning) or None,
        provider_code=str(code) if code is not None else None,
        address_dead=meaning is not None and meaning.verdict == DEAD,
    )


def _reason(error: MetaError | None, meaning: Meaning | None) -> str:
    if error is None or error.code is None:
        return error.said if error is not None else ""
    return sentence(error.code, meaning, error.said) if meaning is not None else error.said or f"Meta {error.code}"


def sentence(code: int, meaning: Meaning, said: str) -> str:
    """Our title, the code, and Meta's words if they say something else."""
    return f"{meaning.title} (Meta {code})" + (f": {said}" if said and said != meaning.title else "")


def _of_sender(code: int, meaning: Meaning, said: str) -> str:
    return sentence(code, meaning, discreet(said))
