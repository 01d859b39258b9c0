"""Simulators by hand: each says how to reach it, answers, and says what it took when it is stopped."""

from __future__ import annotations

import asyncio
import signal
import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote_plus

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.config import load

WAIT_SECONDS = 20
SIMULATORS = {
    "twilio": ("sms", "twilio"),
    "kannel": ("texts", "kannel"),
    "meta": ("whatsapp", "cloud"),
    "smtp": ("mail", "smtp"),
}


async def start(name: str, *options: str) -> tuple[asyncio.subprocess.Process, str]:
    """The running simulator, and the gateway.toml that it tells."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "sim", name, *options,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    told = b""
    async with asyncio.timeout(WAIT_SECONDS):
        while not told.endswith(b"\n\n\n") and not (b"[senders" in told and told.endswith(b"\n\n")):
            told += await process.stdout.readline()
    return process, told.decode().partition("In gateway.toml:\n")[2]


async def stop(process: asyncio.subprocess.Process) -> str:
    """What it says at its end."""
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(WAIT_SECONDS):
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    return out.decode()


@pytest.mark.parametrize("name", SIMULATORS)
async def test_a_simulator_tells_a_configuration_that_the_gateway_takes(name: str, tmp_path: Path) -> None:
    process, toml = await start(name)
    sender, adapter = SIMULATORS[name]
    assert tomllib.loads(toml)["senders"][sender]["adapter"] == adapter
    path = tmp_path / "gateway.toml"
    path.write_text(f"[orgs.default]\n{toml}")
    assert load(path, {}).senders[sender].adapter == adapter
    assert await stop(process) == "It took 0 messages.\n"


@pytest.mark.parametrize("name", ["twilio", "kannel", "meta"])
async def test_a_line_of_the_input_has_somebody_write_back(name: str) -> None:
    posted: list[str] = []

    async def take(request: web.Request) -> web.Response:
        posted.append(unquote_plus(f"{request.query_string} {await request.text()}"))
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/callbacks/main", take)
    async with TestServer(app, host="127.0.0.1") as server:
        process, _ = await start(name, "--inbound-url", str(server.make_url("/callbacks/main")))
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"reply +14155550100\nreply +14155550100 Hello there\n")
        async with asyncio.timeout(WAIT_SECONDS):
            assert await process.stdout.readline() == b"Write: reply +14155550100 some text\n"
            assert await process.stdout.readline() == b"The gateway answered 200.\n"
        assert await stop(process) == "It took 0 messages.\n"
    (request,) = posted
    assert "14155550100" in request
    assert "Hello there" in request


async def test_a_simulated_kannel_takes_a_message_and_says_so() -> None:
    process, toml = await start("kannel")
    settings = tomllib.loads(toml)["senders"]["texts"]
    query = {"username": settings["username"], "password": settings["password"], "to": "+14155550100", "text": "Hi"}
    async with aiohttp.ClientSession() as session, session.get(settings["url"], params=query) as answer:
        assert (answer.status, await answer.text()) == (202, "0: Accepted for delivery")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"reply +14155550100 Hello\n")
    async with asyncio.timeout(WAIT_SECONDS):
        assert await process.stdout.readline() == b"Say with --inbound-url where replies go.\n"
    assert await stop(process) == "It took 1 messages.\n"
