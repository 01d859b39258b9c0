"""The mail server does not know the password."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from tests.stories.conftest import story_in

ACCOUNT = 'username = "news"\npassword = "old secret"'


async def test_bad_credentials_hold_the_sender_until_they_are_right(tmp_path: Path) -> None:
    async with story_in(tmp_path, more=ACCOUNT, credentials={"news": "new secret"}) as story:
        people = await story.contacts(30)
        action = await story.mail_all()
        sender = await story.sender()
        assert (sender["held"], sender["health"]) == ("misconfigured", "unhealthy")
        assert "secret" not in sender["held_detail"]
        await story.advance(timedelta(hours=1), timedelta(minutes=5))
        books = await story.books(action)
        assert (books["status"], books["wait_reason"]) == ("processing", "sender_down")
        assert books["counts"] == {"total": 30, "pending": 30}
        assert books["pause_reason"] is None
        told = await story.people(action)
        assert {each["state"] for each in told.values()} == {"pending"}
        assert story.smtp.connections < 30  # an account must not be locked for our insisting

        story.smtp.credentials = {"news": "old secret"}
        await story.advance(timedelta(minutes=2), timedelta(seconds=30))
        assert (await story.sender())["held"] is None
        books = await story.books(action)
        assert (books["status"], books["counts"]) == ("completed", {"total": 30, "succeeded": 30})
        assert story.mails() == {f"{id}@example.org": 1 for id in people}
