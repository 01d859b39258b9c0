"""A contact's fields as they come in, and what a contact is after merging."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.contact_merge import NOTHING, ContactContent, merge, size_fault
from gateway.core.people import ATTRIBUTE_TEXT_MAX, DETAIL_MAX, SCALARS, TAGS_MAX, TEXT_MAX, ContactDraft, ContactReader


def handle(address: str, region: str | None) -> str:
    if not address.startswith("@"):
        raise ValueError(f"{address!r} is not a handle such as '@ada'")
    return address.lower()


READER = ContactReader("NG", {"signal": handle})


def read(**fields: Any) -> ContactDraft:
    draft, faults = READER.read(fields)
    assert faults == []
    return draft


def pointers(**fields: Any) -> list[str]:
    return [fault.pointer for fault in READER.read(fields)[1]]


def test_every_field_is_kept_in_its_one_spelling() -> None:
    draft = read(
        id=" m-1 ",
        name=" Ada  Lovelace ",
        email="Ada@EXAMPLE.org",
        phone="0803 123 4567",
        whatsapp="+1 (212) 555-2368",
        time_zone="Africa/Lagos",
        language="pt-BR",
        addresses={"signal": " @Ada "},
        tags=["b", " a ", "b"],
        attributes={"city": " Lagos ", "n": 1},
    )
    assert draft.public_id == "m-1"
    assert draft.scalars == {
        "name": "Ada  Lovelace",
        "email": "Ada@example.org",
        "phone": "+2348031234567",
        "whatsapp": "+12125552368",
        "time_zone": "Africa/Lagos",
        "language": "pt-BR",
    }
    assert draft.addresses == {"signal": "@ada"}
    assert draft.tags == frozenset({"a", "b"})
    assert draft.attributes == {"city": " Lagos ", "n": 1}


def test_blank_is_null_and_absent_is_neither() -> None:
    draft = read(name="  ", email="", phone=None, addresses={"signal": " "}, attributes={"x": " ", "y": None})
    assert draft.scalars == {"name": None, "email": None, "phone": None}
    assert (draft.addresses, draft.attributes) == ({"signal": None}, {"x": None, "y": None})
    assert (draft.tags, draft.public_id, draft.emptied) == (None, None, frozenset())


def test_null_for_a_whole_part_empties_it() -> None:
    draft = read(addresses=None, attributes=None, tags=None)
    assert draft.emptied == frozenset({"addresses", "attributes"})
    assert draft.tags == frozenset()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": 7}, ["/name"]),
        ({"name": "a\x00b"}, ["/name"]),
        ({"first_name": "a\nb"}, ["/first_name"]),
        ({"last_name": "\ud800"}, ["/last_name"]),
        ({"name": "x" * (TEXT_MAX + 1)}, ["/name"]),
        ({"email": "ada"}, ["/email"]),
        ({"email": "a\r\nb@c.example"}, ["/email"]),
        ({"phone": "12"}, ["/phone"]),
        ({"phone": "1" * 100_000}, ["/phone"]),
        ({"whatsapp": ["+2348031234567"]}, ["/whatsapp"]),
        ({"time_zone": "Mars/Olympus"}, ["/time_zone"]),
        ({"time_zone": "../../etc/passwd"}, ["/time_zone"]),
        ({"language": "English, please"}, ["/language"]),
        ({"id": ""}, ["/id"]),
        ({"id": 7}, ["/id"]),
        ({"id": "x" * 201}, ["/id"]),
        ({"id": "a\tb"}, ["/id"]),
        ({"id": ".."}, ["/id"]),
        ({"addresses": ["@ada"]}, ["/addresses"]),
        ({"addresses": {"signal": "ada"}}, ["/addresses/signal"]),
        ({"addresses": {"pigeon": "x", "a/b~c": "x"}}, ["/addresses/pigeon", "/addresses/a~1b~0c"]),
        ({"addresses": {"signal": 7}}, ["/addresses/signal"]),
        ({"addresses": {"signal": "@" * (TEXT_MAX + 1)}}, ["/addresses/signal"]),
        ({"tags": "a"}, ["/tags"]),
        ({"tags": ["a"] * (TAGS_MAX + 1)}, ["/tags"]),
        ({"tags": ["a", "", 7, "x" * 101, "a\nb"]}, ["/tags/1", "/tags/2", "/tags/3", "/tags/4"]),
        ({"attributes": []}, ["/attributes"]),
        ({"attributes": {f"a{n}": n for n in range(101)}}, ["/attributes"]),
        ({"attributes": {"": 1, "x" * 65: 1}}, ["/attributes/", f"/attributes/{'x' * 65}"]),
        ({"attributes": {"o": {}, "l": [[1]], "n": [None]}}, ["/attributes/o", "/attributes/l", "/attributes/n"]),
        ({"attributes": {"t": "x" * (ATTRIBUTE_TEXT_MAX + 1)}}, ["/attributes/t"]),
        ({"attributes": {"t": "\x00", "l": ["\ud800"]}}, ["/attributes/t", "/attributes/l"]),
        ({"attributes": {"i": 2**63, "f": float("inf")}}, ["/attributes/i", "/attributes/f"]),
        ({"email": "ada", "phone": "12", "tags": 1}, ["/email", "/phone", "/tags"]),
    ],
)
def test_every_fault_is_named_where_it_is(fields: dict[str, Any], expected: list[str]) -> None:
    assert pointers(**fields) == expected


def test_what_is_allowed_at_its_limit_is_allowed() -> None:
    read(
        id="x" * 200,
        name="x" * TEXT_MAX,
        tags=[str(number) for number in range(TAGS_MAX)],
        attributes={"i": 2**63 - 1, "n": -(2**63) + 1, "t": "a\nb", "l": ["a", 1, True, 0.5], "b": False},
    )


@settings(max_examples=50)
@given(st.text(min_size=200, max_size=2_000))
def test_a_fault_quotes_no_more_than_the_beginning_of_a_value(text: str) -> None:
    _, faults = READER.read(dict.fromkeys((*SCALARS, "id", "tags", "addresses", "attributes"), text))
    assert all(len(fault.detail) <= DETAIL_MAX + 3 for fault in faults)


ATTRIBUTES = st.dictionaries(st.sampled_from("xyz"), st.sampled_from([None, 1, True, "a", 1.0, [1], ["a"]]))
DRAFTS = st.builds(
    ContactDraft,
    scalars=st.dictionaries(st.sampled_from(SCALARS), st.sampled_from([None, "a", "b"])),
    addresses=st.dictionaries(st.sampled_from(["signal", "pigeon"]), st.sampled_from([None, "a", "b"])),
    tags=st.none() | st.frozensets(st.sampled_from("abc")),
    attributes=ATTRIBUTES,
    emptied=st.frozensets(st.sampled_from(["addresses", "attributes"])),
)


@given(DRAFTS, DRAFTS)
def test_merging_the_same_draft_twice_changes_nothing_the_second_time(first: ContactDraft, draft: ContactDraft) -> None:
    before = merge(NOTHING, first)
    after = merge(before, draft)
    assert merge(after, draft) is after


@given(DRAFTS, DRAFTS)
def test_after_a_replacing_draft_nothing_is_left_of_what_was_there(first: ContactDraft, draft: ContactDraft) -> None:
    put = draft.replacing()
    assert merge(merge(NOTHING, first), put) == merge(NOTHING, put)


@given(DRAFTS, DRAFTS)
def test_what_a_draft_does_not_name_stays(first: ContactDraft, draft: ContactDraft) -> None:
    before = merge(NOTHING, first)
    after = merge(before, draft)
    assert all(after.scalars[name] == before.scalars[name] for name in SCALARS if name not in draft.scalars)
    if "attributes" not in draft.emptied:
        assert {**before.attributes, **after.attributes}.keys() - draft.attributes.keys() == (
            before.attributes.keys() - draft.attributes.keys()
        )
    assert None not in after.attributes.values()
    assert after.tags == (before.tags if draft.tags is None else draft.tags)


def test_what_is_merged_is_bounded_in_all() -> None:
    def content(**attributes: object) -> ContactContent:
        return ContactContent(scalars=NOTHING.scalars, addresses={}, tags=frozenset(), attributes=attributes)

    assert size_fault(content(**{f"a{n}": "x" for n in range(100)})) is None
    many = size_fault(content(**{f"a{n}": "x" for n in range(101)}))
    long = size_fault(content(**{f"a{n}": ["x" * 4_000] * 5 for n in range(4)}))
    assert many is not None
    assert long is not None
    assert ("101 attributes" in many.detail, "characters" in long.detail) == (True, True)
