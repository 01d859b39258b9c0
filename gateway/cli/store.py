"""`gateway verify`, `backup`, `restore`, `migrate`: the database."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import click

from gateway.cli.frame import FAILED, Frame, fail, framed
from gateway.clock import SystemClock
from gateway.daemon import only_one
from gateway.errors import StoreError
from gateway.store.backup import copy_to, restore_from
from gateway.store.migrations import NEWEST, pending
from gateway.store.verify import verify as verify_books


@click.command()
@framed
async def verify(frame: Frame) -> None:
    """Count every recipient and compare with the books, also while the daemon runs. Status 1 if they do not balance."""
    async with frame.installation() as installation:
        found = await verify_books(installation.database)

    def human() -> None:
        for fault in found.faults:
            click.echo(fault, err=True)
        balance = "The books do not balance." if found.faults else "The books balance."
        click.echo(f"{balance} {found.actions} bulk actions, {found.recipients} recipients, {found.messages} messages.")
        if found.unknown:
            click.echo(f"{found.unknown} recipients are unknown: gateway bulk list shows where.")

    frame.show(found, human)
    if found.faults:
        raise SystemExit(FAILED)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@framed
async def backup(frame: Frame, file: Path) -> None:
    """Copy the database to FILE, also while the daemon runs. FILE must not exist."""
    if file.exists():  # noqa: ASYNC240 - nothing else runs
        fail(f"{file} exists already; choose another name.")
    source = frame.config().store_file
    if not source.exists():
        fail(f"There is no database {source}.")
    pages = copy_to(source, file)
    frame.show(
        {"file": str(file), "pages": pages}, lambda: click.echo(f"{file} is a complete copy; check it with restore.")
    )


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@framed
async def restore(frame: Frame, file: Path) -> None:
    """Replace the database by the copy in FILE. Every open bulk action is paused: the copy does not know what was sent
    since it was made."""
    target = frame.config().store_file
    with only_one(target):
        try:
            paused = restore_from(file, target, SystemClock().now())
        except (sqlite3.DatabaseError, StoreError) as exc:
            fail(f"{file} cannot be restored: {exc} Nothing was changed.")
    frame.show(
        {"paused": paused, "previous": f"{target}.before-restore"},
        lambda: click.echo(
            f"Restored. {paused} open bulk actions are paused; the old file is {target}.before-restore."
        ),
    )


@click.command()
@click.option("--plan", is_flag=True, help="Only say what would be done.")
@framed
async def migrate(frame: Frame, plan: bool) -> None:
    """Bring the database to the newest schema; the daemon does it by itself when it starts."""
    target = frame.config().store_file
    names = pending(target)
    if not plan and names:
        async with frame.installation():
            pass
    words = f"Schema {NEWEST}; " + (f"{'to do' if plan else 'done'}: {', '.join(names)}" if names else "nothing to do.")
    frame.show({"newest": NEWEST, "pending": names if plan else []}, lambda: click.echo(words))
