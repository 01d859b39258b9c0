"""`gateway key`: API keys. It works on the database, so also while the daemon runs, and before the first key exists."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import click

from gateway.cli.frame import Frame, fail, first, framed, org_of, table
from gateway.store.keys import IssuedKey, Key

LISTED_MAX: Final = 1_000


@click.group()
def key() -> None:
    """Create, list, rotate and revoke API keys."""


@key.command()
@click.option("--name", required=True, help="What it is for; you see it in lists.")
@click.option("--org", help="The org it acts for; needed if there are several.")
@click.option("--permission", "permissions", multiple=True, help="Such as messaging.send; may be repeated.")
@click.option("--role", "roles", multiple=True, help="A role of [plugins.permissions.roles]; may be repeated.")
@framed
async def create(
    frame: Frame, name: str, org: str | None, permissions: tuple[str, ...], roles: tuple[str, ...]
) -> None:
    """Create a key and print it: this is the only time that it is shown."""
    async with frame.installation() as installation:
        issued = await installation.keys.create(org_of(installation, org).id, name, permissions, roles)
    _print_secret(frame, issued)


@key.command("list")
@click.option("--org", help="The org; needed if there are several.")
@framed
async def list_(frame: Frame, org: str | None) -> None:
    """List the keys of an org, without their secrets; revoked ones at the end."""
    async with frame.installation() as installation:
        owner = org_of(installation, org).id
        keys = [
            key
            for revoked in (False, True)
            for key in await installation.keys.list(owner, limit=LISTED_MAX, revoked=revoked)
        ]
    rows = [(k.id, k.name, " ".join((*k.permissions, *k.roles)), k.last_used_at, k.revoked_at) for k in keys]
    frame.show(
        [_shown(each) for each in keys],
        lambda: table("API keys", ("id", "name", "permissions and roles", "last used", "revoked"), rows),
    )


@key.command()
@click.argument("identifier")
@click.option("--org", help="The org; needed if there are several.")
@framed
async def revoke(frame: Frame, identifier: str, org: str | None) -> None:
    """Revoke a key at once."""
    async with frame.installation() as installation:
        if not await installation.keys.revoke(org_of(installation, org).id, identifier):
            fail(f"There is no key {identifier!r}, or it was revoked already.")
    frame.show({"id": identifier, "revoked": True}, lambda: click.echo(f"{identifier} is revoked."))


@key.command()
@click.argument("identifier")
@click.option("--org", help="The org; needed if there are several.")
@click.option(
    "--overlap-hours", type=float, default=24.0, show_default=True, help="How long the old secret still works."
)
@framed
async def rotate(frame: Frame, identifier: str, org: str | None, overlap_hours: float) -> None:
    """Give a key a new secret; its id, permissions and roles stay."""
    async with frame.installation() as installation:
        overlap = timedelta(hours=overlap_hours)
        issued = await first(
            installation.keys.rotate(org_of(installation, org).id, identifier, overlap), "key", identifier
        )
    _print_secret(frame, issued)


def _print_secret(frame: Frame, issued: IssuedKey) -> None:
    shown = {**_shown(issued.key), "key": issued.token}
    frame.show(
        shown, lambda: click.echo(f"{issued.token}\n\nKeep it: it is not shown again. Its id is {issued.key.id}.")
    )


def _shown(each: Key) -> dict[str, object]:
    return {
        "id": each.id,
        "name": each.name,
        "permissions": list(each.permissions),
        "roles": list(each.roles),
        "created_at": each.created_at,
        "last_used_at": each.last_used_at,
        "revoked_at": each.revoked_at,
    }
