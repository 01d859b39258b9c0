"""Counting SMS, by the table that Twilio's own calculator gives (sms-segments-calculator 1.3.0)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.segments import GSM7_BASIC, GSM7_EXTENSION, count_segments


@pytest.mark.parametrize(
    ("text", "encoding", "segments"),
    [
        ("a" * 160, "gsm7", 1),
        ("a" * 161, "gsm7", 2),
        ("a" * 306, "gsm7", 2),
        ("a" * 307, "gsm7", 3),
        ("€" * 80, "gsm7", 1),
        ("€" * 81, "gsm7", 2),
        ("a" * 152 + "€" + "a" * 10, "gsm7", 2),
        ("Ç", "gsm7", 1),
        ("ç", "ucs2", 1),
        ("`", "ucs2", 1),
        ("ю" * 70, "ucs2", 1),
        ("ю" * 71, "ucs2", 2),
        ("ю" * 134, "ucs2", 2),
        ("ю" * 135, "ucs2", 3),
        ("😀" * 35, "ucs2", 1),
        ("😀" * 36, "ucs2", 2),
        ("ю" * 66 + "😀" + "ю" * 10, "ucs2", 2),
    ],
)
def test_texts_are_counted_as_twilio_counts_them(text: str, encoding: str, segments: int) -> None:
    counted = count_segments(text)
    assert (counted.encoding, counted.segments) == (encoding, segments)


@pytest.mark.parametrize(
    "text", ["‘quoted’", "“quoted”", "en – dash", "em — dash", "and so on…", "no\u00a0break", "tab\t"]
)
def test_typographic_characters_cost_the_small_alphabet(text: str) -> None:
    assert count_segments(text).encoding == "ucs2"


def test_the_alphabet_has_128_places_with_its_escape() -> None:
    assert len(set(GSM7_BASIC)) == len(GSM7_BASIC) == 127
    assert not set(GSM7_BASIC) & set(GSM7_EXTENSION)


def test_an_empty_text_is_one_sms() -> None:
    assert count_segments("").segments == 1


def split(text: str) -> list[str]:
    """The parts of a text, made one character after another: slow, and plainly right."""
    gsm7 = set(text) <= set(GSM7_BASIC + GSM7_EXTENSION)
    size = {
        character: 2 if (character in GSM7_EXTENSION if gsm7 else ord(character) > 0xFFFF) else 1 for character in text
    }
    if sum(size[character] for character in text) <= (160 if gsm7 else 70):
        return [text]
    parts, room = [""], 153 if gsm7 else 67
    for character in text:
        if sum(size[one] for one in parts[-1]) + size[character] > room:
            parts.append("")
        parts[-1] += character
    return parts


texts = st.text(alphabet="ab€^ю😀", max_size=700) | st.text(alphabet="ab€^", max_size=700)


@given(texts)
def test_it_counts_the_parts_that_one_would_make_by_hand(text: str) -> None:
    assert count_segments(text).segments == len(split(text))


@given(texts, st.sampled_from("a€ю😀"))
def test_a_longer_text_never_costs_less(text: str, more: str) -> None:
    assert count_segments(text + more).segments >= count_segments(text).segments
