"""Real callbacks, spoilt: what a parser must survive, made fast enough for a million of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gateway.contract import CallbackRequest

JUNK: Final = (
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",  # half a character
    b'"',
    b"{",
    b"]}",
    b"null",
    b"[]",
    b"{}",
    b"-1",
    b"1e999",
    b"99999999999999999999",
    b"\\ud800",
    b"\\u0000",
    b"%00",
    b"%ff",
    b"%",
    b"&=&",
    b"+",
    b";",
    b"\r\n\r\n",
    b"--",
    b"=?utf-8?q?=0a?=",
    b"A" * 5_000,
)
VALUES: Final[Sequence[Any]] = (
    *(None, True, [], {}, "", " ", "\x00", "0", "-1", "nan", 0, -1, 1.5, 10**18, [[[]]], {"": None}),
    *("x" * 3_000, "9" * 400, {"id": {}}, ["", None, 3], "whatsapp:", "+", "US.", "\ufffd"),
)
METHODS: Final = ("GET", "POST", "RUN", "PUT", "")
TAILS: Final = ("", "/", "/bounce", "/mo", "/dlr", "/../..", "/\x00", "/%00", "/" + "x" * 500)


def mutated(request: CallbackRequest, others: Sequence[bytes], chance: random.Random) -> CallbackRequest:
    """One spoilt copy; `others` are bodies to splice from."""
    body = request.body
    for _ in range(chance.randint(1, 3)):
        body = _spoilt(body, others, chance)
    changes: dict[str, Any] = {"body": body}
    if chance.random() < 0.1:
        changes["method"] = chance.choice(METHODS)
    if chance.random() < 0.1:
        changes["tail"] = chance.choice(TAILS)
    if chance.random() < 0.2:
        changes["query"] = _spoilt_pairs(request.query, chance)
    if chance.random() < 0.2:
        changes["headers"] = dict(_spoilt_pairs(tuple(request.headers.items()), chance))
    return msgspec.structs.replace(request, **changes)


def _spoilt(body: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    kind = chance.randrange(7)
    start = chance.randint(0, len(body))
    end = min(len(body), start + chance.randint(0, 40))
    if kind == 0:
        return body[:start]
    if kind == 1:
        return body[:start] + body[end:]
    if kind == 2:
        return body[:start] + chance.choice(JUNK) + body[end:]
    if kind == 3:
        return body[:start] + body[start:end] * chance.randint(2, 5) + body[end:]
    if kind == 4:
        other = chance.choice(others)
        return body[:start] + other[chance.randint(0, len(other)) :]
    if kind == 5 and body:
        flipped = bytearray(body)
        flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
        return bytes(flipped)
    return _spoilt_json(body, chance)


def _spoilt_json(body: bytes, chance: random.Random) -> bytes:
    """Some value deep inside has become another one, or vanished. Bodies that are no JSON stay as they are."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body
    places = list(_places(document))
    if not places:
        return msgspec.json.encode(chance.choice(VALUES))
    holder, key = chance.choice(places)
    if chance.random() < 0.3:
        del holder[key]
    else:
        holder[key] = chance.choice(VALUES)
    return msgspec.json.encode(document)


def _places(value: Any) -> Any:
    """Every place in a document that holds a value: its container and its key."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in inner:
        yield value, key
        yield from _places(held)


def _spoilt_pairs(pairs: tuple[tuple[str, str], ...], chance: random.Random) -> tuple[tuple[str, str], ...]:
    if not pairs:
        return (("ref", "msg_x"), ("ref", "\x00"))
    index = chance.randrange(len(pairs))
    name, value = pairs[index]
    spoilt = chance.choice(("", "\x00", value[: len(value) // 2], value * 3, "x" * 2_000, "\ufffd"))
    return (*pairs[:index], (name, spoilt), *pairs[index + 1 :])
