"""`gateway opt-outs`: the suppression list as a file."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.contacts import pieces, write_new
from gateway.cli.frame import FAILED, Frame, framed, org_of
from gateway.engine.opt_outs import import_opt_outs
from gateway.http.opt_out_files import ledger_csv, opt_outs_csv


@click.group("opt-outs")
def opt_outs() -> None:
    """Who does not want to be written to: bring a list in, take it out."""


@opt_outs.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--org", help="The org; needed if there are several.")
@framed
async def import_(frame: Frame, file: Path, org: str | None) -> None:
    """Record the opt-outs in FILE, CSV with the columns channel, address or contact, category, reason.

    It only adds: nobody comes back by a file. Status 1 if a row is rejected.
    """
    async with frame.installation() as installation:
        owner = org_of(installation, org)
        report = await import_opt_outs(pieces(file), installation.catalogue, owner, installation.consent, None)

    def human() -> None:
        for error in report.errors:
            click.echo(f"{file}:{error.line}: {error.detail}", err=True)
        click.echo(f"{report.recorded} recorded, {report.standing} on the list already, {report.rejected} rejected.")

    frame.show(report, human)
    if report.rejected:
        raise SystemExit(FAILED)


@opt_outs.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--history", is_flag=True, help="The ledger of every wish instead of who is out now.")
@click.option("--org", help="The org; needed if there are several.")
@framed
async def export(frame: Frame, file: Path, history: bool, org: str | None) -> None:
    """Write the list to FILE as CSV. FILE must not exist."""
    async with frame.installation() as installation:
        owner = org_of(installation, org).id
        source = ledger_csv(installation.ledger, owner) if history else opt_outs_csv(installation.consent, owner)
        size = await write_new(file, source)
    frame.show({"file": str(file), "bytes": size}, lambda: click.echo(f"{file}: {size:,} bytes."))
