"""`gateway send`: one message."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import click

from gateway.cli.frame import FAILED, Frame, framed, org_of
from gateway.core.ids import MESSAGE, format_id
from gateway.core.states import NEGATIVE, MessageStatus
from gateway.engine.action_requests import ContentRequest
from gateway.engine.singles import SingleDraft

POLL_SECONDS: Final = 0.1
_ON_ITS_WAY: Final = (MessageStatus.PENDING, MessageStatus.SENDING)


@click.command()
@click.option("--channel", required=True, help="Such as email.")
@click.option("--to", required=True, help="The address.")
@click.option("--body", help="The text; a template of the contact's fields if somebody is known there.")
@click.option("--template", help="A template of the provider, by its name, instead of a text.")
@click.option("--language", help="Of the template, if it exists in several.")
@click.option("--parameter", "parameters", multiple=True, metavar="NAME=TEXT", help="A text for its placeholder.")
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
    body: str | None,
    template: str | None,
    language: str | None,
    parameters: tuple[str, ...],
    subject: str | None,
    sender: str | None,
    org: str | None,
    seconds: float,
) -> None:
    """Send one message through the running daemon; without one it waits in the database until one runs."""
    async with frame.installation() as installation:
        content = ContentRequest(
            channel=channel,
            sender=sender,
            subject=subject,
            body=body,
            template=template,
            language=language,
            parameters=dict(map(_pair, parameters)),
        )
        owner = org_of(installation, org)
        message = await installation.singles.send(owner, SingleDraft(content=content, to=to))
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


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} has no '=': write NAME=TEXT.", param_hint="--parameter")
    return name, value
