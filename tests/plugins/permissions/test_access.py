"""A caller may do what its key lists and what its roles list, and nothing else."""

from __future__ import annotations

from gateway import Caller, Known, SettingFault
from gateway_permissions.access import KeysAndRoles, PermissionSettings

POLICY = KeysAndRoles(PermissionSettings(roles={"secretary": ["members.read"], "editor": ["members.edit"]}))


def caller(*permissions: str, roles: tuple[str, ...] = ()) -> Caller:
    return Caller(
        key_id="gwk_1", org="default", permissions=frozenset(permissions), roles=frozenset(roles), acting_for=None
    )


def test_a_key_may_do_what_it_lists() -> None:
    assert POLICY.permits(caller("messaging.send"), "messaging.send")
    assert not POLICY.permits(caller("messaging.send"), "members.edit")


def test_a_role_gives_what_the_configuration_says() -> None:
    assert POLICY.permits(caller(roles=("secretary",)), "members.read")
    assert not POLICY.permits(caller(roles=("secretary",)), "members.edit")
    assert POLICY.permits(caller(roles=("secretary", "editor")), "members.edit")


def test_a_role_that_nobody_configured_gives_nothing() -> None:
    assert not POLICY.permits(caller(roles=("stranger",)), "members.read")


def test_without_anything_nothing_is_permitted() -> None:
    assert not POLICY.permits(caller(), "members.read")


def test_permissions_that_do_not_exist_are_all_named() -> None:
    known = Known(orgs=frozenset(), channels=frozenset(), permissions=frozenset({"members.read", "members.edit"}))
    policy = KeysAndRoles(PermissionSettings(roles={"a": ["member.read", "members.edit"], "b": ["fly"]}))
    assert policy.faults(known) == [
        SettingFault(keys=("roles", "a"), detail="There is no permission 'member.read'; did you mean 'members.read'?"),
        SettingFault(
            keys=("roles", "b"), detail="There is no permission 'fly'; there are: members.edit, members.read."
        ),
    ]
    assert POLICY.faults(known) == []
