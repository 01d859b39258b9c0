"""A template's shape: what its details and the names of its parameters tell, whatever stands there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import TemplateUse
from gateway_whatsapp.messages import payload
from gateway_whatsapp.template_use import Shape, in_order, media_header
from tests.plugins.whatsapp.harness import PERSON, cloud, make_message


def shape(parameters: dict[str, str], **details: Any) -> Shape:
    return Shape.of(TemplateUse("order_update", "en_US", parameters, details))


def test_parameters_are_sorted_into_their_parts() -> None:
    found = shape(
        {"button.1": "x", "2": "b", "header.1": "h", "1": "a"}, named=False, header="text", buttons={"1": "url"}
    )
    assert found == Shape(
        known=True,
        named=False,
        media_header=None,
        header_parameters=(("1", "h"),),
        body_parameters=(("1", "a"), ("2", "b")),
        button_parameters=(("1", "url", "x"),),
        unsupported=None,
    )


@pytest.mark.parametrize(
    ("parameters", "named"),
    [({}, False), ({"1": "a"}, False), ({"name": "a"}, True), ({"1": "a", "header.day": "b"}, True)],
)
def test_without_details_the_names_tell(parameters: dict[str, str], named: bool) -> None:
    found = shape(parameters)
    assert (found.known, found.named) == (False, named)


def test_a_button_does_not_make_a_template_named() -> None:
    assert shape({"1": "a", "button.0": "b"}).named is False
    assert shape({"1": "a"}, named=True).named is True, "what the list said counts more than the names"


@pytest.mark.parametrize(
    ("kind", "read"),
    [("image", "image"), ("video", "video"), ("document", "document"), ("text", None), ("location", None), ([], None)],
)
def test_a_header_may_be_a_file(kind: object, read: str | None) -> None:
    assert media_header(kind) == read
    assert shape({}, header=kind).media_header == read


@pytest.mark.parametrize("buttons", [None, [], "url", {"0": []}, {"0": {}}, {"0": "flow"}, {"1": "copy_code"}])
def test_a_button_of_no_known_kind_is_a_url(buttons: object) -> None:
    assert shape({"button.0": "x"}, buttons=buttons).button_parameters == (("0", "url", "x"),)


@pytest.mark.parametrize("unsupported", [None, "", 7, ["carousel"]])
def test_what_is_no_sentence_forbids_nothing(unsupported: object) -> None:
    assert shape({}, unsupported=unsupported).unsupported is None


def test_numbers_come_by_their_value_and_names_as_they_are() -> None:
    pairs = [("b", "1"), ("10", "2"), ("a", "3"), ("2", "4"), ("9" * 5_000, "5"), ("\N{SUPERSCRIPT TWO}", "6")]
    assert [name for name, _ in in_order(pairs)] == ["2", "10", "b", "a", "9" * 5_000, "\N{SUPERSCRIPT TWO}"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
names = st.text(max_size=8) | st.sampled_from(["1", "button.0", "button.", "header.1", "header.", "."])


@given(
    st.dictionaries(names, st.text(max_size=20), max_size=4),
    st.dictionaries(st.sampled_from(["named", "header", "buttons", "unsupported", "other"]), json_values),
)
def test_any_details_and_parameters_are_survived(parameters: dict[str, str], details: dict[str, Any]) -> None:
    message = make_message(PERSON, None, template=TemplateUse("order_update", "en_US", parameters, details))
    assert payload(message, link_previews=False)["type"] == "template"
    assert cloud().refuse(message) == cloud().refuse(message)
    found = Shape.of(message.template or TemplateUse("", "", {}))
    parts = (*found.header_parameters, *found.body_parameters, *found.button_parameters)
    assert len(parts) == len(parameters), "no value is lost"
