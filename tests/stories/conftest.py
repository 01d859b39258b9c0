"""One real installation in the test's own process: gateway.toml, store, engine, API and a mail server, told over HTTP.

Only time is not real: it stands still until a story moves it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from gateway.config import load
from gateway.daemon import listening
from gateway.installation import Installation, open_installation
from gateway.store.keys import PERMISSIONS
from gateway.store.verify import verify
from gateway.testing.clock import FakeClock
from gateway.testing.smtp_server import Mail, SmtpServer

MONDAY = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)  # when every story begins
QUIET_ROUNDS = 10  # round trips to the store in which nothing may move any more
RESTING_ROUNDS = 80  # a rest of the sweeper is at most 50 ms
ROUNDS_MAX = 2_000  # the bound of every wait

PUBLIC_URL = "https://gateway.example"  # where providers believe to call back; their simulators know the real address

TOML = """
[server]
listen = "127.0.0.1:0"
public_url = "https://gateway.example"

[store]
url = "sqlite:gateway.db"

[orgs.default]
time_zone = "UTC"
default_region = "NG"
{org}

[limits]
creations_per_minute = 100

[senders.mail]
channel = "email"
adapter = "smtp"
rate = "{rate}"
burst = {burst}
concurrency = 8
host = "127.0.0.1"
port = {port}
security = "none"
from = "Grace Church <news@grace.example>"
{more}
"""


@dataclass(frozen=True)
class Reply:
    """What the API answered."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.raw)

    @property
    def code(self) -> str:
        """The stable code of a problem document."""
        assert self.headers["Content-Type"] == "application/problem+json", self.raw
        return str(self.json["code"])


@dataclass
class Story:
    """A running gateway, somebody who calls its API, the mail server behind it, and the clock on the wall."""

    installation: Installation
    clock: FakeClock
    smtp: SmtpServer
    session: aiohttp.ClientSession
    base: str
    token: str
    engine: asyncio.Task[None]
    keys: dict[str, str] = field(default_factory=dict)

    # ---- the API --------------------------------------------------------------------------------------------------

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        data: Any = None,
    ) -> Reply:
        """Ask the API, with the key that may do everything unless `token` is another's."""
        sent = {"Authorization": f"Bearer {token or self.token}", **(headers or {})}
        if body is not None:
            data = msgspec.json.encode(body)
            sent["Content-Type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
        async with self.session.request(method, self.base + path, data=data, headers=sent) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def get(self, path: str) -> Any:
        reply = await self.call("GET", path)
        assert reply.status == 200, reply.raw
        return reply.json

    async def everything(self, path: str) -> list[Any]:
        """All items of a list, page after page."""
        items: list[Any] = []
        joint = "&" if "?" in path else "?"
        cursor = None
        while True:
            page = await self.get(f"{path}{joint}limit=200" + (f"&cursor={cursor}" if cursor else ""))
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return items

    async def create(self, **body: Any) -> str:
        """A bulk action, accepted and begun; its id."""
        reply = await self.call("POST", "/v1/bulk-actions", body)
        assert reply.status == 201, reply.raw
        await self.settle()
        return str(reply.json["id"])

    async def mail_all(self, schedule: Mapping[str, Any] | None = None, **message: Any) -> str:
        """An e-mail to every contact."""
        content = {"channel": "email", "subject": "News", "body": "Hello", **message}
        return await self.create(
            operation="send_message", recipients={"all": True}, message=content, schedule=schedule or {"mode": "now"}
        )

    async def contacts(self, number: int, start: int = 1, **columns: Any) -> list[str]:
        """Contacts `m-1@example.org` and so on; their ids."""
        ids = [f"m-{n}" for n in range(start, start + number)]
        people = [{"id": id, "email": f"{id}@example.org", **columns} for id in ids]
        for some in _chunks(people, 1_000):
            reply = await self.call("POST", "/v1/contacts", {"contacts": some})
            assert reply.status == 200, reply.raw
            assert {result["status"] for result in reply.json["results"]} == {"created"}
        return ids

    async def books(self, action: str) -> dict[str, Any]:
        """A bulk action as the API shows it; `counts` without the states that nobody is in."""
        shown: dict[str, Any] = await self.get(f"/v1/bulk-actions/{action}")
        shown["counts"] = {state: number for state, number in shown["counts"].items() if number}
        return shown

    async def people(self, action: str) -> dict[str, Any]:
        """Every recipient by the caller's id or, without a contact, by address."""
        listed = await self.everything(f"/v1/bulk-actions/{action}/recipients")
        return {each["contact_id"] or each["address"]: each for each in listed}

    async def batches(self, action: str) -> list[Any]:
        """Oldest first."""
        return sorted(await self.everything(f"/v1/bulk-actions/{action}/batches"), key=lambda each: each["number"])

    async def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        """What a POST that must succeed answers; then everything comes to rest."""
        reply = await self.call("POST", path, body)
        assert reply.status == status, reply.raw
        await self.settle()
        return reply.json

    async def sender(self, name: str = "mail") -> Any:
        """A sender as `GET /v1/channels` shows it."""
        channels = (await self.get("/v1/channels"))["items"]
        return next(one for channel in channels for one in channel["senders"] if one["name"] == name)

    async def key(self, *permissions: str) -> str:
        """The token of a new key; `keys` has its id."""
        issued = await self.installation.keys.create(
            self.installation.catalogue.orgs["default"].id, "somebody", permissions
        )
        self.keys[issued.token] = issued.key.id
        return issued.token

    # ---- the mail server ------------------------------------------------------------------------------------------

    def mails(self, subject: str | None = None) -> Counter[str]:
        """How many mails the server accepted for each address."""
        return Counter(mail.recipient for mail in self.letters(subject))

    def letters(self, subject: str | None = None) -> list[Mail]:
        """The mails that the server accepted, in their order."""
        return [mail for mail in self.smtp.messages if subject in (None, mail.subject)]

    # ---- time -----------------------------------------------------------------------------------------------------

    async def advance(self, by: timedelta, step: timedelta | None = None) -> None:
        """Move time in steps, everything coming to rest after each."""
        end = self.clock.now() + by
        while self.clock.now() < end:
            self.clock.move_to(min(end, self.clock.now() + (step or by)))
            await self.settle()

    async def advance_to(self, text: str, step: timedelta | None = None) -> None:
        """Move time on to an instant such as `2026-06-03T09:00Z`."""
        await self.advance(datetime.fromisoformat(text) - self.clock.now(), step)

    async def tick(self) -> None:
        """A tenth of a second."""
        await self.advance(timedelta(milliseconds=100))

    async def until(self, reached: Callable[[], Awaitable[bool]]) -> None:
        """Let everything work until something is the case, while other things still move."""
        for _ in range(ROUNDS_MAX):
            if await reached():
                return
            await asyncio.sleep(0.001)
        raise AssertionError("it was never reached")

    async def settle(self) -> None:
        """Let everything work until the books, the messages and the mail server stand still."""
        quiet, before = 0, None
        for _ in range(ROUNDS_MAX):
            await asyncio.sleep(0.001)
            if self.engine.done():
                self.engine.result()
            now = await self._standing()
            busy = now[0] > 0
            quiet = quiet + 1 if now == before and not busy else 0
            before = now
            swept = any(work is not None for _, _, work, *_ in now[2])  # and perhaps at rest between two chunks
            if quiet == (RESTING_ROUNDS if swept else QUIET_ROUNDS):
                return
        raise AssertionError(f"the gateway does not come to rest: {before}")

    async def _standing(self) -> tuple[Any, ...]:
        """Asked of the writer: whatever the loops have queued is written before the answer."""
        return await self.installation.database.write(
            lambda conn: (
                conn.execute("SELECT count(*) FROM messages WHERE status = 1").fetchone()[0],
                conn.execute("SELECT * FROM action_counts").fetchall(),
                conn.execute("SELECT id, status, work, wait_reason, look_at FROM bulk_actions").fetchall(),
                conn.execute("SELECT action, number, untried FROM batches").fetchall(),
                conn.execute("SELECT held, held_detail FROM senders").fetchall(),
                conn.execute("SELECT count(*), sum(state) FROM callbacks").fetchall(),
                conn.execute("SELECT count(*), sum(unread) FROM conversations").fetchall(),
                conn.execute("SELECT count(*), sum(attempt), sum(status) FROM messages").fetchall(),
                self.smtp.count,
                self.smtp.connections,
            )
        )


def _chunks(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


@asynccontextmanager
async def story_in(
    folder: Path,
    *,
    rate: str = "5000/s",
    burst: int = 5_000,
    more: str = "",
    org: str = "",
    clock: FakeClock | None = None,
    **server: Any,
) -> AsyncIterator[Story]:
    """Everything running; at the end the books must balance.

    `more` and `org`: lines for gateway.toml after the sender's own, and after the org's; `{port}` is the mail server's.
    """
    clock = clock or FakeClock(MONDAY)
    async with AsyncExitStack() as stack:
        smtp = await stack.enter_async_context(SmtpServer(**server))
        path = folder / "gateway.toml"
        text = TOML.format(port=smtp.port, rate=rate, burst=burst, more=more, org=org)
        path.write_text(text.replace("{port}", str(smtp.port)), encoding="utf-8")
        installation = await stack.enter_async_context(open_installation(load(path, {}), clock=clock))
        engine = asyncio.create_task(installation.engine.run())
        stack.push_async_callback(_ended, engine)
        (port,) = await stack.enter_async_context(listening(installation))
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)))
        issued = await installation.keys.create(installation.catalogue.orgs["default"].id, "everything", PERMISSIONS)
        told = Story(
            installation=installation,
            clock=clock,
            smtp=smtp,
            session=session,
            base=f"http://127.0.0.1:{port}",
            token=issued.token,
            engine=engine,
        )
        await told.settle()
        yield told
        await told.settle()
        assert (await verify(installation.database)).faults == ()
        assert not smtp.duplicates


async def _ended(engine: asyncio.Task[None]) -> None:
    engine.cancel()
    await asyncio.wait({engine})
    if not engine.cancelled():
        engine.result()


@pytest.fixture
async def story(tmp_path: Path) -> AsyncIterator[Story]:
    """A gateway whose mail server is well."""
    async with story_in(tmp_path) as told:
        yield told
