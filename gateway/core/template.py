"""Message templates: Jinja's syntax for texts, without the parts that can call, define or allocate.

The engine (minijinja) bounds steps, not memory, and it would let a template call methods of Python values. So what a
template may contain is checked when it is compiled (`gateway.core.template_syntax`), and what it is given and what it
writes when it is rendered:

    statements      if, elif, else, for; no set, macro, import, raw
    calls           range(...) and the filters in `FILTERS`; no methods
    operators       all but * and **, which repeat texts; no objects in braces
    bounds          the numbers of that module and of this one

With these every template of the test corpus ends within 50 ms and 10 MB.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import minijinja

from gateway.core.template_syntax import FILTERS, SOURCE_MAX, TemplateFault, check_source

__all__ = ["FILTERS", "SOURCE_MAX", "MissingVariable", "Renderer", "Template", "TemplateFault", "Value"]

Value: TypeAlias = "str | int | float | bool | Sequence[Value] | Mapping[str, Value] | None"

VARIABLES_MAX: Final = 100  # of one template: each is tried out when a message is checked
VALUE_MAX: Final = 4 * 1024  # characters of one text
CHARACTERS_MAX: Final = 16 * 1024  # of all texts in one list or object
ELEMENTS_MAX: Final = 1_000  # of one list or object with all that is in it
LOOPED_CHARACTERS_MAX: Final = 8 * 1024  # the same in a template with a loop: each turn may go through it
LOOPED_ELEMENTS_MAX: Final = 200  # of one list or object there, without what is in its elements
DEPTH_MAX: Final = 4  # of lists and objects in each other
INTEGER_MAX: Final = 1 << 63
FUEL: Final = 20_000  # instructions of the engine
LOOPING_FUEL: Final = 2_000  # 130 turns over rows of three members
RANGE_MAX: Final = 200
SEPARATOR_MAX: Final = 16
UNMETERED_BLOCKS_MAX: Final = 16  # with so few placeholders a text cannot grow beyond some megabytes

_GLOBALS: Final = ("cycler", "debug", "dict", "joiner", "namespace")
_UNDEFINED: Final = re.compile(r"`(?P<name>[^\W\d]\w*)")


class MissingVariable(Exception):
    """The template uses a variable that this recipient has no value for, without a `default`."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no value for {name!r}")
        self.name = name


class _Meter:
    """Counts what a template writes, so that a text which grows too long ends before it is there."""

    __slots__ = ("_left", "_max")

    def __init__(self, output_max: int) -> None:
        self._max = self._left = output_max

    def start(self) -> None:
        self._left = self._max

    def __call__(self, value: Any) -> Any:
        self._left -= len(value) if isinstance(value, str) else len(str(value))
        if self._left < 0:
            raise TemplateFault(1, f"the text has more than {self._max} characters")
        return value


class Template:
    """One compiled template, for one thread at a time. `variables` are the names it uses of what it is given."""

    def __init__(
        self,
        environment: minijinja.Environment,
        variables: frozenset[str],
        output_max: int,
        meter: _Meter | None,
        loops: bool,
    ) -> None:
        self._environment = environment
        self._output_max = output_max
        self._meter = meter
        self._loops = loops
        self.variables = variables

    def render(self, values: Mapping[str, Value]) -> str:
        """The text for one recipient. A name whose value is None is undefined, so that `default` applies.

        MissingVariable, or TemplateFault if a value or the text is too long, the steps run out, or a filter fails.
        """
        given: dict[str, Any] = {}
        for name in self.variables:
            value = values.get(name)
            if value is None:
                continue
            if type(value) is not str or len(value) > VALUE_MAX:
                value = _Reader(name, self._loops).read(value)
            given[name] = value
        if self._meter is not None:
            self._meter.start()
        try:
            text = self._environment.render_template("message", **given)
        except minijinja.TemplateError as exc:
            raise self._fault(exc) from exc
        except TemplateFault:
            raise
        # A plugin's filter is a stranger's code: whatever it raises, this text cannot be written.
        except Exception as exc:
            raise TemplateFault(1, f"{type(exc).__name__}: {exc}") from exc
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
        shape = check_source(source, self._filters.keys())
        environment = minijinja.Environment(undefined_behavior="strict", auto_escape_callback=lambda name: html)
        environment.keep_trailing_newline = True
        environment.fuel = LOOPING_FUEL if shape.loops else FUEL
        for name in _GLOBALS:
            environment.remove_global(name)
        environment.add_global("range", _range)
        environment.add_filter("join", _join)
        for name, function in self._filters.items():
            environment.add_filter(name, function)
        meter = _Meter(output_max) if shape.loops or shape.blocks > UNMETERED_BLOCKS_MAX else None
        if meter is not None:
            environment.finalizer = meter
        try:
            environment.add_template("message", source)
            variables = frozenset(environment.undeclared_variables_in_str(source)) - {"range"}
        except minijinja.TemplateError as exc:
            raise TemplateFault(exc.line or 1, exc.detail or exc.message) from exc
        if len(variables) > VARIABLES_MAX:
            raise TemplateFault(1, f"the template uses {len(variables)} variables, at most {VARIABLES_MAX} are allowed")
        return Template(environment, variables, output_max, meter, shape.loops)


def _range(start: int, stop: int | None = None, step: int = 1) -> list[int]:
    numbers = range(start) if stop is None else range(start, stop, step)
    if len(numbers) > RANGE_MAX:
        raise TemplateFault(1, f"range(...) may have {RANGE_MAX} elements, not {len(numbers)}")
    return list(numbers)


def _join(value: Value, separator: str = "") -> str:
    """The list's elements as one text. The built-in one takes texts apart, and could make them grow without end."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        return str(value)
    text = separator[:SEPARATOR_MAX].join(str(element) for element in value)
    if len(text) > CHARACTERS_MAX:
        raise TemplateFault(1, f"the joined text has {len(text)} characters, at most {CHARACTERS_MAX} are allowed")
    return text


class _Object(dict[str, Any]):
    """A value's members and nothing else: the engine would read the attributes of a dict where no member is found."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        return _own(super().__getattribute__, name)


class _List(list[Any]):
    """A value's elements and nothing else."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        return _own(super().__getattribute__, name)


def _own(find: Callable[[str], Any], name: str) -> Any:
    if name.startswith("__"):  # Python's own protocols; the syntax lets no template name one
        return find(name)
    raise AttributeError(name)


class _Reader:
    """Takes one value over as plain data of bounded size: the engine would call the methods of anything else."""

    def __init__(self, name: str, loops: bool) -> None:
        self._name = name
        self._elements_max = LOOPED_ELEMENTS_MAX if loops else ELEMENTS_MAX
        self._characters_max = LOOPED_CHARACTERS_MAX if loops else CHARACTERS_MAX
        self._elements = 0
        self._characters = 0

    def read(self, value: Value, depth: int = 0) -> Any:
        """The copy. TemplateFault."""
        if isinstance(value, str):
            self._characters += len(value)
            if len(value) > VALUE_MAX or self._characters > self._characters_max:
                raise self._too_long(len(value))
            return value
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int) and abs(value) < INTEGER_MAX:
            return value
        if isinstance(value, Mapping | list | tuple) and depth < DEPTH_MAX:
            self._elements += len(value)
            if len(value) <= self._elements_max and self._elements <= ELEMENTS_MAX:
                return self._collection(value, depth)
        raise TemplateFault(1, f"the value of {self._name!r} is too large, too deep, or no plain data")

    def _collection(self, value: Mapping[str, Value] | Sequence[Value], depth: int) -> Any:
        """A member that is null is left out: it is undefined, like a variable that is null."""
        if isinstance(value, Mapping):
            return _Object(
                {
                    self.read(name, depth + 1): self.read(member, depth + 1)
                    for name, member in value.items()
                    if member is not None
                }
            )
        return _List(self.read(element, depth + 1) for element in value)

    def _too_long(self, characters: int) -> TemplateFault:
        if characters > VALUE_MAX:
            return TemplateFault(
                1, f"the value of {self._name!r} has {characters} characters, at most {VALUE_MAX} are allowed"
            )
        return TemplateFault(
            1, f"the texts of {self._name!r} have more than {self._characters_max} characters together"
        )
