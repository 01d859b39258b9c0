"""Bulk actions that send nothing: tags, attributes, deleting and restoring."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.stories.conftest import Story

HOUR = timedelta(hours=1)
DRIP = {"mode": "drip", "drip": {"batch_quantity": 4, "repeat_after": "1h"}}
NOW = {"mode": "now"}


async def run(story: Story, operation: str, parameters: Any, schedule: Any, recipients: Any = None) -> str:
    action = await story.create(
        operation=operation,
        recipients=recipients or {"contacts": [f"m-{n}" for n in range(1, 11)]},
        parameters=parameters,
        schedule=schedule,
    )
    await story.advance(3 * HOUR, HOUR)
    return action


@pytest.mark.parametrize(("schedule", "batches"), [(NOW, [10]), (DRIP, [4, 4, 2])])
async def test_tags_are_given_to_those_who_lack_them(story: Story, schedule: Any, batches: list[int]) -> None:
    people = await story.contacts(10)
    for id in ("m-2", "m-7"):
        await story.call("PATCH", f"/v1/contacts/{id}", {"tags": ["choir", "alto"]})
    action = await run(story, "add_tags", {"tags": ["choir"]}, schedule)
    books = await story.books(action)
    assert (books["status"], books["counts"]) == ("completed", {"total": 10, "succeeded": 8, "skipped": 2})
    assert books["failed_count"] == 0
    told = await story.people(action)
    assert {id for id in people if told[id]["code"] == "already_done"} == {"m-2", "m-7"}
    assert told["m-2"]["reason"] == "Has these tags already"
    assert [batch["quantity"] for batch in await story.batches(action)] == batches
    assert len(await story.everything("/v1/contacts?tag=choir")) == 10
    assert sorted((await story.get("/v1/contacts/m-2"))["tags"]) == ["alto", "choir"]
    assert not story.mails()


async def test_each_is_worked_on_in_the_hours_of_their_own_zone(story: Story) -> None:
    """Of the action's own zone only those whose zone is not known."""
    away = (story.clock.now() + timedelta(hours=9)).strftime("%H:00"), (story.clock.now() + HOUR * 10).strftime("%H:00")
    await story.contacts(3, time_zone="Asia/Tokyo")
    drip = {"batch_quantity": 2, "repeat_after": "30m", "process_between": list(away), "time_zone_mode": "contact"}
    schedule = {"mode": "drip", "time_zone": "UTC", "drip": drip}
    recipients = {"contacts": ["m-1", "m-2", "m-3"]}
    action = await story.create(
        operation="add_tags", recipients=recipients, parameters={"tags": ["choir"]}, schedule=schedule
    )
    await story.advance(HOUR, HOUR / 4)
    assert (await story.books(action))["counts"] == {"total": 3, "succeeded": 3}


@pytest.mark.parametrize("schedule", [NOW, DRIP])
async def test_attributes_are_set_and_cleared(story: Story, schedule: Any) -> None:
    await story.contacts(10, attributes={"city": "Lagos", "old": "yes"})
    await story.call("PATCH", "/v1/contacts/m-3", {"attributes": {"city": "Abuja", "old": None}})
    action = await run(story, "set_attributes", {"attributes": {"city": "Abuja", "old": None}}, schedule)
    books = await story.books(action)
    assert (books["status"], books["counts"]) == ("completed", {"total": 10, "succeeded": 9, "skipped": 1})
    for contact in await story.everything("/v1/contacts"):
        assert contact["attributes"] == {"city": "Abuja"}


@pytest.mark.parametrize("schedule", [NOW, DRIP])
async def test_contacts_are_deleted_and_restored(story: Story, schedule: Any) -> None:
    people = await story.contacts(10)
    assert (await story.call("DELETE", "/v1/contacts/m-4")).status in (200, 204)
    deletion = await run(story, "delete_contacts", {}, schedule)
    books = await story.books(deletion)
    assert (books["status"], books["counts"]) == ("completed", {"total": 10, "succeeded": 9, "skipped": 1})
    assert (await story.people(deletion))["m-4"]["code"] == "already_done"
    assert await story.everything("/v1/contacts") == []
    assert len(await story.everything("/v1/contacts?deleted=true")) == 10

    restored = await story.call("POST", "/v1/contacts/m-5/restore")
    assert restored.status == 200
    restoration = await run(story, "restore_contacts", {}, schedule)
    books = await story.books(restoration)
    assert (books["status"], books["counts"]) == ("completed", {"total": 10, "succeeded": 9, "skipped": 1})
    assert (await story.people(restoration))["m-5"]["code"] == "already_done"
    assert {each["id"] for each in await story.everything("/v1/contacts")} == set(people)


async def test_a_contact_deleted_between_two_batches_is_not_written_to(story: Story) -> None:
    people = await story.contacts(8)
    action = await story.mail_all(DRIP)
    assert (await story.call("DELETE", "/v1/contacts/m-6")).status in (200, 204)
    await story.advance(HOUR)
    books = await story.books(action)
    assert (books["status"], books["counts"]) == ("completed", {"total": 8, "succeeded": 7, "skipped": 1})
    assert (await story.people(action))["m-6"]["code"] == "contact_deleted"
    assert story.mails() == {f"{id}@example.org": 1 for id in people if id != "m-6"}


async def test_who_has_an_address_on_a_channel_is_chosen_as_the_list_shows_them(story: Story) -> None:
    await story.contacts(3)
    await story.call("POST", "/v1/contacts", {"contacts": [{"id": "phone-only", "phone": "+14155550101"}]})
    chosen = {"where": {"channel": "email", "tags": {"none": ["old"]}}}
    await story.call("PATCH", "/v1/contacts/m-3", {"tags": ["old"]})
    await run(story, "add_tags", {"tags": ["by mail"]}, NOW, chosen)
    assert [one["id"] for one in await story.everything("/v1/contacts?tag=by%20mail")] == ["m-1", "m-2"]
    assert [one["id"] for one in await story.everything("/v1/contacts?channel=sms")] == ["phone-only"]
    reply = await story.call(
        "POST",
        "/v1/bulk-actions",
        {"operation": "add_tags", "parameters": {"tags": ["x"]}, "recipients": {"where": {"channel": "pigeon"}}},
    )
    assert (reply.status, [one["pointer"] for one in reply.json["errors"]]) == (422, ["/recipients/where/channel"])
