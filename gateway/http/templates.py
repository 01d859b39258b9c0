"""`/v1/templates`: those of the org's own, written and approved here, and those that providers keep."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gateway.core.ids import MESSAGE, TEMPLATE, format_id, parse_id
from gateway.core.message_template import Review, TemplateSource
from gateway.engine.catalogue import Catalogue
from gateway.engine.log import CommunicationLog
from gateway.engine.provider_templates import ProviderTemplates
from gateway.engine.template_desk import TemplateDesk, TemplateDraft
from gateway.engine.template_trials import TemplateTrials, Trial
from gateway.errors import Invalid, NotFound, Problem, Refused
from gateway.http.messages import MessageView, message_view
from gateway.http.paging import Page, PageQuery, check_if_match, etag, key_of, page
from gateway.http.routing import Answer, Call, Handler, Route
from gateway.http.template_wire import (
    Approval,
    MessageTemplateView,
    MessageTemplateWithVersions,
    NewTemplate,
    Objection,
    ProviderTemplateView,
    RejectionOrder,
    RenderingView,
    RenderOrder,
    SyncAnswer,
    SyncOrder,
    SyncView,
    TemplateFields,
    TemplateQuery,
    TestOrder,
    VersionView,
    patched,
    provider_view,
    rendering_view,
    summary_view,
    template_view,
    version_view,
)
from gateway.store.message_templates import MessageTemplate, MessageTemplateFilter
from gateway.store.templates import StoredTemplate, TemplateFilter

VERSIONS_SHOWN_MAX = 50  # all that are kept
ATTEMPTS_MAX = 20  # edits that come in between are rare; each makes one attempt vain


class TemplateResource:
    """Handlers of `/v1/templates`."""

    def __init__(
        self,
        desk: TemplateDesk,
        trials: TemplateTrials,
        providers: ProviderTemplates,
        log: CommunicationLog,
        catalogue: Catalogue,
    ) -> None:
        self._desk = desk
        self._trials = trials
        self._providers = providers
        self._log = log
        self._catalogue = catalogue

    async def list(self, call: Call) -> Answer:
        query: TemplateQuery = call.query
        key = key_of(query.cursor, tuple[int])
        after = 0 if key is None else key[0]
        own: Sequence[MessageTemplate | StoredTemplate] = ()
        kept: Sequence[MessageTemplate | StoredTemplate] = ()
        if query.kind != "provider" and query.sender is None:
            wanted = MessageTemplateFilter(channel=query.channel, status=query.status, language=query.language)
            own = await self._desk.listed(call.org, wanted, after=after, limit=query.limit + 1)
        if query.kind != "own":
            kept = await self._kept(call, query, after)
        both = [*heapq.merge(own, kept, key=lambda one: one.id)][: query.limit + 1]
        return Answer(body=page(both, query.limit, self._view, lambda one: (one.id,)))

    async def _kept(self, call: Call, query: TemplateQuery, after: int) -> Sequence[StoredTemplate]:
        sender = self._catalogue.senders.get(query.sender or "")
        if query.sender is not None and (sender is None or sender.org.id != call.org):
            return ()
        wanted = TemplateFilter(
            channel=query.channel,
            sender=None if sender is None else sender.id,
            status=query.status,
            language=query.language,
        )
        return await self._providers.listed(call.org, wanted, after=after, limit=query.limit + 1)

    async def show(self, call: Call) -> Answer:
        own = await self._desk.find(call.org, call.path["id"])
        if own is not None:
            return await self._shown(own)
        number = parse_id(TEMPLATE, call.path["id"])
        kept = None if number is None else await self._providers.one(call.org, number)
        if kept is None:
            raise NotFound("template", call.path["id"])
        return Answer(body=self._provider_view(kept))

    async def create(self, call: Call) -> Answer:
        wanted: NewTemplate = call.body
        made = await self._desk.create(call.org, call.caller.key_id, wanted.channel, _draft(wanted), call.claim)
        answer = await self._shown(made)
        location = f"/v1/templates/{format_id(TEMPLATE, made.id)}"
        return Answer(body=answer.body, headers={**answer.headers, "Location": location})

    async def patch(self, call: Call) -> Answer:
        for _ in range(ATTEMPTS_MAX):
            present = await self._desk.one(call.org, call.path["id"])
            check_if_match(call, present.revision)
            draft = _draft(patched(present, call.fields))
            try:
                return await self._shown(await self._desk.edit(present, call.caller.key_id, draft))
            except Refused as refused:
                if refused.code != "revision_mismatch":
                    raise
        raise Refused("in_progress", "Others keep editing this template: try again.")

    async def delete(self, call: Call) -> Answer:
        await self._desk.delete(await self._desk.one(call.org, call.path["id"]))
        return Answer()

    async def versions(self, call: Call) -> Answer:
        query: PageQuery = call.query
        before = key_of(query.cursor, tuple[int])
        template = await self._desk.find(call.org, call.path["id"])
        if template is None:
            raise NotFound("template of the org's own", call.path["id"])
        found = await self._desk.versions(
            template.id, before=None if before is None else before[0], limit=query.limit + 1
        )
        return Answer(body=page(found, query.limit, lambda one: version_view(template, one), lambda one: (one.number,)))

    async def submit(self, call: Call) -> Answer:
        return await self._decide(call, Review.SUBMIT, call.body or Approval())

    async def approve(self, call: Call) -> Answer:
        return await self._decide(call, Review.APPROVE, call.body or Approval())

    async def reject(self, call: Call) -> Answer:
        return await self._decide(call, Review.REJECT, call.body)

    async def pause(self, call: Call) -> Answer:
        return await self._decide(call, Review.PAUSE, call.body or Objection())

    async def _decide(self, call: Call, review: Review, order: Approval) -> Answer:
        present = await self._desk.one(call.org, call.path["id"])
        check_if_match(call, present.revision)
        reason = order.reason if isinstance(order, Objection) else None
        decided = await self._desk.decide(present, call.caller.key_id, review, version=order.version, reason=reason)
        return await self._shown(decided)

    async def render(self, call: Call) -> Answer:
        order: RenderOrder = call.body or RenderOrder()
        if order.contact is not None:
            call.require("members.read")
        return Answer(body=rendering_view(await self._trials.render(call.org, call.path["id"], _trial(order))))

    async def test(self, call: Call) -> Answer:
        order: TestOrder = call.body
        if (order.to is None) == (order.contact is None):
            raise Invalid([Problem("/to", "Give either `to` or `contact`.")])
        trial = replace(_trial(order), to=order.to, requested_by=order.requested_by)
        message = await self._trials.test(call.org, call.path["id"], trial, call.claim)
        shown = await self._log.show(call.org, message)
        if shown is None:
            raise NotFound("message", format_id(MESSAGE, message))
        return Answer(body=message_view(shown[0]), headers={"Location": f"/v1/messages/{format_id(MESSAGE, message)}"})

    async def sync(self, call: Call) -> Answer:
        order: SyncOrder = call.body or SyncOrder()
        answers = await self._providers.sync_all(call.org, order.channel)
        views = [SyncView(sender=name, problem=problem) for name, problem in sorted(answers.items())]
        return Answer(body=SyncAnswer(senders=views))

    async def _shown(self, template: MessageTemplate) -> Answer:
        view = template_view(template)
        versions = await self._desk.versions(template.id, limit=VERSIONS_SHOWN_MAX)
        body = MessageTemplateWithVersions(
            **{name: getattr(view, name) for name in view.__struct_fields__},
            versions=[summary_view(template, one) for one in versions],
        )
        return Answer(body=body, headers={"ETag": etag(template.revision)})

    def _view(self, template: MessageTemplate | StoredTemplate) -> MessageTemplateView | ProviderTemplateView:
        return template_view(template) if isinstance(template, MessageTemplate) else self._provider_view(template)

    def _provider_view(self, template: StoredTemplate) -> ProviderTemplateView:
        sender = self._catalogue.sender_by_id(template.sender)
        return provider_view(template, None if sender is None else sender.name)


def _trial(order: RenderOrder) -> Trial:
    return Trial(
        contact=order.contact,
        variables=order.variables,
        parameters=order.parameters,
        media=order.media,
        sender=order.sender,
        version=order.version,
    )


def _draft(fields: TemplateFields) -> TemplateDraft:
    return TemplateDraft(
        name=fields.name,
        description=fields.description or None,
        source=TemplateSource(
            subject=fields.subject,
            body=fields.body,
            html=fields.html,
            media=fields.media,
            provider_template=fields.provider_template,
            parameters=fields.parameters,
            language=fields.language,
            category=fields.category,
        ),
        requested_by=fields.requested_by,
    )


def template_routes(
    desk: TemplateDesk,
    trials: TemplateTrials,
    providers: ProviderTemplates,
    log: CommunicationLog,
    catalogue: Catalogue,
) -> list[Route]:
    """The routes of `/v1/templates`."""
    resource = TemplateResource(desk, trials, providers, log, catalogue)
    return [*_reading(resource), *_writing(resource), *_deciding(resource), *_trying(resource)]


def _route(method: str, path: str, handler: Handler, summary: str, *permissions: str, **more: Any) -> Route:
    return Route(
        method=method,
        path=f"/v1/templates{path}",
        handler=handler,
        summary=summary,
        permissions=permissions,
        tag="templates",
        **more,
    )


def _reading(resource: TemplateResource) -> list[Route]:
    return [
        _route(
            "GET",
            "",
            resource.list,
            "List templates, the org's own and those that providers keep",
            "messaging.read",
            query=TemplateQuery,
            answer=Page[MessageTemplateView | ProviderTemplateView],
        ),
        _route(
            "GET",
            "/{id}",
            resource.show,
            "Show one template",
            "messaging.read",
            answer=MessageTemplateWithVersions | ProviderTemplateView,
        ),
        _route(
            "GET",
            "/{id}/versions",
            resource.versions,
            "List what the versions of a template say, newest first",
            "messaging.read",
            query=PageQuery,
            answer=Page[VersionView],
        ),
    ]


def _writing(resource: TemplateResource) -> list[Route]:
    return [
        _route(
            "POST",
            "",
            resource.create,
            "Make a template of the org's own; it is a draft",
            "templates.edit",
            body=NewTemplate,
            answer=MessageTemplateWithVersions,
            status=201,
            creates=True,
            shows="/v1/templates/{id}",
            refusals=("unknown_channel", "name_taken", "too_many_templates"),
        ),
        _route(
            "PATCH",
            "/{id}",
            resource.patch,
            "Edit a template; another content is a new draft (merge patch)",
            "templates.edit",
            body=TemplateFields,
            merge_patch=True,
            answer=MessageTemplateWithVersions,
            refusals=("unknown_channel", "name_taken", "in_progress"),
        ),
        _route(
            "DELETE",
            "/{id}",
            resource.delete,
            "Delete a template; what was made from it goes on",
            "templates.edit",
            status=204,
        ),
        _route(
            "POST",
            "/sync",
            resource.sync,
            "Ask the providers for their templates now",
            "templates.edit",
            body=SyncOrder,
            body_required=False,
            answer=SyncAnswer,
        ),
    ]


def _deciding(resource: TemplateResource) -> list[Route]:
    """Each moves one version on, and answers with the template."""

    def decision(what: str, handler: Handler, summary: str, permission: str, body: type, *refusals: str) -> Route:
        return _route(
            "POST",
            f"/{{id}}/{what}",
            handler,
            summary,
            permission,
            body=body,
            body_required=body is RejectionOrder,
            answer=MessageTemplateWithVersions,
            refusals=("not_reviewable", "revision_mismatch", *refusals),
        )

    checked = ("template_not_approved", "unknown_channel")
    return [
        decision("submit", resource.submit, "Ask for a version's approval", "templates.edit", Approval),
        decision(
            "approve",
            resource.approve,
            "Approve a version: messages are made from it from now on",
            "templates.approve",
            Approval,
            *checked,
        ),
        decision("reject", resource.reject, "Reject a version", "templates.approve", RejectionOrder),
        decision("pause", resource.pause, "Let nothing new be made from a template", "templates.approve", Objection),
    ]


def _trying(resource: TemplateResource) -> list[Route]:
    senders = ("unknown_channel", "unknown_sender", "sender_ambiguous", "policy_error")
    return [
        _route(
            "POST",
            "/{id}/render",
            resource.render,
            "Show what would be sent, to a contact or with given values",
            "messaging.read",
            body=RenderOrder,
            body_required=False,
            answer=RenderingView,
            refusals=senders[:3],
        ),
        _route(
            "POST",
            "/{id}/test",
            resource.test,
            "Send one message made from a template, whatever its status",
            "templates.edit",
            "messaging.send",
            body=TestOrder,
            answer=MessageView,
            status=202,
            creates=True,
            shows="/v1/messages/{id}",
            refusals=(*senders, "opted_out", "no_address", "window_closed"),
        ),
    ]
