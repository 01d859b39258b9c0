"""Plain values out of JSON that strangers wrote: whatever stands there, these give the right kind or nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from gateway_whatsapp.channel import USER_ID

PROVIDER_ID: Final = re.compile(r"[\x21-\x7e]{1,512}")  # "wamid." and base64
SECONDS_MAX: Final = 10**11  # the year 5138: a larger number is milliseconds, as courier has seen them

_PHONE: Final = re.compile(r"\+?([1-9][0-9]{6,14})")
_TEXT_MAX_DIGITS: Final = 16

Json = Mapping[str, object]
NOTHING: Final[Json] = {}


def json_object(body: bytes) -> Json:
    """The object in a body; an empty one if there is none."""
    return mapping(_decoded(body))


def _decoded(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        pass
    # Half an emoji, in a name that somebody cut, must not cost the hundred receipts beside it: the strict decoder
    # refuses unpaired surrogates, this one does not.
    try:
        return json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def mapping(value: object) -> Json:
    """An object; an empty one for anything else."""
    return value if isinstance(value, dict) else NOTHING


def mappings(value: object) -> Sequence[Json]:
    """The objects in a list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else ()


def text(value: object) -> str:
    """A text without what no database keeps, NULs and unpaired surrogates; "" for anything else."""
    return value.replace("\0", "").encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def provider_id(value: object) -> str | None:
    """The id of a message."""
    return value if isinstance(value, str) and PROVIDER_ID.fullmatch(value) else None


def address(value: object) -> str:
    """A person's number with its plus, or a business-scoped user id as it is; "" for anything else.

    Both may stand in the same field: some users' `from` and `wa_id` hold the id (courier, hello_bsuid_in_from.json).
    """
    if not isinstance(value, str):
        return ""
    number = _PHONE.fullmatch(value)
    if number is not None:
        return f"+{number[1]}"
    return value if USER_ID.fullmatch(value) else ""


def instant(value: object) -> datetime | None:
    """Seconds since 1970, or milliseconds, as a number or as digits."""
    if isinstance(value, str) and len(value) <= _TEXT_MAX_DIGITS and value.isascii() and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < SECONDS_MAX * 1000:
        return None
    return datetime.fromtimestamp(value if value < SECONDS_MAX else value / 1000, UTC)
