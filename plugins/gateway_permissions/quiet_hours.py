"""Nobody is written to at night: what falls into the quiet hours of the recipient's day leaves when they are over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec

from gateway import Allow, Defer, Facts, Known, SendPolicy, SettingFault, Verdict
from gateway_permissions.exemptions import Exemptions
from gateway_permissions.hours import Hours


class OrgHours(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[plugins.quiet_hours.orgs.NAME]`: what is otherwise in one org."""

    between: Hours | None = None
    """The org's hours; unset: the general ones."""
    channels: dict[str, Hours] = {}
    """The org's hours on some channels."""


class QuietHoursSettings(Exemptions, frozen=True, forbid_unknown_fields=True):
    """The table `[plugins.quiet_hours]`. Of several hours the most particular are taken: see `hours_for`."""

    between: Hours | None = None
    """`["21:00", "08:00"]`; none by default."""
    channels: dict[str, Hours] = msgspec.field(default_factory=dict)
    """Other hours on some channels; `[]` for none."""
    orgs: dict[str, OrgHours] = msgspec.field(default_factory=dict)
    """Other hours of some orgs, by the names in gateway.toml."""

    def hours_for(self, org: str, channel: str) -> Hours | None:
        """Those of the channel in the org, else of the org, else of the channel, else the general ones."""
        own = self.orgs.get(org, OrgHours())
        for found in (own.channels.get(channel), own.between, self.channels.get(channel), self.between):
            if found is not None:
                return found
        return None


class QuietHours(SendPolicy[QuietHoursSettings]):
    """Defers, never skips.

    Where the time zone is known by the number's region only, and the region has several, it must be quiet in none of
    them. Regions that are never all awake at once (the numbers of +1 that belong to no place, with long quiet hours)
    are judged by the org's own zone.
    """

    name = "quiet_hours"
    settings_type = QuietHoursSettings
    needs: ClassVar[frozenset[str]] = frozenset({"time_zones"})

    @property
    def active(self) -> bool:
        """Any hours are set anywhere."""
        settings = self.settings
        every = [settings.between, *settings.channels.values()]
        for org in settings.orgs.values():
            every += [org.between, *org.channels.values()]
        return any(every)

    def faults(self, known: Known) -> Sequence[SettingFault]:
        """Hours for an org or a channel that is misspelt would hold nobody."""
        settings = self.settings
        faults = _unknown_channels(settings.channels, known, ())
        for name, org in settings.orgs.items():
            if name not in known.orgs:
                detail = f"There is no org {name!r}; configured: {sorted(known.orgs)}."
                faults.append(SettingFault(keys=("orgs", name), detail=detail))
            faults += _unknown_channels(org.channels, known, ("orgs", name))
        return faults

    def judge(self, facts: Facts) -> Verdict:
        hours = self.settings.hours_for(facts.org, facts.channel)
        if not hours or self.settings.spare(facts):
            return Allow()
        zones: Sequence[str] = facts.time_zones
        free = hours.free_at(facts.now, zones)
        if free is None:
            zones = (facts.time_zone,)
            free = hours.free_at(facts.now, zones)
        if free is None or free <= facts.now:
            return Allow()
        quiet = next(zone for zone in zones if hours.over_at(facts.now, zone) is not None)
        return Defer(until=free, reason=f"Quiet hours are from {hours.text} where the recipient is ({quiet})")


def _unknown_channels(named: Mapping[str, Hours], known: Known, at: tuple[str, ...]) -> list[SettingFault]:
    return [
        SettingFault(
            keys=(*at, "channels", name),
            detail=f"There is no channel {name!r}; installed: {sorted(known.channels)}.",
        )
        for name in named
        if name not in known.channels
    ]
