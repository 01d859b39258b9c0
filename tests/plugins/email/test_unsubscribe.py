"""List-Unsubscribe as the settings say it, as the message says it, and always as one whole URL."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import Code
from gateway.errors import Invalid
from gateway.testing.smtp_server import SmtpServer
from gateway_email.mailbox import Mailbox
from gateway_email.mime import Composer
from gateway_email.unsubscribe import Unsubscribe, UnsubscribeMailto, UnsubscribeUrl
from tests.plugins.email.harness import NOW, adapter_for, mail, settings
from tests.plugins.email.test_mime import parsed

URL = "https://gateway.example/leave?m={ref}&a={address}"
OWN = "<https://other.example/u/1>"


def composer(url: str | None, mailto: str | None = None) -> Composer:
    unsubscribe = Unsubscribe(
        None if url is None else UnsubscribeUrl.parse(url),
        None if mailto is None else UnsubscribeMailto.parse(mailto),
    )
    return Composer(Mailbox.parse("news@grace.example"), None, unsubscribe=unsubscribe)


def fields(composer: Composer, **more: Any) -> tuple[str | None, str | None]:
    read = parsed(composer.build(mail(**more), NOW))
    assert max(len(read.get_all(name) or ()) for name in ("list-unsubscribe", "list-unsubscribe-post")) <= 1
    return read["list-unsubscribe"], read["list-unsubscribe-post"]


def test_a_link_of_the_settings_offers_one_click() -> None:
    assert fields(composer(URL), to="ada+a&b@example.org") == (
        "<https://gateway.example/leave?m=msg_1&a=ada%2Ba%26b%40example.org>",
        "List-Unsubscribe=One-Click",
    )


def test_the_link_comes_before_the_address() -> None:
    link, post = fields(composer(URL, "mailto:leave@grace.example?subject=leave%20{ref}"))
    assert link == (
        "<https://gateway.example/leave?m=msg_1&a=m1%40example.org>, <mailto:leave@grace.example?subject=leave%20msg_1>"
    )
    assert post == "List-Unsubscribe=One-Click"


def test_an_address_alone_is_no_one_click() -> None:
    assert fields(composer(None, "leave@grace.example")) == ("<mailto:leave@grace.example>", None)


def test_without_settings_there_is_nothing() -> None:
    assert fields(composer(None)) == (None, None)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"List-Unsubscribe": OWN}, (OWN, None)),
        ({"list-unsubscribe": OWN}, (OWN, None)),
        ({"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}, (None, "List-Unsubscribe=One-Click")),
        (
            {"List-Unsubscribe": OWN, "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"},
            (OWN, "List-Unsubscribe=One-Click"),
        ),
    ],
)
def test_what_the_message_says_wins(headers: dict[str, str], expected: tuple[str, str | None]) -> None:
    assert fields(composer(URL, "leave@grace.example"), headers=headers) == expected


def test_a_field_that_is_given_twice_is_refused() -> None:
    message = mail(headers={"List-Unsubscribe": OWN, "list-unsubscribe": OWN})
    refusal = composer(None).refusal(message)
    assert refusal is not None
    assert (refusal.code, "given twice" in refusal.reason) == (Code.CONTENT, True)


@given(local=st.text("ab+&=?#%/.", min_size=1, max_size=40), path=st.integers(0, 800))
def test_any_address_and_any_length_stay_one_url(local: str, path: int) -> None:
    url = f"https://gateway.example/{'x' * path}?a={{address}}&m={{ref}}"
    link, _ = fields(composer(url), to=f"{local}@example.org")
    assert link is not None
    assert " " not in link
    read = parse_qs(urlsplit(link.strip("<>")).query)
    assert read == {"a": [f"{local}@example.org"], "m": ["msg_1"]}


def test_a_link_that_gets_too_long_is_refused_beforehand() -> None:
    long = composer(f"https://gateway.example/{'x' * 800}?a={{address}}")
    refusal = long.refusal(mail(to=f"{'+' * 60}@{'a' * 60}.{'b' * 60}.example"))
    assert refusal is not None
    assert "more than 998 characters" in refusal.reason


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("unsubscribe_url", "http://gateway.example/u"),  # one click wants HTTPS
        ("unsubscribe_url", "gateway.example/u"),
        ("unsubscribe_url", "https:///u"),
        ("unsubscribe_url", "https://{ref}.example/u"),
        ("unsubscribe_url", "https://[::1/u"),
        ("unsubscribe_url", "https://gateway.example/{name}"),
        ("unsubscribe_url", "https://gateway.example/a b"),
        ("unsubscribe_url", "https://gateway.example/a>b"),
        ("unsubscribe_url", "https://gateway.example/\r\nBcc:x"),
        ("unsubscribe_url", "https://gateway.example/é"),
        ("unsubscribe_url", "https://gateway.example/" + "x" * 900),
        ("unsubscribe_url", 1),
        ("unsubscribe_mailto", "nobody"),
        ("unsubscribe_mailto", "a@b.example?subject=a b"),
        ("unsubscribe_mailto", "a@b.example>,<x@y.example"),
        ("unsubscribe_mailto", "a@b.example?subject=" + "x" * 900),
        ("unsubscribe_mailto", 1),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_at_start(server: SmtpServer, setting: str, value: object) -> None:
    with pytest.raises(Invalid, match=setting):
        settings(server, **{setting: value})


async def test_a_sender_with_a_link_puts_it_on_every_mail(server: SmtpServer) -> None:
    async with adapter_for(server, unsubscribe_url=URL) as adapter:
        await adapter.send(mail())
    assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in server.messages[0].content
