"""The plain text of a mail that was given in HTML alone."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.plain_text import plain_text_of
from gateway.core.template import MissingVariable, Renderer, TemplateFault


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<p>Hello,</p><p>world</p>", "Hello,\n\nworld"),
        ("one<br>two<BR/>three", "one\ntwo\nthree"),
        ("<p>  many \n spaces  <b>and</b> tags </p>", "many spaces and tags"),
        ("<b>bold</b>face", "boldface"),
        ("<ul><li>one</li><li>two</li></ul>", "- one\n- two"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("Tom &amp; Jerry &lt;3 &eacute;&nbsp;x", "Tom & Jerry <3 é x"),
        ('<a href="https://a.example/?x=1&amp;y=2">Read</a>', "Read (https://a.example/?x=1&y=2)"),
        ('<a href="https://a.example">https://a.example</a>', "https://a.example"),
        ("<a href='mailto:ada@example.org'>Write</a>", "Write (ada@example.org)"),
        ('<a href="#top">Up</a> <a href="javascript:x()">Go</a>', "Up Go"),
        ('<a href="{{ unsubscribe_url }}">Leave</a>', "Leave ({{ unsubscribe_url }})"),
        ('<img src="x.png" alt="Our church">', "Our church"),
        ("<style>p { color: red }</style><script>a < b</script>Seen<title>No</title>", "Seen"),
        ("<!-- a > b <p> -->Seen<!DOCTYPE html>", "Seen"),
        ("Hi {{ first_name }}{# a note <p> #},", "Hi {{ first_name }},"),
        ("{% if x %}<p>yes</p>{% else %}no{% endif %}", "{% if x %}\n\nyes\n\n{% else %}no{% endif %}"),
        ('<p {% if x %}class="a"{% endif %}>Hi</p>', "{% if x %}{% endif %}\n\nHi"),
        ("{{ '<p>' }}", "{{ '<p>' }}"),
        ("{% if 2 > 1 %}<i>x</i>{% endif %}", "{% if 2 > 1 %}x{% endif %}"),
        ("{{ text | safe }}", "{{ text | striptags }}"),
        ("&#123;&#123; x }} &#123;{{ x }}", "{{ '{' }}{ x }} {{ '{' }}{{ x }}"),
        ("1 < 2 and <unclosed", "1 < 2 and <unclosed"),
    ],
)
def test_a_text_is_made_of_html(source: str, text: str) -> None:
    assert plain_text_of(source) == text


def test_values_are_written_as_they_are() -> None:
    source = "<p>Hi {{ name }}</p><ul>{% for tag in tags %}<li>{{ tag | e }}</li>{% endfor %}</ul>"
    text = Renderer().compile(plain_text_of(source), 1_000).render({"name": "<Ada & Co>", "tags": ["a&b", "c"]})
    assert text == "Hi <Ada & Co>\n\n\n- a&b\n- c"


def test_a_block_that_is_not_closed_is_a_fault() -> None:
    with pytest.raises(TemplateFault):
        plain_text_of("<p>{{ x </p>")


@pytest.mark.parametrize(
    "piece", ["<", "<a ", '<a href="', "<!--", "<style>", "&", "</", "{#x#}", "<a href=https://x>", "</a>"]
)
def test_hostile_html_takes_no_longer_than_its_length(piece: str) -> None:
    source = (piece * 65_536)[: 64 * 1024]
    began = time.process_time()
    with contextlib.suppress(TemplateFault):
        plain_text_of(source)
    assert time.process_time() - began < 0.5


@given(
    st.lists(
        st.sampled_from(["<p>", "</p>", "<a href='", "'", ">", "</a>", "{{ x }}", "{", "%", "#", "&#123;", "a", " "])
    )
)
def test_the_text_can_be_rendered_wherever_the_html_can(pieces: list[str]) -> None:
    source = "".join(pieces)
    try:
        Renderer().compile(source, 10_000, html=True)
    except TemplateFault:
        return
    with contextlib.suppress(MissingVariable):
        Renderer().compile(plain_text_of(source), 10_000).render({"x": "y"})
