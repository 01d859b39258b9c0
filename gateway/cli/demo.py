"""`gateway demo`: the whole gateway on this machine, with 500 people and an SMTP server that really receives mail."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from gateway.cli.frame import Frame, fail, framed
from gateway.config import load
from gateway.installation import open_installation
from gateway.logs import configure
from gateway.store.keys import PERMISSIONS
from gateway.testing.smtp_faults import Fault, Stage
from gateway.testing.smtp_process import SmtpProcess

PEOPLE: Final = 500
WITHOUT_ADDRESS: Final = range(0, 500, 25)  # twenty
MALFORMED: Final = range(3, 500, 50)  # ten
OPTED_OUT: Final = range(7, 500, 34)  # fifteen
REFUSED_BY_SERVER: Final = range(11, 500, 125)  # four, whose mailbox does not exist
BATCH: Final = 50
EVERY: Final = "2s"  # users may not go below 30 s; the demo's daemon is told that it may
READY_SECONDS: Final = 30.0
DEMO_SECONDS: Final = 180.0
POLL_SECONDS: Final = 0.2
FINAL: Final = frozenset({"completed", "partial", "failed", "cancelled"})

_CONFIG: Final = """\
[server]
listen = "127.0.0.1:{port}"
[orgs.default]
time_zone = "UTC"
[senders.mail]
channel = "email"
adapter = "smtp"
host = "127.0.0.1"
port = {smtp_port}
security = "none"
from = "Grace Church <news@grace.example>"
rate = "200/s"
"""


@click.command()
@click.option("--keep", is_flag=True, help="Leave the gateway running at the end, until Ctrl-C.")
@framed
async def demo(frame: Frame, keep: bool) -> None:
    """Send a drip to 500 people over real SMTP, on this machine only, and show where everybody ended."""
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as folder:
        await _play(frame, Path(folder), keep)


async def _play(frame: Frame, folder: Path, keep: bool) -> None:
    console = Console(stderr=frame.as_json)
    faults = [Fault(stage=Stage.RCPT, to="gone*", reply="550 5.1.1 No such mailbox here")]
    async with SmtpProcess(folder / "mails.tsv", faults=faults) as smtp:
        port = _free_port()
        config = folder / "gateway.toml"
        config.write_text(_CONFIG.format(port=port, smtp_port=smtp.port))
        key = await _create_key(config)
        url = f"http://127.0.0.1:{port}"
        async with _daemon(config, folder / "gateway.log"), _client(url, key) as api:
            await _until_ready(api, folder / "gateway.log")
            console.print(
                f"The gateway answers at {url}, the SMTP server at 127.0.0.1:{smtp.port}. Its files are in {folder}."
            )
            action = await _start_drip(api)
            ended = await _watch(api, action, smtp, console)
            received = len(smtp.record())
            _tell_books(console, ended, received)
            if frame.as_json:
                frame.show({"action": ended, "mails_received": received}, lambda: None)
            await _look_around(console, url, key, action, keep)
            if ended["counts"]["succeeded"] != received:
                fail("The gateway's books and the server's count differ: this is a defect.")


async def _create_key(config: Path) -> str:
    configure("warning", "auto")
    async with open_installation(load(config, {})) as installation:
        org = installation.catalogue.orgs["default"]
        return (await installation.keys.create(org.id, "demo", PERMISSIONS)).token


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def _daemon(config: Path, log: Path) -> AsyncIterator[None]:
    """The real daemon, as a process of its own. It may release batches faster than users may ask for."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "gateway", "serve", "--config", str(config)),
            stdout=output,
            stderr=output,
            env={**os.environ, "GATEWAY_TEST_REPEAT_AFTER_MIN": "1"},
        )
    try:
        yield
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


@asynccontextmanager
async def _client(url: str, key: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {key}"}) as session:
        yield session


async def _until_ready(api: aiohttp.ClientSession, log: Path) -> None:
    try:
        async with asyncio.timeout(READY_SECONDS):
            while not await _is_ready(api):  # noqa: ASYNC110 - another process becomes ready
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        fail(f"The gateway did not start:\n{log.read_text()}")  # noqa: ASYNC240 - the end of the program


async def _is_ready(api: aiohttp.ClientSession) -> bool:
    try:
        async with api.get("/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def _call(api: aiohttp.ClientSession, method: str, path: str, body: object = None) -> Any:
    async with api.request(method, path, json=body) as answer:
        decoded = await answer.json(content_type=None)
        if answer.status >= 300:
            fail(f"{method} {path} answered {answer.status}: {decoded}")
        return decoded


def _person(number: int) -> dict[str, object]:
    address: str | None = f"person{number}@demo.example"
    if number in WITHOUT_ADDRESS:
        address = None
    elif number in MALFORMED:
        address = f"person..{number}@demo.example"  # may be kept, cannot be written to
    elif number in REFUSED_BY_SERVER:
        address = f"gone{number}@demo.example"
    return {"id": f"m-{number}", "first_name": f"Person {number}", "email": address, "attributes": {"city": "Lagos"}}


async def _start_drip(api: aiohttp.ClientSession) -> str:
    await _call(api, "POST", "/v1/contacts", {"contacts": [_person(number) for number in range(PEOPLE)]})
    left = [{"channel": "email", "contact": f"m-{number}", "reason": "asked by phone"} for number in OPTED_OUT]
    await _call(api, "POST", "/v1/opt-outs", {"opt_outs": left})
    body = {
        "label": "Sunday invitation",
        "operation": "send_message",
        "recipients": {"all": True},
        "message": {
            "channel": "email",
            "subject": "See you on Sunday, {{ first_name | default('friend') }}",
            "body": "Hi {{ first_name | default('friend') }},\n\nwe meet in {{ city }} at ten. Bring somebody along!\n",
            "html": "<p>Hi <b>{{ first_name | default('friend') }}</b>,</p><p>we meet in {{ city }} at ten.</p>",
        },
        "schedule": {"mode": "drip", "drip": {"batch_quantity": BATCH, "repeat_after": EVERY}},
    }
    created: str = (await _call(api, "POST", "/v1/bulk-actions", body))["id"]
    return created


async def _watch(api: aiohttp.ClientSession, action: str, smtp: SmtpProcess, console: Console) -> dict[str, Any]:
    async with asyncio.timeout(DEMO_SECONDS):
        with Live(console=console, auto_refresh=False) as live:
            while True:
                view: dict[str, Any] = await _call(api, "GET", f"/v1/bulk-actions/{action}")
                batches = (await _call(api, "GET", f"/v1/bulk-actions/{action}/batches?limit=12"))["items"]
                path = f"/v1/bulk-actions/{action}/recipients?state=failed&state=skipped&limit=200"
                failures = (await _call(api, "GET", path))["items"]
                live.update(_picture(view, batches, failures, len(smtp.record())), refresh=True)
                if view["status"] in FINAL:
                    return view
                await asyncio.sleep(POLL_SECONDS)


def _picture(view: dict[str, Any], batches: list[Any], failures: list[Any], received: int) -> Group:
    counts = view["counts"]
    books = Table(title=f"{view['label']}: {view['status']}", title_justify="left")
    for name in ("total", "pending", "in_flight", "succeeded", "failed", "skipped", "unknown"):
        books.add_column(name.replace("_", " "), justify="right")
    books.add_column("mails received", justify="right")
    names = ("total", "pending", "in_flight", "succeeded", "failed", "skipped", "unknown")
    books.add_row(*(str(counts[name]) for name in names), str(received))
    released = Table(title=_next(view), title_justify="left")
    for name in ("batch", "at", "people", "succeeded", "failed"):
        released.add_column(name, justify="right")
    for batch in reversed(batches):
        inside = batch["counts"]
        cells = (batch["number"], batch["started_at"][11:19], batch["quantity"], inside["succeeded"], inside["failed"])
        released.add_row(*map(str, cells))
    why = Table(title="Not written to, and why", title_justify="left")
    why.add_column("reason")
    why.add_column("people", justify="right")
    for reason in sorted({each["reason"] for each in failures}):
        why.add_row(reason, str(sum(each["reason"] == reason for each in failures)))
    return Group(books, released, why)


def _next(view: dict[str, Any]) -> str:
    if view["next_batch_at"] and view["status"] not in FINAL:
        return f"Batches; the next at {view['next_batch_at'][11:19]}"
    return "Batches"


def _tell_books(console: Console, view: dict[str, Any], received: int) -> None:
    counts = view["counts"]
    states = ("succeeded", "failed", "skipped", "unknown", "cancelled", "pending", "in_flight", "handed_over")
    total = sum(counts[state] for state in states)
    sums = " + ".join(f"{counts[state]} {state.replace('_', ' ')}" for state in states if counts[state])
    console.print(f"\nThe books: {sums} = {total} of {counts['total']}.")
    console.print(
        f"The SMTP server received {received} mails; the gateway says that {counts['succeeded']} were accepted."
    )


async def _look_around(console: Console, url: str, key: str, action: str, keep: bool) -> None:
    if not keep:
        console.print("\nTo look around in it with curl, run it again with --keep.")
        return
    console.print(f"\nIt goes on running until you press Ctrl-C. Look around:\n\n  export KEY={key}")
    for path in (
        f"/v1/bulk-actions/{action}",
        f"/v1/bulk-actions/{action}/recipients?state=failed",
        "/v1/messages?limit=3",
        "/v1/openapi.json",
    ):
        console.print(f"  curl -s -H \"Authorization: Bearer $KEY\" '{url}{path}'", soft_wrap=True, highlight=False)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
