"""Templates: what they may contain, what happens without a value, and that nothing in them grows without end."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.template import MissingVariable, Renderer, TemplateFault

MAX = 10_000


def render(source: str, html: bool = False, **values: object) -> str:
    return Renderer().compile(source, MAX, html=html).render(values)  # type: ignore[arg-type]


def test_variables_are_known_before_anything_is_rendered() -> None:
    template = Renderer().compile("{{ name }} {% for tag in tags %}{{ tag }}{{ loop.index }}{% endfor %}", MAX)
    assert template.variables == {"name", "tags"}


def test_a_missing_value_is_an_error_that_names_it_and_a_default_helps() -> None:
    with pytest.raises(MissingVariable) as raised:
        render("Hi {{ first_name }}")
    assert raised.value.name == "first_name"
    assert render("Hi {{ first_name | default('friend') }}") == "Hi friend"


def test_null_is_undefined_so_that_the_default_applies() -> None:
    assert render("Hi {{ first_name | default('friend') }}", first_name=None) == "Hi friend"
    with pytest.raises(MissingVariable):
        render("Hi {{ first_name }}", first_name=None)


def test_html_escapes_values_and_text_does_not() -> None:
    assert render("{{ name }}", name="<b>") == "<b>"
    assert render("{{ name }}", html=True, name="<b>") == "&lt;b&gt;"


def test_conditions_loops_and_lists_work() -> None:
    source = "{% if city == 'Lagos' %}here{% else %}there{% endif %} {{ tags | join(', ') }} {{ person.name }}"
    assert render(source, city="Lagos", tags=["a", "b"], person={"name": "Ada"}) == "here a, b Ada"


def test_a_trailing_line_end_stays() -> None:
    assert render("Hi\n") == "Hi\n"


def test_a_syntax_error_tells_its_line() -> None:
    with pytest.raises(TemplateFault) as raised:
        Renderer().compile("one\ntwo {{ name\n", MAX)
    assert raised.value.line in (2, 3)


def test_filters_of_plugins_are_known() -> None:
    shout = Renderer({"shout": lambda text: f"{text}!"})
    assert shout.compile("{{ name | shout }}", MAX).render({"name": "Ada"}) == "Ada!"


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 100000000 }}",
        "{{ 2 ** 100000 }}",
        "{% set a = 'x' %}{{ a }}",
        "{% macro m() %}{% endmacro %}",
        "{% include 'other' %}",
        "{% import 'os' as os %}",
        "{% raw %}{{ x }}{% endraw %}",
        "{{ tags.append('x') }}",
        "{{ name.upper() }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ name | replace('a', 'aaaa') }}",
        "{{ name | tojson | tojson }}",
        "{{ name | split('') | join('xxxx') }}",
        "{{ name | format(name) }}",
        "{{ debug() }}",
        "{{ namespace(a=1) }}",
        "{{ dict(a=1) }}",
        "{{ cycler('a') }}",
        "{{ name | attr('upper') }}",
        "x" * 70_000,
        "{% for i in range(3) %}" + "x" * 9_000 + "{% endfor %}",
    ],
)
def test_what_could_call_define_or_grow_is_refused_when_it_is_compiled(source: str) -> None:
    with pytest.raises((TemplateFault, MissingVariable)):
        Renderer().compile(source, MAX).render({"name": "a" * 100, "tags": ["x"]})


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{{ name }}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}" + "x" * 7_000 + "{% endfor %}",
        "{{ name }}" * 100,
    ],
)
def test_a_text_that_grows_too_long_is_an_error(source: str) -> None:
    with pytest.raises(TemplateFault):
        Renderer().compile(source, MAX).render({"name": "y" * 4_096})


@pytest.mark.parametrize("value", ["x" * 5_000, list(range(2_000)), object(), {"a": {"b": {"c": {"d": {"e": 1}}}}}])
def test_a_value_that_is_too_large_or_no_plain_data_is_an_error(value: object) -> None:
    with pytest.raises(TemplateFault, match="value of 'name'"):
        render("{{ name }}", name=value)


@given(st.text(max_size=60))
def test_no_source_fails_otherwise_than_by_a_fault(source: str) -> None:
    with contextlib.suppress(TemplateFault, MissingVariable):
        assert isinstance(render(source, name="Ada"), str)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200))
def test_a_value_is_written_as_it_is(value: str) -> None:
    assert render("[{{ name }}]", name=value) == f"[{value}]"
    assert not re.search(r"<script>", render("{{ name }}", html=True, name=f"<script>{value}"))
