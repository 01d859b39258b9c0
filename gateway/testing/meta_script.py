"""What a test tells the Meta simulator while it runs: where webhooks go, and what goes wrong."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.testing.meta_webhooks import Poster
from gateway.testing.provider_faults import Fault, FaultPlan, ReceiptTrouble, Troublemaker


class MetaScript:
    """The part of the simulator that is set, not asked. Every setting may be changed at any time."""

    def __init__(self, app_secret: str, callback_base: str | None) -> None:
        self._poster = Poster(app_secret)
        self._poster.base = callback_base
        self._faults = FaultPlan(())
        self._trouble = Troublemaker(ReceiptTrouble())

    @property
    def callback_base(self) -> str | None:
        """What replaces the origin of the webhook: a gateway under test knows its port only when it runs."""
        return self._poster.base

    @callback_base.setter
    def callback_base(self, base: str | None) -> None:
        self._poster.base = base

    @property
    def answers(self) -> Sequence[int | None]:
        """What webhooks were answered, each try."""
        return self._poster.answers

    @property
    def faults(self) -> Sequence[Fault]:
        """What goes wrong with requests. Setting it starts the counters again."""
        return self._faults.faults

    @faults.setter
    def faults(self, faults: Sequence[Fault]) -> None:
        self._faults = FaultPlan(faults)

    @property
    def receipt_trouble(self) -> ReceiptTrouble:
        """What goes wrong with statuses."""
        return self._trouble.trouble

    @receipt_trouble.setter
    def receipt_trouble(self, trouble: ReceiptTrouble) -> None:
        self._trouble = Troublemaker(trouble)

    async def drained(self) -> None:
        """Return when every webhook that is not held back has been answered or given up."""
        await self._poster.drained()
