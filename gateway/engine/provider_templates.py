"""Templates that providers keep: asked for regularly, chosen by name, with a text for each of their parameters."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import structlog

from gateway.clock import Clock
from gateway.contract import TemplateChange
from gateway.core.content import TemplateContent
from gateway.core.ids import TEMPLATE, ActionId, OrgId, SenderId, parse_id
from gateway.engine.action_requests import ContentRequest
from gateway.engine.catalogue import Catalogue, Sender
from gateway.engine.findings import Findings
from gateway.engine.strangers import ask
from gateway.errors import StoreUnavailable
from gateway.store.templates import StoredTemplate, TemplateFilter, TemplateStore

SYNC_EVERY: Final = timedelta(hours=1)
SYNC_SECONDS: Final = 60.0
_IDENTIFIER: Final = re.compile(r"[A-Za-z_]\w*")


class ProviderTemplates:
    """Keeps the list of every sender whose provider has templates; `run` asks for it again each hour."""

    def __init__(self, store: TemplateStore, catalogue: Catalogue, clock: Clock) -> None:
        self._store = store
        self._senders = tuple(sender for sender in catalogue.senders.values() if sender.adapter.capabilities.templates)
        self._clock = clock
        self._log = structlog.get_logger("gateway.templates")

    async def run(self) -> None:
        """Ask every provider, at once and then each hour, until cancelled."""
        while self._senders:
            for sender in self._senders:
                try:
                    await self.sync(sender)
                except StoreUnavailable as exc:
                    self._log.warning("store_unavailable", detail=str(exc))
            await self._clock.wait(asyncio.Event(), self._clock.now() + SYNC_EVERY)

    async def sync_all(self, org: OrgId, channel: str | None) -> dict[str, str | None]:
        """Ask the providers of an org's senders now: by sender's name what is wrong, None if it answered."""
        wanted = [one for one in self._senders if one.org.id == org and channel in (None, one.channel.name)]
        return {sender.name: await self.sync(sender) for sender in wanted}

    async def sync(self, sender: Sender) -> str | None:
        """Ask one provider. What is wrong, and then everything that is known stays; None if it answered."""
        try:
            async with asyncio.timeout(SYNC_SECONDS):
                found = await ask(sender.adapter.templates())
        # A stranger's code and a distant machine: whatever it is, what is known stays.
        except Exception as exc:  # noqa: BLE001
            self._log.warning("templates_not_listed", sender=sender.name, error=f"{type(exc).__name__}: {exc}")
            return f"{type(exc).__name__}: {exc}"
        distinct = {(one.name, one.language): one for one in found}
        await self._store.sync(
            sender.org.id, sender.id, sender.channel.name, tuple(distinct.values()), self._clock.now()
        )
        return None

    async def listed(self, org: OrgId, wanted: TemplateFilter, *, after: int, limit: int) -> Sequence[StoredTemplate]:
        """A page, oldest first."""
        return await self._store.list(org, wanted, after=after, limit=limit)

    async def one(self, org: OrgId, template: int) -> StoredTemplate | None:
        """One of the org's, or None."""
        return await self._store.get(org, template)

    async def knows(self, sender: Sender, name: str) -> bool:
        """Whether the sender's provider has a template of this name, or of this id of ours."""
        number = parse_id(TEMPLATE, name)
        if number is not None:
            template = await self._store.get(sender.org.id, number)
            return template is not None and template.sender == sender.id
        return bool(await self._store.named(sender.id, name))

    async def users_of(self, sender: SenderId, change: TemplateChange) -> Sequence[ActionId]:
        """The bulk actions that would still send with a template that has changed."""
        return await self._store.users_of(sender, change.name, change.language)

    async def chosen(
        self, asked: ContentRequest, sender: Sender, found: Findings, at: str, *, any_template: bool
    ) -> tuple[TemplateContent, str | None] | None:
        """The template that a message names, with a text for each of its parameters, and its own category."""
        template = await self._named(asked, sender, found, at)
        if template is None:
            return None
        if template.status != "approved" and not any_template:
            why = f" ({template.reason})" if template.reason else ""
            detail = f"Template {template.name!r} ({template.language}) is {template.status}{why}."
            found.problem(f"{at}/template", detail, "template_not_approved")
        if template.media is not None and len(asked.media) != 1:
            detail = f"Template {template.name!r} begins with a file ({template.media}): give its URL, one."
            found.problem(f"{at}/media", detail)
        if template.media is None and asked.media:
            found.problem(f"{at}/media", f"Template {template.name!r} has no place for a file.")
        content = TemplateContent(
            name=template.name,
            language=template.language,
            text=template.text,
            parameters=_parameters(asked, template, found, at),
            details=template.details,
        )
        return content, template.category

    async def _named(self, asked: ContentRequest, sender: Sender, found: Findings, at: str) -> StoredTemplate | None:
        name = asked.template or ""
        number = parse_id(TEMPLATE, name)
        if number is not None:
            template = await self._store.get(sender.org.id, number)
            if template is not None and template.sender == sender.id:
                return template
        variants = await self._store.named(sender.id, name)
        if not variants:
            known = ", ".join((await self._store.names(sender.id))[:20]) or "none"
            found.problem(f"{at}/template", f"Sender {sender.name!r} has no template {name!r}; there are: {known}.")
            return None
        languages = ", ".join(one.language for one in variants)
        if asked.language is None and len(variants) > 1:
            found.problem(f"{at}/language", f"Template {name!r} exists in {languages}: name one.")
            return None
        fitting = [one for one in variants if asked.language in (None, one.language)]
        if not fitting:
            found.problem(f"{at}/language", f"Template {name!r} exists in {languages}, not in {asked.language!r}.")
            return None
        return fitting[0]


def _parameters(asked: ContentRequest, template: StoredTemplate, found: Findings, at: str) -> dict[str, str]:
    """For each parameter what was asked for; else the variable of that name, where a variable can have it."""
    sources = {}
    for name in template.parameters:
        plain = name.rpartition(".")[2]
        if name in asked.parameters:
            sources[name] = asked.parameters[name]
        elif _IDENTIFIER.fullmatch(plain):
            sources[name] = f"{{{{ {plain} }}}}"
        else:
            detail = f"Template {template.name!r} has a parameter {name!r}: say what to write there."
            found.problem(f"{at}/parameters", detail)
    for name in asked.parameters.keys() - set(template.parameters):
        known = ", ".join(template.parameters) or "none"
        found.problem(f"{at}/parameters/{name}", f"Template {template.name!r} has no such parameter; it has: {known}.")
    return sources
