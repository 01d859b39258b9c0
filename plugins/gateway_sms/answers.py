"""What Kannel's words mean: one table for what smsbox answers and for what a delivery report says.

smsbox answers with a status and a sentence; reports bring the SMSC's own words: the `stat:` of a receipt (SMPP v3.4,
appendix B) or a `NACK/code/words` with an SMPP status (SMPP v3.4, 5.1.3). Sources: Kannel 1.4.5, user guide and
gw/smsbox.c, and runs of Debian's kannel 1.4.5-12 with fakesmsc, 2026-11. What follows from a word is our judgement, and
an operator may override it: `errors = { UNDELIV = "address_dead" }`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from gateway import (
    Accepted,
    Code,
    HttpResponse,
    Misconfigured,
    OptedOut,
    Outcome,
    Rejected,
    Retry,
    Status,
    Unknown,
    parse_retry_after,
)

Verdict = Literal["permanent", "transient", "opt_out", "sender", "address_dead"]
"""`permanent`: this recipient fails. `transient`: tried again. `opt_out`: the person left. `sender`: ours to repair.
`address_dead`: it fails, and nothing more goes to the address. In a report, which comes after the hand-over,
`transient` and `sender` are failures too."""

REASON_MAX: Final = 300  # characters of a stranger's text that are kept


@dataclass(frozen=True, slots=True)
class Meaning:
    """One row. `status`: what a report with this word says; None: what its number says."""

    verdict: Verdict
    title: str
    why: Code = Code.PROVIDER
    status: Status | None = None
    whole_sender: bool = False  # of `transient`: every message of the sender waits, not only this one


MEANINGS: Final[Mapping[str, Meaning]] = {
    # what smsbox answers
    "not_routable": Meaning("permanent", "Not routable", Code.UNREACHABLE),
    "authorization_failed": Meaning("sender", "Authorization failed"),
    "denied": Meaning("sender", "Denied"),
    "missing_receiver": Meaning("permanent", "Missing receiver number", Code.INVALID_ADDRESS),
    "temporal_failure": Meaning("transient", "Temporal failure", whole_sender=True),
    # the stat: of a receipt
    "DELIVRD": Meaning("permanent", "Delivered", status=Status.DELIVERED),
    "ACCEPTD": Meaning("permanent", "Accepted", status=Status.SENT),
    "ENROUTE": Meaning("permanent", "En route", status=Status.SENT),
    "EXPIRED": Meaning("permanent", "Validity period expired", Code.EXPIRED, Status.EXPIRED),
    "DELETED": Meaning("permanent", "Deleted", status=Status.FAILED),
    "UNDELIV": Meaning("permanent", "Undeliverable", Code.UNREACHABLE, Status.UNDELIVERED),
    "UNKNOWN": Meaning("permanent", "Unknown", status=Status.UNDELIVERED),
    "REJECTD": Meaning("permanent", "Rejected", Code.BLOCKED, Status.FAILED),
    # the status of an SMPP submit that the SMSC refused
    "0x01": Meaning("permanent", "Message too long", Code.TOO_LONG),
    "0x08": Meaning("transient", "System error"),
    "0x0A": Meaning("sender", "Invalid source address"),
    "0x0B": Meaning("permanent", "Invalid destination address", Code.INVALID_ADDRESS),
    "0x0D": Meaning("sender", "Bind failed"),
    "0x0E": Meaning("sender", "Invalid password"),
    "0x0F": Meaning("sender", "Invalid system id"),
    "0x14": Meaning("transient", "Message queue full"),
    "0x45": Meaning("permanent", "Submit failed"),
    "0x58": Meaning("transient", "Throttled"),
    "0x61": Meaning("permanent", "Invalid scheduled time"),
    "0x62": Meaning("permanent", "Invalid validity period"),
}

_SENTENCES: Final = (
    ("authorization failed", "authorization_failed"),
    ("not routable", "not_routable"),
    ("missing receiver", "missing_receiver"),
    ("temporal failure", "temporal_failure"),
    ("denied", "denied"),
    ("not allowed", "denied"),
)
_TAKEN: Final = re.compile(r"\s*(?:0: accepted|3: queued|sent\.)", re.IGNORECASE)
_STAT: Final = re.compile(r"\bstat:([A-Za-z]{3,10})\b")
_NACK: Final = re.compile(r"NACK/(0[xX][0-9A-Fa-f]{1,8}|[0-9]{1,10})(?:/([^\x00-\x1f]{1,200}))?")
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_NUMBER: Final = re.compile(r"\+?\d{6,}")


class AnswerTable:
    """The table with an operator's verdicts in front of it."""

    def __init__(self, overrides: Mapping[str, Verdict]) -> None:
        self._overrides = dict(overrides)

    def meaning(self, code: str) -> Meaning | None:
        """What a word means; None if nobody knows."""
        known = MEANINGS.get(code)
        verdict = self._overrides.get(code)
        if verdict is None:
            return known
        return Meaning(verdict, code) if known is None else replace(known, verdict=verdict, whole_sender=False)

    def outcome(self, answer: HttpResponse, now: datetime) -> Outcome:
        """What smsbox's answer to a send means."""
        said = cleaned(answer.body.decode("utf-8", "replace"))
        if answer.status in (200, 202):
            # Anything else with such a status is no smsbox: a proxy's page, or a login.
            return Accepted() if _TAKEN.match(said) else Unknown(f"Kannel answered HTTP {answer.status}: {said[:80]!r}")
        code = _code_of(said)
        meaning = None if code is None else self.meaning(code)
        if meaning is not None and code is not None:
            return _outcome(meaning, code, said)
        if answer.status == 429:  # of a proxy in front of it
            after = parse_retry_after(answer.headers.get("retry-after", ""), now)
            return Retry(f"Kannel: HTTP 429: {discreet(said)}", after, "sender")
        if 400 <= answer.status < 500:
            if answer.status in (401, 404, 405, 407):
                return Misconfigured(f"Kannel does not let us in: HTTP {answer.status}: {discreet(said)}")
            return Rejected(Code.PROVIDER, f"Kannel refused it: {said}", f"HTTP {answer.status}")
        # smsbox hands on to bearerbox before it answers: a fault after that does not say that nothing was taken.
        return Unknown(f"Kannel answered HTTP {answer.status}: {discreet(said)}")


def _code_of(said: str) -> str | None:
    lowered = said.lower()
    return next((code for sentence, code in _SENTENCES if sentence in lowered), None)


def _outcome(meaning: Meaning, code: str, said: str) -> Outcome:
    match meaning.verdict:
        case "transient":
            return Retry(f"Kannel: {discreet(said)}", scope="sender" if meaning.whole_sender else "message")
        case "sender":
            return Misconfigured(f"Kannel: {discreet(said)}")
        case "opt_out":
            return OptedOut(f"{meaning.title} (Kannel)")
        case _:
            dead = meaning.verdict == "address_dead"
            return Rejected(meaning.why, f"{meaning.title} (Kannel)", code, address_dead=dead)


def report_code(words: str) -> tuple[str | None, str]:
    """The word of the table in what an SMSC said (`%A`), and what to tell people; (None, "") if it said nothing."""
    stat = _STAT.search(words)
    if stat is not None:
        return stat[1].upper(), cleaned(words)
    nack = _NACK.search(words)
    if nack is not None:
        return f"0x{int(nack[1], 16 if nack[1][:2].lower() == '0x' else 10):02X}", cleaned(nack[2] or "")
    return None, cleaned(words) if words.strip("/ ") not in ("", "ACK") else ""


def cleaned(text: str) -> str:
    """A stranger's text on one line, at most 300 characters."""
    return " ".join(_UNSAFE.sub(" ", text).split())[:REASON_MAX]


def discreet(text: str) -> str:
    """Without anybody's number: for reasons that are about the sender."""
    return _NUMBER.sub("...", text)
