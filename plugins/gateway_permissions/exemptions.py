"""What is written at any time and as often as it must be: replies, and what the settings exempt."""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway import Facts


class Exemptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys that quiet hours and the frequency cap share."""

    exempt_categories: tuple[str, ...] = ("transactional",)
    """Messages of these leave at any time, and as often as they must."""
    exempt_sources: tuple[Literal["bulk_action", "api", "campaign"], ...] = ()
    """What else leaves, beside replies, for which somebody is waiting."""

    def spare(self, facts: Facts) -> bool:
        """Whether this message is none of the policy's business."""
        return (
            facts.source == "reply" or facts.source in self.exempt_sources or facts.category in self.exempt_categories
        )
