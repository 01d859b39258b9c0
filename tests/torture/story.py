"""One run: an installation, its provider, its people, and as many deaths as are planned."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.processes import GatewayProcess, Running
from tests.torture.asked import Asked, Ledger
from tests.torture.books import look
from tests.torture.judge import Books, Judge
from tests.torture.nursery import Nursery
from tests.torture.people import FINAL, People
from tests.torture.plan import PEOPLE, RATE, Deed, Life, Scenario, W, plan
from tests.torture.providers import MailProvider, Provider, TextProvider
from tests.torture.tally import Tally

MORE: Final = "[limits]\ncreations_per_minute = 10000\n"
RECEIPTS_EVERY: Final = 0.05  # seconds: the provider posts receipts whether or not somebody is there
POINT_SECONDS: Final = 15.0  # a named point must be passed in this time
PROVOKE_EVERY: Final = 0.15
POLL_EVERY: Final = 0.2
STANDSTILL_SECONDS: Final = 60.0  # without any progress: slow machines may take long, but never stand still


class Standstill(Exception):
    """At the end not everything ends."""


class TorturedGateway(GatewayProcess):
    """Most of its daemons are forked from a nursery."""

    def __init__(self, folder: Path, provider: Provider, nursery: Nursery, *, port: int) -> None:
        super().__init__(folder, provider.smtp_port, port=port, rate=RATE, concurrency=W, more=provider.section + MORE)
        self.whole = True
        self._nursery = nursery

    async def _spawn(self, arguments: Sequence[str], environment: Mapping[str, str]) -> Running:
        if self.whole:
            return await super()._spawn(arguments, environment)
        return await self._nursery.fork(arguments, environment, self._log)

    @property
    def store(self) -> Path:
        return self.folder / "gateway.db"


@dataclass(kw_only=True)
class Story:
    """The parts of a run."""

    scenario: Scenario
    gateway: TorturedGateway
    provider: Provider
    ledger: Ledger
    people: People
    tally: Tally
    ambiguous: set[str]

    # ---- lives ----------------------------------------------------------------------------------------------------

    async def live(self, life: Life) -> None:
        """From a start to a death, and a look at the books."""
        self.gateway.whole = life.whole
        self.ledger.starts.append(len(self.provider.sent()))
        started = time.perf_counter()
        point = life.death.point
        await self.gateway.launch(
            None if point is None else f"{point}:{life.death.times}",
            GATEWAY_SERVER__PUBLIC_URL="https://gateway.example",
        )
        first = asyncio.create_task(self._first_message(started, life))
        try:
            if life.death.before_ready:
                await asyncio.sleep(life.death.after)
            elif await self._becomes_ready(started, life):
                await self._act(life)
        finally:
            first.cancel()
        await self._die(life)
        await self._look_at_books()

    async def _becomes_ready(self, started: float, life: Life) -> bool:
        """False if it died first, as it may at a named point."""
        if not await self.gateway.wait_until_ready():
            if life.death.point is None:
                raise AssertionError(f"the daemon does not start:\n{self.gateway.log[-5_000:]}")
            return False
        if life.whole:
            self.tally.starts.append(time.perf_counter() - started)
        return True

    async def _first_message(self, started: float, life: Life) -> None:
        before = len(self.provider.sent())
        while life.whole:
            await asyncio.sleep(0.01)
            if len(self.provider.sent()) > before:
                self.tally.firsts.append(time.perf_counter() - started)
                return

    async def _act(self, life: Life) -> None:
        """Do what is planned until it is time to die."""
        acting = asyncio.create_task(self._deeds(life))
        try:
            if life.death.point is None:
                await asyncio.sleep(life.death.after)
            else:
                await self._provoke(life.death.point)
                if self.gateway.alive:
                    self.tally.missed += 1
        finally:
            if self.gateway.alive:
                await self.gateway.kill()
            await acting

    async def _deeds(self, life: Life) -> None:
        self.provider.call_back_again()
        await self.people.repeat_unanswered()
        started = time.perf_counter()
        for step in life.steps:
            await asyncio.sleep(max(0.0, started + step.at - time.perf_counter()))
            if not self.gateway.alive:
                return
            await self.people.do(step.deed, step.seed)

    async def _provoke(self, point: str) -> None:
        """Give the daemon reason to pass the point, until it has died there."""
        for number in range(int(POINT_SECONDS / PROVOKE_EVERY)):
            if await self.gateway.wait_for_death(PROVOKE_EVERY):
                return
            if point == "edit_committed":
                await self.people.edit_sleeper(number)
            elif number % 5 == 1:
                await self.people.do(Deed.SEND_NOW, number)

    async def _die(self, life: Life) -> None:
        alive = self.gateway.alive
        if alive:
            await self.gateway.kill()
        if life.death.point is None or alive:
            self.tally.random_kills += 1
        else:
            self.tally.named_kills[life.death.point] += 1

    async def _look_at_books(self) -> None:
        if not self.gateway.store.exists():
            return
        seen = await look(self.gateway.store)
        kill = self.tally.kills
        self.tally.looks += 1
        self.tally.unbalanced += bool(seen.faults)
        self.tally.faults += [f"after kill {kill}: {fault}" for fault in seen.faults]
        self.tally.ambiguous += len(seen.ambiguous)
        self.tally.ambiguous_most = max(self.tally.ambiguous_most, len(seen.ambiguous))
        if any(number > W for number in seen.sending.values()):
            self.tally.faults.append(f"after kill {kill}: {seen.sending} are ambiguous, W = {W}")
        self.ambiguous |= seen.ambiguous

    # ---- the end --------------------------------------------------------------------------------------------------

    async def end(self) -> None:
        """No more deaths: everybody gets an answer, everything is finished, and doubts are settled by a person."""
        self.gateway.whole = True
        self.ledger.starts.append(len(self.provider.sent()))
        started = time.perf_counter()
        await self.gateway.start(GATEWAY_SERVER__PUBLIC_URL="https://gateway.example")
        self.tally.starts.append(time.perf_counter() - started)
        await self.people.repeat_unanswered()
        if self.people.waiting:
            self.tally.faults.append("somebody gets no answer although the daemon lives")
        self.provider.calm_down()
        self.provider.call_back_again()
        await self._finish_all()
        if self.scenario.on_unknown == "hold":
            await self._resolve_doubts()
            await self._finish_all()
        await self._judge()

    async def _finish_all(self) -> None:
        """Every action ends, but for the sleeper."""
        moved, before = time.monotonic(), None
        while (now := await self._unfinished()) is not None:
            if now != before:
                moved, before = time.monotonic(), now
            elif time.monotonic() - moved > STANDSTILL_SECONDS:
                raise Standstill(f"for {STANDSTILL_SECONDS:g} s nothing has moved; then {now}")
            await asyncio.sleep(POLL_EVERY)

    async def _unfinished(self) -> object:
        """None if all has ended; else whatever would change if something moved."""
        ends = [await self.people.finish(action) for action in self.ledger.known]
        statuses = Counter(status for status, _ in ends)
        if statuses.keys() <= FINAL and not await self._singles_under_way():
            return None
        return statuses, [counts for _, counts in ends], len(self.provider.sent())

    async def _singles_under_way(self) -> bool:
        """Some single message is neither sent nor refused, or waits for the answer to a question."""
        waiting = ["pending", "sending", *(["unknown"] if self.scenario.on_unknown == "resend" else [])]
        query = [("source", "api"), *(("status", status) for status in waiting)]
        _, answer = await self.gateway.call("GET", "/v1/messages", params=query)
        return bool(answer["items"])

    async def _resolve_doubts(self) -> None:
        """As a person does: look each unknown recipient up at the provider; say what was sent, retry the rest."""
        received = {(sent.tag, sent.address) for sent in self.provider.sent()}
        for action in self.ledger.known:
            unknown = await self.people.recipients(action, ("unknown",))
            self.tally.listed += len(unknown)
            for row in unknown:
                if row["message_id"] not in self.ambiguous:
                    self.tally.faults.append(f"{row['address']} of {action.tag} is unknown, no kill left it in doubt")
            sent = [row["recipient"] for row in unknown if (action.tag, row["address"]) in received]
            rest = {row["address"] for row in unknown if (action.tag, row["address"]) not in received}
            self.tally.resolved += len(unknown)
            if sent:
                await self.people.resolve_sent(action, sent)
            if rest and not action.cancelled:
                for address in rest:
                    action.may[address] -= 1  # the attempt in doubt was none
                await self.people.retry(action, ("unknown",), rest)

    async def _judge(self) -> None:
        self.tally.looks += 1
        try:
            await self.gateway.cli("verify")
        except AssertionError as exc:
            self.tally.unbalanced += 1
            self.tally.faults.append(f"at the end: {exc}")
        for action in self.ledger.actions:
            if action.id is None:
                self.tally.faults.append(f"{action.tag} was never created")
        books = Books(
            recipients={action.tag: await self.people.recipients(action) for action in self.ledger.actions},
            counts={action.tag: (await self._show("bulk-actions", action))["counts"] for action in self.ledger.actions},
            singles={single.tag: await self._show("messages", single) for single in self.ledger.singles if single.may},
            ambiguous=frozenset(self.ambiguous),
        )
        Judge(self.scenario, self.ledger, self.provider, self.tally).judge(books)
        self.tally.faults += self.people.surprises

    async def _show(self, kind: str, asked: Asked) -> Any:
        _, answer = await self.gateway.call("GET", f"/v1/{kind}/{asked.id}")
        return answer


async def _post_receipts(gateway: TorturedGateway, provider: Provider) -> None:
    while True:
        provider.call_back(gateway.url)
        await asyncio.sleep(RECEIPTS_EVERY)


async def run(scenario: Scenario, kills: int, seed: str, folder: Path, *, port: int) -> Tally:
    """Kill the daemon so often, and say what came of it. `folder` is empty and keeps what a fault is looked for in."""
    tally = Tally(scenario=scenario.name)
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(Nursery())
        provider: Provider
        if scenario.provider == "mail":
            provider = await stack.enter_async_context(MailProvider(folder))
        else:
            provider = await stack.enter_async_context(TextProvider(scenario, seed=kills))
        gateway = await stack.enter_async_context(TorturedGateway(folder, provider, nursery, port=port))
        ledger = Ledger()
        story = Story(
            scenario=scenario,
            gateway=gateway,
            provider=provider,
            ledger=ledger,
            people=People(gateway, provider, ledger),
            tally=tally,
            ambiguous=set(),
        )
        receipts = asyncio.create_task(_post_receipts(gateway, provider))
        stack.callback(receipts.cancel)
        await _move_in(story)
        for life in plan(scenario, kills, seed):
            await story.live(life)
        try:
            await story.end()
        except Standstill as exc:
            tally.faults.append(str(exc))
    return tally


async def _move_in(story: Story) -> None:
    """The people are there before anything dies."""
    ledger, gateway = story.ledger, story.gateway
    ledger.starts.append(0)
    await gateway.start(GATEWAY_SERVER__PUBLIC_URL="https://gateway.example")
    field = "email" if story.provider.channel == "email" else "phone"
    contacts = [
        {"id": f"p-{number}", "first_name": f"Ada{number}", field: story.provider.address(number)}
        for number in range(PEOPLE)
    ]
    status, answer = await gateway.call("POST", "/v1/contacts", {"contacts": contacts})
    if status != 200:
        raise AssertionError(f"the contacts are refused: {answer}")
    await story.people.sleep_until_2099()
    await gateway.kill()
