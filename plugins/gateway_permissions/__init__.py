"""Who may do what, and when people may be written to: permissions, quiet hours and a frequency cap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway import Policy, hookimpl
from gateway_permissions.access import KeysAndRoles
from gateway_permissions.frequency_cap import FrequencyCap
from gateway_permissions.quiet_hours import QuietHours


@hookimpl
def gateway_policies() -> Sequence[type[Policy[Any]]]:
    return [KeysAndRoles, QuietHours, FrequencyCap]
