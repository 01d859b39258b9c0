"""`gateway callbacks`: what providers called back with, and reading it once more."""

from __future__ import annotations

from datetime import datetime

import click

from gateway.cli.frame import Frame, fail, framed, table
from gateway.store.callbacks import ReplayFilter

INSTANT = click.DateTime(formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"])


@click.group()
def callbacks() -> None:
    """See the callbacks that are kept, for seven days, and have them read again."""


@callbacks.command("list")
@framed
async def list_(frame: Frame) -> None:
    """List, by sender, how many callbacks are kept, wait to be read, or could not be read."""
    async with frame.installation() as installation:
        names = {sender.id: name for name, sender in installation.catalogue.senders.items()}
        kept = await installation.callbacks.summary()
    rows = [{"sender": names.get(sender, "(not configured)"), **about} for sender, about in kept.items()]
    columns = ("sender", "kept", "waiting", "unreadable", "newest")
    frame.show(rows, lambda: table("Callbacks", columns, [[row[column] for column in columns] for row in rows]))


@callbacks.command()
@click.argument("sender")
@click.option("--after", type=INSTANT, help="Only those received from then on, such as 2026-06-01T08:00+0200.")
@click.option("--before", type=INSTANT, help="Only those received before then.")
@click.option("--unreadable", is_flag=True, help="Only those that could not be read.")
@framed
async def replay(frame: Frame, sender: str, after: datetime | None, before: datetime | None, unreadable: bool) -> None:
    """Have a sender's callbacks read again, by the running daemon or at its next start.

    Reading one twice changes nothing: receipts are merged by their rank, replies are kept once.
    """
    async with frame.installation() as installation:
        known = installation.catalogue.senders
        if sender not in known:
            fail(f"There is no sender {sender!r}; there are: {sorted(known)}.")
        number = await installation.callbacks.replay(
            ReplayFilter(
                sender=known[sender].id, received_after=after, received_before=before, unreadable_only=unreadable
            )
        )
    frame.show({"sender": sender, "replayed": number}, lambda: click.echo(f"{number} callbacks are read again."))
