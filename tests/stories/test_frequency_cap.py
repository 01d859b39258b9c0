"""Nobody is written to too often, whatever it is about and whoever asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.stories.conftest import Story, story_in

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

CAPPED = """
[plugins.frequency_cap]
per_day = 2
per_week = 3
"""


@pytest.fixture
async def story(tmp_path: Path) -> AsyncIterator[Story]:
    async with story_in(tmp_path, more=CAPPED) as told:
        yield told


async def test_who_has_had_enough_is_skipped_with_the_reason_and_not_as_an_error(story: Story) -> None:
    people = await story.contacts(2)
    body = {"channel": "email", "contact": people[0], "subject": "Single", "body": "Hello"}
    assert (await story.call("POST", "/v1/messages", body)).status == 202
    first = await story.mail_all(subject="First")
    assert (await story.books(first))["counts"] == {"total": 2, "succeeded": 2}

    second = await story.mail_all(subject="Second")
    books = await story.books(second)
    assert (books["status"], books["counts"], books["failed_count"]) == (
        "completed",
        {"total": 2, "succeeded": 1, "skipped": 1},
        0,
    )
    (skipped,) = await story.everything(f"/v1/bulk-actions/{second}/recipients?state=failed&state=skipped")
    assert (skipped["contact_id"], skipped["state"], skipped["code"], skipped["reason"]) == (
        people[0],
        "skipped",
        "frequency_cap",
        "Has had 2 messages in the last 24 hours; the most is 2",
    )
    assert story.mails("Second") == {f"{people[1]}@example.org": 1}


async def test_a_retry_is_counted_again_and_goes_when_the_day_is_over(story: Story) -> None:
    (person,) = await story.contacts(1)
    for subject in ("First", "Second"):
        await story.mail_all(subject=subject)
    third = await story.mail_all(subject="Third")
    retry = {"states": ["skipped"]}
    await story.post(f"/v1/bulk-actions/{third}/retry", retry)
    assert (await story.books(third))["counts"] == {"total": 1, "skipped": 1}
    await story.advance(DAY + HOUR, 6 * HOUR)
    await story.post(f"/v1/bulk-actions/{third}/retry", retry)
    assert (await story.books(third))["counts"] == {"total": 1, "succeeded": 1}

    fourth = await story.mail_all(subject="Fourth")
    (skipped,) = (await story.people(fourth)).values()
    assert skipped["reason"] == "Has had 3 messages in the last 7 days; the most is 3"
    assert story.mails() == {f"{person}@example.org": 3}


async def test_what_is_transactional_always_leaves_and_counts(story: Story) -> None:
    await story.contacts(1)
    for number in range(3):
        await story.mail_all(subject=f"Receipt {number}", category="transactional")
    assert story.mails().total() == 3
    news = await story.mail_all()
    assert (await story.books(news))["counts"] == {"total": 1, "skipped": 1}


async def test_messages_that_wait_count_before_they_have_left(story: Story) -> None:
    (person,) = await story.contacts(1)
    await story.post("/v1/senders/mail/pause")
    body = {"channel": "email", "contact": person, "subject": "Single", "body": "Hello"}
    answers = [(await story.call("POST", "/v1/messages", body)).status for _ in range(3)]
    assert answers == [202, 202, 422]
    await story.post("/v1/senders/mail/resume")
    assert story.mails().total() == 2
