"""Header fields of whole mails, read back by three parsers: nothing that was given becomes a field of its own.

The fields themselves are tested beside their encoder (`tests/plugins/email/test_headers.py`); here is what arrives.
"""

from __future__ import annotations

import random
import re
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from typing import Any

import pytest

from gateway import Accepted, File, Media, Outbound, Rejected
from gateway.errors import Invalid
from gateway.testing.smtp_server import SmtpServer
from gateway_email.headers import one_line
from tests.plugins.email.test_headers import PIECES
from tests.security.mails import adapter_at

MAILS = 300
URL = "https://files.example/1"
KNOWN = {
    *("message-id", "date", "from", "mime-version", "to", "subject", "reply-to", "x-note", "list-unsubscribe"),
    *("list-unsubscribe-post", "content-type", "content-transfer-encoding"),
}
BCC = "Bcc: eve@evil.example"
ATTACKS = (
    "\r\n" + BCC, "\n" + BCC, "\r" + BCC, "\r\n\r\n<script>", "\n\n", "\r\r",
    "\r\n " + BCC, "\n\t" + BCC, "\u2028" + BCC, "\x85" + BCC,
    "\x0b" + BCC, "\x0c" + BCC, "\0\r\n" + BCC, "%0d%0a" + BCC,
    "=?UTF-8?Q?=0A?=" + BCC, "=?UTF-8?B?DQpCY2M6IGV2ZUBldmlsLmV4YW1wbGU=?=", "=?utf-8?q?=0D=0ABcc:_e?=",
    '"\r\nBcc: eve@evil.example', "a" * 2_000, "é" * 1_000, "\\\r\nBcc: e", "<eve@evil.example>", ", eve@evil.example",
    "嘊嘍" + BCC, "\ud800", "Content-Type: text/html\r\n\r\n", ";\r\n name=x", "\r\n--=_msg_1\r\n",
)  # fmt: skip


def parsers(raw: bytes) -> list[dict[str, list[str]]]:
    """The fields of a mail by the package `email`, with the new policy and the old, and by one that knows nothing."""
    new = message_from_bytes(raw, policy=policy.default)
    old = message_from_bytes(raw, policy=policy.compat32)
    return [fields_of(new), fields_of(old), naive(raw)]


def fields_of(message: Message) -> dict[str, list[str]]:
    return {name.lower(): [str(one) for one in message.get_all(name) or ()] for name in message.keys()}  # noqa: SIM118


def naive(raw: bytes) -> dict[str, list[str]]:
    """As a careless program reads: any end of a line is one, what has a colon before any space is a field."""
    found: dict[str, list[str]] = {}
    for line in re.split(rb"\r\n|\r|\n|\x0b|\x0c|\x85|\0", raw.partition(b"\r\n\r\n")[0]):
        name, colon, value = line.partition(b":")
        if colon and not line[:1].isspace():
            found.setdefault(name.decode("latin-1").strip().lower(), []).append(value.decode("latin-1"))
    return found


def hostile(chance: random.Random) -> str:
    pieces = [chance.choice(PIECES) for _ in range(chance.randrange(12))]
    pieces.insert(chance.randrange(len(pieces) + 1), chance.choice(ATTACKS))
    return "".join(pieces)


def message(number: int, chance: random.Random) -> Outbound:
    """Something hostile in one or two places."""
    fields: dict[str, Any] = {"to": "ada@example.org", "subject": "News", "text": "Hello\n"}
    for place in chance.sample(["subject", "reply_to", "header", "link", "file", "html"], chance.choice((1, 1, 2))):
        text = hostile(chance)
        match place:
            case "subject":
                fields["subject"] = text
            case "reply_to":
                fields["reply_to"] = f"{text} <answers@example.org>"
            case "header":
                fields.setdefault("headers", {})["X-Note"] = text
            case "link":
                fields.setdefault("headers", {})["List-Unsubscribe"] = f"<https://x.example/{text}>"
            case "file":
                fields["media"] = (Media(URL, chance.choice(("text/plain", text)), text),)
            case _:
                fields["html"] = f"<p>{text}</p>".replace("\0", "").replace("\ud800", "")
    return Outbound(ref=f"msg_{number}", attempt=1, **fields)


async def test_no_mail_has_a_field_more_than_it_was_given() -> None:
    chance = random.Random("headers")
    files = {URL: File(b"x", "text/plain", "a.txt")}
    accepted = refused = 0
    async with SmtpServer() as server, adapter_at(server.port, files) as adapter:
        for number in range(MAILS):
            sent = message(number, chance)
            outcome = await adapter.send(sent)
            assert isinstance(outcome, Accepted | Rejected), (sent, outcome)
            if isinstance(outcome, Rejected):
                refused += 1
                continue
            accepted += 1
            mail = server.messages[-1]
            assert mail.recipient in (sent.to, "ada@example.org")
            assert_sound(mail.content, sent)
        assert server.count == accepted
    assert accepted > MAILS // 4
    assert refused > MAILS // 10


def assert_sound(raw: bytes, sent: Outbound) -> None:
    head = raw.partition(b"\r\n\r\n")[0]
    assert b"\n" not in head.replace(b"\r\n", b""), sent
    assert b"\r" not in head.replace(b"\r\n", b""), sent
    assert all(len(line) <= 998 for line in raw.split(b"\r\n")), sent
    for fields in parsers(raw):
        assert fields.keys() <= KNOWN, sent
        assert all(len(values) == 1 for values in fields.values()), sent
    parsed = message_from_bytes(raw, policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    assert parsed["to"].addresses[0].addr_spec == sent.to
    assert parsed["subject"] == one_line(sent.subject or "")
    for part in parsed.walk():
        assert {name.lower() for name in part.keys()} <= KNOWN | {"content-disposition", "content-id"}, sent  # noqa: SIM118
    if sent.media:
        (file,) = parsed.iter_attachments()
        name = file.get_filename() or ""
        assert name == one_line(name), sent
        assert "/" not in name, sent


@pytest.mark.parametrize("attack", ATTACKS)
async def test_the_name_of_a_sender_stays_a_name_or_is_refused(attack: str) -> None:
    async with SmtpServer() as server:
        for name in (f"Grace{attack}", f'"Grace{attack}"'):
            try:
                table: dict[str, Any] = {"from": f"{name} <news@grace.example>"}
                manager = adapter_at(server.port, **table)
                async with manager as adapter:
                    outcome = await adapter.send(
                        Outbound(ref="msg_1", attempt=1, to="ada@example.org", subject="News", text="Hello")
                    )
            except Invalid:  # the settings are not taken
                continue
            assert outcome == Accepted()
            mail = server.messages[-1]
            for fields in parsers(mail.content):
                assert fields.keys() <= KNOWN
                assert len(fields["from"]) == 1
            parsed = message_from_bytes(mail.content, policy=policy.default)
            assert [each.addr_spec for each in parsed["from"].addresses] == ["news@grace.example"]
