"""Templates that providers keep: what there is, and asking for it again."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from gateway.core.ids import TEMPLATE, format_id, parse_id
from gateway.engine.catalogue import Catalogue
from gateway.engine.provider_templates import ProviderTemplates
from gateway.errors import NotFound
from gateway.http.paging import Page, PageQuery, key_of, page
from gateway.http.routing import Answer, Call, Route
from gateway.store.templates import StoredTemplate, TemplateFilter

Status = Literal["approved", "pending", "rejected", "paused"]


class TemplateQuery(PageQuery, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which templates to list. `status` may be given several times."""

    channel: str | None = None
    sender: str | None = None
    status: tuple[Status, ...] = ()
    language: str | None = None


class TemplateView(msgspec.Struct, kw_only=True, frozen=True):
    """A template in one language. `parameters` are the names of its placeholders: give each a text in a message.

    `media`: the kind of file that a message with it must bring; `reason`: why it is not approved.
    """

    id: str
    name: str
    language: str
    channel: str
    sender: str | None
    status: str
    category: str | None
    text: str
    parameters: list[str]
    media: str | None
    reason: str | None
    synced_at: datetime


class SyncOrder(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Whom to ask: every provider that keeps templates, or those of one channel."""

    channel: str | None = None


class SyncView(msgspec.Struct, kw_only=True, frozen=True):
    """What one sender's provider answered; `problem` null: its templates are up to date."""

    sender: str
    problem: str | None


class SyncAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """What every provider answered."""

    senders: list[SyncView]


class TemplateResource:
    """Handlers of `/v1/templates`."""

    def __init__(self, templates: ProviderTemplates, catalogue: Catalogue) -> None:
        self._templates = templates
        self._catalogue = catalogue

    async def list(self, call: Call) -> Answer:
        query: TemplateQuery = call.query
        after = key_of(query.cursor, tuple[int])
        sender = self._catalogue.senders.get(query.sender or "")
        if query.sender is not None and (sender is None or sender.org.id != call.org):
            return Answer(body=Page[TemplateView](items=[]))
        wanted = TemplateFilter(
            channel=query.channel,
            sender=None if sender is None else sender.id,
            status=query.status,
            language=query.language,
        )
        found = await self._templates.listed(
            call.org, wanted, after=0 if after is None else after[0], limit=query.limit + 1
        )
        return Answer(body=page(found, query.limit, self._view, lambda one: (one.id,)))

    async def show(self, call: Call) -> Answer:
        number = parse_id(TEMPLATE, call.path["id"])
        found = None if number is None else await self._templates.one(call.org, number)
        if found is None:
            raise NotFound("template", call.path["id"])
        return Answer(body=self._view(found))

    async def sync(self, call: Call) -> Answer:
        order: SyncOrder = call.body or SyncOrder()
        answers = await self._templates.sync_all(call.org, order.channel)
        views = [SyncView(sender=name, problem=problem) for name, problem in sorted(answers.items())]
        return Answer(body=SyncAnswer(senders=views))

    def _view(self, template: StoredTemplate) -> TemplateView:
        sender = self._catalogue.sender_by_id(template.sender)
        return TemplateView(
            id=format_id(TEMPLATE, template.id),
            name=template.name,
            language=template.language,
            channel=template.channel,
            sender=None if sender is None else sender.name,
            status=template.status,
            category=template.category,
            text=template.text,
            parameters=list(template.parameters),
            media=template.media,
            reason=template.reason,
            synced_at=template.synced_at,
        )


def template_routes(templates: ProviderTemplates, catalogue: Catalogue) -> list[Route]:
    """The routes of `/v1/templates`."""
    resource = TemplateResource(templates, catalogue)
    return [
        Route(
            method="GET",
            path="/v1/templates",
            handler=resource.list,
            summary="List the templates that providers keep",
            permissions=("messaging.read",),
            tag="templates",
            query=TemplateQuery,
            answer=Page[TemplateView],
        ),
        Route(
            method="GET",
            path="/v1/templates/{id}",
            handler=resource.show,
            summary="Show one template",
            permissions=("messaging.read",),
            tag="templates",
            answer=TemplateView,
        ),
        Route(
            method="POST",
            path="/v1/templates/sync",
            handler=resource.sync,
            summary="Ask the providers for their templates now",
            permissions=("templates.edit",),
            tag="templates",
            body=SyncOrder,
            body_required=False,
            answer=SyncAnswer,
        ),
    ]
