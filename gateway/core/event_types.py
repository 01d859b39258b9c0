"""The types of events: every one that is ever published, and the patterns by which readers choose among them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

TEST: Final = "webhook.test"
"""Published by nobody but a webhook's test, and delivered to that webhook alone."""

EVENT_TYPES: Final = (
    "bulk_action.created",
    "bulk_action.started",
    "bulk_action.progress",
    "bulk_action.batch_finished",
    "bulk_action.paused",
    "bulk_action.resumed",
    "bulk_action.delegated",
    "bulk_action.completed",
    "bulk_action.outcome_changed",
    "bulk_action.cancelled",
    "bulk_action.retried",
    "message.accepted",
    "message.sent",
    "message.delivered",
    "message.read",
    "message.failed",
    "message.unknown",
    "message.received",
    "opt_out.recorded",
    "opt_out.removed",
    "contact.created",
    "contact.updated",
    "contact.deleted",
    "sender.held",
    "sender.released",
    "template.status_changed",
    "webhook.disabled",
    TEST,
)

DEFAULT_PATTERNS: Final = ("bulk_action.*", "message.received", "opt_out.*")
"""What streams and webhooks carry that do not say what they want."""

_KNOWN: Final = frozenset(EVENT_TYPES)
_GROUPS: Final = tuple(dict.fromkeys(f"{name.partition('.')[0]}.*" for name in EVENT_TYPES))


def check(name: str) -> None:
    """ValueError unless events of this type may be published."""
    if name not in _KNOWN:
        raise ValueError(f"{name!r} is no type of event: add it to gateway/core/event_types.py and to docs/api.md")


def named_by(patterns: Iterable[str]) -> tuple[str, ...]:
    """The types that patterns name: `message.read`, `bulk_action.*` for a group, `*` for all."""
    wanted = frozenset(patterns)
    return tuple(name for name in EVENT_TYPES if wanted & {"*", name, f"{name.partition('.')[0]}.*"})


def fault_of(pattern: str) -> str | None:
    """What is wrong with a pattern, as a sentence with what there is instead; None if it names something."""
    if pattern == "*" or pattern in _KNOWN or pattern in _GROUPS:
        return None
    near = difflib.get_close_matches(pattern, (*EVENT_TYPES, *_GROUPS), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    there = ", ".join(("*", *_GROUPS, *EVENT_TYPES))
    return f"There is no type of event {pattern[:100]!r}.{hint} There are: {there}."
