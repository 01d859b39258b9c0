"""What tests that read messages need of the rest of the house."""

from __future__ import annotations

from gateway.clock import Clock
from gateway.contract import Media
from gateway.core.ids import IdSequence
from gateway.core.template import Renderer
from gateway.engine.catalogue import Catalogue
from gateway.engine.contents import Contents
from gateway.engine.message_templates import MessageTemplates
from gateway.engine.provider_templates import ProviderTemplates
from gateway.store.database import Database
from gateway.store.message_templates import MessageTemplateStore
from gateway.store.templates import TemplateStore


async def undescribed(url: str) -> Media:
    """A file of which its server says nothing."""
    return Media(url=url)


def make_templates(database: Database, catalogue: Catalogue, clock: Clock, ids: IdSequence) -> ProviderTemplates:
    """The templates of the catalogue's senders."""
    return ProviderTemplates(TemplateStore(database, ids), catalogue, clock)


def make_contents(
    database: Database, catalogue: Catalogue, clock: Clock, ids: IdSequence, renderer: Renderer | None = None
) -> Contents:
    """What reads messages, with no file server in the world."""
    templates = make_templates(database, catalogue, clock, ids)
    message_templates = MessageTemplates(MessageTemplateStore(database, ids), templates)
    return Contents(catalogue, renderer or Renderer(), templates, message_templates, undescribed)
