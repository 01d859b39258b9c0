"""`/v1/webhooks`: who is told of events, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, UnsetType

from gateway.clock import Clock
from gateway.core.event_types import DEFAULT_PATTERNS, fault_of
from gateway.core.ids import WEBHOOK, WebhookId, format_id, parse_id
from gateway.engine.webhooks import Webhooks
from gateway.errors import Invalid, NotFound, Problem
from gateway.http.events import Seq
from gateway.http.keys import Rotation, read_overlap
from gateway.http.paging import Instant, Page, PageQuery, check_if_match, etag, key_of, page
from gateway.http.routing import Answer, Call, Route
from gateway.store.deliveries import Delivery, DeliveryStore, Result
from gateway.store.webhooks import IssuedWebhook, Webhook, WebhookSettings, WebhookStore
from gateway.validation import convert

URL_CHARACTERS_MAX: Final = 2_000
PATTERNS_MAX: Final = 50


class WebhookFields(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Where events go, and which. `types`: as in `/v1/events`."""

    url: Annotated[str, Meta(min_length=1, max_length=URL_CHARACTERS_MAX)]
    types: Annotated[tuple[str, ...], Meta(min_length=1, max_length=PATTERNS_MAX)] = DEFAULT_PATTERNS
    description: Annotated[str, Meta(max_length=500)] | None = None
    enabled: bool = True


class WebhookView(msgspec.Struct, kw_only=True, frozen=True):
    """A webhook without its secret.

    `position`: everything up to this number was delivered or is among the `retries`; `waiting`: how many events, of
    whatever type, stand behind it. `held`: it failed several times in a row and is tried with one event at
    `next_attempt_at`. `disabled_reason`: `by_hand`, `gone` (410) or `failing` (for 7 days). `overlap_until`: until when
    the secret before the last rotation signs too.
    """

    id: str
    url: str
    types: list[str]
    description: str | None
    enabled: bool
    disabled_reason: str | None
    disabled_at: datetime | None
    held: bool
    next_attempt_at: datetime | None
    failures: int
    failing_since: datetime | None
    position: int
    waiting: int
    retries: int
    last_success_at: datetime | None
    last_failure_at: datetime | None
    overlap_until: datetime | None
    created_at: datetime
    created_by: str | None
    revision: int


class WebhookWithSecret(WebhookView, kw_only=True, frozen=True):
    """A webhook just made or rotated. `secret` checks the signatures of what it receives; it is shown this once."""

    secret: str | UnsetType = msgspec.UNSET


class Replay(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """From where to deliver again. Give `after` or `from`."""

    after: Annotated[Seq, Meta(description="The events behind this number.")] | None = None
    since: Annotated[Instant, Meta(description="What happened at this instant or later.")] | None = msgspec.field(
        default=None, name="from"
    )


class DeliveryQuery(PageQuery, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which attempts."""

    result: Result | None = None


class DeliveryView(msgspec.Struct, kw_only=True, frozen=True):
    """One attempt. `status` null: no answer came. `next_attempt_at`: when the event is tried again, if it failed."""

    event_id: str
    seq: int
    type: str
    at: datetime
    attempt: int
    result: Result
    status: int | None
    milliseconds: int
    detail: str
    next_attempt_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDesk:
    """What the routes work with. `refusal`: why nothing is posted to a URL, as the end of a sentence."""

    store: WebhookStore
    deliveries: DeliveryStore
    loop: Webhooks
    clock: Clock
    refusal: Callable[[str], str | None]


class WebhookResource:
    """Handlers of `/v1/webhooks`."""

    def __init__(self, desk: WebhookDesk) -> None:
        self._desk = desk

    async def list(self, call: Call) -> Answer:
        query: PageQuery = call.query
        before = key_of(query.cursor, tuple[int])
        found = await self._desk.store.list(
            call.org, limit=query.limit + 1, before=None if before is None else WebhookId(before[0])
        )
        return Answer(body=page(found, query.limit, _view, lambda webhook: (webhook.id,)))

    async def create(self, call: Call) -> Answer:
        wanted = self._settings(call.body)
        issued = await self._desk.store.create(
            call.org, wanted, self._desk.clock.now(), by=call.caller.key_id, claim=call.claim
        )
        shown = _with_secret(issued)
        return Answer(body=shown, headers={"Location": f"/v1/webhooks/{shown.id}", "ETag": etag(shown.revision)})

    async def show(self, call: Call) -> Answer:
        return _shown(await self._desk.store.get(call.org, _id(call)))

    async def patch(self, call: Call) -> Answer:
        present = await self._desk.store.get(call.org, _id(call))
        check_if_match(call, present.revision)
        wanted = self._settings(_merged(present.settings, call.fields))
        if wanted == present.settings:
            return _shown(present)
        return _shown(
            await self._desk.store.edit(call.org, present.id, present.revision, wanted, self._desk.clock.now())
        )

    async def delete(self, call: Call) -> Answer:
        await self._desk.store.delete(call.org, _id(call))
        return Answer()

    async def rotate(self, call: Call) -> Answer:
        wanted: Rotation = call.body or Rotation()
        overlap = read_overlap(wanted.overlap)
        return Answer(
            body=_with_secret(await self._desk.store.rotate(call.org, _id(call), overlap, self._desk.clock.now()))
        )

    async def deliveries(self, call: Call) -> Answer:
        query: DeliveryQuery = call.query
        before = key_of(query.cursor, tuple[int])
        webhook = await self._desk.store.get(call.org, _id(call))
        found = await self._desk.deliveries.log(
            call.org,
            webhook.id,
            result=query.result,
            limit=query.limit + 1,
            before=None if before is None else before[0],
        )
        return Answer(body=page(found, query.limit, _delivery_view, lambda delivery: (delivery.id,)))

    async def replay(self, call: Call) -> Answer:
        wanted: Replay = call.body
        if wanted.after is not None and wanted.since is None:
            return _shown(await self._desk.store.replay_after(call.org, _id(call), wanted.after))
        if wanted.since is not None and wanted.after is None:
            return _shown(await self._desk.store.replay_from(call.org, _id(call), wanted.since))
        raise Invalid([Problem("", "Give either `after`, the number of an event, or `from`, an instant.")])

    async def test(self, call: Call) -> Answer:
        return Answer(body=_delivery_view(await self._desk.loop.test(call.org, _id(call))))

    def _settings(self, fields: WebhookFields) -> WebhookSettings:
        problems = [
            Problem(f"/types/{position}", fault)
            for position, fault in enumerate(map(fault_of, fields.types))
            if fault is not None
        ]
        fault = _fault_of_url(fields.url) or self._desk.refusal(fields.url)
        if fault is not None:
            problems.insert(0, Problem("/url", f"{fields.url[:200]!r} {fault}."))
        if problems:
            raise Invalid(problems)
        return WebhookSettings(
            url=fields.url,
            types=tuple(dict.fromkeys(fields.types)),
            description=fields.description or None,
            enabled=fields.enabled,
        )


def webhook_routes(desk: WebhookDesk) -> list[Route]:
    """The routes of `/v1/webhooks`."""
    resource = WebhookResource(desk)
    admin, one, tag = ("admin",), "/v1/webhooks/{id}", "webhooks"
    return [
        Route(
            method="GET", path="/v1/webhooks", handler=resource.list, summary="List the org's webhooks",
            permissions=admin, tag=tag, query=PageQuery, answer=Page[WebhookView],
        ),
        Route(
            method="POST", path="/v1/webhooks", handler=resource.create, permissions=admin, tag=tag,
            summary="Make a webhook; its secret is shown once", body=WebhookFields, answer=WebhookWithSecret,
            status=201, creates=True, shows=one, secret=True, refusals=("too_many_webhooks",),
        ),
        Route(
            method="GET", path=one, handler=resource.show, summary="Show a webhook and how it fares",
            permissions=admin, tag=tag, answer=WebhookView,
        ),
        Route(
            method="PATCH", path=one, handler=resource.patch, permissions=admin, tag=tag,
            summary="Edit, disable or enable a webhook (merge patch)", body=WebhookFields, merge_patch=True,
            answer=WebhookView,
        ),
        Route(
            method="DELETE", path=one, handler=resource.delete, summary="Delete a webhook", permissions=admin, tag=tag,
            status=204,
        ),
        Route(
            method="POST", path=f"{one}/rotate", handler=resource.rotate, summary="Give a webhook a new secret",
            permissions=admin, tag=tag, body=Rotation, body_required=False, answer=WebhookWithSecret,
        ),
        Route(
            method="GET", path=f"{one}/deliveries", handler=resource.deliveries, summary="List the last attempts",
            permissions=admin, tag=tag, query=DeliveryQuery, answer=Page[DeliveryView],
        ),
        Route(
            method="POST", path=f"{one}/replay", handler=resource.replay, permissions=admin, tag=tag,
            summary="Deliver again from an earlier event on", body=Replay, answer=WebhookView,
        ),
        Route(
            method="POST", path=f"{one}/test", handler=resource.test, permissions=admin, tag=tag,
            summary="Deliver one `webhook.test` now, and say what became of it", answer=DeliveryView,
        ),
    ]  # fmt: skip


def _merged(present: WebhookSettings, patch: Mapping[str, Any]) -> WebhookFields:
    """RFC 7396: null takes a field away, so that it is what it is where nobody says it."""
    fields = {name: getattr(present, name) for name in WebhookFields.__struct_fields__} | dict(patch)
    return convert({name: value for name, value in fields.items() if value is not None}, WebhookFields)


def _fault_of_url(url: str) -> str | None:
    """What is wrong with a URL wherever it leads, as the end of a sentence."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        return f"is no URL: {exc}"
    if parts.username is not None or parts.password is not None:
        return "holds a user name or a password: what proves a delivery is its signature"
    if parts.fragment or port == 0 or any(letter.isspace() or not letter.isprintable() for letter in url):
        return "is no URL that anything can be posted to"
    return None


def _id(call: Call) -> WebhookId:
    number = parse_id(WEBHOOK, call.path["id"])
    if number is None:
        raise NotFound("webhook", call.path["id"])
    return WebhookId(number)


def _shown(webhook: Webhook) -> Answer:
    return Answer(body=_view(webhook), headers={"ETag": etag(webhook.revision)})


def _view(webhook: Webhook) -> WebhookView:
    return WebhookView(**_view_fields(webhook))


def _with_secret(issued: IssuedWebhook) -> WebhookWithSecret:
    return WebhookWithSecret(**_view_fields(issued.webhook), secret=issued.secret)


def _view_fields(webhook: Webhook) -> dict[str, Any]:
    settings, health = webhook.settings, webhook.health
    return {
        "id": format_id(WEBHOOK, webhook.id),
        "url": settings.url,
        "types": [*settings.types],
        "description": settings.description,
        "enabled": settings.enabled,
        "disabled_reason": webhook.disabled,
        "disabled_at": webhook.disabled_at,
        "held": settings.enabled and health.held,
        "next_attempt_at": health.probe_at if settings.enabled else None,
        "failures": health.failures,
        "failing_since": health.failing_since,
        "position": webhook.position,
        "waiting": webhook.waiting,
        "retries": webhook.retries,
        "last_success_at": webhook.last_success_at,
        "last_failure_at": webhook.last_failure_at,
        "overlap_until": webhook.old_until,
        "created_at": webhook.created_at,
        "created_by": webhook.created_by,
        "revision": webhook.revision,
    }


def _delivery_view(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        event_id=delivery.event_id,
        seq=delivery.seq,
        type=delivery.type,
        at=delivery.at,
        attempt=delivery.attempt,
        result=delivery.result,
        status=delivery.status,
        milliseconds=delivery.milliseconds,
        detail=delivery.detail,
        next_attempt_at=delivery.again_at,
    )
