"""What a message to many gets, so that its reader can leave."""

from __future__ import annotations

import msgspec
import pytest

from gateway import ContentFacts, Outbound
from gateway_optout.footers import Footers, FooterSettings

URL = "https://gateway.example/u/AAAA-_"
MAIL = ContentFacts(
    org="default",
    title="Grace Church",
    channel="email",
    sender="mail",
    category="general",
    source="bulk_action",
    unsubscribe_url=URL,
    links_itself=False,
)
LETTER = Outbound(ref="msg_1", attempt=1, to="ada@example.org", subject="News", text="Hello", html="<p>Hello</p>")


def finished(message: Outbound = LETTER, facts: ContentFacts = MAIL, **settings: object) -> Outbound:
    return Footers(msgspec.convert(settings, FooterSettings)).finish(message, facts)


def about(**changes: object) -> ContentFacts:
    return msgspec.structs.replace(MAIL, **changes)


def test_a_mail_gets_a_link_in_both_bodies_and_the_fields_for_one_click() -> None:
    mail = finished()
    assert mail.text == f"Hello\n\n-- \nUnsubscribe: {URL}\n"
    assert mail.html is not None
    assert f'<a href="{URL}">Unsubscribe</a>' in mail.html
    assert mail.headers == {"List-Unsubscribe": f"<{URL}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def test_one_click_is_for_https_alone() -> None:
    mail = finished(facts=about(unsubscribe_url="http://127.0.0.1:8080/u/AA"))
    assert mail.headers == {"List-Unsubscribe": "<http://127.0.0.1:8080/u/AA>"}


def test_without_a_public_url_there_is_nothing_to_link_to() -> None:
    assert finished(facts=about(unsubscribe_url=None)) == LETTER


def test_a_text_that_links_itself_gets_no_second_link_but_the_fields() -> None:
    mail = finished(facts=about(links_itself=True))
    assert (mail.text, mail.html) == (LETTER.text, LETTER.html)
    assert mail.headers["List-Unsubscribe"] == f"<{URL}>"


@pytest.mark.parametrize("changes", [{"category": "transactional"}, {"source": "api"}, {"source": "reply"}])
def test_what_people_asked_for_is_left_as_it_is(changes: dict[str, object]) -> None:
    assert finished(facts=about(**changes)) == LETTER


def test_a_message_that_says_itself_how_to_leave_keeps_its_fields() -> None:
    own = msgspec.structs.replace(LETTER, headers={"list-unsubscribe": "<mailto:leave@grace.example>"})
    assert finished(own).headers == own.headers
    assert finished(headers=False).headers == {}


def test_the_link_stands_before_the_end_of_the_last_body() -> None:
    page = "<html><body>a</body><BODY>b</BODY ></html>"
    html = finished(msgspec.structs.replace(LETTER, html=page)).html
    assert html is not None
    assert html.endswith("</p></BODY ></html>")
    assert html.count(URL) == 1


def test_the_postal_address_stands_under_every_mail_and_is_escaped() -> None:
    mail = finished(address="Grace & Co, 1 Main St")
    assert mail.text is not None
    assert mail.html is not None
    assert "Grace & Co, 1 Main St\nUnsubscribe" in mail.text
    assert "Grace &amp; Co, 1 Main St<br>" in mail.html


def test_other_channels_get_a_line_if_one_is_set() -> None:
    text = Outbound(ref="msg_1", attempt=1, to="+14155550100", text="See you on Sunday.")
    sms = about(channel="sms")
    assert finished(text, sms) == text
    assert finished(text, sms, footers={"sms": "{org}: STOP ends this"}).text == (
        "See you on Sunday.\nGrace Church: STOP ends this"
    )
    assert finished(text, about(channel="sms", unsubscribe_url=None), footers={"sms": "Leave: {url}"}) == text
    template = msgspec.structs.replace(text, text=None)
    assert finished(template, sms, footers={"sms": "STOP"}) == template
