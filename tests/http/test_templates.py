"""`/v1/templates`: the org's own, from draft to use, beside those that providers keep."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from gateway.contract import ProviderTemplate
from gateway.core.ids import IdSequence
from gateway.http.template_wire import MessageTemplateWithVersions
from gateway.store import message_templates
from gateway.store.database import Database
from gateway.store.events import EventStore
from gateway.store.keys import PERMISSIONS, KeyStore
from gateway.testing.clock import FakeClock
from tests.http.conftest import DEFAULT, OTHER, Reply, StartApi
from tests.http.templating import REMINDER, Templates, build_templates


@pytest.fixture
async def desk(start_api: StartApi, database: Database, clock: FakeClock, ids: IdSequence, keys: KeyStore) -> Templates:
    built = await build_templates(database, clock, ids)
    built.api = await start_api(built.routes, within=built.catalogue)
    return built


async def test_a_new_template_is_a_draft_with_its_variables_and_segments(desk: Templates) -> None:
    body = {
        "channel": "sms",
        "name": "welcome",
        "body": "Hi {{ first_name }}, see you {{ day | default('soon') }}.",
        "category": "news",
        "language": "en",
        "description": "To the new ones",
        "requested_by": "user:42",
    }
    reply = await desk.api.post("/v1/templates", body)
    assert reply.status == 201
    made = msgspec.json.decode(reply.raw, type=MessageTemplateWithVersions)
    assert reply.headers["Location"] == f"/v1/templates/{made.id}"
    assert reply.headers["ETag"] == '"1"'
    assert (made.status, made.version, made.latest_version, made.latest_status) == ("draft", None, 1, "draft")
    assert (made.category, made.language, made.description, made.requested_by) == (
        "news",
        "en",
        "To the new ones",
        "user:42",
    )
    assert {one.name: one.required for one in made.variables} == {"first_name": True, "day": False}
    assert (made.segments, made.warnings) == (1, [])
    assert [(one.version, one.status, one.in_use) for one in made.versions] == [(1, "draft", False)]
    assert reply.json["kind"] == "own"
    assert (await desk.api.get(f"/v1/templates/{made.id}")).json == reply.json


async def test_a_repeated_creation_makes_one_template(desk: Templates, database: Database) -> None:
    headers, body = {"Idempotency-Key": "k"}, {"channel": "sms", "name": "welcome", "body": "Hi"}
    first = await desk.api.post("/v1/templates", body, headers=headers)
    again = await desk.api.post("/v1/templates", body, headers=headers)
    assert (again.status, again.raw, again.headers["Idempotency-Replayed"]) == (201, first.raw, "true")
    await database.write(lambda conn: conn.execute("UPDATE idempotency SET status = NULL, headers = NULL, body = NULL"))
    after_crash = await desk.api.post("/v1/templates", body, headers=headers)
    assert (after_crash.status, after_crash.json["id"]) == (201, first.json["id"])
    assert await desk.listed("?kind=own") == ["welcome"]


@pytest.mark.parametrize(
    ("changes", "code", "pointers"),
    [
        ({"channel": "pigeon"}, "unknown_channel", None),
        ({"name": ""}, "invalid", ["/name"]),
        ({"name": " welcome"}, "invalid", ["/name"]),
        ({"name": "two\nlines"}, "invalid", ["/name"]),
        ({"language": "not a language"}, "invalid", ["/language"]),
        ({"body": None}, "invalid", ["/body"]),
        ({"body": "  "}, "invalid", ["/body"]),
        ({"body": "{{ unclosed"}, "invalid", ["/body"]),
        ({"body": "x" * 2_000}, "too_long", ["/body"]),
        ({"body": "{% for n in range(201) %}x{% endfor %}"}, "invalid", ["/body"]),
        ({"subject": "News"}, "invalid", ["/subject"]),
        ({"parameters": {"1": "ten"}}, "invalid", ["/parameters"]),
        ({"provider_template": "reminder"}, "invalid", ["/provider_template", "/provider_template"]),
        ({"channel": "chat", "body": None, "provider_template": "gone"}, "invalid", ["/provider_template"]),
        ({"channel": "chat", "body": None, "provider_template": "reminder"}, "invalid", ["/parameters"]),
        ({"category": "all"}, "invalid", ["/category"]),
        ({"channel": "chat", "media": ["ftp://example.org/x"]}, "invalid", ["/media/0"]),
        ({"wrong": 1}, "invalid", ["/wrong"]),
        (
            {"channel": "email", "name": "a ", "subject": "a\nb", "body": "{{ a", "html": "{% b", "category": "ä"},
            "invalid",
            ["/name", "/subject", "/category", "/body", "/html"],
        ),
    ],
)
async def test_what_could_not_be_sent_is_refused_all_at_once(
    desk: Templates, changes: dict[str, Any], code: str, pointers: list[str] | None
) -> None:
    refused = await desk.make(expect=422, **changes)
    assert refused["code"] == code
    if pointers is not None:
        assert [one["pointer"] for one in refused["errors"]] == pointers
    assert await desk.listed("?kind=own") == []


async def test_a_name_that_looks_like_an_id_is_refused(desk: Templates) -> None:
    made = await desk.make()
    refused = await desk.make(expect=422, name=made["id"])
    assert [one["pointer"] for one in refused["errors"]] == ["/name"]
    assert (await desk.edit(made, {"name": made["id"]})).pointers == ["/name"]


async def test_a_name_is_taken_once_on_a_channel_also_by_the_provider(desk: Templates) -> None:
    made = await desk.make()
    await desk.make(channel="email")
    assert (await desk.make(expect=409))["code"] == "name_taken"
    refused = await desk.make(expect=409, channel="chat", name="reminder")
    assert (refused["code"], "'chat'" in refused["detail"]) == ("name_taken", True)
    other = await desk.make(name="hello")
    assert (await desk.edit(other, {"name": "welcome"})).code == "name_taken"
    chat = await desk.make(channel="chat", name="mine")
    assert (await desk.edit(chat, {"name": "reminder"})).code == "name_taken"
    assert (await desk.api.call("DELETE", f"/v1/templates/{made['id']}")).status == 204
    assert (await desk.edit(other, {"name": "welcome"})).status == 200


async def test_a_name_that_a_provider_took_later_does_not_stop_edits(desk: Templates) -> None:
    made = await desk.approved(channel="chat", name="later")
    desk.chat.kept = (REMINDER, replace_name(REMINDER, "later"))
    await desk.api.post("/v1/templates/sync")
    assert (await desk.edit(made, {"body": "Two"})).status == 200


async def test_there_are_so_many_templates_and_no_more(desk: Templates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_templates, "TEMPLATES_MAX", 1)
    await desk.make()
    assert (await desk.make(expect=409, name="second"))["code"] == "too_many_templates"


async def test_odd_texts_are_warned_of(desk: Templates) -> None:
    plain = await desk.make(name="plain", body="x" * 400)
    assert [(one["code"]) for one in plain["warnings"]] == []
    long = await desk.make(name="long", body="x" * 500)
    assert ([one["code"] for one in long["warnings"]], long["segments"]) == (["many_segments"], 4)
    strange = await desk.make(name="strange", body="Hi {{ first_name }} ✨")
    (warning,) = strange["warnings"]
    assert warning["code"] == "not_gsm7"
    assert "'✨'" in warning["detail"]
    mail = await desk.make(channel="email", body="Hi", subject="News")
    assert (mail["segments"], mail["warnings"]) == (None, [])


async def test_another_content_is_a_new_draft_and_another_name_is_not(desk: Templates) -> None:
    made = await desk.approved(description="Old")
    reply = await desk.edit(made, {"body": "Hello {{ first_name }}"})
    assert (reply.status, reply.headers["ETag"]) == (200, '"2"')
    assert (reply.json["status"], reply.json["version"]) == ("approved", 1)
    assert (reply.json["latest_version"], reply.json["latest_status"]) == (2, "draft")
    assert reply.json["body"] == "Hello {{ first_name }}"
    renamed = (await desk.edit(made, {"name": "hello", "description": None, "requested_by": "user:7"})).json
    assert (renamed["name"], renamed["description"], renamed["latest_version"]) == ("hello", None, 2)
    assert (renamed["revision"], renamed["requested_by"]) == (3, "user:7")


async def test_an_edit_that_changes_nothing_is_none(desk: Templates, clock: FakeClock) -> None:
    made = await desk.make()
    clock.advance(timedelta(minutes=1))
    same = await desk.edit(made, {"body": made["body"], "name": made["name"]})
    assert (same.status, same.json) == (200, made)


async def test_a_merge_patch_takes_away_and_merges(desk: Templates) -> None:
    made = await desk.make(
        channel="chat", body=None, provider_template="reminder", parameters={"1": "ten", "first_name": "you"}
    )
    edited = (await desk.edit(made, {"parameters": {"1": "noon", "first_name": None}, "language": "en"})).json
    assert (edited["parameters"], edited["language"]) == ({"1": "noon"}, "en")
    refused = await desk.edit(made, {"provider_template": None})
    assert (refused.status, refused.pointers) == (422, ["/body"])
    text = (await desk.edit(made, {"provider_template": None, "parameters": None, "body": "Hi"})).json
    assert (text["provider_template"], text["parameters"], text["body"]) == (None, {}, "Hi")


@pytest.mark.parametrize(
    ("patch", "pointers"),
    [
        ({"name": None}, ["/name"]),
        ({"channel": "email"}, ["/channel"]),
        ({"body": "{{ a", "name": "a "}, ["/name", "/body"]),
        ({"name": "a\tb"}, ["/name"]),
    ],
)
async def test_an_edit_that_is_wrong_changes_nothing(desk: Templates, patch: Any, pointers: list[str]) -> None:
    made = await desk.make()
    reply = await desk.edit(made, patch)
    assert (reply.status, reply.pointers) == (422, pointers)
    assert (await desk.api.get(f"/v1/templates/{made['id']}")).json == made


async def test_if_match_guards_edits_and_decisions(desk: Templates) -> None:
    made = await desk.make()
    await desk.edit(made, {"body": "Two"}, headers={"If-Match": '"1"'})
    for reply in (
        await desk.edit(made, {"body": "Three"}, headers={"If-Match": '"1"'}),
        await desk.decide(made, "approve", headers={"If-Match": '"1"'}),
    ):
        assert (reply.status, reply.code, reply.json["revision"]) == (412, "revision_mismatch", 2)
    assert (await desk.decide(made, "approve", headers={"If-Match": '"2"'})).json["version"] == 2


async def test_edits_at_the_same_moment_are_all_kept(desk: Templates) -> None:
    made = await desk.make()
    replies = await asyncio.gather(
        desk.edit(made, {"description": "Mine"}),
        desk.edit(made, {"body": "Yours"}),
        desk.edit(made, {"category": "news"}),
    )
    assert [one.status for one in replies] == [200, 200, 200]
    shown = (await desk.api.get(f"/v1/templates/{made['id']}")).json
    assert (shown["description"], shown["body"], shown["category"]) == ("Mine", "Yours", "news")
    assert (shown["revision"], shown["latest_version"]) == (4, 3)


async def test_fifty_versions_are_kept_and_the_one_in_use_among_them(
    desk: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_templates, "VERSIONS_MAX", 3)
    made = await desk.approved()
    for number in range(2, 6):
        made = (await desk.edit(made, {"body": f"Version {number}"})).json
    assert [one["version"] for one in made["versions"]] == [5, 4, 1]
    assert (await desk.decide(made, "approve", {"version": 2})).status == 404
    page = (await desk.api.get(f"/v1/templates/{made['id']}/versions?limit=2")).json
    assert [(one["version"], one["body"]) for one in page["items"]] == [(5, "Version 5"), (4, "Version 4")]
    rest = (await desk.api.get(f"/v1/templates/{made['id']}/versions?limit=2&cursor={page['next_cursor']}")).json
    assert [(one["version"], one["in_use"]) for one in rest["items"]] == [(1, True)]
    assert rest["next_cursor"] is None


async def test_a_deleted_template_is_shown_and_nothing_else(desk: Templates) -> None:
    made = await desk.approved()
    path = f"/v1/templates/{made['id']}"
    assert (await desk.api.call("DELETE", path)).status == 204
    shown = await desk.api.get(path)
    assert (shown.status, shown.json["deleted_at"]) == (200, "2026-06-01T08:00:00Z")
    assert (await desk.api.get(f"{path}/versions")).status == 200
    assert await desk.listed("?kind=own") == []
    for reply in (
        await desk.api.call("DELETE", path),
        await desk.edit(made, {"body": "Two"}),
        await desk.decide(made, "approve"),
        await desk.decide(made, "render"),
        await desk.decide(made, "test", {"to": "+14155550101"}),
    ):
        assert (reply.status, reply.code) == (404, "not_found")
    message = await send(desk, template=made["id"])
    assert (message.status, message.pointers) == (422, ["/template"])


async def test_a_version_is_submitted_rejected_approved_and_paused_and_every_step_is_told(
    desk: Templates, database: Database
) -> None:
    made = await desk.make()
    assert (await desk.decide(made, "submit")).json["status"] == "pending"
    rejected = (await desk.decide(made, "reject", {"reason": "Too loud"})).json
    assert (rejected["status"], rejected["reason"]) == ("rejected", "Too loud")
    approved = (await desk.decide(made, "approve")).json
    assert (approved["status"], approved["reason"], approved["version"]) == ("approved", None, 1)
    assert (await desk.decide(made, "approve")).status == 200
    paused = (await desk.decide(made, "pause", {"reason": "Wait"})).json
    assert (paused["status"], paused["reason"], paused["revision"]) == ("paused", "Wait", 1)
    told = (await EventStore(database).after(DEFAULT.id, 0, (), 10)).events
    assert [(one.type, one.data["template_id"], one.data["status"], one.data["version"]) for one in told] == [
        ("template.status_changed", made["id"], status, 1) for status in ("pending", "rejected", "approved", "paused")
    ]
    assert (await EventStore(database).after(OTHER.id, 0, (), 10)).events == ()


@pytest.mark.parametrize(
    ("before", "what", "body"),
    [
        ([], "pause", None),
        (["approve"], "submit", None),
        (["approve"], "reject", {"reason": "no"}),
        (["approve", "pause"], "submit", None),
    ],
)
async def test_what_does_not_apply_to_a_version_is_refused(
    desk: Templates, before: list[str], what: str, body: Any
) -> None:
    made = await desk.make()
    for step in before:
        await desk.decide(made, step)
    reply = await desk.decide(made, what, body)
    assert (reply.status, reply.code, reply.json["version"]) == (409, "not_reviewable", 1)


async def test_a_rejection_has_a_reason_and_a_version_exists(desk: Templates) -> None:
    made = await desk.make()
    assert (await desk.decide(made, "reject", {})).pointers == ["/reason"]
    assert (await desk.decide(made, "approve", {"version": 2})).status == 404
    assert (await desk.decide(made, "approve", {"version": 0})).pointers == ["/version"]
    assert (await desk.decide({"id": "tpl_x"}, "approve")).status == 404


async def test_an_earlier_version_can_be_used_again(desk: Templates) -> None:
    made = await desk.approved(body="One")
    await desk.edit(made, {"body": "Two"})
    assert (await desk.decide(made, "approve")).json["version"] == 2
    back = (await desk.decide(made, "approve", {"version": 1})).json
    assert (back["version"], back["latest_version"], back["body"]) == (1, 2, "Two")
    assert [(one["version"], one["in_use"]) for one in back["versions"]] == [(2, False), (1, True)]
    assert (await desk.decide(made, "pause", {"version": 2})).code == "not_reviewable"
    assert (await desk.decide(made, "pause")).json["status"] == "paused"


async def test_what_is_approved_is_checked_once_more(desk: Templates) -> None:
    made = await desk.make(channel="chat", body=None, provider_template="reminder", parameters={"1": "ten"})
    desk.chat.kept = (replace_status(REMINDER, "paused"),)
    await desk.api.post("/v1/templates/sync")
    reply = await desk.decide(made, "approve")
    assert (reply.status, reply.code, reply.pointers) == (422, "template_not_approved", ["/provider_template"])
    desk.chat.kept = (REMINDER,)
    await desk.api.post("/v1/templates/sync")
    assert (await desk.decide(made, "approve")).json["status"] == "approved"


async def test_a_template_may_stand_for_one_of_whichever_sender_keeps_it(desk: Templates) -> None:
    desk.second_chat.kept = (replace_name(REMINDER, "second"),)
    await desk.api.post("/v1/templates/sync", {"channel": "chat"})
    made = await desk.approved(
        channel="chat", body=None, provider_template="second", parameters={"1": "{{ time }}", "first_name": "you"}
    )
    shown = (await desk.decide(made, "render", {"variables": {"time": "ten"}})).json
    assert (shown["sender"], shown["text"]) == ("chat-2", "Hi you, at ten.")


async def test_lists_hold_the_orgs_own_and_the_providers(desk: Templates) -> None:
    await desk.make(name="a", language="en")
    await desk.approved(name="b", channel="email", subject="News", language="de")
    desk.chat.kept = (REMINDER, replace_name(REMINDER, "newer"))
    await desk.api.post("/v1/templates/sync")
    await desk.make(name="c", channel="chat")
    assert await desk.listed() == ["reminder", "a", "b", "newer", "c"]
    assert await desk.listed("?kind=own") == ["a", "b", "c"]
    assert await desk.listed("?kind=provider") == ["reminder", "newer"]
    assert await desk.listed("?channel=chat") == ["reminder", "newer", "c"]
    assert await desk.listed("?sender=chat") == ["reminder", "newer"]
    assert await desk.listed("?sender=chat-2") == []
    assert await desk.listed("?sender=nobody") == []
    assert await desk.listed("?sender=other-mail") == []
    assert await desk.listed("?status=draft&status=paused") == ["a", "c"]
    assert await desk.listed("?status=approved") == ["reminder", "b", "newer"]
    assert await desk.listed("?language=de") == ["b"]
    assert (await desk.api.get("/v1/templates?status=lost")).status == 422
    other = await desk.api.key(*PERMISSIONS, org=OTHER.id)
    assert (await desk.api.get("/v1/templates", token=other)).json["items"] == []


async def test_a_list_goes_on_where_a_page_ends_whatever_the_kinds(desk: Templates) -> None:
    for name in ("a", "b", "c"):
        await desk.make(name=name)
        desk.chat.kept = (*desk.chat.kept, replace_name(REMINDER, f"of-{name}"))
        await desk.api.post("/v1/templates/sync")
    names, cursor = [], ""
    for _ in range(10):
        page = (await desk.api.get(f"/v1/templates?limit=2{cursor}")).json
        names += [one["name"] for one in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert names == ["reminder", "a", "of-a", "b", "of-b", "c", "of-c"]
    assert (await desk.api.get("/v1/templates?cursor=nonsense")).status == 422


async def test_a_language_finds_what_the_list_shows(desk: Templates) -> None:
    made = await desk.approved(language="en")
    await desk.edit(made, {"language": "de"})
    assert (await desk.listed("?language=en&kind=own"), await desk.listed("?language=de")) == ([], ["welcome"])


async def test_a_providers_template_is_shown_and_cannot_be_changed(desk: Templates) -> None:
    (kept,) = (await desk.api.get("/v1/templates?kind=provider")).json["items"]
    shown = (await desk.api.get(f"/v1/templates/{kept['id']}")).json
    assert shown == kept
    assert (shown["kind"], shown["sender"], shown["parameters"]) == ("provider", "chat", ["first_name", "1"])
    for reply in (
        await desk.edit(kept, {"name": "mine"}),
        await desk.decide(kept, "approve"),
        await desk.api.call("DELETE", f"/v1/templates/{kept['id']}"),
        await desk.api.get(f"/v1/templates/{kept['id']}/versions"),
    ):
        assert (reply.status, reply.code) == (404, "not_found")


async def test_a_provider_that_does_not_answer_is_told_and_takes_nothing_away(desk: Templates) -> None:
    desk.chat.problem = "no route"
    reply = await desk.api.post("/v1/templates/sync")
    assert {one["sender"]: one["problem"] for one in reply.json["senders"]} == {
        "chat": "OSError: no route",
        "chat-2": None,
    }
    assert await desk.listed() == ["reminder"]
    assert (await desk.api.post("/v1/templates/sync", {"channel": "sms"})).json == {"senders": []}


async def test_a_rendering_shows_what_a_contact_would_get(desk: Templates) -> None:
    made = await desk.make(
        channel="email", subject="For {{ first_name }}", body=None, html="<p>Hi {{ first_name }}</p>"
    )
    shown = (await desk.decide(made, "render", {"contact": "m-1"})).json
    assert shown == {
        "version": 1,
        "sender": "mail",
        "subject": "For Ann",
        "text": "Hi Ann",
        "html": "<p>Hi Ann</p>",
        "media": [],
        "segments": None,
        "missing": [],
        "problem": None,
    }
    over = (await desk.decide(made, "render", {"contact": "m-1", "variables": {"first_name": "<b>"}})).json
    assert (over["text"], over["html"]) == ("Hi <b>", "<p>Hi &lt;b&gt;</p>")


async def test_a_rendering_names_what_is_missing_and_what_stands_against_it(desk: Templates) -> None:
    made = await desk.make(body="Hi {{ first_name }}, {{ text }}{{ more | default('') }}")
    bare = (await desk.decide(made, "render")).json
    assert (bare["text"], bare["missing"]) == ("Hi {{ first_name }}, {{ text }}", ["first_name", "text"])
    nameless = (await desk.decide(made, "render", {"contact": "m-2", "variables": {"text": "x", "more": None}})).json
    assert (nameless["text"], nameless["missing"]) == ("Hi {{ first_name }}, x", ["first_name"])
    long = (await desk.decide(made, "render", {"variables": {"first_name": "Ann", "text": "x" * 2_000}})).json
    assert (long["problem"], long["segments"]) == ("That is more than ten segments.", 14)
    huge = (await desk.decide(made, "render", {"variables": {"first_name": "Ann", "text": "x" * 5_000}})).json
    assert (huge["text"], huge["missing"]) == (None, [])
    assert huge["problem"]


async def test_a_list_that_is_missing_is_a_problem_and_no_crash(desk: Templates) -> None:
    made = await desk.make(body="{% for day in days %}{{ day }} {% endfor %}")
    assert (await desk.decide(made, "render", {"variables": {"days": ["Mon", "Tue"]}})).json["text"] == "Mon Tue "
    bare = (await desk.decide(made, "render")).json
    assert bare["missing"] == ["days"]
    deep = await desk.make(name="deep", body="{{ seat.row }}")
    assert [one["code"] for one in deep["warnings"]] == ["not_tried"]
    bare = (await desk.decide(deep, "render")).json
    assert (bare["text"], bare["missing"]) == (None, ["seat"])
    assert (await desk.decide(deep, "render", {"variables": {"seat": {"row": 4}}})).json["text"] == "4"


@pytest.mark.parametrize(
    ("body", "values"),
    [
        ("{% for a in x %}{% for b in x %}{% for c in x %}{{ c }}{% endfor %}{% endfor %}{% endfor %}", ["y"] * 200),
        ("{{ x }}", {"deep": {"er": [1] * 30_000}}),
        ("{{ x }}", "y" * 4_097),
    ],
)
async def test_what_would_run_or_grow_without_end_is_a_problem_and_no_text(
    desk: Templates, body: str, values: Any
) -> None:
    shown = (await desk.decide(await desk.make(body=body), "render", {"variables": {"x": values}})).json
    assert shown["problem"]
    assert (shown["text"], shown["missing"]) == (None, [])


@pytest.mark.parametrize(
    "body",
    [
        "{% for i in range(200) %}" * 3 + "x" + "{% endfor %}" * 3,
        "{% for a in x %}{{ a | sort | join(a) }}{% endfor %}",
        "{{ 'x' * 1000000000 }}",
        "{{ x.__class__ }}",
        "{% include '/etc/passwd' %}",
        "{{ " + "(" * 400 + "1" + ")" * 400 + " }}",
        "{{ x }}" * 501,
        "".join(f"{{{{ v{n} }}}}" for n in range(101)),
        "x" * 65_537,
    ],
)
async def test_a_text_that_reaches_beyond_a_message_is_not_kept(desk: Templates, body: str) -> None:
    assert [one["pointer"] for one in (await desk.make(expect=422, body=body))["errors"]] == ["/body"]


async def test_any_version_can_be_looked_at_the_newest_if_none_is_named(desk: Templates) -> None:
    made = await desk.approved(body="One")
    await desk.edit(made, {"body": "Two"})
    assert (await desk.decide(made, "render")).json["text"] == "Two"
    assert (await desk.decide(made, "render", {"version": 1})).json["text"] == "One"
    assert (await desk.decide(made, "render", {"version": 3})).status == 404


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"contact": "nobody"}, 404, "not_found"),
        ({"sender": "nobody"}, 422, "unknown_sender"),
        ({"parameters": {"1": "x"}}, 422, "invalid"),
        ({"contact": ""}, 422, "invalid"),
        ({"to": "x"}, 422, "invalid"),
    ],
)
async def test_a_rendering_that_cannot_be_made_is_refused(desk: Templates, body: Any, status: int, code: str) -> None:
    reply = await desk.decide(await desk.make(), "render", body)
    assert (reply.status, reply.code) == (status, code)


async def test_a_providers_template_can_be_looked_at_and_tried(desk: Templates) -> None:
    (kept,) = (await desk.api.get("/v1/templates?kind=provider")).json["items"]
    assert (await desk.decide(kept, "render")).pointers == ["/parameters"]
    order = {"contact": "m-1", "parameters": {"1": "{{ time }}"}, "variables": {"time": "ten"}}
    shown = (await desk.decide(kept, "render", order)).json
    assert (shown["text"], shown["version"], shown["sender"]) == ("Hi Ann, at ten.", None, "chat")
    assert (await desk.decide(kept, "render", order | {"version": 1})).pointers == ["/version"]
    assert (await desk.decide(kept, "render", order | {"sender": "chat-2"})).pointers == ["/template"]
    sent = await desk.decide(kept, "test", order)
    assert (sent.status, sent.json["template"], sent.json["template_version"]) == (202, "reminder", None)


async def test_who_may_not_read_contacts_renders_with_given_values_alone(desk: Templates) -> None:
    made = await desk.make()
    reader = await desk.api.key("messaging.read")
    given = {"variables": {"first_name": "Ann"}}
    assert (await desk.decide(made, "render", given, token=reader)).json["text"] == "Hi Ann"
    reply = await desk.decide(made, "render", {"contact": "m-1"}, token=reader)
    assert (reply.status, reply.json["missing"]) == (403, ["members.read"])


async def test_a_test_sends_one_message_of_a_draft(desk: Templates) -> None:
    made = await desk.make()
    order = {"to": "+14155550199", "variables": {"first_name": "Grace"}, "requested_by": "user:42"}
    first = await desk.decide(made, "test", order, headers={"Idempotency-Key": "k"})
    message = first.json
    assert (first.status, first.headers["Location"]) == (202, f"/v1/messages/{message['id']}")
    assert (message["text"], message["source"], message["requested_by"]) == ("Hi Grace", "test", "user:42")
    assert (message["template"], message["template_id"], message["template_version"]) == ("welcome", made["id"], 1)
    again = await desk.decide(made, "test", order, headers={"Idempotency-Key": "k"})
    assert (again.status, again.raw) == (202, first.raw)
    assert len((await desk.api.get("/v1/messages")).json["items"]) == 1
    to_ann = (await desk.decide(made, "test", {"contact": "m-1"})).json
    assert (to_ann["text"], to_ann["contact_id"]) == ("Hi Ann", "m-1")


@pytest.mark.parametrize(
    ("order", "status", "code", "pointers"),
    [
        ({}, 422, "invalid", ["/to"]),
        ({"to": "+14155550199", "contact": "m-1"}, 422, "invalid", ["/to"]),
        ({"to": "+14155550199"}, 422, "invalid", ["/variables"]),
        ({"contact": "nobody"}, 404, "not_found", None),
        ({"contact": "m-2"}, 422, "no_address", None),
        ({"contact": "m-1", "version": 9}, 404, "not_found", None),
        ({"contact": "m-1", "sender": "mail"}, 422, "unknown_sender", None),
    ],
)
async def test_a_test_that_cannot_be_sent_is_refused(
    desk: Templates, order: Any, status: int, code: str, pointers: list[str] | None
) -> None:
    reply = await desk.decide(await desk.make(), "test", order)
    assert (reply.status, reply.code) == (status, code)
    assert pointers is None or reply.pointers == pointers
    assert (await desk.api.get("/v1/messages")).json["items"] == []


async def test_a_test_is_gated_like_every_message(desk: Templates, database: Database) -> None:
    await database.write(
        lambda conn: conn.execute(
            "INSERT INTO opt_outs (id, org, channel, address, category, source, created_at) "
            "VALUES (1, 1, 'sms', '+14155550101', 'all', 'api', 1)"
        )
    )
    reply = await desk.decide(await desk.make(), "test", {"contact": "m-1"})
    assert (reply.status, reply.code) == (422, "opted_out")


async def send(desk: Templates, token: str = "", **content: Any) -> Reply:
    body = {"channel": "sms", "contact": "m-1"} | content
    return await desk.api.post("/v1/messages", body, token=token)


async def test_a_message_names_a_template_by_name_or_id(desk: Templates) -> None:
    made = await desk.approved(category="news")
    for name in ("welcome", made["id"]):
        message = (await send(desk, template=name)).json
        assert (message["text"], message["category"], message["template_version"]) == ("Hi Ann", "news", 1)
    await desk.edit(made, {"body": "Later"})
    assert (await send(desk, template="welcome")).json["text"] == "Hi Ann"
    await desk.edit(made, {"name": "renamed"})
    assert (await send(desk, template="welcome")).pointers == ["/template"]
    assert (await send(desk, template="renamed", category="other")).json["category"] == "other"


async def test_a_template_that_is_not_approved_is_refused_unless_somebody_may_override(desk: Templates) -> None:
    made = await desk.make(body="One")
    plain = await desk.api.key("messaging.send", "messaging.read")
    may = await desk.api.key("messaging.send", "messaging.read", "messaging.template_override")

    async def both() -> tuple[str, str]:
        refused, sent = await send(desk, plain, template="welcome"), await send(desk, may, template="welcome")
        assert (refused.status, refused.code, refused.pointers) == (422, "template_not_approved", ["/template"])
        return refused.json["errors"][0]["detail"], sent.json["text"]

    assert await both() == ("Template 'welcome' is not approved: version 1 is draft.", "One")
    await desk.decide(made, "approve")
    assert (await send(desk, plain, template="welcome")).status == 202
    await desk.edit(made, {"body": "Two"})
    await desk.decide(made, "pause", {"reason": "Wait"})
    assert await both() == ("Template 'welcome' is not approved: version 1 is paused (Wait).", "One")


@pytest.mark.parametrize(
    ("content", "pointers"),
    [
        ({"template": "nothing"}, ["/template"]),
        ({"template": "welcome", "body": "Hi"}, ["/template"]),
        ({"template": "welcome", "parameters": {"1": "x"}}, ["/parameters"]),
        ({"template": "welcome", "language": "de"}, ["/language"]),
        ({"template": "welcome", "subject": "News"}, ["/subject"]),
        ({"template": "mail"}, ["/template"]),
        ({"template": "welcome", "category": "all", "language": "de"}, ["/category", "/language"]),
    ],
)
async def test_what_does_not_go_with_a_template_is_refused(desk: Templates, content: Any, pointers: list[str]) -> None:
    await desk.approved()
    await desk.approved(name="mail", channel="email", subject="News")
    reply = await send(desk, **content)
    assert (reply.status, reply.pointers) == (422, pointers)


async def test_the_template_of_another_channel_or_org_is_none(desk: Templates, database: Database) -> None:
    mail = await desk.approved(name="mail", channel="email", subject="News")
    assert (await send(desk, template=mail["id"])).pointers == ["/template"]
    other = await desk.api.key(*PERMISSIONS, org=OTHER.id)
    body = {"channel": "email", "to": "ann@example.org", "template": mail["id"]}
    assert (await desk.api.post("/v1/messages", body, token=other)).pointers == ["/template"]
    assert (await desk.api.post("/v1/messages", body | {"template": "mail"}, token=other)).pointers == ["/template"]


async def test_of_one_name_the_providers_comes_first_and_an_id_is_never_ambiguous(desk: Templates) -> None:
    made = await desk.approved(channel="chat", name="later", body="Ours")
    desk.chat.kept = (REMINDER, replace_name(REMINDER, "later"))
    await desk.api.post("/v1/templates/sync")
    by_name = await send(desk, channel="chat", template="later", parameters={"1": "ten"})
    assert by_name.json["text"] == "Hi Ann, at ten."
    assert (await send(desk, channel="chat", template=made["id"])).json["text"] == "Ours"


def replace_name(template: ProviderTemplate, name: str) -> ProviderTemplate:
    return msgspec.structs.replace(template, name=name)


def replace_status(template: ProviderTemplate, status: Any) -> ProviderTemplate:
    return msgspec.structs.replace(template, status=status)
