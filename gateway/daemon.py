"""`gateway serve`: one process that owns the database, runs the loops and answers the API, until it is told to stop."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from gateway.config import Config, Listen
from gateway.engine.caps import DailyCaps
from gateway.engine.explain import Explainer
from gateway.errors import ConfigError, StoreUnavailable
from gateway.http.api import Resources, api_routes
from gateway.http.app import build_app, build_public_app, build_runner
from gateway.http.auth import Authenticator
from gateway.http.callbacks import CallbackDoor
from gateway.http.events import EventStreams
from gateway.http.health import health_routes
from gateway.http.hosts import loopback_hosts
from gateway.http.idempotency import Idempotency
from gateway.http.unsubscribe import UnsubscribeDoor
from gateway.installation import Installation, TestHooks, open_installation
from gateway.store.allowances import Allowances
from gateway.store.facts import FactStore
from gateway.store.idempotency import IdempotencyStore
from gateway.store.senders import SenderStore
from gateway.store.singles import SingleStore
from gateway.systemd import ALIVE, READY, STOPPING, notify, watchdog_seconds

CANCEL_SECONDS: Final = 2.0  # of the drain: attempts still running then are cut and recorded as unknown
# Objects more than at the last search for cycles: with Python's 700 most of what a search finds is still in use, and
# searching took a twentieth of the time.
GARBAGE_MIN: Final = 10_000


async def serve(config: Config, environ: Mapping[str, str]) -> None:
    """Run until SIGTERM or SIGINT, then drain. Raises what keeps the daemon from starting, and what ended a loop."""
    log = structlog.get_logger("gateway.daemon")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with only_one(config.store_file):
        async with open_installation(config, hooks=TestHooks.read(environ)) as installation:
            await _refuse_open_door(installation)
            await installation.bulk_actions.clean_up()
            # Opened outside the group, so that a port in use is one plain error; closed before the drain.
            async with AsyncExitStack() as door:
                await door.enter_async_context(listening(installation))
                async with asyncio.TaskGroup() as group:
                    engine = group.create_task(installation.engine.run(), name="engine")
                    watchdog = group.create_task(_watchdog(), name="watchdog")
                    gc.freeze()  # what was built at start lives as long as the process
                    gc.set_threshold(GARBAGE_MIN)
                    notify(READY)
                    log.info("daemon_started", listen=config.server.listen, senders=len(config.senders))
                    await _until_stopped(stop, engine)
                    notify(STOPPING)
                    log.info("daemon_draining")
                    await door.aclose()
                    await installation.engine.drain(max(0.0, config.server.drain_seconds - CANCEL_SECONDS))
                    engine.cancel()
                    watchdog.cancel()
    log.info("daemon_stopped")


@asynccontextmanager
async def listening(installation: Installation) -> AsyncIterator[list[int]]:
    """Answer the API and the callbacks while the block runs; the ports (none for a Unix socket), the API's first."""
    config = installation.config
    authenticator = Authenticator(installation.keys, installation.catalogue, installation.clock)
    streams = EventStreams(installation.events, authenticator, installation.clock)
    routes = api_routes(_resources(installation, streams))
    doors = (
        CallbackDoor(installation.engine.intake, installation.catalogue, config.server.public_url),
        UnsubscribeDoor(installation.unsubscribing),
    )
    probes = {
        "store": installation.database.probe,
        "disk": installation.space.probe,
        "loops": installation.engine.probe,
    }
    app = build_app(
        routes,
        open_routes=health_routes(probes, installation.metrics),
        doors=doors,
        authenticator=authenticator,
        idempotency=Idempotency(IdempotencyStore(installation.database, installation.clock)),
        shortage=installation.space.shortage,
        hosts=loopback_hosts(config.server.public_url) if config.server.listen.is_loopback else None,
    )
    async with AsyncExitStack() as stack:
        ports = await stack.enter_async_context(_serving(app, config, "listen", config.server.listen))
        if config.server.public_listen is not None:
            public = build_public_app(doors)
            ports += await stack.enter_async_context(
                _serving(public, config, "public_listen", config.server.public_listen)
            )
        stack.callback(streams.close)  # they have no end of their own, and whoever stops serving waits for answers
        yield ports


@asynccontextmanager
async def _serving(app: web.Application, config: Config, key: str, listen: Listen) -> AsyncIterator[list[int]]:
    """Answer at one address; its ports. ConfigError names the setting if it cannot be listened on."""
    runner = build_runner(app)
    await runner.setup()
    try:
        try:
            await _site(runner, listen).start()
        except OSError as exc:
            detail = f"{listen} cannot be listened on: {exc.strerror or exc}. Is the daemon running already?"
            raise ConfigError([config.problem(("server", key), detail)]) from exc
        yield [address[1] for address in runner.addresses if isinstance(address, tuple)]
    finally:
        await runner.cleanup()


def _resources(installation: Installation, streams: EventStreams) -> Resources:
    database, catalogue, clock = installation.database, installation.catalogue, installation.clock
    allowances = Allowances(database, clock)
    caps = DailyCaps(allowances, catalogue, clock)
    stores = FactStore(database), SingleStore(database), SenderStore(database)
    return Resources(
        catalogue=catalogue,
        contacts=installation.contacts,
        erasure=installation.erasure,
        consent=installation.consent,
        ledger=installation.ledger,
        bulk_actions=installation.bulk_actions,
        log=installation.log,
        singles=installation.singles,
        control=installation.control,
        conversations=installation.conversations,
        templates=installation.templates,
        template_desk=installation.template_desk,
        template_trials=installation.template_trials,
        callbacks=installation.callbacks,
        events=installation.events,
        streams=streams,
        webhooks=installation.webhooks,
        keys=installation.keys,
        allowances=allowances,
        caps=caps,
        explainer=Explainer(catalogue, installation.engine.gatekeepers, *stores, caps, clock),
        creations_per_minute=installation.config.limits.creations_per_minute,
        version=version("dripgate"),
    )


def _site(runner: web.AppRunner, listen: Listen) -> web.BaseSite:
    if listen.path is not None:
        return web.UnixSite(runner, listen.path)
    return web.TCPSite(runner, listen.host, listen.port)


@contextmanager
def only_one(store_file: Path) -> Iterator[None]:
    """Hold the lock that says: this process sends from this database. StoreUnavailable if another one holds it."""
    path = store_file.with_name(f"{store_file.name}.lock")
    try:
        lock = path.open("a")
    except OSError as exc:
        raise StoreUnavailable(f"{path} cannot be written: {exc.strerror}.") from exc
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise StoreUnavailable(f"Another gateway is running on {store_file}: stop it first.") from exc
        yield


async def _refuse_open_door(installation: Installation) -> None:
    """A daemon that the network can reach and that nobody can use yet is a mistake."""
    listen = installation.config.server.listen
    if listen.is_loopback or await installation.keys.any():
        return
    detail = (
        f"{listen} is not loopback, and there is no API key yet: create one first "
        "(gateway key create --name NAME --permission admin)."
    )
    raise ConfigError([installation.config.problem(("server", "listen"), detail)])


async def _until_stopped(stop: asyncio.Event, engine: asyncio.Task[None]) -> None:
    """Return when told to stop, or when the engine ended: its error is the task group's to raise."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({stopping, engine}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()


async def _watchdog() -> None:
    """Tell systemd that the event loop turns, twice in each period that it allows."""
    period = watchdog_seconds()
    if period is None:
        return
    while True:
        notify(ALIVE)
        await asyncio.sleep(period / 2)
