"""A provider that does everything a provider may do, as the seed decides, and remembers what really left."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import msgspec

from gateway.contract import (
    Absent,
    Accepted,
    AccessPolicy,
    Adapter,
    Answer,
    CallbackRequest,
    Caller,
    CannotTell,
    Capabilities,
    Channel,
    Code,
    Event,
    Found,
    Inbound,
    InboundFacts,
    InboundPolicy,
    Misconfigured,
    NotSent,
    OptedOut,
    Outbound,
    Outcome,
    Question,
    Reaction,
    Receipt,
    Rejected,
    Retry,
    Status,
    Unknown,
)

SMS: Final = Channel(name="sms", title="SMS", normalise=lambda address, region: address, address_from="phone")

STORIES: Final[Sequence[Sequence[Status]]] = (
    (Status.SENT, Status.DELIVERED, Status.READ),
    (Status.SENT, Status.DELIVERED),
    (Status.DELIVERED,),
    (Status.SENT, Status.UNDELIVERED),
    (Status.FAILED, Status.DELIVERED),
    (Status.DELIVERED, Status.FAILED),
    (Status.EXPIRED,),
    (),
)
DELAYS: Final = (0.0, 0.0, 0.01, 0.3, 5.0, 29.9, 45.0)  # seconds; the last is behind the deadline


class NoSettings(msgspec.Struct):
    """It needs none."""


class Keywords(InboundPolicy[NoSettings]):
    """STOP leaves, START comes back."""

    name = "keywords"
    settings_type = NoSettings

    def read(self, inbound: Inbound, facts: InboundFacts) -> Reaction | None:
        words = {"STOP": Reaction("out", reply="You are out."), "START": Reaction("in", reply="You are back.")}
        return words.get(inbound.text)


class Anybody(AccessPolicy[NoSettings]):
    """Whoever has a key may do everything."""

    name = "anybody"
    settings_type = NoSettings

    def permits(self, caller: Caller, permission: str) -> bool:
        return True


@dataclass
class Provider:
    """Outlives every crash of the gateway."""

    chance: random.Random
    trouble: float  # how often it does something else than accept, from 0 to 1
    called: Callable[[Outbound], None]
    left: Counter[str] = field(default_factory=Counter)  # by ref: how often somebody's phone rang
    receipts: list[tuple[str, Receipt]] = field(default_factory=list)  # that it has not reported yet, by sender
    says: dict[bytes, Sequence[Event]] = field(default_factory=dict)  # what the body of a callback means
    ill: dict[str, str | None] = field(default_factory=dict)  # what `check` says, by sender

    def leaves(self, sender: str, message: Outbound) -> None:
        """The message is on its way; there will be receipts, by our ref or by its own id, or none."""
        self.left[message.ref] += 1
        for status in self.chance.choice(STORIES):
            names = {"ref": message.ref} if self.chance.random() < 0.5 else {"provider_ids": (f"p-{message.ref}",)}
            self.receipts.append((sender, Receipt(status=status, **names)))

    def answer(self, sender: str, message: Outbound) -> Outcome:
        """What it says. Whatever that is but a plain no, the message may have left all the same."""
        if self.chance.random() >= self.trouble:
            self.leaves(sender, message)
            return Accepted((f"p-{message.ref}",))
        kind = self.chance.choice(
            (
                "retry",
                "retry",
                "retry",
                "retry_sender",
                "rejected",
                "opted_out",
                "misconfigured",
                "action",
                "unknown",
                "raises",
                "unsent",
            )
        )
        if kind in ("unknown", "raises", "retry") and self.chance.random() < 0.5:
            self.leaves(sender, message)
        return self._say(sender, kind)

    def _say(self, sender: str, kind: str) -> Outcome:
        match kind:
            case "retry":
                return Retry("busy", after=self.chance.choice((None, timedelta(seconds=5), timedelta(minutes=20))))
            case "retry_sender":
                return Retry("too fast", after=timedelta(seconds=self.chance.choice((1, 90))), scope="sender")
            case "rejected":
                code = self.chance.choice((Code.INVALID_ADDRESS, Code.CONTENT))
                return Rejected(code, "no such number", address_dead=self.chance.random() < 0.2)
            case "opted_out":
                return OptedOut("they left", category=self.chance.choice((None, "general")))
            case "misconfigured":
                self.ill[sender] = self.chance.choice((None, "bad password"))
                return Misconfigured("bad password")
            case "action":
                return Misconfigured("the template is paused", scope="action")
            case "unknown":
                return Unknown("no answer")
            case "unsent":
                raise NotSent("connection refused")
            case _:
                raise RuntimeError("a bug of the adapter's")


class SimulatedAdapter(Adapter[NoSettings]):
    """Speaks to the provider in one life of the gateway."""

    channel = "sms"
    name = "simulated"
    settings_type = NoSettings

    def __init__(self, sender: str, provider: Provider, capabilities: Capabilities) -> None:
        # No settings and no tools: there is no network in this world.
        self._sender = sender
        self._provider = provider
        self._capabilities = capabilities

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def send(self, message: Outbound) -> Outcome:
        provider = self._provider
        provider.called(message)
        slow = provider.chance.random() < provider.trouble
        if slow and provider.chance.random() < 0.5:  # it leaves, and whether we hear of it is another question
            provider.leaves(self._sender, message)
            await asyncio.sleep(provider.chance.choice(DELAYS))
            return Accepted((f"p-{message.ref}",))
        await asyncio.sleep(provider.chance.choice(DELAYS) if slow else 0)
        return provider.answer(self._sender, message)

    async def check(self) -> str | None:
        return self._provider.ill.get(self._sender)

    async def authenticate(self, request: CallbackRequest) -> bool:
        return True

    def parse(self, request: CallbackRequest) -> Sequence[Event]:
        return self._provider.says[request.body]

    async def lookup(self, question: Question) -> Answer:
        provider = self._provider
        if provider.chance.random() < provider.trouble / 2:
            return CannotTell("try later")
        ref = question.message.ref
        if provider.left[ref]:
            return Found(Receipt(status=Status.SENT, ref=ref), (f"p-{ref}",))
        return Absent()
