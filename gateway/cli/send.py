"""`gateway send`: one message."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import click

from gateway.cli.frame import FAILED, Frame, framed, org_of
from gateway.core.ids import MESSAGE, format_id
from gateway.core.states import NEGATIVE, MessageStatus
from gateway.engine.singles import SingleDraft

POLL_SECONDS: Final = 0.1
_ON_ITS_WAY: Final = (MessageStatus.PENDING, MessageStatus.SENDING)


@click.command()
@click.option("--channel", required=True, help="Such as email.")
@click.option("--to", required=True, help="The address.")
@click.option("--body", required=True, help="The text; a template of the contact's fields if somebody is known there.")
@click.option("--subject", help="For channels that have one.")
@click.option("--sender", help="The sender; needed if the channel has several and no default.")
@click.option("--org", help="The org; needed if there are several.")
@click.option(
    "--wait", "seconds", type=float, default=10.0, show_default=True, help="How long to wait for the outcome."
)
@framed
async def send(
    frame: Frame,
    channel: str,
    to: str,
    body: str,
    subject: str | None,
    sender: str | None,
    org: str | None,
    seconds: float,
) -> None:
    """Send one message through the running daemon; without one it waits in the database until one runs."""
    async with frame.installation() as installation:
        draft = SingleDraft(channel=channel, sender=sender, to=to, subject=subject, body=body)
        owner = org_of(installation, org)
        message = await installation.singles.send(owner, draft, created_by=None)
        until = time.monotonic() + seconds
        while True:
            found = await installation.log.show(owner.id, message)
            assert found is not None
            logged = found[0].message
            if logged.status not in _ON_ITS_WAY or time.monotonic() > until:
                break
            await asyncio.sleep(POLL_SECONDS)
    told = {"id": format_id(MESSAGE, message), "status": logged.status.label, "reason": logged.reason}
    frame.show(told, lambda: click.echo(" ".join(str(value) for value in told.values() if value)))
    if logged.status in NEGATIVE:
        raise SystemExit(FAILED)
