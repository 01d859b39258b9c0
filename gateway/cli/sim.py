"""`gateway sim`: providers that run on this machine and send nothing, for trying the gateway out by hand."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from gateway.testing.kannel_simulator import KannelSimulator
from gateway.testing.meta_simulator import MetaSimulator
from gateway.testing.smtp_server import SmtpServer
from gateway.testing.twilio_simulator import TwilioSimulator

CALLBACK_BASE = click.option(
    "--callback-base",
    metavar="URL",
    help="Where the gateway is reached on this machine, such as http://127.0.0.1:8080, if its public URL is another.",
)
INBOUND_URL = click.option(
    "--inbound-url",
    metavar="URL",
    help="The gateway's public callback URL of the sender, .../callbacks/NAME: what `reply` on the input is posted to.",
)
PORT = click.option("--port", type=click.IntRange(0, 65_535), default=0, help="0 takes a free one.")
EXAMPLE_SECRET: Final = "choose-a-secret-of-your-own"  # noqa: S105 - an example
EXAMPLE: Final = """\
[senders.{name}]
channel = "{channel}"
adapter = "{adapter}"
{settings}
"""


@click.group()
def sim() -> None:
    """Run a provider's simulator on this machine: it sends nothing to anybody."""


@sim.command()
@PORT
@CALLBACK_BASE
@INBOUND_URL
def twilio(port: int, callback_base: str | None, inbound_url: str | None) -> None:
    """Simulate Twilio: it takes messages, and sends signed receipts and replies.

    Type `reply +14155550100 some text` to have somebody write back.
    """
    simulator = TwilioSimulator(port=port, callback_base=callback_base, inbound_url=inbound_url)
    settings = {
        "account_sid": simulator.account_sid,
        "auth_token": simulator.auth_token,
        "from": "+14155552345",
    }

    async def reply(from_: str, text: str) -> int | None:
        return (await simulator.reply(from_, text)).status

    async def run() -> None:
        async with simulator:
            await _until_stopped(
                partial(
                    _tell, "sms", "sms", "twilio", settings | {"api_url": simulator.url, "content_url": simulator.url}
                ),
                _replying(reply, inbound_url),
                lambda: len(simulator.record),
            )

    _run(run())


@sim.command()
@PORT
@CALLBACK_BASE
@INBOUND_URL
def kannel(port: int, callback_base: str | None, inbound_url: str | None) -> None:
    """Simulate a Kannel: it takes SMS, and sends delivery reports and replies.

    The inbound URL is the one for its sms-service, .../callbacks/NAME/SECRET/mo. Type `reply +14155550100 some text` to
    have somebody write back.
    """
    simulator = KannelSimulator(port=port, callback_base=callback_base, inbound_url=inbound_url)
    (user,) = simulator.users.items()

    async def run() -> None:
        async with simulator:
            settings = {
                "url": simulator.url,
                "username": user[0],
                "password": user[1],
                "secret": EXAMPLE_SECRET,
                "from": simulator.number,
            }
            await _until_stopped(
                partial(_tell, "texts", "sms", "kannel", settings),
                _replying(simulator.reply, simulator.inbound_url),
                lambda: len(simulator.record),
            )

    _run(run())


@sim.command()
@PORT
@CALLBACK_BASE
@INBOUND_URL
def meta(port: int, callback_base: str | None, inbound_url: str | None) -> None:
    """Simulate WhatsApp's Cloud API: it takes messages, and sends signed statuses and replies.

    The inbound URL is the webhook, .../callbacks/NAME: statuses go there too. It has a template `hello`. Type
    `reply +14155550100 some text` to have somebody write back.
    """
    simulator = MetaSimulator(port=port, callback_base=callback_base, callback_url=inbound_url)
    simulator.add_template("hello", "Hello {{1}}!")

    async def run() -> None:
        async with simulator:
            await _until_stopped(
                partial(_tell, "whatsapp", "whatsapp", "cloud", simulator.settings),
                _replying(simulator.reply, inbound_url),
                lambda: len(simulator.record),
            )

    _run(run())


@sim.command()
@PORT
@click.option("--record", type=click.Path(path_type=Path), help="Append a line for each mail to this file.")
def smtp(port: int, record: Path | None) -> None:
    """Simulate a mail server: it takes every mail and delivers none."""

    async def run() -> None:
        async with SmtpServer(port=port, record=record) as server:
            settings: dict[str, str | int] = {"host": "127.0.0.1", "port": server.port, "security": "none"}
            await _until_stopped(
                partial(_tell, "mail", "email", "smtp", settings | {"from": "news@example.org"}),
                None,
                lambda: server.count,
            )

    _run(run())


def _replying(
    reply: Callable[[str, str], Coroutine[Any, Any, int | None]], inbound_url: str | None
) -> Callable[[list[str]], Coroutine[Any, Any, str]]:
    """What answers a line of the input: somebody writes back."""

    async def answer(words: list[str]) -> str:
        if len(words) < 3 or words[0] != "reply":
            return "Write: reply +14155550100 some text"
        if inbound_url is None:
            return "Say with --inbound-url where replies go."
        return f"The gateway answered {await reply(words[1], ' '.join(words[2:])) or 'nothing'}."

    return answer


def _tell(name: str, channel: str, adapter: str, settings: Mapping[str, str | int]) -> None:
    lines = [f"{key} = {value}" if isinstance(value, int) else f'{key} = "{value}"' for key, value in settings.items()]
    click.echo("It runs until Ctrl-C. In gateway.toml:\n")
    click.echo(EXAMPLE.format(name=name, channel=channel, adapter=adapter, settings="\n".join(lines)))


async def _until_stopped(
    tell: Callable[[], None], answer: Callable[[list[str]], Coroutine[Any, Any, str]] | None, taken: Callable[[], int]
) -> None:
    """Tell how to use it, answer lines of the input until Ctrl-C or SIGTERM, then say how many messages were taken."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tell()  # whoever has read it may stop us
    lines = asyncio.create_task(_answer_lines(answer)) if answer is not None else None
    await stop.wait()
    if lines is not None:
        lines.cancel()
    click.echo(f"It took {taken()} messages.")


async def _answer_lines(answer: Callable[[list[str]], Coroutine[Any, Any, str]]) -> None:
    """Lines are read on a thread that dies with the process: nothing can wait for every kind of input."""
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)

    threading.Thread(target=read, daemon=True).start()
    while True:
        click.echo(await answer((await lines.get()).split()))


def _run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner() as runner:
        runner.run(work)
