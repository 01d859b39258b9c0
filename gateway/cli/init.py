"""`gateway init`: a first configuration and the first key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click

from gateway.cli.frame import Frame, fail, framed
from gateway.store.keys import PERMISSIONS

_FILE: Final = """\
# The configuration of the gateway. Every key can also be set by the environment: GATEWAY_SERVER__LISTEN=...
# All settings with their defaults are in the gateway.toml of the source, and in docs/operators.md.

[server]
listen = "127.0.0.1:8080"        # host:port or unix:/path; loopback unless a proxy stands before it
{public_url}

[store]
url = "sqlite:gateway.db"        # beside this file

[orgs.default]
time_zone = "{time_zone}"        # of schedules that name none
{region}

[senders.{sender}]
org = "default"
channel = "{channel}"
adapter = "smtp"
default = true
host = "{host}"
port = {port}
security = "{security}"          # none | starttls | tls
{login}from = "{from_address}"
rate = "50/s"                    # what the relay allows
"""


_NO_PUBLIC_URL: Final = (
    '# public_url = "https://gateway.example.org"   # links to leave by lead there, and receipts come there'
)


class _Asked(click.Option):
    """A question to whoever sits at the terminal; with `--yes` to nobody."""

    def prompt_for_value(self, ctx: click.Context) -> Any:
        _must_be_free(ctx.params["config_file"])  # before anybody answers in vain
        if ctx.params["yes"]:
            default = self.get_default(ctx)
            if not isinstance(default, str | int):  # click's own word for none is another one in each version
                raise click.MissingParameter(ctx=ctx, param=self)
            return self.type_cast_value(ctx, default)
        try:
            return super().prompt_for_value(ctx)
        except click.Abort:
            if sys.stdin.isatty():
                raise
            raise click.UsageError(
                f"There is no terminal to ask at for {self.opts[0]}. Give it, or --yes --from ADDRESS: "
                "then everything that is not given has its default.",
                ctx,
            ) from None


@click.command()
@click.option(
    "--yes", is_flag=True, is_eager=True, help="Ask nothing: what is not given has its default. Needs --from."
)
@click.option(
    "--channel",
    cls=_Asked,
    type=click.Choice(["email"]),
    default="email",
    show_default=True,
    prompt="Channel of the first sender",
    help="What it sends. Other channels' senders are written by hand, as gateway.toml shows.",
)
@click.option(
    "--sender", cls=_Asked, default="mail", show_default=True, prompt="Name of the first sender", help="Its name."
)
@click.option("--host", cls=_Asked, default="127.0.0.1", show_default=True, prompt="SMTP relay", help="Where it is.")
@click.option("--port", cls=_Asked, type=int, default=587, show_default=True, prompt="Its port", help="Its port.")
@click.option(
    "--security",
    cls=_Asked,
    type=click.Choice(["none", "starttls", "tls"]),
    default="starttls",
    show_default=True,
    prompt="Its security",
    help="How the connection is protected.",
)
@click.option("--username", cls=_Asked, default="", prompt="User name there (empty for none)", help="To log in with.")
@click.option(
    "--from", "from_address", cls=_Asked, prompt="Mails come from", help='Such as "Grace Church <news@grace.example>".'
)
@click.option(
    "--time-zone", cls=_Asked, default="UTC", show_default=True, prompt="Time zone", help="Such as Africa/Lagos."
)
@click.option(
    "--region", cls=_Asked, default="", prompt="Country of national phone numbers (empty for none)", help="Such as NG."
)
@click.option(
    "--public-url",
    cls=_Asked,
    default="",
    prompt="Address of the gateway on the internet (empty for none yet)",
    help="Such as https://gateway.example.org: links to leave by lead there, and receipts come there.",
)
@framed
async def init(
    frame: Frame,
    yes: bool,
    channel: str,
    sender: str,
    host: str,
    port: int,
    security: str,
    username: str,
    from_address: str,
    time_zone: str,
    region: str,
    public_url: str,
) -> None:
    """Write a commented gateway.toml, check it, and print the first API key. Asks for what is not given."""
    _must_be_free(frame.config_file)
    login = ""
    if username:
        login = (
            f'username = "{username}"\npassword = {{ env = "SMTP_PASSWORD" }}   # or file = "...", credential = "..."\n'
        )
    text = _FILE.format(
        time_zone=time_zone,
        public_url=f'public_url = "{public_url}"' if public_url else _NO_PUBLIC_URL,
        region=f'default_region = "{region}"' if region else '# default_region = "NG"      # of national phone numbers',
        sender=sender,
        channel=channel,
        host=host,
        port=port,
        security=security,
        login=login,
        from_address=from_address.replace("\\", "\\\\").replace('"', '\\"'),
    )
    await _write_checked(frame, text)


def _must_be_free(file: Path) -> None:
    if file.exists():
        fail(f"{file} exists already: edit it, or choose another file with --config.")


async def _write_checked(frame: Frame, text: str) -> None:
    """Write the file; take it back if it is not in order."""
    frame.config_file.write_text(text)
    try:
        async with frame.installation() as installation:
            org = installation.catalogue.orgs["default"]
            issued = await installation.keys.create(org.id, "first key", PERMISSIONS)
    except BaseException:
        _remove(frame.config_file)
        raise
    shown = {"config": str(frame.config_file), "key": issued.token, "id": issued.key.id}

    def human() -> None:
        click.echo(f"Wrote {frame.config_file}. Your first key, shown only now:\n\n    {issued.token}\n")
        click.echo("Next: gateway doctor, then gateway serve.")

    frame.show(shown, human)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
