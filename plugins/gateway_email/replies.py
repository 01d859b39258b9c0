"""What a mail server's reply means: one table, read from top to bottom, the first row that fits decides.

Sources: RFC 5321 section 4.2 and 4.5.3.1.10 (basic codes), RFC 3463 and the IANA registry "SMTP
Enhanced Status Codes" of RFC 5248 (x.y.z), RFC 4954 section 6 (AUTH), RFC 3207 section 4 (STARTTLS), RFC 6531 section
3.7.4.2 (5.6.7), RFC 7504 (521, 556), RFC 7505 (null MX), RFC 7372 (5.7.20 to 5.7.26).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

from gateway import Code, Misconfigured, OptedOut, Outcome, Rejected, Retry

TEXT_MAX: Final = 300  # characters of a server's text that are kept: it is a stranger's
_ENHANCED: Final = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s|$)")
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_ADDRESS: Final = re.compile(r"[^\s<>@]+@[^\s<>@]+")


class Stage(StrEnum):
    """What a reply answered."""

    GREETING = "greeting"
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL FROM"
    RCPT = "RCPT TO"
    DATA = "DATA"
    DOT = "the message"


class Verdict(StrEnum):
    """What becomes of the message, and of the sender."""

    LATER = "later"  # this message is tried again
    SENDER_LATER = "sender_later"  # nothing is wrong with the message: the sender waits for the server
    OURS = "ours"  # nothing is wrong with the message: somebody has to repair the sender
    NEVER = "never"  # this message cannot be sent


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's answer: its basic code, and its text without control characters, at most 300 characters."""

    code: int
    text: str

    @classmethod
    def received(cls, code: int, text: str) -> Reply:
        return cls(code, _UNSAFE.sub(" ", text)[:TEXT_MAX].strip())

    @property
    def enhanced(self) -> str:
        """The enhanced status code ("5.1.1") where it is of the same class as the basic one (RFC 2034 4), else ""."""
        found = _ENHANCED.match(self.text)
        return found[1] if found and found[1][0] == str(self.code)[0] else ""

    def __str__(self) -> str:
        return f"{self.code} {self.text}".strip()


@dataclass(frozen=True, slots=True)
class Rule:
    """One row. `code` "5" is every 5xx, `enhanced` "5.1." every 5.1.x, "" fits all."""

    stages: frozenset[Stage]
    code: str
    enhanced: str
    verdict: Verdict
    why: Code | None = None  # of NEVER
    dead: bool = False  # of NEVER: nothing more to this address
    says: str = ""  # what the text must have in it, in small letters

    def fits(self, stage: Stage, code: str, enhanced: str, text: str) -> bool:
        exact = self.enhanced == enhanced or (self.enhanced.endswith(".") and enhanced.startswith(self.enhanced))
        named = code.startswith(self.code) and (not self.enhanced or exact) and self.says in text
        return stage in self.stages and named


_ALL: Final = frozenset(Stage)
_MAIL: Final = frozenset({Stage.MAIL})
_RCPT: Final = frozenset({Stage.RCPT})
_DOT: Final = frozenset({Stage.DOT})
_GREETING: Final = frozenset({Stage.GREETING})
_SESSION: Final = frozenset({Stage.GREETING, Stage.EHLO, Stage.STARTTLS, Stage.AUTH})

RULES: Final = (
    # The session: no recipient has been named yet, so none can be at fault.
    Rule(_GREETING, "521", "", Verdict.OURS),  # RFC 7504 3: this host accepts no mail at all
    Rule(_GREETING, "", "", Verdict.SENDER_LATER),  # RFC 5321 3.1: 554 is "no SMTP service here", a fault of the route
    Rule(_SESSION, "432", "", Verdict.OURS),  # RFC 4954 4.7.12: a password transition is needed
    Rule(_SESSION, "4", "", Verdict.SENDER_LATER),  # 421; 454 TLS or authentication is not available for the moment
    Rule(_SESSION, "5", "", Verdict.OURS),  # 530, 534, 535, 538, a host name that is not liked, a command not known
    # Who we are, told later than in the session.
    Rule(_ALL, "530", "", Verdict.OURS),  # RFC 4954 6: authentication required; RFC 3207 4: STARTTLS required
    Rule(_ALL, "534", "", Verdict.OURS),  # RFC 4954 6: the mechanism is too weak
    Rule(_ALL, "535", "", Verdict.OURS),  # RFC 4954 6: the credentials are invalid
    Rule(_ALL, "538", "", Verdict.OURS),  # RFC 4954 6: encryption required for this mechanism
    Rule(_ALL, "5", "5.7.8", Verdict.OURS),  # authentication credentials invalid
    Rule(_ALL, "5", "5.7.9", Verdict.OURS),  # authentication mechanism too weak
    Rule(_ALL, "5", "5.7.10", Verdict.OURS),  # encryption needed
    Rule(_ALL, "5", "5.7.11", Verdict.OURS),  # encryption required for the mechanism
    Rule(_ALL, "5", "5.7.13", Verdict.OURS),  # the user's account is disabled
    Rule(_ALL, "5", "5.7.14", Verdict.OURS),  # a trust relationship is required
    Rule(_ALL, "5", "5.7.27", Verdict.OURS),  # our own domain has a null MX
    Rule(_ALL, "5", "5.1.7", Verdict.OURS),  # bad syntax of the sender's address
    Rule(_ALL, "5", "5.1.8", Verdict.OURS),  # bad domain of the sender's address
    # Everything temporary: 421, 450, 451, 452, 454, 455 and whatever begins with 4.
    Rule(_ALL, "4", "", Verdict.LATER),
    # Size and spelling, wherever they are told.
    Rule(_ALL, "5", "5.3.4", Verdict.NEVER, Code.TOO_LONG),  # message too big for the system
    Rule(_ALL, "5", "5.2.3", Verdict.NEVER, Code.TOO_LONG),  # message longer than the mailbox's limit
    Rule(_ALL, "5", "5.6.7", Verdict.NEVER, Code.INVALID_ADDRESS),  # RFC 6531: no addresses beyond ASCII here
    Rule(_MAIL, "552", "", Verdict.NEVER, Code.TOO_LONG),  # RFC 1870 6.1: the declared size is too much
    # Still no recipient named: it is the sender's address or account. Holding burns nobody.
    Rule(_MAIL, "5", "", Verdict.OURS),
    # The recipient. Dead addresses by the codes that say so beyond doubt, never by a policy.
    Rule(_ALL, "5", "5.1.1", Verdict.NEVER, Code.INVALID_ADDRESS, dead=True),  # bad destination mailbox
    Rule(_ALL, "5", "5.1.2", Verdict.NEVER, Code.INVALID_ADDRESS, dead=True),  # bad destination system
    Rule(_ALL, "5", "5.1.3", Verdict.NEVER, Code.INVALID_ADDRESS, dead=True),  # bad destination syntax
    Rule(_ALL, "5", "5.1.6", Verdict.NEVER, Code.INVALID_ADDRESS, dead=True),  # has moved, no forwarding address
    Rule(_ALL, "5", "5.1.10", Verdict.NEVER, Code.INVALID_ADDRESS, dead=True),  # RFC 7505: null MX
    Rule(_ALL, "556", "", Verdict.NEVER, Code.INVALID_ADDRESS, dead=True),  # RFC 7504: the domain accepts no mail
    Rule(_ALL, "5", "5.2.1", Verdict.NEVER, Code.UNREACHABLE, dead=True),  # mailbox disabled
    # A relay that does not know us refuses everybody, often without an enhanced code: "550 relay not permitted" (Exim),
    # "550 Unable to relay" (Exchange), "553 that domain isn't in my list of allowed rcpthosts" (qmail). As a policy.
    Rule(_RCPT, "5", "", Verdict.NEVER, Code.PROVIDER, says="relay"),
    Rule(_RCPT, "553", "", Verdict.NEVER, Code.PROVIDER, says="rcpthosts"),
    Rule(_ALL, "5", "5.1.", Verdict.NEVER, Code.INVALID_ADDRESS),
    Rule(_ALL, "5", "5.2.", Verdict.NEVER, Code.UNREACHABLE),  # 5.2.2: mailbox full
    Rule(_RCPT, "552", "", Verdict.LATER),  # RFC 5321 4.5.3.1.10: "too many recipients" from servers of old; as 452
    Rule(_ALL, "5", "5.3.", Verdict.NEVER, Code.PROVIDER),
    Rule(_ALL, "5", "5.4.7", Verdict.NEVER, Code.EXPIRED),  # delivery time expired
    Rule(_ALL, "5", "5.4.", Verdict.NEVER, Code.UNREACHABLE),
    Rule(_ALL, "5", "5.5.", Verdict.NEVER, Code.PROVIDER),
    Rule(_ALL, "5", "5.6.", Verdict.NEVER, Code.CONTENT),
    # A policy is about us (5.7.1 refused; 5.7.20 to 5.7.26 DKIM, SPF, DMARC, reverse DNS), so it is no recipient's own
    # failure: twenty in a row pause the action.
    Rule(_ALL, "5", "5.7.", Verdict.NEVER, Code.PROVIDER),
    # Without an enhanced code, or with 5.0.0.
    Rule(_RCPT, "553", "", Verdict.NEVER, Code.INVALID_ADDRESS),  # mailbox name not allowed
    Rule(_RCPT, "550", "", Verdict.NEVER, Code.UNREACHABLE),  # not found, no access, or policy: nobody can tell
    Rule(_RCPT, "551", "", Verdict.NEVER, Code.UNREACHABLE),  # not local
    Rule(_RCPT, "521", "", Verdict.NEVER, Code.UNREACHABLE),
    Rule(_DOT, "552", "", Verdict.NEVER, Code.TOO_LONG),  # storage exceeded
    Rule(_DOT, "550", "", Verdict.NEVER, Code.CONTENT),  # after the text has been read it is the text that is refused
    Rule(_DOT, "554", "", Verdict.NEVER, Code.CONTENT),
    Rule(_ALL, "5", "", Verdict.NEVER, Code.PROVIDER),
)

_SENTENCES: Final = {
    Code.INVALID_ADDRESS: "The mail server refused the address",
    Code.UNREACHABLE: "The mail server cannot reach the mailbox",
    Code.CONTENT: "The mail server refused the text",
    Code.TOO_LONG: "The mail is too large",
    Code.EXPIRED: "The mail server gave up delivering it",
}
_REFUSED: Final = "The mail server refused it"

Meaning = Literal["permanent", "transient", "opt_out", "sender", "action", "address_dead"]
"""What an operator can say that a code means, instead of the table."""
NO_ERRORS: Final[Mapping[str, Meaning]] = MappingProxyType({})


def rule_for(stage: Stage, reply: Reply) -> Rule:
    """The row that decides. LookupError for a reply that refuses nothing (2xx, 3xx)."""
    code, enhanced, text = str(reply.code), reply.enhanced, reply.text.lower()
    for rule in RULES:
        if rule.fits(stage, code, enhanced, text):
            return rule
    raise LookupError(f"{reply.code} after {stage}")


def meaning_of(code: str, enhanced: str, errors: Mapping[str, Meaning]) -> Meaning | None:
    """What the operator says of a reply: of its enhanced code, else of its basic one."""
    return errors.get(enhanced) or errors.get(code)


def outcome_of(stage: Stage, reply: Reply, errors: Mapping[str, Meaning] = NO_ERRORS) -> Outcome:
    """What a refusing reply (4xx, 5xx) at `stage` means for the message.

    `errors` are the operator's own words; what is said before a message is begun (`Stage.AUTH` and before) is not
    about messages, so they do not change it.
    """
    meaning = None if stage in _SESSION else meaning_of(str(reply.code), reply.enhanced, errors)
    if meaning is not None:
        return _as_told(meaning, stage, reply)
    rule = rule_for(stage, reply)
    if rule.verdict is Verdict.LATER:
        return Retry(f"The mail server asks to try later, after {stage}: {reply}")
    if rule.verdict is Verdict.NEVER:
        why = rule.why or Code.PROVIDER
        provider_code = f"{reply.code} {reply.enhanced}".strip()
        sentence = _SENTENCES.get(why, _REFUSED)
        return Rejected(why, f"{sentence}: {reply}", provider_code, rule.dead)
    # What is said of a sender is logged and shown to all who see it: no recipient's address.
    told = _ADDRESS.sub("(an address)", str(reply))
    if rule.verdict is Verdict.SENDER_LATER:
        return Retry(f"The mail server takes nothing for the moment, after {stage}: {told}", scope="sender")
    return Misconfigured(f"The mail server does not accept us, after {stage}: {told}")


def _as_told(meaning: Meaning, stage: Stage, reply: Reply) -> Outcome:
    told = _ADDRESS.sub("(an address)", str(reply))
    match meaning:
        case "transient":
            return Retry(f"The mail server asks to try later, after {stage}: {reply}")
        case "opt_out":
            return OptedOut(f"The mail server says that this person left: {reply}")
        case "sender" | "action":
            return Misconfigured(f"The mail server does not accept us, after {stage}: {told}", meaning)
        case "permanent" | "address_dead":
            dead = meaning == "address_dead"
            why = Code.INVALID_ADDRESS if dead else rule_for(stage, reply).why or Code.PROVIDER
            provider_code = f"{reply.code} {reply.enhanced}".strip()
            return Rejected(why, f"{_SENTENCES.get(why, _REFUSED)}: {reply}", provider_code, dead)
