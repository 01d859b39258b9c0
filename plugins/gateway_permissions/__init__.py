"""Who may do what: an API key's own list of permissions, and the roles of `[plugins.permissions.roles]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway import AccessPolicy, Caller, Policy, hookimpl


class PermissionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[plugins.permissions]`."""

    roles: dict[str, list[str]] = {}
    """What each role may do: `secretary = ["members.read", "messaging.read"]`."""


class KeysAndRoles(AccessPolicy[PermissionSettings]):
    """A caller may do what its key lists, and what any of its roles lists."""

    name = "permissions"
    settings_type = PermissionSettings

    def permits(self, caller: Caller, permission: str) -> bool:
        if permission in caller.permissions:
            return True
        return any(permission in self.settings.roles.get(role, ()) for role in caller.roles)


@hookimpl
def gateway_policies() -> Sequence[type[Policy[Any]]]:
    return [KeysAndRoles]
