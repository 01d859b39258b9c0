"""`gateway bulk`: bulk actions, as the operator sees and stops them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import click
from rich.console import Console
from rich.live import Live

from gateway.cli.frame import Frame, fail, framed, org_of, table
from gateway.cli.pictures import action_table, forecast_table
from gateway.contract import Caller
from gateway.core.ids import ACTION, ActionId, OrgId, format_id, parse_id
from gateway.core.states import FINAL_ACTIONS, ActionStatus
from gateway.engine.action_requests import Asker, RetryRequest
from gateway.engine.outlook import BATCHES_DEFAULT, BATCHES_MAX
from gateway.http.bulk_wire import show_action, show_forecast
from gateway.installation import Installation
from gateway.store.action_reads import ActionFilter, ActionView

WATCH_SECONDS: Final = 0.5
LISTED_MAX: Final = 200

org_option = click.option("--org", help="The org; needed if there are several.")


@click.group()
def bulk() -> None:
    """List, show, forecast, watch, pause, resume, cancel and retry bulk actions."""


@bulk.command("list")
@org_option
@click.option("--status", "statuses", multiple=True, type=click.Choice([status.value for status in ActionStatus]))
@framed
async def list_(frame: Frame, org: str | None, statuses: tuple[str, ...]) -> None:
    """List bulk actions, the newest first."""
    async with frame.installation() as installation:
        wanted = ActionFilter(statuses=tuple(ActionStatus(status) for status in statuses))
        views = await installation.bulk_actions.listed(org_of(installation, org).id, wanted, None, LISTED_MAX)
    rows = [
        (
            format_id(ACTION, view.id),
            view.label,
            view.operation,
            view.status.value,
            f"{view.counts.succeeded} of {view.counts.total}",
            view.counts.unknown or None,
            view.wait_reason or view.pause_reason or ("receipts" if view.status is ActionStatus.DELEGATED else None),
        )
        for view in views
    ]
    columns = ("id", "label", "operation", "status", "succeeded", "unknown", "waits for")
    frame.show([show_action(view) for view in views], lambda: table("Bulk actions", columns, rows))


@bulk.command()
@click.argument("identifier")
@org_option
@framed
async def show(frame: Frame, identifier: str, org: str | None) -> None:
    """Show one bulk action with its counts."""
    async with frame.installation() as installation:
        view = await installation.bulk_actions.show(org_of(installation, org).id, _parsed(identifier))
    _show(frame, view)


@bulk.command()
@click.argument("identifier")
@org_option
@click.option(
    "--limit",
    type=click.IntRange(1, BATCHES_MAX),
    default=BATCHES_DEFAULT,
    show_default=True,
    help="How many batches to list; all of them are counted.",
)
@framed
async def forecast(frame: Frame, identifier: str, org: str | None, limit: int) -> None:
    """Show the batches that are still to come, and when the last message leaves."""
    async with frame.installation() as installation:
        found = await installation.bulk_actions.forecast(org_of(installation, org).id, _parsed(identifier), limit)
    frame.show(show_forecast(found), lambda: Console().print(forecast_table(found)))


@bulk.command()
@click.argument("identifier")
@org_option
@framed
async def watch(frame: Frame, identifier: str, org: str | None) -> None:
    """Watch one bulk action until it ends."""
    async with frame.installation() as installation:
        owner, action = org_of(installation, org).id, _parsed(identifier)
        view = await installation.bulk_actions.show(owner, action)
        with Live(action_table(view), console=Console(stderr=frame.as_json), transient=frame.as_json) as live:
            while view.status not in FINAL_ACTIONS:
                await asyncio.sleep(WATCH_SECONDS)
                view = await installation.bulk_actions.show(owner, action)
                live.update(action_table(view))
    if frame.as_json:
        _show(frame, view)


@bulk.command()
@click.argument("identifier")
@org_option
@framed
async def pause(frame: Frame, identifier: str, org: str | None) -> None:
    """Pause: what is in flight finishes, nothing more leaves."""
    await _change(frame, identifier, org, lambda one: one.bulk_actions.pause)


@bulk.command()
@click.argument("identifier")
@org_option
@framed
async def resume(frame: Frame, identifier: str, org: str | None) -> None:
    """Go on where it was paused; batches missed meanwhile are not made up."""
    await _change(frame, identifier, org, lambda one: one.bulk_actions.resume)


@bulk.command()
@click.argument("identifier")
@org_option
@framed
async def cancel(frame: Frame, identifier: str, org: str | None) -> None:
    """Cancel: what has not been handed over never is. It cannot be taken back."""
    await _change(frame, identifier, org, lambda one: one.bulk_actions.cancel)


@bulk.command()
@click.argument("identifier")
@org_option
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(["failed", "skipped", "unknown", "cancelled"]),
    default=("failed",),
    show_default=True,
    help="Whom to try again; may be repeated.",
)
@framed
async def retry(frame: Frame, identifier: str, org: str | None, states: tuple[str, ...]) -> None:
    """Try again, in a new round with the same content; policies and opt-outs are asked anew."""
    request = RetryRequest(states=list(states))  # type: ignore[arg-type]  # click has held them to the choices
    await _change(
        frame,
        identifier,
        org,
        lambda one: lambda asker, action: one.bulk_actions.retry(asker, action, request),
    )


async def _change(
    frame: Frame,
    identifier: str,
    org: str | None,
    chosen: Callable[[Installation], Callable[[Asker, ActionId], Awaitable[object]]],
) -> None:
    async with frame.installation() as installation:
        owner, action = org_of(installation, org), _parsed(identifier)
        await chosen(installation)(_operator(owner.name, owner.id), action)
        view = await installation.bulk_actions.show(owner.id, action)
    _show(frame, view)


def _operator(name: str, org: OrgId) -> Asker:
    """Whoever can write the database may do everything."""
    caller = Caller(key_id="cli", org=name, permissions=frozenset(), roles=frozenset(), acting_for=None)
    return Asker(caller=caller, org=org, origin="cli")


def _parsed(identifier: str) -> ActionId:
    number = parse_id(ACTION, identifier)
    if number is None:
        fail(f"{identifier!r} is no id of a bulk action: they look like {format_id(ACTION, 0)}.")
    return ActionId(number)


def _show(frame: Frame, view: ActionView) -> None:
    frame.show(show_action(view), lambda: Console().print(action_table(view)))
