"""The inbox as people work with it: what came in, who takes care of it, and the reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from gateway.core.ids import CONVERSATION, MessageId, OrgId, format_id
from gateway.engine.action_requests import ContentRequest
from gateway.engine.catalogue import Catalogue, Org, Sender
from gateway.engine.log import CommunicationLog, ReadMessage
from gateway.engine.singles import SingleDraft, SingleMessages
from gateway.errors import NotFound, Refused
from gateway.store.conversations import Conversation, ConversationFilter, ConversationStore
from gateway.store.idempotency import Claim
from gateway.store.messages import LogFilter


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadConversation:
    """A conversation with its last message. `window_expires_at`: until when a free text may be sent; None: always."""

    conversation: Conversation
    sender: Sender | None  # None: it is not configured any more
    window_expires_at: datetime | None
    last_message: ReadMessage | None


class Conversations:
    """Use cases of `/v1/conversations`."""

    def __init__(
        self, store: ConversationStore, log: CommunicationLog, catalogue: Catalogue, singles: SingleMessages
    ) -> None:
        self._store = store
        self._log = log
        self._catalogue = catalogue
        self._singles = singles

    async def list(
        self, org: OrgId, wanted: ConversationFilter, *, before: MessageId | None, limit: int
    ) -> Sequence[ReadConversation]:
        """The one with the newest message first."""
        found = await self._store.list(org, wanted, before=before, limit=limit)
        last = await self._log.some(org, [one.last_message for one in found])
        return [self._with_last(one, last) for one in found]

    async def one(self, org: OrgId, conversation: int) -> ReadConversation:
        """NotFound."""
        found = await self._found(org, conversation)
        return self._with_last(found, await self._log.some(org, [found.last_message]))

    async def messages(
        self, org: OrgId, conversation: int, *, before: MessageId | None, limit: int
    ) -> Sequence[ReadMessage]:
        """Its messages, newest first. NotFound."""
        await self._found(org, conversation)
        return await self._log.list(org, LogFilter(conversation=conversation), limit=limit, before=before)

    async def reply(
        self,
        org: Org,
        conversation: int,
        content: ContentRequest,
        *,
        requested_by: str | None,
        any_template: bool,
        claim: Claim | None,
    ) -> MessageId:
        """Answer through the conversation's own sender, quoting the last message that came in.

        `content.channel` and `.sender` are set here. NotFound; Refused like every single message, `unknown_sender`.
        """
        found = await self._found(org.id, conversation)
        sender = self._catalogue.sender_by_id(found.sender)
        if sender is None:
            raise Refused("unknown_sender", "The sender of this conversation is not configured any more.")
        last = await self._store.last_inbound_id(conversation)
        return await self._singles.send(
            org,
            SingleDraft(
                content=msgspec.structs.replace(content, channel=found.channel, sender=sender.name),
                to=found.address,
                source="reply",
                answers=None if last is None else last[0],
                quotes=None if last is None else last[1],
                requested_by=requested_by,
                any_template=any_template,
            ),
            claim=claim,
        )

    async def mark_read(self, org: OrgId, conversation: int, up_to: MessageId | None) -> ReadConversation:
        """Up to a message of it, or all of it. NotFound."""
        found = await self._found(org, conversation)
        if up_to is not None and not await self._log.some(org, [up_to]):
            raise NotFound("message", str(up_to))
        await self._store.mark_read(conversation, found.last_message if up_to is None else up_to)
        return await self.one(org, conversation)

    async def assign(self, org: OrgId, conversation: int, to: str | None) -> ReadConversation:
        """Give it to somebody, or to nobody. NotFound."""
        await self._found(org, conversation)
        await self._store.assign(conversation, to)
        return await self.one(org, conversation)

    async def _found(self, org: OrgId, conversation: int) -> Conversation:
        found = await self._store.get(org, conversation)
        if found is None:
            raise NotFound("conversation", format_id(CONVERSATION, conversation))
        return found

    def _with_last(self, found: Conversation, messages: Mapping[MessageId, ReadMessage]) -> ReadConversation:
        sender = self._catalogue.sender_by_id(found.sender)
        channel = self._catalogue.channels.get(found.channel)
        window = None if channel is None else channel.reply_window
        return ReadConversation(
            conversation=found,
            sender=sender,
            window_expires_at=None if window is None else found.last_inbound_at + window,
            last_message=messages.get(found.last_message),
        )
