"""How a validation problem speaks: what a type expects, what was given, what was probably meant."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any, Final

from msgspec import inspect

GIVEN_CHARACTERS_MAX: Final = 60  # of a value that is quoted: enough to recognise it
CHOICES_MAX: Final = 12  # of the known names that are listed when none is close


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What things are called in the kind of document that is read."""

    member: str
    record: str
    nothing: str | None  # None: there is no such value to write


JSON: Final = Words(member="field", record="an object", nothing="null")
TOML: Final = Words(member="setting", record="a table", nothing=None)


def given(value: object, words: Words = JSON) -> str:
    """The value as the person wrote it, in JSON's spelling and shortened; objects and lists only by kind.

    A text of a class of its own (a secret) is shown as its `repr`, which masks it.
    """
    if isinstance(value, dict):
        return words.record
    if isinstance(value, list | tuple | set | frozenset):
        return "a list"
    if isinstance(value, str) and type(value) is not str:
        return repr(value)
    if value is None or isinstance(value, str | bool | int | float):
        text = json.dumps(_short(value) if isinstance(value, str) else value, ensure_ascii=False)
        return text.encode(errors="backslashreplace").decode() if isinstance(value, str) else _short(text)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return type(value).__name__


def _short(text: str) -> str:
    return text if len(text) <= GIVEN_CHARACTERS_MAX else f"{text[:GIVEN_CHARACTERS_MAX]}..."


def unknown(name: object, known: Sequence[str], what: str) -> str:
    """A sentence about a name that nobody knows: what it may have been, or what there is."""
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
    if close:
        return f"There is no such {what}; did you mean {given(close[0])}?"
    if not known or len(known) > CHOICES_MAX:
        return f"There is no such {what}."
    return f"There is no such {what}; there is {listing(known, 'and')}."


def listing(names: Iterable[object], word: str) -> str:
    """`"a", "b" and "c"`."""
    spelled = [given(name) for name in names]
    return spelled[0] if len(spelled) == 1 else f"{', '.join(spelled[:-1])} {word} {spelled[-1]}"


def expected(hint: Any, words: Words = JSON) -> str:
    """A type in words, with its constraints: `a whole number from 1 to 10,000`.

    A constraint `Meta(extra={"expected": "a duration such as \"15m\""})`, or the attribute `expected` of a class that
    msgspec does not know, brings its own words.
    """
    try:
        return _words(inspect.type_info(hint), words)
    except TypeError:  # not a type that msgspec can look into
        return getattr(hint, "__name__", str(hint))


_SIMPLE: Final[tuple[tuple[type[inspect.Type], str], ...]] = (
    (inspect.BoolType, "true or false"),
    (inspect.TimeDeltaType, 'a duration such as "PT15M"'),
    (inspect.DateTimeType, 'a time such as "2026-12-01T09:00:00Z"'),
    (inspect.DateType, 'a date such as "2026-12-01"'),
    (inspect.TimeType, 'a time of day such as "09:00:00"'),
    (inspect.BytesType, "base64 text"),
    (inspect.UUIDType, "a UUID"),
    (inspect.DecimalType, "a decimal number"),
    (inspect.AnyType, "any value"),
)
_RECORDS: Final = (inspect.StructType, inspect.DataclassType, inspect.TypedDictType)
_ARRAYS: Final = (
    inspect.ListType,
    inspect.SetType,
    inspect.FrozenSetType,
    inspect.VarTupleType,
    inspect.CollectionType,
)


def _words(info: inspect.Type, words: Words) -> str:
    for kind, name in _SIMPLE:
        if isinstance(info, kind):
            return name
    if isinstance(info, inspect.IntType | inspect.FloatType):
        return _number(info)
    if isinstance(info, inspect.StrType):
        return _text(info)
    if isinstance(info, inspect.LiteralType):
        return listing(info.values, "or")
    if isinstance(info, inspect.EnumType):
        return listing((member.value for member in info.cls), "or")
    if isinstance(info, inspect.UnionType):
        return _either(info, words)
    return _container(info, words)


def _either(info: inspect.UnionType, words: Words) -> str:
    members = [_words(one, words) for one in info.types if not isinstance(one, inspect.NoneType)]
    if info.includes_none and words.nothing:
        members.append(words.nothing)
    return " or ".join(dict.fromkeys(members))


def _container(info: inspect.Type, words: Words) -> str:
    if isinstance(info, inspect.Metadata):
        own = (info.extra or {}).get("expected")
        return str(own) if own else _words(info.type, words)
    if isinstance(info, inspect.DictType):
        return words.record
    if isinstance(info, inspect.NoneType):
        return words.nothing or "nothing"
    if isinstance(info, inspect.TupleType):
        return f"a list of {len(info.item_types)}"
    if isinstance(info, inspect.CustomType):
        return getattr(info.cls, "expected", info.cls.__name__)
    if isinstance(info, _ARRAYS):
        return f"a list{_range(info.min_length, info.max_length, ' of', 'elements')}"
    return words.record if isinstance(info, _RECORDS) else "another type"


def _number(info: inspect.IntType | inspect.FloatType) -> str:
    noun = "a whole number" if isinstance(info, inspect.IntType) else "a number"
    if info.ge is not None and info.le is not None:
        return f"{noun} from {info.ge:,} to {info.le:,}"
    limits = [
        f"{words} {limit:,}"
        for words, limit in (
            ("greater than", info.gt),
            ("of at least", info.ge),
            ("less than", info.lt),
            ("of at most", info.le),
        )
        if limit is not None
    ]
    if info.multiple_of is not None:
        limits.append(f"that is a multiple of {info.multiple_of:,}")
    return f"{noun} {' and '.join(limits)}" if limits else noun


def _text(info: inspect.StrType) -> str:
    length = _range(info.min_length, info.max_length, " of", "characters")
    return f"text{length} like {info.pattern}" if info.pattern else f"text{length}"


def _range(least: int | None, most: int | None, before: str, noun: str) -> str:
    if least is not None and most is not None:
        return f"{before} {least:,} to {most:,} {noun}"
    if least is not None:
        return f"{before} at least {least:,} {noun}" if least > 1 else " that is not empty"
    if most is not None:
        return f"{before} at most {most:,} {noun}"
    return ""
