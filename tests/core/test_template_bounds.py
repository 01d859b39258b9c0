"""No template escapes, and none costs more than 50 ms of the processor and 10 MB, whether it is refused or rendered."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import template_syntax
from gateway.core.template import MissingVariable, Renderer, TemplateFault
from tests.core.escapes import CORPUS, DEEP, GROWING, HARD, REACHING_OUT, VALUES, attempt

MILLISECONDS_MAX = 50
MEGABYTES_MAX = 10


@pytest.fixture(scope="module")
def measured() -> dict[str, tuple[str, float, float]]:
    """What became of each case, its milliseconds and its megabytes."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of memory is measured by Linux")
    done = subprocess.run([sys.executable, "-m", "tests.core.escapes"], capture_output=True, check=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: (end, milliseconds, megabytes) for name, end, milliseconds, megabytes in lines}


@pytest.mark.parametrize("name", CORPUS)
def test_no_template_costs_more_than_its_bounds(name: str, measured: dict[str, tuple[str, float, float]]) -> None:
    end, milliseconds, megabytes = measured[name]
    assert "crash" not in end
    assert milliseconds < MILLISECONDS_MAX
    assert megabytes < MEGABYTES_MAX


@pytest.mark.parametrize("name", [*REACHING_OUT, *GROWING, *DEEP])
def test_what_reaches_out_grows_or_goes_deep_is_an_error(
    name: str, measured: dict[str, tuple[str, float, float]]
) -> None:
    assert measured[name][0] in ("fault", "missing")


def test_what_is_hard_but_allowed_gives_texts() -> None:
    """The corpus would prove nothing if its values were refused."""
    assert sum(attempt(source) == "text" for source in HARD.values()) >= len(HARD) // 2


def render(source: str, **values: Any) -> str:
    return Renderer().compile(source, 10_000).render({**VALUES, **values})


def test_no_method_of_a_value_is_ever_shown() -> None:
    for source in ("{{ object.update | default('none') }}", "{{ many.sort | default('none') }}"):
        assert render(source) == "none"
    assert render("{{ object.items | join }}") == "1"


def test_a_null_inside_of_a_value_is_no_word_in_the_text() -> None:
    assert render("{{ person.name | default('friend') }}", person={"name": None}) == "friend"
    with pytest.raises(MissingVariable):
        render("{{ person.name }}", person={"name": None})


def test_a_string_may_hold_what_looks_like_code() -> None:
    assert render("{{ x | default('}} {% set a %} {# ') }}") == "x"
    assert render("{{ '}}' }}{{ \"{{ it's }}\" }}") == "}}{{ it's }}"


def test_a_comment_may_hold_anything() -> None:
    assert render("a{# {{ x.upper() }} {% macro #}b") == "ab"


def test_what_a_filter_of_a_plugin_raises_is_a_fault_of_the_text() -> None:
    def broken(text: str) -> str:
        raise RuntimeError("out of order")

    template = Renderer({"broken": broken}).compile("{{ x | broken }}", 100)
    with pytest.raises(TemplateFault, match="out of order"):
        template.render({"x": "x"})


def test_an_integer_beyond_64_bits_is_an_error() -> None:
    with pytest.raises(TemplateFault, match="value of 'x'"):
        render("{{ x }}", x=10**30)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ x | no_such }}", "there is no filter 'no_such'"),
        ("one\ntwo {% set a = 1 %}", "line 2: 'set' is not allowed"),
        ("{{ x", "not closed"),
        ("{# x", "comment is not closed"),
        ("{{ 'x }}", "a text is not closed"),
        ("{{ x ? y }}", r"'\?' is not allowed"),
        ("{{ x is odd_one(3) }}", "there is no test 'odd_one'"),
        ("{% for a in many %}{{ many | sort }}{% endfor %}", "'sort' is not allowed inside a loop"),
        ("{{ x" + " | upper" * 9 + " }}", "8 filters, not 9"),
        ("{% for a in many %}" + "{{ a | upper }}" * 21 + "{% endfor %}", "20 filters inside loops"),
        ("{% for a in many %}" + "x" * 2_001 + "{% endfor %}", "2000 characters inside loops"),
    ],
)
def test_a_refusal_names_what_it_refuses(source: str, said: str) -> None:
    with pytest.raises(TemplateFault, match=said):
        Renderer().compile(source, 100)


@given(st.text(alphabet="{}%#'\"\\|.()[] \nax~*-+", max_size=80))
def test_no_code_is_found_by_the_engine_alone(source: str) -> None:
    """Whatever is built of the signs of templates: where we see no block, the engine sees none."""
    try:
        blocks = template_syntax.read_blocks(source)
    except TemplateFault:
        return
    if not blocks and "{#" not in source:
        assert Renderer().compile(source, 1_000).render({}) == source


@given(st.lists(st.sampled_from(["{{", "}}", "{%", "%}", "'", '"', "\\", "x.upper()", "~", " ", "{#", "#}", "|", "e"])))
def test_no_arrangement_of_signs_calls_a_method(pieces: list[str]) -> None:
    source = "".join(pieces)
    try:
        text = Renderer().compile(source, 10_000).render({"x": "quiet"})
    except (TemplateFault, MissingVariable):
        return
    assert "QUIET" not in text
