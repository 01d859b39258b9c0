"""The daemon as a process: what keeps it from starting is said in a sentence, and nobody else sends beside it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import aiohttp

from gateway.testing.smtp_server import SmtpServer
from tests.processes import GatewayProcess

CONFIG = '[server]\nlisten = "{listen}"\n[orgs.default]\ntime_zone = "UTC"\n'


async def serve(folder: Path, listen: str, **environ: str) -> tuple[int, str]:
    """Run `gateway serve` until it ends by itself: status, and what it said."""
    config = folder / "gateway.toml"
    config.write_text(CONFIG.format(listen=listen))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "serve", "--config", str(config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **environ},
    )
    async with asyncio.timeout(20):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_a_port_in_use_is_said_with_the_address(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        status, said = await serve(tmp_path, address)
    assert status == 1
    assert address in said
    assert "cannot be listened on" in said
    assert "Traceback" not in said


async def test_an_open_door_without_any_key_is_refused_before_anything_listens(tmp_path: Path) -> None:
    status, said = await serve(tmp_path, "0.0.0.0:8080")
    assert status == 1
    assert "there is no API key yet" in said


async def test_a_second_daemon_on_the_same_database_is_refused(tmp_path: Path, unused_tcp_port: int) -> None:
    async with GatewayProcess(tmp_path, smtp_port=1, port=unused_tcp_port) as gateway:
        await gateway.start()
        status, said = await serve(tmp_path, "127.0.0.1:0")
        assert status == 1
        assert "Another gateway is running" in said
        assert await gateway.terminate() == 0


async def test_a_test_variable_that_names_no_point_is_refused(tmp_path: Path) -> None:
    status, said = await serve(tmp_path, "127.0.0.1:0", GATEWAY_CRASH_AT="lunch:1")
    assert status == 1
    assert "lunch" in said


async def test_it_answers_on_a_unix_socket(tmp_path: Path, unused_tcp_port: int) -> None:
    async with GatewayProcess(tmp_path, smtp_port=1, port=unused_tcp_port) as gateway:
        config = (tmp_path / "gateway.toml").read_text()
        door = tmp_path / "api.sock"
        (tmp_path / "gateway.toml").write_text(config.replace(f"127.0.0.1:{unused_tcp_port}", f"unix:{door}"))
        starting = asyncio.create_task(gateway.start())
        async with asyncio.timeout(20):
            while not door.exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.05)
        door_connector = aiohttp.UnixConnector(str(door))
        async with (
            asyncio.timeout(20),
            aiohttp.ClientSession(connector=door_connector) as session,
            session.get("http://localhost/healthz") as answer,
        ):
            assert (await answer.json())["status"] == "alive"
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)


async def test_it_tells_systemd_that_it_is_ready_and_that_it_stops(tmp_path: Path, unused_tcp_port: int) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        async with GatewayProcess(tmp_path, smtp_port=1, port=unused_tcp_port) as gateway:
            await gateway.start(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="20000000")
            heard = {manager.recv(100) for _ in range(2)}
            assert heard == {b"READY=1", b"WATCHDOG=1"}
            assert await gateway.terminate() == 0
            assert manager.recv(100) == b"STOPPING=1"


async def test_with_warnings_as_errors_it_serves_sends_and_stops_without_one(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    """As `python -W error`: what a library will forbid tomorrow, and what is never closed, would be said here."""
    async with SmtpServer() as smtp, GatewayProcess(tmp_path, smtp.port, port=unused_tcp_port) as gateway:
        await gateway.start(PYTHONWARNINGS="error")
        message = {"channel": "email", "to": "ada@example.org", "subject": "News", "body": "Hello"}
        assert (await gateway.call("POST", "/v1/messages", message))[0] == 202
        assert (await gateway.call("GET", "/v1/contacts"))[0] == 200
        async with asyncio.timeout(20):
            while not smtp.count:  # noqa: ASYNC110 - another process sends it
                await asyncio.sleep(0.02)
        assert await gateway.terminate() == 0
        assert "daemon_stopped" in gateway.log
        assert "Warning" not in gateway.log
        assert "Exception ignored" not in gateway.log
