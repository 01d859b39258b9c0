"""The routes of bulk actions."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import msgspec

from gateway.core.ids import ACTION, ActionId, parse_id
from gateway.core.states import RecipientState
from gateway.engine.action_requests import ActionEdit, ActionRequest, Asker, ResolveRequest, RetryRequest
from gateway.engine.actions import BulkActions
from gateway.engine.authority import needed_for
from gateway.errors import NotFound
from gateway.http.bulk_csv import recipients_csv
from gateway.http.bulk_wire import (
    ActionQuery,
    ActionWire,
    BatchWire,
    ForecastQuery,
    ForecastWire,
    PreviewWire,
    RecipientQuery,
    RecipientWire,
    StatsWire,
    show_action,
    show_batch,
    show_cancelled,
    show_forecast,
    show_preview,
    show_recipient,
    show_stats,
)
from gateway.http.paging import Page, PageQuery, check_if_match, etag, key_of, page
from gateway.http.routing import Answer, Call, Handler, Route
from gateway.store.action_reads import ActionFilter, ActionView

LIST_BODY_BYTES_MAX: Final = 64 * 1024 * 1024  # a million ids with room to spare
TAG: Final = "bulk actions"
ONE: Final = "/v1/bulk-actions/{id}"


class BulkActionRoutes:
    """Turns requests into calls of the service, and what it answers into JSON."""

    def __init__(self, service: BulkActions) -> None:
        self._service = service

    async def create(self, call: Call) -> Answer:
        request: ActionRequest = call.body
        _require(call, request.operation)
        view = await self._service.create(_asker(call), request, call.claim)
        shown = show_action(view)
        return Answer(body=shown, headers={"Location": f"/v1/bulk-actions/{shown.id}", "ETag": etag(view.revision)})

    async def preview(self, call: Call) -> Answer:
        request: ActionRequest = call.body
        _require(call, request.operation)
        return Answer(body=show_preview(await self._service.preview(_asker(call), request)))

    async def listed(self, call: Call) -> Answer:
        query: ActionQuery = call.query
        before = key_of(query.cursor, tuple[int])
        wanted = ActionFilter(
            statuses=query.status or (),
            operation=query.operation,
            channel=query.channel,
            query=query.q,
            created_by=query.created_by,
            requested_by=query.requested_by,
            created_after=query.created_after,
            created_before=query.created_before,
        )
        rows = await self._service.listed(call.org, wanted, ActionId(before[0]) if before else None, query.limit + 1)
        return Answer(body=page(rows, query.limit, show_action, lambda view: (view.id,)))

    async def show(self, call: Call) -> Answer:
        return _one(await self._service.show(call.org, _id(call)))

    async def edit(self, call: Call) -> Answer:
        action = _id(call)
        await self._require_for(call, action)
        edited = await self._service.edit(
            _asker(call), action, call.fields, lambda revision: check_if_match(call, revision)
        )
        view = await self._service.show(call.org, action)
        if edited.applies_from_batch is None:
            return _one(view)
        return _one(view, applies_from_batch=edited.applies_from_batch)

    async def cancel(self, call: Call) -> Answer:
        action = _id(call)
        await self._require_for(call, action)
        cancelled = await self._service.cancel(_asker(call), action)
        return _one(await self._service.show(call.org, action), **show_cancelled(cancelled))

    async def pause(self, call: Call) -> Answer:
        action = _id(call)
        await self._require_for(call, action)
        await self._service.pause(_asker(call), action)
        return _one(await self._service.show(call.org, action))

    async def resume(self, call: Call) -> Answer:
        action = _id(call)
        await self._require_for(call, action)
        await self._service.resume(_asker(call), action)
        return _one(await self._service.show(call.org, action))

    async def retry(self, call: Call) -> Answer:
        action = _id(call)
        await self._require_for(call, action)
        await self._service.retry(_asker(call), action, call.body, call.claim)
        return _one(await self._service.show(call.org, action))

    async def resolve(self, call: Call) -> Answer:
        action = _id(call)
        number = await self._service.resolve(_asker(call), action, call.body)
        return _one(await self._service.show(call.org, action), resolved=number)

    async def recipients(self, call: Call) -> Answer:
        query: RecipientQuery = call.query
        action = _id(call)
        states = [RecipientState[name.upper()] for name in query.state or ()]
        channel = self._service.channel_of(await self._service.show(call.org, action))
        if _wants_csv(call):
            rows_csv = recipients_csv(
                lambda after, limit: self._service.recipients(call.org, action, states, after, limit), channel
            )
            name = f'attachment; filename="{call.path["id"]}.csv"'
            headers = {"Content-Disposition": name}
            return Answer(stream=rows_csv, content_type="text/csv; charset=utf-8", headers=headers)
        after = key_of(query.cursor, tuple[int])
        rows = await self._service.recipients(call.org, action, states, after[0] if after else 0, query.limit + 1)
        return Answer(body=page(rows, query.limit, lambda row: show_recipient(row, channel), lambda row: (row.seq,)))

    async def batches(self, call: Call) -> Answer:
        query: PageQuery = call.query
        before = key_of(query.cursor, tuple[int])
        rows = await self._service.batches(call.org, _id(call), before[0] if before else None, query.limit + 1)
        return Answer(body=page(rows, query.limit, show_batch, lambda row: (row.number,)))

    async def forecast(self, call: Call) -> Answer:
        query: ForecastQuery = call.query
        return Answer(body=show_forecast(await self._service.forecast(call.org, _id(call), query.limit)))

    async def stats(self, call: Call) -> Answer:
        action = _id(call)
        view = await self._service.show(call.org, action)
        return Answer(body=show_stats(await self._service.stats(call.org, action), self._service.channel_of(view)))

    async def _require_for(self, call: Call, action: ActionId) -> None:
        """Another org's action is not found before a permission is asked for."""
        _require(call, (await self._service.show(call.org, action)).operation)


def _require(call: Call, operation: str) -> None:
    """Whatever sends messages needs the permission to send, also where it only starts later."""
    call.require(*needed_for(operation))


def _asker(call: Call) -> Asker:
    return Asker(caller=call.caller, org=call.org)


def _id(call: Call) -> ActionId:
    number = parse_id(ACTION, call.path["id"])
    if number is None:
        raise NotFound("bulk action", call.path["id"])
    return ActionId(number)


def _one(view: ActionView, **more: int) -> Answer:
    headers = {"ETag": etag(view.revision), "Cache-Control": "no-store"}
    return Answer(body=show_action(view, **more), headers=headers)


def _wants_csv(call: Call) -> bool:
    accepted = call.headers.get("accept", "")
    return any(part.split(";")[0].strip().lower() == "text/csv" for part in accepted.split(","))


def bulk_action_routes(service: BulkActions) -> tuple[Route, ...]:
    """Every route of `/v1/bulk-actions`."""
    handlers = BulkActionRoutes(service)
    return (*_collection(handlers), *_changes(handlers), *_reads(handlers))


_CREATION_REFUSALS: Final = (
    "unknown_operation",
    "unknown_channel",
    "unknown_sender",
    "sender_ambiguous",
    "no_recipients",
    "never_runs",
    "template_required",
)


def _collection(handlers: BulkActionRoutes) -> tuple[Route, ...]:
    return (
        Route(
            method="POST",
            path="/v1/bulk-actions",
            handler=handlers.create,
            summary="Create a bulk action",
            permissions=("members.edit",),
            tag=TAG,
            body=ActionRequest,
            body_bytes_max=LIST_BODY_BYTES_MAX,
            answer=ActionWire,
            status=201,
            creates=True,
            grows=True,
            shows=ONE,
            refusals=(*_CREATION_REFUSALS, "bulk_action_rate"),
        ),
        Route(
            method="POST",
            path="/v1/bulk-actions/preview",
            handler=handlers.preview,
            summary="What a bulk action would come to; stores nothing",
            permissions=("members.edit",),
            tag=TAG,
            body=ActionRequest,
            body_bytes_max=LIST_BODY_BYTES_MAX,
            answer=PreviewWire,
            refusals=_CREATION_REFUSALS,
        ),
        Route(
            method="GET",
            path="/v1/bulk-actions",
            handler=handlers.listed,
            summary="List bulk actions, newest first",
            permissions=("messaging.read",),
            tag=TAG,
            query=ActionQuery,
            answer=Page[ActionWire],
        ),
    )


def _changes(handlers: BulkActionRoutes) -> tuple[Route, ...]:
    return (
        Route(
            method="PATCH",
            path=ONE,
            handler=handlers.edit,
            summary="Edit a bulk action (merge patch)",
            permissions=("members.edit",),
            tag=TAG,
            body=ActionEdit,
            merge_patch=True,
            answer=ActionWire,
            refusals=(
                "completed_not_editable",
                "only_batch_quantity_editable",
                "nothing_left_to_send",
                "recipients_not_editable",
                "revision_mismatch",
                "unknown_channel",
                "unknown_sender",
                "sender_ambiguous",
                "never_runs",
                "template_required",
            ),
        ),
        *(
            Route(
                method="POST",
                path=f"{ONE}/{name}",
                handler=handler,
                summary=summary,
                permissions=("members.edit",),
                tag=TAG,
                answer=ActionWire,
                refusals=(refusal,),
            )
            for name, handler, summary, refusal in (
                ("cancel", handlers.cancel, "Stop a bulk action for good", "not_cancellable"),
                ("pause", handlers.pause, "Pause a bulk action", "not_pausable"),
                ("resume", handlers.resume, "Let a paused bulk action go on", "not_resumable"),
            )
        ),
        Route(
            method="POST",
            path=f"{ONE}/retry",
            handler=handlers.retry,
            summary="Try recipients of an ended bulk action again, in its next round",
            permissions=("members.edit",),
            tag=TAG,
            body=RetryRequest,
            answer=ActionWire,
            creates=True,
            grows=True,
            shows=ONE,
            refusals=("nothing_to_retry", "in_progress", "never_runs", "bulk_action_rate"),
        ),
        Route(
            method="POST",
            path=f"{ONE}/resolve",
            handler=handlers.resolve,
            summary="Say what became of unknown recipients",
            permissions=("members.edit", "messaging.send"),
            tag=TAG,
            body=ResolveRequest,
            answer=ActionWire,
            refusals=("nothing_to_resolve",),
        ),
    )


def _reads(handlers: BulkActionRoutes) -> tuple[Route, ...]:
    return (
        _read(ONE, handlers.show, "One bulk action", ActionWire),
        replace(
            _read(
                f"{ONE}/recipients",
                handlers.recipients,
                "Its recipients, in the order of the snapshot",
                Page[RecipientWire],
                RecipientQuery,
            ),
            answers_also=("text/csv",),
        ),
        _read(f"{ONE}/batches", handlers.batches, "Its batches, newest first", Page[BatchWire], PageQuery),
        _read(f"{ONE}/forecast", handlers.forecast, "The batches still to come", ForecastWire, ForecastQuery),
        _read(f"{ONE}/stats", handlers.stats, "How it went", StatsWire),
    )


def _read(
    path: str, handler: Handler, summary: str, answer: object, query: type[msgspec.Struct] | None = None
) -> Route:
    return Route(
        method="GET",
        path=path,
        handler=handler,
        summary=summary,
        permissions=("messaging.read",),
        tag=TAG,
        query=query,
        answer=answer,
    )
