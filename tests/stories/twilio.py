"""A gateway that sends SMS through Twilio, as far as the gateway can tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.testing.clock import FakeClock
from gateway.testing.twilio_simulator import TwilioSimulator
from tests.stories.conftest import MONDAY, PUBLIC_URL, Story, story_in

SENDER = """
[senders.{channel}]
channel = "{channel}"
adapter = "twilio"
rate = "5000/s"
burst = 5_000
concurrency = 8
account_sid = "{sid}"
auth_token = "{token}"
from = "+14155552345"
api_url = "{url}"
content_url = "{url}"
{more}
"""


class SmsStory:
    """The gateway and, behind it, Twilio with all the telephones of the world."""

    def __init__(self, story: Story, twilio: TwilioSimulator) -> None:
        self.story = story
        self.twilio = twilio

    def texts(self) -> Counter[str]:
        """How many messages Twilio took for each number."""
        return Counter(message.to for message in self.twilio.record)

    async def settle(self) -> None:
        """Until nothing is on its way in either direction."""
        await self.story.settle()
        await self.twilio.drained()
        await self.story.settle()

    async def release(self) -> None:
        """Let the receipts go that were held back, and everything come to rest."""
        self.twilio.release_receipts()
        await self.settle()

    async def people(self, number: int, **columns: Any) -> list[str]:
        """Contacts with telephones `+14155550100` and so on."""
        ids = [f"m-{n}" for n in range(1, number + 1)]
        people = [{"id": id, "phone": phone(n), "first_name": f"Ada{n}", **columns} for n, id in enumerate(ids)]
        reply = await self.story.call("POST", "/v1/contacts", {"contacts": people})
        assert reply.status == 200, reply.raw
        return ids

    async def text_all(self, schedule: dict[str, Any] | None = None, **message: Any) -> str:
        """An SMS to every contact."""
        content = {"channel": "sms", "body": "Hi {{ first_name }}, see you on Sunday.", **message}
        return await self.story.create(
            operation="send_message", recipients={"all": True}, message=content, schedule=schedule or {"mode": "now"}
        )

    async def replies(self, from_: str, text: str, **more: Any) -> int | None:
        """Somebody writes back; the status that Twilio is answered with."""
        received = await self.twilio.reply(from_, text, to="+14155552345", **more)
        await self.settle()
        return received.status


def phone(number: int) -> str:
    """A telephone number that could be called, of the range for fiction."""
    return f"+1415555{100 + number:04d}"


@asynccontextmanager
async def sms_story(
    folder: Path, *, more: str = "", steps: Sequence[str] = ("sent", "delivered")
) -> AsyncIterator[SmsStory]:
    """A running gateway with Twilio behind it. `more`: lines of the sender's table."""
    async with twilio_story(folder, "sms", more=more, steps=steps) as told:
        yield told


@asynccontextmanager
async def twilio_story(
    folder: Path,
    channel: str,
    *,
    more: str = "",
    steps: Sequence[str] = ("sent", "delivered"),
    templates: Sequence[tuple[str, str]] = (),
) -> AsyncIterator[SmsStory]:
    """The same on `sms` or `whatsapp`. `templates`: names and bodies of those that WhatsApp has approved."""
    clock = FakeClock(MONDAY)
    async with TwilioSimulator(now=clock.now, steps=steps) as twilio:
        for name, body in templates:
            twilio.add_template(name, body)
        sender = SENDER.format(
            channel=channel, sid=twilio.account_sid, token=twilio.auth_token, url=twilio.url, more=more
        )
        async with story_in(folder, more=sender, clock=clock) as story:
            twilio.inbound_url = f"{PUBLIC_URL}/callbacks/{channel}"
            twilio.callback_base = story.base
            told = SmsStory(story, twilio)
            yield told
            await told.settle()
