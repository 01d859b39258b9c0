"""Whose rules a template is held to: a template belongs to a channel, and a channel may have several senders."""

from __future__ import annotations

from gateway.core.message_template import TemplateSource
from gateway.engine.catalogue import Catalogue, Org, Sender
from gateway.engine.provider_templates import ProviderTemplates
from gateway.errors import Refused


class TemplateSenders:
    """One for the life of the daemon; it keeps nothing."""

    def __init__(self, catalogue: Catalogue, providers: ProviderTemplates) -> None:
        self._catalogue = catalogue
        self._providers = providers

    async def fitting(self, org: Org, channel: str, source: TemplateSource) -> Sender:
        """Who would send it: whose provider keeps the `provider_template`, else the default. Refused `unknown_channel`.

        Of several equal ones the first by name.
        """
        default = self._default(org, channel)
        if source.provider_template is None or await self._providers.knows(default, source.provider_template):
            return default
        return await self.keeper(org, channel, source.provider_template) or default

    async def keeper(self, org: Org, channel: str, name: str) -> Sender | None:
        """The first sender of a channel whose provider keeps a template of this name; None if none does."""
        for sender in self._of(org, channel):
            if await self._providers.knows(sender, name):
                return sender
        return None

    def _default(self, org: Org, channel: str) -> Sender:
        try:
            return self._catalogue.sender_for(org.name, channel, None)
        except Refused as refused:
            if refused.code != "sender_ambiguous":
                raise
            return self._of(org, channel)[0]

    def _of(self, org: Org, channel: str) -> list[Sender]:
        own = (one for one in self._catalogue.senders.values() if (one.org.id, one.channel.name) == (org.id, channel))
        return sorted(own, key=lambda one: one.name)
