"""`gateway contacts`: bringing people in from a file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import click

from gateway.cli.frame import FAILED, Frame, framed, org_of
from gateway.core.people import Match
from gateway.engine.contact_import import Form, Target, import_contacts
from gateway.engine.people import bad_channels, reader_for

PIECE: Final = 256 * 1024  # bytes read at once


@click.group()
def contacts() -> None:
    """Bring contacts in."""


@contacts.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--match",
    type=click.Choice(["id", "email", "phone"]),
    default="id",
    show_default=True,
    help="How rows without an id find their contact.",
)
@click.option("--org", help="The org; needed if there are several.")
@framed
async def import_(frame: Frame, file: Path, match: Match, org: str | None) -> None:
    """Import FILE, CSV with a header row or one JSON object a line (.ndjson, .jsonl). Status 1 if a row is rejected."""
    form: Form = "ndjson" if file.suffix.lower() in (".ndjson", ".jsonl") else "csv"
    async with frame.installation() as installation:
        owner = org_of(installation, org)
        target = Target(
            org=owner.id,
            store=installation.contacts,
            reader=reader_for(owner, installation.catalogue),
            judge=bad_channels(owner, installation.catalogue),
            match=match,
        )
        report = await import_contacts(pieces(file), form, target)

    def human() -> None:
        for rejection in report.errors:
            click.echo(f"{file}:{rejection.line}: {rejection.detail}", err=True)
        for warning in report.warnings:
            click.echo(warning, err=True)
        counts = ("created", "updated", "unchanged", "restored", "rejected")
        click.echo(", ".join(f"{getattr(report, name)} {name}" for name in counts) + ".")

    frame.show(report, human)
    if report.rejected:
        raise SystemExit(FAILED)


async def pieces(file: Path) -> AsyncIterator[bytes]:
    """The content of a file, a piece at a time."""
    with file.open("rb") as stream:
        while piece := stream.read(PIECE):
            yield piece
