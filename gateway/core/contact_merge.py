"""What a contact is after a draft has been merged into it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from gateway.core.people import ATTRIBUTES_MAX, SCALARS, ContactDraft, Fault

ATTRIBUTES_TEXT_MAX: Final = 65_536  # characters of all attributes together: names and texts

V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactContent:
    """What a caller says about a person. `scalars` has every one of SCALARS."""

    scalars: Mapping[str, str | None]
    addresses: Mapping[str, str]
    tags: frozenset[str]
    attributes: Mapping[str, object]


NOTHING: Final = ContactContent(scalars=dict.fromkeys(SCALARS), addresses={}, tags=frozenset(), attributes={})


def merge(before: ContactContent, draft: ContactDraft) -> ContactContent:
    """`before` with the draft's fields over it; `before` itself, the same object, if nothing differs."""
    scalars = before.scalars
    if any(scalars[name] != value for name, value in draft.scalars.items()):
        scalars = {**scalars, **draft.scalars}
    addresses = _overlaid(before.addresses, draft.addresses, emptied="addresses" in draft.emptied)
    attributes = _overlaid(before.attributes, draft.attributes, emptied="attributes" in draft.emptied)
    tags = before.tags if draft.tags is None or draft.tags == before.tags else draft.tags
    same = (
        scalars is before.scalars
        and addresses is before.addresses
        and attributes is before.attributes
        and tags is before.tags
    )
    if same:
        return before
    return ContactContent(scalars=scalars, addresses=addresses, tags=tags, attributes=attributes)


def size_fault(content: ContactContent) -> Fault | None:
    """What has grown too large by merging, or None."""
    number = len(content.attributes)
    if number > ATTRIBUTES_MAX:
        detail = f"The contact would have {number} attributes, at most {ATTRIBUTES_MAX} are allowed; null clears one."
        return Fault(pointer="/attributes", detail=detail)
    characters = sum(len(name) + _characters(value) for name, value in content.attributes.items())
    if characters > ATTRIBUTES_TEXT_MAX:
        detail = f"The attributes would have {characters} characters, at most {ATTRIBUTES_TEXT_MAX} are allowed."
        return Fault(pointer="/attributes", detail=detail)
    return None


def _overlaid(before: Mapping[str, V], given: Mapping[str, V | None], *, emptied: bool) -> Mapping[str, V]:
    if not given and not emptied:
        return before
    after: dict[str, V] = {} if emptied else dict(before)
    for name, value in given.items():
        if value is None:
            after.pop(name, None)
        else:
            after[name] = value
    alike = after.keys() == before.keys() and all(_alike(value, before[name]) for name, value in after.items())
    return before if alike else after


def _alike(one: object, other: object) -> bool:
    """Equal and of one type: to Python 1, 1.0 and true are equal, to whoever reads a contact they are not."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    return type(one) is type(other) and one == other


def _characters(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    return sum(map(_characters, value)) if isinstance(value, list) else 0
