"""Plain data into typed values, with every fault at once.

msgspec does the conversion and stops at its first fault. Only when it refuses is the type walked here, field by field,
and each fault is told with its JSON pointer in a sentence that names what was given and what is expected. Request
bodies, query strings, the settings of plugins and `gateway.toml` are all read through `convert`.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from gateway.errors import Invalid, Problem, Refused
from gateway.wording import JSON, Words, expected, given, unknown

T = TypeVar("T")

CAREFUL_BYTES_MAX: Final = 1024 * 1024
PROBLEMS_MAX: Final = 100  # of one value: a list of a million wrong elements needs no more to be understood
_CLEARED_AT_ONCE: Final = 1_000
_BAD_CHARACTER: Final = re.compile("[\0\ud800-\udfff]")
_PATH: Final = re.compile(r"(?P<message>.*?)(?: - at `(?P<key>key in )?\$(?P<steps>.*)`)?", re.DOTALL)
_STEP: Final = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+)\]")
_ARRAYS: Final = frozenset({list, tuple, set, frozenset})
_UNIONS: Final = frozenset({typing.Union, types.UnionType})


def convert(value: object, into: type[T], *, strict: bool = True, at: str = "", words: Words = JSON) -> T:
    """`value` (dicts, lists, texts, numbers) as an instance of `into`.

    `at` is the pointer of `value` itself, put before every pointer that is reported; `words` are what problems call
    things. Without `strict`, texts are also read as numbers and booleans, as in a query string. A class of ours with a
    class method `parse(value)` that raises ValueError with a sentence is converted by it. Unknown fields are faults
    wherever a Struct says `forbid_unknown_fields`; msgspec ignores them in dataclasses. Texts with unpaired surrogates
    or NUL are refused everywhere: neither SQLite nor a provider would keep them as they are.

    Invalid: `problems` has all of them, or the first 100.
    """
    finder = _Finder(strict, words)
    try:
        finder.check_texts(value, at)
        if not finder.problems:
            try:
                return msgspec.convert(value, into, strict=strict, dec_hook=_parse)
            except msgspec.ValidationError as exc:
                finder.visit_refused(_plain(value), into, at, exc)
    except RecursionError as exc:
        raise Invalid([Problem(at, "Is nested too deeply.")]) from exc
    raise Invalid(finder.problems[:PROBLEMS_MAX])


def decode_json(raw: bytes) -> object:
    """The JSON document in `raw`, which is UTF-8.

    Refused `malformed_json`: the detail says line and column. Refused as well are what JSON does not have but many
    parsers let pass: NaN and infinities, numbers that overflow to one, and a name twice in one object. The last is not
    looked for in documents over `CAREFUL_BYTES_MAX`: those are long lists, and looking takes ten times as long.
    """
    if len(raw) > CAREFUL_BYTES_MAX:
        try:
            return msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # what is wrong with it, and where, is found below
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise _malformed(f"byte {exc.start + 1} is not UTF-8") from exc
    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite, parse_int=_whole
        )
    except json.JSONDecodeError as exc:
        what = "it is empty" if not text.strip() else exc.msg[:1].lower() + exc.msg[1:]
        raise _malformed(f"{what}, at line {exc.lineno}, column {exc.colno}") from exc
    except RecursionError as exc:
        raise _malformed("it is nested too deeply") from exc


def _malformed(detail: str) -> Refused:
    return Refused("malformed_json", f"The body is not JSON: {detail}.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in members if names.count(name) > 1)
        raise _malformed(f"an object has the name {given(double)} twice")
    return members


def _no_constant(name: str) -> NoReturn:
    raise _malformed(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise _malformed(f"the number {digits[:40]} is too large")
    return number


def _whole(digits: str) -> int:
    if len(digits) > 400:  # a float ends at 308 digits; Python itself refuses to read more than 4,300
        raise _malformed(f"the number {digits[:40]}... is too large")
    return int(digits)


def _parse(kind: Any, value: object) -> object:
    """What msgspec calls for the classes that it does not know."""
    parse = getattr(kind, "parse", None)
    if parse is not None:
        return parse(value)
    if isinstance(kind, type) and issubclass(kind, str) and isinstance(value, str):
        return kind(value)
    raise ValueError(f"Must be {kind.__name__}, not {given(value)}.")


def _plain(value: Any) -> Any:
    """The same data with mappings as dicts and sequences as lists, so that the walk knows only those."""
    if isinstance(value, Mapping):
        return {key: _plain(member) for key, member in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(element) for element in value]
    return value


def _escape(name: object) -> str:
    return str(name).replace("~", "~0").replace("/", "~1")


@dataclass(frozen=True, slots=True)
class _Field:
    """A member of an object as the type declares it."""

    name: str  # as in the data
    hint: Any
    required: bool


class _Finder:
    """One walk over a value beside its type."""

    def __init__(self, strict: bool, words: Words) -> None:
        self.problems: list[Problem] = []
        self._strict = strict
        self._words = words
        self._fields_of: dict[Any, tuple[_Field, ...]] = {}  # reading annotations is slow, and lists hold many alike

    # ---- texts

    def check_texts(self, value: object, pointer: str) -> None:
        """Note every text, also among the names of members, that no database or provider would keep."""
        try:
            encoded = msgspec.json.encode(value)
        except (TypeError, ValueError, RecursionError):  # UnicodeEncodeError is a ValueError
            encoded = b"\\u0000"
        if b"\\u0000" in encoded:  # it may also be a backslash that was meant: the walk tells
            for where, fault in _bad_texts(value, pointer):
                self._note(where, fault)

    # ---- types

    def visit(self, value: Any, hint: Any, pointer: str) -> None:
        """Note what is wrong with `value` as a `hint`."""
        if len(self.problems) >= PROBLEMS_MAX:
            return
        bare = _bare(hint)
        origin = typing.get_origin(bare) or bare
        if origin in _UNIONS:
            self._visit_union(value, hint, typing.get_args(bare), pointer)
        elif isinstance(value, dict) and _is_record(origin):
            self._visit_record(value, bare, origin, pointer)
        elif isinstance(value, list) and _is_array(origin):
            self._visit_elements(value, hint, bare, pointer)
        elif isinstance(value, dict) and _is_mapping(origin):
            self._visit_members(value, hint, typing.get_args(bare), pointer)
        else:
            self._visit_whole(value, hint, pointer)

    def visit_refused(self, value: Any, hint: Any, pointer: str, refusal: msgspec.ValidationError) -> None:
        """Note what is wrong with what msgspec refused: its own words if the walk finds nothing."""
        self.visit(value, hint, pointer)
        if not self.problems:
            self.note_refusal(refusal, value, hint, pointer)

    def note_refusal(self, refusal: msgspec.ValidationError, value: Any, hint: Any, pointer: str) -> None:
        """Note a refusal of msgspec's in our words, or in its own if they are a sentence of ours already."""
        matched = _PATH.fullmatch(str(refusal))
        message, steps = (matched["message"], matched["steps"] or "") if matched else (str(refusal), "")
        for step in _STEP.finditer(steps):
            pointer += f"/{_escape(step['name'] or step['index'])}"
        ours = message.endswith((".", "?"))  # from `parse` or `__post_init__`; msgspec's own end without a stop
        told = message if ours or steps else self._must_be(expected(hint, self._words), value)
        self._note(pointer, told)

    def _note(self, pointer: str, detail: str) -> None:
        """Surrogates, which no answer can carry, are spelled out."""
        where, told = (text.encode(errors="backslashreplace").decode() for text in (pointer, detail))
        self.problems.append(Problem(where, told))

    def _must_be(self, what: str, value: object) -> str:
        return f"Must be {what}, not {given(value, self._words)}."

    def _visit_whole(self, value: Any, hint: Any, pointer: str) -> None:
        """A value with nothing inside to look at, or one whose inside is in order."""
        try:
            msgspec.convert(value, hint, strict=self._strict, dec_hook=_parse)
        except msgspec.ValidationError as exc:
            self.note_refusal(exc, value, hint, pointer)

    def _visit_record(self, value: dict[Any, Any], hint: Any, cls: Any, pointer: str) -> None:
        before = len(self.problems)
        fields = self._fields(hint, cls)
        for field in fields:
            if field.name in value:
                self.visit(value[field.name], field.hint, f"{pointer}/{_escape(field.name)}")
            elif field.required:
                self._note(
                    f"{pointer}/{_escape(field.name)}", f"Is missing; it must be {expected(field.hint, self._words)}."
                )
        if issubclass(cls, msgspec.Struct) and cls.__struct_config__.forbid_unknown_fields:
            known = [field.name for field in fields]
            for name in [name for name in value if name not in {*known, cls.__struct_config__.tag_field}]:
                self._note(f"{pointer}/{_escape(name)}", unknown(name, known, self._words.member))
        if len(self.problems) == before:
            self._visit_whole(value, hint, pointer)

    def _visit_elements(self, value: list[Any], hint: Any, bare: Any, pointer: str) -> None:
        before = len(self.problems)
        hints = typing.get_args(bare)
        if _origin(bare) is tuple and hints and hints[-1] is not Ellipsis:
            for index, (element, inner) in enumerate(zip(value, hints, strict=False)):
                self.visit(element, inner, f"{pointer}/{index}")
        else:
            for index in self._suspects(value, hints[0] if hints else Any):
                self.visit(value[index], hints[0], f"{pointer}/{index}")
        if len(self.problems) == before:
            self._visit_whole(value, hint, pointer)

    def _suspects(self, value: list[Any], inner: Any) -> Iterator[int]:
        """The places of the elements that stand near a fault: of a million, most are cleared a thousand at a time."""
        for start in range(0, len(value), _CLEARED_AT_ONCE):
            some = value[start : start + _CLEARED_AT_ONCE]
            try:
                msgspec.convert(some, list[inner], strict=self._strict, dec_hook=_parse)
            except msgspec.ValidationError:
                yield from range(start, start + len(some))
            if len(self.problems) >= PROBLEMS_MAX:
                return

    def _visit_members(self, value: dict[Any, Any], hint: Any, hints: tuple[Any, ...], pointer: str) -> None:
        before = len(self.problems)
        key_hint, member_hint = hints or (Any, Any)
        for key, member in value.items():
            where = f"{pointer}/{_escape(key)}"
            self._visit_whole(key, key_hint, where)
            self.visit(member, member_hint, where)
        if len(self.problems) == before:
            self._visit_whole(value, hint, pointer)

    def _visit_union(self, value: Any, hint: Any, members: tuple[Any, ...], pointer: str) -> None:
        """Look into the one member that the value's shape, and the tag among objects, point to."""
        records = [member for member in members if _is_record(_origin(member))]
        if isinstance(value, dict) and records:
            tagged = {_tag(member): member for member in records if _tag(member) is not None}
            if tagged:
                self._visit_tagged(value, tagged, pointer)
                return
            candidates = records
        elif isinstance(value, dict):
            candidates = [member for member in members if _is_mapping(_origin(member))]
        elif isinstance(value, list):
            candidates = [member for member in members if _is_array(_origin(member))]
        else:
            candidates = []
        if len(candidates) == 1:
            self.visit(value, candidates[0], pointer)
        else:
            self._visit_whole(value, hint, pointer)

    def _visit_tagged(self, value: dict[Any, Any], tagged: Mapping[Any, Any], pointer: str) -> None:
        tag_field = _origin(next(iter(tagged.values()))).__struct_config__.tag_field
        where = f"{pointer}/{_escape(tag_field)}"
        tags = " or ".join(given(tag) for tag in tagged)
        tag = value.get(tag_field)
        if tag_field not in value:
            self._note(where, f"Is missing; it must be {tags}.")
        elif not isinstance(tag, str | int) or tag not in tagged:
            self._note(where, self._must_be(tags, tag))
        else:
            self.visit(value, tagged[tag], pointer)

    def _fields(self, hint: Any, cls: Any) -> tuple[_Field, ...]:
        known = self._fields_of.get(hint)
        if known is None:
            known = self._fields_of[hint] = tuple(_declared(hint, cls))
        return known


def _declared(hint: Any, cls: Any) -> Iterator[_Field]:
    if issubclass(cls, msgspec.Struct):
        for field in msgspec.structs.fields(hint):
            yield _Field(field.encode_name, field.type, field.required)
        return
    hints = typing.get_type_hints(cls, include_extras=True)
    for one in dataclasses.fields(cls):
        if one.init:
            required = one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
            yield _Field(one.name, hints[one.name], required)


def _bare(hint: Any) -> Any:
    """The type without constraints and without the names that NewType and `type` statements give it."""
    while True:
        if typing.get_origin(hint) is typing.Annotated:
            hint = typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif hasattr(hint, "__value__"):
            hint = hint.__value__
        else:
            return hint


def _origin(hint: Any) -> Any:
    bare = _bare(hint)
    return typing.get_origin(bare) or bare


def _tag(hint: Any) -> Any:
    config = getattr(_origin(hint), "__struct_config__", None)
    return None if config is None else config.tag


def _is_record(origin: Any) -> bool:
    return isinstance(origin, type) and (issubclass(origin, msgspec.Struct) or dataclasses.is_dataclass(origin))


def _is_mapping(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _is_array(origin: Any) -> bool:
    if not isinstance(origin, type) or issubclass(origin, str | bytes | Mapping):
        return False
    return origin in _ARRAYS or (origin.__module__ == "collections.abc" and issubclass(origin, Collection))


def _bad_texts(value: object, pointer: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        fault = _text_fault(value)
        if fault:
            yield pointer, fault
    elif isinstance(value, Mapping):
        for name, member in value.items():
            where = f"{pointer}/{_escape(name)}"
            fault = _text_fault(name) if isinstance(name, str) else None
            if fault:
                yield where, f"The name of this field is at fault: {fault}"
            yield from _bad_texts(member, where)
    elif isinstance(value, list | tuple | set | frozenset):
        for index, element in enumerate(value):
            yield from _bad_texts(element, f"{pointer}/{index}")


def _text_fault(text: str) -> str | None:
    bad = _BAD_CHARACTER.search(text)
    if bad is None:
        return None
    number = bad.start() + 1
    if bad[0] == "\0":
        return f"Must be text without NUL characters; character {number} is one."
    return f"Must be valid Unicode; character {number} is the unpaired surrogate U+{ord(bad[0]):04X}."
