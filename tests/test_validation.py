"""Typed values out of plain data: every fault at once, each with its pointer and a sentence that helps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from gateway.errors import Invalid, Refused
from gateway.validation import PROBLEMS_MAX, convert, decode_json

T = TypeVar("T")
Quantity = Annotated[int, Meta(ge=1, le=10_000)]
Label = NewType("Label", str)


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Drip(Strict, frozen=True, kw_only=True):
    batch_quantity: Quantity
    repeat_after: str
    send_on: Annotated[tuple[Literal["mon", "tue", "wed"], ...], Meta(min_length=1)] = ("mon",)
    process_between: tuple[str, str] | None = None


class Email(Strict, frozen=True, kw_only=True, tag_field="kind", tag="email"):
    to: Annotated[str, Meta(min_length=3, max_length=10)]


class Text(Strict, frozen=True, kw_only=True, tag_field="kind", tag="text"):
    to: Annotated[str, Meta(pattern=r"^\+[0-9]+$", extra={"expected": 'a number such as "+15551230000"'})]


class Window(Strict, frozen=True, kw_only=True):
    start: int
    end: int

    def __post_init__(self) -> None:
        if self.start == self.end:
            raise ValueError("Start and end must differ.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    x: float
    y: float = 0.0


class Box(Strict, Generic[T], frozen=True, kw_only=True):
    content: T


class Mask(str):
    """A text that must not be shown."""

    def __repr__(self) -> str:
        return "***"


class Even(int):
    @classmethod
    def parse(cls, value: object) -> Even:
        if not isinstance(value, int) or value % 2:
            raise ValueError(f"Must be even, not {value}.")
        return cls(value)


class Everything(Strict, frozen=True, kw_only=True):
    number: int = 0
    ratio: float = 0.0
    flag: bool = False
    name: str = ""
    label: Label = Label("")
    when: datetime | None = None
    color: Color = Color.RED
    drip: Drip | None = None
    target: Email | Text | None = None
    point: Point | None = None
    window: Window | None = None
    box: Box[int] | None = None
    tags: frozenset[str] = frozenset()
    weights: Mapping[str, Annotated[float, Meta(ge=0)]] = {}
    points: Sequence[Point] = ()
    even: Even | None = None
    anything: Any = None
    renamed: int = msgspec.field(default=0, name="as")


def faults(value: object, into: Any = Everything, **options: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        convert(value, into, **options)
    return {problem.pointer: problem.detail for problem in caught.value.problems}


def test_a_value_without_faults_is_converted() -> None:
    value = {
        "number": 3,
        "drip": {"batch_quantity": 5, "repeat_after": "1h", "process_between": ["09:00", "17:00"]},
        "target": {"kind": "text", "to": "+1"},
        "point": {"x": 1},
        "even": 4,
        "weights": {"a": 1.5},
        "as": 7,
    }
    assert convert(value, Everything) == Everything(
        number=3,
        drip=Drip(batch_quantity=5, repeat_after="1h", process_between=("09:00", "17:00")),
        target=Text(to="+1"),
        point=Point(x=1.0),
        even=Even(4),
        weights={"a": 1.5},
        renamed=7,
    )


CASES: list[tuple[object, str, str]] = [
    ({"number": True}, "/number", "Must be a whole number, not true."),
    ({"number": "many"}, "/number", 'Must be a whole number, not "many".'),
    ({"number": 1.5}, "/number", "Must be a whole number, not 1.5."),
    ({"number": None}, "/number", "Must be a whole number, not null."),
    ({"number": [1]}, "/number", "Must be a whole number, not a list."),
    ({"ratio": {}}, "/ratio", "Must be a number, not an object."),
    ({"flag": 1}, "/flag", "Must be true or false, not 1."),
    ({"name": 5}, "/name", "Must be text, not 5."),
    ({"label": 5}, "/label", "Must be text, not 5."),
    ({"name": "x" * 20, "number": "y" * 100}, "/number", f'Must be a whole number, not "{"y" * 60}...".'),
    ({"when": "soon"}, "/when", 'Must be a time such as "2026-12-01T09:00:00Z" or null, not "soon".'),
    ({"color": "green"}, "/color", 'Must be "red" or "blue", not "green".'),
    ({"drip": 3}, "/drip", "Must be an object or null, not 3."),
    (
        {"drip": {"repeat_after": "1h"}},
        "/drip/batch_quantity",
        "Is missing; it must be a whole number from 1 to 10,000.",
    ),
    (
        {"drip": {"batch_quantity": 10_001, "repeat_after": "1h"}},
        "/drip/batch_quantity",
        "Must be a whole number from 1 to 10,000, not 10001.",
    ),
    (
        {"drip": {"batch_quantity": 1, "repeat_after": "1h", "send_on": ["mon", "sun"]}},
        "/drip/send_on/1",
        'Must be "mon", "tue" or "wed", not "sun".',
    ),
    (
        {"drip": {"batch_quantity": 1, "repeat_after": "1h", "send_on": []}},
        "/drip/send_on",
        "Must be a list that is not empty, not a list.",
    ),
    (
        {"drip": {"batch_quantity": 1, "repeat_after": "1h", "process_between": ["09:00"]}},
        "/drip/process_between",
        "Must be a list of 2, not a list.",
    ),
    (
        {"drip": {"batch_quantity": 1, "repeat_after": "1h", "process_between": ["09:00", 17]}},
        "/drip/process_between/1",
        "Must be text, not 17.",
    ),
    (
        {"drip": {"batch_quantiy": 1, "batch_quantity": 1, "repeat_after": "1h"}},
        "/drip/batch_quantiy",
        'There is no such field; did you mean "batch_quantity"?',
    ),
    ({"box": {"content": 1, "zzz": 2}}, "/box/zzz", 'There is no such field; there is "content".'),
    ({"target": {"to": "a@b"}}, "/target/kind", 'Is missing; it must be "email" or "text".'),
    ({"target": {"kind": "fax"}}, "/target/kind", 'Must be "email" or "text", not "fax".'),
    ({"target": {"kind": []}}, "/target/kind", 'Must be "email" or "text", not a list.'),
    ({"target": {"kind": "email", "to": "a"}}, "/target/to", 'Must be text of 3 to 10 characters, not "a".'),
    ({"target": {"kind": "text", "to": "1"}}, "/target/to", 'Must be a number such as "+15551230000", not "1".'),
    ({"point": {"x": "1"}}, "/point/x", 'Must be a number, not "1".'),
    ({"point": {}}, "/point/x", "Is missing; it must be a number."),
    ({"points": [{"x": 1}, {"x": None}]}, "/points/1/x", "Must be a number, not null."),
    ({"points": {"x": 1}}, "/points", "Must be a list, not an object."),
    ({"window": {"start": 1, "end": 1}}, "/window", "Start and end must differ."),
    ({"box": {"content": "x"}}, "/box/content", 'Must be a whole number, not "x".'),
    ({"tags": ["a", 1]}, "/tags/1", "Must be text, not 1."),
    ({"weights": {"a/b~c": -1}}, "/weights/a~1b~0c", "Must be a number of at least 0, not -1."),
    ({"even": 3}, "/even", "Must be even, not 3."),
    ({"as": "x"}, "/as", 'Must be a whole number, not "x".'),
    ({"name": Mask("hunter2"), "number": Mask("hunter2")}, "/number", "Must be a whole number, not ***."),
    ([], "", "Must be an object, not a list."),
    (None, "", "Must be an object, not null."),
]


@pytest.mark.parametrize(("value", "pointer", "detail"), CASES, ids=[f"{case[1]}-{i}" for i, case in enumerate(CASES)])
def test_a_fault_is_told_with_its_pointer_what_was_given_and_what_is_expected(
    value: object, pointer: str, detail: str
) -> None:
    assert faults(value) == {pointer: detail}


def test_all_faults_are_told_at_once() -> None:
    value = {
        "number": "x",
        "nmae": "typo",
        "drip": {"batch_quantity": 0, "repat_after": "1h"},
        "points": [{"x": "a"}, {"x": 1}, {"y": 2}],
    }
    assert set(faults(value)) == {
        "/number",
        "/nmae",
        "/drip/batch_quantity",
        "/drip/repat_after",
        "/drip/repeat_after",
        "/points/0/x",
        "/points/2/x",
    }


def test_pointers_begin_where_the_value_stands() -> None:
    assert list(faults({"x": "a"}, Point, at="/schedule")) == ["/schedule/x"]


def test_texts_are_read_as_numbers_only_when_not_strict() -> None:
    assert convert({"number": "12", "flag": "true"}, Everything, strict=False) == Everything(number=12, flag=True)
    assert list(faults({"number": "12", "flag": "true"})) == ["/number", "/flag"]
    assert faults({"number": "twelve"}, strict=False) == {"/number": 'Must be a whole number, not "twelve".'}


def test_the_first_hundred_faults_are_enough() -> None:
    with pytest.raises(Invalid) as caught:
        convert(["x"] * 100_000, list[int])
    assert len(caught.value.problems) == PROBLEMS_MAX


def test_a_text_class_of_its_own_is_kept_and_is_made_where_it_is_asked_for() -> None:
    class Wanting(Strict, frozen=True, kw_only=True):
        secret: Mask
        plain: str
        spelled: Mask

    made = convert({"secret": Mask("a"), "plain": Mask("b"), "spelled": "c"}, Wanting)
    assert (type(made.secret), type(made.plain), type(made.spelled)) == (Mask, Mask, Mask)
    assert (str(made.secret), made.plain, str(made.spelled)) == ("a", "b", "c")


@pytest.mark.parametrize("place", ["/name", "/anything", "/tags/0", "/weights/x\\ud800"])
def test_an_unpaired_surrogate_is_refused_wherever_it_stands(place: str) -> None:
    bad = "x\ud800"
    values: dict[str, object] = {
        "/name": {"name": bad},
        "/anything": {"anything": bad},
        "/tags/0": {"tags": [bad]},
        "/weights/x\\ud800": {"weights": {bad: 1}},
    }
    found = faults(values[place])
    assert list(found) == [place]
    assert "character 2 is the unpaired surrogate U+D800" in found[place]
    json.dumps(found, ensure_ascii=False).encode()  # the answer can be written


def test_nul_is_refused_and_an_escaped_backslash_is_not_taken_for_it() -> None:
    assert faults({"name": "a\0"}) == {"/name": "Must be text without NUL characters; character 2 is one."}
    assert convert({"name": "a\\u0000"}, Everything).name == "a\\u0000"


def test_text_faults_and_type_faults_inside_any_are_told_by_their_own_pointers() -> None:
    assert list(faults({"anything": {"deep": ["ok", "\0"], "\0": 1}})) == ["/anything/deep/1", "/anything/\0"]


@pytest.mark.parametrize("depth", [300, 600, 900, 5_000])
def test_what_is_nested_too_deeply_is_refused_and_nothing_breaks(depth: int) -> None:
    value: Any = "\0"
    for _ in range(depth):
        value = [value]
    for whole in ({"number": "x", "anything": value}, value):
        assert faults(whole)


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
some_names = st.sampled_from([field.encode_name for field in msgspec.structs.fields(Everything)])


@settings(max_examples=200)
@given(st.dictionaries(some_names, plain_values, max_size=5) | plain_values)
def test_whatever_is_given_is_converted_or_refused_with_sentences(value: Any) -> None:
    try:
        made = convert(value, Everything)
    except Invalid as refused:
        problems = refused.problems
    else:
        assert isinstance(made, Everything)
        return
    assert problems
    assert all(problem.detail.endswith((".", "?")) for problem in problems)
    assert all(problem.pointer == "" or problem.pointer.startswith("/") for problem in problems)


MALFORMED: list[tuple[bytes, str]] = [
    (b"", "it is empty, at line 1, column 1"),
    (b'{\n  "a": 1,\n  "b" 2}', "line 3, column 7"),
    (b'{"a": 1} x', "line 1, column 10"),
    (b'{"a": 1, "a": 2}', 'an object has the name "a" twice'),
    (b'[{"b": {"a": 1, "a": 1}}]', 'an object has the name "a" twice'),
    (b'{"a": NaN}', "NaN is not a JSON number"),
    (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
    (b'{"a": 1e999}', "1e999 is too large"),
    (b'{"a": ' + b"1" * 5_000 + b"}", "is too large"),
    (b'{"a": "\xff"}', "byte 8 is not UTF-8"),
    (b'\xef\xbb\xbf{"a": 1}', "line 1, column 1"),
    (b"[" * 200_000, "nested too deeply"),
    (b'{"a": "tab\there"}', "line 1, column 11"),
]


@pytest.mark.parametrize(("raw", "detail"), MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_json_is_refused_with_the_place(raw: bytes, detail: str) -> None:
    with pytest.raises(Refused) as caught:
        decode_json(raw)
    assert caught.value.code == "malformed_json"
    assert detail in caught.value.detail
    caught.value.detail.encode()


@settings(max_examples=100)
@given(plain_values)
def test_every_json_document_is_decoded_to_what_it_says(value: Any) -> None:
    assert decode_json(json.dumps(value).encode()) == value


def test_a_long_document_is_decoded_fast_and_its_faults_are_still_placed() -> None:
    entries = ", ".join(f'"m-{number}"' for number in range(200_000))
    assert decode_json(f"[{entries}]".encode()) == [f"m-{number}" for number in range(200_000)]
    with pytest.raises(Refused, match="line 1, column"):
        decode_json(f"[{entries}, oops]".encode())
    with pytest.raises(Refused, match="NaN"):
        decode_json(f"[{entries}, NaN]".encode())
