"""`gateway contacts`: bringing people in from a file, taking them out, and forgetting them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import click

from gateway.cli.frame import FAILED, Frame, fail, framed, org_of
from gateway.core.people import Match
from gateway.engine.contact_export import export_contacts
from gateway.engine.contact_import import Form, Target, import_contacts
from gateway.engine.people import bad_channels, reader_for

PIECE: Final = 256 * 1024  # bytes read at once


@click.group()
def contacts() -> None:
    """Bring contacts in, take them out, forget them."""


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


@contacts.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--org", help="The org; needed if there are several.")
@framed
async def export(frame: Frame, file: Path, org: str | None) -> None:
    """Write all contacts to FILE as the import reads them: CSV, or one JSON object a line (.ndjson, .jsonl)."""
    form: Form = "ndjson" if file.suffix.lower() in (".ndjson", ".jsonl") else "csv"
    async with frame.installation() as installation:
        owner = org_of(installation, org).id
        channels = tuple(installation.catalogue.channels.values())
        size = await write_new(file, export_contacts(installation.contacts, owner, channels, form))
    frame.show({"file": str(file), "bytes": size}, lambda: click.echo(f"{file}: {size:,} bytes."))


@contacts.command()
@click.argument("contact")
@click.option("--org", help="The org; needed if there are several.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@framed
async def erase(frame: Frame, contact: str, org: str | None, yes: bool) -> None:
    """Forget the contact with this id for good. Books and opt-outs stay; it cannot be undone."""
    if not yes:
        click.confirm(f"Forget {contact!r} for good?", abort=True)
    async with frame.installation() as installation:
        erased = await installation.erasure.erase(org_of(installation, org).id, contact)
    if not erased:
        fail(f"There is no contact {contact!r}.")
    frame.show({"erased": contact}, lambda: click.echo(f"{contact} is forgotten."))


async def write_new(file: Path, source: AsyncIterator[bytes]) -> int:
    """Write a file that must not exist; its size."""
    try:
        with file.open("xb") as out:
            async for piece in source:
                out.write(piece)
            return out.tell()
    except FileExistsError:
        fail(f"{file} exists already; choose another name.")
    except OSError as exc:
        fail(f"{file} cannot be written: {exc.strerror}.")


async def pieces(file: Path) -> AsyncIterator[bytes]:
    """The content of a file, a piece at a time."""
    with file.open("rb") as stream:
        while piece := stream.read(PIECE):
            yield piece
