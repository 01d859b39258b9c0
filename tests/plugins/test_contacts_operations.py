"""Operations on contacts: what they change, and `already_done` where they would change nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway import ContactEdit, ContactView, Operation, Refusal
from gateway_contacts import AddTags, DeleteContacts, RemoveTags, RestoreContacts, SetAttributes


def contact(**fields: Any) -> ContactView:
    names = ("name", "first_name", "last_name", "email", "phone", "whatsapp", "time_zone", "language")
    values: dict[str, Any] = dict.fromkeys(names)
    values |= {"id": "m-1", "addresses": {}, "tags": frozenset(), "attributes": {}, "deleted": False}
    return ContactView(**values | fields)


def apply(operation: Operation[Any], parameters: dict[str, Any], **fields: Any) -> ContactEdit | Refusal:
    return operation.apply(contact(**fields), msgspec.convert(parameters, operation.parameters_type))


def test_adding_tags_adds_only_those_that_are_missing() -> None:
    answer = apply(AddTags(), {"tags": ["a", "b"]}, tags=frozenset({"a"}))
    assert answer == ContactEdit(add_tags=frozenset({"b"}))


def test_removing_tags_removes_only_those_that_are_there() -> None:
    answer = apply(RemoveTags(), {"tags": ["a", "b"]}, tags=frozenset({"a", "c"}))
    assert answer == ContactEdit(remove_tags=frozenset({"a"}))


def test_setting_attributes_writes_only_what_differs_and_null_clears() -> None:
    answer = apply(SetAttributes(), {"attributes": {"a": 1, "b": None, "c": "x"}}, attributes={"a": 1, "b": 2})
    assert answer == ContactEdit(attributes={"b": None, "c": "x"})


def test_deleting_and_restoring() -> None:
    assert apply(DeleteContacts(), {}) == ContactEdit(deleted=True)
    assert apply(RestoreContacts(), {}, deleted=True) == ContactEdit(deleted=False)


@pytest.mark.parametrize(
    ("operation", "parameters", "fields"),
    [
        (AddTags(), {"tags": ["a"]}, {"tags": frozenset({"a"})}),
        (RemoveTags(), {"tags": ["a"]}, {}),
        (SetAttributes(), {"attributes": {"a": 1}}, {"attributes": {"a": 1}}),
        (SetAttributes(), {"attributes": {"a": None}}, {}),
        (DeleteContacts(), {}, {"deleted": True}),
        (RestoreContacts(), {}, {}),
    ],
)
def test_where_nothing_would_change_the_recipient_is_skipped(
    operation: Operation[Any], parameters: dict[str, Any], fields: dict[str, Any]
) -> None:
    answer = apply(operation, parameters, **fields)
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.failed) == ("already_done", False)


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        (AddTags, {"tags": []}),
        (AddTags, {"tags": [""]}),
        (AddTags, {"tag": ["a"]}),
        (SetAttributes, {"attributes": {}}),
        (SetAttributes, {"attributes": {"a": {"b": 1}}}),
        (DeleteContacts, {"sure": True}),
    ],
)
def test_parameters_are_held_to_their_types(operation: type[Operation[Any]], parameters: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(parameters, operation.parameters_type)


def test_an_attribute_needs_a_name() -> None:
    operation = SetAttributes()
    parameters = msgspec.convert({"attributes": {" ": 1}}, operation.parameters_type)
    assert operation.check(parameters) == ["' ' is no name for an attribute"]
