"""Finding a message whose end nobody saw among those that Twilio lists for its recipient.

Twilio has no idempotency key, and a message does not show its callback URL: it is known by its recipient, its sender,
its text and its time. A list by DateSent could miss a message that still waits in Twilio's queue, so the list is by
recipient alone, and its absence is believed only when the list was read to its end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final
from urllib.parse import urlencode

from gateway import Absent, Answer, CannotTell, Found
from gateway_twilio.api import Json, TwilioApi, instant, json_object, resource_receipt
from gateway_twilio.callbacks import bare
from gateway_twilio.errors import ErrorTable

PAGE_SIZE: Final = 50  # messages; of the longest texts they are 600 kB, and an answer may have 1 MiB
PAGES_MAX: Final = 20
EARLIEST: Final = timedelta(minutes=-2)  # between the attempt and Twilio's `date_created`: two clocks
LATEST: Final = timedelta(minutes=5)
DOUBTFUL: Final = timedelta(hours=1)  # the same text within this time may be it, if a clock is very wrong
_LINK: Final = re.compile(r"https?://\S+")


class Likeness(Enum):
    """How sure it is that a listed message is the one."""

    SAME = "same"
    MAYBE = "maybe"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is known of the message."""

    to: str  # with the channel's prefix
    number: str | None  # bare; None with a Messaging Service
    service_sid: str | None
    text: str | None  # None: not known, as of a template whose text we have not seen
    media: int
    attempted_at: datetime


async def find(api: TwilioApi, wanted: Wanted, table: ErrorTable) -> Answer:
    """The message, its absence, or that nobody can tell."""
    path: str | None = f"{api.messages_path}.json?{urlencode({'To': wanted.to, 'PageSize': PAGE_SIZE})}"
    doubtful = False
    for _ in range(PAGES_MAX):
        if path is None:
            break
        answer = await api.get(path)
        page = json_object(answer.body)
        listed = page.get("messages")
        if answer.status != 200 or not isinstance(listed, list) or "next_page_uri" not in page:
            return CannotTell(f"Twilio answered HTTP {answer.status} instead of a list of messages")
        resources = [one for one in listed if isinstance(one, dict)]
        alike = [likeness(one, wanted) for one in resources]
        if Likeness.SAME in alike:
            return _found([one for one, like in zip(resources, alike, strict=True) if like is Likeness.SAME], table)
        doubtful = doubtful or Likeness.MAYBE in alike or len(resources) < len(listed)
        path = _next(page["next_page_uri"], api)
        if path == "":
            return CannotTell("Twilio's list of messages goes on somewhere else")
    if path is not None:
        return CannotTell(f"Twilio lists more than {PAGE_SIZE * PAGES_MAX:,} messages to this recipient")
    return CannotTell("Twilio lists a message that may be this one") if doubtful else Absent()


def _next(uri: object, api: TwilioApi) -> str | None:
    """The next page's path, None at the end; "" for what is no page of this list: our credentials go nowhere else."""
    if uri is None:
        return None
    return uri if isinstance(uri, str) and uri.startswith(f"{api.messages_path}.json?") else ""


def _found(resources: Sequence[Json], table: ErrorTable) -> Answer:
    if len(resources) > 1:
        return CannotTell("Twilio lists several messages that may be this one")
    receipt = resource_receipt(resources[0], table)
    if receipt is None:
        return CannotTell("Twilio lists it with a status that is not known")
    return Found(receipt, receipt.provider_ids)


def likeness(resource: Json, wanted: Wanted) -> Likeness:
    """Whether a listed message is the wanted one; in doubt MAYBE, never OTHER."""
    if not _same_route(resource, wanted):
        return Likeness.OTHER
    created = instant(resource.get("date_created"))
    late = created - wanted.attempted_at if created is not None else None
    if late is not None and abs(late) > DOUBTFUL:
        return Likeness.OTHER
    alike = _text_likeness(resource, wanted)
    if late is None or not EARLIEST <= late <= LATEST:
        return Likeness.OTHER if alike is Likeness.OTHER else Likeness.MAYBE
    return alike


def _same_route(resource: Json, wanted: Wanted) -> bool:
    direction, sender, service = (resource.get(name) for name in ("direction", "from", "messaging_service_sid"))
    if isinstance(direction, str) and direction != "outbound-api":
        return False
    to = resource.get("to")
    if isinstance(to, str) and to != wanted.to:
        return False
    if wanted.number is not None and isinstance(sender, str) and bare(sender).casefold() != wanted.number.casefold():
        return False
    return not (wanted.service_sid and isinstance(service, str) and service != wanted.service_sid)


def _text_likeness(resource: Json, wanted: Wanted) -> Likeness:
    body = resource.get("body")
    if wanted.text is None or not isinstance(body, str):
        return Likeness.MAYBE
    if skeleton(body) == skeleton(wanted.text):
        # A text without letters, such as one emoji, has an empty skeleton: then it is not enough to go by.
        known = skeleton(body) or body == wanted.text
        return Likeness.SAME if known and _same_media(resource, wanted) else Likeness.MAYBE
    # An account may have its bodies removed (ContentRetention), which leaves them empty.
    return Likeness.MAYBE if not body else Likeness.OTHER


def _same_media(resource: Json, wanted: Wanted) -> bool:
    return str(resource.get("num_media", "0")) == str(wanted.media)


def skeleton(text: str) -> str:
    """The text by its letters and digits: Smart Encoding changes punctuation, link shortening changes links."""
    return "".join(character for character in _LINK.sub("", text).casefold() if character.isalnum())
