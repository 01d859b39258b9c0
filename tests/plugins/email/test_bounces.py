"""What comes back: recorded mails, whose word is believed, and what changes nothing. Any octets are survived."""

from __future__ import annotations

import asyncio
import base64
import quopri
import re
import smtplib
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gateway import CallbackRequest, Code, Consent, Event, Receipt
from gateway.testing.cases import CallbackCase, callback
from gateway.testing.doubles import RecordingLog
from gateway.testing.smtp_server import SmtpServer
from gateway.validation import convert
from gateway_email.bounces import BounceReader
from gateway_email.lmtp import LmtpPlace, LmtpServer
from gateway_email.received import MAIL_OCTETS_MAX, PARTS_MAX, read_blocks, read_mail
from gateway_email.replies import Meaning
from gateway_email.settings import SmtpSettings
from gateway_email.smtp import SmtpAdapter
from gateway_email.verdicts import failure_of
from tests.plugins.email import bounce_mails as mails
from tests.plugins.email.cases import CASES, SETTINGS, TOKEN, URL
from tests.plugins.email.harness import adapter_for, mail, tools

ADAPTER = SmtpAdapter(convert(SETTINGS, SmtpSettings), tools())
PROVING = BounceReader("grace.example", mails.PATHS, {})
TRUSTING = BounceReader("grace.example", None, {})
SECONDS_MAX = 2.0  # for the worst mail of a megabyte on a slow machine; the usual one takes a millisecond


def only(events: Sequence[Event]) -> Receipt:
    (event,) = events
    assert isinstance(event, Receipt)
    return event


@pytest.mark.parametrize("case", CASES.callbacks, ids=lambda case: case.name)
async def test_recorded_mails_mean_what_they_meant(case: CallbackCase) -> None:
    assert list(ADAPTER.parse(case.request)) == list(case.events)
    assert await ADAPTER.authenticate(case.request) is case.genuine


def test_what_came_by_lmtp_is_read_as_what_was_posted() -> None:
    delivered = CallbackRequest(method="RUN", url="", tail="", query=(), headers={}, body=mails.USER_UNKNOWN)
    assert only(ADAPTER.parse(delivered)).address_dead


# ---- who may post -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "headers", "genuine"),
    [
        (URL, {"Authorization": f"Bearer {TOKEN}"}, True),
        (URL, {"authorization": f"bearer  {TOKEN} "}, True),
        (f"{URL}?token={TOKEN.replace(' ', '%20')}", {}, True),
        (URL, {"Authorization": f"Basic {TOKEN}"}, False),
        (URL, {"Authorization": "Bearer "}, False),
        (URL, {"Authorization": f"Bearer {TOKEN}x"}, False),
        (URL, {"Authorization": "Bearer \udcff\u0142"}, False),
        (f"{URL}?token=", {}, False),
        (f"{URL}/{TOKEN}", {}, False),
        (URL.removesuffix("/bounce"), {"Authorization": f"Bearer {TOKEN}"}, False),
        (URL, {}, False),
    ],
)
async def test_only_who_knows_the_token_may_post(url: str, headers: dict[str, str], genuine: bool) -> None:
    assert await ADAPTER.authenticate(callback(url, b"", headers=headers)) is genuine


@pytest.mark.parametrize("method", ["GET", "RUN", "PUT"])
async def test_a_bounce_is_posted(method: str) -> None:
    request = callback(URL, b"", method=method, headers={"Authorization": f"Bearer {TOKEN}"})
    assert not await ADAPTER.authenticate(request)


async def test_without_a_token_nobody_may_post() -> None:
    without = {name: value for name, value in SETTINGS.items() if name != "bounce_token"}
    adapter = SmtpAdapter(convert(without, SmtpSettings), tools())
    assert not await adapter.authenticate(callback(f"{URL}?token=", b"", headers={"Authorization": "Bearer "}))


# ---- hard and soft ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "said", "code", "dead"),
    [
        # PROVIDERS 4.2: hard
        ("5.1.1", "", Code.INVALID_ADDRESS, True),
        ("5.1.2", "", Code.INVALID_ADDRESS, True),
        ("5.1.3", "", Code.INVALID_ADDRESS, True),
        ("5.1.6", "", Code.INVALID_ADDRESS, True),
        ("5.1.10", "", Code.INVALID_ADDRESS, True),
        ("5.2.1", "", Code.UNREACHABLE, True),
        ("5.1.1 (unknown)", "", Code.INVALID_ADDRESS, True),
        # soft
        ("5.2.2", "", Code.UNREACHABLE, False),
        ("4.2.2", "", Code.UNREACHABLE, False),
        ("4.1.1", "", Code.UNREACHABLE, False),
        ("4.0.0", "", Code.UNREACHABLE, False),
        ("5.4.7", "", Code.EXPIRED, False),
        ("4.4.7", "", Code.EXPIRED, False),
        # about the mail or about us
        ("5.7.1", "", Code.PROVIDER, False),
        ("5.7.26", "", Code.PROVIDER, False),
        ("5.6.0", "", Code.CONTENT, False),
        ("5.3.4", "", Code.TOO_LONG, False),
        ("5.1.8", "", Code.PROVIDER, False),
        # what the remote said is believed before what is reported of it
        ("5.1.1", "550 5.7.1 Blocked", Code.PROVIDER, False),
        ("5.0.0", "550 5.1.1 no", Code.INVALID_ADDRESS, True),
        ("5.1.1", "554 5.0.0 Service unavailable", Code.INVALID_ADDRESS, True),
        # words, where no code says anything
        ("5.0.0", "550 No such user here", Code.INVALID_ADDRESS, True),
        ("", "550 Requested action not taken: mailbox unavailable", Code.UNREACHABLE, False),
        ("5.0.0", "550 5.0.0 unknown user; mailbox full", Code.UNREACHABLE, False),
        ("5.7.1", "550 5.7.1 user unknown", Code.PROVIDER, False),
        ("4.0.0", "450 user unknown", Code.UNREACHABLE, False),
        ("", "421 user unknown", Code.UNREACHABLE, False),
        # what only looks like a code
        ("", "host 5.1.1.1 said no", Code.UNREACHABLE, False),
        ("", "Exim 4.96.1.5 gave up", Code.UNREACHABLE, False),
        ("5.1.1.1.1", "", Code.UNREACHABLE, False),
        ("9.9.9", "", Code.UNREACHABLE, False),
        ("", "", Code.UNREACHABLE, False),
    ],
)
def test_hard_and_soft_are_told_apart(status: str, said: str, code: Code, dead: bool) -> None:
    failure = failure_of(status, said)
    assert (failure.code, failure.dead) == (code, dead)


def test_a_reason_is_the_server_s_words_without_control_characters() -> None:
    assert failure_of("5.1.1", "550 5.1.1 no\r\n\x1b[31m such user").reason == "550 5.1.1 no [31m such user"
    assert len(failure_of("5.1.1", "550 " + "x" * 10_000).reason) <= 300
    assert failure_of("5.1.1", "").reason == "The mail came back with the status 5.1.1."


@pytest.mark.parametrize(
    ("status", "said", "errors", "dead", "left"),
    [
        ("5.4.1", "", {"5.4.1": "address_dead"}, True, False),
        ("4.4.1", "", {"4.4.1": "address_dead"}, True, False),
        ("5.1.1", "", {"5.1.1": "permanent"}, False, False),
        ("5.1.1", "", {"5.1.1": "transient"}, False, False),
        ("", "550 no such user", {"550": "permanent"}, False, False),
        ("5.1.1", "550 5.1.1 no", {"550": "permanent", "5.1.1": "address_dead"}, True, False),
        ("5.7.1", "", {"5.7.1": "opt_out"}, False, True),
    ],
)
def test_the_operator_may_say_otherwise(
    status: str, said: str, errors: dict[str, Meaning], dead: bool, left: bool
) -> None:
    failure = failure_of(status, said, errors)
    assert (failure.dead, failure.left) == (dead, left)


def test_a_bounce_that_the_operator_calls_an_opt_out_is_both() -> None:
    reader = BounceReader("grace.example", mails.PATHS, {"5.7.1": "opt_out"})
    receipt, consent = reader.events(mails.POLICY)
    assert isinstance(receipt, Receipt)
    assert isinstance(consent, Consent)
    assert (receipt.ref, consent.ref, consent.wish, consent.source) == (mails.REF, mails.REF, "out", "provider")


# ---- which message it is about ------------------------------------------------------------------------------------

UNKNOWN = mails.block("failed", "5.1.1")
OTHERS_HEAD = "Message-ID: <other@example.net>\n"


@pytest.mark.parametrize(
    "raw",
    [
        mails.report(UNKNOWN, returned=""),
        mails.report(UNKNOWN, to="postmaster@grace.example", head=f"Delivered-To: <{mails.PATH}>\n"),
        mails.report(UNKNOWN, to="postmaster@grace.example", head=f"X-Original-To: {mails.PATH.upper()}\n"),
        mails.report(UNKNOWN, to="postmaster@grace.example"),  # Return-Path of the mail that came back
        mails.report(
            f"Original-Envelope-Id: {mails.PATHS.envelope_id(mails.REF)}\n\n{UNKNOWN}", to="x@y.example", returned=""
        ),
    ],
    ids=["To", "Delivered-To", "X-Original-To", "returned Return-Path", "envelope id"],
)
def test_a_proof_condemns_the_address(raw: bytes) -> None:
    receipt = only(PROVING.events(raw))
    assert (receipt.ref, receipt.address_dead) == (mails.REF, True)


@pytest.mark.parametrize(
    "name", ["Envelope-To", "X-Envelope-To", "X-Delivered-To", "X-Rcpt-To", "Cc", "X-Envelope-From"]
)
def test_a_proof_is_found_wherever_servers_write_the_envelope(name: str) -> None:
    head = f"{name}: <{mails.PATH}>\n"
    assert PROVING.events(mails.report(UNKNOWN, to="x@y.example", returned="")) == ()
    assert only(PROVING.events(mails.report(UNKNOWN, to="x@y.example", returned="", head=head))).address_dead
    for way in ("X-Original-Return-Path", "Return-Path"):
        returned = f"{way}: <{mails.PATH}>\nFrom: news@grace.example\n"
        assert only(PROVING.events(mails.report(UNKNOWN, to="x@y.example", returned=returned))).address_dead


@pytest.mark.parametrize(
    ("report", "returned"),
    [
        ("message/delivery-status", "message/rfc822"),
        ("message/delivery-status", "message/rfc822-headers"),
        ("message/global-delivery-status", "message/global"),
        ("message/global-delivery-status", "message/global-headers"),
    ],
)
def test_a_report_and_what_came_back_are_known_by_each_of_their_types(report: str, returned: str) -> None:
    raw = mails.report(UNKNOWN, to="x@y.example")
    renamed = raw.replace(b"message/delivery-status", report.encode()).replace(
        b"text/rfc822-headers", returned.encode()
    )
    assert only(PROVING.events(renamed)).address_dead


NAMED = {
    "Message-ID": mails.report(UNKNOWN, to="news@grace.example", returned=f"Message-ID: <{mails.REF}@grace.example>\n"),
    "envelope id": mails.report(
        f"Original-Envelope-Id: {mails.REF}@grace.example\n\n{UNKNOWN}", to="x@y.example", returned=""
    ),
    "In-Reply-To": mails.report(
        UNKNOWN, to="x@y.example", returned="", head=f"In-Reply-To: <{mails.REF}@GRACE.example>\n"
    ),
    "quoted": mails.report(
        UNKNOWN, to="x@y.example", returned="", text=f"Headers:\n  Message-Id:\n <{mails.REF}@grace.example>\n"
    ),
}


@pytest.mark.parametrize("raw", NAMED.values(), ids=NAMED.keys())
def test_a_name_alone_condemns_the_address_only_where_nothing_can_be_proved(raw: bytes) -> None:
    trusting, proving = only(TRUSTING.events(raw)), only(PROVING.events(raw))
    assert (trusting.ref, trusting.address_dead) == (mails.REF, True)
    assert (proving.ref, proving.address_dead) == (mails.REF, False)


def test_a_made_up_return_path_proves_nothing() -> None:
    forged = f"bounce+{mails.REF}-aaaaaaaaaa@grace.example"
    assert PROVING.events(mails.report(UNKNOWN, to=forged, returned="")) == ()


@pytest.mark.parametrize(
    "raw",
    [
        mails.report(UNKNOWN, to="x@y.example", returned=OTHERS_HEAD),
        mails.report(UNKNOWN, to="x@y.example", returned=f"Message-ID: <{mails.REF}@grace.example.evil.example>\n"),
        mails.report(UNKNOWN, to="x@y.example", returned=f"Message-ID: <{mails.REF}@gracexexample>\n"),
        mails.report(UNKNOWN, to="x@y.example", returned=f"Message-ID: <{'m' * 41}@grace.example>\n"),
        mails.complaint(
            "abuse", original=OTHERS_HEAD + "From: a@b.example\n", more="Original-Rcpt-To: ada@example.org\n"
        ),
        mails.complaint("abuse", original=OTHERS_HEAD + "From: news@grace.example\n"),
        mails.complaint("abuse", original="From: news@grace.example\n", more="Original-Rcpt-To: nobody\n"),
        mails.complaint("", original=mails.RETURNED),
    ],
)
def test_what_is_about_nobody_of_ours_is_left_out(raw: bytes) -> None:
    assert PROVING.events(raw) == ()
    assert TRUSTING.events(raw) == ()


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure", "virus", "dmarc", "Not-Spam (by a button)"])
def test_what_a_machine_reports_is_no_wish_of_a_person(kind: str) -> None:
    assert len(PROVING.events(mails.complaint("abuse"))) == 1
    assert PROVING.events(mails.complaint(kind)) == ()


# ---- reports ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["delayed", "delivered", "relayed", "expanded", "Delivered (to mailbox)"])
def test_an_action_that_is_no_failure_changes_nothing(action: str) -> None:
    assert PROVING.events(mails.report(mails.block(action, "5.1.1"))) == ()


@pytest.mark.parametrize("action", ["failed", "FAILED", "Failed (permanent)"])
def test_a_failure_is_one_in_every_spelling(action: str) -> None:
    assert only(PROVING.events(mails.report(mails.block(action, "5.1.1")))).address_dead


def test_a_report_without_an_action_is_a_failure_if_its_status_is() -> None:
    of_status = partial(mails.block, "")
    assert only(PROVING.events(mails.report(of_status("5.1.1").replace("Action: \n", "")))).address_dead
    assert PROVING.events(mails.report(of_status("2.0.0").replace("Action: \n", ""))) == ()


@pytest.mark.parametrize(
    ("blocks", "code", "dead"),
    [
        (UNKNOWN + UNKNOWN, Code.INVALID_ADDRESS, True),
        (UNKNOWN + mails.block("failed", "5.2.2"), Code.UNREACHABLE, False),
        (UNKNOWN + mails.block("expanded", "2.0.0"), Code.INVALID_ADDRESS, False),
        (UNKNOWN + mails.block("delivered", "2.0.0"), Code.INVALID_ADDRESS, False),
        (UNKNOWN + mails.block("relayed", "2.0.0"), Code.INVALID_ADDRESS, False),
        (UNKNOWN + mails.block("teleported", "5.1.1"), Code.INVALID_ADDRESS, True),
        (UNKNOWN + mails.block("delayed", "4.0.0"), Code.INVALID_ADDRESS, False),
    ],
)
def test_an_address_that_stands_for_several_is_dead_when_all_are(blocks: str, code: Code, dead: bool) -> None:
    receipt = only(PROVING.events(mails.report(blocks)))
    assert (receipt.code, receipt.address_dead) == (code, dead)


def test_a_report_that_a_scanner_wrapped_is_found() -> None:
    inner = mails.USER_UNKNOWN.partition(b"Content-Type: ")[2].replace(b"Message-Id:", b"X-Id:", 1)
    wrapped = (
        (
            f"From: x@y.example\r\nDelivered-To: {mails.PATH}\r\nContent-Type: multipart/mixed; boundary=w\r\n\r\n"
            "--w\r\nContent-Type: "
        ).encode()
        + inner
        + b"\r\n--w\r\nContent-Type: text/plain\r\n\r\nA footer.\r\n--w--\r\n"
    )
    assert only(PROVING.events(wrapped)).address_dead


def test_a_bounce_that_somebody_forwards_is_no_bounce() -> None:
    forwarded = (
        (
            f"From: Ada <ada@example.org>\r\nTo: {mails.PATH}\r\nSubject: Fwd: Undelivered\r\n"
            "Content-Type: multipart/mixed; boundary=w\r\n\r\n"
            "--w\r\nContent-Type: text/plain\r\n\r\nLook what I got.\r\n--w\r\nContent-Type: message/rfc822\r\n\r\n"
        ).encode()
        + mails.USER_UNKNOWN
        + b"\r\n--w--\r\n"
    )
    assert PROVING.events(forwarded) == ()


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_an_encoded_report_is_read(encoding: str) -> None:
    head, _, rest = mails.USER_UNKNOWN.partition(b"Content-Type: message/delivery-status\r\n\r\n")
    body, boundary, tail = rest.partition(b"--9D2A01")
    encoded = base64.encodebytes(body) if encoding == "base64" else quopri.encodestring(body)
    field = f"Content-Type: message/delivery-status\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()
    assert only(PROVING.events(head + field + encoded + b"\r\n" + boundary + tail)).address_dead


# ---- odd formats, and automatic answers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "dead"), [(mails.QMAIL, True), (mails.QMAIL_WITHOUT_A_CODE, True), (mails.QMAIL_FULL, False)]
)
def test_a_format_of_its_own_is_known_by_its_wording(raw: bytes, dead: bool) -> None:
    receipt = only(PROVING.events(raw))
    assert (receipt.ref, receipt.address_dead) == (mails.REF, dead)


QMAIL_TEXT = mails.QMAIL.partition(b"\n\n")[2].decode()


@pytest.mark.parametrize(
    "fields",
    [
        ("Auto-Submitted: auto-replied",),
        ("Auto-Submitted: auto-generated; x=y",),
        ("X-Autoreply: yes",),
        ("X-Autorespond: Sunday",),
        ("Precedence: auto_reply",),
        ("Precedence: Auto-Reply",),
        ("Precedence: autoreply",),
    ],
)
def test_an_automatic_answer_changes_nothing_even_if_it_reads_like_a_bounce(fields: tuple[str, ...]) -> None:
    assert only(PROVING.events(mails.answer("failure notice", text=QMAIL_TEXT))).ref == mails.REF
    assert PROVING.events(mails.answer("failure notice", *fields, text=QMAIL_TEXT)) == ()


@pytest.mark.parametrize(
    "subject",
    [
        "Out of Office: Sunday",
        "out of the office",
        "Automatic reply: Sunday",
        "Re: Auto-Reply: Sunday",
        "Automatische Antwort: Sonntag",
        "Abwesenheitsnotiz",
        "Réponse automatique : Sunday",
        "Respuesta automática: Sunday",
        "Auto: Out of office",
    ],
)
def test_an_absence_in_the_subject_changes_nothing(subject: str) -> None:
    assert PROVING.events(mails.answer(subject, text=QMAIL_TEXT)) == ()


def test_what_a_person_writes_changes_nothing() -> None:
    assert PROVING.events(mails.answer("Re: Sunday", text="Thank you! 550 5.1.1 user unknown")) == ()
    written = mails.answer("Re: Sunday", text=QMAIL_TEXT).replace(b"Return-Path: <>", b"Return-Path: <ada@example.org>")
    assert PROVING.events(written) == ()


def test_a_mail_of_ours_that_went_round_in_a_circle_is_no_bounce() -> None:
    raw = b"Return-Path: <>\nDelivered-To: " + mails.PATH.encode() + b"\n" + mails.RETURNED.encode()
    assert PROVING.events(raw + b"\n" + QMAIL_TEXT.encode()) == ()


@pytest.mark.parametrize(
    "author",
    [
        "MAILER-DAEMON@x.example",
        "Postmaster <p@x.example>",
        "mail-daemon@x.example",
        "MailerDaemon@x.example",
        "MDaemon at x.example <m@x.example>",
        "Mail Delivery Subsystem <m@x.example>",
    ],
)
def test_a_server_is_known_by_its_name_where_no_return_path_is_told(author: str) -> None:
    raw = mails.QMAIL.replace(b"Return-Path: <>\n", b"").replace(b"MAILER-DAEMON@mx.example.net", author.encode())
    marked = raw.replace(b"From: ", b"Auto-Submitted: auto-replied\nFrom: ", 1)
    for given_ in (raw, marked):
        assert only(PROVING.events(given_)).address_dead
    assert PROVING.events(raw.replace(author.encode(), b"Ada <ada@x.example>")) == ()


def test_a_detector_that_breaks_says_nothing_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Comments within comments in a From are beyond the depth to which the standard library's parser goes."""
    author = b"From: MAILER-DAEMON " + b"\n ".join([b"(" * 190] * 10)
    assert PROVING.events(mails.QMAIL.replace(b"From: MAILER-DAEMON@mx.example.net", author)) == ()
    assert caplog.text == ""


def test_a_bounce_of_nobody_is_known_by_its_wording_too() -> None:
    assert only(PROVING.events(mails.QMAIL.replace(b"From: MAILER-DAEMON@mx.example.net\n", b""))).address_dead


# ---- anything at all ----------------------------------------------------------------------------------------------


def sound(events: Sequence[Event]) -> None:
    """What the gateway can take."""
    assert len(events) <= 1
    for event in events:
        assert isinstance(event, Receipt | Consent)
        assert event.ref is None or re.fullmatch(r"[a-z0-9_]{1,40}", event.ref)
        assert event.reason is not None
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", event.reason)


PIECES = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\n\n",
        b"\0",
        b"\xff",
        b"\xc3",
        b" ",
        b"\t",
        b":",
        b";",
        b'"',
        b"=",
        b"--",
        b"<>",
        b"(",
        b"@",
    ),
    *(b"Content-Type: multipart/mixed; boundary=x\n\n--x\n", b"Content-Type: message/rfc822\n\n", b"--x\n", b"--x--\n"),
    *(b"Content-Type: message/delivery-status\n\n", b"Content-Type: message/feedback-report\n\n", b"Status: 5.1.1\n"),
    *(b"Content-Transfer-Encoding: base64\n", b"Content-Transfer-Encoding: quoted-printable\n", b"=?x?q?=00?="),
    *(b"Action: failed\n", b"Feedback-Type: abuse\n", b"Content-Type: text/plain; charset=nonsense\n", b"Subject: "),
    *(b"X-Failed-Recipients: ((((\n", b"From: MAILER-DAEMON\n", b"Message-ID: <msg_1@grace.example>\n"),
    *(mails.PATH.encode(), b"From: , \n", b"99999999999999999999", b"5.999.999", b"\xe2\x80\xa8", b"\xed\xa0\x80"),
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A real bounce with pieces cut out, doubled, put in, and octets changed."""
    raw = bytearray(draw(st.sampled_from(sorted(mails.ALL.values()))))
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, len(raw)))
        end = min(len(raw), at + draw(st.integers(0, 300)))
        kind = draw(st.sampled_from(["cut", "double", "insert", "change", "truncate"]))
        if kind == "cut":
            del raw[at:end]
        elif kind == "double":
            raw[at:at] = raw[at:end]
        elif kind == "insert":
            raw[at:at] = draw(st.sampled_from(PIECES)) * draw(st.integers(1, 3))
        elif kind == "change" and at < len(raw):
            raw[at] = draw(st.integers(0, 255))
        elif kind == "truncate":
            del raw[at:]
    return bytes(raw)


@hypothesis_settings(max_examples=1_500, deadline=None)
@given(mutated())
def test_no_mail_breaks_the_reader(raw: bytes) -> None:
    sound(PROVING.events(raw))
    sound(TRUSTING.events(raw))


@hypothesis_settings(max_examples=1_000, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=20), max_size=40).map(b"".join))
def test_no_octets_break_the_reader(raw: bytes) -> None:
    head = b"Return-Path: <>\nFrom: MAILER-DAEMON\nIn-Reply-To: <msg_1@grace.example>\n"
    sound(PROVING.events(raw))
    sound(TRUSTING.events(head + raw))


HEAD = (
    f"From: mailer-daemon@x.example\nReturn-Path: <>\nDelivered-To: {mails.PATH}\nMessage-ID: <x@y.example>\n".encode()
)
TAGS = (
    b"here is your list of failed recipients\nthe following addresses had\nfailed addresses follow:\n"
    b"Delivery to the following recipient failed\nYour message\nUnable to deliver message to\nYour message to:\n"
    b"A message that you sent could not be delivered\nThe email below could not be delivered to the following user:\n"
)
HOSTILE = {
    "nested multiparts": HEAD
    + b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(9_000)),
    "nested mails": HEAD + b"Content-Type: message/rfc822\n\n" * 30_000,
    "many parts": HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n\n" * 170_000,
    "many reports": HEAD + b"Content-Type: message/delivery-status\n\n" + UNKNOWN.encode() * 5_000,
    "many fields": HEAD + b"a: b\n" * 200_000,
    "one long field": HEAD + b"a: b\n " * 170_000,
    "one long line": HEAD + b"\n" + b"x" * 1_000_000,
    "a long type": HEAD + b"Content-Type: multipart/mixed" + b';a="' * 250_000,
    "empty lines": HEAD + b"\n" * 1_000_000,
    "returns": HEAD + b"\n" + b"\r" * 1_000_000,
    "blanks": HEAD + b"\n" + TAGS + (b" " * 998 + b"\n") * 1_000,
    "letters": HEAD + b"\n" + TAGS + (b"x" * 998 + b"\n") * 1_000,
    "commas": HEAD + b"\n" + TAGS + (b",a" * 499 + b"\n") * 1_000,
    "addresses": HEAD + b"\n" + TAGS + (b"<a@b.c>: " * 110 + b"\n") * 1_000,
    "comments": HEAD + b"Reply-To: " + b"(" * 500_000 + b"\n\n" + TAGS,
    "return paths": HEAD
    + b"\n".join(b"Delivered-To: " + b"bounce+a-aaaaaaaaaa@grace.example " * 100 for _ in range(250)),
    "codes": HEAD + b"X-Failed-Recipients: a@b.c\n\n" + b"5.1.1." * 170_000,
    "message ids": HEAD + b"\n" + b"message-id: <" * 80_000,
    "zeros": b"\0" * 1_000_000,
    "boundaries": HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n" + b"\n--b" + b" " * 1_000_000,
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_mail_keeps_the_reader_busy(raw: bytes) -> None:
    start = time.perf_counter()
    sound(PROVING.events(raw))
    assert time.perf_counter() - start < SECONDS_MAX


def test_limits_hold_for_what_is_read_of_a_mail() -> None:
    parts = read_mail(HOSTILE["many parts"])
    assert len(list(parts.walk())) == PARTS_MAX
    assert len(list(read_mail(HOSTILE["nested multiparts"]).walk())) <= 6
    assert len(read_mail(b"a: b\n\n" + b"x" * 2 * MAIL_OCTETS_MAX).raw) < MAIL_OCTETS_MAX
    assert len(read_blocks(UNKNOWN.encode() * 1_000)) == PARTS_MAX


@pytest.mark.parametrize(
    ("raw", "bodies"),
    [
        (b"--b\n\none\n--b\n\ntwo\n--b--\nafter\n--b\n\nnot\n", [b"one", b"two"]),
        (b"before\r\n--b\r\n\r\none\r\n\r\n--b\r\n\r\ntwo", [b"one\r\n", b"two"]),
        (b"--bb\n\nnot\n--b \t\n\none\n--b-\n\n--bc\nmore\n--b--", [b"one\n--b-\n\n--bc\nmore"]),
        (b"no delimiter", []),
        (b"--b--\n--b\n\nnot", []),
        (b"--b\n--b\nA: c\n\n--b--", [b"", b""]),
    ],
)
def test_parts_are_cut_where_delimiters_are(raw: bytes, bodies: list[bytes]) -> None:
    mail = read_mail(b'Content-Type: multipart/mixed; x="y;z"; boundary="b"\n\n' + raw)
    assert [part.raw for part in mail.parts] == bodies


async def test_a_mail_that_bounces_is_known_by_the_way_it_came_back(server: SmtpServer, tmp_path: Path) -> None:
    """From the envelope of what was sent, over LMTP, to the receipt."""
    delivered: list[bytes] = []

    async def deliver(raw: bytes) -> None:
        delivered.append(raw)

    own: dict[str, Any] = {name: SETTINGS[name] for name in ("bounce_address", "bounce_secret")}
    async with adapter_for(server, **own) as adapter:
        await adapter.send(mail(7))
        (sent,) = server.messages
        place = LmtpPlace.parse(f"unix:{tmp_path}/bounce.sock")
        async with LmtpServer(place, deliver, RecordingLog()):
            await asyncio.to_thread(_bounce, str(place.path), sent.sender, sent.content.decode())
        request = CallbackRequest(method="RUN", url="", tail="", query=(), headers={}, body=delivered[0])
        receipt = only(adapter.parse(request))
    assert (receipt.ref, receipt.address_dead) == ("msg_7", True)


def _bounce(socket: str, path: str, returned: str) -> None:
    raw = mails.report(UNKNOWN, to="undisclosed-recipients:;", returned=returned.replace("\r\n", "\n"))
    with smtplib.LMTP(socket, local_hostname="mx.example") as client:
        client.sendmail("", [path], raw)
