"""The inbox: conversations, their messages, replies, what was read, and who takes care of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec

from gateway.core.ids import CONVERSATION, MESSAGE, MessageId, format_id, parse_id
from gateway.engine.action_requests import ContentRequest
from gateway.engine.catalogue import Catalogue
from gateway.engine.contents import TEMPLATE_OVERRIDE
from gateway.engine.conversations import Conversations, ReadConversation
from gateway.engine.log import CommunicationLog
from gateway.errors import Invalid, NotFound, Problem
from gateway.http.messages import MessageView, message_view
from gateway.http.paging import Page, PageQuery, key_of, page
from gateway.http.routing import Answer, Call, Route
from gateway.store.conversations import ConversationFilter

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class ConversationQuery(PageQuery, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which conversations to list. `unmatched`: nobody is known behind the address."""

    unread: bool | None = None
    unmatched: bool | None = None
    channel: str | None = None
    contact: str | None = None
    assigned_to: str | None = None


class ConversationView(msgspec.Struct, kw_only=True, frozen=True):
    """All messages between one sender and one address.

    `contact_id` is the contact last written to of those who share the address (`candidates`). A free text may be sent
    until `window_expires_at`, then templates only; null: the channel knows no such window.
    """

    id: str
    channel: str
    sender: str | None
    address: str
    name: str | None
    contact_id: str | None
    candidates: list[str]
    unread: int
    assigned_to: str | None
    last_message: MessageView | None
    last_inbound_at: datetime
    window_expires_at: datetime | None
    created_at: datetime


class ReplyDraft(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A message to the address of the conversation, through its own sender. Of a text or a template."""

    subject: str | None = None
    body: str | None = None
    html: str | None = None
    template: str | None = None
    language: str | None = None
    parameters: dict[str, str] = {}
    variables: dict[str, Any] = {}
    media: list[str] = []
    category: str | None = None
    requested_by: Name | None = None


class ReadMark(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Up to which message somebody has read; all of it without one."""

    up_to: str | None = None


class Assignment(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Who takes care of it: an opaque name such as `user:42`, or null."""

    to: Name | None


class ConversationResource:
    """Handlers of `/v1/conversations`."""

    def __init__(self, conversations: Conversations, log: CommunicationLog, catalogue: Catalogue) -> None:
        self._conversations = conversations
        self._log = log
        self._catalogue = catalogue

    async def list(self, call: Call) -> Answer:
        query: ConversationQuery = call.query
        before = key_of(query.cursor, tuple[int])
        found = await self._conversations.list(
            call.org,
            ConversationFilter(
                unread=query.unread,
                unmatched=query.unmatched,
                channel=query.channel,
                contact=query.contact,
                assigned_to=query.assigned_to,
            ),
            before=None if before is None else MessageId(before[0]),
            limit=query.limit + 1,
        )
        return Answer(body=page(found, query.limit, _view, lambda read: (read.conversation.last_message,)))

    async def show(self, call: Call) -> Answer:
        return Answer(body=_view(await self._conversations.one(call.org, _id(call))))

    async def messages(self, call: Call) -> Answer:
        query: PageQuery = call.query
        before = key_of(query.cursor, tuple[int])
        found = await self._conversations.messages(
            call.org,
            _id(call),
            before=None if before is None else MessageId(before[0]),
            limit=query.limit + 1,
        )
        return Answer(body=page(found, query.limit, message_view, lambda read: (read.message.id,)))

    async def reply(self, call: Call) -> Answer:
        draft: ReplyDraft = call.body
        fields = {name: getattr(draft, name) for name in draft.__struct_fields__ if name != "requested_by"}
        message = await self._conversations.reply(
            self._catalogue.org_by_id(call.org),
            _id(call),
            ContentRequest(channel="", **fields),
            requested_by=draft.requested_by,
            any_template=self._catalogue.permits(call.caller, TEMPLATE_OVERRIDE),
            claim=call.claim,
        )
        shown = (await self._log.some(call.org, [message]))[message]
        return Answer(body=message_view(shown), headers={"Location": f"/v1/messages/{format_id(MESSAGE, message)}"})

    async def read(self, call: Call) -> Answer:
        mark: ReadMark = call.body or ReadMark()
        up_to = None if mark.up_to is None else parse_id(MESSAGE, mark.up_to)
        if mark.up_to is not None and up_to is None:
            raise Invalid([Problem("/up_to", f"{mark.up_to[:100]!r} is no id of a message.")])
        marked = await self._conversations.mark_read(call.org, _id(call), None if up_to is None else MessageId(up_to))
        return Answer(body=_view(marked))

    async def assign(self, call: Call) -> Answer:
        order: Assignment = call.body
        return Answer(body=_view(await self._conversations.assign(call.org, _id(call), order.to)))


def conversation_routes(conversations: Conversations, log: CommunicationLog, catalogue: Catalogue) -> list[Route]:
    """The routes of `/v1/conversations`."""
    resource = ConversationResource(conversations, log, catalogue)
    one = "/v1/conversations/{id}"
    return [
        Route(
            method="GET",
            path="/v1/conversations",
            handler=resource.list,
            summary="List conversations, the one with the newest message first",
            permissions=("messaging.read",),
            tag="conversations",
            query=ConversationQuery,
            answer=Page[ConversationView],
        ),
        Route(
            method="GET",
            path=one,
            handler=resource.show,
            summary="Show one conversation",
            permissions=("messaging.read",),
            tag="conversations",
            answer=ConversationView,
        ),
        Route(
            method="GET",
            path=f"{one}/messages",
            handler=resource.messages,
            summary="List the messages of a conversation, newest first",
            permissions=("messaging.read",),
            tag="conversations",
            query=PageQuery,
            answer=Page[MessageView],
        ),
        Route(
            method="POST",
            path=f"{one}/reply",
            handler=resource.reply,
            summary="Answer, through the sender of the conversation and before everything bulk",
            permissions=("messaging.send",),
            tag="conversations",
            body=ReplyDraft,
            answer=MessageView,
            status=202,
            creates=True,
            shows="/v1/messages/{id}",
            refusals=("opted_out", "window_closed", "unknown_sender", "policy_error", "template_not_approved"),
        ),
        Route(
            method="POST",
            path=f"{one}/read",
            handler=resource.read,
            summary="Mark a conversation as read, up to a message",
            permissions=("messaging.send",),
            tag="conversations",
            body=ReadMark,
            body_required=False,
            answer=ConversationView,
        ),
        Route(
            method="POST",
            path=f"{one}/assign",
            handler=resource.assign,
            summary="Give a conversation to somebody, or to nobody",
            permissions=("messaging.send",),
            tag="conversations",
            body=Assignment,
            answer=ConversationView,
        ),
    ]


def _id(call: Call) -> int:
    number = parse_id(CONVERSATION, call.path["id"])
    if number is None:
        raise NotFound("conversation", call.path["id"])
    return number


def _view(read: ReadConversation) -> ConversationView:
    conversation = read.conversation
    return ConversationView(
        id=format_id(CONVERSATION, conversation.id),
        channel=conversation.channel,
        sender=None if read.sender is None else read.sender.name,
        address=conversation.address,
        name=conversation.name,
        contact_id=conversation.contact_id,
        candidates=list(conversation.candidates),
        unread=conversation.unread,
        assigned_to=conversation.assigned_to,
        last_message=None if read.last_message is None else message_view(read.last_message),
        last_inbound_at=conversation.last_inbound_at,
        window_expires_at=read.window_expires_at,
        created_at=conversation.created_at,
    )
