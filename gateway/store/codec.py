"""How values are written into columns: instants as integers, everything that is never queried as JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def to_micros(instant: datetime) -> int:
    """Microseconds since 1970 in UTC. `instant` must be aware; ValueError otherwise."""
    if instant.tzinfo is None:
        raise ValueError(f"a naive datetime has no place in the store: {instant!r}")
    return (instant - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The aware UTC datetime of a stored instant."""
    return _EPOCH + micros * _MICROSECOND


def micros_or_none(instant: datetime | None) -> int | None:
    return None if instant is None else to_micros(instant)


def instant_or_none(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def micros_of(duration: timedelta) -> int:
    """A duration in microseconds."""
    return duration // _MICROSECOND


def to_json(value: object) -> str:
    """JSON text for a column. Structs and dataclasses are written as objects."""
    return msgspec.json.encode(value).decode()


def from_json(text: str | None) -> Any:
    """The plain value behind a JSON column; None for NULL."""
    return None if text is None else msgspec.json.decode(text)
