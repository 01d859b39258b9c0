"""The Twilio simulator's Content API: WhatsApp templates with their approvals.

Source: twilio/twilio-oai, twilio_content_v1.json, 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from gateway.testing.twilio_messages import whole_number

PATH: Final = "/v1/ContentAndApprovals"
PAGE_SIZE: Final = 50  # without a PageSize
PLACEHOLDER: Final = re.compile(r"\{\{(\w+)\}\}")
STATE_CODES: Final[Mapping[str, int]] = {"paused": 63041, "disabled": 63042, "rejected": 63040}


@dataclass(frozen=True, slots=True, kw_only=True)
class SimTemplate:
    """One template. `status` as WhatsApp's: approved, pending, rejected, paused, disabled, unsubmitted."""

    sid: str
    name: str
    language: str
    body: str
    status: str = "approved"
    category: str = "UTILITY"
    rejection_reason: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)

    def shown(self) -> dict[str, object]:
        """As the list of contents and approvals has it."""
        approval = {
            "name": self.name,
            "category": self.category,
            "content_type": "twilio/text",
            "status": self.status,
            "rejection_reason": self.rejection_reason,
        }
        return {
            "sid": self.sid,
            "friendly_name": self.name,
            "language": self.language,
            "variables": self.variables,
            "types": {"twilio/text": {"body": self.body}},
            "approval_requests": approval,
        }

    def render(self, variables: str | None) -> tuple[str, int | None]:
        """The text with its variables, and the error with which it will fail. `variables`: ContentVariables."""
        given = _variables(variables)
        if given is None:
            return "", 21656
        missing = set(PLACEHOLDER.findall(self.body)) - set(given)
        text = PLACEHOLDER.sub(lambda found: given.get(found[1], found[0]), self.body)
        return text, STATE_CODES.get(self.status) or (63028 if missing else None)


def _variables(variables: str | None) -> dict[str, str] | None:
    """None if they are not a JSON object of texts."""
    try:
        return msgspec.json.decode(variables or "{}", type=dict[str, str])
    except msgspec.DecodeError:
        return None


def template_page(templates: list[SimTemplate], query: Mapping[str, str]) -> dict[str, object]:
    """One page of the list; the URL of the next is absolute and names Twilio's own host."""
    size, page = whole_number(query, "PageSize", PAGE_SIZE), whole_number(query, "Page", 0)
    start = size * page
    more = start + size < len(templates)
    base = f"https://content.twilio.com{PATH}?PageSize={size}&Page="
    return {
        "contents": [template.shown() for template in templates[start : start + size]],
        "meta": {
            "page": page,
            "page_size": size,
            "first_page_url": f"{base}0",
            "previous_page_url": f"{base}{page - 1}" if page else None,
            "next_page_url": f"{base}{page + 1}&PageToken=DNHX{start + size}" if more else None,
            "url": f"{base}{page}",
            "key": "contents",
        },
    }
