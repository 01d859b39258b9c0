"""Bulk operations on contacts: tags, attributes, deleting and restoring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway import ContactEdit, ContactView, Operation, Refusal, hookimpl

TAGS_MAX = 100  # of one operation
ATTRIBUTES_MAX = 100

Tag = Annotated[str, Meta(min_length=1, max_length=100, description="A tag, at most 100 characters.")]


class TagParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which tags."""

    tags: Annotated[list[Tag], Meta(min_length=1, max_length=TAGS_MAX)]


class AttributeParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which attributes get which values; null clears one, those not named stay."""

    attributes: Annotated[dict[str, str | int | float | bool | None], Meta(min_length=1, max_length=ATTRIBUTES_MAX)]


class NoParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to say."""


def _already(reason: str) -> Refusal:
    return Refusal(code="already_done", reason=reason)


class AddTags(Operation[TagParameters]):
    """Gives each contact the tags that it lacks."""

    name = "add_tags"
    title = "Add tags"
    parameters_type = TagParameters

    def apply(self, contact: ContactView, parameters: TagParameters) -> ContactEdit | Refusal:
        missing = frozenset(parameters.tags) - contact.tags
        return ContactEdit(add_tags=missing) if missing else _already("Has these tags already")


class RemoveTags(Operation[TagParameters]):
    """Takes the tags from each contact that has any of them."""

    name = "remove_tags"
    title = "Remove tags"
    parameters_type = TagParameters

    def apply(self, contact: ContactView, parameters: TagParameters) -> ContactEdit | Refusal:
        present = frozenset(parameters.tags) & contact.tags
        return ContactEdit(remove_tags=present) if present else _already("Has none of these tags")


class SetAttributes(Operation[AttributeParameters]):
    """Sets attributes; null clears one."""

    name = "set_attributes"
    title = "Set attributes"
    parameters_type = AttributeParameters

    def check(self, parameters: AttributeParameters) -> Sequence[str]:
        return [f"{name!r} is no name for an attribute" for name in parameters.attributes if not name.strip()]

    def apply(self, contact: ContactView, parameters: AttributeParameters) -> ContactEdit | Refusal:
        changed = _changed(contact.attributes, parameters.attributes)
        return ContactEdit(attributes=changed) if changed else _already("Has these values already")


class DeleteContacts(Operation[NoParameters]):
    """Deletes each contact; it can be restored for thirty days."""

    name = "delete_contacts"
    title = "Delete contacts"
    parameters_type = NoParameters
    reaches_deleted = True

    def apply(self, contact: ContactView, parameters: NoParameters) -> ContactEdit | Refusal:
        return _already("Is deleted already") if contact.deleted else ContactEdit(deleted=True)


class RestoreContacts(Operation[NoParameters]):
    """Brings deleted contacts back."""

    name = "restore_contacts"
    title = "Restore contacts"
    parameters_type = NoParameters
    reaches_deleted = True

    def apply(self, contact: ContactView, parameters: NoParameters) -> ContactEdit | Refusal:
        return ContactEdit(deleted=False) if contact.deleted else _already("Is not deleted")


def _changed(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in wanted.items() if present.get(name) != value}


@hookimpl
def gateway_operations() -> Sequence[type[Operation[Any]]]:
    return [AddTags, RemoveTags, SetAttributes, DeleteContacts, RestoreContacts]
