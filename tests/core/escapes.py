"""Templates that try to escape, to loop without end or to allocate, and what it costs to be told so.

Run as a program it measures each case in a process of its own: `python -m tests.core.escapes` prints a line of JSON for
each, with the processor's milliseconds and the megabytes at the peak, from the source to the text or the fault.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.core.template import MissingVariable, Renderer, TemplateFault

OUTPUT_MAX: Final = 256 * 1024
LOOPS: Final = "{% for i in range(200) %}{% for j in range(200) %}"
WIDE: Final = "\U0001f600"  # four bytes, and twelve in a URL

VALUES: Final[Mapping[str, Any]] = {
    "n": WIDE * 4_096,
    "x": "x",
    "many": [f"{WIDE * 36}{number:03}" for number in range(200)],
    "thousand": [f"element {number:04}" for number in range(1_000)],
    "numbers": list(range(200)),
    "rows": [{"name": WIDE * 8, "price": 1.5, "tags": ["a"]} for _ in range(150)],
    "object": {"a": {"b": {"c": 1}}, "items": [1]},
}

REACHING_OUT: Final[Mapping[str, str]] = {
    "a class": "{{ ''.__class__ }}",
    "a class of an object": "{{ object.__class__.__mro__ }}",
    "a class by subscript": "{{ x['__class__'] }}",
    "a method as a value": "{{ object.keys }}",
    "a method as a value by subscript": "{{ object['update'] }}",
    "a method of a list": "{{ many.append }}",
    "a method": "{{ x.upper() }}",
    "a method behind a space": "{{ x . upper () }}",
    "a method behind a string that looks like an end": "{{ '}}' ~ x.upper() }}",
    "a method behind a string that looks like a comment": "{{ '{#' ~ x.upper() ~ '#}' }}",
    "a method behind an escaped quote": "{{ 'a\\'}}' ~ x.upper() }}",
    "a method in a loop": "{% for i in object.items() %}{{ i }}{% endfor %}",
    "a method by subscript": "{{ object['keys']() }}",
    "a method in parentheses": "{{ (x.upper)() }}",
    "a call of a call": "{{ range(3)() }}",
    "a number called": "{{ 1(2) }}",
    "a text called": "{{ 'a'(2) }}",
    "a change of a value": "{{ many.clear() }}",
    "formatting": "{{ '%s' | format(x) }}",
    "formatting by a method": "{{ '{0.__class__}'.format(x) }}",
    "an attribute by a filter": "{{ x | attr('upper') }}",
    "a map over attributes": "{{ many | map(attribute='__class__') | join }}",
    "a selection": "{{ many | selectattr('x') | list }}",
    "a definition": "{% set a = 'x' %}{{ a }}",
    "a definition with a body": "{% set a %}x{% endset %}",
    "a macro": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a call block": "{% call m() %}{% endcall %}",
    "an inclusion": "{% include '/etc/passwd' %}",
    "an import": "{% import 'os' as os %}",
    "an import of names": "{% from 'os' import system %}",
    "inheritance": "{% extends 'base' %}",
    "a block": "{% block a %}{% endblock %}",
    "a statement": "{% do many.append(1) %}",
    "a filter block": "{% filter upper %}x{% endfilter %}",
    "a raw block that hides code": "{% raw %}{{ x }}{% endraw %}",
    "a raw block without spaces": "{%-raw-%}{{ x }}{%-endraw-%}",
    "another escaping": "{% autoescape false %}{{ x }}{% endautoescape %}",
    "with": "{% with a = 1 %}{{ a }}{% endwith %}",
    "recursion": "{% for a in many recursive %}{{ loop(many) }}{% endfor %}",
    "the engine's insides": "{{ debug() }}",
    "a namespace": "{{ namespace(a=1) }}",
    "an object made": "{{ dict(a=1) }}",
    "an object in braces": "{{ {'a': 1} }}",
    "a cycler": "{{ cycler('a', 'b') }}",
    "an unknown function": "{{ lipsum(100) }}",
    "super": "{{ super() }}",
    "itself": "{{ self }}",
}
"""Each of these is an error."""

GROWING: Final[Mapping[str, str]] = {
    "a text times a number": "{{ 'x' * 100000000 }}",
    "a text times a number behind a string": "{{ '}}' * 300000000 }}",
    "a list times a number": "{{ ['}}'] * 100000000 }}",
    "a power": "{{ 9 ** 999999 }}",
    "a large range": "{{ range(99999) | length }}",
    "an enormous range": "{{ range(1000000000000) | length }}",
    "a range with a step of nothing": "{{ range(1, 5, 0) | length }}",
    "a joined range": "{{ range(99999) | join(', ..............') }}",
    "loops in loops": "{% for i in range(200) %}" * 3 + "{{ x }}" + "{% endfor %}" * 3,
    "deep loops": "{% for i in many %}" * 100 + "{{ n }}" + "{% endfor %}" * 100,
    "a long text in a loop": "{% for i in range(200) %}" + "x" * 60_000 + "{% endfor %}",
    "a wide text in loops": "{% for i in range(200) %}{% for j in range(200) %}"
    + WIDE * 1_900
    + "{% endfor %}{% endfor %}",
    "a long value in loops": "{% for i in range(200) %}{% for j in range(200) %}{{ n }}{% endfor %}{% endfor %}",
    "a list in loops": "{% for i in range(200) %}{{ many }}{% endfor %}",
    "a joined list in a loop": "{% for i in range(200) %}{{ many | join | length }}{% endfor %}" * 3,
    "a sorted list in a loop": "{% for i in many %}{{ many | sort | unique | length }}{% endfor %}",
    "many joined lists": "{{ many | join }}" * 199,
    "a long value very often": "{{ n }}" * 499,
    "a long value too often": "{{ n }}" * 9_000,
    "a value joined to itself": "{{ n" + " ~ n" * 15_000 + " }}",
    "values joined in loops": "{% for i in range(200) %}{{ n" + " ~ n" * 8 + " }}{% endfor %}",
    "a text encoded again and again": "{{ n" + " | urlencode" * 6_000 + " }}",
    "a text encoded twice": "{{ n | urlencode | urlencode }}",
    "a long chain of filters": "{{ n" + " | upper" * 5_000 + " }}",
    "many sums with a long start": "{{ many | sum(start=n) }}" * 100,
    "a separator of any length": "{{ many | join(n) | join(n) }}" * 100,
    "an end of any length": "{{ x | truncate(length=1, end=n) }}",
    "replacement": "{{ n | replace('a', n) }}",
    "indentation": "{{ n | indent(100000000) }}",
    "centring": "{{ x | center(100000000) }}",
    "word wrap": "{{ n | wordwrap(1) }}",
    "JSON of JSON": "{{ n | tojson | tojson | tojson }}",
    "pretty printing": "{{ many | pprint }}",
    "batches": "{{ many | batch(1, n) | list }}",
    "slices": "{{ many | slice(100000000) | list }}",
    "a list of a text": "{{ n | list }}",
    "splitting": "{{ n | split('') | join(n) }}",
    "a huge argument": "{{ x | truncate(length=99999999999999999999) }}",
    "a huge number": "{{ " + "9" * 40_000 + " }}",
    "very many variables": "".join(f"{{{{ a{number} }}}}" for number in range(400)),
}
"""Each of these is an error."""

DEEP: Final[Mapping[str, str]] = {
    "a sum of many": "{{ 1" + "+1" * 30_000 + " }}",
    "parentheses": "{{ " + "(" * 30_000 + "1" + ")" * 30_000 + " }}",
    "brackets": "{{ " + "[" * 30_000 + "1" + "]" * 30_000 + " }}",
    "signs": "{{ " + "-" * 30_000 + "1 }}",
    "negations": "{{ " + "not " * 15_000 + "n }}",
    "members": "{{ object" + ".a" * 30_000 + " }}",
    "subscripts": "{{ object" + "[0]" * 20_000 + " }}",
    "a chain of ands": "{{ n" + " and n" * 10_000 + " }}",
    "comparisons": "{{ n" + " < n" * 10_000 + " }}",
    "choices": "{{ " + "1 if n else " * 5_000 + "2 }}",
    "ifs": "{% if n %}" * 3_000 + "{% endif %}" * 3_000,
    "elifs": "{% if n %}" + "{% elif n %}" * 5_000 + "{% endif %}",
    "calls": "{{ " + "a(" * 20_000 + " }}",
    "a list of many": "{{ [" + "n," * 20_000 + "] }}",
    "openings": "{{" * 32_000,
    "openings of statements": "{%" * 32_000,
    "openings of comments": "{#" * 32_000,
    "ends": "{{ x " + "%}" * 30_000,
    "a string without end": "{{ '" + "\\\\" * 30_000,
    "quotes": "{{ " + "'\"" * 30_000,
    "a source without end": "x" * 1_000_000,
}
"""Each of these is an error."""

HARD: Final[Mapping[str, str]] = {
    "as many filters as there may be": "{{ n | upper | lower | title }}" * 66,
    "as many ifs as there may be": "{% if n %}" + "{% elif n %}" * 497 + "{% endif %}",
    "as much code as there may be": ("{{ 1" + "+1" * 248 + " }}") * 39,
    "as many signs as there may be": ("{{ " + "-" * 480 + "1 }}") * 41,
    "as many comparisons as there may be": "{{ thousand == thousand }}" * 499,
    "as many lists as there may be": "{{ [" + "n," * 240 + "] | length }}" * 1,
    "lists sorted": "{{ thousand | sort | unique | length }}" * 5,
    "sums with a long start": "{{ many | sum(start=n) | length }}" * 10,
    "comparisons of lists in a loop": LOOPS + "{{ many == many }}" + "{% endfor %}" * 2,
    "looking for what is not there": LOOPS + "{{ n in many }}" + "{% endfor %}" * 2,
    "joins in a loop": LOOPS + "{{ numbers | join | length }}" + "{% endfor %}" * 2,
    "encoding in a loop": LOOPS + "{{ n | urlencode | length }}" + "{% endfor %}" * 2,
    "copies in a loop": LOOPS + "{{ many[::-1] | length }}" + "{% endfor %}" * 2,
    "texts of lists in a loop": LOOPS + "{{ (many ~ many) | length }}" + "{% endfor %}" * 2,
    "rows": "{% for row in rows %}{{ row.name }} {{ row.price }}\n{% endfor %}",
    "a source as long as it may be": "x" * 65_000 + "{{ x }}",
}
"""What is allowed costs no more than an error."""

CORPUS: Final = {**REACHING_OUT, **GROWING, **DEEP, **HARD}


def attempt(source: str) -> str:
    """`fault`, `missing` or `text`, compiled and rendered as an HTML text and as a plain one."""
    ends = set()
    for html in (False, True):
        try:
            Renderer().compile(source, OUTPUT_MAX, html=html).render(VALUES)
            ends.add("text")
        except TemplateFault:
            ends.add("fault")
        except MissingVariable:
            ends.add("missing")
    return "/".join(sorted(ends))


TRIES_MAX: Final = 25
PLENTY_MILLISECONDS: Final = 25.0  # half of what is allowed: a case above that is tried again


def _peak() -> int:
    """Kilobytes: the largest that this process has been since `clear_refs` was last written to."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0])


def measure(name: str) -> None:
    """One line of JSON about one case: the mean of its two renderings, the best of some tries on a busy machine."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, end = _peak(), ""
    took: list[float] = []
    while len(took) < TRIES_MAX and (len(took) < 2 or min(took) > PLENTY_MILLISECONDS):
        began = time.process_time()
        end = attempt(CORPUS[name])
        took.append((time.process_time() - began) * 1000 / 2)
    print(json.dumps([name, end, round(min(took), 1), round((_peak() - before) / 1024, 1)]), flush=True)


def main() -> None:
    """Every case in a child: what one frees is not there for the next, and a crash ends nothing else."""
    attempt("{{ x }} {% for i in many %}{{ i | join }}{% endfor %}")  # what is loaded once is nobody's cost
    for name in CORPUS:
        child = os.fork()
        if child == 0:
            measure(name)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            print(json.dumps([name, f"crash {status}", 0.0, 0.0]), flush=True)


if __name__ == "__main__":
    main()
