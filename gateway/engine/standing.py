"""What is against writing to somebody whatever the message says: a deleted contact, a dead address, an opt-out.

One list of checks: the gate takes the first that refuses, and `explain` shows them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from gateway.contract import Channel
from gateway.core.gate import reason_text
from gateway.core.states import RecipientEvent


class Standing(Protocol):
    """What the store knows about somebody on one channel."""

    @property
    def deleted(self) -> bool: ...
    @property
    def address(self) -> str | None: ...
    @property
    def bad_address(self) -> bool: ...
    @property
    def opted_out(self) -> bool: ...
    @property
    def duplicate(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """The gate says no: REFUSE skips the recipient, FAIL fails it."""

    event: RecipientEvent
    code: str
    reason: str | None = None


def refusal_of(standing: Standing, channel: Channel) -> Declined | None:
    """The first check that refuses; None: nothing does."""
    for _, check in CHECKS:
        declined = check(standing, channel)
        if declined is not None:
            return declined
    return None


def window_closed(channel: Channel, address: str, last_inbound: datetime | None, now: datetime) -> str | None:
    """Where a provider takes free text only for some time after a person last wrote: why it takes none now, or None."""
    window = channel.reply_window
    if window is None or (last_inbound is not None and now - last_inbound < window):
        return None
    when = "never wrote to this sender" if last_inbound is None else f"last wrote at {last_inbound.isoformat()}"
    hours = window.total_seconds() / 3600
    return (
        f"{address} {when}: {channel.title} takes a free text within {hours:g} h of that, and a template at any time."
    )


def _deleted(standing: Standing, _channel: Channel) -> Declined | None:
    return Declined(event=RecipientEvent.REFUSE, code="contact_deleted") if standing.deleted else None


def _address(standing: Standing, _channel: Channel) -> Declined | None:
    if standing.address is None:
        return Declined(event=RecipientEvent.FAIL, code="no_address")
    return Declined(event=RecipientEvent.FAIL, code="invalid_address") if standing.bad_address else None


def _opt_out(standing: Standing, channel: Channel) -> Declined | None:
    if not standing.opted_out:
        return None
    return Declined(event=RecipientEvent.REFUSE, code="opted_out", reason=reason_text("opted_out", channel.title))


def _duplicate(standing: Standing, _channel: Channel) -> Declined | None:
    return Declined(event=RecipientEvent.REFUSE, code="duplicate_address") if standing.duplicate else None


CHECKS: Final[tuple[tuple[str, Callable[[Standing, Channel], Declined | None]], ...]] = (
    ("deleted", _deleted),
    ("address", _address),
    ("opt_out", _opt_out),
    ("duplicate", _duplicate),
)
"""In this order. `duplicate` is about the other recipients of one bulk action."""
