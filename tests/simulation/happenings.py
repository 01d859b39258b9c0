"""What the world outside does to the gateway: each happening by itself, in no order."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from gateway.contract import Consent, Inbound
from gateway.core.ids import ActionId
from gateway.engine.action_requests import (
    ActionRequest,
    ContentRequest,
    DripRequest,
    MessageRequest,
    RecipientsRequest,
    ResolveRequest,
    RetryRequest,
    ScheduleRequest,
)
from gateway.engine.singles import SingleDraft
from gateway.errors import Refused
from gateway.store.codec import to_micros
from gateway.store.consent import NewOptOut
from gateway.store.webhooks import WebhookSettings
from tests.simulation.receivers import URL
from tests.simulation.world import KEY, KEYED, OPERATOR, ORG, Life, World

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WINDOWS: Final = (None, None, ["09:00", "17:00"], ["22:00", "02:00"], ["08:00", "08:10"], ["00:00", "24:00"])
REFUSALS_MAX: Final = 3  # until those who were cancelled are not tried again


class Happenings:
    """What may happen, with how often it does beside the others."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world = world
        self._chance = chance
        self._people = chance.randint(1, 9)
        self._listening = False
        self._happenings: tuple[tuple[Callable[[], None], int], ...] = (
            (self._create, 4),
            (self._edit, 3),
            (self._pause, 3),
            (self._resume, 4),
            (self._cancel, 1),
            (self._retry, 3),
            (self._resolve, 1),
            (self._opt_out, 2),
            (self._come_back, 1),
            (self._text, 3),
            (self._delete, 1),
            (self._restore, 1),
            (self._move, 1),
            (self._send_one, 2),
            (self._report, 12),
            (self._crash, 2),
            (self._turn_clock, 1),
            (self._heal, 2),
            (self._hold, 1),
            (self._release, 2),
            (self._operate, 1),
            (self._listen, 1),
            (self._break_off, 2),
            (self._revoke, 1),
            (self._start_over, 2),
        )

    def _create(self) -> None:
        key = self.world.invariants.last.api_keys[KEY,]
        asker = KEYED if key.revoked_at is None and self._chance.random() < 0.5 else OPERATOR
        self.world.ask(self.world.life.actions.create(asker, self._request()))

    def _request(self) -> ActionRequest:
        chance = self._chance
        some = [f"c{n}" for n in range(1, self._people + 1) if chance.random() < 0.8] or ["c1"]
        message = MessageRequest(
            channel="sms",
            sender=self._some_sender(),
            body="Hi",
            category=chance.choice((None, "general", "news")),
            on_duplicate_address=chance.choice(("skip", "send")),
        )
        recipients = chance.choice((RecipientsRequest(all=True), RecipientsRequest(contacts=some)))
        return ActionRequest(
            operation="send_message", recipients=recipients, message=message, schedule=self._schedule()
        )

    def _schedule(self) -> ScheduleRequest:
        chance = self._chance
        mode = chance.choice(("now", "at", "drip", "drip", "drip"))
        start = None
        if mode != "now":
            ahead = timedelta(seconds=chance.choice((0, 0, 5, 3_600, 20 * 3_600)))
            start = (self.world.timeline.wall + ahead).isoformat() if mode == "at" or chance.random() < 0.5 else None
        drip = None
        if mode == "drip":
            drip = DripRequest(
                batch_quantity=chance.randint(1, 4),
                repeat_after=chance.choice(("30s", "5m", "1h", "7h", "1d")),
                send_on=chance.choice((None, None, sorted(chance.sample(DAYS, chance.randint(2, 6))))),
                process_between=chance.choice(WINDOWS),
                time_zone_mode=chance.choice(("account", "account", "contact")),
            )
        zone = chance.choice((None, "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"))
        return ScheduleRequest(mode=mode, start_at=start, time_zone=zone, drip=drip)  # type: ignore[arg-type]

    def _some_action(self) -> ActionId | None:
        ids = [id for (id,) in self.world.invariants.last.bulk_actions]
        return ActionId(self._chance.choice(ids)) if ids else None

    def _person(self) -> str:
        return f"c{self._chance.randint(1, self._people)}"

    def _edit(self) -> None:
        patch = self._chance.choice(
            (
                {"schedule": {"drip": {"batch_quantity": self._chance.randint(1, 5)}}},
                {"schedule": {"drip": {"process_between": self._chance.choice(WINDOWS)}}},
                {"message": {"body": f"Hello {self._chance.randint(1, 99)}"}},
                {"label": "renamed"},
            )
        )
        self._on_action(lambda life, action: life.actions.edit(OPERATOR, action, patch, lambda revision: None))

    def _pause(self) -> None:
        self._on_action(lambda life, action: life.actions.pause(OPERATOR, action))

    def _resume(self) -> None:
        self._on_action(lambda life, action: life.actions.resume(OPERATOR, action))

    def _cancel(self) -> None:
        self._on_action(lambda life, action: life.actions.cancel(OPERATOR, action))

    def _retry(self) -> None:
        states: Any = self._chance.choice((["failed"], ["failed", "skipped", "unknown", "cancelled"], ["unknown"]))
        self._on_action(lambda life, action: life.actions.retry(OPERATOR, action, RetryRequest(states=states)))

    def _start_over(self) -> None:
        """Somebody cancels, and tries those again at once, perhaps while they stand prepared."""

        async def both(life: Life, action: ActionId) -> None:
            await life.actions.cancel(OPERATOR, action)
            for _ in range(REFUSALS_MAX):  # there is nobody to be tried until the cancellation has come to them
                try:
                    await life.actions.retry(OPERATOR, action, RetryRequest(states=["cancelled"]))
                    return
                except Refused:
                    continue

        self._on_action(both)

    def _resolve(self) -> None:
        request = ResolveRequest(recipients="all", verdict=self._chance.choice(("sent", "failed")))
        self._on_action(lambda life, action: life.actions.resolve(OPERATOR, action, request))

    def _on_action(self, make: Any) -> None:
        action = self._some_action()
        if action is not None:
            self.world.ask(make(self.world.life, action))

    def _opt_out(self) -> None:
        given = self._chance.choice(({"contact": self._person()}, {"address": f"+1{self._chance.randint(0, 9)}"}))
        category = self._chance.choice(("all", "all", "news"))
        wish = NewOptOut(channel="sms", category=category, **{"address": None, "contact": None, **given})
        self.world.ask(self.world.life.consent.record(ORG.id, [wish], source="api", by="k"))

    def _come_back(self) -> None:
        found = self.world.rows("SELECT id FROM opt_outs")
        if found:
            (opt_out,) = self._chance.choice(found)
            self.world.ask(self.world.life.consent.remove(ORG.id, opt_out, reason="asked", by="k"))

    def _text(self) -> None:
        """Somebody writes, once or twice over; or leaves by a click."""
        address = f"+1{self._chance.randint(0, 9)}"
        number = self._chance.randint(1, 30)
        text = Inbound(provider_id=f"in-{number}", address=address, text=self._chance.choice(("STOP", "START", "Hi")))
        click = Consent(address=address, wish=self._chance.choice(("out", "in")), source="provider")
        event = self._chance.choice((text, text, click))
        sender = self._some_sender() or "main"
        for _ in range(self._chance.choice((1, 1, 3))):
            self.world.call_back(sender, event)

    def _delete(self) -> None:
        self.world.ask(self.world.life.contacts.delete(ORG.id, self._person()))

    def _restore(self) -> None:
        self.world.ask(self.world.life.contacts.restore(ORG.id, self._person()))

    def _move(self) -> None:
        """Somebody has another number."""
        world, chance = self.world, self._chance
        phone, person, now = f"+1{chance.randint(0, 9)}", self._person(), to_micros(world.timeline.wall)
        world.ask(
            world.life.database.write(
                lambda conn: conn.execute(
                    "UPDATE contacts SET phone = ?, updated_at = max(?, updated_at + 1) WHERE public_id = ?",
                    (phone, now, person),
                )
            )
        )

    def _send_one(self) -> None:
        draft = SingleDraft(
            content=ContentRequest(channel="sms", sender=self._some_sender(), body="Hello"), contact=self._person()
        )
        self.world.ask(self.world.life.singles.send(ORG, draft))

    def _report(self) -> None:
        """Receipts: in any order, several at once, again and again, or never."""
        world, chance = self.world, self._chance
        reports = world.provider.receipts
        for _ in range(min(len(reports), chance.randint(1, 4))):
            sender, receipt = reports.pop(chance.randrange(len(reports)))
            fate = chance.random()
            if fate < 0.15:
                continue  # lost
            for _ in range(3 if fate < 0.3 else 1):
                world.call_back(sender, receipt)

    def _crash(self) -> None:
        self.world.crash()
        if self._chance.random() < 0.3:
            self.world.timeline.pass_by(self._chance.choice((5.0, 600.0, 100_000.0)))
        self.world.start()

    def _turn_clock(self) -> None:
        self.world.timeline.jump(timedelta(seconds=self._chance.choice((-3_600, -40, 40, 3_600, 86_400))))

    def _heal(self) -> None:
        self.world.provider.ill.clear()

    def _hold(self) -> None:
        """A person holds a sender; releasing it is another one's."""
        life = self.world.life
        self.world.ask(life.control.pause(self._chance.choice(list(life.senders.values())), "k"))

    def _release(self) -> None:
        for sender in self.world.life.senders.values():
            self.world.ask(self.world.life.control.resume(sender))

    def _operate(self) -> None:
        """Many contacts are deleted, or come back, by one operation."""
        recipients = RecipientsRequest(contacts=sorted({self._person() for _ in range(3)}))
        operation = self._chance.choice(("delete_contacts", "restore_contacts", "restore_contacts"))
        request = ActionRequest(operation=operation, recipients=recipients, schedule=self._schedule())
        self.world.ask(self.world.life.actions.create(OPERATOR, request))

    def _listen(self) -> None:
        """Somebody asks for all events from now on, once."""
        world = self.world
        if not self._listening:
            self._listening = True
            wanted = WebhookSettings(url=URL, types=("*",))
            world.ask(world.life.webhooks.create(ORG.id, wanted, world.timeline.wall, by="k"))

    def _break_off(self) -> None:
        """The receiver goes down, or comes back."""
        self.world.receiver.down = not self.world.receiver.down

    def _revoke(self) -> None:
        self.world.ask(self.world.life.keys.revoke(ORG.id, KEY))

    def _some_sender(self) -> str | None:
        """None: the default."""
        return self._chance.choice((None, *self.world.life.senders))
