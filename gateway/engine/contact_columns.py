"""The header of a CSV file of contacts: which column is which field."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.core.csv_cells import unguarded
from gateway.core.people import ATTRIBUTES_MAX, SCALARS, Match, attribute_name_fault
from gateway.errors import Invalid, Problem

KNOWN: Final = ("id", *SCALARS)
TAGS: Final = "tags"
_PARTS: Final = ("addresses", "attributes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Places of a row's cells. `parts`: place, name of the part, name of the member in it."""

    known: tuple[tuple[int, str], ...]
    tags: int | None
    parts: tuple[tuple[int, str, str], ...]
    warnings: tuple[str, ...]

    def fields(self, cells: Sequence[str]) -> dict[str, Any]:
        """A row as the fields of a contact; an empty cell is null, and clears what was there."""
        cells = [unguarded(cell) if cell[:1] == "'" else cell for cell in cells]
        fields: dict[str, Any] = {name: cells[place] or None for place, name in self.known}
        if self.tags is not None:
            fields[TAGS] = [tag for part in cells[self.tags].split(";") if (tag := part.strip())]
        for place, part, name in self.parts:
            fields.setdefault(part, {})[name] = cells[place] or None
        return fields


def columns_of(cells: Sequence[str], match: Match, channels: Sequence[str]) -> Columns:
    """The columns of a header. What is no field becomes an attribute, with a warning. Invalid if it cannot be used.

    `channels` are those that an `addresses.` column may name.
    """
    names = [cell.strip() for cell in cells]
    known: list[tuple[int, str]] = []
    parts: list[tuple[int, str, str]] = []
    others: list[str] = []
    for place, name in enumerate(names):
        part, dot, member = name.partition(".")
        if name in KNOWN:
            known.append((place, name))
        elif dot and part in _PARTS:
            parts.append((place, part, member))
        elif name != TAGS:
            parts.append((place, "attributes", name))
            others.append(name)
    problems = [*_missing(names, match), *_doubled(names, parts), *_misnamed(parts, channels)]
    if problems:
        raise Invalid([Problem("", problem) for problem in problems])
    return Columns(
        known=tuple(known),
        tags=names.index(TAGS) if TAGS in names else None,
        parts=tuple(parts),
        warnings=(f"Columns kept as attributes: {', '.join(map(_told, others))}.",) if others else (),
    )


def _missing(names: Sequence[str], match: Match) -> list[str]:
    if "id" in names or match in names:
        return []
    if len(names) == 1 and ";" in names[0]:
        return ["The header has no id column: its names are separated by semicolons, commas are expected."]
    if match != "id":
        return [f"The header has neither an id column nor a column {match}, which rows are to be matched by."]
    return ["The header has no id column. To match by another one: match=email or match=phone."]


def _doubled(names: Sequence[str], parts: Sequence[tuple[int, str, str]]) -> list[str]:
    whole = [name for name in names if name in (*KNOWN, TAGS)] + [f"{part}.{name}" for _, part, name in parts]
    return [f"The header names {name!r:.80} more than once." for name, number in Counter(whole).items() if number > 1]


def _misnamed(parts: Sequence[tuple[int, str, str]], channels: Sequence[str]) -> list[str]:
    attributes = [(place, name) for place, part, name in parts if part == "attributes"]
    found = [
        f"Column {place + 1} cannot be an attribute. {fault}"
        for place, name in attributes
        if (fault := attribute_name_fault(name)) is not None
    ]
    if len(attributes) > ATTRIBUTES_MAX:
        found.append(f"The header has {len(attributes)} columns of attributes, at most {ATTRIBUTES_MAX} are allowed.")
    found += [
        f"Column {place + 1}: there is no channel {name!r:.80}; channels with addresses here: {list(channels)}."
        for place, part, name in parts
        if part == "addresses" and name not in channels
    ]
    return found[:20]  # a file of another kind has hundreds


def _told(name: str) -> str:
    near = difflib.get_close_matches(name.lower().replace(" ", "_").replace("-", ""), (*KNOWN, TAGS), n=1, cutoff=0.8)
    return f"{name} (did you mean {near[0]}?)" if near else name
