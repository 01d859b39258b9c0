"""`gateway plugin`: what is installed."""

from __future__ import annotations

import click

from gateway.cli.frame import Frame, framed, table
from gateway.registry import load


@click.group()
def plugin() -> None:
    """See which plugins are installed and what they offer."""


@plugin.command("list")
@framed
async def list_(frame: Frame) -> None:
    """List every installed plugin, its distribution, and what it brings."""
    disabled = frame.config().plugins.disabled if frame.config_file.exists() else ()
    sources = load(disabled).sources
    rows = [
        (
            source.name,
            f"{source.distribution} {source.version}",
            "yes" if source.enabled else "no",
            " ".join((*source.channels, *source.adapters, *source.policies, *source.operations, *source.filters)),
        )
        for source in sources
    ]
    frame.show(sources, lambda: table("Plugins", ("name", "distribution", "enabled", "offers"), rows))
