"""Templates behind the API: a mail sender, one on a channel whose provider keeps templates, and one that counts SMS."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from gateway.contract import Capabilities, Channel, Code, Outbound, ProviderTemplate, Rejected
from gateway.core.ids import IdSequence
from gateway.core.segments import count_segments
from gateway.core.template import Renderer
from gateway.engine.composing import Composer
from gateway.engine.gatekeeper import Gatekeeper
from gateway.engine.log import CommunicationLog
from gateway.engine.provider_templates import ProviderTemplates
from gateway.engine.singles import SingleMessages
from gateway.engine.template_desk import TemplateDesk
from gateway.engine.template_senders import TemplateSenders
from gateway.engine.template_trials import TemplateTrials
from gateway.http.messages import message_routes
from gateway.http.routing import Route
from gateway.http.templates import template_routes
from gateway.store.codec import to_micros
from gateway.store.database import Database
from gateway.store.facts import FactStore
from gateway.store.message_templates import MessageTemplateStore
from gateway.store.messages import MessageLog
from gateway.store.senders import SenderSetting, SenderStore
from gateway.store.singles import SingleStore
from gateway.testing.clock import FakeClock
from tests.contents import make_contents, make_templates
from tests.http.conftest import Api, Reply, make_catalogue
from tests.http.sending import EMAIL, FakeAdapter, build_sending

CHAT = Channel(
    name="chat",
    title="Chat",
    normalise=lambda text, region: text,
    address_from="phone",
    takes=frozenset({"text", "template", "media"}),
    template_required=True,
)
SMS = Channel(name="sms", title="SMS", normalise=lambda text, region: text, address_from="phone")


class KeepingAdapter(FakeAdapter):
    """Its provider keeps templates."""

    def __init__(self, *kept: ProviderTemplate) -> None:
        super().__init__()
        self.kept: Sequence[ProviderTemplate] = kept

    @property
    def capabilities(self) -> Capabilities:
        return msgspec.structs.replace(super().capabilities, templates=True)

    async def templates(self) -> Sequence[ProviderTemplate]:
        if self.problem is not None:
            raise OSError(self.problem)
        return self.kept


class SmsAdapter(FakeAdapter):
    """Counts segments, and takes ten of them at most."""

    def cost(self, message: Outbound) -> int:
        return count_segments(message.text or "").segments

    def refuse(self, message: Outbound) -> Rejected | None:
        if self.cost(message) <= 10:
            return None
        return Rejected(Code.TOO_LONG, "That is more than ten segments.")


REMINDER = ProviderTemplate(
    name="reminder",
    language="en",
    status="approved",
    category="utility",
    text="Hi {{first_name}}, at {{1}}.",
    parameters=("first_name", "1"),
)


@dataclass
class Templates:
    """The parts, and shortcuts over the API."""

    database: Database
    chat: KeepingAdapter
    second_chat: KeepingAdapter
    providers: ProviderTemplates
    store: MessageTemplateStore
    routes: list[Route]
    catalogue: Any
    api: Api = field(init=False)

    async def make(self, expect: int = 201, **changes: Any) -> Any:
        """A template of ours: an SMS called `welcome`, but for `changes`; the answer's body."""
        body = {"channel": "sms", "name": "welcome", "body": "Hi {{ first_name }}"} | changes
        reply = await self.api.post("/v1/templates", {name: one for name, one in body.items() if one is not None})
        assert reply.status == expect, reply.json
        return reply.json

    async def approved(self, **changes: Any) -> Any:
        made = await self.make(**changes)
        return (await self.decide(made, "approve")).json

    async def decide(self, template: Any, what: str, body: Any = None, **more: Any) -> Reply:
        return await self.api.post(f"/v1/templates/{template['id']}/{what}", body, **more)

    async def edit(self, template: Any, patch: Any, **more: Any) -> Reply:
        return await self.api.call("PATCH", f"/v1/templates/{template['id']}", json=patch, **more)

    async def listed(self, query: str = "") -> list[str]:
        """The names of a list, which has to fit on a page."""
        reply = await self.api.get(f"/v1/templates{query}")
        assert (reply.status, reply.json.get("next_cursor")) == (200, None), reply.json
        return [one["name"] for one in reply.json["items"]]


async def build_templates(database: Database, clock: FakeClock, ids: IdSequence) -> Templates:
    """Ann, `m-1`, has every address; Ben, `m-2`, has no name. The provider's template is known."""
    sending = await build_sending(database, clock, ids)
    names = {"chat": "chat", "chat-2": "chat", "sms": "sms"}
    settings = [
        SenderSetting(name=name, org="default", channel=channel, adapter="fake", in_flight_limit=4)
        for name, channel in names.items()
    ]
    _, numbers = await SenderStore(database).register(["default", "other"], settings)
    mail, chat, second_chat = sending.catalogue.senders["mail"], KeepingAdapter(REMINDER), KeepingAdapter()
    more = {
        "chat": replace(mail, id=numbers["chat"], name="chat", channel=CHAT, adapter=chat),
        "chat-2": replace(mail, id=numbers["chat-2"], name="chat-2", channel=CHAT, adapter=second_chat, default=False),
        "sms": replace(mail, id=numbers["sms"], name="sms", channel=SMS, adapter=SmsAdapter()),
    }
    catalogue = make_catalogue(
        channels={"email": EMAIL, "chat": CHAT, "sms": SMS}, senders={**sending.catalogue.senders, **more}
    )
    gatekeepers = {name: Gatekeeper(sender, (), FactStore(database), ids) for name, sender in catalogue.senders.items()}
    renderer = Renderer()
    composer, people = Composer(renderer), SingleStore(database)
    contents = make_contents(database, catalogue, clock, ids, renderer)
    singles = SingleMessages(catalogue, gatekeepers, people, contents, composer, ids, clock, lambda sender: None)
    providers, store = make_templates(database, catalogue, clock, ids), MessageTemplateStore(database, ids)
    senders = TemplateSenders(catalogue, providers)
    desk = TemplateDesk(store, senders, contents, composer, catalogue, clock)
    trials = TemplateTrials(desk, providers, senders, contents, composer, people, singles, catalogue)
    log = CommunicationLog(MessageLog(database), catalogue, composer)
    await providers.sync(more["chat"])
    await _people(database, clock)
    routes = [
        *template_routes(desk, trials, providers, log, catalogue),
        *message_routes(log, singles, catalogue),
    ]
    return Templates(database, chat, second_chat, providers, store, routes, catalogue)


async def _people(database: Database, clock: FakeClock) -> None:
    now = to_micros(clock.now())

    def operation(conn: sqlite3.Connection) -> None:
        conn.executemany(
            "INSERT INTO contacts (id, org, public_id, first_name, email, phone, created_at, updated_at, seen_at) "
            "VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?)",
            [
                (1, "m-1", "Ann", "ann@example.org", "+14155550101", now, now, now),
                (2, "m-2", None, "ben@example.org", None, now, now, now),
            ],
        )

    await database.write(operation)
