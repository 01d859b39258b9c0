"""A contact's fields as they come in: checked, spelled in one way, and every fault named. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from gateway.core.address import phone, plain_email
from gateway.core.window import zone_named

TEXT_FIELDS: Final = ("name", "first_name", "last_name")
SCALARS: Final = ("name", "first_name", "last_name", "email", "phone", "whatsapp", "time_zone", "language")
FIELDS: Final = frozenset({"id", *SCALARS, "addresses", "tags", "attributes"})
ID_MAX: Final = 200
TEXT_MAX: Final = 500
TAGS_MAX: Final = 100
TAG_MAX: Final = 100
ATTRIBUTES_MAX: Final = 100
ATTRIBUTE_NAME_MAX: Final = 64
ATTRIBUTE_TEXT_MAX: Final = 4_096  # what a template accepts as one value

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\u0080-\u009f\u2028\u2029\ud800-\udfff]")
_UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")

Normalise = Callable[[str, str | None], str]
Match = Literal["id", "email", "phone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with one field: `pointer` below the contact, `"/phone"`."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactDraft:
    """The fields that were given, each in its one spelling; None clears one. `tags`, `attributes` None: not given."""

    public_id: str | None = None
    scalars: Mapping[str, str | None] = field(default_factory=dict)
    addresses: Mapping[str, str | None] = field(default_factory=dict)
    tags: frozenset[str] | None = None
    attributes: Mapping[str, Any] | None = None


class ContactReader:
    """Reads contacts of one org. `channels` are the spelling rules of the channels without a field of their own."""

    def __init__(self, default_region: str | None, channels: Mapping[str, Normalise]) -> None:
        self._region = default_region
        self._channels = channels

    def read(self, fields: Mapping[str, Any]) -> tuple[ContactDraft, list[Fault]]:
        """The draft, and every fault; with faults the draft is what could be read."""
        faults: list[Fault] = []
        scalars = {name: self._scalar(name, fields[name], faults) for name in SCALARS if name in fields}
        return (
            ContactDraft(
                public_id=_identifier(fields.get("id"), faults),
                scalars=scalars,
                addresses=self._addresses(fields.get("addresses"), faults) if "addresses" in fields else {},
                tags=_tags(fields["tags"], faults) if "tags" in fields else None,
                attributes=_attributes(fields["attributes"], faults) if "attributes" in fields else None,
            ),
            faults,
        )

    def _scalar(self, name: str, value: Any, faults: list[Fault]) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str):
            faults.append(Fault(pointer=f"/{name}", detail=f"Expected a text or null, got {value!r}."))
            return None
        text = value.strip()
        if not text:
            return None
        try:
            return self._spelled(name, text)
        except ValueError as exc:
            faults.append(Fault(pointer=f"/{name}", detail=f"{exc}."))
            return None

    def _spelled(self, name: str, text: str) -> str:
        if name == "email":
            return plain_email(text)
        if name in ("phone", "whatsapp"):
            return phone(text, self._region)
        if name == "time_zone":
            return _zone(text)
        if name == "language":
            if not _LANGUAGE.fullmatch(text):
                raise ValueError(f"{text!r} is not a language tag such as 'en' or 'pt-BR'")
            return text
        if len(text) > TEXT_MAX:
            raise ValueError(f"{text[:40]!r}... has {len(text)} characters, at most {TEXT_MAX} are allowed")
        if _CONTROL.search(text):
            raise ValueError(f"{text[:40]!r} has control characters")
        return text

    def _addresses(self, value: Any, faults: list[Fault]) -> dict[str, str | None]:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            faults.append(Fault(pointer="/addresses", detail=f"Expected an object, got {value!r}."))
            return {}
        return {str(name): self._address(str(name), given, faults) for name, given in value.items()}

    def _address(self, channel: str, value: Any, faults: list[Fault]) -> str | None:
        pointer = f"/addresses/{channel}"
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        normalise = self._channels.get(channel)
        if normalise is None:
            known = sorted(self._channels)
            faults.append(
                Fault(pointer=pointer, detail=f"There is no such channel; channels with addresses here: {known}.")
            )
        elif not isinstance(value, str):
            faults.append(Fault(pointer=pointer, detail=f"Expected a text or null, got {value!r}."))
        else:
            try:
                return normalise(value.strip(), self._region)
            except ValueError as exc:
                faults.append(Fault(pointer=pointer, detail=f"{exc}."))
        return None


def _identifier(value: Any, faults: list[Fault]) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and value.strip() and len(value) <= ID_MAX and not _CONTROL.search(value):
        return value.strip()
    faults.append(Fault(pointer="/id", detail=f"Expected a text of 1 to {ID_MAX} characters, got {value!r:.80}."))
    return None


def _zone(text: str) -> str:
    zone = zone_named(text)
    if not isinstance(zone, ZoneInfo):
        raise ValueError(f"{text!r} is not a time zone such as 'Africa/Lagos'")
    return text


def _tags(value: Any, faults: list[Fault]) -> frozenset[str]:
    if value is None:
        return frozenset()
    if not isinstance(value, list) or len(value) > TAGS_MAX:
        faults.append(Fault(pointer="/tags", detail=f"Expected a list of at most {TAGS_MAX} texts."))
        return frozenset()
    tags = []
    for position, tag in enumerate(value):
        if isinstance(tag, str) and 0 < len(tag.strip()) <= TAG_MAX and not _CONTROL.search(tag):
            tags.append(tag.strip())
        else:
            faults.append(Fault(pointer=f"/tags/{position}", detail=f"Expected a text of 1 to {TAG_MAX} characters."))
    return frozenset(tags)


def _attributes(value: Any, faults: list[Fault]) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or len(value) > ATTRIBUTES_MAX:
        faults.append(Fault(pointer="/attributes", detail=f"Expected an object of at most {ATTRIBUTES_MAX} members."))
        return {}
    attributes = {}
    for name, given in value.items():
        detail = _attribute_fault(str(name), given)
        if detail is None:
            attributes[str(name)] = None if isinstance(given, str) and not given.strip() else given
        else:
            faults.append(Fault(pointer=f"/attributes/{name}", detail=detail))
    return attributes


def _attribute_fault(name: str, value: Any) -> str | None:
    if not name.strip() or len(name) > ATTRIBUTE_NAME_MAX or _CONTROL.search(name):
        return f"The name must have 1 to {ATTRIBUTE_NAME_MAX} characters."
    if value is None or isinstance(value, bool | int | float):
        return None
    if isinstance(value, str):
        if len(value) > ATTRIBUTE_TEXT_MAX:
            return f"The text has {len(value)} characters, at most {ATTRIBUTE_TEXT_MAX} are allowed."
        return "The text has NUL or unpaired surrogates." if _UNSTORABLE.search(value) else None
    if (
        isinstance(value, list)
        and len(value) <= ATTRIBUTES_MAX
        and all(isinstance(each, str | int | float) for each in value)
    ):
        return None
    return f"Expected a text, a number, true, false, null or a list of texts and numbers, got {value!r:.80}."
