"""A member database that sends everybody every night."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from io import BytesIO
from typing import Any

from tests.stories.conftest import Story

MEMBERS = 20_000


def sheet(numbers: Iterable[int], name: str = "Member") -> bytes:
    rows = [f"m-{n},{name} {n},m-{n}@example.org,choir;adult,Lagos" for n in numbers]
    return "\n".join(["id,name,email,tags,city", *rows, ""]).encode()


async def sync(story: Story, content: bytes) -> dict[str, Any]:
    reply = await story.call("POST", "/v1/contacts/import", data=BytesIO(content), headers={"Content-Type": "text/csv"})
    assert reply.status == 200, reply.raw
    report = reply.json
    assert (report["rejected"], report["errors"]) == (0, [])
    return {status: report[status] for status in ("created", "updated", "unchanged", "restored") if report[status]}


async def test_a_nightly_sync_creates_once_and_shows_who_vanished(story: Story) -> None:
    everybody = range(1, MEMBERS + 1)
    assert await sync(story, sheet(everybody)) == {"created": MEMBERS}
    one = await story.get("/v1/contacts/m-777")
    assert (one["name"], one["email"], sorted(one["tags"])) == ("Member 777", "m-777@example.org", ["adult", "choir"])
    assert one["attributes"] == {"city": "Lagos"}

    await story.advance(timedelta(days=1))
    assert await sync(story, sheet(everybody)) == {"unchanged": MEMBERS}
    again = await story.get("/v1/contacts/m-777")
    assert again["updated_at"] == one["updated_at"]
    assert again["seen_at"] > one["seen_at"]
    assert await story.everything("/v1/contacts?seen_before=2026-06-02T08:00:00Z") == []

    await story.advance(timedelta(days=1))
    vanished = {5, 6_000, 19_999}
    there = [n for n in everybody if n not in vanished]
    assert await sync(story, sheet(there)) == {"unchanged": MEMBERS - len(vanished)}
    gone = await story.everything("/v1/contacts?seen_before=2026-06-03T08:00:00Z")
    assert {each["id"] for each in gone} == {f"m-{n}" for n in vanished}

    action = await story.create(
        operation="delete_contacts", recipients={"where": {"seen_before": "2026-06-03T08:00:00Z"}}
    )
    books = await story.books(action)
    assert (books["status"], books["counts"]) == ("completed", {"total": 3, "succeeded": 3})
    deleted = await story.everything("/v1/contacts?deleted=true")
    assert {each["id"] for each in deleted} == {f"m-{n}" for n in vanished}
    assert await sync(story, sheet(everybody)) == {"unchanged": MEMBERS - len(vanished), "restored": len(vanished)}
