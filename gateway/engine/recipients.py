"""From recipients as they were asked for to a selection, its list in chunks, and everything that is wrong with it.

Lists may have a million entries: they are gone through in a thread, so that the event loop goes on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final

import msgspec

from gateway.contract import Channel
from gateway.core.ids import ACTION, ActionId, parse_id
from gateway.core.selection import (
    AddressList,
    AllContacts,
    ContactFilter,
    ContactList,
    OtherAction,
    Reachable,
    Selection,
)
from gateway.core.states import RecipientState
from gateway.core.window import zone_named
from gateway.engine.action_requests import AddressRequest, RecipientsRequest, WhereRequest
from gateway.engine.findings import Findings
from gateway.store.selections import CHUNK

VARIABLES_BYTES_MAX: Final = (
    16 * 1024
)  # JSON of one recipient's variables: a text of a few pages has no more to fill in
ADDRESS_CHUNK: Final = 2_500  # their entries are larger than ids, and so is the work of each
TAGS_MAX: Final = 50  # named in one filter; each is a probe of an index for every contact

_KINDS: Final = ("contacts", "all", "where", "addresses", "bulk_action")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRecipients:
    """A selection; `chunks` are the entries of a list in its order: JSON arrays with the numbers of their entries."""

    selection: Selection
    chunks: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What decides which recipients are possible. `channel` is None where there is none, or none that exists."""

    channel: Channel | None
    sends: bool  # messages: a bare address is enough
    region: str | None  # of national phone numbers
    required: frozenset[str]  # variables without which nobody can be written to
    reaches_deleted: bool
    channels: Mapping[str, Channel]  # that a condition may name


async def read_recipients(asked: RecipientsRequest, about: Circumstances, found: Findings) -> CheckedRecipients | None:
    """The selection, or None with the reasons in `found`."""
    given = [kind for kind in _KINDS if getattr(asked, kind) not in (None, False)]
    if len(given) != 1:
        said = "none is given" if not given else f"given are {', '.join(given)}"
        found.problem("/recipients", f"Give exactly one of {', '.join(_KINDS)}; {said}.")
        return None
    if asked.states is not None and asked.bulk_action is None:
        found.problem("/recipients/states", "States go with `bulk_action` only.")
    if asked.contacts is not None:
        return await asyncio.to_thread(_contacts, asked.contacts, found)
    if asked.addresses is not None:
        return await asyncio.to_thread(_addresses, asked.addresses, about, found)
    if asked.where is not None:
        return _where(asked.where, about, found)
    if asked.bulk_action is not None:
        return _other_action(asked.bulk_action, asked.states or (), found)
    return CheckedRecipients(selection=AllContacts(deleted=about.reaches_deleted))


def _contacts(ids: Sequence[str], found: Findings) -> CheckedRecipients | None:
    if not ids:
        found.problem("/recipients/contacts", "The list is empty.", "no_recipients")
        return None
    unique: dict[str, None] = {}
    # In pieces, because one call over a million ids would hold the interpreter, and with it the event loop, for 0.2 s.
    for start in range(0, len(ids), CHUNK):
        unique.update(dict.fromkeys(ids[start : start + CHUNK]))
    dropped = len(ids) - len(unique)
    if dropped:
        found.warn("duplicate_recipients", f"{dropped} ids were given more than once: the first counts.", dropped)
    chunks = tuple(_encoded(iter(unique), _as_is, CHUNK))
    return CheckedRecipients(selection=ContactList(total=len(unique)), chunks=chunks)


def _encoded(entries: Iterator[Any], convert: Callable[[Any], object], size: int) -> Iterator[tuple[str, int]]:
    encoder = msgspec.json.Encoder()
    while chunk := [convert(entry) for entry in islice(entries, size)]:
        yield encoder.encode(chunk).decode(), len(chunk)


def _as_is(entry: str) -> str:
    return entry


def _addresses(asked: Sequence[AddressRequest], about: Circumstances, found: Findings) -> CheckedRecipients | None:
    if not about.sends:
        found.problem("/recipients/addresses", "This operation is for contacts: bare addresses have nothing to change.")
        return None
    if not asked:
        found.problem("/recipients/addresses", "The list is empty.", "no_recipients")
        return None
    if about.channel is None:
        return None  # the message is wrong, and that has been told
    reader = _AddressReader(about.channel, about, found)
    chunks = tuple(_encoded(iter(enumerate(asked)), reader.entry, ADDRESS_CHUNK))
    reader.conclude(len(asked))
    return CheckedRecipients(selection=AddressList(total=len(asked)), chunks=chunks)


class _AddressReader:
    """Goes through one list of addresses."""

    def __init__(self, channel: Channel, about: Circumstances, found: Findings) -> None:
        self._channel = channel
        self._about = about
        self._found = found
        self._invalid = 0
        self._first_invalid = ""
        self._unknown_zones = 0

    def entry(self, numbered: tuple[int, AddressRequest]) -> dict[str, object]:
        """One entry as it is stored: without what it does not have."""
        index, asked = numbered
        if asked.variables is not None or self._about.required:
            self._check_variables(index, asked)
        stored: dict[str, object] = {}
        try:
            stored["to"] = self._channel.normalise(asked.to, self._about.region)
        except ValueError as exc:
            stored |= {"to": asked.to, "valid": False}
            self._first_invalid = self._first_invalid or f"{asked.to!r}: {exc}"
            self._invalid += 1
        if asked.variables:
            stored["variables"] = asked.variables
        if asked.time_zone is not None:
            known = zone_named(asked.time_zone) is not None
            self._unknown_zones += not known
            if known:
                stored["time_zone"] = asked.time_zone
        return stored

    def conclude(self, total: int) -> None:
        """What is to be said about the list as a whole."""
        if self._invalid == total:
            detail = f"No address is valid. {self._first_invalid}"
            self._found.problem("/recipients/addresses", detail, "no_recipients")
        elif self._invalid:
            self._found.warn(
                "invalid_address",
                f"{self._invalid} addresses are not valid, such as {self._first_invalid}",
                self._invalid,
            )
        if self._unknown_zones:
            detail = f"{self._unknown_zones} addresses have a time zone that does not exist: the schedule's is taken."
            self._found.warn("unknown_time_zone", detail, self._unknown_zones)

    def _check_variables(self, index: int, asked: AddressRequest) -> None:
        given = asked.variables or {}
        lacking = sorted(name for name in self._about.required if given.get(name) is None)
        if lacking:
            names = ", ".join(repr(name) for name in lacking)
            detail = f"It has no value for {names}, which the message uses without a default."
            self._found.problem(f"/recipients/addresses/{index}/variables", detail)
        if asked.variables and len(msgspec.json.encode(asked.variables)) > VARIABLES_BYTES_MAX:
            detail = f"The variables are over {VARIABLES_BYTES_MAX:,} bytes."
            self._found.problem(f"/recipients/addresses/{index}/variables", detail)


def _where(asked: WhereRequest, about: Circumstances, found: Findings) -> CheckedRecipients | None:
    before = len(found.problems)
    tags = asked.tags
    if len(tags.any) + len(tags.all) + len(tags.none) > TAGS_MAX:
        found.problem("/recipients/where/tags", f"These are too many tags: at most {TAGS_MAX}.")
    seen_before = None
    if asked.seen_before is not None:
        seen_before = _instant(asked.seen_before, found)
    for name, value in asked.attributes.items():
        if isinstance(value, list | dict):
            found.problem(f"/recipients/where/attributes/{name}", "Compare with text, a number, true, false or null.")
    channel = about.channels.get(asked.channel or "")
    if asked.channel is not None and channel is None:
        detail = f"There is no channel {asked.channel!r}; there are: {sorted(about.channels)}."
        found.problem("/recipients/where/channel", detail)
    if asked == WhereRequest():
        found.problem("/recipients/where", 'There is no condition: write {"all": true} for everybody.')
    if len(found.problems) > before:
        return None
    return CheckedRecipients(
        selection=ContactFilter(
            tags_any=tuple(tags.any),
            tags_all=tuple(tags.all),
            tags_none=tuple(tags.none),
            attributes=asked.attributes,
            seen_before=seen_before,
            reachable=None if channel is None else Reachable(name=channel.name, address_from=channel.address_from),
            deleted=about.reaches_deleted,
        )
    )


def _instant(text: str, found: Findings) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.utcoffset() is None:
        detail = f"{text!r} is not a time with an offset: write it as '2026-12-01T09:00:00Z'."
        found.problem("/recipients/where/seen_before", detail)
        return None
    return instant


def _other_action(text: str, names: Sequence[str], found: Findings) -> CheckedRecipients | None:
    number = parse_id(ACTION, text)
    if not names:
        found.problem("/recipients/states", "Say which: one or more of failed, skipped, unknown, cancelled, succeeded.")
    if number is None:
        found.problem("/recipients/bulk_action", f"There is no bulk action {text!r}.")
    if number is None or not names:
        return None
    states = tuple(sorted({RecipientState[name.upper()] for name in names}))
    return CheckedRecipients(selection=OtherAction(action=ActionId(number), states=states))
