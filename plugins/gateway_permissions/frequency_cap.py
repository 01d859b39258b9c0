"""Nobody is written to too often: who has had enough messages in a day or a week is skipped."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

import msgspec

from gateway import Allow, Deny, Facts, SendPolicy, Verdict
from gateway_permissions.exemptions import Exemptions

Most = Annotated[int, msgspec.Meta(ge=1, le=100_000)]

CODE: Final = "frequency_cap"


class FrequencyCapSettings(Exemptions, frozen=True, forbid_unknown_fields=True):
    """The table `[plugins.frequency_cap]`."""

    per_day: Most | None = None
    """Messages to one person in any 24 hours; no limit by default."""
    per_week: Most | None = None
    """In any 7 days."""
    per_channel: bool = False
    """True: each channel is counted by itself. False: all together."""


class FrequencyCap(SendPolicy[FrequencyCapSettings]):
    """Counts every message that went to the person; refuses those that are not exempt."""

    name = "frequency_cap"
    settings_type = FrequencyCapSettings
    needs: ClassVar[frozenset[str]] = frozenset({"sent_counts"})

    @property
    def active(self) -> bool:
        """Any limit is set."""
        return self.settings.per_day is not None or self.settings.per_week is not None

    def judge(self, facts: Facts) -> Verdict:
        settings = self.settings
        if settings.spare(facts):
            return Allow()
        if settings.per_channel:
            day, week = facts.sent_last_day_on_channel, facts.sent_last_week_on_channel
        else:
            day, week = facts.sent_last_day, facts.sent_last_week
        for sent, most, period in ((day, settings.per_day, "24 hours"), (week, settings.per_week, "7 days")):
            if most is not None and sent >= most:
                return Deny(CODE, _sentence(sent, most, period, on_channel=settings.per_channel))
        return Allow()


def _sentence(sent: int, most: int, period: str, *, on_channel: bool) -> str:
    where = " on this channel" if on_channel else ""
    messages = "1 message" if sent == 1 else f"{sent} messages"
    return f"Has had {messages}{where} in the last {period}; the most is {most}"
