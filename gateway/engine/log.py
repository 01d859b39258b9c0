"""The communication log as people read it: with the text of every message.

A bulk message's text is stored nowhere. It is its action's templates over the values that were frozen in the message at
its first attempt: rendered again it is the text that was sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.core.content import MediaContent, MessageContent
from gateway.core.ids import ActionId, MessageId, OrgId
from gateway.core.message_template import MessageTemplateUse
from gateway.core.template import MissingVariable, TemplateFault
from gateway.engine.catalogue import Catalogue, Org
from gateway.engine.composing import Composer, ContentPolicyFailed
from gateway.engine.rendering import CompiledContent, RenderedContent
from gateway.store.messages import HistoryEntry, LogFilter, LoggedMessage, LogPage, MessageLog


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What one message says; without texts where they cannot be rendered any more.

    `button`: the payload of the button that somebody pressed instead of writing.
    """

    subject: str | None = None
    body: str | None = None
    html: str | None = None
    template: str | None = None
    message_template: MessageTemplateUse | None = None
    media: tuple[MediaContent, ...] = ()
    button: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadMessage:
    """A message with its texts."""

    message: LoggedMessage
    texts: Texts


class CommunicationLog:
    """Reads messages."""

    def __init__(self, store: MessageLog, catalogue: Catalogue, composer: Composer) -> None:
        self._store = store
        self._catalogue = catalogue
        self._composer = composer

    async def list(
        self, org: OrgId, wanted: LogFilter, *, limit: int, before: MessageId | None = None
    ) -> Sequence[ReadMessage]:
        """At most `limit` messages, newest first, older than `before`."""
        return await self._read(await self._store.list(org, wanted, limit=limit, before=before))

    async def show(self, org: OrgId, message: MessageId) -> tuple[ReadMessage, Sequence[HistoryEntry]] | None:
        """One message and what happened to it; None if the org has none by that id."""
        page = await self._store.get(org, message)
        if page is None:
            return None
        (read,) = await self._read(page)
        return read, page.history

    async def some(self, org: OrgId, ids: Sequence[MessageId]) -> Mapping[MessageId, ReadMessage]:
        """Those of these messages that the org has."""
        if not ids:
            return {}
        found = await self._read(await self._store.list(org, LogFilter(ids=tuple(ids)), limit=len(ids)))
        return {read.message.id: read for read in found}

    async def has_contact(self, org: OrgId, public_id: str) -> bool:
        """Whether the org knows a contact, deleted or not, by this id."""
        return await self._store.has_contact(org, public_id)

    def spellings(self, org: Org, address: str) -> tuple[str, ...]:
        """The forms in which an address may be stored: as given, and as each channel of the org spells it."""
        spelled = {address.strip()}
        for channel in self._channels(org).values():
            try:
                spelled.add(channel.normalise(address, org.default_region))
            except ValueError:
                continue  # it is no address of this channel
        return tuple(sorted(spelled))

    def channel_names(self, org: Org) -> tuple[str, ...]:
        """The channels on which the org has a sender."""
        return tuple(sorted(self._channels(org)))

    def _channels(self, org: Org) -> Mapping[str, Any]:
        return {one.channel.name: one.channel for one in self._catalogue.senders.values() if one.org.id == org.id}

    async def _read(self, page: LogPage) -> Sequence[ReadMessage]:
        """Fill the texts in. On a thread: two hundred long mails would hold the event loop up."""
        if not page.contents:
            return [_with_texts(message, {}) for message in page.messages]
        return await asyncio.to_thread(self._render, page)

    def _render(self, page: LogPage) -> Sequence[ReadMessage]:
        compiled: dict[ActionId, CompiledContent] = {}
        for action, content in page.contents.items():
            try:
                compiled[action] = self._composer.compile(msgspec.json.decode(content, type=MessageContent))
            except TemplateFault:
                continue  # creation has checked it; a stricter version of the gateway shows no text then
        return [_with_texts(message, compiled) for message in page.messages]


def _with_texts(message: LoggedMessage, compiled: Mapping[ActionId, CompiledContent]) -> ReadMessage:
    if message.content is not None:
        return ReadMessage(message=message, texts=_stored(message.content))
    content = compiled.get(message.action) if message.action is not None else None
    if content is None:
        return ReadMessage(message=message, texts=Texts())
    try:
        outbound = content.render(message.id, max(1, message.attempts), message.address, message.variables)
    except (MissingVariable, TemplateFault, ContentPolicyFailed):
        return ReadMessage(message=message, texts=Texts())
    named = content.content.message_template or content.content.template
    texts = Texts(
        subject=outbound.subject,
        body=content.shown(outbound),
        html=outbound.html,
        template=None if named is None else named.name,
        message_template=content.content.message_template,
        media=content.content.media,
    )
    return ReadMessage(message=message, texts=texts)


def _stored(content: Mapping[str, Any]) -> Texts:
    rendered = msgspec.convert(content, RenderedContent)
    return Texts(
        subject=rendered.subject,
        body=rendered.shown(),
        html=rendered.html,
        template=rendered.template_name,
        message_template=rendered.message_template,
        media=rendered.media,
        button=content.get("button"),
    )
