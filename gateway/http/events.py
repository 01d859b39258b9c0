"""`/v1/events`: what happened, read page by page or as a stream of server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from gateway.clock import Clock
from gateway.core.event_types import DEFAULT_PATTERNS, fault_of
from gateway.core.ids import OrgId
from gateway.errors import Invalid, Problem, Refused
from gateway.http.auth import Authenticator
from gateway.http.paging import PAGE_DEFAULT, PAGE_MAX
from gateway.http.routing import Answer, Call, Route
from gateway.store.events import Event, EventPage, EventStore

STREAMS_MAX: Final = 20  # of one org: each asks the database twice a second
PERMISSION: Final = "messaging.read"
STREAM_POLL: Final = timedelta(milliseconds=500)
STREAM_SIGN: Final = timedelta(seconds=15)  # how often a silent stream says that it is alive, and its key is looked at
STREAM_PAGE: Final = 100  # events of one piece
RETRY_SECONDS: Final = 15  # when a stream that was refused for their number may be tried again
TYPES_CHARACTERS_MAX: Final = 2_000
SEQ_MAX: Final = 1 << 53  # beyond that JSON numbers are not exact everywhere

Seq = Annotated[int, Meta(ge=0, le=SEQ_MAX)]
Types = Annotated[
    str,
    Meta(
        max_length=TYPES_CHARACTERS_MAX,
        description="Types or groups of them, such as `message.read,bulk_action.*`; `*` for all.",
    ),
]


class EventQuery(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which events. Without `types` all of them."""

    after: Annotated[Seq, Meta(description="The events behind this number; 0 for the oldest that is kept.")] = 0
    types: Types | None = None
    limit: Annotated[int, Meta(ge=1, le=PAGE_MAX, description="Events in one page.")] = PAGE_DEFAULT


class StreamQuery(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What to follow. `Last-Event-ID` goes before `after`; without either it begins with the next event."""

    after: Annotated[Seq, Meta(description="The events behind this number.")] | None = None
    types: Types | None = None


class EventView(msgspec.Struct, kw_only=True, frozen=True):
    """One fact. `seq` is its number in the org, `id` is the same wherever the event is told."""

    seq: int
    id: str
    type: str
    time: datetime
    data: Mapping[str, Any]


class EventList(msgspec.Struct, kw_only=True, frozen=True):
    """Events in their order. `after`: what to ask for next. `newest`: the number of the last event that there is.

    `truncated`: events behind the number asked for are not kept any more; the list begins with the oldest that is.
    """

    items: list[EventView]
    after: int
    newest: int
    truncated: bool


class EventStreams:
    """The open streams. Each reads by itself, and no faster than its reader."""

    def __init__(self, events: EventStore, authenticator: Authenticator, clock: Clock) -> None:
        self._events = events
        self._authenticator = authenticator
        self._clock = clock
        self._open: dict[OrgId, set[asyncio.Event]] = {}
        self._closed = False

    def close(self) -> None:
        """End every stream: the daemon stops. Their readers come back with their Last-Event-ID."""
        self._closed = True
        for nudges in self._open.values():
            for nudge in nudges:
                nudge.set()

    async def pieces(
        self, org: OrgId, key: str, after: int | None, types: tuple[str, ...]
    ) -> AsyncGenerator[bytes, None]:
        """A stream as bytes, until it is closed or its key may read it no longer.

        Refused `too_many_streams` at the first piece. `after` None: from now on.
        """
        nudge = asyncio.Event()
        nudges = self._open.setdefault(org, set())
        if len(nudges) >= STREAMS_MAX:
            detail = f"The org has {len(nudges)} open streams already; close one, or try again later."
            raise Refused("too_many_streams", detail, more={"retry_after": RETRY_SECONDS})
        nudges.add(nudge)
        try:
            position = await self._events.last(org) if after is None else after
            yield b"retry: 2000\n: events follow\n\n"
            said = checked = self._clock.now()
            while not self._closed:
                now = self._clock.now()
                if now - checked >= STREAM_SIGN:
                    if not await self._authenticator.still_permits(org, key, PERMISSION):
                        return
                    checked = now
                page = await self._events.after(org, position, types, STREAM_PAGE)
                piece = _piece(page, position)
                if not piece and now - said >= STREAM_SIGN:
                    piece = b": nothing new\n\n"
                if piece:
                    yield piece
                    said = now
                position = page.position
                if position >= page.newest:
                    await self._clock.wait(nudge, now + STREAM_POLL)
        finally:
            nudges.discard(nudge)


class EventResource:
    """Handlers of `/v1/events`."""

    def __init__(self, events: EventStore, streams: EventStreams) -> None:
        self._events = events
        self._streams = streams

    async def page(self, call: Call) -> Answer:
        query: EventQuery = call.query
        types = read_types(query.types) if query.types is not None else ()
        found = await self._events.after(call.org, query.after, types, query.limit)
        if query.after > found.newest:
            raise _ahead("?after", query.after, found.newest)
        return Answer(
            body=EventList(
                items=[_view(event) for event in found.events],
                after=found.position,
                newest=found.newest,
                truncated=found.first > query.after + 1,
            )
        )

    async def stream(self, call: Call) -> Answer:
        query: StreamQuery = call.query
        types = read_types(query.types) if query.types is not None else DEFAULT_PATTERNS
        pointer, after = "?after", query.after
        if "last-event-id" in call.headers:
            pointer, after = "Last-Event-ID", _read_last_event_id(call.headers["last-event-id"])
        if after is not None:
            newest = await self._events.last(call.org)
            if after > newest:
                raise _ahead(pointer, after, newest)
        return Answer(
            stream=self._streams.pieces(call.org, call.caller.key_id, after, types), content_type="text/event-stream"
        )


def event_routes(events: EventStore, streams: EventStreams) -> list[Route]:
    """The routes of `/v1/events`."""
    resource = EventResource(events, streams)
    return [
        Route(
            method="GET",
            path="/v1/events",
            handler=resource.page,
            summary="Read what happened, in the order in which it happened",
            permissions=(PERMISSION,),
            tag="events",
            query=EventQuery,
            answer=EventList,
        ),
        Route(
            method="GET",
            path="/v1/events/stream",
            handler=resource.stream,
            summary="Follow what happens (server-sent events)",
            permissions=(PERMISSION,),
            tag="events",
            query=StreamQuery,
            answers_also=("text/event-stream",),
            refusals=("too_many_streams",),
        ),
    ]


def read_types(text: str) -> tuple[str, ...]:
    """Patterns between commas. Invalid at `?types`, with the types that there are."""
    patterns = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    problems = [Problem("?types", fault) for fault in map(fault_of, patterns) if fault is not None]
    if problems:
        raise Invalid(problems)
    return patterns


def _read_last_event_id(text: str) -> int:
    stripped = text.strip()
    if not (stripped.isascii() and stripped.isdigit()) or int(stripped[:20]) > SEQ_MAX:
        detail = f"Must be the `id` of the last event of a stream of this org, a number, not {stripped[:40]!r}."
        raise Invalid([Problem("Last-Event-ID", detail)])
    return int(stripped)


def _ahead(pointer: str, after: int, newest: int) -> Invalid:
    """Somebody who waits there would miss everything until then: this is another org's number, or an older database."""
    detail = f"{after} is ahead of the newest event, {newest}: it is no number of this org's events."
    return Invalid([Problem(pointer, detail)])


def _piece(page: EventPage, position: int) -> bytes:
    """A page as server-sent events, led by a notice where some behind `position` are not kept any more."""
    lines = []
    if page.first > position + 1:
        lines.append(b'event: truncated\ndata: {"first":%d}\n\n' % page.first)
    for event in page.events:
        data = msgspec.json.encode(_view(event))
        lines.append(b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.type.encode(), data))
    return b"".join(lines)


def _view(event: Event) -> EventView:
    return EventView(seq=event.seq, id=event.id, type=event.type, time=event.time, data=event.data)
