"""The command line. Each command lives in a module of its own, imported when it is called: `--version` stays fast."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import click

_COMMANDS: Final = {
    "serve": "serve:serve",
    "demo": "demo:demo",
    "init": "init:init",
    "check": "check:check",
    "doctor": "check:doctor",
    "verify": "store:verify",
    "backup": "store:backup",
    "restore": "store:restore",
    "migrate": "store:migrate",
    "key": "keys:key",
    "contacts": "contacts:contacts",
    "opt-outs": "opt_outs:opt_outs",
    "bulk": "bulk:bulk",
    "send": "send:send",
    "sender": "senders:sender",
    "callbacks": "callbacks:callbacks",
    "plugin": "plugins:plugin",
    "sim": "sim:sim",
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = _COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(import_module(f"gateway.cli.{module}"), name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as exc:
            near = [name for name in _COMMANDS if name.startswith(args[0][:3])]
            if near:
                raise click.UsageError(f"{exc.message} Did you mean {' or '.join(near)}?", ctx) from exc
            raise


@click.command(cls=LazyGroup)
@click.version_option(package_name="dripgate", prog_name="gateway", message="%(prog)s %(version)s")
def main() -> None:
    """A self-hosted messaging gateway: one message or a million, at once or in drips."""
