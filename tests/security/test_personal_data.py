"""Canaries go every way that a person's data can go, well and not well, and none of them is found in the log.

The daemon's own log, whole: at info nothing that tells who somebody is, what was written to them or by them, or lets
anybody in. At debug addresses may stand in lines of that level, and what exceptions say in any; secrets nowhere.
"""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway import NotSent, Outbound, Outcome, Rejected, logs
from gateway.contract import Code
from gateway.testing.smtp_server import Fault, Faults, Stage
from gateway_email.smtp import SmtpAdapter
from gateway_sms.kannel import Kannel
from tests.stories.conftest import PUBLIC_URL, Story, story_in
from tests.stories.test_unsubscribe import click, link_in

NAME, TEXT, SUBJECT, ATTRIBUTE = "Canaryname", "Canarytext of a diagnosis", "Canarysubject", "Canaryattribute"
EMAIL, QUOTED, PHONE = "canary.person@example.org", '"canary quoted"@example.org', "+2348031234567"
WRITTEN_BACK = "Canaryreply I am ill"
PATH_SECRET, PASSWORD = "path-canary-7Qx2bN5d", "password-canary-9Xw2"
PEOPLE = (NAME, TEXT, SUBJECT, ATTRIBUTE, "canary.person", "canary quoted", PHONE[1:], PHONE[4:], WRITTEN_BACK)
SECRETS = (PATH_SECRET, PASSWORD)

MORE = f"""
username = "gateway"
password = {{ file = "password" }}
[senders.texts]
channel = "sms"
adapter = "kannel"
url = "http://127.0.0.1:9/cgi-bin/sendsms"
username = "dripgate"
password = "{PASSWORD}"
secret = "{PATH_SECRET}"
from = "13013"
[webhooks]
allow_private = true
"""


@asynccontextmanager
async def watched(folder: Path, level: logs.Level) -> AsyncIterator[tuple[Story, io.StringIO]]:
    stream = io.StringIO()
    logs.configure(level, "json", stream)
    (folder / "password").write_text(PASSWORD)
    try:
        async with story_in(folder, more=MORE, credentials={"gateway": PASSWORD}) as story:
            yield story, stream
    finally:
        structlog.reset_defaults()


async def live(story: Story) -> list[str]:
    """A person's whole life with the gateway; the secrets that came into being on the way."""
    person = {"id": "ada", "name": NAME, "email": EMAIL, "phone": PHONE, "attributes": {"note": ATTRIBUTE}}
    quoted = {"id": "quoted", "name": NAME, "email": QUOTED}
    assert (await story.call("POST", "/v1/contacts", {"contacts": [person, quoted]})).status == 200
    hook = await story.call("POST", "/v1/webhooks", {"url": f"http://ada:{PASSWORD}@127.0.0.1:9/{EMAIL}"})
    hook = hook if hook.status == 201 else await story.call("POST", "/v1/webhooks", {"url": "http://127.0.0.1:9/x"})
    key = await story.call("POST", "/v1/keys", {"name": NAME, "permissions": ["messaging.read"]})
    await story.mail_all(subject=SUBJECT, body=TEXT, category="newsletter")
    link = link_in(story, EMAIL)
    assert (await click(story, link)).status == 200
    message = {"channel": "email", "contact": "quoted", "subject": SUBJECT, "body": TEXT}
    await story.post("/v1/messages", message, 202)
    await story.call("POST", "/v1/messages", {"channel": "sms", "to": PHONE, "body": TEXT})
    query = f"?from={PHONE[1:]}&to=13013&text={WRITTEN_BACK.replace(' ', '+')}&id=1&ts=1780300800"
    for tail in (
        f"/{PATH_SECRET}/mo{query}",
        f"/{PATH_SECRET}x/mo{query}",
        f"/{PATH_SECRET}/dlr{query}&status=nonsense",
    ):
        async with story.session.get(f"{story.base}/callbacks/texts{tail}") as answer:
            assert answer.status in (200, 403)
    await story.advance(timedelta(minutes=3), timedelta(minutes=1))
    for wrong in (f"{story.token}x", str(key.json["secret"])):
        await story.call("POST", f"/v1/messages?to={EMAIL}", message, token=wrong)
    await story.call("POST", "/v1/contacts/import", data=f"id,email\nx,{EMAIL}\ny\n".encode(), headers=CSV)
    assert (await story.call("POST", "/v1/contacts/ada/erase")).status == 204
    return [str(hook.json["secret"]), str(key.json["secret"]), story.token, link.rpartition("/")[2]]


CSV = {"Content-Type": "text/csv"}


async def trouble(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that can break breaks, saying all that it knows."""
    await story.contacts(1, start=100, name=NAME, attributes={"note": ATTRIBUTE})
    known = f"{NAME} {EMAIL} {QUOTED} {PHONE} {TEXT} {PASSWORD} {PUBLIC_URL}/callbacks/texts/{PATH_SECRET}/mo"
    said = f"{EMAIL} {PHONE} https://x.example/?to=%2B{PHONE[1:]}&mail={EMAIL.replace('@', '%40')}"
    words = f"550 5.7.1 <{EMAIL}> {PHONE}. refused"

    async def raises(self: object, message: Outbound) -> Outcome:
        raise RuntimeError(f"cannot send {message!r} {known}") from ValueError(known)

    async def unsent(self: object, message: Outbound) -> Outcome:
        raise NotSent(f"no route to {said}")

    async def rejects(self: object, message: Outbound) -> Outcome:
        return Rejected(Code.BLOCKED, f"refused {said}")

    for fails in (raises, unsent, rejects):
        with monkeypatch.context() as patched:
            patched.setattr(SmtpAdapter, "send", fails)
            message = {"channel": "email", "contact": "m-100", "subject": SUBJECT, "body": TEXT}
            await story.post("/v1/messages", message, 202)
            await story.mail_all(subject=SUBJECT, body=TEXT)
            await story.advance(timedelta(minutes=3), timedelta(minutes=1))
    with monkeypatch.context() as patched:
        for method in ("authenticate", "parse", "answer"):
            patched.setattr(Kannel, method, _raising(f"{method}: {known}"))
            async with story.session.get(f"{story.base}/callbacks/texts/{PATH_SECRET}/mo?from={PHONE[1:]}") as answer:
                assert answer.status in (200, 403)
            await story.settle()
            patched.undo()
    for stage in (Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT):
        story.smtp.faults = Faults([Fault(stage=stage, reply=words, times=1)])
        await story.mail_all(subject=SUBJECT, body=TEXT)
    with monkeypatch.context() as patched:
        patched.setattr(story.installation.contacts, "get", _raising(known))
        assert (await story.call("GET", "/v1/contacts/m-100")).status == 500


def _raising(words: str) -> Any:
    def fail(*arguments: object, **named: object) -> Any:
        raise RuntimeError(f"{words} {arguments!r}")

    return fail


async def test_at_info_nobody_is_found_in_the_log_whatever_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path, "info") as (story, stream):
        secrets = await live(story)
        await trouble(story, monkeypatch)
        async with story.session.get(f"{story.base}/metrics") as answer:
            figures = await answer.text()
    written = stream.getvalue()
    assert {"adapter_raised", "authenticate_raised", "callback_unreadable", "request_failed"} <= events(written)
    for canary in (*PEOPLE, *SECRETS, *secrets):
        assert canary not in written, lines_with(canary, written)
        assert canary.lower() not in written.lower(), lines_with(canary, written)
        assert canary.lower() not in figures.lower(), "whoever may look at figures may not look at people"


async def test_at_debug_secrets_are_found_no_more_than_at_info(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched(tmp_path, "debug") as (story, stream):
        secrets = await live(story)
        await trouble(story, monkeypatch)
    written = stream.getvalue()
    for secret in secrets:
        assert secret not in written, lines_with(secret, written)
    assert "RuntimeError: cannot send" in written, "what an exception says is there for whoever looks for a fault"


def events(written: str) -> set[str]:
    return {str(json.loads(line)["event"]) for line in written.splitlines()}


def lines_with(canary: str, written: str) -> list[str]:
    return [line for line in written.splitlines() if canary.lower() in line.lower()]
