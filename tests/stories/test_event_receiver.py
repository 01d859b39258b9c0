"""Other programs hear of what happens: a receiver that was down, and a reader of the stream that was cut off."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.receiver import Receiver, Taken, down, ok, receiving
from tests.stories.conftest import Story, story_in

DRIP = {"mode": "drip", "drip": {"batch_quantity": 10, "repeat_after": "1h"}}
WANTED = ["bulk_action.*", "message.*"]
STEP = timedelta(minutes=5)


@pytest.fixture
async def story(tmp_path: Path) -> AsyncIterator[Story]:
    async with story_in(tmp_path, more="\n[webhooks]\nallow_private = true\n") as told:
        yield told


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def hook(story: Story, receiver: Receiver, **fields: Any) -> Any:
    """A webhook, with its secret."""
    return await story.post("/v1/webhooks", {"url": receiver.url, "types": WANTED, **fields}, 201)


async def told(story: Story) -> None:
    """Let the delivery loop look once, and do all that it finds."""
    await story.advance(timedelta(seconds=1))

    async def nothing_due() -> bool:
        return not await story.installation.webhooks.deliveries.due(story.clock.now())

    await story.until(nothing_due)


async def go_on(story: Story, by: timedelta) -> None:
    """Time passes, and everybody does what is due."""
    end = story.clock.now() + by
    while story.clock.now() < end:
        await story.advance(STEP)
        await told(story)


async def happened(story: Story) -> list[Any]:
    """All events of the wanted types as `GET /v1/events` shows them."""
    events: list[Any] = []
    after = 0
    while True:
        page = await story.get(f"/v1/events?types={','.join(WANTED)}&limit=200&after={after}")
        events += page["items"]
        if page["after"] == page["newest"]:
            return events
        after = page["after"]


def check_order(taken: list[Taken]) -> None:
    """Ten are under way at once, in order of start: nobody is overtaken by more than nine."""
    for place, (came, expected) in enumerate(zip(taken, sorted(taken, key=lambda each: each.seq), strict=True)):
        assert abs(taken.index(expected) - place) < 10, (place, came.seq, expected.seq)


async def test_a_receiver_that_was_down_while_a_send_went_on_hears_of_everything_once(
    story: Story, receiver: Receiver
) -> None:
    webhook = await hook(story, receiver)
    await story.contacts(80)
    action = await story.mail_all(DRIP)
    await go_on(story, timedelta(hours=2))
    before = len(receiver.taken)
    assert before > 30, "three batches"
    check_order(receiver.taken)

    receiver.behave = down
    await go_on(story, timedelta(hours=3))
    assert len(receiver.taken) == before
    shown = await story.get(f"/v1/webhooks/{webhook['id']}")
    assert (shown["held"], shown["enabled"]) == (True, True)
    assert (await story.books(action))["counts"]["succeeded"] == 60, "the send does not care"

    receiver.behave = ok
    await go_on(story, timedelta(hours=3))
    assert (await story.books(action))["status"] == "completed"
    events = await happened(story)
    assert Counter(taken.id for taken in receiver.taken) == {event["id"]: 1 for event in events}
    assert all(taken.signed_with(webhook["secret"]) for taken in receiver.taken)
    by_id = {event["id"]: event for event in events}
    for taken in receiver.taken:
        event = by_id[taken.id]
        assert taken.json == {
            "type": event["type"],
            "timestamp": event["time"],
            "data": event["data"],
            "seq": event["seq"],
            "id": event["id"],
        }
    sent = [event["data"]["message_id"] for event in events if event["type"] == "message.accepted"]
    assert len(set(sent)) == len(sent) == 80
    shown = await story.get(f"/v1/webhooks/{webhook['id']}")
    assert (shown["held"], shown["retries"], shown["failing_since"]) == (False, 0, None)
    assert not any(mail > 1 for mail in story.mails().values())


async def test_a_receiver_that_wants_nothing_more_is_told_nothing_until_somebody_says_so(
    story: Story, receiver: Receiver
) -> None:
    webhook = await hook(story, receiver)
    receiver.behave = lambda taken: web.Response(status=410)
    await story.contacts(3)
    await story.mail_all()
    await told(story)
    shown = await story.get(f"/v1/webhooks/{webhook['id']}")
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "gone")
    (news,) = (await story.get("/v1/events?types=webhook.*"))["items"]
    assert news["data"] == {"webhook_id": webhook["id"], "reason": "gone"}
    await story.mail_all()
    await told(story)
    receiver.behave = ok
    assert (await story.call("PATCH", f"/v1/webhooks/{webhook['id']}", {"enabled": True})).status == 200
    await told(story)
    assert Counter(taken.id for taken in receiver.taken) == {event["id"]: 1 for event in await happened(story)}


async def follow(story: Story, seen: list[tuple[int, str]], until: str) -> None:
    """Read the stream behind the last event seen, until one of a type has come; then hang up."""
    headers = {"Authorization": f"Bearer {story.token}", "Last-Event-ID": str(seen[-1][0] if seen else 0)}
    async with story.session.get(f"{story.base}/v1/events/stream?types=bulk_action.*", headers=headers) as answer:
        assert answer.status == 200
        number = 0
        async for line in answer.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "id":
                number = int(value)
            elif name == "event":
                seen.append((number, value))
                if value == until:
                    return


async def test_a_reader_of_the_stream_that_was_cut_off_goes_on_where_it_was(story: Story) -> None:
    await story.contacts(20)
    action = await story.mail_all(DRIP)
    seen: list[tuple[int, str]] = []
    await follow(story, seen, "bulk_action.created")
    await follow(story, seen, "bulk_action.batch_finished")
    await story.advance(timedelta(hours=1))
    await follow(story, seen, "bulk_action.completed")
    numbers = [number for number, _ in seen]
    assert numbers == sorted(set(numbers)), "each once, in order"
    kinds = [kind for _, kind in seen if kind != "bulk_action.progress"]
    assert kinds == [
        "bulk_action.created",
        "bulk_action.started",
        "bulk_action.batch_finished",
        "bulk_action.batch_finished",
        "bulk_action.completed",
    ]
    assert (await story.books(action))["status"] == "completed"


async def test_streams_do_not_keep_the_daemon_from_stopping(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        async with story_in(tmp_path) as story:
            headers = {"Authorization": f"Bearer {story.token}"}
            answer = await story.session.get(f"{story.base}/v1/events/stream", headers=headers)
            stack.callback(answer.close)
            await answer.content.readline()
            started = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - started < 4, "and it is given 8 s"
