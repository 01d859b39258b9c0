"""People leave by the link under a mail, and by their mail program's one click."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from gateway.testing.smtp_record import Mail
from tests.stories.conftest import PUBLIC_URL, Reply, Story

LINK = re.compile(r"https://gateway\.example/u/[\w-]+")
DRIP = {"mode": "drip", "drip": {"batch_quantity": 1, "repeat_after": "1h"}}


def read(mail: Mail) -> tuple[EmailMessage, str]:
    """A mail as a second parser reads it: its headers, and its plain text."""
    message = message_from_bytes(mail.content, policy=policy.default)
    body = message.get_body(("plain",))
    assert body is not None
    return message, body.get_content()


def link_in(story: Story, address: str) -> str:
    """The path of the link in the newest mail to somebody."""
    message, text = read(next(mail for mail in reversed(story.letters()) if mail.recipient == address))
    found = LINK.search(text)
    assert found is not None, text
    assert message["List-Unsubscribe"] == f"<{found[0]}>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    return found[0].removeprefix(PUBLIC_URL)


async def click(story: Story, path: str, data: object = None, **headers: str) -> Reply:
    """A POST without any key."""
    async with story.session.post(story.base + path, data=data, headers=headers, allow_redirects=False) as answer:
        return Reply(answer.status, answer.headers, await answer.read())


async def test_one_click_between_two_batches_is_obeyed(story: Story) -> None:
    await story.contacts(3)
    first = await story.mail_all()
    path = link_in(story, "m-2@example.org")
    action = await story.mail_all(DRIP)
    answer = await click(story, path, {"List-Unsubscribe": "One-Click"})
    assert answer.status == 200
    await story.advance(timedelta(hours=3), timedelta(hours=1))
    told = (await story.people(action))["m-2"]
    assert (told["state"], told["code"], told["reason"]) == ("skipped", "opted_out", "Opted out of E-mail")
    assert (await story.books(action))["counts"] == {"total": 3, "succeeded": 2, "skipped": 1}
    opt_outs = await story.everything("/v1/opt-outs")
    assert {(one["address"], one["contact_id"], one["source"], one["category"]) for one in opt_outs} == {
        ("m-2@example.org", None, "one_click", "all"),
        (None, "m-2", "one_click", "all"),
    }
    assert (await story.get(f"/v1/bulk-actions/{first}/stats"))["opt_outs"] == 1


async def test_looking_changes_nothing_however_often(story: Story) -> None:
    await story.contacts(1)
    await story.mail_all()
    path, text = link_in(story, "m-1@example.org"), ""
    for _ in range(3):
        async with story.session.get(story.base + path) as page:
            assert page.status == 200
            assert page.content_type == "text/html"
            assert "default-src 'none'" in page.headers["Content-Security-Policy"]
            text = await page.text()
    assert '<form method="post">' in text
    assert await story.everything("/v1/opt-outs") == []


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "text/plain"]
)
async def test_a_click_counts_whatever_form_it_comes_in(story: Story, content_type: str) -> None:
    await story.contacts(1)
    await story.mail_all()
    path = link_in(story, "m-1@example.org")
    body = b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n'
    assert (await click(story, path, body, **{"Content-Type": content_type})).status == 200
    assert (await click(story, path, body, **{"Content-Type": content_type})).status == 200, "again changes nothing"
    assert len(await story.everything("/v1/opt-outs")) == 2


async def test_a_message_of_a_category_can_be_left_alone_or_with_everything_else(story: Story) -> None:
    await story.contacts(2)
    await story.mail_all(category="newsletter")
    mine, other = link_in(story, "m-1@example.org"), link_in(story, "m-2@example.org")
    await click(story, mine)
    await click(story, other, {"scope": "all"})
    categories = {
        one["contact_id"]: one["category"] for one in await story.everything("/v1/opt-outs") if one["contact_id"]
    }
    assert categories == {"m-1": "newsletter", "m-2": "all"}
    news = await story.mail_all(category="newsletter")
    assert (await story.books(news))["counts"] == {"total": 2, "skipped": 2}
    others = await story.mail_all(category="invitation")
    assert (await story.books(others))["counts"] == {"total": 2, "succeeded": 1, "skipped": 1}


async def test_a_changed_address_does_not_bring_back_who_left(story: Story) -> None:
    await story.contacts(1)
    await story.mail_all()
    path = link_in(story, "m-1@example.org")
    await story.call("POST", "/v1/contacts", {"contacts": [{"id": "m-1", "email": "new@example.org"}]})
    assert (await click(story, path)).status == 200
    again = await story.mail_all()
    assert (await story.people(again))["m-1"]["code"] == "opted_out"


SPOILT: dict[str, Callable[[str], str]] = {
    "cut": lambda path: path[:-1],
    "longer": lambda path: path + "A",
    "another mark": lambda path: path[:-4] + "AAAA",
    "short": lambda path: "/u/x",
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
async def test_a_link_that_was_made_up_opens_nothing(story: Story, spoil: Callable[[str], str]) -> None:
    await story.contacts(1)
    await story.mail_all()
    path = spoil(link_in(story, "m-1@example.org"))
    assert (await click(story, path)).status == 404
    assert await story.everything("/v1/opt-outs") == []


async def test_too_large_a_click_is_refused(story: Story) -> None:
    await story.contacts(1)
    await story.mail_all()
    assert (await click(story, link_in(story, "m-1@example.org"), b"x" * 9_000)).status == 413


async def test_single_messages_and_exempt_categories_carry_no_link(story: Story) -> None:
    await story.contacts(1)
    await story.mail_all(category="transactional")
    await story.post("/v1/messages", {"channel": "email", "contact": "m-1", "subject": "Hi", "body": "Hello"}, 202)
    assert [LINK.search(read(mail)[1]) for mail in story.letters()] == [None, None]


async def test_the_log_shows_the_text_as_it_was_sent(story: Story) -> None:
    await story.contacts(1)
    await story.mail_all()
    (message,) = await story.everything("/v1/messages?direction=outbound")
    assert LINK.search(message["text"])


async def test_a_text_can_show_the_link_itself(story: Story) -> None:
    await story.contacts(1)
    await story.mail_all(body="Leave here: {{ unsubscribe_url }} or stay")
    (mail,) = story.letters()
    _, text = read(mail)
    assert len(LINK.findall(text)) == 1
    assert text.rstrip().endswith("or stay")
