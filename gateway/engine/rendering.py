"""From a message's content and one recipient's values to what the adapter sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.contract import Media, Outbound
from gateway.core.content import MessageContent
from gateway.core.ids import MESSAGE, MessageId, format_id
from gateway.core.template import Renderer, Template

OUTPUT_CHARACTERS_MAX = 256 * 1024  # a rendered text; mail beyond that is cut by its readers anyway
SUBJECT_CHARACTERS_MAX = 998  # RFC 5322 2.1.1: the longest line


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledContent:
    """A message's content with its templates compiled, once for all recipients."""

    content: MessageContent
    subject: Template | None
    body: Template | None
    html: Template | None
    variables: frozenset[str]

    def frozen(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The part of `values` that the templates use, with the message's own variables as defaults."""
        own = self.content.variables
        return {name: values.get(name, own.get(name)) for name in self.variables if name in values or name in own}

    def render(self, message: MessageId, attempt: int, to: str, values: Mapping[str, Any]) -> Outbound:
        """One recipient's message. MissingVariable, TemplateFault: it cannot be written for this recipient."""
        return Outbound(
            ref=format_id(MESSAGE, message),
            attempt=attempt,
            to=to,
            text=self.body.render(values) if self.body else None,
            subject=self.subject.render(values) if self.subject else None,
            html=self.html.render(values) if self.html else None,
            media=tuple(Media(url=url) for url in self.content.media),
            reply_to=self.content.reply_to,
        )


def compile_content(renderer: Renderer, content: MessageContent) -> CompiledContent:
    """Compile every template of a message. TemplateFault: one of them has a fault (creation has checked them)."""
    subject = renderer.compile(content.subject, SUBJECT_CHARACTERS_MAX) if content.subject is not None else None
    body = renderer.compile(content.body, OUTPUT_CHARACTERS_MAX) if content.body is not None else None
    html = renderer.compile(content.html, OUTPUT_CHARACTERS_MAX, html=True) if content.html is not None else None
    templates = [template for template in (subject, body, html) if template is not None]
    variables: frozenset[str] = frozenset().union(*(template.variables for template in templates))
    return CompiledContent(content=content, subject=subject, body=body, html=html, variables=variables)


def verbatim(message: MessageId, attempt: int, to: str, content: Mapping[str, Any]) -> Outbound:
    """A single message: its texts were rendered when it was accepted, and are sent as they stand."""
    return Outbound(
        ref=format_id(MESSAGE, message),
        attempt=attempt,
        to=to,
        text=content.get("body"),
        subject=content.get("subject"),
        html=content.get("html"),
        media=tuple(Media(url=url) for url in content.get("media", ())),
        reply_to=content.get("reply_to"),
    )
