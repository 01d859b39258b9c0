"""The table of reply codes, row by row, and what it can never say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import Code, Misconfigured, OptedOut, Rejected, Retry
from gateway.testing.smtp_server import Fault, Faults, SmtpServer
from gateway.testing.smtp_server import Stage as At
from gateway_email.replies import Meaning, Reply, Stage, outcome_of, rule_for
from tests.plugins.email.harness import adapter_for, mail

SESSION = (Stage.GREETING, Stage.EHLO, Stage.STARTTLS, Stage.AUTH)


def outcome(stage: Stage, text: str) -> Retry | Rejected | Misconfigured:
    found = outcome_of(stage, Reply.received(int(text[:3]), text[4:]))
    assert isinstance(found, Retry | Rejected | Misconfigured)
    return found


@pytest.mark.parametrize(
    ("stage", "reply"),
    [
        (Stage.MAIL, "421 4.3.2 Closing transmission channel"),
        (Stage.MAIL, "451 4.3.0 Local error"),
        (Stage.MAIL, "452 4.3.1 Insufficient system storage"),
        (Stage.RCPT, "450 4.2.0 Greylisted, see https://postgrey.example"),
        (Stage.RCPT, "451 4.7.1 Try again later"),
        (Stage.RCPT, "452 4.5.3 Too many recipients"),
        (Stage.RCPT, "454 4.7.0 Temporary authentication failure"),
        (Stage.RCPT, "455 Cannot accommodate parameters"),
        (Stage.RCPT, "450 5.1.1 classes that contradict each other"),  # the first digit decides (RFC 5321 4.2.1)
        (Stage.RCPT, "552 Too many recipients"),  # RFC 5321 4.5.3.1.10
        (Stage.RCPT, "552 5.5.3 Too many recipients"),
        (Stage.DATA, "451 4.3.0 Queue file write error"),
        (Stage.DOT, "421 4.7.28 Our system has detected an unusual rate of unsolicited mail"),  # Gmail
        (Stage.DOT, "452 4.2.2 Over quota"),
    ],
)
def test_what_is_temporary_is_tried_again(stage: Stage, reply: str) -> None:
    found = outcome(stage, reply)
    assert isinstance(found, Retry)
    assert found.scope == "message"
    assert reply[:3] in found.reason


@pytest.mark.parametrize(
    ("stage", "reply"),
    [
        (Stage.GREETING, "554 5.3.2 No SMTP service here"),
        (Stage.GREETING, "550 5.7.1 Your address is on a block list"),
        (Stage.GREETING, "421 4.7.0 Too many connections"),
        (Stage.EHLO, "421 4.3.2 Closing"),
        (Stage.STARTTLS, "454 4.7.0 TLS not available due to temporary reason"),
        (Stage.AUTH, "454 4.7.0 Temporary authentication failure"),
    ],
)
def test_a_fault_of_the_route_holds_the_sender_until_it_is_over(stage: Stage, reply: str) -> None:
    found = outcome(stage, reply)
    assert isinstance(found, Retry)
    assert found.scope == "sender"


@pytest.mark.parametrize(
    ("stage", "reply"),
    [
        (Stage.GREETING, "521 5.3.2 This host accepts no mail"),
        (Stage.EHLO, "550 5.7.1 Bad host name"),
        (Stage.EHLO, "501 5.5.4 Syntax"),
        (Stage.STARTTLS, "502 5.5.1 Not implemented"),
        (Stage.AUTH, "432 4.7.12 A password transition is needed"),
        (Stage.AUTH, "534 5.7.9 Application-specific password required"),
        (Stage.AUTH, "535 5.7.8 Username and password not accepted"),
        (Stage.AUTH, "538 5.7.11 Encryption required"),
        (Stage.MAIL, "530 5.7.0 Must issue a STARTTLS command first"),
        (Stage.MAIL, "550 5.7.60 Client does not have permissions to send as this sender"),
        (Stage.MAIL, "553 5.1.8 Domain of sender address does not exist"),
        (Stage.MAIL, "555 5.5.4 Unsupported option"),
        (Stage.RCPT, "530 5.7.1 Authentication required"),
        (Stage.RCPT, "550 5.1.8 Sender address rejected: Domain not found"),  # Postfix with smtpd_delay_reject
        (Stage.DATA, "535 5.7.3 Authentication unsuccessful"),
        (Stage.DOT, "550 5.7.13 User account disabled"),
    ],
)
def test_a_fault_of_the_sender_holds_it_and_burns_nobody(stage: Stage, reply: str) -> None:
    found = outcome(stage, reply)
    assert isinstance(found, Misconfigured)
    assert found.scope == "sender"


@pytest.mark.parametrize(
    ("stage", "reply", "code", "dead"),
    [
        (Stage.RCPT, "550 5.1.1 User unknown", Code.INVALID_ADDRESS, True),
        (Stage.RCPT, "550 5.1.2 Host unknown", Code.INVALID_ADDRESS, True),
        (Stage.RCPT, "501 5.1.3 Bad recipient address syntax", Code.INVALID_ADDRESS, True),
        (Stage.RCPT, "551 5.1.6 Has moved", Code.INVALID_ADDRESS, True),
        (Stage.RCPT, "556 5.1.10 Null MX", Code.INVALID_ADDRESS, True),
        (Stage.RCPT, "556 Domain accepts no mail", Code.INVALID_ADDRESS, True),
        (Stage.RCPT, "550 5.2.1 Mailbox disabled", Code.UNREACHABLE, True),
        (Stage.DOT, "550 5.1.1 User unknown", Code.INVALID_ADDRESS, True),
        (Stage.RCPT, "550 5.1.0 Address rejected", Code.INVALID_ADDRESS, False),
        (Stage.RCPT, "553 Mailbox name not allowed", Code.INVALID_ADDRESS, False),
        (Stage.RCPT, "553 5.6.7 Needs SMTPUTF8", Code.INVALID_ADDRESS, False),
        (Stage.RCPT, "550 Mailbox unavailable", Code.UNREACHABLE, False),
        (Stage.RCPT, "551 User not local", Code.UNREACHABLE, False),
        (Stage.RCPT, "552 5.2.2 Mailbox full", Code.UNREACHABLE, False),
        (Stage.RCPT, "550 5.4.4 Unable to route", Code.UNREACHABLE, False),
        (Stage.RCPT, "554 5.7.1 Relay access denied", Code.PROVIDER, False),  # Postfix
        (Stage.RCPT, "550 relay not permitted", Code.PROVIDER, False),  # Exim
        (Stage.RCPT, "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain", Code.PROVIDER, False),
        (Stage.RCPT, "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", Code.PROVIDER, False),
        (Stage.RCPT, "550 5.1.1 <relay@example.org>: user unknown", Code.INVALID_ADDRESS, True),
        (Stage.RCPT, "550 4.1.1 classes that contradict each other", Code.UNREACHABLE, False),
        (Stage.RCPT, "550 5.1.11 a code that begins like a dead one", Code.INVALID_ADDRESS, False),
        (Stage.RCPT, "554 Transaction failed", Code.PROVIDER, False),
        (Stage.DATA, "554 5.5.1 No valid recipients", Code.PROVIDER, False),
        (Stage.DATA, "503 Bad sequence", Code.PROVIDER, False),
        (Stage.MAIL, "552 5.3.4 Message size exceeds limit", Code.TOO_LONG, False),
        (Stage.MAIL, "552 Too big", Code.TOO_LONG, False),
        (Stage.DOT, "552 Message too large", Code.TOO_LONG, False),
        (Stage.DOT, "552 5.2.3 Longer than the mailbox takes", Code.TOO_LONG, False),
        (Stage.DOT, "550 5.7.26 This mail is unauthenticated", Code.PROVIDER, False),  # Gmail
        (Stage.DOT, "550 5.7.28 Unusual rate", Code.PROVIDER, False),
        (Stage.DOT, "554 5.6.0 Bad content", Code.CONTENT, False),
        (Stage.DOT, "554 Looks like spam", Code.CONTENT, False),
        (Stage.DOT, "550 Looks like spam", Code.CONTENT, False),
        (Stage.DOT, "554 5.4.7 Delivery time expired", Code.EXPIRED, False),
        (Stage.DOT, "554 5.3.0 Other system status", Code.PROVIDER, False),
    ],
)
def test_what_is_final_says_why(stage: Stage, reply: str, code: Code, dead: bool) -> None:
    found = outcome(stage, reply)
    assert isinstance(found, Rejected)
    assert (found.code, found.address_dead) == (code, dead)
    assert reply in found.reason


def test_the_providers_own_code_is_kept() -> None:
    assert getattr(outcome(Stage.RCPT, "550 5.1.1 User unknown"), "provider_code", None) == "550 5.1.1"
    assert getattr(outcome(Stage.RCPT, "550 User unknown"), "provider_code", None) == "550"


@given(
    stage=st.sampled_from(Stage),
    code=st.integers(400, 599),
    enhanced=st.sampled_from(("", "5.0.0 ", "4.0.0 ", "2.1.5 ", "5.999.999 ", "5.1.1. "))
    | st.from_regex(r"\A5\.[0-9]\.[0-9]{1,2} \Z"),
    text=st.text(max_size=400),
)
def test_every_reply_has_a_meaning_and_none_is_worse_than_its_first_digit(
    stage: Stage, code: int, enhanced: str, text: str
) -> None:
    found = outcome(stage, f"{code} {enhanced}{text}")
    if code < 500:
        assert not isinstance(found, Rejected)
    if stage in SESSION:
        assert not isinstance(found, Rejected), "no recipient is at fault before one is named"
    if stage in (Stage.RCPT, Stage.DATA, Stage.DOT) and isinstance(found, Retry):
        assert found.scope == "message"
    assert len(found.reason) < 450
    assert found.reason.isprintable() or not any(character in found.reason for character in "\r\n\0\x1b\u2028")


@pytest.mark.parametrize("code", [200, 250, 354])
def test_a_reply_that_refuses_nothing_is_not_in_the_table(code: int) -> None:
    with pytest.raises(LookupError):
        rule_for(Stage.RCPT, Reply.received(code, "OK"))


def test_what_is_said_of_a_sender_names_no_address() -> None:
    found = outcome(Stage.MAIL, "550 5.7.1 <news@grace.example>: sender rejected for ada@example.org")
    assert "@" not in found.reason


def test_the_servers_words_lose_their_control_characters() -> None:
    assert Reply.received(550, "a\x1b[2J\r\nb\udcff").text == "a [2J b"


@pytest.mark.parametrize(
    ("stage", "reply", "kind"),
    [
        (At.MAIL, "450 4.3.2 Later", Retry),
        (At.MAIL, "550 5.7.1 Not you", Misconfigured),
        (At.RCPT, "450 4.2.1 Later", Retry),
        (At.RCPT, "550 5.1.1 Nobody\nhere by that name", Rejected),
        (At.DATA, "451 4.3.0 Later", Retry),
        (At.DATA, "554 5.5.1 No", Rejected),
        (At.DOT, "451 4.3.0 Later", Retry),
        (At.DOT, "421 4.3.2 Shutting down", Retry),
        (At.DOT, "554 5.6.0 Spam", Rejected),
        (At.EHLO, "550 5.7.1 Not you", Misconfigured),
        (At.EHLO, "421 4.3.2 Busy", Retry),
    ],
)
async def test_the_table_is_what_the_adapter_goes_by(server: SmtpServer, stage: At, reply: str, kind: type) -> None:
    server.faults = Faults([Fault(stage=stage, reply=reply)])
    async with adapter_for(server) as adapter:
        assert isinstance(await adapter.send(mail()), kind)
    assert server.count == 0


@pytest.mark.parametrize(
    ("meaning", "kind"),
    [
        ("permanent", Rejected),
        ("address_dead", Rejected),
        ("transient", Retry),
        ("opt_out", OptedOut),
        ("sender", Misconfigured),
        ("action", Misconfigured),
    ],
)
def test_the_operator_may_say_what_a_code_means(
    meaning: Meaning, kind: type[Rejected | Retry | OptedOut | Misconfigured]
) -> None:
    outcome = outcome_of(Stage.RCPT, Reply(550, "5.4.1 <ada@example.org> Access denied"), {"5.4.1": meaning})
    assert isinstance(outcome, kind)
    assert "Access denied" in outcome.reason
    if isinstance(outcome, Rejected):
        assert outcome.address_dead is (meaning == "address_dead")
        assert outcome.provider_code == "550 5.4.1"
    if isinstance(outcome, Misconfigured):
        assert outcome.scope == meaning
        assert "ada@example.org" not in outcome.reason


def test_the_enhanced_code_is_asked_first_and_other_codes_stay_as_they_are() -> None:
    errors: dict[str, Meaning] = {"550": "transient", "5.1.1": "permanent"}
    first = outcome_of(Stage.RCPT, Reply(550, "5.1.1 no"), errors)
    assert isinstance(first, Rejected)
    assert not first.address_dead
    assert isinstance(outcome_of(Stage.RCPT, Reply(550, "no"), errors), Retry)
    assert outcome_of(Stage.RCPT, Reply(554, "no"), errors) == outcome_of(Stage.RCPT, Reply(554, "no"))


def test_what_is_said_before_a_message_is_begun_is_not_changed() -> None:
    assert isinstance(outcome_of(Stage.AUTH, Reply(535, "5.7.8 no"), {"535": "address_dead"}), Misconfigured)
