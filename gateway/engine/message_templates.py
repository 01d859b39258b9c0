"""Messages made from an org's own templates: which version, and what a message may add to it."""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.core.content import MessageContent
from gateway.core.ids import TEMPLATE, format_id, parse_id
from gateway.core.message_template import ChosenTemplate, MessageTemplateUse, TemplateSource, TemplateStatus
from gateway.engine.action_requests import ContentRequest
from gateway.engine.catalogue import Sender
from gateway.engine.findings import Findings
from gateway.engine.provider_templates import ProviderTemplates
from gateway.store.message_templates import MessageTemplate, MessageTemplateStore, TemplateVersion

_BRINGS: Final = ("subject", "body", "html", "media", "provider_template")


class MessageTemplates:
    """Finds the version that a message names. One for the life of the daemon; it keeps nothing."""

    def __init__(self, store: MessageTemplateStore, providers: ProviderTemplates) -> None:
        self._store = store
        self._providers = providers

    async def chosen(
        self, asked: ContentRequest, sender: Sender, found: Findings, at: str, *, any_template: bool
    ) -> ChosenTemplate | None:
        """The version that `asked.template` names; None if it names none of ours, or one that cannot be used.

        By its id a template is found wherever it is kept. By a name a provider's comes before one of ours.
        """
        name, before = asked.template or "", len(found.problems)
        template = await self._by_id(sender, name, found, at)
        if template is None and len(found.problems) == before and not await self._providers.knows(sender, name):
            template = await self._store.named(sender.org.id, sender.channel.name, name)
            if template is None and not sender.adapter.capabilities.templates:
                known = ", ".join(await self._store.names(sender.org.id, sender.channel.name)) or "none"
                detail = f"Channel {sender.channel.name!r} has no template {name!r}; there are: {known}."
                found.problem(f"{at}/template", detail)
        if template is None:
            return None
        version = template.current
        if version.status is not TemplateStatus.APPROVED and not any_template:
            why = f" ({version.reason})" if version.reason else ""
            detail = f"Template {template.name!r} is not approved: version {version.number} is {version.status}{why}."
            found.problem(f"{at}/template", detail, "template_not_approved")
            return None
        return chosen_version(template, version)

    async def _by_id(self, sender: Sender, name: str, found: Findings, at: str) -> MessageTemplate | None:
        number = parse_id(TEMPLATE, name)
        template = None if number is None else await self._store.find(sender.org.id, number)
        if template is None:
            return None
        if template.deleted_at is not None:
            found.problem(f"{at}/template", f"Template {template.name!r} was deleted.")
            return None
        if template.channel != sender.channel.name:
            detail = f"Template {template.name!r} is for channel {template.channel!r}, not {sender.channel.name!r}."
            found.problem(f"{at}/template", detail)
            return None
        return template


def chosen_version(template: MessageTemplate, version: TemplateVersion) -> ChosenTemplate:
    """What a message is made from."""
    return ChosenTemplate(
        id=format_id(TEMPLATE, template.id), name=template.name, version=version.number, source=version.source
    )


def content_request(channel: str, sender: str | None, source: TemplateSource) -> ContentRequest:
    """A version as a message that somebody asks for."""
    return ContentRequest(
        channel=channel,
        sender=sender,
        subject=source.subject,
        body=source.body,
        html=source.html,
        template=source.provider_template,
        language=source.language if source.provider_template is not None else None,
        parameters=dict(source.parameters),
        media=[*source.media],
        category=source.category,
    )


def filled_in(
    asked: ContentRequest, chosen: ChosenTemplate, found: Findings, at: str
) -> tuple[ContentRequest, MessageTemplateUse]:
    """The request with what the template brings in the place of its name."""
    source, named = chosen.source, f"Template {chosen.name!r}"
    brings = tuple(name for name in _BRINGS if getattr(source, name))
    if asked.category is None:
        brings = (*brings, "category")  # also where it says nothing of it: what takes its place may say something
    if asked.body is not None or asked.html is not None:
        found.problem(f"{at}/template", "Give a text or a template, not both.")
    for name in ("subject", "media"):
        if name in brings and getattr(asked, name):
            found.problem(f"{at}/{name}", f"{named} brings its own {name}: leave it out.")
    if source.provider_template is None:
        if asked.parameters:
            found.problem(f"{at}/parameters", f"{named} takes variables, not parameters.")
        if asked.language not in (None, source.language):
            found.problem(f"{at}/language", f"{named} is not in {asked.language!r} but in {source.language!r}.")
    given = content_request(asked.channel, asked.sender, source)
    request = msgspec.structs.replace(
        asked,
        template=given.template,
        language=None if given.template is None else asked.language or given.language,
        parameters={**given.parameters, **asked.parameters},
        **{name: getattr(given, name) for name in brings if name != "provider_template"},
    )
    return request, MessageTemplateUse(id=chosen.id, name=chosen.name, version=chosen.version, brings=brings)


def kept_template(content: MessageContent) -> ChosenTemplate | None:
    """The version that a stored content was made from, as it was copied then."""
    use = content.message_template
    if use is None:
        return None
    provider = content.template if "provider_template" in use.brings else None
    source = TemplateSource(
        subject=content.subject if "subject" in use.brings else None,
        body=content.body if "body" in use.brings else None,
        html=content.html if "html" in use.brings else None,
        media=tuple(one.url for one in content.media) if "media" in use.brings else (),
        provider_template=None if provider is None else provider.name,
        parameters={} if provider is None else provider.parameters,
        language=None if provider is None else provider.language,
        category=content.category if "category" in use.brings else None,
    )
    return ChosenTemplate(id=use.id, name=use.name, version=use.version, source=source)
