"""`gateway check` (the configuration) and `gateway doctor` (the world outside it)."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator, Sized
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import click

from gateway.cli.frame import FAILED, Frame, fail, framed
from gateway.configured import read_plugins
from gateway.contract import Adapter
from gateway.engine.holds import check as check_adapter
from gateway.errors import GatewayError
from gateway.http.hosts import is_ours
from gateway.installation import Installation
from gateway.store.verify import verify

FREE_BYTES_MIN: Final = 500 * 1024 * 1024  # below that the next big action may fill the disk


class Finding(NamedTuple):
    """One thing that was looked at. `remedy` says what to do where it is not in order."""

    what: str
    ok: bool
    detail: str
    remedy: str = ""


@click.command()
@framed
async def check(frame: Frame) -> None:
    """Read the configuration as the daemon would, with every plugin's settings, and report all faults at once."""
    config = frame.config()
    try:
        plugins = read_plugins(config)
    except GatewayError as exc:
        fail(str(exc))
    shown = {
        "file": str(frame.config_file),
        "senders": sorted(config.senders),
        "orgs": sorted(config.orgs),
        "plugins": [source.name for source in plugins.sources if source.enabled],
    }
    frame.show(
        shown,
        lambda: click.echo(
            f"{frame.config_file} is in order: {_counted(config.senders, 'sender')}, {_counted(config.orgs, 'org')}."
        ),
    )


def _counted(things: Sized, name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


@click.command()
@framed
async def doctor(frame: Frame) -> None:
    """Look at the disk, the database, the keys and every sender's provider, and say what to do about each fault."""
    async with frame.installation() as installation:
        findings = [finding async for finding in _findings(installation)]

    def human() -> None:
        for finding in findings:
            click.echo(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.what}: {finding.detail}")
            if not finding.ok:
                click.echo(f"      {finding.remedy}")

    frame.show([finding._asdict() for finding in findings], human)
    if not all(finding.ok for finding in findings):
        raise SystemExit(FAILED)


async def _findings(installation: Installation) -> AsyncIterator[Finding]:
    file = installation.config.store_file
    free = shutil.disk_usage(file.parent).free
    yield Finding(
        "disk",
        free >= FREE_BYTES_MIN,
        f"{free // 1024**2:,} MB free in {file.parent}",
        "Free some space: a full disk stops all sending.",
    )
    problem = await installation.database.probe()
    yield Finding(
        "database", problem is None, problem or str(file), "Look at the permissions and who else uses the file."
    )
    faults = (await verify(installation.database)).faults
    yield Finding(
        "books", not faults, faults[0] if faults else "they balance", "Run gateway verify, and report it as a defect."
    )
    keys = await installation.keys.any()
    yield Finding(
        "API keys",
        keys,
        "there are some" if keys else "there is none",
        "Make one: gateway key create --name NAME --permission P ...",
    )
    yield _public_url(installation.config.server.public_url)
    yield Finding("SQLite", sqlite3.sqlite_version_info >= (3, 38), sqlite3.sqlite_version, "Install a newer SQLite.")
    for sender in installation.catalogue.senders.values():
        answer = await _ask(sender.adapter)
        yield Finding(
            f"sender {sender.name}",
            answer is None,
            answer or "its provider answers",
            f"Mend it in [senders.{sender.name}] or at the provider; the daemon goes on by itself.",
        )


def _public_url(url: str | None) -> Finding:
    if url is None:
        return Finding("public URL", True, "none: mails carry no link to leave by, and no receipts come")
    host = urlsplit(url).hostname or ""
    return Finding(
        "public URL",
        not is_ours(host, frozenset({"localhost"})),
        url,
        "Only this machine can open it: set [server] public_url to where others reach the gateway, or leave it out.",
    )


async def _ask(adapter: Adapter[Any]) -> str | None:
    try:
        await adapter.open()
    # A stranger's code; whatever it raises is what the operator has to know.
    except Exception as exc:  # noqa: BLE001
        return f"cannot be opened: {type(exc).__name__}: {exc}"
    try:
        return await check_adapter(adapter)
    finally:
        await adapter.close()
