"""Bulk actions behind the API: senders on three channels, operations on contacts, and a sweeper turned by hand."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from gateway.contract import Channel, ContactEdit, ContactView, Operation, Outbound, Refusal
from gateway.core.ids import ACTION, IdSequence, parse_id
from gateway.core.states import RecipientState
from gateway.core.template import Renderer
from gateway.engine.actions import BulkActions
from gateway.engine.catalogue import Catalogue
from gateway.engine.composing import Composer
from gateway.engine.creation import ActionLimits
from gateway.http.bulk_actions import bulk_action_routes
from gateway.store.database import Database
from gateway.store.senders import SenderSetting, SenderStore
from gateway.store.sweeps import Sweeps
from gateway.store.verify import verify
from gateway.testing.clock import FakeClock
from gateway.validation import convert
from tests.contents import make_contents
from tests.http.conftest import Api, make_catalogue
from tests.http.sending import EMAIL, FakeAdapter, build_sending


class TagParameters(msgspec.Struct, forbid_unknown_fields=True):
    """Which tags."""

    tags: list[str]


class AddTags(Operation[TagParameters]):
    """Never run here: only its parameters are read."""

    name = "add_tags"
    title = "Add tags"
    parameters_type = TagParameters

    def check(self, parameters: TagParameters) -> Sequence[str]:
        return [f"{tag!r} is reserved." for tag in parameters.tags if tag.startswith("_")]

    def apply(self, contact: ContactView, parameters: TagParameters) -> ContactEdit | Refusal:
        return ContactEdit(add_tags=frozenset(parameters.tags))


class Restore(AddTags):
    """Reaches the deleted."""

    name = "restore_contacts"
    reaches_deleted = True


class CountingAdapter(FakeAdapter):
    """Counts in pieces of ten characters."""

    def cost(self, message: Outbound) -> int:
        return -(-len(message.text or "") // 10)


CHAT = Channel(
    name="chat",
    title="Chat",
    normalise=lambda text, region: text,
    takes=frozenset({"text", "template", "media"}),
    template_required=True,
)
SMS = Channel(name="sms", title="SMS", normalise=lambda text, region: text, address_from="phone")


@dataclass
class Bulk:
    """The service, and shortcuts over its API."""

    database: Database
    catalogue: Catalogue
    service: BulkActions
    sweeps: Sweeps
    clock: FakeClock
    nudges: list[int] = field(default_factory=list)
    api: Api = field(init=False)

    async def contacts(self, number: int, **columns: Any) -> None:
        """`m-1`, `m-2` and so on, reached at `m1@example.org`."""

        def operation(conn: sqlite3.Connection) -> None:
            (start,) = conn.execute("SELECT COALESCE(max(id), 0) FROM contacts").fetchone()
            for id in range(start + 1, start + number + 1):
                values = {"id": id, "org": 1, "public_id": f"m-{id}", "email": f"m{id}@example.org"}
                values |= {"created_at": 1, "updated_at": 1, "seen_at": 1} | columns
                names, marks = ", ".join(values), ", ".join("?" * len(values))
                conn.execute(f"INSERT INTO contacts ({names}) VALUES ({marks})", tuple(values.values()))

        await self.database.write(operation)

    async def create(self, expect: int = 201, **changes: Any) -> Mapping[str, Any]:
        """Create a bulk e-mail to everybody, but for `changes`; the answer's body."""
        reply = await self.api.post("/v1/bulk-actions", request(**changes))
        assert reply.status == expect, reply.json
        found: Mapping[str, Any] = reply.json
        return found

    async def sweep(self) -> None:
        """Do all that the sweeper has to do."""
        while await self.sweeps.step(self.clock.now()) is not None:
            pass

    async def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return await self.database.read(lambda conn: conn.execute(statement, parameters).fetchall())

    async def change(self, statement: str, *parameters: Any) -> None:
        await self.database.write(lambda conn: conn.execute(statement, parameters))

    async def put(self, id: str, status: str, states: Sequence[RecipientState] | None = None, **columns: Any) -> None:
        """What the loops would have brought it to."""
        action = parse_id(ACTION, id)
        await self.sweep()
        names = "".join(f", {name} = ?" for name in columns)
        await self.change(
            f"UPDATE bulk_actions SET status = ?, work = NULL{names} WHERE id = ?", status, *columns.values(), action
        )
        if states is not None:
            for seq, state in enumerate(states, start=1):
                await self.change("UPDATE recipients SET state = ? WHERE action = ? AND seq = ?", state, action, seq)
            for state in RecipientState:
                await self.change(
                    f"UPDATE action_counts SET {state.label} = ? WHERE action = ?", states.count(state), action
                )
            waiting = states.count(RecipientState.PENDING)
            await self.change("UPDATE action_counts SET unreleased = ? WHERE action = ?", waiting, action)

    async def assert_books_balance(self) -> None:
        assert (await verify(self.database)).faults == ()


def request(**changes: Any) -> dict[str, Any]:
    """A bulk e-mail to everybody, now. A change to None leaves the member out."""
    whole: dict[str, Any] = {
        "operation": "send_message",
        "recipients": {"all": True},
        "message": {"channel": "email", "subject": "News", "body": "Hi"},
    }
    return {name: value for name, value in (whole | changes).items() if value is not None}


async def build_bulk(
    database: Database, clock: FakeClock, ids: IdSequence, *, creations_per_minute: int = 1000
) -> Bulk:
    """Senders `mail` and `chat` in the default org, two equal ones on SMS, and two operations on contacts."""
    sending = await build_sending(database, clock, ids)
    names = {"chat": "chat", "sms-1": "sms", "sms-2": "sms"}
    settings = [
        SenderSetting(name=name, org="default", channel=channel, adapter="fake", in_flight_limit=4)
        for name, channel in names.items()
    ]
    _, numbers = await SenderStore(database).register(["default", "other"], settings)
    mail = sending.catalogue.senders["mail"]
    senders = dict(sending.catalogue.senders)
    senders["chat"] = replace(mail, id=numbers["chat"], name="chat", channel=CHAT)
    for name in ("sms-1", "sms-2"):
        senders[name] = replace(
            mail, id=numbers[name], name=name, channel=SMS, default=False, adapter=CountingAdapter()
        )
    channels = {"email": EMAIL, "chat": CHAT, "sms": SMS}
    operations = {"add_tags": AddTags(), "restore_contacts": Restore()}
    catalogue = make_catalogue(channels=channels, senders=senders, operations=operations)
    nudges: list[int] = []
    service = BulkActions(
        database,
        catalogue,
        composer=Composer(Renderer()),
        contents=make_contents(database, catalogue, clock, ids),
        convert=convert,
        clock=clock,
        ids=ids,
        nudge=lambda: nudges.append(1),
        limits=ActionLimits(creations_per_minute=creations_per_minute),
    )
    return Bulk(database, catalogue, service, Sweeps(database, channels), clock, nudges)


def routes(bulk: Bulk) -> Any:
    """The routes over this service."""
    return bulk_action_routes(bulk.service)
