"""WhatsApp through Meta's own API: a template to many, its answers, its end, and people who stop marketing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import StoreUnavailable
from gateway.store.releases import Releases
from gateway.testing.clock import FakeClock
from gateway.testing.meta_simulator import MetaSimulator, ReceiptTrouble
from tests.stories.conftest import MONDAY, PUBLIC_URL, Story, story_in
from tests.stories.twilio import phone

SENDER = """
[senders.wa]
channel = "whatsapp"
adapter = "cloud"
rate = "5000/s"
burst = 5_000
concurrency = 8
"""


class CloudStory:
    """The gateway and, behind it, Meta with everybody's WhatsApp."""

    def __init__(self, story: Story, meta: MetaSimulator) -> None:
        self.story = story
        self.meta = meta

    async def settle(self) -> None:
        await self.story.settle()
        await self.meta.drained()
        await self.story.settle()

    async def people(self, number: int) -> None:
        people = [{"id": f"m-{n + 1}", "phone": phone(n), "first_name": f"Ada{n}"} for n in range(number)]
        assert (await self.story.call("POST", "/v1/contacts", {"contacts": people})).status == 200

    async def template_all(self, schedule: dict[str, Any] | None = None, **message: Any) -> str:
        content = {"channel": "whatsapp", "template": "june", "parameters": {"1": "{{ first_name }}"}, **message}
        return await self.story.create(
            operation="send_message", recipients={"all": True}, message=content, schedule=schedule or {"mode": "now"}
        )


@asynccontextmanager
async def cloud_story(folder: Path) -> AsyncIterator[CloudStory]:
    clock = FakeClock(MONDAY)
    async with MetaSimulator(now=clock.now, callback_url=f"{PUBLIC_URL}/callbacks/wa") as meta:
        meta.add_template("june", "Hi {{1}}, see you in June.")
        settings = "\n".join(f'{name} = "{value}"' for name, value in meta.settings.items())
        async with story_in(folder, more=SENDER + settings, clock=clock) as story:
            meta.callback_base = story.base
            told = CloudStory(story, meta)
            await told.settle()
            yield told
            await told.settle()


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[CloudStory]:
    async with cloud_story(tmp_path) as running:
        yield running


async def test_a_template_goes_to_many_and_its_answers_are_linked_to_their_action(told: CloudStory) -> None:
    assert await told.meta.subscribe(), "the webhook's handshake"
    await told.people(4)
    told.meta.receipt_trouble = ReceiptTrouble(delayed=True, copies=3, shuffled=True, seed=3)
    action = await told.template_all()
    await told.settle()
    assert (await told.story.books(action))["counts"] == {"total": 4, "handed_over": 4}
    told.meta.release_receipts()
    await told.settle()
    books = await told.story.books(action)
    assert (books["status"], books["counts"]) == ("completed", {"total": 4, "succeeded": 4})
    assert sorted(message.text for message in told.meta.record) == [f"Hi Ada{n}, see you in June." for n in range(4)]
    first = next(message for message in told.meta.record if message.to == phone(0)[1:])
    await told.meta.reply(phone(0), "I will come 🙏", quotes=first.wamid)
    await told.meta.press_button(phone(1), "YES", "Yes, gladly")
    await told.settle()
    answers = await told.story.everything(f"/v1/messages?bulk_action={action}&direction=inbound")
    assert {(one["text"], one["link_reason"], one["contact_id"]) for one in answers} == {
        ("I will come 🙏", "quoted", "m-1"),
        ("Yes, gladly", "last_prompt", "m-2"),
    }
    assert len(await told.story.everything("/v1/conversations?unread=true")) == 2


async def test_a_template_that_meta_pauses_in_mid_run_pauses_the_action_and_burns_nobody(told: CloudStory) -> None:
    await told.people(4)
    action = await told.template_all({"mode": "drip", "drip": {"batch_quantity": 2, "repeat_after": "1h"}})
    await told.settle()
    (template,) = told.meta.templates
    await told.meta.change_template(template, "PAUSED")
    await told.settle()
    await told.story.advance(timedelta(hours=3), timedelta(hours=1))
    books = await told.story.books(action)
    assert (books["status"], books["pause_reason"]) == ("paused", "template_unavailable")
    assert books["counts"] == {"total": 4, "succeeded": 2, "pending": 2}
    assert len(told.meta.record) == 2
    await told.meta.change_template(template, "APPROVED")
    await told.story.post(f"/v1/bulk-actions/{action}/resume")
    await told.story.advance(timedelta(hours=2), timedelta(hours=1))
    await told.settle()
    assert (await told.story.books(action))["counts"] == {"total": 4, "succeeded": 4}


async def test_a_stop_of_a_template_is_not_forgotten_when_the_pause_cannot_be_written(
    told: CloudStory, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause, failures = Releases.pause, 1

    async def pausing(self: Releases, *args: Any) -> Any:
        nonlocal failures
        if failures:
            failures -= 1
            raise StoreUnavailable("The disk does not answer.")
        return await pause(self, *args)

    monkeypatch.setattr(Releases, "pause", pausing)
    await told.people(4)
    action = await told.template_all({"mode": "drip", "drip": {"batch_quantity": 2, "repeat_after": "1h"}})
    await told.settle()
    (template,) = told.meta.templates
    await told.meta.change_template(template, "PAUSED")
    await told.settle()
    await told.story.advance(timedelta(seconds=2), timedelta(seconds=1))
    books = await told.story.books(action)
    assert (failures, books["status"], books["pause_reason"]) == (0, "paused", "template_unavailable")


async def test_who_stops_marketing_in_whatsapp_gets_no_more_of_it_but_everything_else(told: CloudStory) -> None:
    await told.people(2)
    await told.meta.prefer(phone(0), "stop")
    await told.settle()
    listed = await told.story.everything("/v1/opt-outs")
    assert {(one["category"], one["source"]) for one in listed} == {("marketing", "provider")}
    marketing = await told.template_all(category="marketing")
    await told.settle()
    assert (await told.story.people(marketing))["m-1"]["code"] == "opted_out"
    other = await told.template_all(category="utility")
    await told.settle()
    assert (await told.story.books(other))["counts"]["total"] == 2
    assert (await told.story.people(other))["m-1"]["state"] != "skipped"
    await told.meta.prefer(phone(0), "resume")
    await told.settle()
    assert await told.story.everything("/v1/opt-outs") == []


async def test_credentials_that_expire_in_the_middle_hold_the_sender_and_burn_nobody(told: CloudStory) -> None:
    await told.people(6)
    token = told.meta.access_token
    action = await told.template_all({"mode": "drip", "drip": {"batch_quantity": 3, "repeat_after": "1h"}})
    await told.settle()
    told.meta.access_token = "a new one"
    await told.story.advance(timedelta(hours=1))
    assert (await told.story.sender("wa"))["held"] is not None
    assert (await told.story.books(action))["counts"] == {"total": 6, "succeeded": 3, "pending": 3}
    told.meta.access_token = token
    await told.story.advance(timedelta(minutes=3), timedelta(minutes=1))
    await told.settle()
    assert (await told.story.books(action))["counts"] == {"total": 6, "succeeded": 6}
    assert len({message.to for message in told.meta.record}) == len(told.meta.record) == 6
