"""What every command shares: its two options, opening the installation, printing, and the exit status."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
import msgspec
from rich.console import Console
from rich.table import Table

from gateway.config import Config, load
from gateway.engine.catalogue import Org
from gateway.errors import ConfigError, GatewayError, Invalid
from gateway.installation import Installation, TestHooks, open_installation
from gateway.logs import configure

T = TypeVar("T")
FAILED = 1  # the operation failed; click itself ends with 2 for wrong use


@dataclass(frozen=True, slots=True)
class Frame:
    """How this call wants to be answered, and which file it speaks of."""

    config_file: Path
    as_json: bool

    def config(self) -> Config:
        """The configuration, or the end of the program with every problem of it."""
        try:
            return load(self.config_file, os.environ)
        except ConfigError as exc:
            fail(str(exc))

    @asynccontextmanager
    async def installation(self) -> AsyncIterator[Installation]:
        """Everything built over the database, without the loops; works beside a running daemon."""
        config = self.config()
        configure("warning", config.logging.format)
        async with open_installation(config, hooks=TestHooks.read(os.environ)) as opened:
            yield opened

    def show(self, value: object, human: Callable[[], None]) -> None:
        """Print: one JSON document on standard output, or whatever `human` prints."""
        if self.as_json:
            sys.stdout.write(msgspec.json.encode(value, enc_hook=str).decode() + "\n")
        else:
            human()


def framed(command: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Give a command `--config` and `--json`, run it, and turn what the gateway raises into exit status 1."""

    @click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        envvar="GATEWAY_CONFIG",
        default=Path("gateway.toml"),
        show_default=True,
        is_eager=True,
        help="The configuration file; also $GATEWAY_CONFIG.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @functools.wraps(command)
    def run(config_file: Path, as_json: bool, **arguments: Any) -> None:
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(command(Frame(config_file, as_json), **arguments))
        except Invalid as exc:
            fail("\n".join(f"{problem.pointer or '/'}: {problem.detail}" for problem in exc.problems))
        except GatewayError as exc:
            fail(str(exc))

    return run


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed (the extra `speed`): a fifth to a third faster on the send path."""
    try:
        import uvloop  # only here: it is optional
    except ImportError:
        return None
    return uvloop.new_event_loop


def fail(message: str) -> NoReturn:
    """Say what is wrong and end with status 1."""
    click.echo(message, err=True)
    raise SystemExit(FAILED)


def org_of(installation: Installation, name: str | None) -> Org:
    """The org of that name; without a name the only one. Ends the program if that is not clear."""
    orgs: Mapping[str, Org] = installation.catalogue.orgs
    if name is None and len(orgs) == 1:
        return next(iter(orgs.values()))
    if name is None:
        fail(f"There are several orgs: name one with --org, of {sorted(orgs)}.")
    if name not in orgs:
        fail(f"There is no org {name!r}; there are: {sorted(orgs)}.")
    return orgs[name]


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows for a person."""
    drawn = Table(title=title, title_justify="left")
    for column in columns:
        drawn.add_column(column)
    for row in rows:
        drawn.add_row(*("" if cell is None else str(cell) for cell in row))
    Console().print(drawn)


async def first(awaitable: Awaitable[T | None], what: str, name: str) -> T:
    """What was found, or the end of the program."""
    found = await awaitable
    if found is None:
        fail(f"There is no {what} {name!r}.")
    return found
