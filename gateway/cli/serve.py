"""`gateway serve`."""

from __future__ import annotations

import os

import click

from gateway.cli.frame import Frame, framed
from gateway.daemon import serve as run
from gateway.logs import configure


@click.command()
@framed
async def serve(frame: Frame) -> None:
    """Run the gateway until it is told to stop (SIGTERM, Ctrl-C); it drains before it ends."""
    config = frame.config()
    configure(config.logging.level, config.logging.format)
    await run(config, os.environ)
