"""What a message says, before it is rendered for anybody: texts as templates, and how they are to be sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from gateway.core.message_template import MessageTemplateUse

DEFAULT_CATEGORY: Final = "general"
_PLACEHOLDER: Final = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaContent:
    """A file by its URL, with what its server or its sender said of it; None where they did not say."""

    url: str
    content_type: str | None = None
    size: int | None = None  # octets
    filename: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateContent:
    """A template that the provider keeps, as it was when the message was asked for.

    `parameters`: for each of the template's parameters the source of its text. `text`: the body with its placeholders.
    `details` are the adapter's own.
    """

    name: str
    language: str
    text: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageContent:
    """The content of one message or of all messages of a bulk action.

    `subject`, `body` and `html` are template sources. `variables` are values for everybody, under those of a recipient.
    `sender` is resolved: it is a name of gateway.toml, never empty in a stored content. `plain_text` is the source of
    the text that goes beside HTML alone. `message_template` says of which template of ours the texts are; they are
    copied, so that they stay what they were.
    """

    channel: str
    sender: str | None = None
    subject: str | None = None
    body: str | None = None
    html: str | None = None
    plain_text: str | None = None
    template: TemplateContent | None = None
    message_template: MessageTemplateUse | None = None
    variables: Mapping[str, object] = field(default_factory=dict)
    media: tuple[MediaContent, ...] = ()
    reply_to: str | None = None
    category: str = DEFAULT_CATEGORY
    on_duplicate_address: Literal["skip", "send"] = "skip"


def filled(text: str, parameters: Mapping[str, str]) -> str:
    """The text of a provider's template with its placeholders filled in, as its reader saw it."""
    return _PLACEHOLDER.sub(lambda found: parameters.get(found[1], found[0]), text)
