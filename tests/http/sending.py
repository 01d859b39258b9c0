"""A sender with a fake provider behind the API, and the parts of the engine that accept single messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec

from gateway.contract import Accepted, Adapter, Capabilities, Channel, Outbound, Outcome
from gateway.core.ids import IdSequence
from gateway.core.template import Renderer
from gateway.engine.catalogue import Catalogue, Sender
from gateway.engine.composing import Composer
from gateway.engine.gatekeeper import Gatekeeper
from gateway.engine.holds import SenderControl
from gateway.engine.log import CommunicationLog
from gateway.engine.singles import SingleMessages
from gateway.store.database import Database
from gateway.store.facts import FactStore
from gateway.store.messages import MessageLog
from gateway.store.senders import SenderSetting, SenderStore
from gateway.store.singles import SingleStore
from gateway.testing.clock import FakeClock
from tests.contents import make_contents
from tests.http.conftest import DEFAULT, OTHER, make_catalogue


class NoSettings(msgspec.Struct):
    """A provider that needs none."""


class FakeAdapter(Adapter[NoSettings]):
    """Takes everything; `problem` is what its check says."""

    channel = "email"
    name = "fake"
    settings_type = NoSettings

    def __init__(self) -> None:
        self.problem: str | None = None

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(receipts=True, lookup=True, idempotent_for=timedelta(minutes=15), on_unknown="resend")

    async def send(self, message: Outbound) -> Outcome:
        return Accepted()

    async def check(self) -> str | None:
        return self.problem


def lower(address: str, region: str | None) -> str:
    """The one spelling of an address of the tests' channel."""
    if "@" not in address:
        raise ValueError(f"{address!r} has no @.")
    return address.strip().lower()


EMAIL = Channel(
    name="email",
    title="e-mail",
    normalise=lower,
    address_from="email",
    takes=frozenset({"text", "html", "subject"}),
    conversations=False,
)


@dataclass
class Sending:
    """Everything behind the routes of messages and senders."""

    catalogue: Catalogue
    singles: SingleMessages
    log: CommunicationLog
    control: SenderControl
    adapter: FakeAdapter
    nudges: list[str] = field(default_factory=list)


async def build_sending(database: Database, clock: FakeClock, ids: IdSequence) -> Sending:
    """One sender, `mail`, in the default org, and one in the other."""
    store = SenderStore(database)
    settings = [
        SenderSetting(name="mail", org="default", channel="email", adapter="fake", in_flight_limit=4),
        SenderSetting(name="other-mail", org="other", channel="email", adapter="fake", in_flight_limit=4),
    ]
    _, senders = await store.register(["default", "other"], settings)
    adapter = FakeAdapter()
    common: dict[str, Any] = {
        "channel": EMAIL,
        "adapter_name": "fake",
        "adapter": adapter,
        "default": True,
        "rate": 50.0,
        "burst": 50.0,
        "daily_cap": 1000,
        "concurrency": 4,
        "deadline": timedelta(seconds=30),
        "retry_for": timedelta(hours=12),
        "receipt_deadline": timedelta(hours=24),
        "on_unknown": "resend",
        "dry_run": False,
    }
    configured = {
        "mail": Sender(id=senders["mail"], name="mail", org=DEFAULT, **common),
        "other-mail": Sender(id=senders["other-mail"], name="other-mail", org=OTHER, **common),
    }
    catalogue = make_catalogue(channels={"email": EMAIL}, senders=configured)
    facts = FactStore(database)
    gatekeepers = {name: Gatekeeper(sender, (), facts, ids) for name, sender in configured.items()}
    renderer = Renderer()
    nudges: list[str] = []
    singles = SingleMessages(
        catalogue,
        gatekeepers,
        SingleStore(database),
        make_contents(database, catalogue, clock, ids, renderer),
        Composer(renderer),
        ids,
        clock,
        nudges.append,
    )
    return Sending(
        catalogue=catalogue,
        singles=singles,
        log=CommunicationLog(MessageLog(database), catalogue, Composer(renderer)),
        control=SenderControl(store, singles, clock, lambda: nudges.append("sender")),
        adapter=adapter,
        nudges=nudges,
    )
