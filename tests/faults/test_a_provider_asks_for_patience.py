"""A provider answers 429 with every kind of Retry-After, or 5xx: honoured, capped, nobody lost or doubled."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from gateway.testing.provider_faults import ServerError, Throttle
from tests.faults.figures import Figures
from tests.stories.twilio import sms_story

PEOPLE = 20
STEP = timedelta(seconds=5)
JITTER = 1.1  # what may be added to what was asked for

ASKED: dict[str, tuple[Callable[[datetime], str], float, float]] = {
    "in seconds": (lambda now: "120", 120, 120 * JITTER),
    "as a date": (lambda now: format_datetime(now + timedelta(seconds=300), usegmt=True), 300, 300 * JITTER),
    "negative": (lambda now: "-5", 0, 30),
    "enormous": (lambda now: "9" * 30, 3_600, 3_600 * JITTER),
    "a date of another age": (lambda now: "Fri, 31 Dec 9999 23:59:59 GMT", 3_600, 3_600 * JITTER),
    "nothing that can be read": (lambda now: "soon, please", 0, 30),
}


@pytest.mark.parametrize("kind", ASKED)
async def test_what_a_provider_asks_for_is_honoured_and_capped(kind: str, tmp_path: Path, figures: Figures) -> None:
    text, at_least, at_most = ASKED[kind]
    async with sms_story(tmp_path) as told:
        await told.people(PEOPLE)
        told.twilio.faults = [Throttle(times=1, retry_after=text(told.story.clock.now()))]
        action = await told.text_all()
        asked_at, before = told.story.clock.now(), len(told.twilio.record)
        step = max(STEP, timedelta(seconds=at_least / 40))
        while len(told.twilio.record) == before and told.story.clock.now() - asked_at < timedelta(hours=2):
            await told.story.advance(step)
        waited = (told.story.clock.now() - asked_at).total_seconds()
        await told.story.advance(timedelta(hours=2), timedelta(minutes=10))
        await told.settle()
        books = await told.story.books(action)
        doubled = told.texts().total() - len(told.texts())
        figures.hold(
            f"F4 Retry-After {kind}",
            f"honoured and capped: {at_least:.0f} to {at_most + step.total_seconds():.0f} s; everybody sent once",
            f"{waited:.0f} s, {books['counts'].get('succeeded', 0)} of {PEOPLE} sent, {doubled} doubled",
            at_least <= waited <= at_most + step.total_seconds()
            and books["counts"] == {"total": PEOPLE, "succeeded": PEOPLE}
            and doubled == 0,
        )


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_after_a_server_error_it_is_asked_what_became_of_the_message(
    status: int, tmp_path: Path, figures: Figures
) -> None:
    """Half of those that are answered so were taken all the same."""
    async with sms_story(tmp_path) as told:
        await told.people(PEOPLE)
        told.twilio.faults = [
            ServerError(status=status, accepted=True, times=5),
            ServerError(status=status, first=6, times=5),
        ]
        action = await told.text_all()
        unknown = (await told.story.books(action))["counts"].get("unknown", 0)
        await told.story.advance(timedelta(minutes=30), timedelta(seconds=30))
        await told.settle()
        books = await told.story.books(action)
        doubled = told.texts().total() - len(told.texts())
        figures.hold(
            f"F4 HTTP {status}",
            "asked about and retried, 0 lost, 0 doubled where the provider can be asked",
            f"{unknown} unknown at first, {books['counts'].get('succeeded', 0)} of {PEOPLE} sent, {doubled} doubled",
            unknown > 0 and books["counts"] == {"total": PEOPLE, "succeeded": PEOPLE} and doubled == 0,
        )
