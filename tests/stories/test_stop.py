"""Somebody writes STOP in the middle of a drip."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.stories.twilio import SmsStory, phone, sms_story

DRIP = {"mode": "drip", "drip": {"batch_quantity": 2, "repeat_after": "1h"}}
CONFIRMED_BY_US = "answers_opt_out = false"


async def confirmations(told: SmsStory, address: str) -> list[str]:
    """The texts that were not part of any action."""
    listed = await told.story.everything(f"/v1/messages?source=opt_out_reply&address={address.replace('+', '%2B')}")
    assert {(message["status"], message["reason"]) for message in listed} <= {("delivered", None)}
    return [message["text"] for message in listed]


async def test_who_writes_stop_is_confirmed_once_skipped_still_mailed_and_stays_out(tmp_path: Path) -> None:
    async with sms_story(tmp_path, more=CONFIRMED_BY_US) as told:
        told.twilio.handles_opt_outs = False
        await told.people(6)
        people = [{"id": f"m-{n}", "email": f"m-{n}@example.org"} for n in range(1, 7)]
        await told.story.call("POST", "/v1/contacts", {"contacts": people})
        action = await told.text_all(DRIP)
        assert told.texts().total() == 2
        # The third person, whose turn is in the next batch, wants out; twice, in two spellings.
        assert await told.replies(phone(2), "Stop!") == 200
        assert await told.replies(phone(2), "UNSUBSCRIBE") == 200
        assert await confirmations(told, phone(2)) == [
            "default: you will get no more messages from us here. Reply START to change that."
        ]
        await told.story.advance(timedelta(hours=3), timedelta(hours=1))
        await told.settle()
        books = await told.story.books(action)
        assert (books["status"], books["counts"]) == ("completed", {"total": 6, "succeeded": 5, "skipped": 1})
        third = (await told.story.people(action))["m-3"]
        assert (third["state"], third["code"], third["reason"]) == ("skipped", "opted_out", "Opted out of SMS")
        assert told.texts()[phone(2)] == 1, "the confirmation, and nothing else"

        # Out of SMS is not out of e-mail.
        mails = await told.story.mail_all()
        assert (await told.story.books(mails))["counts"] == {"total": 6, "succeeded": 6}

        # The nightly sync brings a new number; the person stays out.
        new = [{"id": "m-3", "phone": phone(77)}]
        assert (await told.story.call("POST", "/v1/contacts", {"contacts": new})).status == 200
        again = await told.text_all()
        assert (await told.story.people(again))["m-3"]["code"] == "opted_out"
        assert phone(77) not in told.texts()
        refused = await told.story.call("POST", "/v1/messages", {"channel": "sms", "contact": "m-3", "body": "Hi"})
        assert (refused.status, refused.code) == (422, "opted_out")

        # It counts as the effect of the action that prompted it.
        assert (await told.story.get(f"/v1/bulk-actions/{action}/stats"))["opt_outs"] == 0


async def test_start_lifts_it_and_is_confirmed(tmp_path: Path) -> None:
    async with sms_story(tmp_path, more=CONFIRMED_BY_US) as told:
        told.twilio.handles_opt_outs = False
        await told.people(1)
        await told.replies(phone(0), "stop")
        await told.replies(phone(0), "start")
        await told.replies(phone(0), "start")
        assert await told.story.everything("/v1/opt-outs") == []
        assert len(await confirmations(told, phone(0))) == 2
        again = await told.text_all()
        assert (await told.story.books(again))["counts"] == {"total": 1, "succeeded": 1}


@pytest.mark.parametrize("known", [False, True], ids=["a stranger", "a contact"])
async def test_help_is_answered_a_few_times_a_day_and_never_for_ever(tmp_path: Path, known: bool) -> None:
    async with sms_story(tmp_path, more=CONFIRMED_BY_US) as told:
        if known:
            await told.people(10)
        for _ in range(7):
            await told.replies(phone(9), "HELP")
        assert len(await confirmations(told, phone(9))) == 5
        await told.story.advance(timedelta(hours=25))
        await told.replies(phone(9), "HELP")
        assert len(await confirmations(told, phone(9))) == 6


async def test_a_provider_that_confirms_by_itself_is_not_talked_over(tmp_path: Path) -> None:
    async with sms_story(tmp_path) as told:
        await told.replies(phone(0), "STOP")
        assert await confirmations(told, phone(0)) == []
        (opt_out,) = await told.story.everything("/v1/opt-outs")
        assert (opt_out["address"], opt_out["source"]) == (phone(0), "reply")


async def test_a_text_that_merely_contains_the_word_is_a_reply_like_any_other(tmp_path: Path) -> None:
    async with sms_story(tmp_path, more=CONFIRMED_BY_US) as told:
        await told.replies(phone(0), "We drove nonstop, see you at the bus stop")
        assert await told.story.everything("/v1/opt-outs") == []
        assert await confirmations(told, phone(0)) == []
