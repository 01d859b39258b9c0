"""Templates as Meta keeps them for a WhatsApp Business Account.

Source: developers.facebook.com, WhatsApp Business Management API, message_templates; pywa 4.5.0, types/templates.py,
2026-11. Parts are written in capitals here and in small letters when a message is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import urlencode

from gateway import ProviderTemplate
from gateway_whatsapp.api import CloudApi, description
from gateway_whatsapp.callbacks import template_reason, template_state
from gateway_whatsapp.template_use import BUTTON_PREFIX, HEADER_PREFIX, ButtonKind, in_order, media_header
from gateway_whatsapp.values import Json, json_object, mapping, mappings, text

FIELDS: Final = "name,status,language,category,components,parameter_format,rejected_reason"
PAGE_SIZE: Final = 50  # templates; an answer may have 1 MiB, and one with ten cards of buttons some 12 kB
PAGES_MAX: Final = 120  # an account may have 6,000 templates
CURSOR_MAX: Final = 1_000  # characters
BUTTONS_MAX: Final = 10  # of one template

# Buttons that take a value from us, by the kind that is sent. A code to copy in an authentication template is a URL.
FILLED_BUTTONS: Final[Mapping[str, ButtonKind]] = {"URL": "url", "OTP": "url", "COPY_CODE": "copy_code"}
# What needs more than texts and one file: a message with such a template would be refused, so we say so beforehand.
UNFILLABLE_COMPONENTS: Final = frozenset({"CAROUSEL", "LIMITED_TIME_OFFER"})
UNFILLABLE_BUTTONS: Final = frozenset({"CATALOG", "FLOW", "MPM", "ORDER_DETAILS", "SPM"})
HEADER_FORMATS: Final = frozenset({"TEXT", "IMAGE", "VIDEO", "DOCUMENT"})

_PLACEHOLDER: Final = re.compile(r"\{\{\s*([A-Za-z0-9_]{1,64})\s*\}\}")


class TemplatesUnavailable(Exception):
    """Meta did not list its templates; what was known of them stays."""


async def list_templates(api: CloudApi, business_account_id: str) -> tuple[tuple[ProviderTemplate, ...], bool]:
    """All templates of the account, and whether the list was read to its end. TemplatesUnavailable."""
    found: dict[tuple[str, str], ProviderTemplate] = {}
    after: str | None = ""
    for _ in range(PAGES_MAX):
        if after is None:
            break
        query = urlencode({"fields": FIELDS, "limit": PAGE_SIZE, **({"after": after} if after else {})})
        answer = await api.get(f"/{business_account_id}/message_templates?{query}")
        page = json_object(answer.body)
        if answer.status != 200 or not isinstance(page.get("data"), list):
            raise TemplatesUnavailable(f"Meta answered {description(answer, page)} instead of its templates")
        for template in map(template_of, mappings(page.get("data"))):
            if template is not None:
                found[template.name, template.language] = template
        after = _next(mapping(page.get("paging")))
    return tuple(found.values()), after is None


def _next(paging: Json) -> str | None:
    """The cursor of the next page: Meta's own URL for it names its host, our requests go to the configured one."""
    after = mapping(paging.get("cursors")).get("after")
    more = isinstance(paging.get("next"), str) and isinstance(after, str) and 0 < len(after) <= CURSOR_MAX
    return text(after) if more else None


def template_of(said: Json) -> ProviderTemplate | None:
    """One entry of the list; None for what is no template."""
    name, language = text(said.get("name")), text(said.get("language"))
    if not name or not language:
        return None
    parts = mappings(said.get("components"))
    header, body = _part(parts, "HEADER"), _part(parts, "BODY")
    above, inside, buttons = _header_names(header), _names(body.get("text")), _filled_buttons(parts)
    named = said.get("parameter_format") == "NAMED" or not all(map(str.isdecimal, (*above, *inside)))
    kind = _word(header.get("format")).lower() or None
    return ProviderTemplate(
        name=name,
        language=language,
        status=template_state(said.get("status")) or "pending",
        category=_word(said.get("category")).lower() or None,
        text="\n".join(_readable(parts)),
        parameters=(
            *(HEADER_PREFIX + one for one in above),
            *inside,
            *(BUTTON_PREFIX + index for index in buttons),
        ),
        media=media_header(kind),
        reason=template_reason(said.get("rejected_reason")),
        details={"named": named, "header": kind, "buttons": buttons, "unsupported": _unfillable(parts)},
    )


def _word(said: object) -> str:
    return text(said).upper()


def _part(parts: Sequence[Json], kind: str) -> Json:
    return mapping(next((part for part in parts if _word(part.get("type")) == kind), None))


def _names(said: object) -> tuple[str, ...]:
    """The placeholders in a text: numbers in their order, names as they come."""
    distinct = dict.fromkeys(_PLACEHOLDER.findall(text(said)), "")
    return tuple(name for name, _ in in_order(distinct.items()))


def _header_names(header: Json) -> tuple[str, ...]:
    return _names(header.get("text")) if _word(header.get("format")) == "TEXT" else ()


def _buttons(parts: Sequence[Json]) -> Iterator[tuple[int, Json]]:
    yield from enumerate(mappings(_part(parts, "BUTTONS").get("buttons"))[:BUTTONS_MAX])


def _filled_buttons(parts: Sequence[Json]) -> dict[str, ButtonKind]:
    """The buttons that take a value, by their index: a URL only if it ends in a placeholder."""
    found: dict[str, ButtonKind] = {}
    for index, button in _buttons(parts):
        kind = _word(button.get("type"))
        if kind in FILLED_BUTTONS and (kind != "URL" or _PLACEHOLDER.search(text(button.get("url")))):
            found[str(index)] = FILLED_BUTTONS[kind]
    return found


def _unfillable(parts: Sequence[Json]) -> str | None:
    """The first part that we cannot fill, in small letters."""
    header = _word(_part(parts, "HEADER").get("format"))
    kinds = [_word(part.get("type")) for part in parts]
    buttons = [_word(button.get("type")) for _, button in _buttons(parts)]
    odd = [
        *([f"header {header}"] if header and header not in HEADER_FORMATS else []),
        *(kind for kind in kinds if kind in UNFILLABLE_COMPONENTS),
        *(f"button {kind}" for kind in buttons if kind in UNFILLABLE_BUTTONS),
    ]
    return odd[0].lower() if odd else None


def _readable(parts: Sequence[Json]) -> Iterator[str]:
    for kind in ("HEADER", "BODY", "FOOTER"):
        said = text(_part(parts, kind).get("text"))
        if said:
            yield said
