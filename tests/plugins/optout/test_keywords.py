"""Which texts are a wish, and how they are answered."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import Inbound, InboundFacts, Reaction
from gateway_optout.keywords import Keywords, KeywordSettings
from gateway_optout.words import LANGUAGES, folded

SMS = InboundFacts(org="default", title="Grace Church", channel="sms", sender="texts")


def read(text: str, *, button: str | None = None, **settings: Any) -> Reaction | None:
    policy = Keywords(msgspec.convert(settings, KeywordSettings))
    return policy.read(Inbound(provider_id="in_1", address="+14155550100", text=text, button=button), SMS)


def wish(text: str, **settings: Any) -> str | None:
    reaction = read(text, **settings)
    return "nothing" if reaction is None else reaction.wish


TWILIO = ["STOP", "STOPALL", "UNSUBSCRIBE", "END", "QUIT", "REVOKE", "OPTOUT", "CANCEL"]
FCC = ["stop", "quit", "end", "revoke", "opt out", "cancel", "unsubscribe"]


@pytest.mark.parametrize("text", [*TWILIO, *FCC, "STOP ALL", "Opt-Out", "Remove me"])
def test_twilios_words_and_those_of_the_fcc_are_wishes_to_leave(text: str) -> None:
    assert wish(text) == "out"


@pytest.mark.parametrize(
    "text",
    ["Stop.", " stop ", "STOP!!!", '"Stop"', "'STOP'", "stop\n", "STOP 🛑", "“Stop”",
     "ＳＴＯＰ", "¡Alto!", "Arrêt", "ARRÊTER", "Stopp", "descadastrar"],
)  # fmt: skip
def test_case_signs_and_accents_do_not_matter(text: str) -> None:
    assert wish(text) == "out"


@pytest.mark.parametrize(
    "text",
    ["nonstop", "non-stop", "Don't stop", "stop by at eight", "bus stop", "The end of it", "I quit smoking", "endless",
     "", "  ", "...", "🛑", "yes", "stop" * 100, "s t o p"],
)  # fmt: skip
def test_a_word_inside_a_text_is_no_wish(text: str) -> None:
    assert wish(text) == "nothing"


@pytest.mark.parametrize("text", ["START", "unstop", "Subscribe", "opt in", "Alta", "Anmelden"])
def test_who_left_can_come_back(text: str) -> None:
    assert wish(text) == "in"


def test_help_is_answered_and_is_no_wish() -> None:
    reaction = read("Help?")
    assert reaction is not None
    assert (reaction.wish, reaction.reply) == (None, LANGUAGES["en"].helping.replace("{org}", "Grace Church"))


def test_the_answer_is_in_the_language_of_the_word_and_names_the_org() -> None:
    for word, language in (("stop", "en"), ("baja", "es"), ("abmelden", "de"), ("sair", "pt")):
        reaction = read(word)
        assert reaction is not None
        assert reaction.reply == LANGUAGES[language].goodbye.replace("{org}", "Grace Church")


def test_the_operator_s_own_texts_are_answered_instead() -> None:
    reaction = read("stop", goodbye="{org} says goodbye")
    assert reaction is not None
    assert reaction.reply == "Grace Church says goodbye"
    silent = read("stop", reply=False)
    assert silent == Reaction("out", None, None)


def test_words_can_be_added_and_taken_away() -> None:
    assert wish("Leave me alone", out=["leave me alone!"]) == "out"
    assert wish("yes", back=["YES"]) == "in"
    assert wish("END", ignore=["end"]) == "nothing"
    assert wish("abmelden", languages=["en"]) == "nothing"


def test_a_word_may_be_about_one_category() -> None:
    reaction = read("Stop news", categories={"stop news": "newsletter"})
    assert reaction is not None
    assert (reaction.wish, reaction.category) == ("out", "newsletter")


def test_whatsapp_s_own_button_is_about_marketing_alone() -> None:
    reaction = read("Stop promotions", button="Stop promotions")
    assert reaction is not None
    assert (reaction.wish, reaction.category) == ("out", "marketing")


def test_a_pressed_button_is_a_wish_by_its_payload_or_its_text() -> None:
    settings = {"out": ["STOP_PROMOTIONS"]}
    by_payload = read("No thanks", button="STOP_PROMOTIONS", **settings)
    assert by_payload is not None
    assert by_payload.wish == "out"
    by_text = read("Stop", button="7f3a")
    assert by_text is not None
    assert by_text.wish == "out"
    assert read("More", button="MORE") is None


def test_a_word_without_letters_is_refused_with_a_sentence() -> None:
    with pytest.raises(msgspec.ValidationError, match="neither letters nor digits"):
        msgspec.convert({"out": ["!!!"]}, KeywordSettings)


@given(st.text(max_size=300))
def test_folding_is_idempotent_and_leaves_words_alone(text: str) -> None:
    once = folded(text)
    assert folded(once) == once
    assert "  " not in once
    assert once == once.strip()


def test_no_word_has_two_meanings_and_every_one_is_in_its_folded_spelling() -> None:
    meanings: dict[str, set[str]] = {}
    for language in LANGUAGES.values():
        for kind, words in (("out", language.out), ("in", language.back), ("help", language.help)):
            for word in words:
                assert folded(word) == word
                meanings.setdefault(word, set()).add(kind)
    assert {word: kinds for word, kinds in meanings.items() if len(kinds) > 1} == {}


def test_the_answers_fit_into_few_sms() -> None:
    for language in LANGUAGES.values():
        for text in (language.goodbye, language.welcome, language.helping):
            assert "{org}" in text
            assert len(text) <= 150
