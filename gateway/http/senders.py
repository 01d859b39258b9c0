"""Channels and their senders, and the operator's hand on a sender."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from gateway.core.schedule import Every, format_every
from gateway.engine.catalogue import Catalogue, Sender
from gateway.engine.holds import SenderControl, TestResult
from gateway.errors import NotFound
from gateway.http.paging import Page
from gateway.http.routing import Answer, Call, Route
from gateway.store.callbacks import CallbackStore, ReplayFilter
from gateway.store.senders import HoldState


class CapabilitiesView(msgspec.Struct, kw_only=True, frozen=True):
    """What the adapter and its channel can do. Durations as text: "24h"."""

    takes: list[str]
    template_required: bool
    conversations: bool
    receipts: bool
    receipt_deadline: str
    lookup: bool
    idempotent_for: str | None
    on_unknown: str


class SenderView(msgspec.Struct, kw_only=True, frozen=True):
    """A sender. `held`: `manual`, `misconfigured`, `outage`, or null while it sends; `rate` per second."""

    name: str
    adapter: str
    default: bool
    health: str  # "healthy" or "unhealthy": a sender that somebody paused may be healthy
    held: str | None
    held_detail: str | None
    held_since: datetime | None
    rate: float
    daily_cap: int | None
    in_flight_limit: int
    dry_run: bool
    capabilities: CapabilitiesView


class ChannelView(msgspec.Struct, kw_only=True, frozen=True):
    """A channel that has a sender."""

    channel: str
    title: str
    senders: list[SenderView]


class TestOrder(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Where a test message goes; without an address only the adapter's own check is made."""

    to: Annotated[str, msgspec.Meta(min_length=1, max_length=320)] | None = None


class ReplayOrder(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which stored callbacks to read again; of the last seven days, all of them without a condition."""

    received_after: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    received_before: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    unreadable_only: bool = False


class ReplayAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """How many callbacks are being read again."""

    replayed: int


class SenderResource:
    """Handlers of `/v1/channels` and `/v1/senders`."""

    def __init__(self, catalogue: Catalogue, control: SenderControl, callbacks: CallbackStore) -> None:
        self._catalogue = catalogue
        self._control = control
        self._callbacks = callbacks

    async def channels(self, call: Call) -> Answer:
        states = await self._control.states(call.org)
        own = sorted(
            (one for one in self._catalogue.senders.values() if one.org.id == call.org), key=lambda one: one.name
        )
        names = sorted({sender.channel.name for sender in own})
        channels = [_channel([sender for sender in own if sender.channel.name == name], states) for name in names]
        return Answer(body=Page(items=channels))

    async def pause(self, call: Call) -> Answer:
        sender = self._sender(call)
        await self._control.pause(sender, call.caller.key_id)
        return await self._show(call, sender)

    async def resume(self, call: Call) -> Answer:
        sender = self._sender(call)
        await self._control.resume(sender)
        return await self._show(call, sender)

    async def test(self, call: Call) -> Answer:
        order: TestOrder = call.body or TestOrder()
        return Answer(body=await self._control.test(self._sender(call), order.to))

    async def replay(self, call: Call) -> Answer:
        order: ReplayOrder = call.body or ReplayOrder()
        number = await self._callbacks.replay(
            ReplayFilter(
                sender=self._sender(call).id,
                received_after=order.received_after,
                received_before=order.received_before,
                unreadable_only=order.unreadable_only,
            )
        )
        return Answer(body=ReplayAnswer(replayed=number))

    async def _show(self, call: Call, sender: Sender) -> Answer:
        states = await self._control.states(call.org)
        return Answer(body=_view(sender, states.get(sender.name, HoldState())))

    def _sender(self, call: Call) -> Sender:
        sender = self._catalogue.senders.get(call.path["name"])
        if sender is None or sender.org.id != call.org:
            raise NotFound("sender", call.path["name"])
        return sender


def sender_routes(catalogue: Catalogue, control: SenderControl, callbacks: CallbackStore) -> list[Route]:
    """The routes of `/v1/channels` and `/v1/senders`."""
    resource = SenderResource(catalogue, control, callbacks)
    return [
        Route(
            method="GET",
            path="/v1/channels",
            handler=resource.channels,
            summary="List the channels that have a sender, with their senders",
            permissions=("messaging.read",),
            tag="senders",
            answer=Page[ChannelView],
        ),
        Route(
            method="POST",
            path="/v1/senders/{name}/pause",
            handler=resource.pause,
            summary="Hold a sender until it is resumed",
            permissions=("admin",),
            tag="senders",
            answer=SenderView,
        ),
        Route(
            method="POST",
            path="/v1/senders/{name}/resume",
            handler=resource.resume,
            summary="Let a held sender go on",
            permissions=("admin",),
            tag="senders",
            answer=SenderView,
        ),
        Route(
            method="POST",
            path="/v1/senders/{name}/test",
            handler=resource.test,
            summary="Run the adapter's check, and send a test message if an address is given",
            permissions=("admin",),
            tag="senders",
            body=TestOrder,
            body_required=False,
            answer=TestResult,
        ),
        Route(
            method="POST",
            path="/v1/senders/{name}/callbacks/replay",
            handler=resource.replay,
            summary="Read what a sender's provider called back with once more",
            permissions=("admin",),
            tag="senders",
            body=ReplayOrder,
            body_required=False,
            answer=ReplayAnswer,
        ),
    ]


def _channel(senders: list[Sender], states: Mapping[str, HoldState]) -> ChannelView:
    channel = senders[0].channel
    views = [_view(sender, states.get(sender.name, HoldState())) for sender in senders]
    return ChannelView(channel=channel.name, title=channel.title, senders=views)


def _view(sender: Sender, state: HoldState) -> SenderView:
    return SenderView(
        name=sender.name,
        adapter=sender.adapter_name,
        default=sender.default,
        health="healthy" if state.held in (None, "manual") else "unhealthy",
        held=state.held,
        held_detail=state.detail,
        held_since=state.since,
        rate=sender.rate,
        daily_cap=sender.daily_cap,
        in_flight_limit=sender.concurrency,
        dry_run=sender.dry_run,
        capabilities=_capabilities(sender),
    )


def _capabilities(sender: Sender) -> CapabilitiesView:
    capabilities = sender.adapter.capabilities
    return CapabilitiesView(
        takes=sorted(sender.channel.takes),
        template_required=sender.channel.template_required,
        conversations=sender.channel.conversations,
        receipts=capabilities.receipts,
        receipt_deadline=_duration(sender.receipt_deadline),
        lookup=capabilities.lookup,
        idempotent_for=None if capabilities.idempotent_for is None else _duration(capabilities.idempotent_for),
        on_unknown=sender.on_unknown,
    )


def _duration(length: timedelta) -> str:
    return format_every(Every(int(length.total_seconds()), "seconds"))
