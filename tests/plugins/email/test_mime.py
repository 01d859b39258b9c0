"""Whole mails: read back by two parsers, and taken as exactly one by servers that are too tolerant."""

from __future__ import annotations

import binascii
import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import Any

import mailparser  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import Code
from gateway.testing.smtp_server import SmtpServer
from gateway_email import mime
from gateway_email.encoding import TextParts, text_octets
from gateway_email.mailbox import Mailbox
from gateway_email.mime import Composer, on_the_wire
from tests.plugins.email.harness import NOW, adapter_for, mail
from tests.plugins.email.test_headers import HOSTILE

COMPOSER = Composer(Mailbox.parse("Grace Church <news@grace.example>"), None)
SMUGGLED = "\r\nMAIL FROM:<eve@evil.example>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n"
ENDS = (
    "\n.\n",
    "\r.\r",
    "\r\n.\r\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\n",
    "\n.\r",
    "\r\n.\r",
    "\r.\r\n",
    ".\r\n",
    "\r\n..\r\n",
)
LENIENT_END = re.compile(rb"(?:\r\n|\r|\n)\.(?:\r\n|\r|\n)")
TEXTS = {
    "ascii": "Hello Ada,\n\nsee you on Sunday.\n",
    "accents": "Schöne Grüße aus Kraków — bis Sonntag!\n" * 20,
    "japanese": "日曜日にお会いしましょう。\n" * 30,
    "emoji": "👩‍👩‍👧 ✨\n",
    "long line": "word " * 500,
    "long word": "x" * 3_000,
    "trailing blanks": "a \nb\t\n  \n=20\n",
    "dots": ".\n..\n.hidden\n",
    "from": "From here on\nFrom there\n",
    "controls": "form\ffeed and bell\a\n",
    "line separators": "one\u2028two\u2029three\x85four\x0bfive\n",
    "no last newline": "no last newline",
    "empty": "",
    "looks like a boundary": "--=_msg_1\n--=_msg_1--\n",
    "looks encoded": "=C3=A9 =\n=?utf-8?q?x?=\n",
}


def build(**fields: Any) -> bytes:
    return COMPOSER.build(mail(**fields), NOW)


def parsed(raw: bytes) -> EmailMessage:
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def body(message: EmailMessage, subtype: str) -> str:
    part = message.get_body((subtype,))
    assert isinstance(part, EmailMessage)
    assert not part.defects
    return str(part.get_content()).replace("\r\n", "\n")


def as_sent(text: str) -> str:
    """What a body becomes: its lines are lines, and the last one ends."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return lines if lines.endswith("\n") else lines + "\n"


def assert_sound(raw: bytes) -> None:
    """RFC 5321 and 5322: lines end by CRLF alone and are not too long; nothing needs 8BITMIME."""
    assert raw.endswith(b"\r\n")
    lines = raw.split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines)
    assert max(map(len, lines)) <= 998
    assert raw.isascii()
    for part in parsed(raw).walk():
        if part["content-transfer-encoding"] in ("quoted-printable", "base64"):
            assert max(map(len, str(part.get_payload()).splitlines())) <= 76


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_text_is_read_back_as_it_was_written(text: str) -> None:
    raw = build(text=text)
    assert_sound(raw)
    assert parsed(raw).get_content_type() == "text/plain"
    assert body(parsed(raw), "plain") == as_sent(text)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_text_and_html_are_alternatives_of_one_mail(text: str) -> None:
    html = f"<p>{text}</p>"
    raw = build(text=text, html=html)
    assert_sound(raw)
    message = parsed(raw)
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert (body(message, "plain"), body(message, "html")) == (as_sent(text), as_sent(html))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_second_parser_reads_the_same(text: str) -> None:
    read = mailparser.parse_from_bytes(
        build(subject="Sunday ✨", text=text, html=f"<p>{text}</p>", reply_to="a@b.example")
    )
    assert read.subject == "Sunday ✨"
    assert (read.from_, read.to, read.reply_to) == (
        [("Grace Church", "news@grace.example")],
        [("", "m1@example.org")],
        [("", "a@b.example")],
    )
    assert read.message_id == "<msg_1@grace.example>"
    assert [part.splitlines() for part in read.text_plain] == [as_sent(text).splitlines()]
    assert [part.splitlines() for part in read.text_html] == [as_sent(f"<p>{text}</p>").splitlines()]
    assert not read.defects


def test_html_alone_is_a_mail_of_its_own() -> None:
    message = parsed(build(text=None, html="<p>Hé</p>"))
    assert message.get_content_type() == "text/html"
    assert message.get_content_charset() == "utf-8"


def test_the_header_says_who_when_and_which() -> None:
    message = parsed(build(number=7, to="ada@bücher.example", subject="News"))
    assert message.keys()[:6] == ["Message-ID", "Date", "From", "MIME-Version", "To", "Subject"]
    assert message["message-id"] == "<msg_7@grace.example>"
    assert parsedate_to_datetime(message["date"]) == NOW
    assert message["from"] == "Grace Church <news@grace.example>"
    assert message["to"] == "ada@xn--bcher-kva.example"
    assert message["mime-version"] == "1.0"


def test_a_mail_without_subject_has_no_subject_field() -> None:
    assert "subject" not in parsed(build(subject=None))


def test_answers_go_where_the_message_says_else_where_the_sender_says() -> None:
    composer = Composer(Mailbox.parse("news@grace.example"), Mailbox.parse("Zoë <office@grace.example>"))
    assert parsed(composer.build(mail(), NOW))["reply-to"] == "Zoë <office@grace.example>"
    assert parsed(composer.build(mail(reply_to="ada@example.org"), NOW))["reply-to"] == "ada@example.org"
    assert "reply-to" not in parsed(build())


def test_further_fields_are_written_as_they_are() -> None:
    url = "<https://gateway.example/u/" + "x" * 100 + ">"
    raw = build(headers={"List-Unsubscribe": url, "Precedence": "bulk"})
    assert b"\r\nList-Unsubscribe: " + url.encode() + b"\r\nPrecedence: bulk\r\n" in raw


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"text": None}, Code.CONTENT),
        ({"text": "a\0b"}, Code.CONTENT),
        ({"html": "a\0b"}, Code.CONTENT),
        ({"text": "\udc80"}, Code.CONTENT),
        ({"reply_to": "nobody"}, Code.CONTENT),
        ({"reply_to": "a@b.example\r\nBcc: c@d.example"}, Code.CONTENT),
        ({"headers": {"Bcc": "eve@evil.example"}}, Code.CONTENT),
        ({"headers": {"X-A": "a\nb"}}, Code.CONTENT),
        ({"text": "x" * (mime.SIZE_MAX + 1)}, Code.TOO_LONG),
    ],
)
def test_what_cannot_be_a_mail_is_refused_beforehand(fields: dict[str, Any], code: Code) -> None:
    refusal = COMPOSER.refusal(mail(**fields))
    assert refusal is not None
    assert refusal.code is code
    if code is Code.CONTENT:
        with pytest.raises(ValueError, match=re.escape(refusal.reason)):
            build(**fields)


def test_what_can_be_a_mail_is_not_refused() -> None:
    assert COMPOSER.refusal(mail(html="<p>a", reply_to="A <a@b.example>", headers={"X-A": "b"})) is None


@settings(max_examples=150)
@given(subject=HOSTILE, text=HOSTILE, html=st.none() | HOSTILE)
def test_no_content_becomes_anything_but_content(subject: str, text: str, html: str | None) -> None:
    message = mail(subject=subject, text=text, html=html)
    if COMPOSER.refusal(message) is not None:
        assert re.search(r"[\0\ud800-\udfff]", text + (html or ""))
        return
    raw = COMPOSER.build(message, NOW)
    assert_sound(raw)
    read = parsed(raw)
    own = ["Message-ID", "Date", "From", "MIME-Version", "To", "Subject", "Content-Type"]
    assert [name for name in read if name != "Content-Transfer-Encoding"] == own
    assert body(read, "plain") == as_sent(text)
    assert html is None or body(read, "html") == as_sent(html)


@settings(max_examples=150)
@given(st.text(alphabet="\r\n. =a\té"), st.text(alphabet="\r\n.=a"))
def test_the_only_end_of_a_mail_is_its_end(text: str, subject: str) -> None:
    wire = on_the_wire(build(text=text, html=text, subject=subject))
    assert [found.end() for found in LENIENT_END.finditer(wire)] == [len(wire)]


@pytest.mark.parametrize("end", ENDS, ids=ascii)
@pytest.mark.parametrize("lenient", [False, True], ids=["strict", "lenient"])
async def test_a_smuggled_end_makes_no_second_mail(server: SmtpServer, end: str, lenient: bool) -> None:
    server.lenient = lenient
    text = f"before{end}{SMUGGLED}after{end}"
    async with adapter_for(server) as adapter:
        await adapter.send(mail(text=text))
        await adapter.send(mail(2, text=text + "é" * 2))
        await adapter.send(mail(3, text=text, html=text, subject=text))
    assert [(received.recipient, received.sender) for received in server.messages] == [
        (f"m{number}@example.org", "news@grace.example") for number in (1, 2, 3)
    ]
    assert body(parsed(server.messages[0].content), "plain") == as_sent(text)


@given(st.text(alphabet="a é.=\t\n-", max_size=80), st.sampled_from(["", "=" * 90, "x" * 998, "y" * 2_001, " " * 80]))
def test_lines_that_are_remembered_are_quoted_as_the_whole_text_is(text: str, more: str) -> None:
    parts = TextParts()
    body = f"{text}\n{more}\ná\n" + "plain words\n" * 100
    for _ in range(2):
        head, _, quoted = parts.part("plain", body).partition(b"\r\n\r\n")
        assert head.endswith(b"quoted-printable")
        assert quoted == binascii.b2a_qp(text_octets(body)).replace(b"\n", b"\r\n")


def test_a_body_that_is_the_same_for_everybody_is_written_as_in_a_mail_of_its_own() -> None:
    composer = Composer(Mailbox.parse("Grace Church <news@grace.example>"), None)
    bodies = ["Hé Ada", "Hé Ada", "Hé Bob", "Hé Ada", "plain", "plain\n", "日曜日", ""]
    for text in bodies:
        for html in ("Hé Ada", "<p>日曜日</p>", "<p>日曜日</p>"):
            message = mail(text=text, html=html)
            fresh = Composer(Mailbox.parse("Grace Church <news@grace.example>"), None)
            assert composer.build(message, NOW) == fresh.build(message, NOW)
            read = parsed(composer.build(message, NOW))
            assert (body(read, "plain"), body(read, "html")) == (as_sent(text), as_sent(html))


@pytest.mark.parametrize("spoilt", ["Hé\0", "Hé\ud800"], ids=ascii)
def test_a_body_that_no_mail_can_carry_is_refused_behind_a_good_one_of_its_length(spoilt: str) -> None:
    composer = Composer(Mailbox.parse("Grace Church <news@grace.example>"), None)
    good = mail(text="Hé!", html="Hé!")
    assert composer.refusal(good) is None
    composer.build(good, NOW)
    assert composer.refusal(good) is None
    for message in (mail(text=spoilt, html="Hé!"), mail(text="Hé!", html=spoilt)):
        refused = composer.refusal(message)
        assert refused is not None
        assert refused.code is Code.CONTENT
        with pytest.raises(ValueError, match="no mail can carry"):
            composer.build(message, NOW)
