"""Callbacks as strangers forge and mutilate them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import msgspec
from hypothesis import strategies as st

from gateway.contract import CallbackRequest
from gateway.testing.cases import callback
from gateway.testing.conformance_provider import BODIES, WRONG_TYPES, places, replaced

FLIPS_MAX: Final = 64  # of one body: as many places as tell that all of it is signed
PLACES_MAX: Final = 300  # of a JSON document in which values are exchanged
METHODS: Final = ("POST", "GET", "RUN")
CONTENT_TYPES: Final = ("application/json", "application/x-www-form-urlencoded", "message/rfc822", "", "text/\ufffd;=")
JUNK: Final[tuple[str, ...]] = (
    "", "\0", "\ufffd", "-1", "0", "1e999", "NaN", "9" * 400, "99999999999999999", "<xml/>", "[]", "{}", "null", "%",
    "A" * 5_000,
)  # fmt: skip
JUNK_VALUES: Final[tuple[object, ...]] = (
    *WRONG_TYPES, 10**30, -(10**18), 99999999999999999, 1e308, "9" * 400, "\0", "2026-13-45T99:99:99Z", [[[[[]]]]],
)  # fmt: skip
_SHORT: Final = tuple(body for body in BODIES.values() if len(body) < 1_000)  # to be shown when one breaks something


def forged(request: CallbackRequest, part: str) -> Iterator[tuple[str, CallbackRequest]]:
    """The request with its proof changed in one character, emptied, and left out."""
    proof = proof_of(request, part)
    if not proof:
        return
    for at in sorted({0, len(proof) // 2, len(proof) - 1}):
        yield f"character {at + 1} of {part!r} is another", with_proof(request, part, flipped_text(proof, at))
    yield f"{part!r} is cut short", with_proof(request, part, proof[:-1])
    yield f"{part!r} is not ASCII", with_proof(request, part, "\u00e4\u20ac")
    yield f"{part!r} is empty", with_proof(request, part, "")
    yield f"{part!r} is missing", with_proof(request, part, None)


def flipped_bodies(request: CallbackRequest) -> Iterator[tuple[str, CallbackRequest]]:
    """The request with one bit of its body flipped, and with its body longer, shorter and empty."""
    body = request.body
    step = max(1, len(body) // FLIPS_MAX)
    for at in sorted({*range(0, len(body), step), len(body) - 1} - {-1}):
        changed = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        yield f"a bit of byte {at + 1} of the body is flipped", msgspec.structs.replace(request, body=changed)
    if body:
        yield "the body ends in the middle", msgspec.structs.replace(request, body=body[: len(body) // 2])
        yield "the body is empty", msgspec.structs.replace(request, body=b"")
        yield "the body has something more", msgspec.structs.replace(request, body=body + b"&forged=1")


def flipped_text(text: str, at: int) -> str:
    """The text with another character at `at`."""
    return text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :]


def proof_of(request: CallbackRequest, part: str) -> str | None:
    """What stands in a header ("x-signature"), a parameter ("?token") or the "tail" of a request."""
    if part == "tail":
        return request.tail.removeprefix("/") or None
    if part.startswith("?"):
        return dict(request.query).get(part[1:])
    return request.headers.get(part.lower())


def with_proof(request: CallbackRequest, part: str, value: str | None) -> CallbackRequest:
    """The request with something else there; None: with nothing."""
    if part == "tail":
        base = request.url.partition("?")
        place = base[0].removesuffix(request.tail) + ("" if value is None else f"/{quote(value)}")
        return _moved(request, place + base[1] + base[2])
    if part.startswith("?"):
        pairs = [(name, one) for name, one in request.query if name != part[1:]]
        pairs += [] if value is None else [(part[1:], value)]
        return _moved(request, request.url.partition("?")[0] + "?" + urlencode(pairs))
    headers = {name: one for name, one in request.headers.items() if name != part.lower()}
    if value is not None:
        headers[part.lower()] = value
    return msgspec.structs.replace(request, headers=headers)


def _moved(request: CallbackRequest, url: str) -> CallbackRequest:
    moved = callback(url, request.body, method=request.method)
    return msgspec.structs.replace(moved, headers=request.headers)


def with_junk(request: CallbackRequest) -> Iterator[CallbackRequest]:
    """The request with one value exchanged, for every value of its body's JSON or form, and of its query."""
    document, pairs = _read(request.body)
    for junk in JUNK_VALUES if document is not None else ():
        for path in [(), *islice(places(document), PLACES_MAX)]:
            yield msgspec.structs.replace(request, body=_swapped(document, [(path, junk)]))
    for junk in JUNK:
        for at in range(len(pairs)):
            yield msgspec.structs.replace(request, body=urlencode(_with_values(pairs, [(at, junk)])).encode())
        for at in range(len(request.query)):
            query = tuple(_with_values(request.query, [(at, junk)]))
            yield msgspec.structs.replace(request, query=query)


def _read(body: bytes) -> tuple[Any, Sequence[tuple[str, str]]]:
    """A JSON document or None, and the pairs of a form or none."""
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict | list):
        return document, ()
    return None, parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)


def mutated(requests: Sequence[CallbackRequest]) -> st.SearchStrategy[CallbackRequest]:
    """Requests made of these: bodies cut, doubled, mangled, with values exchanged; other URLs, methods and headers."""
    return st.sampled_from(list(requests)).flatmap(_variants)


def _variants(request: CallbackRequest) -> st.SearchStrategy[CallbackRequest]:
    bodies = st.just(request.body) | _mangled(request.body) | st.sampled_from(_SHORT) | st.binary()
    exchanged = _exchanged(request.body)
    queries = st.just(request.query) | st.lists(st.tuples(_names(request.query), _junk()), max_size=4).map(tuple)
    types = st.just(request.headers.get("content-type", "")) | st.sampled_from(CONTENT_TYPES)
    return st.builds(
        lambda body, query, tail, method, content_type: CallbackRequest(
            method=method,
            url=f"{urlsplit(request.url)._replace(query='').geturl()}?{urlencode(query)}",
            tail=tail,
            query=query,
            headers={**request.headers, "content-type": content_type},
            body=body,
        ),
        bodies if exchanged is None else exchanged | bodies,
        queries,
        st.just(request.tail) | st.sampled_from(("", "/", "/bounce", "/\ufffd", "/" + "a" * 5_000)),
        st.just(request.method) | st.sampled_from(METHODS),
        types,
    )


def _names(query: Sequence[tuple[str, str]]) -> st.SearchStrategy[str]:
    return st.sampled_from([*(name for name, _ in query), "", "a", "\ufffd"])


def _junk() -> st.SearchStrategy[str]:
    return st.sampled_from(JUNK) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace").decode())


def _mangled(body: bytes) -> st.SearchStrategy[bytes]:
    """Cut at two places, with something between; or doubled."""
    at = st.integers(0, len(body))
    between = st.binary(max_size=8) | st.sampled_from((b"\0", b"\xff", b"%00", b"&", b'"', b"{", b"]", b"\r\n.\r\n"))
    cut = st.builds(lambda start, end, new: body[:start] + new + body[end:], at, at, between)
    return cut | st.integers(2, 4).map(lambda times: body * times)


def _exchanged(body: bytes) -> st.SearchStrategy[bytes] | None:
    """Values of a JSON document or of a form exchanged for junk; None if the body is neither."""
    document, pairs = _read(body)
    if document is not None:
        paths = list(places(document))[:PLACES_MAX] or [()]
        values = st.sampled_from((*JUNK_VALUES, ...)) | st.sampled_from(JUNK)
        swaps = st.lists(st.tuples(st.sampled_from(paths), values), min_size=1, max_size=3)
        return swaps.map(lambda swapped: _swapped(document, swapped))
    if not pairs:
        return None
    swaps_of_form = st.lists(st.tuples(st.integers(0, len(pairs) - 1), _junk()), min_size=1, max_size=4)
    return swaps_of_form.map(lambda swapped: urlencode(_with_values(pairs, swapped)).encode())


def _with_values(pairs: Sequence[tuple[str, str]], swaps: Sequence[tuple[int, str]]) -> list[tuple[str, str]]:
    changed = list(pairs)
    for at, value in swaps:
        changed[at] = (changed[at][0], value)
    return changed


def _swapped(document: Any, swaps: Sequence[tuple[tuple[str | int, ...], object]]) -> bytes:
    for path, value in swaps:
        if path in set(places(document)) | {()}:
            document = replaced(document, path, value)
    return json.dumps(document).encode()
