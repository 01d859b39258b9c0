"""The loop that runs bulk operations on contacts: everything but `send_message`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import structlog

from gateway.clock import Clock
from gateway.contract import Operation, Refusal
from gateway.core.drip import claimable
from gateway.core.ids import ActionId
from gateway.core.schedule import Schedule
from gateway.core.states import RecipientEvent
from gateway.engine.catalogue import Catalogue
from gateway.errors import StoreUnavailable
from gateway.store.operations import Done, OperatingAction, OperationStore, Subject

POLL: Final = timedelta(seconds=1)


class Operations:
    """Runs until cancelled; the actions take turns, a chunk of contacts each."""

    def __init__(self, store: OperationStore, catalogue: Catalogue, clock: Clock, look: Callable[[], None]) -> None:
        self._store = store
        self._catalogue = catalogue
        self._clock = clock
        self._look = look
        self._floors: dict[ActionId, int] = {}  # where to read on; only saves reading what is done
        self._nudge = asyncio.Event()
        self._log = structlog.get_logger("gateway.operations")

    def wake(self) -> None:
        """There may be work."""
        self._nudge.set()

    async def run(self) -> None:
        while True:
            worked = False
            try:
                for action in await self._store.running():
                    worked = await self._work(action, self._clock.now()) or worked
            except StoreUnavailable as exc:
                self._log.warning("store_unavailable", detail=str(exc))
            if not worked:
                await self._clock.wait(self._nudge, self._clock.now() + POLL)

    async def _work(self, action: OperatingAction, now: datetime) -> bool:
        """One chunk of one action. True if somebody was settled."""
        schedule = msgspec.json.decode(action.schedule, type=Schedule)
        operation = self._catalogue.operations.get(action.operation)
        if operation is None:
            return False  # its plugin is gone: it waits
        found = await self._next(action, dripped=schedule.mode == "drip")
        subjects = [subject for subject in found if claimable(schedule, now, subject.zone)]
        if not subjects:
            return False  # nobody is left, or the window has closed: they wait
        parameters = msgspec.convert(action.parameters, operation.parameters_type)
        done = [self._apply(operation, parameters, subject) for subject in subjects]
        settled = await self._store.record(action.id, done, now)
        self._look()
        return settled > 0

    async def _next(self, action: OperatingAction, *, dripped: bool) -> tuple[Subject, ...]:
        """The next chunk. At the end it starts once more at the first: somebody may have changed in the meantime."""
        floor = self._floors.get(action.id, 0)
        subjects = await self._store.subjects(action.id, floor, dripped=dripped)
        if not subjects and floor:
            subjects = await self._store.subjects(action.id, 0, dripped=dripped)
        self._floors[action.id] = subjects[-1].seq if subjects else 0
        return subjects

    def _apply(self, operation: Operation[Any], parameters: msgspec.Struct, subject: Subject) -> Done:
        if subject.contact is None:
            return Done(subject=subject, event=RecipientEvent.FAIL, code="contact_not_found")
        if subject.contact.deleted and not operation.reaches_deleted:
            return Done(subject=subject, event=RecipientEvent.REFUSE, code="contact_deleted")
        try:
            answer = operation.apply(subject.contact, parameters)
        # An operation is a stranger's code: what it raises fails this recipient and leaves the contact as it is.
        except Exception as exc:  # noqa: BLE001
            self._log.error(
                "operation_raised", operation=operation.name, error=type(exc).__name__, exc_info=exc, may_quote=True
            )
            return Done(
                subject=subject,
                event=RecipientEvent.FAIL,
                code="operation_error",
                reason=f"{type(exc).__name__}: {exc}",
            )
        if isinstance(answer, Refusal):
            event = RecipientEvent.FAIL if answer.failed else RecipientEvent.REFUSE
            return Done(subject=subject, event=event, code=answer.code, reason=answer.reason)
        return Done(subject=subject, event=RecipientEvent.SUCCEED, edit=answer)
