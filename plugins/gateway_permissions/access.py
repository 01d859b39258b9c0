"""Who may do what: an API key's own list of permissions, and the roles of `[plugins.permissions.roles]`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import msgspec

from gateway import AccessPolicy, Caller, Known, SettingFault


class PermissionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[plugins.permissions]`."""

    roles: dict[str, list[str]] = {}
    """What each role may do: `secretary = ["members.read", "messaging.read"]`."""


class KeysAndRoles(AccessPolicy[PermissionSettings]):
    """A caller may do what its key lists, and what any of its roles lists."""

    name = "permissions"
    settings_type = PermissionSettings

    def faults(self, known: Known) -> Sequence[SettingFault]:
        """A permission that is misspelt would be missing only when somebody needs it."""
        return [
            SettingFault(keys=("roles", role), detail=_unknown(permission, known.permissions))
            for role, permissions in self.settings.roles.items()
            for permission in permissions
            if permission not in known.permissions
        ]

    def permits(self, caller: Caller, permission: str) -> bool:
        if permission in caller.permissions:
            return True
        return any(permission in self.settings.roles.get(role, ()) for role in caller.roles)


def _unknown(permission: str, known: frozenset[str]) -> str:
    near = difflib.get_close_matches(permission, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(known))}."
    return f"There is no permission {permission!r}; {hint}"
