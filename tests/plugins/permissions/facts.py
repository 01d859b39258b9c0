"""What the send policies of this package are asked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gateway import Facts

NIGHT_IN_LAGOS = datetime(2026, 6, 1, 22, 0, tzinfo=UTC)  # 23:00 there


def make_facts(**changes: Any) -> Facts:
    """A bulk message by SMS to somebody in Lagos, late in the evening."""
    settings: dict[str, Any] = {
        "now": NIGHT_IN_LAGOS,
        "org": "default",
        "channel": "sms",
        "sender": "main",
        "address": "+2348012345678",
        "category": "general",
        "time_zone": "Africa/Lagos",
        "source": "bulk_action",
        "bulk_action_id": "ba_1",
        "contact_id": "m-1",
        "tags": frozenset(),
        "sent_last_day": 0,
        "sent_last_week": 0,
        "last_inbound_at": None,
        "time_zones": ("Africa/Lagos",),
    }
    return Facts(**settings | changes)
