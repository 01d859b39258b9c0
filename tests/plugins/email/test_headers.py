"""Header fields: what other parsers read is what was meant, and nothing becomes a field of its own."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

import mailparser  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_email import headers

PIECES = (
    *("\r", "\n", "\r\n", "\0", "\t", "\x0b", "\x0c", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\ud83d", "\udc00"),
    *(
        "=?UTF-8?Q?=0A?=",
        "=?utf-8?b?Cg==?=",
        "=?",
        "?=",
        "Bcc: eve@evil.example",
        " ",
        "  ",
        "é",
        "日本",
        "✨",
        "👩‍👩‍👧",
        "a",
        '"',
    ),
    *("\\", "<", ">", "@", ",", ";", ":", "(", ")", "word", "x" * 80),
)
HOSTILE = st.lists(st.sampled_from(PIECES) | st.characters(exclude_categories=()), max_size=25).map("".join)


def parsed(*lines: str) -> EmailMessage:
    raw = "\r\n".join((*lines, "", "body\r\n"))
    message = message_from_bytes(raw.encode("ascii"), policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


@pytest.mark.parametrize(
    "text",
    [
        "Sunday",
        "",
        "Sunday, Ada ✨",
        "日本語の件名" * 20,
        "👩‍👩‍👧 " * 30,
        "word " * 40 + "end",
        "x" * 300,
        "a  b   c",
        "100% =?not an encoded word",
        "=?UTF-8?Q?=41?=",
        'Re: [list] (comment) <b> "q" \\',
        "ends with an equals sign =",
        "x" * 67 + "é",
    ],
)
def test_a_subject_is_read_as_it_was_written(text: str) -> None:
    field = headers.unstructured("Subject", text)
    assert parsed(field)["subject"] == text.strip()
    second = mailparser.parse_from_string(f"{field}\r\nFrom: a@b.example\r\n\r\nbody")
    assert second.subject.split() == text.split()  # it leaves the folding in
    assert all(len(line) <= 78 for line in field.split("\r\n"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Hello\r\nBcc: eve@evil.example", "Hello Bcc: eve@evil.example"),
        ("Hello\nBcc: eve@evil.example", "Hello Bcc: eve@evil.example"),
        ("Hello\rBcc: eve@evil.example", "Hello Bcc: eve@evil.example"),
        ("Hello\0\x1b[2J", "Hello [2J"),
        ("Hello\u2028Bcc: x", "Hello Bcc: x"),
        ("Hello\u0085Bcc: x", "Hello Bcc: x"),
        ("half \ud83d", "half \ufffd"),
        ("=?UTF-8?Q?=0A?=Bcc: eve@evil.example", "=?UTF-8?Q?=0A?=Bcc: eve@evil.example"),  # CVE-2024-6923
        ("=?UTF-8?Q?x=0D=0ABcc:_eve@evil.example?=", "=?UTF-8?Q?x=0D=0ABcc:_eve@evil.example?="),
    ],
)
def test_a_hostile_subject_stays_a_subject(text: str, line: str) -> None:
    message = parsed(headers.unstructured("Subject", text))
    assert message.keys() == ["Subject"]
    assert message["subject"] == line


@settings(max_examples=300)
@given(HOSTILE)
def test_no_text_becomes_more_than_a_subject(text: str) -> None:
    field = headers.unstructured("Subject", text)
    assert field.isascii()
    assert all(len(line) <= 78 for line in field.split("\r\n"))
    assert_folded_only(field)
    message = parsed(field)
    assert message.keys() == ["Subject"]
    assert message["subject"] == headers.one_line(text)


@settings(max_examples=300)
@given(HOSTILE)
def test_no_display_name_becomes_more_than_a_name(name: str) -> None:
    field = headers.mailbox("From", name, "news@grace.example")
    assert field.isascii()
    assert_folded_only(field)
    message = parsed(field)
    assert message.keys() == ["From"]
    (address,) = message["from"].addresses
    assert address.addr_spec == "news@grace.example"
    # The parser of Python 3.11 puts a space between two encoded words of a name, and makes one of any white space.
    assert "".join(address.display_name.split()) == "".join(headers.one_line(name).split())


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("", "From: news@grace.example"),
        ("Grace Church", "From: Grace Church <news@grace.example>"),
        ("Church, Grace", 'From: "Church, Grace" <news@grace.example>'),
        ('Grace "G" \\', 'From: "Grace \\"G\\" \\\\" <news@grace.example>'),
        ("Ìbàdàn", "From: =?utf-8?b?w4xiw6Bkw6Bu?= <news@grace.example>"),
        ("x" * 60, f"From: {'x' * 60}\r\n <news@grace.example>"),
    ],
)
def test_a_display_name_is_plain_quoted_or_encoded(name: str, field: str) -> None:
    assert headers.mailbox("From", name, "news@grace.example") == field


LONG_URL = "https://gateway.example/u/" + "t0ken" * 60


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("List-Unsubscribe", f"<{LONG_URL}>", f"List-Unsubscribe: <{LONG_URL}>"),
        (
            "List-Unsubscribe",
            f"<mailto:leave@grace.example>, <{LONG_URL}>",
            f"List-Unsubscribe: <mailto:leave@grace.example>,\r\n <{LONG_URL}>",
        ),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click", "List-Unsubscribe-Post: List-Unsubscribe=One-Click"),
        ("List-Id", "Grâce <news.grace.example>", "List-Id: =?utf-8?b?R3LDomNl?= <news.grace.example>"),
    ],
)
def test_structured_tokens_are_never_encoded_nor_broken(name: str, value: str, field: str) -> None:
    assert headers.structured(name, value) == field
    assert parsed(field)[name] == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "a\r\nBcc: x"),
        ("X-A", "a\nb"),
        ("X-A", "a\0b"),
        ("X-A", "a\u2028b"),
        ("X-A", "a\ud83d"),
        ("X-A", "=?utf-8?q?=0A?="),
        ("X-A", "x" * 1_000),
        ("X-A", "<https://grâce.example>"),
        ("X A", "b"),
        ("X-A\r\nBcc", "b"),
        ("X-A:", "b"),
        ("", "b"),
        ("Bcc", "eve@evil.example"),
        ("subject", "other"),
        ("Content-Type", "text/html"),
        ("From", "eve@evil.example"),
    ],
)
def test_a_further_field_that_is_none_or_ours_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="header field"):
        headers.structured(name, value)


@settings(max_examples=300)
@given(HOSTILE)
def test_a_further_field_is_one_field_or_refused(value: str) -> None:
    try:
        field = headers.structured("X-Campaign", value)
    except ValueError:
        return
    assert field.isascii()
    assert_folded_only(field)
    assert parsed(field).keys() == ["X-Campaign"]


def assert_folded_only(field: str) -> None:
    """Lines end by CRLF alone, each further one begins with a space and has something to say."""
    lines = field.split("\r\n")
    assert not any("\r" in line or "\n" in line for line in lines)
    assert all(line.startswith(" ") and line.strip() for line in lines[1:])
