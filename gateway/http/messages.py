"""Messages: one sent now, the communication log, and a person's timeline."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec

from gateway.core.ids import ACTION, MESSAGE, ActionId, MessageId, format_id, parse_id
from gateway.core.states import MessageStatus
from gateway.engine.action_requests import ContentRequest
from gateway.engine.catalogue import Catalogue, Org
from gateway.engine.contents import TEMPLATE_OVERRIDE
from gateway.engine.log import CommunicationLog, ReadMessage
from gateway.engine.singles import SingleDraft, SingleMessages
from gateway.errors import Invalid, NotFound, Problem
from gateway.http.paging import Page, PageQuery, key_of, page
from gateway.http.routing import Answer, Call, Route
from gateway.store.messages import HistoryEntry, LogFilter

ADDRESS_CHARACTERS_MAX: Final = 320  # RFC 5321 4.5.3.1: 64 and 255 around an at sign; all other addresses are shorter
REQUESTED_BY_CHARACTERS_MAX: Final = 200

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Address = Annotated[str, msgspec.Meta(min_length=1, max_length=ADDRESS_CHARACTERS_MAX)]
ShortText = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Direction = Literal["outbound", "inbound"]
Source = Literal["bulk_action", "api", "reply", "campaign", "opt_out_reply", "test", "notice", "inbound"]
Status = Literal[
    "pending",
    "sending",
    "unknown",
    "accepted",
    "sent",
    "cancelled",
    "failed",
    "expired",
    "undelivered",
    "bounced",
    "delivered",
    "read",
    "received",
]


class TimelineQuery(PageQuery, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which messages of a person to list. `status` and `source` may be given several times."""

    channel: str | None = None
    direction: Direction | None = None
    status: tuple[Status, ...] = ()
    source: tuple[Source, ...] = ()
    bulk_action: str | None = None
    requested_by: str | None = None
    created_after: Instant | None = None
    created_before: Instant | None = None


class LogQuery(TimelineQuery, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which messages to list.

    `address` finds messages to whoever has the address now, and to an address that nobody has. What was sent to a
    contact under an address that it has since given up is found by `contact`.
    """

    contact: str | None = None
    address: Address | None = None


class MessageDraft(ContentRequest, kw_only=True, frozen=True):
    """One message to be sent now: to an address (`to`) or to a contact, by its id."""

    to: Address | None = None
    contact: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    requested_by: Annotated[str, msgspec.Meta(max_length=REQUESTED_BY_CHARACTERS_MAX)] | None = None


class MediaView(msgspec.Struct, kw_only=True, frozen=True):
    """A file of a message. Those of inbound messages stay at the provider, which may want its credentials."""

    url: str
    content_type: str | None
    filename: str | None


class MessageView(msgspec.Struct, kw_only=True, frozen=True):
    """A message, outbound or inbound. The texts of a bulk message are rendered again from what was sent.

    `template_id` and `template_version`: of a template of ours, whatever became of it since.
    """

    id: str
    direction: str
    channel: str
    sender: str | None
    address: str
    contact_id: str | None
    status: str
    source: str
    bulk_action_id: str | None
    round: int
    in_reply_to: str | None
    link_reason: str | None
    subject: str | None
    text: str | None
    html: str | None
    template: str | None
    category: str | None
    code: str | None
    reason: str | None
    provider_code: str | None
    provider_ids: list[str]
    segments: int | None
    requested_by: str | None
    created_at: datetime
    accepted_at: datetime | None
    sent_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    attempts: int
    button: str | None  # payload of the button that somebody pressed instead of writing
    media: list[MediaView]
    template_id: str | None
    template_version: int | None
    dry_run: bool | msgspec.UnsetType = msgspec.UNSET  # there, and true, only if the adapter was not called


class HistoryView(msgspec.Struct, kw_only=True, frozen=True):
    """One thing that happened to a message."""

    at: datetime
    kind: str
    status: str
    detail: str | None


class MessageWithHistory(MessageView, kw_only=True, frozen=True):
    """A message with everything that happened to it, in order."""

    history: list[HistoryView]


class MessageResource:
    """Handlers of `/v1/messages` and of a contact's timeline."""

    def __init__(self, log: CommunicationLog, singles: SingleMessages, catalogue: Catalogue) -> None:
        self._log = log
        self._singles = singles
        self._catalogue = catalogue

    async def list(self, call: Call) -> Answer:
        query: LogQuery = call.query
        return await self._page(call, query, contact=query.contact, address=query.address)

    async def timeline(self, call: Call) -> Answer:
        if not await self._log.has_contact(call.org, call.path["id"]):
            raise NotFound("contact", call.path["id"])
        return await self._page(call, call.query, contact=call.path["id"], address=None)

    async def show(self, call: Call) -> Answer:
        number = parse_id(MESSAGE, call.path["id"])
        shown = None if number is None else await self._log.show(call.org, MessageId(number))
        if shown is None:
            raise NotFound("message", call.path["id"])
        return Answer(body=_with_history(*shown))

    async def send(self, call: Call) -> Answer:
        draft: MessageDraft = call.body
        _check_recipient(draft)
        message = await self._singles.send(
            self._catalogue.org_by_id(call.org),
            SingleDraft(
                content=draft,
                to=draft.to,
                contact=draft.contact,
                requested_by=draft.requested_by,
                any_template=self._catalogue.permits(call.caller, TEMPLATE_OVERRIDE),
            ),
            claim=call.claim,
        )
        shown = await self._log.show(call.org, message)
        if shown is None:
            raise NotFound("message", format_id(MESSAGE, message))
        return Answer(body=message_view(shown[0]), headers={"Location": f"/v1/messages/{format_id(MESSAGE, message)}"})

    async def _page(self, call: Call, query: TimelineQuery, *, contact: str | None, address: str | None) -> Answer:
        before = key_of(query.cursor, tuple[int])
        org = self._catalogue.org_by_id(call.org)
        found = await self._log.list(
            call.org,
            self._filter(org, query, contact, address),
            limit=query.limit + 1,
            before=None if before is None else MessageId(before[0]),
        )
        return Answer(body=page(found, query.limit, message_view, lambda read: (read.message.id,)))

    def _filter(self, org: Org, query: TimelineQuery, contact: str | None, address: str | None) -> LogFilter:
        return LogFilter(
            contact=contact,
            addresses=None if address is None else self._log.spellings(org, address),
            channels=self._log.channel_names(org),
            channel=query.channel,
            direction=query.direction,
            status=tuple(MessageStatus[status.upper()] for status in query.status),
            source=query.source,
            action=_action(query.bulk_action),
            requested_by=query.requested_by,
            created_after=query.created_after,
            created_before=query.created_before,
        )


def message_routes(log: CommunicationLog, singles: SingleMessages, catalogue: Catalogue) -> list[Route]:
    """The routes of `/v1/messages`, and `/v1/contacts/{id}/messages`."""
    resource = MessageResource(log, singles, catalogue)
    return [
        Route(
            method="POST",
            path="/v1/messages",
            handler=resource.send,
            summary="Send one message now, before everything bulk",
            permissions=("messaging.send",),
            tag="messages",
            body=MessageDraft,
            answer=MessageView,
            status=202,
            creates=True,
            grows=True,
            shows="/v1/messages/{id}",
            refusals=(
                "opted_out",
                "no_address",
                "window_closed",
                "unknown_channel",
                "unknown_sender",
                "sender_ambiguous",
                "policy_error",
                "template_not_approved",
            ),
        ),
        Route(
            method="GET",
            path="/v1/messages",
            handler=resource.list,
            summary="List messages, newest first: the communication log",
            permissions=("messaging.read",),
            tag="messages",
            query=LogQuery,
            answer=Page[MessageView],
        ),
        Route(
            method="GET",
            path="/v1/messages/{id}",
            handler=resource.show,
            summary="Show a message and what happened to it",
            permissions=("messaging.read",),
            tag="messages",
            answer=MessageWithHistory,
        ),
        Route(
            method="GET",
            path="/v1/contacts/{id}/messages",
            handler=resource.timeline,
            summary="List a contact's messages over all channels, newest first",
            permissions=("members.read",),
            tag="contacts",
            query=TimelineQuery,
            answer=Page[MessageView],
        ),
    ]


def _check_recipient(draft: MessageDraft) -> None:
    if (draft.to is None) == (draft.contact is None):
        given = "neither" if draft.to is None else "both"
        raise Invalid([Problem("/to", f"Give either `to` or `contact`; here is {given}.")])


def _action(text: str | None) -> ActionId | None:
    if text is None:
        return None
    number = parse_id(ACTION, text)
    if number is None:
        raise Invalid(
            [Problem("?bulk_action", f"{text!r} is no id of a bulk action: they look like 'ba_0c3v8h2k9m4qa'.")]
        )
    return ActionId(number)


def message_view(read: ReadMessage) -> MessageView:
    """A message as the API shows it."""
    message, made_from = read.message, read.texts.message_template
    return MessageView(
        id=format_id(MESSAGE, message.id),
        direction=message.direction,
        channel=message.channel,
        sender=message.sender,
        address=message.address,
        contact_id=message.contact_id,
        status=message.status.label,
        source=message.source,
        bulk_action_id=None if message.action is None else format_id(ACTION, message.action),
        round=message.round,
        in_reply_to=None if message.in_reply_to is None else format_id(MESSAGE, message.in_reply_to),
        link_reason=message.link_reason,
        subject=read.texts.subject,
        text=read.texts.body,
        html=read.texts.html,
        button=read.texts.button,
        media=[
            MediaView(url=one.url, content_type=one.content_type, filename=one.filename) for one in read.texts.media
        ],
        template=message.template or read.texts.template,
        template_id=None if made_from is None else made_from.id,
        template_version=None if made_from is None else made_from.version,
        category=message.category,
        code=message.code,
        reason=message.reason,
        provider_code=message.provider_code,
        provider_ids=list(message.provider_ids),
        segments=message.segments,
        requested_by=message.requested_by,
        created_at=message.created_at,
        accepted_at=message.accepted_at,
        sent_at=message.sent_at,
        delivered_at=message.delivered_at,
        read_at=message.read_at,
        attempts=message.attempts,
        dry_run=message.dry_run or msgspec.UNSET,
    )


def _with_history(read: ReadMessage, history: Sequence[HistoryEntry]) -> MessageWithHistory:
    view = message_view(read)
    return MessageWithHistory(
        **{name: getattr(view, name) for name in view.__struct_fields__},
        history=[HistoryView(at=one.at, kind=one.kind, status=one.status, detail=one.detail) for one in history],
    )
