"""Message templates: Jinja's syntax for texts, without the parts that can call, define or allocate.

The engine (minijinja) bounds steps, not memory, and it would let a template call methods of Python values. So what a
template may contain is checked when it is compiled, and what it is given when it is rendered:

    statements      if, elif, else, for; no set, macro, import, raw
    calls           range(...) and the filters in `FILTERS`; no methods
    operators       all but * and **, which repeat texts
    bounds          `SOURCE_MAX`, `VALUE_MAX`, a text of `output_max`, `FUEL` steps, fewer in loops

With these the worst template of the test corpus ends within 50 ms and 10 MB.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import minijinja

Value: TypeAlias = "str | int | float | bool | Sequence[Value] | Mapping[str, Value] | None"

SOURCE_MAX: Final = 64 * 1024  # characters
LOOPING_SOURCE_MAX: Final = 8 * 1024  # characters of a template with a loop: each turn may write as much
VALUE_MAX: Final = 4 * 1024  # characters of one value
ELEMENTS_MAX: Final = 1_000  # of one list or object
FUEL: Final = 20_000  # instructions of the engine
LOOPING_FUEL: Final = 2_000  # some five hundred turns, each at most a value or the source long
SEPARATOR_MAX: Final = 16

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
TESTS: Final = frozenset(
    ["divisibleby", "endingwith", "startingwith", "eq", "ne", "lt", "le", "gt", "ge", "equalto", "sameas", "in"]
)
_KEYWORDS: Final = frozenset({"and", "or", "not", "in", "is", "if", "else", "elif"})
_GLOBALS: Final = ("cycler", "debug", "dict", "joiner", "namespace")

_BLOCK: Final = re.compile(r"\{#.*?#\}|\{\{-?(?P<code>.*?)-?\}\}|\{%-?\+?(?P<statement>.*?)-?\+?%\}", re.DOTALL)
_STRING: Final = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'', re.DOTALL)
_CALL: Final = re.compile(r"(?P<before>\.\s*|\|\s*|\bis\s+(?:not\s+)?)?\b(?P<name>[A-Za-z_]\w*)\s*\(")
_FILTER: Final = re.compile(r"\|\s*(?P<name>\w+)")
_UNDEFINED: Final = re.compile(r"`(?P<name>[A-Za-z_]\w*)")


class MissingVariable(Exception):
    """The template uses a variable that this recipient has no value for, without a `default`."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no value for {name!r}")
        self.name = name


class TemplateFault(Exception):
    """The template cannot be used, or not with these values. `line` counts from 1."""

    def __init__(self, line: int, detail: str) -> None:
        super().__init__(f"line {line}: {detail}")
        self.line = line
        self.detail = detail


class Template:
    """One compiled template. `variables` are the names it uses of what it is given."""

    def __init__(self, environment: minijinja.Environment, variables: frozenset[str], output_max: int) -> None:
        self._environment = environment
        self._output_max = output_max
        self.variables = variables

    def render(self, values: Mapping[str, Value]) -> str:
        """The text for one recipient. A name whose value is None is undefined, so that `default` applies.

        MissingVariable, or TemplateFault if a value or the text is too long, or the steps run out.
        """
        given = {}
        for name in self.variables:
            value = values.get(name)
            if value is None:
                continue
            if type(value) is not str or len(value) > VALUE_MAX:
                _check_value(name, value)
            given[name] = value
        try:
            text = self._environment.render_template("message", **given)
        except minijinja.TemplateError as exc:
            raise self._fault(exc) from exc
        if len(text) > self._output_max:
            raise TemplateFault(1, f"the text has {len(text)} characters, at most {self._output_max} are allowed")
        return text

    def _fault(self, exc: minijinja.TemplateError) -> MissingVariable | TemplateFault:
        if exc.kind == "UndefinedError":
            named = _UNDEFINED.search(exc.detail or "")
            if named is not None and named["name"] in self.variables:
                return MissingVariable(named["name"])
        return TemplateFault(exc.line or 1, exc.detail or exc.message)


class Renderer:
    """Compiles templates; `filters` are those of plugins, by name, beside the built-in ones."""

    def __init__(self, filters: Mapping[str, Callable[..., str]] | None = None) -> None:
        self._filters = dict(filters or {})

    def compile(self, source: str, output_max: int, *, html: bool = False) -> Template:
        """TemplateFault with the line of the first fault. `output_max`: characters. In `html`, values are escaped."""
        if len(source) > SOURCE_MAX:
            raise TemplateFault(1, f"the template has {len(source)} characters, at most {SOURCE_MAX} are allowed")
        loops = self._check(source)
        environment = minijinja.Environment(undefined_behavior="strict", auto_escape_callback=lambda name: html)
        environment.keep_trailing_newline = True
        environment.fuel = LOOPING_FUEL if loops else FUEL
        for name in _GLOBALS:
            environment.remove_global(name)
        environment.add_filter("join", _join)
        for name, function in self._filters.items():
            environment.add_filter(name, function)
        try:
            environment.add_template("message", source)
            variables = environment.undeclared_variables_in_str(source)
        except minijinja.TemplateError as exc:
            raise TemplateFault(exc.line or 1, exc.detail or exc.message) from exc
        return Template(environment, frozenset(variables) - {"range"}, output_max)

    def _check(self, source: str) -> bool:
        """Refuse what a template may not contain. True if it has a loop."""
        loops = False
        for block in _BLOCK.finditer(source):
            code = block["code"] if block["code"] is not None else block["statement"]
            if code is None:
                continue
            line = source.count("\n", 0, block.start()) + 1
            code = _STRING.sub('""', code)
            if block["statement"] is not None:
                word = (code.split() or [""])[0]
                loops = loops or word == "for"
                if word not in STATEMENTS:
                    raise TemplateFault(line, f"{word!r} is not allowed in a message; allowed: {sorted(STATEMENTS)}")
            self._check_code(code, line)
        if loops and len(source) > LOOPING_SOURCE_MAX:
            raise TemplateFault(1, f"a template with a loop may have {LOOPING_SOURCE_MAX} characters")
        return loops

    def _check_code(self, code: str, line: int) -> None:
        if "*" in code:
            raise TemplateFault(line, "'*' is not allowed in a message: it can repeat a text without end")
        known = FILTERS | self._filters.keys()
        for found in _FILTER.finditer(code):
            if found["name"] not in known:
                raise TemplateFault(
                    line, f"there is no filter {found['name']!r}; there are: {', '.join(sorted(known))}"
                )
        for call in _CALL.finditer(code):
            before, name = (call["before"] or "").strip(), call["name"]
            if before == "." or (not before and name not in _KEYWORDS | {"range"}):
                raise TemplateFault(line, f"{name!r} cannot be called in a message")
            if before.startswith("is") and name not in TESTS:
                raise TemplateFault(line, f"there is no test {name!r}; there are: {', '.join(sorted(TESTS))}")


def _join(value: Value, separator: str = "") -> str:
    """The list's elements as one text. The built-in one takes texts apart, and could make them grow without end."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        return str(value)
    return separator[:SEPARATOR_MAX].join(str(element) for element in value)


def _check_value(name: str, value: Value, depth: int = 0) -> None:
    """Plain data of bounded size only: the engine would call the methods of anything else."""
    if isinstance(value, str):
        if len(value) > VALUE_MAX:
            raise TemplateFault(
                1, f"the value of {name!r} has {len(value)} characters, at most {VALUE_MAX} are allowed"
            )
    elif isinstance(value, bool | int | float) or value is None:
        return
    elif isinstance(value, Mapping | list | tuple) and len(value) <= ELEMENTS_MAX and depth < 4:
        for element in value.values() if isinstance(value, Mapping) else value:
            _check_value(name, element, depth + 1)
    else:
        raise TemplateFault(1, f"the value of {name!r} is too large, too deep, or no plain data")
