"""Lists in pages: opaque cursors that carry the sort key of the last item, and revisions as ETags.

A cursor is the key, not an offset: what is inserted meanwhile moves nobody from one page to another.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Final, Generic, TypeVar

import msgspec

from gateway.errors import Invalid, Problem, Refused
from gateway.http.routing import Call

PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 200
CURSOR_CHARACTERS_MAX: Final = 1_000  # a cursor of ours is a tenth of that; contacts' ids are the longest keys

T = TypeVar("T")
R = TypeVar("R")


class PageQuery(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The query of every list; a list with filters derives from it."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX, description="Items in one page.")] = PAGE_DEFAULT
    cursor: (
        Annotated[str, msgspec.Meta(max_length=CURSOR_CHARACTERS_MAX, description="`next_cursor` of the page before.")]
        | None
    ) = None


Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class CreatedQuery(PageQuery, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The query of a list whose rows have a time of creation: from the first instant on, up to before the second."""

    created_after: Instant | None = None
    created_before: Instant | None = None


class Page(msgspec.Struct, Generic[T], kw_only=True, frozen=True):
    """One page. `next_cursor` is null at the end."""

    items: list[T]
    next_cursor: str | None = None


def page(rows: Sequence[R], limit: int, show: Callable[[R], T], key: Callable[[R], tuple[int | str, ...]]) -> Page[T]:
    """A page of `rows`, which were read with one more than `limit` so that the end is known."""
    shown = rows[:limit]
    following = cursor_of(*key(shown[-1])) if len(rows) > limit else None
    return Page(items=[show(row) for row in shown], next_cursor=following)


def cursor_of(*key: int | str) -> str:
    """An opaque text for a sort key."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def key_of(cursor: str | None, shape: type[T]) -> T | None:
    """The sort key in a cursor; `shape` is its type, such as `tuple[int, str]`. None for no cursor, at the beginning.

    Invalid if it is no cursor of this list.
    """
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        key = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=shape)
    except (binascii.Error, msgspec.MsgspecError, ValueError) as exc:
        raise _no_cursor() from exc
    if isinstance(key, tuple) and any(isinstance(part, int) and not 0 <= part < 1 << 63 for part in key):
        raise _no_cursor()  # the database's integers end there
    return key


def _no_cursor() -> Invalid:
    detail = "This is no cursor of this list: give the `next_cursor` of the page before, unchanged."
    return Invalid([Problem("?cursor", detail)])


def etag(revision: int) -> str:
    """The ETag of a revision."""
    return f'"{revision}"'


def check_if_match(call: Call, revision: int) -> None:
    """Refused `revision_mismatch` unless If-Match is absent, `*`, or names this revision.

    A `W/` before the tag is ignored: proxies that compress put it there.
    """
    given = call.headers.get("if-match")
    if given is None or given.strip() == "*":
        return
    named = {tag.strip().removeprefix("W/").strip('"') for tag in given.split(",")}
    if str(revision) not in named:
        detail = (
            f"The revision is {revision}, If-Match says {given.strip()}: read it again, then edit what is there now."
        )
        raise Refused("revision_mismatch", detail, more={"revision": revision})
