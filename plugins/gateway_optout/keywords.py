"""What an inbound text means: to leave, to come back, to ask for help, or nothing of the kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from gateway import Inbound, InboundFacts, InboundPolicy, Reaction
from gateway_optout.words import LANGUAGES, Language, folded

LanguageName = Literal["en", "es", "fr", "de", "pt", "it", "nl"]
Word = Annotated[str, Meta(min_length=1, max_length=100)]
Text = Annotated[str, Meta(min_length=1, max_length=1_000)]
ORG: Final = "{org}"

Wish = Literal["out", "in"] | None


class KeywordSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[plugins.optout]`."""

    languages: tuple[LanguageName, ...] = ("en", "es", "fr", "de", "pt", "it", "nl")
    """Whose words are known. A word of several languages is answered in the first of them."""
    out: tuple[Word, ...] = ()
    """More words to leave by; also the payloads of template buttons, such as "STOP_PROMOTIONS"."""
    back: tuple[Word, ...] = ()
    """More words to come back with."""
    help: tuple[Word, ...] = ()
    """More words to ask for help with."""
    ignore: tuple[Word, ...] = ()
    """Words of the lists that mean something else to your people, such as "end"."""
    categories: dict[Word, Word] = field(default_factory=lambda: {"stop promotions": "marketing"})
    """Words by which people leave one category only: { "stop news" = "newsletter" }. WhatsApp's own button is one."""
    goodbye: Text | None = None
    """The one text that answers who left. `{org}` is the org's title. Unset: one in the language of the word."""
    welcome: Text | None = None
    """The text that answers who came back."""
    helping: Text | None = None
    """The text that answers who asked for help: who you are, how to reach you, how to leave."""
    reply: bool = True
    """False: nobody is answered."""

    def __post_init__(self) -> None:
        words = (*self.out, *self.back, *self.help, *self.ignore, *self.categories)
        empty = [word for word in words if not folded(word)]
        if empty:
            raise ValueError(f"{empty[0]!r} has neither letters nor digits: no text can be it.")


class Keywords(InboundPolicy[KeywordSettings]):
    """A text that is one of the words, and nothing else, is that wish: "nonstop" is none."""

    name = "optout"
    settings_type = KeywordSettings

    def __init__(self, settings: KeywordSettings) -> None:
        super().__init__(settings)
        ignored = set(map(folded, settings.ignore))
        self._meanings: dict[str, Reaction] = {}
        for word, meaning in (*_own_words(settings), *_known_words(settings)):
            if folded(word) not in ignored:
                reply = meaning.reply if settings.reply else None
                self._meanings.setdefault(folded(word), Reaction(meaning.wish, meaning.category, reply))

    def read(self, inbound: Inbound, facts: InboundFacts) -> Reaction | None:
        for text in (inbound.button, inbound.text):
            meaning = None if text is None else self._meanings.get(folded(text))
            if meaning is not None:
                reply = None if meaning.reply is None else meaning.reply.replace(ORG, facts.title)
                return Reaction(meaning.wish, meaning.category, reply)
        return None


def _own_words(settings: KeywordSettings) -> Iterator[tuple[str, Reaction]]:
    """The operator's, answered in the first language."""
    first = LANGUAGES[settings.languages[0] if settings.languages else "en"]
    for word, category in settings.categories.items():
        yield word, Reaction("out", category, settings.goodbye or first.goodbye)
    yield from _of_language(settings, replace(first, out=settings.out, back=settings.back, help=settings.help))


def _known_words(settings: KeywordSettings) -> Iterator[tuple[str, Reaction]]:
    for name in settings.languages:
        yield from _of_language(settings, LANGUAGES[name])


def _of_language(settings: KeywordSettings, language: Language) -> Iterator[tuple[str, Reaction]]:
    meanings: tuple[tuple[tuple[str, ...], Wish, str], ...] = (
        (language.out, "out", settings.goodbye or language.goodbye),
        (language.back, "in", settings.welcome or language.welcome),
        (language.help, None, settings.helping or language.helping),
    )
    for words, wish, answer in meanings:
        for word in words:
            yield word, Reaction(wish, None, answer)
