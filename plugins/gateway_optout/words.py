"""The words by which people leave, come back and ask for help, by language.

English: Twilio's default keywords (twilio.com/docs/messaging/tutorials/advanced-opt-out, 2026) and those that the FCC
holds to be a revocation by themselves (47 CFR 64.1200(a)(10), in force since 2025-04-11). Amazon's list adds `remove`
and, for Canada and France, `arret`. `YES` is in Twilio's list of words to come back with, and not in this one: it is
the answer to too many other questions.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

CHARACTERS_MAX: Final = 100  # no word to leave by is longer; the rest of a long text need not be looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """Words in their folded spelling, and what is answered. `{org}` is how the org calls itself."""

    out: tuple[str, ...]
    back: tuple[str, ...]
    help: tuple[str, ...]
    goodbye: str
    welcome: str
    helping: str


LANGUAGES: Final[Mapping[str, Language]] = {
    "en": Language(
        out=(
            "stop", "stopall", "stop all", "unsubscribe", "cancel", "end", "quit", "revoke", "optout", "opt out",
            "opt-out", "remove", "remove me", "stop please", "please stop", "stop texting me", "stop messaging me",
            "stop texting", "stop messaging", "take me off your list", "remove me from your list", "no more messages",
        ),
        back=("start", "unstop", "subscribe", "optin", "opt in", "opt-in"),
        help=("help", "info"),
        goodbye="{org}: you will get no more messages from us here. Reply START to change that.",
        welcome="{org}: you will get our messages again. Reply STOP to end that.",
        helping="{org}: reply STOP to get no more messages, START to get them again.",
    ),
    "es": Language(
        out=("alto", "baja", "parar", "cancelar", "detener", "no mas"),
        back=("alta", "empezar", "iniciar"),
        help=("ayuda",),
        goodbye="{org}: no recibirá más mensajes nuestros aquí. Responda ALTA para volver.",
        welcome="{org}: volverá a recibir nuestros mensajes. Responda BAJA para dejarlos.",
        helping="{org}: responda BAJA para no recibir más mensajes, ALTA para volver.",
    ),
    "fr": Language(
        out=("arret", "arreter", "desabonner", "desinscrire", "stopper"),
        back=("reprendre", "reabonner"),
        help=("aide",),
        goodbye="{org} : vous ne recevrez plus de messages ici. Répondez REPRENDRE pour revenir.",
        welcome="{org} : vous recevrez de nouveau nos messages. Répondez STOP pour arrêter.",
        helping="{org} : répondez STOP pour ne plus rien recevoir, REPRENDRE pour revenir.",
    ),
    "de": Language(
        out=("stopp", "abmelden", "abbestellen", "austragen", "keine nachrichten", "widerruf"),
        back=("anmelden", "weiter"),
        help=("hilfe",),
        goodbye="{org}: Sie erhalten hier keine Nachrichten mehr. Mit ANMELDEN ändern Sie das.",
        welcome="{org}: Sie erhalten unsere Nachrichten wieder. Mit STOPP beenden Sie das.",
        helping="{org}: Mit STOPP erhalten Sie keine Nachrichten mehr, mit ANMELDEN wieder welche.",
    ),
    "pt": Language(
        out=("pare", "sair", "descadastrar", "remover"),
        back=("voltar", "iniciar"),
        help=("ajuda",),
        goodbye="{org}: você não receberá mais mensagens nossas aqui. Responda VOLTAR para mudar isso.",
        welcome="{org}: você voltará a receber nossas mensagens. Responda SAIR para parar.",
        helping="{org}: responda SAIR para não receber mais mensagens, VOLTAR para receber de novo.",
    ),
    "it": Language(
        out=("ferma", "cancella", "disiscrivi", "basta"),
        back=("inizia", "riprendi"),
        help=("aiuto",),
        goodbye="{org}: non riceverà più nostri messaggi qui. Risponda INIZIA per cambiare idea.",
        welcome="{org}: riceverà di nuovo i nostri messaggi. Risponda STOP per smettere.",
        helping="{org}: risponda STOP per non ricevere più messaggi, INIZIA per riceverli di nuovo.",
    ),
    "nl": Language(
        out=("afmelden", "uitschrijven", "stoppen"),
        back=("aanmelden", "hervatten"),
        help=("hulp",),
        goodbye="{org}: u krijgt hier geen berichten meer van ons. Antwoord AANMELDEN om dat te wijzigen.",
        welcome="{org}: u krijgt onze berichten weer. Antwoord STOP om te stoppen.",
        helping="{org}: antwoord STOP om geen berichten meer te krijgen, AANMELDEN om ze weer te krijgen.",
    ),
}  # fmt: skip


def folded(text: str) -> str:
    """A text as it is compared: without case, accents and signs, with single blanks. `" ¡Alto! "` is `"alto"`.

    A hyphen inside a word stays. What is too long to be a word to leave by becomes "".
    """
    short = text.strip()
    if len(short) > CHARACTERS_MAX:
        return ""
    # Twice: what signs like ㋌ stand for has a case of its own.
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", short).casefold())
    kept = "".join(letter if _counts(letter) else " " for letter in plain if not unicodedata.combining(letter))
    return " ".join(word.strip("-") for word in kept.split() if word.strip("-"))


def _counts(letter: str) -> bool:
    return letter.isalnum() or letter == "-"
