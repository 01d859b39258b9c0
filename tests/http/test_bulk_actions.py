"""Bulk actions through the API."""

from __future__ import annotations

import asyncio
import csv
import io
from datetime import timedelta
from typing import Any, get_args

import pytest

from gateway.core.ids import ACTION, IdSequence, OrgId, parse_id
from gateway.core.states import ActionStatus, RecipientState
from gateway.engine.findings import PROBLEMS_MAX
from gateway.http import bulk_wire
from gateway.store.database import Database
from gateway.testing.clock import FakeClock
from tests.http.bulk import Bulk, build_bulk, request, routes
from tests.http.conftest import OTHER, StartApi

PENDING, FAILED, CANCELLED = RecipientState.PENDING, RecipientState.FAILED, RecipientState.CANCELLED
SUCCEEDED, SKIPPED, UNKNOWN = RecipientState.SUCCEEDED, RecipientState.SKIPPED, RecipientState.UNKNOWN
DRIP = {"batch_quantity": 100, "repeat_after": "1h", "send_on": ["mon", "tue"], "process_between": ["09:00", "17:00"]}
NOBODY = "ba_0000000000000"


@pytest.fixture
async def bulk(database: Database, clock: FakeClock, ids: IdSequence, start_api: StartApi) -> Bulk:
    built = await build_bulk(database, clock, ids)
    built.api = await start_api(routes(built), within=built.catalogue)
    return built


def url(action: Any, tail: str = "") -> str:
    return f"/v1/bulk-actions/{action['id']}{tail}"


# Creation


async def test_a_new_action_is_shown_in_full_with_its_address_and_revision(bulk: Bulk) -> None:
    await bulk.contacts(2)
    sent = request(label="June", schedule={"mode": "drip", "drip": DRIP}, requested_by="user:42")
    reply = await bulk.api.post("/v1/bulk-actions", sent)
    assert reply.status == 201
    shown = reply.json
    assert reply.headers["Location"] == url(shown)
    assert reply.headers["ETag"] == '"1"'
    assert shown == {
        "id": shown["id"],
        "label": "June",
        "operation": "send_message",
        "channel": "email",
        "sender": "mail",
        "status": "queued",
        "snapshot": "taking",
        "paused_from": None,
        "pause_reason": None,
        "pause_detail": None,
        "failure_kind": None,
        "wait_reason": None,
        "next_batch_at": None,
        "batch": {"number": 0, "of": 0},
        "counts": dict.fromkeys(shown["counts"], 0),
        "success_count": 0,
        "failed_count": 0,
        "message": {
            "channel": "email",
            "sender": "mail",
            "subject": "News",
            "body": "Hi",
            "html": None,
            "plain_text": None,
            "template": None,
            "message_template": None,
            "variables": {},
            "media": [],
            "reply_to": None,
            "category": "general",
            "on_duplicate_address": "skip",
        },
        "parameters": {},
        "schedule": {
            "mode": "drip",
            "start_at": None,
            "time_zone": "Africa/Lagos",
            "drip": DRIP | {"time_zone_mode": "account"},
        },
        "warnings": [],
        "allowed": ["edit", "pause", "cancel"],
        "origin": "api",
        "created_by": shown["created_by"],
        "requested_by": "user:42",
        "created_at": "2026-06-01T08:00:00Z",
        "started_at": None,
        "completed_at": None,
        "revision": 1,
        "round": 0,
        "rerun_of": None,
    }
    assert bulk.nudges
    again = await bulk.api.get(url(shown))
    assert (again.json, again.headers["ETag"], again.headers["Cache-Control"]) == (shown, '"1"', "no-store")
    await bulk.sweep()
    taken = (await bulk.api.get(url(shown))).json
    assert (taken["snapshot"], taken["counts"]["total"], taken["batch"]) == ("taken", 2, {"number": 0, "of": 1})


@pytest.mark.parametrize(
    ("changes", "code", "pointer"),
    [
        ({"operation": "send_mesage"}, "unknown_operation", "/operation"),
        ({"message": {"channel": "pigeon", "body": "Hi"}}, "unknown_channel", "/message/channel"),
        ({"message": {"channel": "email", "sender": "post", "body": "Hi"}}, "unknown_sender", "/message/sender"),
        ({"message": {"channel": "sms", "body": "Hi"}}, "sender_ambiguous", "/message/sender"),
        ({"message": {"channel": "chat", "body": "Hi"}}, "template_required", "/message/template"),
        ({"message": None}, "invalid", "/message"),
        ({"message": {"channel": "email", "subject": "News"}}, "invalid", "/message"),
        ({"message": {"channel": "email", "body": "Hi {{ name"}}, "invalid", "/message/body"),
        ({"message": {"channel": "email", "body": "Hi", "subject": "a\nBcc: x"}}, "invalid", "/message/subject"),
        ({"message": {"channel": "email", "body": "Hi\x07"}}, "invalid", "/message/body"),
        ({"message": {"channel": "email", "body": "Hi\x00"}}, "invalid", "/message/body"),
        ({"message": {"channel": "email", "body": "Hi", "media": ["http://x"]}}, "invalid", "/message/media"),
        ({"message": {"channel": "email", "body": "Hi", "reply_to": "nobody"}}, "invalid", "/message/reply_to"),
        ({"message": {"channel": "email", "body": "Hi", "category": "all"}}, "invalid", "/message/category"),
        ({"message": {"channel": "email", "body": "Hi", "bodyy": 1}}, "invalid", "/message/bodyy"),
        ({"parameters": {"tags": []}}, "invalid", "/parameters"),
        ({"label": "x" * 201}, "invalid", "/label"),
        ({"label": "two\nlines"}, "invalid", "/label"),
        ({"requested_by": 7}, "invalid", "/requested_by"),
        ({"recipients": {}}, "invalid", "/recipients"),
        ({"recipients": {"all": True, "contacts": ["m-1"]}}, "invalid", "/recipients"),
        ({"recipients": {"all": False}}, "invalid", "/recipients"),
        ({"recipients": {"contacts": []}}, "no_recipients", "/recipients/contacts"),
        ({"recipients": {"contacts": ["nobody"]}}, "no_recipients", "/recipients"),
        ({"recipients": {"contacts": ["m-1", 2]}}, "invalid", "/recipients/contacts/1"),
        ({"recipients": {"where": {}}}, "invalid", "/recipients/where"),
        ({"recipients": {"where": {"tags": {"any": ["x"]}}}}, "no_recipients", "/recipients"),
        ({"recipients": {"where": {"seen_before": "soon"}}}, "invalid", "/recipients/where/seen_before"),
        ({"recipients": {"where": {"attributes": {"a": [1]}}}}, "invalid", "/recipients/where/attributes/a"),
        ({"recipients": {"addresses": []}}, "no_recipients", "/recipients/addresses"),
        ({"recipients": {"addresses": [{"to": "no at"}]}}, "no_recipients", "/recipients/addresses"),
        ({"recipients": {"bulk_action": NOBODY, "states": ["failed"]}}, "invalid", "/recipients/bulk_action"),
        ({"recipients": {"bulk_action": NOBODY}}, "invalid", "/recipients/states"),
        ({"recipients": {"all": True, "states": ["failed"]}}, "invalid", "/recipients/states"),
    ],
)
async def test_each_fault_is_told_with_its_place(bulk: Bulk, changes: Any, code: str, pointer: str) -> None:
    await bulk.contacts(1)
    reply = await bulk.api.post("/v1/bulk-actions", request(**changes))
    assert (reply.status, reply.code) == (422, code), reply.json
    assert pointer in reply.pointers
    assert await bulk.sql("SELECT count(*) FROM bulk_actions") == [(0,)]


@pytest.mark.parametrize(
    ("schedule", "code", "pointer"),
    [
        ({"mode": "at"}, "invalid", "/schedule/start_at"),
        ({"mode": "now", "start_at": "2026-12-01T09:00:00Z"}, "invalid", "/schedule/start_at"),
        ({"mode": "at", "start_at": "tomorrow"}, "invalid", "/schedule/start_at"),
        ({"mode": "at", "start_at": "2026-12-01"}, "invalid", "/schedule/start_at"),
        ({"mode": "at", "start_at": "0001-01-01T00:00:00+14:00"}, "invalid", "/schedule/start_at"),
        ({"mode": "at", "start_at": "2026-12-01T09:00", "time_zone": "Mars/Olympus"}, "invalid", "/schedule/time_zone"),
        ({"mode": "drip"}, "invalid", "/schedule/drip"),
        ({"mode": "drip", "drip": DRIP | {"batch_quantity": 0}}, "invalid", "/schedule/drip/batch_quantity"),
        ({"mode": "drip", "drip": DRIP | {"batch_quantity": -1}}, "invalid", "/schedule/drip/batch_quantity"),
        ({"mode": "drip", "drip": DRIP | {"batch_quantity": 10_001}}, "invalid", "/schedule/drip/batch_quantity"),
        ({"mode": "drip", "drip": DRIP | {"batch_quantity": "5"}}, "invalid", "/schedule/drip/batch_quantity"),
        ({"mode": "drip", "drip": DRIP | {"repeat_after": "29s"}}, "invalid", "/schedule/drip/repeat_after"),
        ({"mode": "drip", "drip": DRIP | {"repeat_after": "soon"}}, "invalid", "/schedule/drip/repeat_after"),
        ({"mode": "drip", "drip": DRIP | {"send_on": []}}, "invalid", "/schedule/drip/send_on"),
        ({"mode": "drip", "drip": DRIP | {"send_on": ["someday"]}}, "invalid", "/schedule/drip/send_on"),
        (
            {"mode": "drip", "drip": DRIP | {"process_between": ["09:00", "09:00"]}},
            "invalid",
            "/schedule/drip/process_between",
        ),
        ({"mode": "at", "start_at": "2999-01-01T00:00:00Z"}, "never_runs", "/schedule/start_at"),
        ({"mode": "sometimes"}, "invalid", "/schedule/mode"),
    ],
)
async def test_each_fault_of_a_schedule_is_told_with_its_place(
    bulk: Bulk, schedule: Any, code: str, pointer: str
) -> None:
    await bulk.contacts(1)
    reply = await bulk.api.post("/v1/bulk-actions", request(schedule=schedule))
    assert (reply.status, reply.code, reply.pointers) == (422, code, [pointer])


async def test_all_faults_are_told_at_once(bulk: Bulk) -> None:
    sent = request(
        operation="send_message",
        recipients={"contacts": []},
        message={"channel": "pigeon", "body": "{% if"},
        schedule={"mode": "drip", "drip": DRIP | {"batch_quantity": 0, "repeat_after": "1s"}},
    )
    reply = await bulk.api.post("/v1/bulk-actions", sent)
    assert (reply.status, reply.code) == (422, "invalid")
    assert reply.pointers == [
        "/message/channel",
        "/message/body",
        "/schedule/drip/batch_quantity",
        "/schedule/drip/repeat_after",
        "/recipients/contacts",
    ]


async def test_a_template_fault_says_the_line(bulk: Bulk) -> None:
    message = {"channel": "email", "body": "One\nTwo {{ nothing | nosuchfilter }}"}
    reply = await bulk.api.post("/v1/bulk-actions", request(message=message))
    (error,) = reply.json["errors"]
    assert error["pointer"] == "/message/body"
    assert error["detail"].startswith("Line 2")


async def test_a_start_in_the_past_runs_now_with_a_warning(bulk: Bulk) -> None:
    await bulk.contacts(1)
    shown = await bulk.create(schedule={"mode": "at", "start_at": "2026-06-01T08:59:59", "time_zone": "Africa/Lagos"})
    assert [warning["code"] for warning in shown["warnings"]] == ["start_in_past"]
    assert shown["schedule"]["start_at"] == "2026-06-01T07:59:59Z"
    assert shown["wait_reason"] is None


async def test_a_later_start_says_at_once_what_it_waits_for(bulk: Bulk) -> None:
    await bulk.contacts(1)
    shown = await bulk.create(schedule={"mode": "at", "start_at": "2026-12-01T09:00:00-05:00"})
    assert (shown["wait_reason"], shown["next_batch_at"]) == ("scheduled", "2026-12-01T14:00:00Z")


async def test_ids_given_twice_count_once_and_unknown_ones_fail_by_name(bulk: Bulk) -> None:
    await bulk.contacts(2)
    shown = await bulk.create(recipients={"contacts": ["m-2", "m-1", "m-2", "m-77"]})
    assert [(warning["code"], warning["count"]) for warning in shown["warnings"]] == [
        ("duplicate_recipients", 1),
        ("contact_not_found", 1),
    ]
    await bulk.sweep()
    listed = (await bulk.api.get(url(shown, "/recipients"))).json["items"]
    assert [(one["recipient"], one["state"], one["reason"]) for one in listed] == [
        ("m-2", "pending", None),
        ("m-1", "pending", None),
        ("m-77", "failed", "There is no such contact"),
    ]
    await bulk.assert_books_balance()


async def test_every_address_must_have_each_variable_that_has_no_default(bulk: Bulk) -> None:
    message = {
        "channel": "email",
        "body": "{{ first }} {{ last | default('') }} {{ town }}",
        "variables": {"town": "X"},
    }
    addresses = [{"to": "a@x.org", "variables": {"first": "A"}}, {"to": "b@x.org"}, {"to": "c@x.org", "variables": {}}]
    reply = await bulk.api.post("/v1/bulk-actions", request(message=message, recipients={"addresses": addresses}))
    assert reply.status == 422
    assert reply.pointers == ["/recipients/addresses/1/variables", "/recipients/addresses/2/variables"]
    assert "'first'" in reply.json["errors"][0]["detail"]
    shown = await bulk.create(message=message, recipients={"addresses": addresses[:1]})
    assert shown["warnings"] == []


async def test_a_list_of_a_million_faults_is_told_in_part(bulk: Bulk) -> None:
    message = {"channel": "email", "body": "{{ first }}"}
    addresses = [{"to": f"a{n}@x.org"} for n in range(300)]
    reply = await bulk.api.post("/v1/bulk-actions", request(message=message, recipients={"addresses": addresses}))
    assert len(reply.pointers) == PROBLEMS_MAX


async def test_contacts_without_a_variable_are_a_warning_with_a_sample(bulk: Bulk) -> None:
    await bulk.contacts(2, attributes='{"city":"Lagos"}')
    await bulk.contacts(1, attributes='{"city":null}')
    shown = await bulk.create(message={"channel": "email", "body": "{{ city }} {{ id }} {{ email }}"})
    (warning,) = shown["warnings"]
    assert (warning["code"], warning["count"]) == ("missing_variable", 1)
    assert "m-3" in warning["detail"]


async def test_addresses_are_normalised_and_oddities_are_counted(bulk: Bulk) -> None:
    addresses = [{"to": " A@X.org "}, {"to": "nonsense"}, {"to": "b@x.org", "time_zone": "Mars/Olympus"}]
    shown = await bulk.create(recipients={"addresses": addresses})
    assert [(warning["code"], warning["count"]) for warning in shown["warnings"]] == [
        ("invalid_address", 1),
        ("unknown_time_zone", 1),
    ]
    await bulk.sweep()
    rows = await bulk.sql("SELECT given, zone, state, code FROM recipients ORDER BY seq")
    assert rows == [("a@x.org", None, 0, None), ("nonsense", None, 4, "invalid_address"), ("b@x.org", None, 0, None)]


async def test_an_operation_on_contacts_has_checked_parameters_and_no_message(bulk: Bulk) -> None:
    await bulk.contacts(1)
    bad: list[tuple[dict[str, Any], str]] = [
        ({"parameters": {"tag": ["x"]}}, "/parameters/tag"),
        ({"parameters": {"tags": "x"}}, "/parameters/tags"),
        ({"parameters": {"tags": ["_x"]}}, "/parameters"),
        ({"parameters": {"tags": ["x"]}, "recipients": {"addresses": [{"to": "a@x.org"}]}}, "/recipients/addresses"),
        ({"parameters": {"tags": ["x"]}, "message": {"channel": "email", "body": "Hi"}}, "/message"),
    ]
    for changes, pointer in bad:
        sent = request(**{"message": None, "operation": "add_tags", **changes})
        reply = await bulk.api.post("/v1/bulk-actions", sent)
        assert (reply.status, pointer in reply.pointers) == (422, True), reply.json
    shown = await bulk.create(operation="add_tags", message=None, parameters={"tags": ["x"]})
    assert (shown["parameters"], shown["channel"], shown["message"]) == ({"tags": ["x"]}, None, None)


async def test_an_operation_that_reaches_the_deleted_selects_them_too(bulk: Bulk) -> None:
    await bulk.contacts(1)
    await bulk.contacts(1, deleted_at=5)
    both = await bulk.create(operation="restore_contacts", message=None, parameters={"tags": ["x"]})
    one = await bulk.create(operation="add_tags", message=None, parameters={"tags": ["x"]})
    await bulk.sweep()
    totals = [(await bulk.api.get(url(action))).json["counts"]["total"] for action in (both, one)]
    assert totals == [2, 1]


async def test_the_rest_of_a_cancelled_action_can_be_sent_by_another(bulk: Bulk) -> None:
    await bulk.contacts(3)
    first = await bulk.create()
    refused = await bulk.api.post(
        "/v1/bulk-actions", request(recipients={"bulk_action": first["id"], "states": ["cancelled"]})
    )
    assert refused.pointers == ["/recipients/bulk_action"]
    await bulk.change("UPDATE bulk_actions SET status = 'cancelled'")
    early = await bulk.api.post(
        "/v1/bulk-actions", request(recipients={"bulk_action": first["id"], "states": ["cancelled"]})
    )
    assert (early.status, early.code) == (409, "in_progress")
    await bulk.put(first["id"], "cancelled", [SUCCEEDED, CANCELLED, CANCELLED])
    second = await bulk.create(recipients={"bulk_action": first["id"], "states": ["cancelled"]})
    assert second["rerun_of"] == first["id"]
    await bulk.sweep()
    listed = (await bulk.api.get(url(second, "/recipients"))).json["items"]
    assert [one["recipient"] for one in listed] == ["m-2", "m-3"]


async def test_ten_creations_a_minute_are_allowed_and_refused_ones_and_replays_do_not_count(
    database: Database, clock: FakeClock, ids: IdSequence, start_api: StartApi
) -> None:
    bulk = await build_bulk(database, clock, ids, creations_per_minute=2)
    bulk.api = await start_api(routes(bulk), within=bulk.catalogue)
    await bulk.contacts(1)
    await bulk.create(expect=422, label="x" * 300)
    await bulk.api.post("/v1/bulk-actions/preview", request())
    key = {"Idempotency-Key": "k"}
    first = await bulk.api.post("/v1/bulk-actions", request(), headers=key)
    replay = await bulk.api.post("/v1/bulk-actions", request(), headers=key)
    assert (replay.json["id"], replay.headers["Idempotency-Replayed"]) == (first.json["id"], "true")
    second = await bulk.create()
    refused = await bulk.api.post("/v1/bulk-actions", request())
    assert (refused.status, refused.code, refused.headers["Retry-After"]) == (429, "bulk_action_rate", "60")
    await bulk.put(second["id"], "failed", [FAILED])
    assert (await bulk.api.post(url(second, "/retry"), {"states": ["failed"]})).status == 429
    clock.advance(timedelta(seconds=60))
    assert (await bulk.api.post(url(second, "/retry"), {"states": ["failed"]})).status == 200


async def test_a_list_that_was_refused_at_the_end_leaves_nothing_behind(
    database: Database, clock: FakeClock, ids: IdSequence, start_api: StartApi
) -> None:
    bulk = await build_bulk(database, clock, ids, creations_per_minute=0)
    bulk.api = await start_api(routes(bulk), within=bulk.catalogue)
    await bulk.contacts(1)
    reply = await bulk.api.post("/v1/bulk-actions", request(recipients={"contacts": ["m-1"]}))
    assert reply.status == 429
    assert await bulk.sql("SELECT count(*) FROM selection_chunks") == [(0,)]


async def test_a_long_list_is_stored_in_chunks_and_keeps_its_order(bulk: Bulk) -> None:
    await bulk.contacts(3)
    names = ["m-3", *(f"x-{n}" for n in range(12_000)), "m-1"]
    shown = await bulk.create(recipients={"contacts": names})
    assert await bulk.sql("SELECT position FROM selection_chunks") == [(0,), (5_000,), (10_000,)]
    await bulk.sweep()
    rows = await bulk.sql("SELECT seq, contact FROM recipients WHERE contact IS NOT NULL ORDER BY seq")
    assert rows == [(1, 3), (12_002, 1)]
    assert (await bulk.api.get(url(shown))).json["counts"]["total"] == 12_002
    await bulk.assert_books_balance()


# Preview


async def test_a_preview_says_who_would_be_reached_and_stores_nothing(bulk: Bulk) -> None:
    await bulk.contacts(3)
    await bulk.contacts(1, email=None)
    await bulk.contacts(1, email="m1@example.org")
    await bulk.contacts(1, bad='["email"]')
    await bulk.contacts(1, deleted_at=1)
    await bulk.change(
        "INSERT INTO opt_outs (id, org, channel, address, source, created_at) "
        "VALUES (1, 1, 'email', 'm2@example.org', 'api', 1)"
    )
    names = [*(f"m-{n}" for n in range(1, 8)), "m-99"]
    schedule = {"mode": "drip", "drip": {"batch_quantity": 1, "repeat_after": "1h"}}
    reply = await bulk.api.post("/v1/bulk-actions/preview", request(recipients={"contacts": names}, schedule=schedule))
    assert reply.status == 200
    shown = reply.json
    assert (shown["total"], shown["reachable"], shown["segments"]) == (8, 2, None)
    assert {one["code"]: (one["count"], one["sample"], one["reason"]) for one in shown["unreachable"]} == {
        "no_address": (1, ["m-4"], "No e-mail address"),
        "duplicate_address": (1, ["m-5"], "Somebody else in this action has the same address"),
        "invalid_address": (1, ["m-6"], "The e-mail address is not valid"),
        "contact_deleted": (1, ["m-7"], "The contact was deleted"),
        "opted_out": (1, ["m-2"], "Opted out of e-mail"),
        "contact_not_found": (1, ["m-99"], "There is no such contact"),
    }
    assert shown["forecast"]["batch_count"] == 2
    assert [batch["at"] for batch in shown["forecast"]["batches"]] == ["2026-06-01T08:00:00Z", "2026-06-01T09:00:00Z"]
    assert await bulk.sql("SELECT count(*) FROM bulk_actions") == [(0,)]
    assert await bulk.sql("SELECT count(*) FROM selection_chunks") == [(0,)]


async def test_a_preview_names_at_most_twenty_of_each_kind(bulk: Bulk) -> None:
    await bulk.contacts(25, email=None)
    await bulk.contacts(1)
    (unreachable,) = (await bulk.api.post("/v1/bulk-actions/preview", request())).json["unreachable"]
    assert (unreachable["count"], len(unreachable["sample"])) == (25, 20)


async def test_a_preview_counts_who_has_no_time_zone_where_that_matters(bulk: Bulk) -> None:
    await bulk.contacts(2, time_zone="America/New_York")
    await bulk.contacts(1)
    drip = {
        "batch_quantity": 5,
        "repeat_after": "1h",
        "process_between": ["09:00", "17:00"],
        "time_zone_mode": "contact",
    }
    schedule = {"mode": "drip", "time_zone": "Africa/Lagos", "drip": drip}
    shown = (await bulk.api.post("/v1/bulk-actions/preview", request(schedule=schedule))).json
    assert [(warning["code"], warning["count"]) for warning in shown["warnings"]] == [("missing_time_zone", 1)]
    assert [(batch["at"], batch["quantity"]) for batch in shown["forecast"]["batches"]] == [
        ("2026-06-01T08:00:00Z", 1),
        ("2026-06-01T13:00:00Z", 2),
    ]


async def test_a_preview_counts_the_units_that_a_provider_charges(bulk: Bulk) -> None:
    await bulk.contacts(1, phone="+1", first_name="Al")
    await bulk.contacts(1, phone="+2", first_name="Wolfeschlegelstein")
    message = {"channel": "sms", "sender": "sms-1", "body": "Hi {{ first_name }}"}
    shown = (await bulk.api.post("/v1/bulk-actions/preview", request(message=message))).json
    assert (shown["reachable"], shown["segments"]) == (2, 1 + 3)


async def test_a_preview_of_addresses_knows_duplicates_and_opt_outs(bulk: Bulk) -> None:
    await bulk.change(
        "INSERT INTO opt_outs (id, org, channel, address, source, created_at) "
        "VALUES (1, 1, 'email', 'b@x.org', 'api', 1)"
    )
    addresses = [{"to": "a@x.org"}, {"to": "A@x.org"}, {"to": "b@x.org"}, {"to": "nonsense"}]
    shown = (await bulk.api.post("/v1/bulk-actions/preview", request(recipients={"addresses": addresses}))).json
    assert {one["code"]: one["sample"] for one in shown["unreachable"]} == {
        "duplicate_address": ["a@x.org"],
        "opted_out": ["b@x.org"],
        "invalid_address": ["nonsense"],
    }
    twice = {"channel": "email", "body": "Hi", "on_duplicate_address": "send"}
    sent = request(recipients={"addresses": addresses[:2]}, message=twice)
    assert (await bulk.api.post("/v1/bulk-actions/preview", sent)).json["reachable"] == 2


# Lists


async def test_the_list_is_filtered_paged_and_newest_first(bulk: Bulk) -> None:
    await bulk.contacts(1)
    made = [await bulk.create(label=f"Nr {n}", requested_by=f"user:{n}") for n in range(3)]
    await bulk.put(made[0]["id"], "completed")
    first = (await bulk.api.get("/v1/bulk-actions?limit=2")).json
    assert [one["label"] for one in first["items"]] == ["Nr 2", "Nr 1"]
    rest = (await bulk.api.get(f"/v1/bulk-actions?limit=2&cursor={first['next_cursor']}")).json
    assert ([one["label"] for one in rest["items"]], rest["next_cursor"]) == (["Nr 0"], None)

    async def labels(query: str) -> list[str]:
        return [one["label"] for one in (await bulk.api.get(f"/v1/bulk-actions?{query}")).json["items"]]

    assert await labels("status=completed&status=partial") == ["Nr 0"]
    assert await labels("q=nr 1") == ["Nr 1"]
    assert await labels("requested_by=user:2") == ["Nr 2"]
    assert await labels("channel=sms") == []
    assert await labels("operation=send_message&created_after=2026-06-01T08:00:00%2B02:00") == ["Nr 2", "Nr 1", "Nr 0"]
    assert (await bulk.api.get("/v1/bulk-actions?status=nearly")).status == 422
    assert (await bulk.api.get("/v1/bulk-actions?cursor=nonsense")).status == 422


async def test_recipients_are_paged_filtered_and_say_why(bulk: Bulk) -> None:
    await bulk.contacts(3, name="Ada")
    shown = await bulk.create()
    await bulk.put(shown["id"], "partial", [FAILED, SKIPPED, SUCCEEDED])
    await bulk.change("UPDATE recipients SET code = 'opted_out' WHERE seq = 2")
    await bulk.change("UPDATE recipients SET code = 'provider_error', reason = '550 no' WHERE seq = 1")
    page = (await bulk.api.get(url(shown, "/recipients?state=failed&state=skipped&limit=1"))).json
    assert page["items"] == [
        {
            "recipient": "m-1",
            "contact_id": "m-1",
            "name": "Ada",
            "address": "m1@example.org",
            "state": "failed",
            "code": "provider_error",
            "reason": "550 no",
            "provider_code": None,
            "message_id": None,
            "batch": None,
            "round": 0,
            "not_before": None,
            "retryable": True,
        }
    ]
    following = await bulk.api.get(url(shown, f"/recipients?state=failed&state=skipped&cursor={page['next_cursor']}"))
    (second,) = following.json["items"]
    assert (second["recipient"], second["reason"], second["retryable"]) == ("m-2", "Opted out of e-mail", False)
    assert following.json["next_cursor"] is None


async def test_recipients_as_csv_hold_nothing_that_a_spreadsheet_would_run(bulk: Bulk) -> None:
    await bulk.contacts(1, name='=HYPERLINK("http://x")', phone="+2348030000000")
    await bulk.contacts(1, name="@sum", first_name="-1")
    await bulk.contacts(1, name='A, "B"\nC')
    message = {"channel": "sms", "sender": "sms-1", "body": "Hi"}
    shown = await bulk.create(message=message)
    await bulk.sweep()
    reply = await bulk.api.get(url(shown, "/recipients"), headers={"Accept": "text/csv"})
    assert reply.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(reply.raw.decode())))
    assert [row["name"] for row in rows] == ['\'=HYPERLINK("http://x")', "'@sum", 'A, "B"\nC']
    assert rows[0]["address"] == "'+2348030000000"
    assert (rows[1]["state"], rows[1]["reason"], rows[1]["retryable"]) == ("failed", "No phone number", "true")
    empty = await bulk.api.get(url(shown, "/recipients?state=unknown"), headers={"Accept": "text/csv"})
    assert empty.raw.decode().splitlines() == [",".join(rows[0])]


async def test_batches_and_statistics_are_shown(bulk: Bulk) -> None:
    await bulk.contacts(3)
    shown = await bulk.create(schedule={"mode": "drip", "drip": DRIP})
    await bulk.put(shown["id"], "processing", [SUCCEEDED, SKIPPED, PENDING])
    action = parse_id(ACTION, shown["id"])
    for number in (1, 2):
        await bulk.change(
            "INSERT INTO batches (action, number, round, planned_at, released_at, quantity, revision, untried, "
            "succeeded) VALUES (?, ?, 0, 0, 1000000, 5, 1, 0, 1)",
            action,
            number,
        )
    page = (await bulk.api.get(url(shown, "/batches?limit=1"))).json
    (batch,) = page["items"]
    assert (batch["number"], batch["started_at"], batch["counts"]["succeeded"]) == (2, "1970-01-01T00:00:01Z", 1)
    rest = (await bulk.api.get(url(shown, f"/batches?cursor={page['next_cursor']}"))).json
    assert [batch["number"] for batch in rest["items"]] == [1]
    stats = (await bulk.api.get(url(shown, "/stats"))).json
    assert [(one["state"], one["count"]) for one in stats["codes"]] == [
        ("pending", 1),
        ("succeeded", 1),
        ("skipped", 1),
    ]
    assert (stats["rate"]["points"], stats["replies"], stats["opt_outs"]) == ([], 0, 0)
    assert (await bulk.api.get(url(shown))).json["batch"] == {"number": 2, "of": 3}


async def test_a_forecast_shows_what_is_still_to_come(bulk: Bulk) -> None:
    await bulk.contacts(5)
    schedule = {"mode": "drip", "drip": {"batch_quantity": 2, "repeat_after": "1h"}}
    shown = await bulk.create(schedule=schedule)
    await bulk.sweep()
    forecast = (await bulk.api.get(url(shown, "/forecast?limit=2"))).json
    assert [(one["number"], one["quantity"]) for one in forecast["batches"]] == [(1, 2), (2, 2)]
    assert (forecast["batch_count"], forecast["last_at"]) == (3, "2026-06-01T10:00:00Z")
    await bulk.api.post(url(shown, "/pause"))
    bulk.clock.advance(timedelta(days=1))
    assert (await bulk.api.get(url(shown, "/forecast"))).json["first_at"] == "2026-06-02T08:00:00Z"
    await bulk.api.post(url(shown, "/cancel"))
    assert (await bulk.api.get(url(shown, "/forecast"))).json["batch_count"] == 0


async def test_a_forecast_in_the_recipients_own_zones_counts_each_zone(bulk: Bulk) -> None:
    await bulk.contacts(2, time_zone="America/New_York")
    await bulk.contacts(1)
    drip = {
        "batch_quantity": 5,
        "repeat_after": "1h",
        "process_between": ["09:00", "17:00"],
        "time_zone_mode": "contact",
    }
    schedule = {"mode": "drip", "time_zone": "Africa/Lagos", "drip": drip}
    shown = await bulk.create(schedule=schedule)
    await bulk.sweep()
    forecast = (await bulk.api.get(url(shown, "/forecast"))).json
    assert [(batch["at"], batch["quantity"]) for batch in forecast["batches"]] == [
        ("2026-06-01T08:00:00Z", 1),
        ("2026-06-01T13:00:00Z", 2),
    ]


async def test_a_list_that_is_still_being_taken_is_forecast_whole(bulk: Bulk) -> None:
    await bulk.contacts(5)
    shown = await bulk.create(
        recipients={"contacts": ["m-1", "m-2", "m-3", "m-4", "m-5"]},
        schedule={"mode": "drip", "drip": {"batch_quantity": 2, "repeat_after": "1h"}},
    )
    assert (await bulk.api.get(url(shown, "/forecast"))).json["batch_count"] == 3
    assert shown["batch"] == {"number": 0, "of": 3}


async def test_what_a_running_batch_still_takes_is_part_of_the_forecast(bulk: Bulk) -> None:
    await bulk.contacts(100)
    shown = await bulk.create()
    await bulk.put(shown["id"], "processing", [PENDING] * 100)
    await bulk.change("UPDATE action_counts SET unreleased = 0")
    await bulk.change(
        "INSERT INTO batches (action, number, round, planned_at, released_at, quantity, revision, untried, pending) "
        "VALUES (?, 1, 0, 0, 0, 100, 1, 100, 100)",
        parse_id(ACTION, shown["id"]),
    )
    forecast = (await bulk.api.get(url(shown, "/forecast"))).json
    assert (forecast["batch_count"], forecast["ends_at"]) == (
        0,
        "2026-06-01T08:00:01Z",
    )  # a second's worth goes at once


# Edits


async def patch(bulk: Bulk, action: Any, body: Any, **headers: str) -> Any:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await bulk.api.call("PATCH", url(action), json=body, headers=sent)


async def test_while_queued_label_schedule_and_message_can_be_edited(bulk: Bulk) -> None:
    await bulk.contacts(1)
    shown = await bulk.create(schedule={"mode": "drip", "drip": DRIP})
    body = {
        "label": "Better",
        "message": {"body": "Hello", "subject": None, "html": "<p>Hello</p>"},
        "schedule": {"drip": {"batch_quantity": 7, "process_between": None}},
    }
    reply = await patch(bulk, shown, body)
    assert (reply.status, reply.headers["ETag"], reply.json["revision"]) == (200, '"2"', 2)
    after = reply.json
    assert (after["label"], after["message"]["body"], after["message"]["subject"]) == ("Better", "Hello", None)
    assert after["schedule"]["drip"] == DRIP | {
        "batch_quantity": 7,
        "process_between": None,
        "time_zone_mode": "account",
    }
    assert "applies_from_batch" not in after


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"label": "News"},
        {"message": {"body": "Hi", "sender": "mail", "media": None}},
        {"message": {"sender": None}},
        {"schedule": {"drip": {"repeat_after": "60m", "send_on": ["tue", "mon"]}}},
        {"schedule": {"drip": {"time_zone_mode": None}}},
    ],
)
async def test_a_value_equal_to_the_present_one_is_no_edit(bulk: Bulk, body: Any) -> None:
    await bulk.contacts(1)
    shown = await bulk.create(label="News", schedule={"mode": "drip", "drip": DRIP})
    reply = await patch(bulk, shown, body)
    assert (reply.status, reply.json["revision"]) == (200, 1), reply.json
    await bulk.put(shown["id"], "completed")
    assert (await patch(bulk, shown, body)).status == 200


async def test_while_processing_only_the_batch_quantity_can_be_edited(bulk: Bulk) -> None:
    await bulk.contacts(1)
    shown = await bulk.create(schedule={"mode": "drip", "drip": DRIP})
    await bulk.put(shown["id"], "processing")
    for number in range(1, 4):
        await bulk.change(
            "INSERT INTO batches (action, number, round, planned_at, released_at, quantity, revision, untried) "
            "VALUES (?, ?, 0, 0, 0, 5, 1, 0)",
            parse_id(ACTION, shown["id"]),
            number,
        )
    reply = await patch(bulk, shown, {"schedule": {"drip": {"batch_quantity": 40}}})
    assert (reply.status, reply.json["applies_from_batch"], reply.json["revision"]) == (200, 4, 2)
    for body in (
        {"label": "Better"},
        {"message": {"body": "Hello"}},
        {"schedule": {"drip": {"repeat_after": "2h", "batch_quantity": 5}}},
        {"schedule": {"mode": "now", "drip": None}},
    ):
        refused = await patch(bulk, shown, body)
        assert (refused.status, refused.code) == (409, "only_batch_quantity_editable")
    await bulk.put(shown["id"], "paused", paused_from="processing")
    assert (await patch(bulk, shown, {"label": "Better"})).code == "only_batch_quantity_editable"
    assert (await bulk.api.get(url(shown))).json["schedule"]["drip"]["batch_quantity"] == 40


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("completed", "completed_not_editable"),
        ("partial", "completed_not_editable"),
        ("failed", "completed_not_editable"),
        ("cancelled", "completed_not_editable"),
        ("delegated", "nothing_left_to_send"),
    ],
)
async def test_what_has_ended_cannot_be_edited(bulk: Bulk, status: str, code: str) -> None:
    await bulk.contacts(1)
    shown = await bulk.create()
    await bulk.put(shown["id"], status)
    refused = await patch(bulk, shown, {"label": "Better"})
    assert (refused.status, refused.code) == (409, code)


async def test_recipients_and_operation_are_fixed(bulk: Bulk) -> None:
    await bulk.contacts(1)
    shown = await bulk.create()
    for body in ({"recipients": {"all": True}}, {"operation": "add_tags"}, {"parameters": {"x": 1}}):
        refused = await patch(bulk, shown, body)
        assert (refused.status, refused.code) == (409, "recipients_not_editable")


async def test_an_edit_is_refused_by_state_then_revision_then_content(bulk: Bulk) -> None:
    await bulk.contacts(1)
    shown = await bulk.create()
    bad = {"message": {"body": 7, "channel": "email"}, "nonsense": 1}
    assert (await patch(bulk, shown, bad, If_Match='"9"')).code == "revision_mismatch"
    invalid = await patch(bulk, shown, bad, If_Match='"1"')
    assert (invalid.status, invalid.pointers) == (422, ["/message/body", "/nonsense"])
    await bulk.put(shown["id"], "processing")
    assert (await patch(bulk, shown, bad, If_Match='"9"')).code == "only_batch_quantity_editable"
    assert (await bulk.api.get(url(shown))).json["revision"] == 1


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"message": {"body": "{{"}}, "invalid", "/message/body"),
        ({"message": {"channel": "sms", "sender": "sms-1"}}, "invalid", "/message/channel"),
        ({"message": {"sender": "post"}}, "unknown_sender", "/message/sender"),
        ({"message": None}, "invalid", "/message"),
        ({"schedule": {"drip": {"batch_quantity": 0}}}, "invalid", "/schedule/drip/batch_quantity"),
        ({"schedule": {"mode": "now"}}, "invalid", "/schedule/drip"),
        ({"schedule": {"drip": {"repeat_after": None}}}, "invalid", "/schedule/drip/repeat_after"),
        ({"labell": "x"}, "invalid", "/labell"),
    ],
)
async def test_an_edit_is_checked_like_a_creation(bulk: Bulk, body: Any, code: str, pointer: str) -> None:
    await bulk.contacts(1)
    shown = await bulk.create(schedule={"mode": "drip", "drip": DRIP})
    refused = await patch(bulk, shown, body)
    assert (refused.status, refused.code) == (422, code), refused.json
    assert pointer in refused.pointers
    assert (await bulk.api.get(url(shown))).json == shown


async def test_of_two_edits_at_once_both_are_kept_and_if_match_lets_only_one_through(bulk: Bulk) -> None:
    await bulk.contacts(1)
    shown = await bulk.create(schedule={"mode": "drip", "drip": DRIP})
    await asyncio.gather(
        patch(bulk, shown, {"label": "Better"}),
        patch(bulk, shown, {"message": {"body": "Hello"}}),
        patch(bulk, shown, {"schedule": {"drip": {"batch_quantity": 3}}}),
    )
    after = (await bulk.api.get(url(shown))).json
    assert (after["revision"], after["label"], after["message"]["body"]) == (4, "Better", "Hello")
    assert after["schedule"]["drip"]["batch_quantity"] == 3
    replies = await asyncio.gather(*(patch(bulk, shown, {"label": f"Nr {n}"}, If_Match='"4"') for n in range(3)))
    assert sorted(reply.status for reply in replies) == [200, 412, 412]


async def test_an_edit_to_a_past_start_warns_and_a_later_one_takes_the_warning_back(bulk: Bulk) -> None:
    await bulk.contacts(1)
    shown = await bulk.create(schedule={"mode": "at", "start_at": "2026-12-01T09:00:00Z"})
    past = await patch(bulk, shown, {"schedule": {"start_at": "2026-01-01T09:00:00Z"}})
    assert [warning["code"] for warning in past.json["warnings"]] == ["start_in_past"]
    later = await patch(bulk, shown, {"schedule": {"start_at": "2026-12-02T09:00:00Z"}})
    assert later.json["warnings"] == []


async def test_an_edit_before_the_start_has_the_unreachable_sought_anew(bulk: Bulk) -> None:
    await bulk.contacts(1)
    shown = await bulk.create(schedule={"mode": "drip", "drip": DRIP})
    await bulk.change("UPDATE bulk_actions SET settled = 1")
    edit = {"schedule": {"drip": {"time_zone_mode": "contact"}}, "requested_by": "user:7"}
    assert (await patch(bulk, shown, edit)).json["requested_by"] == "user:7"
    assert await bulk.sql("SELECT settled FROM bulk_actions") == [(0,)]
    await bulk.put(shown["id"], "processing", settled=1)
    await patch(bulk, shown, {"schedule": {"drip": {"batch_quantity": 9}}})
    assert await bulk.sql("SELECT settled FROM bulk_actions") == [(1,)]


# Stopping, starting, once more


async def test_a_cancel_says_how_many_it_stopped(bulk: Bulk) -> None:
    await bulk.contacts(4)
    shown = await bulk.create()
    await bulk.put(shown["id"], "processing", [SUCCEEDED, RecipientState.HANDED_OVER, PENDING, PENDING])
    reply = await bulk.api.post(url(shown, "/cancel"))
    assert (reply.status, reply.json["status"], reply.json["allowed"]) == (200, "cancelled", ["retry"])
    assert (reply.json["cancelled"], reply.json["in_flight"], reply.json["already_sent"]) == (2, 0, 2)
    again = await bulk.api.post(url(shown, "/cancel"))
    assert (again.status, again.code) == (409, "not_cancellable")


async def test_pause_and_resume(bulk: Bulk) -> None:
    await bulk.contacts(1)
    shown = await bulk.create()
    paused = (await bulk.api.post(url(shown, "/pause"))).json
    assert (paused["status"], paused["paused_from"], paused["pause_reason"]) == ("paused", "queued", "operator")
    assert paused["allowed"] == ["edit", "resume", "cancel"]
    assert (await bulk.api.post(url(shown, "/pause"))).code == "not_pausable"
    assert (await bulk.api.post(url(shown, "/resume"))).json["status"] == "queued"
    assert (await bulk.api.post(url(shown, "/resume"))).code == "not_resumable"


async def test_a_retry_takes_states_names_or_both_and_maybe_a_schedule(bulk: Bulk) -> None:
    await bulk.contacts(3)
    shown = await bulk.create()
    assert (await bulk.api.post(url(shown, "/retry"), {"states": ["failed"]})).code == "nothing_to_retry"
    await bulk.put(shown["id"], "partial", [FAILED, SKIPPED, SUCCEEDED])
    assert (await bulk.api.post(url(shown, "/retry"), {})).status == 422
    assert (await bulk.api.post(url(shown, "/retry"), {"states": ["unknown"]})).code == "nothing_to_retry"
    assert (await bulk.api.post(url(shown, "/retry"), {"states": ["pending"]})).pointers == ["/states/0"]
    wrong = await bulk.api.post(url(shown, "/retry"), {"states": ["failed"], "recipients": ["m-1", "m-2", "m-3"]})
    assert wrong.pointers == ["/recipients/1", "/recipients/2"]
    late = await bulk.api.post(url(shown, "/retry"), {"recipients": ["m-1"], "schedule": {"mode": "at"}})
    assert late.pointers == ["/schedule/start_at"]
    schedule = {"mode": "at", "start_at": "2026-07-01T08:00:00Z"}
    reply = await bulk.api.post(url(shown, "/retry"), {"recipients": ["m-1"], "schedule": schedule})
    assert (reply.status, reply.json["status"], reply.json["round"]) == (200, "processing", 1)
    assert reply.json["schedule"]["start_at"] == "2026-07-01T08:00:00Z"
    assert (reply.json["counts"]["pending"], reply.json["counts"]["failed"]) == (1, 0)
    await bulk.assert_books_balance()


async def test_a_retry_repeated_after_a_crash_starts_no_further_round(bulk: Bulk) -> None:
    await bulk.contacts(1)
    shown = await bulk.create()
    await bulk.put(shown["id"], "failed", [FAILED])
    key = {"Idempotency-Key": "once-more"}
    first = await bulk.api.post(url(shown, "/retry"), {"states": ["failed"]}, headers=key)
    assert (first.status, first.json["round"]) == (200, 1)
    # As after a kill between the commit and the answer: the key names what was started, its answer is not kept.
    await bulk.database.write(lambda conn: conn.execute("UPDATE idempotency SET status = NULL, body = NULL"))
    again = await bulk.api.post(url(shown, "/retry"), {"states": ["failed"]}, headers=key)
    assert (again.status, again.json["round"], again.headers["Idempotency-Replayed"]) == (200, 1, "true")


async def test_unknown_recipients_are_resolved_by_name_or_all(bulk: Bulk) -> None:
    await bulk.contacts(3)
    shown = await bulk.create()
    none = await bulk.api.post(url(shown, "/resolve"), {"recipients": "all", "as": "sent"})
    assert (none.status, none.code) == (409, "nothing_to_resolve")
    await bulk.put(shown["id"], "partial", [UNKNOWN, UNKNOWN, UNKNOWN])
    assert "resolve" in (await bulk.api.get(url(shown))).json["allowed"]
    one = await bulk.api.post(url(shown, "/resolve"), {"recipients": ["m-2"], "as": "failed"})
    assert (one.json["resolved"], one.json["failed_count"]) == (1, 1)
    rest = await bulk.api.post(url(shown, "/resolve"), {"recipients": "all", "as": "sent"})
    assert (rest.json["resolved"], rest.json["success_count"]) == (2, 2)
    assert "resolve" not in rest.json["allowed"]
    await bulk.assert_books_balance()


# Who may


async def test_sending_needs_the_permission_to_send_and_operations_on_contacts_do_not(bulk: Bulk) -> None:
    await bulk.contacts(1)
    editor = await bulk.api.key("members.edit")
    reader = await bulk.api.key("messaging.read")
    tags = request(operation="add_tags", message=None, parameters={"tags": ["x"]})
    assert (await bulk.api.post("/v1/bulk-actions", tags, token=editor)).status == 201
    for path in ("/v1/bulk-actions", "/v1/bulk-actions/preview"):
        refused = await bulk.api.post(path, request(), token=editor)
        assert (refused.status, refused.json["missing"]) == (403, ["messaging.send"])
        assert (await bulk.api.post(path, tags, token=reader)).status == 403
    shown = await bulk.create()
    for tail in ("/cancel", "/pause", "/resume"):
        assert (await bulk.api.post(url(shown, tail), token=editor)).status == 403
    assert (await bulk.api.post(url(shown, "/retry"), {"states": ["failed"]}, token=editor)).status == 403
    assert (
        await bulk.api.post(url(shown, "/resolve"), {"recipients": "all", "as": "sent"}, token=editor)
    ).status == 403
    assert (await bulk.api.call("PATCH", url(shown), json={"label": "x"}, token=editor)).status == 403
    assert (await bulk.api.get(url(shown), token=editor)).status == 403
    assert (await bulk.api.get(url(shown), token=reader)).status == 200


async def test_another_orgs_actions_are_not_found(bulk: Bulk) -> None:
    await bulk.contacts(1)
    shown = await bulk.create()
    rights = ("members.edit", "messaging.send", "messaging.read")
    stranger = await bulk.api.key(*rights, org=OrgId(OTHER.id))
    for tail in ("", "/recipients", "/batches", "/forecast", "/stats"):
        assert (await bulk.api.get(url(shown, tail), token=stranger)).status == 404
    for tail in ("/cancel", "/pause", "/resume"):
        assert (await bulk.api.post(url(shown, tail), token=stranger)).status == 404
    assert (await bulk.api.post(url(shown, "/retry"), {"states": ["failed"]}, token=stranger)).status == 404
    assert (
        await bulk.api.post(url(shown, "/resolve"), {"recipients": "all", "as": "sent"}, token=stranger)
    ).status == 404
    assert (await bulk.api.call("PATCH", url(shown), json={"label": "x"}, token=stranger)).status == 404
    sent = request(recipients={"bulk_action": shown["id"], "states": ["failed"]})
    assert (await bulk.api.post("/v1/bulk-actions", sent, token=stranger)).pointers == ["/recipients/bulk_action"]
    assert (await bulk.api.post("/v1/bulk-actions", request(), token=stranger)).code == "no_recipients"
    assert (await bulk.api.get("/v1/bulk-actions", token=stranger)).json["items"] == []
    for id in (NOBODY, "nonsense"):
        assert (await bulk.api.get(f"/v1/bulk-actions/{id}")).code == "not_found"


def test_the_names_of_states_on_the_wire_are_those_of_the_tables() -> None:
    assert set(get_args(bulk_wire.Status)) == {status.value for status in ActionStatus}
    assert set(get_args(bulk_wire.State)) == {state.label for state in RecipientState}
