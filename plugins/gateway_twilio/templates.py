"""Templates for WhatsApp as Twilio's Content API keeps them.

Source: twilio/twilio-oai, twilio_content_v1.json, 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from gateway import ProviderTemplate
from gateway_twilio.api import Json, TwilioApi, description, json_object
from gateway_twilio.errors import cleaned

PATH: Final = "/v1/ContentAndApprovals"
PAGE_SIZE: Final = 100  # templates; an answer may have 1 MiB
PAGES_MAX: Final = 60  # WhatsApp allows an account 6,000 templates
DEPTH_MAX: Final = 8  # of nested values that are searched for placeholders

_CONTENT_SID: Final = re.compile(r"HX[0-9a-fA-F]{32}")
_PLACEHOLDER: Final = re.compile(r"\{\{\s*([A-Za-z0-9_]{1,64})\s*\}\}")
_STATES: Final[Mapping[str, Literal["approved", "pending", "rejected", "paused"]]] = {
    "approved": "approved",  # all that is missing here waits: unsubmitted, received, pending
    "rejected": "rejected",
    "disabled": "rejected",  # for good: WhatsApp never takes it up again
    "paused": "paused",
}


class TemplatesUnavailable(Exception):
    """Twilio did not list its templates; what was known of them stays."""


async def list_templates(api: TwilioApi) -> tuple[tuple[ProviderTemplate, ...], bool]:
    """All templates of the account, and whether the list was read to its end. TemplatesUnavailable."""
    found: dict[tuple[str, str], ProviderTemplate] = {}
    path: str | None = f"{PATH}?PageSize={PAGE_SIZE}"
    for _ in range(PAGES_MAX):
        if path is None:
            break
        answer = await api.get_content(path)
        page = json_object(answer.body)
        contents = page.get("contents")
        if answer.status != 200 or not isinstance(contents, list):
            raise TemplatesUnavailable(f"Twilio answered {description(answer, page)} instead of its templates")
        for template in map(template_of, contents):
            if template is not None:
                _keep(found, template)
        path = _next(page.get("meta"))
    return tuple(found.values()), path is None


def _keep(found: dict[tuple[str, str], ProviderTemplate], template: ProviderTemplate) -> None:
    """Of several with one name and language the first approved one: the others cannot be sent."""
    known = found.get((template.name, template.language))
    if known is None or (known.status != "approved" and template.status == "approved"):
        found[template.name, template.language] = template


def _next(meta: object) -> str | None:
    """Path and query of the next page: Twilio names its own host, our requests go to the configured one."""
    url = meta.get("next_page_url") if isinstance(meta, dict) else None
    if not isinstance(url, str):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return f"{PATH}?{parts.query}" if parts.path == PATH and parts.query else None


def template_of(content: object) -> ProviderTemplate | None:
    """One entry of the list; None for what is no template."""
    if not isinstance(content, dict):
        return None
    sid, language, types = content.get("sid"), content.get("language"), content.get("types")
    approval = content.get("approval_requests")
    approval = approval if isinstance(approval, dict) else {}
    name = approval.get("name") or content.get("friendly_name")
    if not isinstance(sid, str) or not _CONTENT_SID.fullmatch(sid) or not isinstance(name, str) or not name:
        return None
    text = _text(types)
    return ProviderTemplate(
        name=name,
        language=language if isinstance(language, str) else "",
        status=_STATES.get(str(approval.get("status")), "pending"),
        category=_category(approval),
        text=text,
        parameters=_parameters(content.get("variables"), types),
        reason=_reason(approval),
        details={"content_sid": sid, "text": text},
    )


def _category(approval: Json) -> str | None:
    category = approval.get("category")
    return category.lower() if isinstance(category, str) and category else None


def _reason(approval: Json) -> str | None:
    if approval.get("status") in {None, "unsubmitted"}:
        return "Not submitted to WhatsApp for approval"
    return cleaned(approval.get("rejection_reason")) or None


def _text(types: object) -> str:
    """The body of the first kind of content that has one, else its title (cards)."""
    contents = [one for one in types.values() if isinstance(one, dict)] if isinstance(types, dict) else []
    texts = (content.get(key) for key in ("body", "title") for content in contents)
    return next((text for text in texts if isinstance(text, str) and text), "")


def _parameters(variables: object, types: object) -> tuple[str, ...]:
    """The names of the placeholders: "1", "2", "10" in that order, then names."""
    named = {str(name) for name in variables} if isinstance(variables, dict) else set()
    used = {name for text in _texts(types) for name in _PLACEHOLDER.findall(text)}
    return tuple(
        sorted(named | used, key=lambda name: (not name.isdecimal(), int(name) if _is_small(name) else 0, name))
    )


def _is_small(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) < 10


def _texts(value: object, depth: int = 0) -> Iterator[str]:
    """Every text inside a JSON value."""
    if isinstance(value, str):
        yield value
    elif depth < DEPTH_MAX and isinstance(value, dict | list):
        for member in value.values() if isinstance(value, dict) else value:
            yield from _texts(member, depth + 1)


def variables_json(parameters: Mapping[str, str]) -> str:
    """`ContentVariables`: a JSON object of texts."""
    return msgspec.json.encode({name: str(value) for name, value in parameters.items()}).decode()


def rendered(text: str, parameters: Mapping[str, str]) -> str:
    """The template's text with its parameters in place, as Twilio lists the message afterwards."""
    return _PLACEHOLDER.sub(lambda found: parameters.get(found[1], found[0]), text)
