"""What the demo runs beside itself: the real daemon as a process, a mail server, and Twilio twice, on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from gateway.cli.frame import fail
from gateway.config import load
from gateway.installation import open_installation
from gateway.logs import configure
from gateway.store.keys import PERMISSIONS
from gateway.testing.provider_faults import Fate
from gateway.testing.smtp_faults import Fault, Stage
from gateway.testing.smtp_process import SmtpProcess
from gateway.testing.twilio_simulator import TwilioSimulator

READY_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.2
OWN_NUMBER: Final = "+14155552345"  # of the gateway, at Twilio
TEMPLATE: Final = "sunday_service"

_CONFIG: Final = """\
[server]
listen = "127.0.0.1:{port}"
public_url = "http://127.0.0.1:{port}"

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

[senders.sms]
channel = "sms"
adapter = "twilio"
account_sid = "{sms.account_sid}"
auth_token = "{sms.auth_token}"
from = "{number}"
api_url = "{sms.url}"
rate = "50/s"

[senders.whatsapp]
channel = "whatsapp"
adapter = "twilio"
account_sid = "{whatsapp.account_sid}"
auth_token = "{whatsapp.auth_token}"
from = "{number}"
api_url = "{whatsapp.url}"
content_url = "{whatsapp.url}"
rate = "50/s"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSet:
    """Everything running: the gateway's API with a key for it, and the providers behind it."""

    url: str
    key: str
    folder: Path
    api: aiohttp.ClientSession
    smtp: SmtpProcess
    sms: TwilioSimulator
    whatsapp: TwilioSimulator

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """Ask the API as another application would; a refusal ends the demo."""
        async with self.api.request(method, path, json=body) as answer:
            decoded = await answer.json(content_type=None)
            if answer.status >= 300:
                fail(f"{method} {path} answered {answer.status}: {decoded}")
            return decoded


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[StageSet]:
    """Start the providers, then the gateway over a database of its own; end them in the other order."""
    no_mailbox = [Fault(stage=Stage.RCPT, to="gone*", reply="550 5.1.1 No such mailbox here")]
    sms = TwilioSimulator()
    sms.fates = [Fate(to="*7", status="undelivered", error_code=30003)]
    sms.advanced_opt_out = True
    whatsapp = TwilioSimulator(steps=("sent", "delivered", "read"))
    whatsapp.add_template(TEMPLATE, "Hi {{first_name}}, we meet on Sunday at {{1}}.")
    async with SmtpProcess(folder / "mails.tsv", faults=no_mailbox) as smtp, sms, whatsapp:
        port = _free_port()
        config = folder / "gateway.toml"
        config.write_text(_CONFIG.format(port=port, smtp_port=smtp.port, sms=sms, whatsapp=whatsapp, number=OWN_NUMBER))
        url = f"http://127.0.0.1:{port}"
        sms.inbound_url, whatsapp.inbound_url = f"{url}/callbacks/sms", f"{url}/callbacks/whatsapp"
        key = await _create_key(config)
        async with _daemon(config, folder / "gateway.log"), _client(url, key) as api:
            await _until_ready(api, folder / "gateway.log")
            yield StageSet(url=url, key=key, folder=folder, api=api, smtp=smtp, sms=sms, whatsapp=whatsapp)


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
