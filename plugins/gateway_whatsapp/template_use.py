"""What `templates` writes about a template and `send` wants back: its shape, and the names of its parameters.

Parameters are named for people: `1` or `first_name` in the body, `header.1` or `header.name` above it, `button.0` for
the button with index 0. What Meta needs beside the values stands in `details`:
`{"named": false, "header": "image", "buttons": {"0": "url"}, "unsupported": null}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, get_args

from msgspec import Struct

from gateway import TemplateUse

MediaHeader = Literal["image", "video", "document"]
ButtonKind = Literal["url", "copy_code"]  # a quick reply needs nothing: its payload is its text
Pairs = tuple[tuple[str, str], ...]

HEADER_PREFIX: Final = "header."
BUTTON_PREFIX: Final = "button."

_MEDIA_HEADERS: Final[Mapping[object, MediaHeader]] = {kind: kind for kind in get_args(MediaHeader)}
_BUTTON_KINDS: Final[Mapping[str, ButtonKind]] = {kind: kind for kind in get_args(ButtonKind)}


class _Places(NamedTuple):
    """Where the parameters of a template go, in Meta's order: pairs of a parameter's name there and its name here."""

    header: Pairs
    body: Pairs
    buttons: Pairs
    named: bool  # not all of them are numbers


class Shape(Struct, frozen=True, kw_only=True):
    """A template with the values for one recipient, sorted into the parts that Meta wants."""

    known: bool  # whether `details` says anything
    named: bool
    media_header: MediaHeader | None  # the kind of file that it begins with
    header_parameters: Pairs
    body_parameters: Pairs
    button_parameters: tuple[tuple[str, ButtonKind, str], ...]  # index, kind, value
    unsupported: str | None

    @classmethod
    def of(cls, use: TemplateUse) -> Shape:
        """Without details, of a template that was never listed, the names tell as much as they can."""
        details, values = use.details, use.parameters
        unsupported, named = details.get("unsupported"), details.get("named")
        places = _places(tuple(values))
        return cls(
            known=bool(details),
            named=named if isinstance(named, bool) else places.named,
            media_header=media_header(details.get("header")),
            header_parameters=tuple([(name, values[ours]) for name, ours in places.header]),
            body_parameters=tuple([(name, values[ours]) for name, ours in places.body]),
            button_parameters=tuple([(index, _kind(details, index), values[ours]) for index, ours in places.buttons]),
            unsupported=unsupported if isinstance(unsupported, str) and unsupported else None,
        )


@lru_cache(maxsize=256)
def _places(names: tuple[str, ...]) -> _Places:
    """The same for everybody to whom a template is sent."""
    header, buttons = _within(HEADER_PREFIX, names), _within(BUTTON_PREFIX, names)
    body = [(name, name) for name in names if not name.startswith((HEADER_PREFIX, BUTTON_PREFIX))]
    named = not all(name.isdecimal() for name, _ in (*body, *header))
    return _Places(in_order(header), in_order(body), in_order(buttons), named)


def media_header(kind: object) -> MediaHeader | None:
    """The kind of a header that is a file."""
    return _MEDIA_HEADERS.get(kind) if isinstance(kind, str) else None


def _within(prefix: str, names: Iterable[str]) -> Sequence[tuple[str, str]]:
    return [(name.removeprefix(prefix), name) for name in names if name.startswith(prefix)]


def _kind(details: Mapping[str, Any], index: str) -> ButtonKind:
    buttons = details.get("buttons")
    kind = buttons.get(index) if isinstance(buttons, dict) else None
    return _BUTTON_KINDS.get(kind, "url") if isinstance(kind, str) else "url"


def in_order(pairs: Iterable[tuple[str, str]]) -> Pairs:
    """Numbers by their value, before names, which stay as they come: positional parameters have no other order."""
    return tuple(sorted(pairs, key=lambda pair: (not _is_number(pair[0]), int(pair[0]) if _is_number(pair[0]) else 0)))


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) < 10
