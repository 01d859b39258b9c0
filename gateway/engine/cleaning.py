"""What plugins read from callbacks is hostile: made fit for the store, or left out, before anything is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import msgspec

from gateway.contract import Channel, Consent, Event, Inbound, Media, Receipt, TemplateChange

T = TypeVar("T", Receipt, Inbound, Consent, TemplateChange)

ID_CHARACTERS_MAX: Final = 512  # of a provider's id; the longest known, WhatsApp's, have about 70
IDS_MAX: Final = 100  # of one message; nobody sends a text in more parts
TEXT_CHARACTERS_MAX: Final = 64 * 1024  # of an inbound message; what is longer is cut
REASON_CHARACTERS_MAX: Final = 1_000
ADDRESS_CHARACTERS_MAX: Final = 320
MEDIA_MAX: Final = 50
EVENTS_MAX: Final = 10_000  # of one callback of at most 4 MiB
AHEAD_MAX: Final = timedelta(hours=1)  # a provider's clock that is further ahead is not believed
BEHIND_MAX: Final = timedelta(days=60)  # older than any receipt that is still sent again

_UNFIT: Final = re.compile(r"[\x00\ud800-\udfff]")


class Cleaner:
    """Cleans the events of one sender's callbacks."""

    def __init__(self, channel: Channel, region: str | None, now: Callable[[], datetime]) -> None:
        self._channel = channel
        self._region = region
        self._now = now

    def clean(self, events: Iterable[Event]) -> tuple[Event, ...]:
        """The events that can be written. TypeError: something among them is no event."""
        cleaned = []
        for event, _ in zip(events, range(EVENTS_MAX), strict=False):
            one = self._one(event)
            if one is not None:
                cleaned.append(one)
        return tuple(cleaned)

    def _one(self, event: Event) -> Event | None:
        match event:
            case Receipt():
                return self._receipt(event)
            case Inbound():
                return self._inbound(event)
            case Consent():
                return self._consent(event)
            case TemplateChange():
                return msgspec.structs.replace(event, reason=_text(event.reason, REASON_CHARACTERS_MAX))
        raise TypeError(f"parse gave {type(event).__name__}, which is no event")

    def _receipt(self, receipt: Receipt) -> Receipt:
        return msgspec.structs.replace(
            receipt,
            provider_ids=_ids(receipt.provider_ids),
            at=self._instant(receipt.at),
            reason=_text(receipt.reason, REASON_CHARACTERS_MAX),
            provider_code=_text(receipt.provider_code, ID_CHARACTERS_MAX),
        )

    def _inbound(self, inbound: Inbound) -> Inbound | None:
        """One without an id or an address could be neither told from its repetition nor answered."""
        ids = _ids((inbound.provider_id,))
        address = self._address(inbound.address)
        if not ids or not address:
            return None
        return msgspec.structs.replace(
            inbound,
            provider_id=ids[0],
            address=address,
            aliases=tuple(alias for alias in map(self._address, inbound.aliases[:IDS_MAX]) if alias),
            text=_text(inbound.text, TEXT_CHARACTERS_MAX) or "",
            at=self._instant(inbound.at),
            quotes=_ids(inbound.quotes),
            button=_text(inbound.button, REASON_CHARACTERS_MAX),
            media=tuple(map(_medium, inbound.media[:MEDIA_MAX])),
            name=_text(inbound.name, ADDRESS_CHARACTERS_MAX),
        )

    def _consent(self, consent: Consent) -> Consent | None:
        address = self._address(consent.address)
        if not address and consent.ref is None and not consent.provider_ids:
            return None
        return msgspec.structs.replace(
            consent,
            address=address,
            category=_text(consent.category, ID_CHARACTERS_MAX) or None,
            at=self._instant(consent.at),
            reason=_text(consent.reason, REASON_CHARACTERS_MAX),
            provider_ids=_ids(consent.provider_ids),
        )

    def _address(self, address: str) -> str:
        """In its one spelling; one that the channel's rules refuse (a short code, a sender's name) as it came."""
        short = (_text(address, ADDRESS_CHARACTERS_MAX) or "").strip()
        try:
            return self._channel.normalise(short, self._region) if short else ""
        except ValueError:
            return short

    def _instant(self, at: datetime | None) -> datetime | None:
        """None, the time of arrival, for what no honest clock says."""
        if at is None or at.tzinfo is None:
            return None
        now = self._now()
        try:
            in_utc = at.astimezone(UTC)
        except OverflowError:
            return None
        return in_utc if now - BEHIND_MAX <= in_utc <= now + AHEAD_MAX else None


def _medium(media: Media) -> Media:
    return msgspec.structs.replace(
        media,
        url=_text(media.url, TEXT_CHARACTERS_MAX) or "",
        content_type=_text(media.content_type, ID_CHARACTERS_MAX),
        filename=_text(media.filename, ID_CHARACTERS_MAX),
    )


def _ids(ids: Sequence[str]) -> tuple[str, ...]:
    """Ids that are too long to be one are left out: cut, they would be somebody else's."""
    return tuple([id for id in ids[:IDS_MAX] if id and len(id) <= ID_CHARACTERS_MAX and not _UNFIT.search(id)])


def _text(text: str | None, characters_max: int) -> str | None:
    return None if text is None else _UNFIT.sub("\ufffd", text[:characters_max])
