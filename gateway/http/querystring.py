"""Query strings, decoded into a route's query Struct.

A `+` in a query string is a space, as browsers write it. People also write `?address=+15551230000` and
`?created_after=2026-06-01T08:00:00+02:00` without escaping: a leading space before digits, and a space where a date's
offset begins, are read as the `+` that was meant.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from msgspec import inspect

from gateway.errors import Invalid, Problem, Refused
from gateway.validation import convert

PARAMETERS_MAX: Final = 250  # more than the longest list of states and filters that makes sense

_LEADING: Final = re.compile(r" (?=\d)")
_OFFSET: Final = re.compile(r"(T\d\d:\d\d(?::\d\d(?:\.\d+)?)?) (\d\d:\d\d)$")
_LISTS: Final = (inspect.ListType, inspect.SetType, inspect.FrozenSetType, inspect.VarTupleType)


def repeatable(query: type[msgspec.Struct]) -> Mapping[str, bool]:
    """The names of a query's parameters, each with whether it may be given more than once."""
    info = inspect.type_info(query)
    assert isinstance(info, inspect.StructType)
    return MappingProxyType({field.encode_name: _is_list(field.type) for field in info.fields})


def _is_list(kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.UnionType):
        return any(_is_list(part) for part in kind.types)
    if isinstance(kind, inspect.Metadata):
        return _is_list(kind.type)
    return isinstance(kind, _LISTS)


def decode_query(text: str, query: type[msgspec.Struct] | None, names: Mapping[str, bool]) -> Any:
    """The query string `text` as an instance of `query`; None for a route without one. `names`: from `repeatable`.

    Invalid with every problem at once; the pointer of a parameter is its name behind a question mark.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX)
    except ValueError as exc:
        raise Refused("malformed_request", f"The query string cannot be read: {exc}.") from exc
    values: dict[str, Any] = {}
    problems = []
    for name, value in pairs:
        if name not in names:
            problems.append(_unknown(name, names))
        elif names[name]:
            values.setdefault(name, []).append(_with_plus(value))
        elif name in values:
            problems.append(Problem(f"?{name}", "It is given more than once."))
        else:
            values[name] = _with_plus(value)
    return _converted(values, query, problems)


def _converted(values: dict[str, Any], query: type[msgspec.Struct] | None, problems: list[Problem]) -> Any:
    converted = None
    if query is not None:
        try:
            converted = convert(values, query, strict=False)
        except Invalid as exc:
            problems += [Problem(f"?{problem.pointer.lstrip('/')}", problem.detail) for problem in exc.problems]
    if problems:
        raise Invalid(problems)
    return converted


def _unknown(name: str, names: Mapping[str, bool]) -> Problem:
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return Problem(f"?{name}", f"There is no parameter {name!r}; did you mean {near[0]!r}?")
    known = ", ".join(names) or "none"
    return Problem(f"?{name}", f"There is no parameter {name!r}; there are: {known}.")


def _with_plus(value: str) -> str:
    meant = f"+{value[1:]}" if _LEADING.match(value) else value
    return _OFFSET.sub(r"\1+\2", meant)
