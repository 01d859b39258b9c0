"""`gateway sender`: holding, releasing and testing senders."""

from __future__ import annotations

import getpass

import click

from gateway.cli.frame import FAILED, Frame, fail, framed, table
from gateway.engine.catalogue import Sender
from gateway.installation import Installation
from gateway.store.senders import HoldState


@click.group()
def sender() -> None:
    """List, pause, resume and test senders."""


@sender.command("list")
@framed
async def list_(frame: Frame) -> None:
    """List the configured senders and whether they are held."""
    async with frame.installation() as installation:
        senders = sorted(installation.catalogue.senders.values(), key=lambda each: each.name)
        states = {
            name: state
            for org in installation.catalogue.orgs.values()
            for name, state in (await installation.control.states(org.id)).items()
        }
    shown = [_shown(each, states.get(each.name, HoldState())) for each in senders]
    columns = ("name", "org", "channel", "adapter", "rate", "in_flight_limit", "held", "detail")
    frame.show(shown, lambda: table("Senders", columns, [[row[column] for column in columns] for row in shown]))


@sender.command()
@click.argument("name")
@framed
async def pause(frame: Frame, name: str) -> None:
    """Hold a sender by hand; its actions wait, nobody fails."""
    async with frame.installation() as installation:
        await installation.control.pause(_named(installation, name), getpass.getuser())
    frame.show({"name": name, "held": "manual"}, lambda: click.echo(f"{name} is held."))


@sender.command()
@click.argument("name")
@framed
async def resume(frame: Frame, name: str) -> None:
    """Let a held sender go on."""
    async with frame.installation() as installation:
        await installation.control.resume(_named(installation, name))
    frame.show({"name": name, "held": None}, lambda: click.echo(f"{name} goes on."))


@sender.command()
@click.argument("name")
@click.option("--to", help="Also send a test message to this address, through the running daemon.")
@framed
async def test(frame: Frame, name: str, to: str | None) -> None:
    """Ask the provider whether this sender's account works."""
    async with frame.installation() as installation:
        chosen = _named(installation, name)
        await chosen.adapter.open()
        try:
            result = await installation.control.test(chosen, to)
        finally:
            await chosen.adapter.close()
    words = f"{name} is healthy." if result.healthy else f"{name}: {result.detail}"
    frame.show(
        {"name": name, "healthy": result.healthy, "detail": result.detail, "message_id": result.message_id},
        lambda: click.echo(words + (f" Message {result.message_id}." if result.message_id else "")),
    )
    if not result.healthy:
        raise SystemExit(FAILED)


def _named(installation: Installation, name: str) -> Sender:
    found = installation.catalogue.senders.get(name)
    if found is None:
        fail(f"There is no sender {name!r}; there are: {sorted(installation.catalogue.senders)}.")
    return found


def _shown(each: Sender, state: HoldState) -> dict[str, object]:
    return {
        "name": each.name,
        "org": each.org.name,
        "channel": each.channel.name,
        "adapter": each.adapter_name,
        "rate": each.rate,
        "daily_cap": each.daily_cap,
        "in_flight_limit": each.concurrency,
        "held": state.held,
        "detail": state.detail,
    }
