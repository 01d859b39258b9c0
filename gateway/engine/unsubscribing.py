"""Leaving by a link: what the link is about, and the click."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from gateway.core.content import DEFAULT_CATEGORY
from gateway.core.links import Links
from gateway.engine.catalogue import Catalogue
from gateway.store.unsubscribes import LinkedMessage, UnsubscribeStore

EVERYTHING: Final = "all"

Scope = Literal["this", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a reader can leave. `category` is None where only everything can be left."""

    title: str  # of the org
    channel: str  # its title
    category: str | None


class Unsubscribing:
    """One for the life of the daemon."""

    def __init__(self, links: Links, store: UnsubscribeStore, catalogue: Catalogue) -> None:
        self._links = links
        self._store = store
        self._catalogue = catalogue

    async def offer(self, token: str) -> Offer | None:
        """What the link is about; None: it was not made here, or its message is kept no more."""
        message = await self._linked(token)
        return None if message is None else self._offer(message)

    async def leave(self, token: str, scope: Scope) -> Offer | None:
        """Record the wish, at once and without asking back. `this`: the message's own category, where it has one.

        Doing it again changes nothing. None as for `offer`.
        """
        message = await self._linked(token)
        if message is None:
            return None
        offer = self._offer(message)
        category = offer.category if scope == "this" and offer.category is not None else EVERYTHING
        await self._store.leave(message, category, self._catalogue.channels)
        return offer

    async def _linked(self, token: str) -> LinkedMessage | None:
        id = self._links.message_of(token)
        message = None if id is None else await self._store.linked(id)
        if message is None or message.address is None or message.channel not in self._catalogue.channels:
            return None
        return message

    def _offer(self, message: LinkedMessage) -> Offer:
        try:
            title = self._catalogue.org_by_id(message.org).title
        except KeyError:  # it has left gateway.toml; its readers may leave all the same
            title = ""
        category = None if message.category in (DEFAULT_CATEGORY, EVERYTHING) else message.category
        return Offer(title=title, channel=self._catalogue.channels[message.channel].title, category=category)
