"""Templates of an org's own: versions that never change, one of them in use, and who decided what."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gateway.core.ids import IdSequence, OrgId
from gateway.core.message_template import Review, TemplateChecks, TemplateSource
from gateway.errors import NotFound, Refused
from gateway.store import message_templates
from gateway.store.database import Database
from gateway.store.events import EventStore
from gateway.store.message_templates import (
    Decision,
    MessageTemplate,
    MessageTemplateFilter,
    MessageTemplateStore,
    NewVersion,
    TemplateEdit,
)
from gateway.testing.clock import FakeClock


@pytest.fixture
def store(database: Database, ids: IdSequence, org: OrgId) -> MessageTemplateStore:
    return MessageTemplateStore(database, ids)


class Desk:
    """A store with a clock and short words."""

    def __init__(self, store: MessageTemplateStore, clock: FakeClock, org: OrgId) -> None:
        self.store, self.clock, self.org = store, clock, org

    def version(self, body: str, **more: Any) -> NewVersion:
        return NewVersion(
            source=TemplateSource(body=body, **more),
            checks=TemplateChecks(),
            by="gwk_a",
            requested_by=None,
            now=self.clock.now(),
        )

    async def create(
        self, name: str = "welcome", body: str = "one", channel: str = "sms", **more: Any
    ) -> MessageTemplate:
        return await self.store.create(self.org, channel, name, None, self.version(body, **more))

    async def edit(
        self, template: MessageTemplate, body: str | None = None, name: str | None = None
    ) -> MessageTemplate:
        edit = TemplateEdit(
            name=name or template.name,
            description=None,
            version=None if body is None else self.version(body),
            requested_by=None,
            now=self.clock.now(),
        )
        return await self.store.edit(self.org, template.id, template.revision, edit)

    async def decide(self, template: MessageTemplate, review: Review, version: int = 1, **more: Any) -> MessageTemplate:
        decision = Decision(version=version, review=review, by="gwk_b", now=self.clock.now(), **more)
        return await self.store.decide(self.org, template.id, decision)


@pytest.fixture
def desk(store: MessageTemplateStore, clock: FakeClock, org: OrgId) -> Desk:
    return Desk(store, clock, org)


async def test_a_template_begins_as_a_draft_that_nobody_uses(desk: Desk) -> None:
    made = await desk.create()
    assert (made.latest.number, made.latest.status, made.in_use, made.revision) == (1, "draft", None, 1)
    assert await desk.store.find(desk.org, made.id) == made
    assert await desk.store.named(desk.org, "sms", "welcome") == made


async def test_an_edit_of_the_content_makes_a_draft_and_leaves_the_version_in_use(desk: Desk) -> None:
    made = await desk.create()
    await desk.decide(made, Review.APPROVE)
    edited = await desk.edit(made, "two")
    assert edited.in_use is not None
    assert (edited.in_use.source.body, edited.latest.source.body, edited.latest.status) == ("one", "two", "draft")
    assert (edited.current.status, edited.revision) == ("approved", 2)
    both = await desk.decide(edited, Review.APPROVE, 2)
    assert both.in_use is not None
    assert both.in_use.number == 2
    assert [(one.number, one.status) for one in await desk.store.versions(made.id)] == [
        (2, "approved"),
        (1, "approved"),
    ]


async def test_an_earlier_version_can_be_used_again(desk: Desk) -> None:
    made = await desk.create()
    await desk.decide(made, Review.APPROVE)
    edited = await desk.edit(made, "two")
    await desk.decide(edited, Review.APPROVE, 2)
    again = await desk.decide(edited, Review.APPROVE, 1)
    assert again.in_use is not None
    assert again.in_use.source.body == "one"


async def test_a_change_of_the_name_makes_no_version(desk: Desk) -> None:
    renamed = await desk.edit(await desk.create(), name="hello")
    assert (renamed.name, renamed.latest.number, renamed.revision) == ("hello", 1, 2)


async def test_a_decision_moves_no_revision_and_says_who_and_why(desk: Desk) -> None:
    made = await desk.create()
    desk.clock.advance(timedelta(hours=1))
    rejected = await desk.decide(made, Review.REJECT, reason="too loud")
    assert (rejected.revision, rejected.latest.reason, rejected.latest.decided_by) == (1, "too loud", "gwk_b")
    assert rejected.latest.decided_at == desk.clock.now()


@pytest.mark.parametrize(
    ("before", "review", "after"),
    [
        ((), Review.SUBMIT, "pending"),
        ((Review.SUBMIT,), Review.SUBMIT, "pending"),
        ((Review.SUBMIT,), Review.APPROVE, "approved"),
        ((Review.SUBMIT,), Review.REJECT, "rejected"),
        ((Review.REJECT,), Review.SUBMIT, "pending"),
        ((Review.REJECT,), Review.APPROVE, "approved"),
        ((Review.APPROVE,), Review.PAUSE, "paused"),
        ((Review.APPROVE, Review.PAUSE), Review.PAUSE, "paused"),
        ((Review.APPROVE, Review.PAUSE), Review.APPROVE, "approved"),
        ((), Review.PAUSE, None),
        ((Review.APPROVE,), Review.REJECT, None),
        ((Review.APPROVE,), Review.SUBMIT, None),
        ((Review.APPROVE, Review.PAUSE), Review.SUBMIT, None),
        ((Review.APPROVE, Review.PAUSE), Review.REJECT, None),
        ((Review.REJECT,), Review.PAUSE, None),
    ],
)
async def test_decisions_follow_the_table(
    desk: Desk, before: tuple[Review, ...], review: Review, after: str | None
) -> None:
    made = await desk.create()
    for step in before:
        await desk.decide(made, step)
    if after is None:
        with pytest.raises(Refused) as refused:
            await desk.decide(made, review)
        assert refused.value.code == "not_reviewable"
    else:
        assert (await desk.decide(made, review)).latest.status == after


async def test_only_the_version_in_use_can_be_paused(desk: Desk) -> None:
    made = await desk.create()
    await desk.decide(made, Review.APPROVE)
    await desk.edit(made, "two")
    await desk.decide(made, Review.APPROVE, 2)
    with pytest.raises(Refused, match="approved but not in use"):
        await desk.decide(made, Review.PAUSE, 1)


async def test_every_change_of_a_status_is_told_once(desk: Desk, database: Database) -> None:
    made = await desk.create()
    for review in (Review.SUBMIT, Review.SUBMIT, Review.APPROVE, Review.APPROVE, Review.PAUSE):
        await desk.decide(made, review)
    events = (await EventStore(database).after(desk.org, 0, (), 10)).events
    assert [(one.type, one.data["status"], one.data["version"]) for one in events] == [
        ("template.status_changed", status, 1) for status in ("pending", "approved", "paused")
    ]


async def test_a_name_is_unique_on_its_channel_until_its_template_is_deleted(desk: Desk) -> None:
    made = await desk.create()
    await desk.create(channel="email")
    other = await desk.create("hello")
    for attempt in (desk.create(), desk.edit(other, name="welcome")):
        with pytest.raises(Refused) as refused:
            await attempt
        assert refused.value.code == "name_taken"
    await desk.store.delete(desk.org, made.id, desk.clock.now())
    again = await desk.create()
    assert (await desk.store.named(desk.org, "sms", "welcome")) == again
    assert await desk.store.names(desk.org, "sms") == ("hello", "welcome")


async def test_a_deleted_template_can_be_read_and_nothing_else(desk: Desk) -> None:
    made = await desk.create()
    await desk.store.delete(desk.org, made.id, desk.clock.now())
    found = await desk.store.find(desk.org, made.id)
    assert found is not None
    assert (found.deleted_at, found.latest.source.body) == (desk.clock.now(), "one")
    assert await desk.store.list(desk.org, MessageTemplateFilter()) == ()
    for attempt in (
        desk.edit(made, "two"),
        desk.decide(made, Review.APPROVE),
        desk.store.delete(desk.org, made.id, desk.clock.now()),
    ):
        with pytest.raises(NotFound):
            await attempt


async def test_another_org_has_none_of_it(desk: Desk, database: Database) -> None:
    await database.write(lambda conn: conn.execute("INSERT INTO orgs (id, name) VALUES (2, 'other')"))
    made, other = await desk.create(), OrgId(2)
    assert await desk.store.find(other, made.id) is None
    assert await desk.store.named(other, "sms", "welcome") is None
    assert await desk.store.list(other, MessageTemplateFilter()) == ()
    with pytest.raises(NotFound):
        await desk.store.delete(other, made.id, desk.clock.now())


async def test_lists_are_filtered_and_go_on_behind_an_id(desk: Desk) -> None:
    first = await desk.create("a", language="en")
    second = await desk.create("b", channel="email", language="de")
    await desk.decide(second, Review.APPROVE)
    third = await desk.create("c", language="en")

    async def names(wanted: MessageTemplateFilter, after: int = 0, limit: int = 10) -> list[str]:
        return [one.name for one in await desk.store.list(desk.org, wanted, after=after, limit=limit)]

    assert await names(MessageTemplateFilter()) == ["a", "b", "c"]
    assert await names(MessageTemplateFilter(), after=first.id, limit=1) == ["b"]
    assert await names(MessageTemplateFilter(channel="sms"), after=first.id) == ["c"]
    assert await names(MessageTemplateFilter(status=("approved", "paused"))) == ["b"]
    assert await names(MessageTemplateFilter(language="en"), after=third.id - 1) == ["c"]


async def test_a_revision_that_has_passed_is_refused(desk: Desk) -> None:
    made = await desk.create()
    await desk.edit(made, "two")
    with pytest.raises(Refused) as refused:
        await desk.edit(made, "three")
    assert (refused.value.code, refused.value.more["revision"]) == ("revision_mismatch", 2)


async def test_drafts_are_forgotten_before_what_was_approved(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_templates, "VERSIONS_MAX", 3)
    template = await desk.create()
    await desk.decide(template, Review.APPROVE)
    for body in ("two", "three", "four", "five"):
        template = await desk.edit(template, body)
    assert [one.number for one in await desk.store.versions(template.id)] == [5, 4, 1]
    with pytest.raises(NotFound):
        await desk.decide(template, Review.APPROVE, 2)


async def test_an_org_has_so_many_templates_and_no_more(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_templates, "TEMPLATES_MAX", 1)
    made = await desk.create("a")
    with pytest.raises(Refused) as refused:
        await desk.create("b")
    assert refused.value.code == "too_many_templates"
    await desk.store.delete(desk.org, made.id, desk.clock.now())
    assert (await desk.create("b")).name == "b"
