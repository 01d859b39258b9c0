"""What is installed and configured, as values: built once by the daemon, read by the loops and the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from gateway.contract import (
    AccessPolicy,
    Adapter,
    Caller,
    Channel,
    ContentPolicy,
    InboundPolicy,
    Operation,
    SendPolicy,
)
from gateway.core.ids import OrgId, SenderId
from gateway.errors import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Org:
    """A tenant: `[orgs.NAME]`."""

    id: OrgId
    name: str
    title: str  # how it calls itself to people
    time_zone: str
    default_region: str | None
    daily_cap: int | None = None  # messages per day of its time zone, over all its senders


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """One configured account of an adapter, `[senders.NAME]`, with every common key resolved against the defaults."""

    id: SenderId
    name: str
    org: Org
    channel: Channel
    adapter_name: str
    adapter: Adapter[Any]
    default: bool
    rate: float  # cost units per second
    burst: float  # cost units
    daily_cap: int | None  # messages per day of the org's time zone
    concurrency: int  # W, the in-flight limit
    deadline: timedelta
    retry_for: timedelta
    receipt_deadline: timedelta
    on_unknown: Literal["hold", "resend"]
    dry_run: bool

    @property
    def charges_by_unit(self) -> bool:
        """Whether the provider counts something finer than messages, such as segments of an SMS."""
        return type(self.adapter).cost is not Adapter.cost

    @property
    def awaits_receipts(self) -> bool:
        """Whether an accepted message is handed over until a receipt comes, and not a success at once."""
        return self.adapter.capabilities.receipts and not self.dry_run


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Everything that a request or a loop may name."""

    orgs: Mapping[str, Org]
    channels: Mapping[str, Channel]
    senders: Mapping[str, Sender]
    operations: Mapping[str, Operation[Any]]  # without `send_message`, which is the engine's own
    send_policies: tuple[SendPolicy[Any], ...] = ()
    access_policies: tuple[AccessPolicy[Any], ...] = ()
    inbound_policies: tuple[InboundPolicy[Any], ...] = ()
    content_policies: tuple[ContentPolicy[Any], ...] = ()
    filters: Mapping[str, Callable[[Any], str]]

    def permits(self, caller: Caller, permission: str) -> bool:
        """True if every access policy permits it; without any access policy nobody may do anything."""
        return bool(self.access_policies) and all(policy.permits(caller, permission) for policy in self.access_policies)

    def org_by_id(self, org: OrgId) -> Org:
        """The org behind a row. KeyError if it is no longer configured."""
        for candidate in self.orgs.values():
            if candidate.id == org:
                return candidate
        raise KeyError(org)

    def sender_by_id(self, sender: SenderId) -> Sender | None:
        """The sender behind a row, or None if it vanished from gateway.toml."""
        return next((candidate for candidate in self.senders.values() if candidate.id == sender), None)

    def sender_for(self, org: str, channel: str, name: str | None) -> Sender:
        """The sender of a message: the one named; else the channel's default; else its only one.

        Refused: `unknown_channel`, `unknown_sender`, `sender_ambiguous`.
        """
        own = [sender for sender in self.senders.values() if sender.org.name == org]
        candidates = [sender for sender in own if sender.channel.name == channel]
        if not candidates:
            configured = sorted({sender.channel.name for sender in own})
            raise Refused(
                "unknown_channel", f"No sender is configured for channel {channel!r}; configured: {configured}."
            )
        if name is not None:
            chosen = [sender for sender in candidates if sender.name == name]
            if not chosen:
                known = sorted(sender.name for sender in candidates)
                raise Refused("unknown_sender", f"Channel {channel!r} has no sender {name!r}; it has: {known}.")
            return chosen[0]
        defaults = [sender for sender in candidates if sender.default]
        if len(defaults) == 1:
            return defaults[0]
        if len(candidates) == 1:
            return candidates[0]
        known = sorted(sender.name for sender in candidates)
        raise Refused(
            "sender_ambiguous", f"Channel {channel!r} has several senders, none is the default: name one of {known}."
        )
