"""Whether what a mail server says of a failed delivery condemns the address, or this one mail only.

The table is that of `replies.py`: a refusal means the same whether the server said it to us or to the server between.
Codes as of RFC 3463; what a remote server said itself (`smtp; 550 5.7.1 ...`) is believed before the summary of the
server that reports it, and a code that says something before one that does not (5.0.0).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway import Code
from gateway_email.replies import NO_ERRORS, Meaning, Reply, Stage, meaning_of, rule_for

SAID_MAX: Final = 2_000  # characters of a server's words that are looked at

# The digits are no part of an IP address or of a version.
_ENHANCED: Final = re.compile(r"(?<![\d.])([45])\.(\d{1,3})\.(\d{1,3})(?![\d.]*\d)")
_BASIC: Final = re.compile(r"(?<![\d.])([45]\d\d)(?=[ -])(?![\d.]*\d)")

GONE: Final = (
    # Words that leave no doubt, where no code says more than 550 does: of Exim, Postfix, qmail, Exchange, Gmail, Yahoo.
    *("user unknown", "unknown user", "no such user", "user does not exist", "user doesn't exist", "user not found"),
    *("recipient unknown", "unknown recipient", "no such recipient", "recipient does not exist", "recipient not found"),
    *(
        "no such mailbox",
        "mailbox does not exist",
        "mailbox not found",
        "unknown mailbox",
        "no mailbox here by that name",
    ),
    *("account that you tried to reach does not exist", "no such address", "address does not exist", "unknown address"),
    *("no such account", "account does not exist", "unknown account", "unrouteable address", "unknown local part"),
    "unknown local-part",
)
TRANSIENT: Final = (
    "mailbox full",
    "mailbox is full",
    "over quota",
    "quota exceeded",
    "full mailbox",
    "exceeded storage",
)


@dataclass(frozen=True, slots=True)
class Failure:
    """What a failed delivery means. `dead`: the address does not exist."""

    code: Code
    dead: bool
    provider_code: str | None
    reason: str
    left: bool = False  # the operator says that this code means an opt-out


def failure_of(status: str, said: str, errors: Mapping[str, Meaning] = NO_ERRORS) -> Failure:
    """`status`: "5.1.1" of a report, or "". `said`: the words of the server that refused, or "".

    `errors`: what the operator says that a code means; only whether it condemns the address, or is an opt-out, is
    left to say of a mail that came back.
    """
    said = said[:SAID_MAX]
    enhanced = _most_telling(_ENHANCED.findall(said)[:3], _ENHANCED.findall(status)[:1])
    basic_found = _BASIC.search(said)
    basic = basic_found[1] if basic_found else ""
    permanent = (enhanced or basic or "5").startswith("5")
    # The table tells what a code is about by its last two digits, whether or not somebody gave up trying.
    told = f"5{enhanced[1:]} {said}" if enhanced else said
    rule = rule_for(Stage.RCPT, Reply.received(int(basic) if basic.startswith("5") else 550, told))
    text = said.lower()
    vague = not enhanced or enhanced.endswith(".0.0")
    gone = permanent and vague and any(words in text for words in GONE) and not any(w in text for w in TRANSIENT)
    meaning = meaning_of(basic, enhanced, errors)
    gone = meaning == "address_dead" if meaning is not None else gone
    code = Code.INVALID_ADDRESS if gone else rule.why or Code.PROVIDER
    if not permanent and not gone and code is Code.INVALID_ADDRESS:
        code = Code.UNREACHABLE
    reason = Reply.received(0, said).text or f"The mail came back with the status {enhanced or 'unknown'}."
    dead = gone if meaning is not None else permanent and (gone or rule.dead)
    return Failure(code, dead, enhanced or basic or None, reason, meaning == "opt_out")


def _most_telling(said: list[tuple[str, str, str]], status: list[tuple[str, str, str]]) -> str:
    codes = [".".join(each) for each in (*said, *status)]
    telling = [code for code in codes if not code.endswith(".0.0")]
    return (telling or codes or [""])[0]
