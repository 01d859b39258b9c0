"""Cursors and revisions."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contract import Caller
from gateway.core.ids import OrgId
from gateway.errors import Invalid, Refused
from gateway.http.paging import check_if_match, cursor_of, etag, key_of, page
from gateway.http.routing import Call


def a_call(headers: Mapping[str, str]) -> Call:
    caller = Caller(key_id="gwk_a", org="default", permissions=frozenset(), roles=frozenset(), acting_for=None)
    return Call(caller=caller, org=OrgId(1), path={}, headers=headers, require=lambda *permissions: None)


@given(st.integers(0, 2**63 - 1), st.text(st.characters(exclude_categories=["Cs"])))
@settings(max_examples=50)
def test_a_cursor_carries_its_key(number: int, text: str) -> None:
    cursor = cursor_of(number, text)
    assert cursor.isascii()
    assert not set(cursor) & set("+/=&?#")
    assert key_of(cursor, tuple[int, str]) == (number, text)


def forged(json: bytes) -> str:
    return base64.urlsafe_b64encode(json).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "!!!!",
        "é",
        forged(b"[1]"),
        forged(b'["1","a"]'),
        forged(b'{"a":1}'),
        forged(b'[1,"a",2]'),
        forged(b'[9223372036854775808,"a"]'),
        forged(b'[-1,"a"]'),
        forged(b'[1,"\\ud800"]'),
        forged(b"[1,"),
    ],
)
def test_what_is_no_cursor_of_the_list_is_refused_by_name(cursor: str) -> None:
    with pytest.raises(Invalid) as caught:
        key_of(cursor, tuple[int, str])
    assert caught.value.problems[0].pointer == "?cursor"


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40))
@settings(max_examples=200)
def test_no_text_as_a_cursor_raises_anything_else(text: str) -> None:
    try:
        key_of(text, tuple[int])
    except Invalid:
        return
    assert key_of(text, tuple[int]) is not None


@pytest.mark.parametrize(("found", "items", "more"), [(0, 0, False), (2, 2, False), (3, 3, False), (4, 3, True)])
def test_there_is_a_next_page_only_if_one_more_was_found(found: int, items: int, more: bool) -> None:
    shown = page(list(range(found)), 3, str, lambda row: (row,))
    assert len(shown.items) == items
    assert (shown.next_cursor is not None) is more
    if more:
        assert key_of(shown.next_cursor, tuple[int]) == (2,)


@pytest.mark.parametrize(
    "headers", [{}, {"if-match": "*"}, {"if-match": '"3"'}, {"if-match": 'W/"3"'}, {"if-match": '"1", "3"'}]
)
def test_an_edit_goes_on_if_the_revision_is_the_one_meant(headers: Mapping[str, str]) -> None:
    check_if_match(a_call(headers), 3)
    assert etag(3) == '"3"'


@pytest.mark.parametrize("given_tag", ['"2"', '"33"', '"1", "2"', "", "x"])
def test_an_edit_of_another_revision_is_refused_with_the_present_one(given_tag: str) -> None:
    with pytest.raises(Refused) as caught:
        check_if_match(a_call({"if-match": given_tag}), 3)
    assert caught.value.code == "revision_mismatch"
    assert caught.value.more == {"revision": 3}
