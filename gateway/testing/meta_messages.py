"""What the Graph API makes of a message: is it one, what is wrong with it, and what it says.

Sources: facebook/openapi, business-messaging-api_v23.0.yaml, 2026-11; developers.facebook.com, WhatsApp,
support/error-codes, 2026-05-15.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

TEXT_MAX: Final = 4_096
KINDS: Final = frozenset({"text", "template", "image", "video", "audio", "document", "sticker"})
TITLES: Final[Mapping[int, str]] = {
    4: "API Too Many Calls",
    33: "Parameter value is not valid",
    100: "Invalid parameter",
    190: "Access token has expired",
    80007: "Rate limit issues",
    130429: "Rate limit hit",
    131000: "Something went wrong",
    131008: "Required parameter is missing",
    131009: "Parameter value is not valid",
    131026: "Message undeliverable",
    131047: "Re-engagement message",
    131050: "User has stopped receiving marketing messages from this business",
    131056: "(Business Account, Consumer Account) pair rate limit hit",
    132000: "Template Param Count Mismatch",
    132001: "Template does not exist",
    132012: "Template Parameter Format Mismatch",
    132015: "Template is Paused",
    132016: "Template is Disabled",
}
_PLACEHOLDER: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_NUMBER: Final = re.compile(r"\+?[1-9][0-9]{6,14}")
_USER: Final = re.compile(r"[A-Z]{2}\.[A-Za-z0-9.]{1,128}")


class GraphError(Exception):
    """What the Graph API refuses. `status` is HTTP's."""

    def __init__(self, code: int, details: str = "", status: int = 400) -> None:
        super().__init__(details)
        self.code = code
        self.details = details
        self.status = status


@dataclass(slots=True)
class SimTemplate:
    """A template of the account. `status` in capitals, as Meta lists it."""

    name: str
    body: str
    language: str = "en_US"
    category: str = "MARKETING"
    status: str = "APPROVED"
    header: str | None = None  # a text with placeholders, or IMAGE, VIDEO, DOCUMENT
    buttons: Sequence[Mapping[str, Any]] = ()
    named: bool = False
    id: str = ""

    @property
    def _has_file(self) -> bool:
        return self.header in ("IMAGE", "VIDEO", "DOCUMENT")

    def shown(self) -> dict[str, Any]:
        """As it is listed."""
        parts: list[dict[str, Any]] = []
        if self.header in ("IMAGE", "VIDEO", "DOCUMENT"):
            parts.append({"type": "HEADER", "format": self.header})
        elif self.header is not None:
            parts.append({"type": "HEADER", "format": "TEXT", "text": self.header})
        parts.append({"type": "BODY", "text": self.body})
        if self.buttons:
            parts.append({"type": "BUTTONS", "buttons": [dict(button) for button in self.buttons]})
        return {
            "id": self.id,
            "name": self.name,
            "status": self.status,
            "language": self.language,
            "category": self.category,
            "parameter_format": "NAMED" if self.named else "POSITIONAL",
            "components": parts,
        }

    def text(self, components: Sequence[Mapping[str, Any]]) -> str:
        """The body with its placeholders filled in. GraphError: the parameters are not those of the template."""
        given = next((part for part in components if part.get("type") == "body"), {}).get("parameters", [])
        wanted = list(dict.fromkeys(_PLACEHOLDER.findall(self.body)))
        if len(given) != len(wanted):
            raise GraphError(
                132000, f"body: number of localizable_params ({len(given)}) does not match ({len(wanted)})"
            )
        if self.named and {one.get("parameter_name") for one in given} != set(wanted):
            raise GraphError(132012, "body: parameter names do not match")
        header = next((part for part in components if part.get("type") == "header"), {}).get("parameters", [])
        expected = 1 if self._has_file else len(set(_PLACEHOLDER.findall(self.header or "")))
        if len(header) != expected:
            raise GraphError(132000, f"header: {len(header)} localizable_params, expected {expected}")
        if self._has_file and [one.get("type") for one in header] != [(self.header or "").lower()]:
            raise GraphError(132012, f"header: Format mismatch, expected {self.header}")
        names = [one.get("parameter_name") for one in given] if self.named else wanted
        values = {name: one.get("text", "") for name, one in zip(names, given, strict=True)}
        return _PLACEHOLDER.sub(lambda found: str(values.get(found[1], "")), self.body)


@dataclass(slots=True)
class MetaMessage:
    """A message that was taken."""

    wamid: str
    to: str  # digits, or a business-scoped user id
    kind: str
    text: str
    ref: str | None
    template: str | None = None
    category: str | None = None
    quotes: str | None = None
    media: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    status: str = "accepted"


def read_message(fields: Mapping[str, Any], templates: Sequence[SimTemplate], wamid: str) -> MetaMessage:
    """The message of a request. GraphError: it is none."""
    if fields.get("messaging_product") != "whatsapp":
        raise GraphError(100, "(#100) The parameter messaging_product is required.")
    to = _recipient(fields)
    kind = fields.get("type")
    if kind not in KINDS or not isinstance(fields.get(str(kind)), dict):
        raise GraphError(131009, f"type: {kind!r} needs an object of that name")
    part: Mapping[str, Any] = fields[str(kind)]
    message = MetaMessage(
        wamid=wamid,
        to=to,
        kind=str(kind),
        text="",
        ref=fields.get("biz_opaque_callback_data"),
        quotes=_object(fields, "context").get("message_id"),
        fields=fields,
    )
    if kind == "text":
        message.text = str(part.get("body") or "")
        if not message.text or len(message.text) > TEXT_MAX:
            raise GraphError(100, f"Param text['body'] must be 1 to {TEXT_MAX} characters long.")
    elif kind == "template":
        _read_template(part, templates, message)
    else:
        message.media, message.text = str(part.get("link") or part.get("id") or ""), str(part.get("caption") or "")
        if not message.media:
            raise GraphError(131009, f"{kind}: link or id is needed")
    return message


def _object(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part that may be left out. GraphError: it is no object."""
    part = fields.get(name, {})
    if not isinstance(part, dict):
        raise GraphError(100, f"Param {name} must be a JSON object.")
    return part


def _recipient(fields: Mapping[str, Any]) -> str:
    user = fields.get("recipient")
    if isinstance(user, str) and _USER.fullmatch(user):
        return user
    to = fields.get("to")
    if not isinstance(to, str) or not _NUMBER.fullmatch(to):
        raise GraphError(131009 if to else 131008, "Recipient is missing or not valid")
    return to.removeprefix("+")


def _read_template(part: Mapping[str, Any], templates: Sequence[SimTemplate], message: MetaMessage) -> None:
    name, language = part.get("name"), _object(part, "language").get("code")
    template = next((one for one in templates if (one.name, one.language) == (name, language)), None)
    if template is None or template.status not in ("APPROVED", "PAUSED", "DISABLED"):
        raise GraphError(132001, f"template name ({name}) does not exist in {language}", 404)
    if template.status != "APPROVED":
        raise GraphError(132015 if template.status == "PAUSED" else 132016, f"{name} is {template.status.lower()}")
    message.text = template.text(part.get("components", []))
    message.template, message.category = template.name, template.category
