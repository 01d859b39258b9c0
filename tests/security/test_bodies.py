"""Requests that are too large, too slow, packed, or none at all: an answer, a limit, and never an error of ours."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import resource
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
import structlog
from aiohttp import web

from gateway import logs
from gateway.core.ids import IdSequence
from gateway.http.app import build_public_app, build_runner
from gateway.http.callbacks import CallbackDoor
from gateway.http.reading import HttpLimits
from gateway.store.database import Database
from gateway.testing.clock import FakeClock
from tests.engine.world import World
from tests.security.wire import exchange, trickle
from tests.stories.conftest import Story, story_in

on_one_loop = pytest.mark.asyncio(loop_scope="module")

LIMITS = HttpLimits(body_seconds=0.5, idle_seconds=0.5, linger_seconds=0.2)
SLOW = 200  # connections that trickle at once
EACH_SECONDS = 0.05  # between two octets of such a one
CUT_SECONDS_MAX = 15.0  # generous: the limits are half a second
HOST = b"Host: 127.0.0.1\r\n"
CLOSE = b"Connection: close\r\n"
JSON = b"Content-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
EMPTY = b"\r\n{}\r\n0\r\n\r\n"  # an empty object in the chunk, and the end
SECRET = b"path-secret-canary-7Qx2"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Story]:
    async with story_in(tmp_path_factory.mktemp("bodies")) as story:
        yield story


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What is logged meanwhile, at debug."""
    stream = io.StringIO()
    logs.configure("debug", "json", stream)
    yield stream
    structlog.reset_defaults()


def port_of(story: Story) -> int:
    return int(story.base.rpartition(":")[2])


def get(path: bytes, *lines: bytes) -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + b"".join(lines) + b"\r\n"


def post(*lines: bytes, body: bytes = b"", path: bytes = b"/v1/contacts") -> bytes:
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + b"".join(lines) + b"\r\n" + body


# KEY becomes an Authorization header with a good key. The number is what must be answered, and nothing behind it.
KEY = b"@KEY@"
ODDITIES: dict[str, tuple[bytes, list[int]]] = {
    "a NUL in a header": (get(b"/v1/me", HOST, KEY.replace(b"@KEY@", b"@KEY@\0"), b"\r\n"), [400]),
    "a secret in a broken line": (b"GET /callbacks/mail/" + SECRET + b" x HTTP/1.1\r\n" + HOST + b"\r\n", [400]),
    "a secret in a broken header": (get(b"/v1/me", HOST, b"X-" + SECRET + b"\x01: a\r\n"), [400]),
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", [400]),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
    "HTTP/9.9": (b"GET /v1/me HTTP/9.9\r\n" + HOST + b"\r\n", [400]),
    "no line ends of HTTP": (b"GET /v1/me HTTP/1.1\nHost: 127.0.0.1\n@KEY@\n\n", [400]),
    "no Host": (get(b"/v1/me", KEY), [400]),
    "two Hosts": (get(b"/v1/me", HOST, b"Host: evil.example\r\n", KEY), [400]),
    "two Hosts, the other first": (get(b"/v1/me", b"Host: evil.example\r\n", HOST, KEY), [400]),
    "a Host with a space before the colon": (get(b"/v1/me", b"Host : 127.0.0.1\r\n", KEY), [400]),
    "a folded header": (get(b"/v1/me", HOST, b"X-A: a\r\n  b\r\n", KEY), [400]),
    "a thousand headers": (get(b"/v1/me", HOST, KEY, *(b"X-%d: a\r\n" % n for n in range(1_000))), [400]),
    "a header of 20 kB": (get(b"/v1/me", HOST, KEY, b"X-A: " + b"a" * 20_000 + b"\r\n"), [400]),
    "a path of 70 kB": (get(b"/" + b"a" * 70_000, HOST, KEY), [400]),
    "a path of 60 kB": (get(b"/v1/contacts/" + b"a" * 60_000, HOST, CLOSE, KEY), [404]),
    "a method that is none": (b"EAT /v1/me HTTP/1.1\r\n" + HOST + b"\r\n", [400]),
    "TRACE": (b"TRACE /v1/me HTTP/1.1\r\n" + HOST + CLOSE + KEY + b"\r\n", [405]),
    "CONNECT": (b"CONNECT evil.example:443 HTTP/1.1\r\n" + HOST + CLOSE + KEY + b"\r\n", [403]),
    "another server's URL": (get(b"http://evil.example/v1/me", HOST, CLOSE, KEY), [403]),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n", [404]),
    "dots in a path": (get(b"/v1/../../etc/passwd", HOST, CLOSE, KEY), [404]),
    "dots in a path, escaped": (get(b"/v1/%2e%2e%2f%2e%2e/etc/passwd", HOST, CLOSE, KEY), [404]),
    "a NUL in a path": (get(b"/v1/contacts/%00", HOST, CLOSE, KEY), [404]),
    "two lengths": (post(KEY, JSON, b"Content-Length: 2\r\nContent-Length: 30\r\n", body=b"{}"), [400]),
    "a list of lengths": (post(KEY, JSON, b"Content-Length: 2, 30\r\n", body=b"{}"), [400]),
    "a negative length": (post(KEY, JSON, b"Content-Length: -1\r\n"), [400]),
    "a length with a sign": (post(KEY, JSON, b"Content-Length: +2\r\n", body=b"{}"), [400]),
    "a length beyond all numbers": (post(KEY, JSON, b"Content-Length: " + b"9" * 40 + b"\r\n"), [400]),
    "a length and chunks": (post(KEY, JSON, b"Content-Length: 5\r\n", CHUNKED, body=b"0\r\n\r\n"), [400]),
    "chunks and a length": (post(KEY, JSON, CHUNKED, b"Content-Length: 5\r\n", body=b"0\r\n\r\n"), [400]),
    "chunks by another name": (post(KEY, JSON, b"Transfer-Encoding: xchunked\r\n", body=b"0\r\n\r\n"), [400]),
    "chunks not last": (post(KEY, JSON, b"Transfer-Encoding: chunked, gzip\r\n", body=b"0\r\n\r\n"), [400]),
    "a chunk without a size": (post(KEY, JSON, CHUNKED, body=b"zz\r\n\r\n"), [400]),
    "a chunk of a negative size": (post(KEY, JSON, CHUNKED, body=b"-1\r\n{}\r\n0\r\n\r\n"), [400]),
    "a chunk beyond all numbers": (post(KEY, JSON, CHUNKED, body=b"f" * 40 + b"\r\n{}\r\n0\r\n\r\n"), [400]),
    "a chunk longer than it says": (post(KEY, JSON, CHUNKED, body=b"1\r\n{}\r\n0\r\n\r\n"), [400]),
    "chunks with bare line ends": (post(KEY, JSON, CHUNKED, body=b"2\n{}\n0\n\n"), [400]),
    "packed chunks": (post(KEY, JSON, CLOSE, b"Transfer-Encoding: gzip, chunked\r\n", body=b"0\r\n\r\n"), [400]),
    "a Host in a trailer": (post(KEY, JSON, CLOSE, CHUNKED, body=b"2\r\n{}\r\n0\r\nHost: evil.example\r\n\r\n"), [422]),
    "a request in a body": (post(KEY, CLOSE, b"Content-Length: 23\r\n", body=b"GET /v1/me HTTP/1.1\r\n\r\n"), [415]),
    "a long sign of a chunk": (post(KEY, JSON, CLOSE, CHUNKED, body=b"2;" + b"a" * 4_000 + EMPTY), [422]),
    "an upgrade": (get(b"/v1/me", HOST, KEY, UPGRADE) + b"\x81\x05\r\n\r\n", [200, 400]),
}  # fmt: skip


@on_one_loop
@pytest.mark.parametrize("name", ODDITIES)
async def test_what_is_no_request_is_told_so_without_a_word_of_it(
    house: Story, written: io.StringIO, name: str
) -> None:
    request, expected = ODDITIES[name]
    token = house.token.encode()
    header = b"Authorization: Bearer " + token
    sent = request.replace(b"@KEY@\0", header + b"\0").replace(b"@KEY@\n", header + b"\n")
    answers = await exchange(port_of(house), sent.replace(KEY, header + b"\r\n"))
    assert answers.statuses == expected
    for head in answers.heads:
        assert b"\r\nserver: dripgate" in head
        assert b"\r\nx-content-type-options: nosniff" in head
        assert b"\r\ncontent-type: application/" in head
    for said in (answers.raw, written.getvalue().encode()):
        assert token not in said
        assert SECRET not in said
    assert {json.loads(line)["level"] for line in written.getvalue().splitlines()} <= {"debug"}


@on_one_loop
async def test_callers_who_hang_up_in_the_middle_of_a_body_are_no_errors_of_ours(
    house: Story, written: io.StringIO
) -> None:
    beginnings = [
        post(b"Authorization: Bearer " + house.token.encode() + b"\r\n", JSON, CHUNKED, body=body)
        for body in (b"", b"2\r\n{}\r\n", b"2\r\n{}\r\n0\r\n\r\n")
    ]
    for _ in range(10):
        for beginning in beginnings:
            _, writer = await asyncio.open_connection("127.0.0.1", port_of(house))
            writer.write(beginning)
            writer.write_eof()
            await writer.drain()
            writer.close()
    assert (await house.call("GET", "/v1/me")).status == 200, "they have been served by now, or will not be"
    await house.settle()
    assert [line for line in written.getvalue().splitlines() if '"level":"error"' in line] == []


@on_one_loop
@pytest.mark.parametrize("path", ["/v1/contacts", "/v1/contacts/import", "/callbacks/mail", "/u/AAAA"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "identity, gzip", "GZIP", "x"])
async def test_packed_bodies_are_refused_everywhere_without_unpacking_a_byte(
    house: Story, path: str, encoding: str
) -> None:
    bomb = gzip.compress(b" " * 10_000_000) if "g" in encoding.lower() else zlib.compress(b" " * 10_000_000)
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    reply = await house.call("POST", path, data=bomb, headers=headers)
    assert (reply.status, reply.code) == (415, "unsupported_media_type")


CONTACT = b'{"contacts":[{"id":"x","attributes":{"a":%b}}]}'
HOSTILE_JSON = {
    "a list that never ends": b"[" * 400_000,
    "lists in lists": b"[" * 100_000 + b"]" * 100_000,
    "objects in objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "lists in an attribute": CONTACT % (b"[" * 50_000 + b"]" * 50_000),
    "some lists in an attribute": CONTACT % (b"[" * 900 + b"]" * 900),
    "a number of 10,000 digits": CONTACT % (b"9" * 10_000),
    "a number beyond 64 bits": CONTACT % (b"9" * 25),
    "a number beyond all floats": CONTACT % b"1e999",
    "no number": CONTACT % b"NaN",
    "half a character": CONTACT % b'"\\ud800"',
    "NUL": CONTACT % b'"\\u0000"',
    "a name twice": b'{"contacts":[],"contacts":[{"id":"x"}]}',
    "50,000 names": CONTACT % (b"{" + b",".join(b'"k%d":1' % number for number in range(50_000)) + b"}"),
    "a mark of the order of octets": b"\xef\xbb\xbf{}",
    "UTF-16": '{"contacts":[]}'.encode("utf-16"),
    "names that mean something elsewhere": b'{"contacts":[{"id":"__proto__","attributes":{"__class__":1}}]}',
    "nothing": b"null",
}
TAKERS = {
    "POST /v1/contacts": "application/json",
    "PUT /v1/contacts/x": "application/json",
    "PATCH /v1/contacts/x": "application/merge-patch+json",
    "POST /v1/contacts/import": "application/x-ndjson",
    "POST /v1/bulk-actions": "application/json",
    "POST /v1/messages": "application/json",
    "POST /v1/templates": "application/json",
    "POST /callbacks/mail": "application/json",
}


@on_one_loop
@pytest.mark.parametrize("name", HOSTILE_JSON)
async def test_no_json_is_an_error_of_ours(house: Story, written: io.StringIO, name: str) -> None:
    for taker, content_type in TAKERS.items():
        method, path = taker.split(" ")
        reply = await house.call(method, path, data=HOSTILE_JSON[name], headers={"Content-Type": content_type})
        assert reply.status < 500, (taker, reply.raw)
        assert b"Traceback" not in reply.raw
    assert '"level":"error"' not in written.getvalue()


# ---- slow ones


@pytest.fixture
async def front(database: Database, clock: FakeClock, ids: IdSequence) -> AsyncIterator[int]:
    """The port of a gateway's public door, whose limits are half a second."""
    world = World(database, clock, ids)
    await world.start()
    runner = build_runner(
        build_public_app([CallbackDoor(world.engine.intake, world.catalogue, "https://gateway.example", LIMITS)]),
        LIMITS,
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield site.port
    await runner.cleanup()
    await world.kill()


TO_THE_DOOR = {
    "no octet of a request": b"",
    "a method": b"POS",
    "headers": b"POST /callbacks/mail HTTP/1.1\r\n" + HOST + b"X-Slow: ",
    "headers of a second request": get(b"/callbacks/nobody", HOST) + b"GET /callbacks/nobody HTTP/1.1\r\nX-Slow: ",
    "a body": post(b"Content-Length: 100000\r\n", path=b"/callbacks/mail"),
    "chunks": post(CHUNKED, path=b"/callbacks/mail") + b"fffff\r\n",
    "a chunk's size": post(CHUNKED, path=b"/callbacks/mail"),
    "a trailer": post(CHUNKED, path=b"/callbacks/mail") + b"2\r\n{}\r\n0\r\nX-Slow: ",
    "a body that nobody asked for": post(b"Content-Length: 100000\r\n", path=b"/callbacks/nobody"),
}


@pytest.mark.parametrize("name", TO_THE_DOOR)
async def test_whoever_trickles_is_cut_off_however_steadily(front: int, name: str) -> None:
    async with asyncio.timeout(CUT_SECONDS_MAX):
        said = await trickle(front, TO_THE_DOOR[name], EACH_SECONDS)
    assert b" 5" not in said.partition(b"\r\n")[0]


async def test_hundreds_who_trickle_keep_nobody_else_from_being_answered(front: int, database: Database) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * SLOW)), hard))
    kinds = list(TO_THE_DOOR.values())
    async with asyncio.timeout(CUT_SECONDS_MAX), aiohttp.ClientSession() as session:
        slow = [asyncio.create_task(trickle(front, kinds[number % len(kinds)], EACH_SECONDS)) for number in range(SLOW)]
        answered = 0
        while not all(task.done() for task in slow):
            async with session.post(f"http://127.0.0.1:{front}/callbacks/mail", data=b"healthy") as answer:
                assert answer.status == 200
            answered += 1
        await asyncio.gather(*slow)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert answered > 10
    kept = await database.read(lambda conn: conn.execute("SELECT body FROM callbacks").fetchall())
    assert kept == [(b"healthy",)] * answered


def test_the_limits_of_the_daemon_are_those_that_are_documented() -> None:
    limits = HttpLimits()
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    for seconds in (limits.idle_seconds, limits.body_seconds, limits.chunk_seconds):
        assert f"{seconds:g} s" in page
