"""No text, name, header or file becomes a second mail, not even at a server that falls for every trick.

Through the adapter as the daemon makes it, whatever client is behind it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email import message_from_bytes, policy
from typing import Any

import pytest

from gateway import Accepted, File, Media, Outbound, Rejected
from gateway_email.channel import EMAIL
from tests.security.lenient_server import LenientServer, lenient, speaking_to
from tests.security.mails import adapter_at

ENDS = {
    "LF . LF": "\n.\n", "LF . CRLF": "\n.\r\n", "LF . CR": "\n.\r", "CR . CR": "\r.\r", "CR . LF": "\r.\n",
    "CR . CRLF": "\r.\r\n", "CRLF . LF": "\r\n.\n", "CRLF . CR": "\r\n.\r", "CRLF . CRLF": "\r\n.\r\n",
    "CR CRLF . CR CRLF": "\r\r\n.\r\r\n", "CRLF . space CRLF": "\r\n. \r\n", "CRLF .. CRLF": "\r\n..\r\n",
    "LF LF . LF": "\n\n.\n", "NEL": "\x85.\x85", "line separators": "\u2028.\u2028", "VT": "\x0b.\x0b",
    "FF": "\x0c.\x0c", "NUL before": "\0\n.\n", "NUL within": "\r\n.\0\r\n", "two bare ends": "\n.\r.\n",
    "an end at the beginning": ".\r\n",
}  # fmt: skip
SMUGGLED = (
    "MAIL FROM:<admin@grace.example>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\n"
    "Subject: smuggled\r\n\r\nclick here\r\n.\r\nQUIT\r\n"
)
URL = "https://files.example/1"

PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "the text": lambda trick: {"text": f"Hello{trick}{SMUGGLED}"},
    "the text, alone": lambda trick: {"text": f"{trick}{SMUGGLED}"},
    "the text, quoted": lambda trick: {"text": f"Hello é{' word' * 300}{trick}{SMUGGLED}"},
    "the text, in base64": lambda trick: {"text": f"{'日本' * 500}{trick}{SMUGGLED}"},
    "the HTML": lambda trick: {"html": f"<p>Hello{trick}{SMUGGLED}</p>"},
    "the subject": lambda trick: {"subject": f"Hello{trick}{SMUGGLED}"},
    "a name to answer to": lambda trick: {"reply_to": f'"Ada{trick}{SMUGGLED}" <ada@example.org>'},
    "a header": lambda trick: {"headers": {"X-Note": f"Hello{trick}{SMUGGLED}"}},
    "a header's name": lambda trick: {"headers": {f"X-Note{trick}{SMUGGLED}": "Hello"}},
    "the link to leave": lambda trick: {"headers": {"List-Unsubscribe": f"<https://x.example/{trick}{SMUGGLED}>"}},
    "a file": lambda trick: {"media": (Media(URL, "text/plain", f"a{trick}.txt"),)},
}


@pytest.mark.parametrize("place", PLACES)
async def test_whatever_stands_in_a_mail_it_is_one_mail_to_one_person(place: str) -> None:
    accepted = 0
    for number, (name, trick) in enumerate(ENDS.items()):
        fields = {"to": "ada@example.org", "subject": "News", "text": "Hello\n", **PLACES[place](trick)}
        message = Outbound(ref=f"msg_{number}", attempt=1, **fields)
        files = {URL: File(f"x{trick}{SMUGGLED}".encode(), "text/plain", f"a{trick}.txt")}
        async with lenient() as server:
            async with adapter_at(server.port, files) as adapter:
                outcome = await adapter.send(message)
            assert isinstance(outcome, Accepted | Rejected), (name, outcome)
            assert_one_mail_at_most(server, name)
            assert len(server.letters) == isinstance(outcome, Accepted), name
        if isinstance(outcome, Accepted):
            accepted += 1
            assert all(letter.content.count(b"\r\n") == letter.content.count(b"\n") for letter in server.letters)
    assert accepted or place in REFUSED


REFUSED = {"a name to answer to", "a header", "a header's name", "the link to leave"}


@pytest.mark.parametrize("name", ENDS)
def test_no_address_with_an_end_of_a_line_is_one(name: str) -> None:
    trick = ENDS[name]
    for text in (f"ada{trick}@example.org", f"ada@example.org{trick}x", f"ada@example.org>{trick}{SMUGGLED}"):
        with pytest.raises(ValueError, match=r"e-mail address|cannot be written to"):
            EMAIL.normalise(text, None)


def assert_one_mail_at_most(server: LenientServer, name: str) -> None:
    verbs = [command.partition(b" ")[0].upper() for command in server.commands]
    assert set(verbs) <= {b"EHLO", b"MAIL", b"RCPT", b"DATA", b"RSET", b"NOOP", b"QUIT"}, (name, verbs)
    assert max(verbs.count(b"MAIL"), verbs.count(b"RCPT"), verbs.count(b"DATA")) <= 1, (name, server.commands)
    assert b"victim@example.org" not in b"".join(server.commands), name
    for letter in server.letters:
        assert re.fullmatch(rb"RCPT TO:\s?<ada@example\.org>.*", letter.envelope[1], re.DOTALL), name


async def test_texts_with_dots_arrive_as_they_are() -> None:
    """What keeps the tricks out must not eat anybody's dots: a strict server undoes what we doubled."""
    text = "one\n.\n..\n...\n.two\nthree.\n.\n"
    async with lenient() as server, adapter_at(server.port) as adapter:
        message = Outbound(ref="msg_1", attempt=1, to="ada@example.org", subject="Dots", text=text)
        assert await adapter.send(message) == Accepted()
    (letter,) = server.letters
    undone = re.sub(rb"(^|\r\n)\.", rb"\1", letter.content)
    body = message_from_bytes(undone, policy=policy.default).get_body(("plain",))
    assert body is not None
    assert body.get_content().replace("\r\n", "\n").removesuffix("\n") == text.removesuffix("\n")


@pytest.mark.parametrize("name", [name for name in ENDS if name not in ("CRLF .. CRLF", "two bare ends")])
async def test_the_server_falls_for_the_trick_when_a_client_lets_it_through(name: str) -> None:
    """Without this the tests above would prove nothing."""
    async with lenient() as server, speaking_to(server.port) as writer:
        trick = ENDS[name].encode("utf-8")
        mail = b"EHLO a\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<ada@example.org>\r\nDATA\r\nHello"
        writer.write(mail + (b"\r\n" if name == "an end at the beginning" else b"") + trick + SMUGGLED.encode())
        await server.two.wait()
    assert b"RCPT TO:<victim@example.org>" in server.letters[1].envelope
