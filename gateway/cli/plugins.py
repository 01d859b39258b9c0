"""`gateway plugin`: what is installed, whether it keeps the contract, and a beginning for one of your own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.frame import FAILED, Frame, fail, framed, table
from gateway.cli.scaffold import KINDS, write
from gateway.registry import PluginName, load

if TYPE_CHECKING:
    from gateway.testing.conformance_installed import Check


@click.group()
def plugin() -> None:
    """See which plugins are installed, test them, and begin one of your own."""


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


@plugin.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), required=True, help="What the plugin offers.")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where its folder is made; by default here.",
)
@framed
async def new(frame: Frame, name: str, kind: str, into: Path) -> None:
    """Write a package for a plugin of your own, with tests that pass: gateway plugin new pigeon --kind channel."""
    folder = write(kind, name, into)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    def human() -> None:
        click.echo(f"Wrote {folder}:\n")
        click.echo("".join(f"    {file}\n" for file in files))
        click.echo(f"Next: cd {folder} && pip install -e '.[dev]' && pytest, then gateway plugin list.")

    frame.show({"folder": str(folder), "files": files}, human)


@plugin.command()
@click.argument("name", required=False)
@framed
async def test(frame: Frame, name: str | None) -> None:
    """Try what an installed plugin promises, or every one. Nothing is sent. Exit status 1: a promise is broken.

    Settings are taken from the configuration file, if there is one.
    """
    # Only here: the other commands need none of it.
    from gateway.testing.conformance_installed import examine

    config = frame.config() if frame.config_file.exists() else None
    plugins = load(() if config is None else config.plugins.disabled)
    sources = [source for source in plugins.sources if name in {None, source.name}]
    if not sources:
        fail(f"No plugin {name!r} is installed; there are: {[source.name for source in plugins.sources]}.")
    if name is not None and not sources[0].enabled:
        fail(f"The plugin {name!r} is disabled under [plugins]: enable it to test it.")
    checks = {source.name: examine(plugins, source, config) for source in sources if source.enabled}
    frame.show(checks, lambda: _told(checks))
    if any(check.result == "failed" for several in checks.values() for check in several):
        raise SystemExit(FAILED)


def _told(checks: Mapping[PluginName, Sequence[Check]]) -> None:
    """A line for each promise, what to do about the broken ones, and how many there are of each."""
    for name, several in checks.items():
        click.echo(name)
        for check in several:
            mark = "FAILED" if check.result == "failed" else check.result
            click.echo(
                f"  {mark:<8} {check.subject} {check.promise}" + (f"\n{'':11}{check.detail}" if check.detail else "")
            )
    counts = Counter(check.result for several in checks.values() for check in several)
    click.echo(", ".join(f"{counts[result]} {result}" for result in ("passed", "failed", "skipped")))
