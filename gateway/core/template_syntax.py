"""What a message template may contain, found out by reading it once, before the engine sees it.

The engine's parser recurses and its expressions allocate, so a template is held to small blocks of few operations. The
time that this takes grows with the length of the source and with nothing else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

SOURCE_MAX: Final = 64 * 1024  # characters
BLOCKS_MAX: Final = 500  # placeholders and statements of one template; the engine's own trees are as deep as `elif`s
CODE_MAX: Final = 500  # characters of one block without its strings: how deep an expression can be
CODE_IN_ALL_MAX: Final = 20_000  # characters of all blocks: a character costs the engine up to a microsecond
FILTERS_MAX: Final = 200  # of one template; one takes up to 50 us of a value of the greatest length
FILTERS_IN_LOOPS_MAX: Final = 20
FILTERS_IN_BLOCK_MAX: Final = 8
JOINS_IN_BLOCK_MAX: Final = 8  # `~`, each of which copies what stands before it
LOOP_TEXT_MAX: Final = 2_000  # characters inside loops: each turn may write as much

STATEMENTS: Final = frozenset({"if", "elif", "else", "endif", "for", "endfor"})
FILTERS: Final = frozenset(
    [
        "abs",
        "bool",
        "capitalize",
        "count",
        "d",
        "default",
        "e",
        "escape",
        "filesizeformat",
        "first",
        "float",
        "int",
        "join",
        "last",
        "length",
        "lower",
        "max",
        "min",
        "pluralize",
        "reverse",
        "round",
        "safe",
        "sort",
        "striptags",
        "sum",
        "title",
        "trim",
        "truncate",
        "unique",
        "upper",
        "urlencode",
    ]
)
HEAVY_FILTERS: Final = frozenset(["max", "min", "reverse", "sort", "sum", "unique"])
"""Filters that go through a whole list, some of them many times: outside of loops only, `HEAVY_MAX` of a template."""
HEAVY_MAX: Final = 10
TESTS: Final = frozenset(
    ["divisibleby", "endingwith", "startingwith", "eq", "ne", "lt", "le", "gt", "ge", "equalto", "sameas", "in"]
)
_KEYWORDS: Final = frozenset({"and", "or", "not", "in", "is", "if", "else", "elif"})

_OPENING: Final = re.compile(r"\{[{%#]")
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)
    |(?P<string>"[^"\\]*(?:\\.[^"\\]*)*"|'[^'\\]*(?:\\.[^'\\]*)*')
    |(?P<name>[^\W\d]\w*)
    |(?P<number>\d[\w.]*)
    |(?P<end>[-+]?[}%]\})
    |(?P<sign>[=!<>]=|//|[-+/%~|.,:=<>()\[\]])""",
    re.VERBOSE | re.DOTALL,
)


class TemplateFault(Exception):
    """The template cannot be used, or not with these values. `line` counts from 1."""

    def __init__(self, line: int, detail: str) -> None:
        super().__init__(f"line {line}: {detail}")
        self.line = line
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One `{{ ... }}` or `{% ... %}`: where it stands, and its tokens as (kind, text). Comments are none.

    `length`: characters of its code, each of its strings being one.
    """

    start: int
    end: int
    line: int
    length: int
    statement: bool
    tokens: tuple[tuple[str, str], ...]

    @property
    def word(self) -> str:
        """The first word."""
        return self.tokens[0][1] if self.tokens else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the limits of its rendering are chosen by."""

    loops: bool
    blocks: int


def read_blocks(source: str) -> list[Block]:
    """Every block, in order. TemplateFault: one is not closed, too long, or has a character that no code has."""
    blocks: list[Block] = []
    position, line, counted, code = 0, 1, 0, 0
    while (opening := _OPENING.search(source, position)) is not None:
        start = opening.start()
        line += source.count("\n", counted, start)
        counted = start
        if opening[0] == "{#":
            position = source.find("#}", start + 2) + 2
            if position == 1:
                raise TemplateFault(line, "a comment is not closed: write #} at its end")
            continue
        block = _read_block(source, start, line)
        blocks.append(block)
        if len(blocks) > BLOCKS_MAX:
            raise TemplateFault(line, f"a message may have {BLOCKS_MAX} placeholders and statements")
        code += block.length
        if code > CODE_IN_ALL_MAX:
            raise TemplateFault(line, f"a message may have {CODE_IN_ALL_MAX} characters between braces")
        position = block.end
    return blocks


def _read_block(source: str, start: int, line: int) -> Block:
    statement = source[start + 1] == "%"
    closing = "%}" if statement else "}}"
    position = start + 2
    if source[position : position + 1] in ("-", "+"):
        position += 1
    tokens: list[tuple[str, str]] = []
    length = 0
    while (token := _TOKEN.match(source, position)) is not None:
        kind = str(token.lastgroup)
        position = token.end()
        if kind == "end" and token[0].endswith(closing):
            return Block(start=start, end=position, line=line, length=length, statement=statement, tokens=tuple(tokens))
        length += 1 if kind in ("space", "string") else len(token[0])
        if length > CODE_MAX:
            raise TemplateFault(line, f"what stands between braces may have {CODE_MAX} characters, without its texts")
        if kind == "end":
            break
        if kind != "space":
            tokens.append((kind, token[0]))
    raise _fault_at(source, position, line, closing)


def _fault_at(source: str, position: int, line: int, closing: str) -> TemplateFault:
    found = source[position : position + 1]
    if found == "*":
        return TemplateFault(line, "'*' is not allowed in a message: it can repeat a text without end")
    if found in ("'", '"'):
        return TemplateFault(line, f"a text is not closed: write {found} at its end")
    if found in ("", "{"):
        return TemplateFault(line, f"a placeholder or statement is not closed: write {closing} at its end")
    return TemplateFault(line, f"{found!r} is not allowed between braces")


@dataclass(slots=True)
class _Reading:
    """What is counted while the blocks are gone through."""

    depth: int = 0  # of loops
    loops: bool = False
    filters: Counter[str] = field(default_factory=Counter)
    in_loops: int = 0  # filters
    text_in_loops: int = 0


def check_source(source: str, filters: AbstractSet[str]) -> Shape:
    """Refuse what a template may not contain. TemplateFault. `filters`: those of plugins, beside `FILTERS`."""
    if len(source) > SOURCE_MAX:
        raise TemplateFault(1, f"the template has {len(source)} characters, at most {SOURCE_MAX} are allowed")
    blocks = read_blocks(source)
    reading = _Reading()
    position = 0
    known = FILTERS | filters
    for block in blocks:
        if reading.depth:
            reading.text_in_loops += block.start - position
        position = block.end
        _check_statement(block, reading)
        _check_names(block, known)
        _count_filters(block, reading)
    if reading.text_in_loops > LOOP_TEXT_MAX:
        raise TemplateFault(1, f"there may be {LOOP_TEXT_MAX} characters inside loops, not {reading.text_in_loops}")
    return Shape(loops=reading.loops, blocks=len(blocks))


def _check_statement(block: Block, reading: _Reading) -> None:
    if not block.statement:
        return
    if block.word not in STATEMENTS:
        raise TemplateFault(block.line, f"{block.word!r} is not allowed in a message; allowed: {sorted(STATEMENTS)}")
    if block.word == "for":
        reading.depth += 1
        reading.loops = True
    elif block.word == "endfor":
        reading.depth = max(0, reading.depth - 1)


def _check_names(block: Block, known: AbstractSet[str]) -> None:
    """Nothing is called but `range`, filters and tests; no filter is unknown, no name is Python's own."""
    tokens = block.tokens
    joins = sum(token == ("sign", "~") for token in tokens)
    if joins > JOINS_IN_BLOCK_MAX:
        raise TemplateFault(block.line, f"a placeholder may join {JOINS_IN_BLOCK_MAX + 1} texts with '~', not more")
    for place, (kind, text) in enumerate(tokens):
        before = tokens[place - 1] if place else ("", "")
        if kind == "name" and text.startswith("__"):
            raise TemplateFault(block.line, f"{text!r} is not allowed in a message")
        if kind == "name" and before == ("sign", "|") and text not in known:
            raise TemplateFault(block.line, f"there is no filter {text!r}; there are: {', '.join(sorted(known))}")
        if text == "(" and kind == "sign" and before[0] not in ("", "sign"):
            _check_call(block, place)
        if text == "(" and before in (("sign", ")"), ("sign", "]")):
            raise TemplateFault(block.line, "a value cannot be called in a message")


def _check_call(block: Block, place: int) -> None:
    """The token before the parenthesis at `place` is a name, a number or a text."""
    kind, name = block.tokens[place - 1]
    earlier = [text for _, text in block.tokens[max(0, place - 3) : place - 1]]
    leading = earlier[-1] if earlier else ""
    if kind != "name" or leading == ".":
        raise TemplateFault(block.line, f"{name!r} cannot be called in a message")
    if leading == "|" or name in _KEYWORDS:
        return
    if leading == "is" or earlier == ["is", "not"]:
        if name not in TESTS:
            raise TemplateFault(block.line, f"there is no test {name!r}; there are: {', '.join(sorted(TESTS))}")
    elif name != "range":
        raise TemplateFault(block.line, f"{name!r} cannot be called in a message")


def _count_filters(block: Block, reading: _Reading) -> None:
    used = [
        text
        for before, (kind, text) in zip((("", ""), *block.tokens), block.tokens, strict=False)
        if kind == "name" and before == ("sign", "|")
    ]
    reading.filters.update(used)
    if len(used) > FILTERS_IN_BLOCK_MAX:
        raise TemplateFault(block.line, f"a placeholder may have {FILTERS_IN_BLOCK_MAX} filters, not {len(used)}")
    if used.count("urlencode") > 1:
        raise TemplateFault(block.line, "'urlencode' makes a text longer: once is enough")
    if reading.filters.total() > FILTERS_MAX:
        raise TemplateFault(block.line, f"a message may have {FILTERS_MAX} filters")
    heavy = HEAVY_FILTERS.intersection(used)
    if heavy and sum(reading.filters[name] for name in HEAVY_FILTERS) > HEAVY_MAX:
        raise TemplateFault(block.line, f"a message may have {HEAVY_MAX} filters like {sorted(heavy)[0]!r}")
    if reading.depth:
        reading.in_loops += len(used)
        if heavy:
            raise TemplateFault(block.line, f"{sorted(heavy)[0]!r} is not allowed inside a loop")
        if reading.in_loops > FILTERS_IN_LOOPS_MAX:
            raise TemplateFault(block.line, f"there may be {FILTERS_IN_LOOPS_MAX} filters inside loops")
