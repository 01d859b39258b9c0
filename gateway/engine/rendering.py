"""From a message's content and one recipient's values to what the adapter sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import msgspec

from gateway.contract import Media, Outbound, TemplateUse
from gateway.core.content import MediaContent, MessageContent, TemplateContent, filled
from gateway.core.ids import MESSAGE, MessageId, format_id
from gateway.core.message_template import MessageTemplateUse
from gateway.core.template import Renderer, Template

OUTPUT_CHARACTERS_MAX: Final = 256 * 1024  # a rendered text; mail beyond that is cut by its readers anyway
SUBJECT_CHARACTERS_MAX: Final = 998  # RFC 5322 2.1.1: the longest line
PARAMETER_CHARACTERS_MAX: Final = 4 * 1024  # of one parameter of a provider's template; theirs are shorter


class Finisher(Protocol):
    """What every message of a content gets beside its recipient's own texts."""

    def values(self, message: MessageId) -> Mapping[str, Any]:
        """Variables of its own."""
        ...

    def finish(self, message: MessageId, outbound: Outbound) -> Outbound:
        """The message as it leaves."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledContent:
    """A message's content with its templates compiled, once for all recipients."""

    content: MessageContent
    subject: Template | None
    body: Template | None
    html: Template | None
    parameters: Mapping[str, Template]  # of the provider's template
    media: tuple[Media, ...]
    variables: frozenset[str]
    finisher: Finisher | None = None

    def finished_by(self, finisher: Finisher) -> CompiledContent:
        """The same content, each message of which is finished by `finisher`."""
        return replace(self, finisher=finisher)

    def frozen(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The part of `values` that the templates use, with the message's own variables as defaults."""
        own = self.content.variables
        return {name: values.get(name, own.get(name)) for name in self.variables if name in values or name in own}

    def render(self, message: MessageId, attempt: int, to: str, values: Mapping[str, Any]) -> Outbound:
        """One recipient's message, finished. MissingVariable, TemplateFault: it cannot be written for this recipient.

        Whatever the finisher raises is raised here.
        """
        if self.finisher is None:
            return self._rendered(message, attempt, to, values)
        outbound = self._rendered(message, attempt, to, {**values, **self.finisher.values(message)})
        return self.finisher.finish(message, outbound)

    def _rendered(self, message: MessageId, attempt: int, to: str, values: Mapping[str, Any]) -> Outbound:
        return Outbound(
            ref=format_id(MESSAGE, message),
            attempt=attempt,
            to=to,
            text=self.body.render(values) if self.body else None,
            subject=self.subject.render(values) if self.subject else None,
            html=self.html.render(values) if self.html else None,
            template=None if self.content.template is None else self._template(self.content.template, values),
            media=self.media,
            reply_to=self.content.reply_to,
        )

    def _template(self, template: TemplateContent, values: Mapping[str, Any]) -> TemplateUse:
        texts = {name: source.render(values) for name, source in self.parameters.items()}
        return TemplateUse(template.name, template.language, texts, template.details)

    def shown(self, outbound: Outbound) -> str | None:
        """The text as its reader sees it, also of a template that the provider fills in."""
        if self.content.template is None or outbound.template is None:
            return outbound.text
        return filled(self.content.template.text, outbound.template.parameters)


def compile_content(renderer: Renderer, content: MessageContent) -> CompiledContent:
    """Compile every template of a message. TemplateFault: one of them has a fault (creation has checked them)."""
    subject = renderer.compile(content.subject, SUBJECT_CHARACTERS_MAX) if content.subject is not None else None
    text = content.plain_text if content.body is None else content.body
    body = renderer.compile(text, OUTPUT_CHARACTERS_MAX) if text is not None else None
    html = renderer.compile(content.html, OUTPUT_CHARACTERS_MAX, html=True) if content.html is not None else None
    sources = content.template.parameters if content.template is not None else {}
    parameters = {name: renderer.compile(source, PARAMETER_CHARACTERS_MAX) for name, source in sources.items()}
    templates = [template for template in (subject, body, html, *parameters.values()) if template is not None]
    variables: frozenset[str] = frozenset().union(*(template.variables for template in templates))
    return CompiledContent(
        content=content,
        subject=subject,
        body=body,
        html=html,
        parameters=parameters,
        media=tuple(map(_media, content.media)),
        variables=variables,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedContent:
    """The content of a single message as it is stored: its texts are rendered when it is accepted."""

    subject: str | None = None
    body: str | None = None
    html: str | None = None
    template: TemplateContent | None = None  # `parameters` are the rendered texts
    message_template: MessageTemplateUse | None = None
    media: tuple[MediaContent, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    reply_to: str | None = None
    quotes: str | None = None  # provider id of the inbound message that it answers

    def outbound(self, message: MessageId, attempt: int, to: str) -> Outbound:
        """The message as the adapter is given it."""
        template = self.template
        return Outbound(
            ref=format_id(MESSAGE, message),
            attempt=attempt,
            to=to,
            text=self.body,
            subject=self.subject,
            html=self.html,
            template=None
            if template is None
            else TemplateUse(template.name, template.language, dict(template.parameters), template.details),
            media=tuple(map(_media, self.media)),
            headers=self.headers,
            reply_to=self.reply_to,
            quotes=self.quotes,
        )

    @property
    def template_name(self) -> str | None:
        """Ours where there is one, else the provider's."""
        named = self.message_template or self.template
        return None if named is None else named.name

    def shown(self) -> str | None:
        """The text as its reader sees it."""
        return self.body if self.template is None else filled(self.template.text, self.template.parameters)


def verbatim(message: MessageId, attempt: int, to: str, content: Mapping[str, Any]) -> Outbound:
    """A single message: its texts were rendered when it was accepted, and are sent as they stand."""
    return msgspec.convert(content, RenderedContent).outbound(message, attempt, to)


def _media(media: MediaContent) -> Media:
    return Media(url=media.url, content_type=media.content_type, filename=media.filename, size=media.size)
