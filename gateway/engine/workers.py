"""W long-lived coroutines that call one sender's adapter: no task is made for a message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import structlog

from gateway.contract import Accepted, NotSent, Outcome, Unknown
from gateway.engine.catalogue import Sender
from gateway.engine.crash import CrashPoints
from gateway.engine.gatekeeper import Prepared
from gateway.engine.metrics import SendMetrics
from gateway.engine.rulings import Unreached


class Attempt(NamedTuple):
    """One call of the adapter that ended."""

    prepared: Prepared
    outcome: Outcome | Unreached


class Workers:
    """Takes messages whose intent is on disk, and keeps what came back until the next turn records it."""

    def __init__(self, sender: Sender, crash: CrashPoints, metrics: SendMetrics, ended: Callable[[], None]) -> None:
        """`ended` is called after each attempt."""
        self._sender = sender
        self._crash = crash
        self._metrics = metrics
        self._ended = ended
        self._jobs: asyncio.Queue[Prepared] = asyncio.Queue()
        self._finished: list[Attempt] = []
        self._log = structlog.get_logger("gateway.workers").bind(sender=sender.name)

    def submit(self, prepared: Prepared) -> None:
        """Hand over one message; its intent is committed."""
        self._jobs.put_nowait(prepared)

    def take_finished(self) -> list[Attempt]:
        """The attempts that have ended since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def put_back(self, attempts: list[Attempt]) -> None:
        """They could not be recorded; the next turn tries again."""
        self._finished = attempts + self._finished

    async def run(self) -> None:
        """One worker, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            prepared = await self._jobs.get()
            started = loop.time()
            outcome = await self._attempt(prepared)
            self._crash.passed("provider_answered")
            self._metrics.answered(self._sender.name, outcome, loop.time() - started)
            self._finished.append(Attempt(prepared, outcome))
            self._ended()

    async def _attempt(self, prepared: Prepared) -> Outcome | Unreached:
        deadline = self._sender.deadline.total_seconds()
        try:
            async with asyncio.timeout(deadline):
                return Accepted() if self._sender.dry_run else await self._sender.adapter.send(prepared.outbound)
        except NotSent as exc:
            return Unreached(reason=str(exc) or "the provider could not be reached")
        except TimeoutError:
            return Unknown(reason=f"no answer within {deadline:g} s")
        # Whatever else an adapter raises, the message may have left: that is `unknown`, never `failed`.
        except Exception as exc:  # noqa: BLE001
            self._log.error("adapter_raised", error=type(exc).__name__, exc_info=exc)
            return Unknown(reason=f"the adapter raised {type(exc).__name__}")
