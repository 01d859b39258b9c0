"""A person asks to be forgotten: what is theirs goes, the books and the wish not to be written to stay."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.stories.conftest import Story
from tests.stories.twilio import phone, sms_story

ADA = "ada.lovelace@example.org"
TRACES = ("ada.lovelace", "Lovelace", "+14155551234", "likes-canaries", "Dear Ada")


async def everywhere(story: Story) -> str:
    """Every value of every table, but what the API keeps for a day for repeated requests."""
    tables = await story.installation.database.read(
        lambda conn: conn.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    )
    texts = []
    for (name,) in tables:
        if name not in ("idempotency", "sqlite_sequence"):
            rows = await story.installation.database.read(
                lambda conn, name=name: conn.execute(f"SELECT * FROM {name}").fetchall()  # type: ignore[misc]
            )
            texts += [str(value) for row in rows for value in row]
    return "\n".join(texts)


async def add(story: Story, **fields: Any) -> None:
    reply = await story.call("POST", "/v1/contacts", {"contacts": [fields]})
    assert reply.json["results"][0]["status"] != "error", reply.raw


async def test_nothing_of_the_person_is_left_and_the_books_balance(story: Story) -> None:
    await story.contacts(2)
    await add(
        story, id="ada", email=ADA, last_name="Lovelace", phone="+14155551234", tags=["likes-canaries"],
        attributes={"note": "likes-canaries"},
    )  # fmt: skip
    action = await story.mail_all(body="Dear {{ last_name | default('you') }}")
    await story.post("/v1/messages", {"channel": "email", "contact": "ada", "subject": "x", "body": "Dear Ada"}, 202)
    before = (await story.books(action))["counts"]
    stored = await everywhere(story)
    assert all(trace in stored for trace in TRACES if trace != "Dear Ada")
    assert (await story.call("POST", "/v1/contacts/ada/erase")).status == 204
    left = await everywhere(story)
    assert [trace for trace in TRACES if trace in left] == []
    assert (await story.books(action))["counts"] == before
    assert (await story.call("GET", "/v1/contacts/ada")).status == 404
    assert (await story.call("POST", "/v1/contacts/ada/restore")).status == 404
    assert (await story.call("POST", "/v1/contacts/ada/erase")).status == 404, "once is for good"
    assert [one["id"] for one in await story.everything("/v1/contacts?deleted=true")] == []
    sent = await story.everything(f"/v1/messages?bulk_action={action}")
    assert len(sent) == 3


async def test_who_left_stays_out_after_being_forgotten(story: Story) -> None:
    await add(story, id="ada", email=ADA)
    await story.post("/v1/opt-outs", {"channel": "email", "contact": "ada"}, 201)
    assert (await story.call("POST", "/v1/contacts/ada/erase")).status == 204
    assert await story.everything("/v1/opt-outs") == []
    assert "ada.lovelace" not in await everywhere(story)
    await add(story, id="ada", email=ADA.title())
    action = await story.mail_all()
    assert (await story.people(action))["ada"]["code"] == "opted_out"
    refused = await story.call("POST", "/v1/messages", {"channel": "email", "to": ADA, "subject": "x", "body": "Hi"})
    assert (refused.status, refused.code) == (422, "opted_out")
    bare = await story.create(
        operation="send_message",
        recipients={"addresses": [{"to": ADA}]},
        message={"channel": "email", "subject": "x", "body": "Hi"},
    )
    assert (await story.books(bare))["counts"] == {"total": 1, "skipped": 1}
    assert story.mails().total() == 0


async def test_a_shared_number_stays_with_the_other_person(tmp_path: Path) -> None:
    async with sms_story(tmp_path) as told:
        await told.people(1)
        await add(told.story, id="m-2", phone=phone(0), first_name="Bea")
        await told.text_all()
        assert (await told.story.call("POST", "/v1/contacts/m-1/erase")).status == 204
        again = await told.text_all()
        assert (await told.story.books(again))["counts"] == {"total": 1, "succeeded": 1}


async def test_somebody_in_the_middle_of_a_drip_is_skipped(story: Story) -> None:
    await story.contacts(4)
    action = await story.mail_all({"mode": "drip", "drip": {"batch_quantity": 2, "repeat_after": "1h"}})
    assert (await story.call("POST", "/v1/contacts/m-3/erase")).status == 204
    bare = await story.create(
        operation="send_message",
        recipients={"addresses": [{"to": "m-1@example.org"}, {"to": "x@example.org"}]},
        message={"channel": "email", "subject": "x", "body": "Hi"},
        schedule={"mode": "at", "start_at": "2026-06-02T08:00:00Z"},
    )
    assert (await story.call("POST", "/v1/contacts/m-1/erase")).status == 204
    await story.advance(timedelta(hours=2), timedelta(hours=1))
    assert (await story.books(action))["counts"] == {"total": 4, "succeeded": 3, "skipped": 1}
    await story.advance_to("2026-06-02T08:00+00:00")
    assert (await story.books(bare))["counts"] == {"total": 2, "succeeded": 1, "skipped": 1}


async def test_who_was_deleted_is_forgotten_after_thirty_days(story: Story) -> None:
    await add(story, id="ada", email=ADA)
    assert (await story.call("DELETE", "/v1/contacts/ada")).status == 204
    await story.advance(timedelta(days=29), timedelta(days=1))
    assert (await story.call("POST", "/v1/contacts/ada/restore")).status == 200
    assert (await story.call("DELETE", "/v1/contacts/ada")).status == 204
    await story.advance(timedelta(days=31), timedelta(days=1))
    assert "ada.lovelace" not in await everywhere(story)


async def test_what_was_exported_can_be_imported(story: Story) -> None:
    await add(story, id="ada", email=ADA, phone="+14155551234", tags=["b", "a"], attributes={"n": 5, "t": "=x"})
    exported = await story.call("GET", "/v1/contacts/export")
    header, line = exported.raw.decode().splitlines()
    assert header.split(",")[:3] == ["id", "name", "first_name"]
    assert "'+14155551234" in line, "a spreadsheet must not run it"
    assert "'=x" in line
    ndjson = await story.call("GET", "/v1/contacts/export", headers={"Accept": "application/x-ndjson"})
    again = await story.call(
        "POST", "/v1/contacts/import", headers={"Content-Type": "application/x-ndjson"}, data=ndjson.raw
    )
    assert (again.json["unchanged"], again.json["rejected"]) == (1, 0)
    csv = {"Content-Type": "text/csv"}
    again = await story.call("POST", "/v1/contacts/import", headers=csv, data=exported.raw)
    assert (again.status, again.json.get("rejected")) == (200, 0), again.raw
    await story.call("PATCH", "/v1/contacts/ada", {"attributes": {"n": "five"}})
    exported = await story.call("GET", "/v1/contacts/export")
    again = await story.call("POST", "/v1/contacts/import", headers=csv, data=exported.raw)
    assert again.json["unchanged"] == 1, again.raw
