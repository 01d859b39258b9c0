"""A contact's fields as they come in: checked, spelled in one way, and every fault named. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from gateway.core.address import phone, plain_email
from gateway.core.window import zone_named

SCALARS: Final = ("name", "first_name", "last_name", "email", "phone", "whatsapp", "time_zone", "language")
FIELDS: Final = frozenset({"id", *SCALARS, "addresses", "tags", "attributes"})
ID_MAX: Final = 200
TEXT_MAX: Final = 500
TAGS_MAX: Final = 100
TAG_MAX: Final = 100
ATTRIBUTES_MAX: Final = 100
ATTRIBUTE_NAME_MAX: Final = 64
ATTRIBUTE_TEXT_MAX: Final = 4_096  # what a template accepts as one value
DETAIL_MAX: Final = 300  # characters of what is told about a value
INTEGER_BITS: Final = 63  # of a number: what the database compares exactly

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\u0080-\u009f\u2028\u2029\ud800-\udfff]")
_UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8})*")

Normalise = Callable[[str, str | None], str]
Match = Literal["id", "email", "phone"]
Part = Literal["addresses", "attributes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with one field: `pointer` below the contact, `"/phone"`."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactDraft:
    """The fields that were given, each in its one spelling; None clears one. `tags` None: not given.

    The members of `addresses` and `attributes` are merged one by one; a part in `emptied` loses what it had first.
    """

    public_id: str | None = None
    scalars: Mapping[str, str | None] = field(default_factory=dict)
    addresses: Mapping[str, str | None] = field(default_factory=dict)
    tags: frozenset[str] | None = None
    attributes: Mapping[str, object] = field(default_factory=dict)
    emptied: frozenset[Part] = frozenset()

    def replacing(self) -> ContactDraft:
        """The same draft as one that replaces: whatever it does not give is cleared."""
        return replace(
            self,
            scalars={**dict.fromkeys(SCALARS), **self.scalars},
            tags=self.tags or frozenset(),
            emptied=frozenset[Part](("addresses", "attributes")),
        )


class ContactReader:
    """Reads contacts of one org. `channels` are the spelling rules of the channels without a field of their own."""

    def __init__(self, default_region: str | None, channels: Mapping[str, Normalise]) -> None:
        self._region = default_region
        self._channels = channels
        self._zones: set[str] = set()  # those that were looked up and exist: a few hundred at most

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that `addresses` may name."""
        return tuple(sorted(self._channels))

    def read(self, fields: Mapping[str, object]) -> tuple[ContactDraft, list[Fault]]:
        """The draft, and every fault; with faults the draft is what could be read. Unknown fields are not looked at."""
        faults: list[Fault] = []
        emptied = [part for part in _PARTS if part in fields and fields[part] is None]
        draft = ContactDraft(
            public_id=_identifier(fields.get("id"), faults),
            scalars={name: self._scalar(name, fields[name], faults) for name in SCALARS if name in fields},
            addresses=self._addresses(fields.get("addresses"), faults),
            tags=_tags(fields["tags"], faults) if "tags" in fields else None,
            attributes=_attributes(fields.get("attributes"), faults),
            emptied=frozenset(emptied) if emptied else frozenset(),
        )
        return draft, faults

    def _scalar(self, name: str, value: object, faults: list[Fault]) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str):
            faults.append(Fault(pointer=f"/{name}", detail=f"Expected a text or null, got {_short(value)}."))
            return None
        text = value.strip()
        if not text:
            return None
        try:
            return self._spelled(name, text)
        except ValueError as exc:
            faults.append(Fault(pointer=f"/{name}", detail=_sentence(exc)))
            return None

    def _spelled(self, name: str, text: str) -> str:
        if len(text) > TEXT_MAX:
            raise ValueError(f"{_short(text)} has {len(text)} characters, at most {TEXT_MAX} are allowed")
        if name == "email":
            return plain_email(text)
        if name in ("phone", "whatsapp"):
            return phone(text, self._region)
        if name == "time_zone":
            return self._zone(text)
        if name == "language":
            if not _LANGUAGE.fullmatch(text):
                raise ValueError(f"{_short(text)} is not a language tag such as 'en' or 'pt-BR'")
            return text
        if _CONTROL.search(text):
            raise ValueError(f"{_short(text)} has control characters")
        return text

    def _zone(self, text: str) -> str:
        if text not in self._zones:
            if zone_named(text) is None:
                raise ValueError(f"{_short(text)} is not a time zone such as 'Africa/Lagos'")
            self._zones.add(text)
        return text

    def _addresses(self, value: object, faults: list[Fault]) -> dict[str, str | None]:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            faults.append(Fault(pointer="/addresses", detail=f"Expected an object, got {_short(value)}."))
            return {}
        return {str(name): self._address(str(name), given, faults) for name, given in value.items()}

    def _address(self, channel: str, value: object, faults: list[Fault]) -> str | None:
        pointer = f"/addresses/{escaped(channel)}"
        normalise = self._channels.get(channel)
        if normalise is None:
            detail = f"There is no such channel; channels with addresses here: {list(self.channels)}."
            faults.append(Fault(pointer=pointer, detail=detail))
        elif value is not None and not isinstance(value, str):
            faults.append(Fault(pointer=pointer, detail=f"Expected a text or null, got {_short(value)}."))
        elif value is not None and len(value) > TEXT_MAX:
            faults.append(Fault(pointer=pointer, detail=f"{_short(value)} has more than {TEXT_MAX} characters."))
        elif value is not None and value.strip():
            try:
                return normalise(value.strip(), self._region)
            except ValueError as exc:
                faults.append(Fault(pointer=pointer, detail=_sentence(exc)))
        return None


_PARTS: Final[tuple[Part, ...]] = ("addresses", "attributes")


def escaped(name: str) -> str:
    """A member's name inside a JSON pointer (RFC 6901 section 3), shortened if it is not one of ours."""
    return name[:ID_MAX].replace("~", "~0").replace("/", "~1")


def _short(value: object) -> str:
    """A value as a message quotes it."""
    return repr(value[:40]) + "..." if isinstance(value, str) and len(value) > 40 else f"{value!r:.60}"


def _sentence(refusal: ValueError) -> str:
    """What a spelling rule says of a value, which it may quote in full."""
    text = str(refusal)
    return f"{text}." if len(text) <= DETAIL_MAX else f"{text[:DETAIL_MAX]}..."


def _identifier(value: object, faults: list[Fault]) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and len(value) <= ID_MAX and not _CONTROL.search(value):
        text = value.strip()
        if text in (".", ".."):  # what stands between them and `/v1/contacts/` would take them for folders
            faults.append(Fault(pointer="/id", detail=f"{text!r} cannot be part of an address of the API."))
            return None
        if text:
            return text
    detail = f"Expected a text of 1 to {ID_MAX} characters, got {_short(value)}."
    faults.append(Fault(pointer="/id", detail=detail))
    return None


def _tags(value: object, faults: list[Fault]) -> frozenset[str]:
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


def _attributes(value: object, faults: list[Fault]) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or len(value) > ATTRIBUTES_MAX:
        faults.append(Fault(pointer="/attributes", detail=f"Expected an object of at most {ATTRIBUTES_MAX} members."))
        return {}
    attributes = {}
    for name, given in value.items():
        detail = attribute_name_fault(str(name)) or _value_fault(given)
        if detail is None:
            attributes[str(name)] = None if isinstance(given, str) and not given.strip() else given
        else:
            faults.append(Fault(pointer=f"/attributes/{escaped(str(name))}", detail=detail))
    return attributes


def attribute_name_fault(name: str) -> str | None:
    """Why an attribute cannot have this name, or None."""
    if not name.strip() or len(name) > ATTRIBUTE_NAME_MAX:
        return f"The name must have 1 to {ATTRIBUTE_NAME_MAX} characters."
    return "The name has control characters." if _CONTROL.search(name) else None


def _value_fault(value: object) -> str | None:
    if isinstance(value, list):
        if len(value) > ATTRIBUTES_MAX:
            return f"The list has {len(value)} members, at most {ATTRIBUTES_MAX} are allowed."
        if any(each is None or isinstance(each, list | Mapping) for each in value):
            return "A list may hold texts, numbers, true and false only."
        return next((fault for each in value if (fault := _value_fault(each)) is not None), None)
    if isinstance(value, str):
        if len(value) > ATTRIBUTE_TEXT_MAX:
            return f"The text has {len(value)} characters, at most {ATTRIBUTE_TEXT_MAX} are allowed."
        return "The text has NUL or unpaired surrogates." if _UNSTORABLE.search(value) else None
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if value.bit_length() <= INTEGER_BITS else "The number is too large."
    if isinstance(value, float):
        return None if math.isfinite(value) else "Expected a finite number."
    return f"Expected a text, a number, true, false, null or a list of them, got {_short(value)}."
