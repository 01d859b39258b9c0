"""What comes back by mail: bounces end in the books, complaints in the list of those who left, holidays nowhere."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.stories.conftest import Story, story_in

MORE = """
bounce_address = "bounce@grace.example"
bounce_secret = "a secret of the stories"
bounce_token = "what the mail server brings"
lmtp_listen = "unix:{socket}"
"""


class MailStory:
    """A gateway to which a mail server brings what comes back: by LMTP, or posted."""

    def __init__(self, story: Story, socket: Path) -> None:
        self.story = story
        self._socket = socket

    async def by_lmtp(self, to: str, raw: str) -> None:
        """Deliver it as Postfix would, with the return path of the mail that bounced as its recipient."""

        def deliver() -> None:
            with smtplib.LMTP(str(self._socket)) as client:
                assert client.sendmail("", [to], raw) == {}

        await asyncio.to_thread(deliver)
        await self.story.settle()

    async def posted(self, raw: str, token: str = "what the mail server brings") -> int:
        """Post it to the sender's bounce URL; the status of the answer."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "message/rfc822"}
        url = f"{self.story.base}/callbacks/mail/bounce"
        async with self.story.session.post(url, data=raw.encode(), headers=headers) as answer:
            await self.story.settle()
            return answer.status


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[MailStory]:
    socket = tmp_path / "lmtp.sock"

    async def listening() -> bool:
        return socket.exists()

    async with story_in(tmp_path, more=MORE.format(socket=socket)) as story:
        await story.until(listening)
        yield MailStory(story, socket)


def dsn(path: str, recipient: str, status: str, action: str = "failed") -> str:
    """A report of a mail server about a mail that was sent with the return path `path`."""
    return f"""\
From: MAILER-DAEMON@mx.example.net
To: {path}
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b1"

--b1
Content-Type: text/plain

Sorry.

--b1
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; {recipient}
Action: {action}
Status: {status}
Diagnostic-Code: smtp; 550 {status} what the other server said

--b1--
"""


async def test_a_hard_bounce_marks_the_message_and_the_address(told: MailStory) -> None:
    await told.story.contacts(3)
    action = await told.story.mail_all()
    assert (await told.story.books(action))["status"] == "completed"
    path = path_of(told.story, "m-2@example.org")
    await told.by_lmtp(path, dsn(path, "m-2@example.org", "5.1.1"))
    books = await told.story.books(action)
    assert books["status"] == "partial"
    assert books["counts"] == {"total": 3, "succeeded": 2, "failed": 1}
    person = (await told.story.people(action))["m-2"]
    assert (person["state"], person["code"]) == ("failed", "invalid_address")
    again = await told.story.mail_all()
    assert (await told.story.books(again))["counts"] == {"total": 3, "succeeded": 2, "skipped": 1}


async def test_a_soft_bounce_marks_the_message_only_and_a_delay_nothing(told: MailStory) -> None:
    await told.story.contacts(2)
    action = await told.story.mail_all()
    full, late = (path_of(told.story, f"m-{n}@example.org") for n in (1, 2))
    await told.by_lmtp(late, dsn(late, "m-2@example.org", "4.4.1", action="delayed"))
    assert (await told.story.books(action))["counts"] == {"total": 2, "succeeded": 2}
    await told.by_lmtp(full, dsn(full, "m-1@example.org", "4.2.2"))
    assert (await told.story.books(action))["counts"] == {"total": 2, "succeeded": 1, "failed": 1}
    assert await told.story.everything("/v1/opt-outs") == []


async def test_a_bounce_that_is_posted_counts_as_one_that_is_delivered_and_only_once(told: MailStory) -> None:
    await told.story.contacts(1)
    action = await told.story.mail_all()
    path = path_of(told.story, "m-1@example.org")
    raw = dsn(path, "m-1@example.org", "5.1.1")
    assert await told.posted(raw, token="a guess") == 403
    assert (await told.story.books(action))["status"] == "completed"
    assert await told.posted(raw) == 200
    assert await told.posted(raw) == 200
    assert (await told.story.books(action))["status"] == "failed"
    (message,) = await told.story.everything(f"/v1/messages?bulk_action={action}")
    shown = await told.story.get(f"/v1/messages/{message['id']}")
    assert [entry["status"] for entry in shown["history"]] == ["accepted", "bounced"]


async def test_a_complaint_opts_out_and_leaves_the_message_as_it_is(told: MailStory) -> None:
    await told.story.contacts(2)
    action = await told.story.mail_all()
    (letter,) = [mail for mail in told.story.letters() if mail.recipient == "m-1@example.org"]
    complaint = f"""\
From: staff@provider.example
To: abuse@grace.example
Subject: FW: complaint
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b1"

--b1
Content-Type: text/plain

Somebody pressed the button.

--b1
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: Provider/1.0
Version: 1
Original-Mail-From: <{letter.sender}>
Original-Rcpt-To: <m-1@example.org>

--b1
Content-Type: message/rfc822

Return-Path: <{letter.sender}>
Message-ID: {letter.message_id}
From: Grace Church <news@grace.example>
To: m-1@example.org
Subject: News

Hello
--b1--
"""
    assert await told.posted(complaint) == 200
    assert (await told.story.books(action))["counts"] == {"total": 2, "succeeded": 2}
    opt_outs = await told.story.everything("/v1/opt-outs")
    assert {one["source"] for one in opt_outs} == {"complaint"}
    again = await told.story.mail_all()
    assert (await told.story.books(again))["counts"] == {"total": 2, "succeeded": 1, "skipped": 1}


async def test_an_automatic_answer_changes_nothing(told: MailStory) -> None:
    await told.story.contacts(1)
    action = await told.story.mail_all()
    path = path_of(told.story, "m-1@example.org")
    away = (
        f"From: m-1@example.org\nTo: {path}\nSubject: Out of office\nAuto-Submitted: auto-replied\n\nBack on Monday.\n"
    )
    await told.by_lmtp(path, away)
    assert await told.posted(away) == 200
    assert (await told.story.books(action))["counts"] == {"total": 1, "succeeded": 1}
    assert await told.story.everything("/v1/messages?direction=inbound") == []


def path_of(story: Story, recipient: str) -> str:
    """The return path of the only mail to somebody."""
    (letter,) = [mail for mail in story.letters() if mail.recipient == recipient]
    return letter.sender
