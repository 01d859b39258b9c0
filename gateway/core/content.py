"""What a message says, before it is rendered for anybody: texts as templates, and how they are to be sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageContent:
    """The content of one message or of all messages of a bulk action.

    `subject`, `body` and `html` are template sources. `variables` are values for everybody, under those of a recipient.
    `sender` is resolved: it is a name of gateway.toml, never empty in a stored content. `media` are URLs.
    """

    channel: str
    sender: str | None = None
    subject: str | None = None
    body: str | None = None
    html: str | None = None
    template: str | None = None
    variables: Mapping[str, object] = field(default_factory=dict)
    media: tuple[str, ...] = ()
    reply_to: str | None = None
    category: str = "general"
    on_duplicate_address: Literal["skip", "send"] = "skip"
