"""What a bulk action would come to, before it is created."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.clock import Clock
from gateway.contract import Channel
from gateway.core.forecast import Forecast
from gateway.core.ids import MessageId
from gateway.core.template import MissingVariable, TemplateFault
from gateway.engine.composing import Composer, ContentPolicyFailed
from gateway.engine.contents import CheckedContent
from gateway.engine.creation import Checked, warnings_of
from gateway.engine.outlook import BATCHES_DEFAULT, Outlook
from gateway.store.previews import Sight


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a request would come to. `unreachable`: (code, number, up to 20 names).

    `segments`: units that the provider counts, estimated from some of the reachable; None where it counts messages.
    """

    total: int
    reachable: int
    unreachable: Sequence[tuple[str, int, Sequence[str]]]
    segments: int | None
    forecast: Forecast
    channel: Channel | None
    warnings: Sequence[Mapping[str, Any]]


class Previewing:
    """Makes previews of requests that have passed every check. One for the life of the daemon; it keeps nothing."""

    def __init__(self, outlook: Outlook, composer: Composer, clock: Clock) -> None:
        self._outlook = outlook
        self._composer = composer
        self._clock = clock

    async def preview(self, checked: Checked) -> Preview:
        """`checked` must have looked at everybody."""
        sight, schedule = checked.sight, checked.schedule
        own_zones = schedule.drip is not None and schedule.drip.time_zone_mode == "contact"
        waiting: Mapping[str, Sequence[int]] = sight.zones if own_zones else {"": range(sight.reachable)}
        sender = checked.content.sender if checked.content else None
        return Preview(
            total=sight.total,
            reachable=sight.reachable,
            unreachable=[
                (code, number, tuple(sight.samples.get(code, ()))) for code, number in sight.codes.most_common()
            ],
            segments=None if checked.content is None else self._segments(checked.content, sight),
            forecast=await self._outlook.of_new(
                schedule,
                waiting,
                sender,
                self._clock.now(),
                BATCHES_DEFAULT,
            ),
            channel=sender.channel if sender else None,
            warnings=warnings_of(checked),
        )

    def _segments(self, content: CheckedContent, sight: Sight) -> int | None:
        """The mean over the sample, for everybody."""
        if not content.sender.charges_by_unit:
            return None
        compiled = self._composer.compile(content.content)
        costs = []
        for values in sight.reached:
            try:
                outbound = compiled.render(MessageId(0), 1, "", compiled.frozen(values))
            except (MissingVariable, TemplateFault, ContentPolicyFailed):
                continue  # it will fail or wait by itself, and costs nothing
            costs.append(content.sender.adapter.cost(outbound))
        return math.ceil(sum(costs) / len(costs) * sight.reachable) if costs else 0
