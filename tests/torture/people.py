"""The people who use the gateway while it is being killed: each deed is a request, repeated if no answer came."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aiohttp

from tests.processes import GatewayProcess
from tests.torture.asked import Asked, Ledger
from tests.torture.plan import PEOPLE, Deed
from tests.torture.providers import Provider

CALL_SECONDS: Final = 20.0
FINAL: Final = frozenset({"completed", "partial", "failed", "cancelled"})
RETRIED: Final = ("failed", "cancelled")
HURRY: Final = 10_000  # people in a batch, when a drip has to end

Settle = Callable[[int, Any], None]


class People:
    """Asks, and writes down what was asked and answered."""

    def __init__(self, gateway: GatewayProcess, provider: Provider, ledger: Ledger) -> None:
        self._gateway = gateway
        self._provider = provider
        self._ledger = ledger
        self._unanswered: list[Callable[[], Awaitable[None]]] = []
        self.surprises: list[str] = []  # answers that nobody should get
        self._deeds: dict[Deed, Callable[[random.Random], Awaitable[None]]] = {
            Deed.SEND_NOW: self._send_now,
            Deed.DRIP: self._drip,
            Deed.EDIT: self._edit,
            Deed.PAUSE: self._pause,
            Deed.RESUME: self._resume,
            Deed.CANCEL: self._cancel,
            Deed.OPT_OUT: self._opt_out,
            Deed.RETRY: self._retry,
            Deed.SINGLE: self._single,
        }

    # ---- asking ---------------------------------------------------------------------------------------------------

    async def do(self, deed: Deed, seed: int) -> None:
        """One deed; `seed` decides whom it concerns."""
        await self._deeds[deed](random.Random(seed))

    async def repeat_unanswered(self) -> None:
        """Whoever got no answer asks again."""
        again, self._unanswered = self._unanswered, []
        for ask in again:
            await ask()

    @property
    def waiting(self) -> bool:
        """Somebody still has no answer."""
        return bool(self._unanswered)

    async def _ask(self, method: str, path: str, body: object, settle: Settle, again: Callable[[], Awaitable[None]],
                   key: str | None = None) -> None:  # fmt: skip
        """Ask once; `settle` gets the answer, or `again` is kept for later."""
        headers = {} if key is None else {"Idempotency-Key": key}
        try:
            async with asyncio.timeout(CALL_SECONDS):
                status, answer = await self._gateway.call(method, path, body, headers=headers)
        except (aiohttp.ClientError, OSError, TimeoutError):
            self._unanswered.append(again)
            return
        if status == 503 or (status == 409 and answer.get("code") == "in_progress"):
            self._unanswered.append(again)
            return
        if status >= 500 or status in (400, 401, 404):
            self.surprises.append(f"{method} {path}: {status} {answer}")
        settle(status, answer)

    def _position(self) -> int:
        return len(self._provider.sent())

    # ---- bulk actions ---------------------------------------------------------------------------------------------

    async def sleep_until_2099(self) -> None:
        """An action that is only there to be edited."""
        asked = Asked(tag="Z0", may=Counter(), sleeper=True)
        self._ledger.actions.append(asked)
        await self._create(asked, {"all": True}, {"mode": "at", "start_at": "2099-01-01T09:00:00Z"})

    async def _send_now(self, chance: random.Random) -> None:
        await self._create_some(chance, {"mode": "now"}, drip=False)

    async def _drip(self, chance: random.Random) -> None:
        drip = {"batch_quantity": chance.randint(10, 60), "repeat_after": "1s"}
        await self._create_some(chance, {"mode": "drip", "drip": drip}, drip=True)

    async def _create_some(self, chance: random.Random, schedule: dict[str, Any], *, drip: bool) -> None:
        start, number = chance.randrange(PEOPLE), chance.randint(40, 140)
        people = [(start + offset) % PEOPLE for offset in range(number)]
        recipients: dict[str, Any] = {"contacts": [f"p-{person}" for person in people]}
        if number > 125:
            people, recipients = list(range(PEOPLE)), {"all": True}
        asked = Asked(tag=f"A{len(self._ledger.actions)}", may=Counter(map(self._provider.address, people)), drip=drip)
        self._ledger.actions.append(asked)
        await self._create(asked, recipients, schedule)

    async def _create(self, asked: Asked, recipients: dict[str, Any], schedule: dict[str, Any]) -> None:
        body = {
            "operation": "send_message",
            "recipients": recipients,
            "message": self._message(asked.tag),
            "schedule": schedule,
        }

        def settle(status: int, answer: Any) -> None:
            if status == 201:
                asked.id = answer["id"]
            else:
                self.surprises.append(f"creating {asked.tag}: {status} {answer}")

        async def ask() -> None:
            await self._ask("POST", "/v1/bulk-actions", body, settle, ask, key=asked.tag)

        await ask()

    def _message(self, tag: str) -> dict[str, str]:
        text = f"{tag}: Hi {{{{ first_name | default('friend') }}}}"
        more = {"subject": text} if self._provider.channel == "email" else {}
        return {"channel": self._provider.channel, "body": text, **more}

    async def _edit(self, chance: random.Random) -> None:
        drips = [action for action in self._ledger.known if action.drip and not action.cancelled]
        if not drips or chance.random() < 0.3:
            await self.edit_sleeper(chance.random())
            return
        drip = chance.choice(drips[-3:])
        await self._change_quantity(drip, chance.randint(10, 80))

    async def edit_sleeper(self, label: float) -> None:
        """An edit that is always possible."""
        sleeper = self._ledger.actions[0]
        if sleeper.id is None:
            return

        async def again() -> None:
            """Edits that got no answer are not repeated: the next one says something else."""

        await self._ask("PATCH", f"/v1/bulk-actions/{sleeper.id}", {"label": f"{label:f}"}, lambda *_: None, again)

    async def _change_quantity(self, action: Asked, quantity: int) -> None:
        async def again() -> None:
            """As above."""

        body = {"schedule": {"drip": {"batch_quantity": quantity}}}
        await self._ask("PATCH", f"/v1/bulk-actions/{action.id}", body, lambda *_: None, again)

    async def _pause(self, chance: random.Random) -> None:
        open_ones = [action for action in self._ledger.known if not (action.cancelled or action.paused)]
        if open_ones:
            await self._order(chance.choice(open_ones[-3:]), "pause")

    async def _cancel(self, chance: random.Random) -> None:
        open_ones = [action for action in self._ledger.known if not action.cancelled]
        if open_ones:
            await self._order(chance.choice(open_ones[-3:]), "cancel")

    async def _resume(self, chance: random.Random) -> None:
        paused = [action for action in self._ledger.known if action.paused]
        if paused:
            await self.resume(chance.choice(paused))

    async def resume(self, action: Asked) -> None:
        """Let it go on."""
        self._ledger.speak(action.tag, self._position(), ("pause",))
        await self._order(action, "resume")

    async def _order(self, action: Asked, word: str) -> None:
        """Pause, resume or cancel. If no answer comes, the action itself is asked how it is."""

        def settle(status: int, answer: Any) -> None:
            if status == 200:
                self._note(action, answer["status"])

        await self._ask("POST", f"/v1/bulk-actions/{action.id}/{word}", None, settle, lambda: self.look_at(action))

    async def look_at(self, action: Asked) -> None:
        """How it is now."""

        def settle(status: int, answer: Any) -> None:
            if status == 200:
                self._note(action, answer["status"])

        await self._ask("GET", f"/v1/bulk-actions/{action.id}", None, settle, lambda: self.look_at(action))

    def _note(self, action: Asked, status: str) -> None:
        """What a committed answer says of the action; a promise of silence begins with it."""
        if status == "paused" and not action.paused:
            self._ledger.hush("pause", self._position(), tag=action.tag)
        if status == "cancelled" and not action.cancelled:
            self._ledger.hush("cancel", self._position(), tag=action.tag)
        action.paused = status == "paused"
        action.cancelled = status == "cancelled"
        action.was_cancelled = action.was_cancelled or action.cancelled

    async def _retry(self, chance: random.Random) -> None:
        if self._ledger.known:
            await self.retry(chance.choice(self._ledger.known), RETRIED)

    async def retry(self, action: Asked, states: tuple[str, ...], names: set[str] | None = None) -> None:
        """Those who are in these states once more, by name: all of them, or of `names`."""
        try:
            rows = await self.recipients(action, states)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return
        wanted = [row for row in rows if row["retryable"] and (names is None or row["address"] in names)]
        if not wanted:
            return
        action.retries += 1
        addresses = [row["address"] for row in wanted]
        body = {"states": list(states), "recipients": [row["recipient"] for row in wanted]}
        key = f"{action.tag}-retry-{action.retries}"
        action.may.update(addresses)  # from now on: the answer may get lost
        self._ledger.speak(action.tag, self._position(), ("pause", "cancel"))

        def settle(status: int, answer: Any) -> None:
            action.cancelled = action.paused = False  # refused: whoever looks finds that it still is
            if status != 200:
                action.may.subtract(addresses)

        async def ask() -> None:
            await self._ask("POST", f"/v1/bulk-actions/{action.id}/retry", body, settle, ask, key=key)

        await ask()
        await self.look_at(action)

    async def recipients(self, action: Asked, states: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        """All pages. Raises what keeps the gateway from answering."""
        query = [("limit", "200"), *(("state", state) for state in states)]
        rows: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = query if cursor is None else [*query, ("cursor", cursor)]
            async with asyncio.timeout(CALL_SECONDS):
                status, answer = await self._gateway.call(
                    "GET", f"/v1/bulk-actions/{action.id}/recipients", params=page
                )
            if status != 200:
                raise OSError(f"{status} {answer}")
            rows += answer["items"]
            cursor = answer["next_cursor"]
            if cursor is None:
                return rows

    # ---- the rest -------------------------------------------------------------------------------------------------

    async def _opt_out(self, chance: random.Random) -> None:
        address = self._provider.address(chance.randrange(PEOPLE))
        if address in self._ledger.opted_out:
            return
        self._ledger.opted_out.add(address)
        body = {"channel": self._provider.channel, "address": address}

        def settle(status: int, answer: Any) -> None:
            if status not in (200, 201):
                self.surprises.append(f"opting out: {status} {answer}")
                return
            self._ledger.hush("opt_out", self._position(), address=address)

        async def ask() -> None:
            await self._ask("POST", "/v1/opt-outs", body, settle, ask)

        await ask()

    async def _single(self, chance: random.Random) -> None:
        address = self._provider.address(chance.randrange(PEOPLE))
        asked = Asked(tag=f"S{len(self._ledger.singles)}", may=Counter([address]))
        self._ledger.singles.append(asked)

        def settle(status: int, answer: Any) -> None:
            if status == 202:
                asked.id = answer["id"]
                return
            asked.may.clear()
            if status != 422 or answer["code"] != "opted_out":
                self.surprises.append(f"sending {asked.tag}: {status} {answer}")

        async def ask() -> None:
            body = {**self._message(asked.tag), "to": address}
            await self._ask("POST", "/v1/messages", body, settle, ask, key=asked.tag)

        await ask()

    # ---- the end --------------------------------------------------------------------------------------------------

    async def finish(self, action: Asked) -> tuple[str, Any]:
        """Have an action end: a paused one goes on, a drip becomes quick. Its status and counts."""
        _, answer = await self._gateway.call("GET", f"/v1/bulk-actions/{action.id}")
        status: str = answer["status"]
        if status == "paused":
            await self.resume(action)
        elif status not in FINAL and action.drip and answer["schedule"]["drip"]["batch_quantity"] != HURRY:
            await self._change_quantity(action, HURRY)
        return status, answer["counts"]

    async def resolve_sent(self, action: Asked, names: list[str]) -> None:
        """A person has found these at the provider."""
        body = {"recipients": names, "as": "sent"}
        status, answer = await self._gateway.call("POST", f"/v1/bulk-actions/{action.id}/resolve", body)
        if status != 200:
            self.surprises.append(f"resolving {action.tag}: {status} {answer}")
