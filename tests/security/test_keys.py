"""API keys: not to be guessed, not to be told apart by whoever tries, and written down nowhere."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import random
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
import structlog

from gateway import logs
from gateway.core.ids import OrgId
from gateway.store.backup import copy_to
from gateway.store.keys import PERMISSIONS
from tests.security.wire import connected
from tests.stories.conftest import Story, story_in

on_one_loop = pytest.mark.asyncio(loop_scope="module")

GUESSES = 10_000
CONNECTIONS = 10
SECONDS_MAX = 100.0
PASSWORD = "password-canary-9Xw2"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What is logged meanwhile, at debug."""
    stream = io.StringIO()
    logs.configure("debug", "json", stream)
    yield stream
    structlog.reset_defaults()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Story]:
    folder = tmp_path_factory.mktemp("keys")
    (folder / "password").write_text(PASSWORD)
    more = 'username = "gateway"\npassword = { file = "password" }\n[webhooks]\nallow_private = true'
    async with story_in(folder, more=more, credentials={"gateway": PASSWORD}) as story:
        yield story


async def ask(story: Story, tokens: Sequence[str]) -> list[bytes]:
    """The answers to one request with each token, all on one connection, without their dates."""
    async with connected(int(story.base.rpartition(":")[2])) as (reader, writer), asyncio.timeout(SECONDS_MAX):
        answers = []
        for token in tokens:
            writer.write(f"GET /v1/me HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        for _ in tokens:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"Content-Length: (\d+)", head)
            assert length is not None
            answers.append(re.sub(rb"Date: .*\r\n", b"", head) + await reader.readexactly(int(length[1])))
        return answers


def guesses(id: str, number: int) -> list[str]:
    """Tokens as they look: of unknown ids, and of a known one with other secrets."""
    chance = random.Random(id)
    made = []
    for at in range(number):
        secret = chance.randbytes(32).hex()
        made.append(f"{id}_{secret}" if at % 2 else f"gwk_{chance.randbytes(5).hex()}_{secret}")
    return made


@on_one_loop
async def test_ten_thousand_guesses_open_nothing_and_learn_nothing(house: Story) -> None:
    org = house.installation.catalogue.orgs["default"].id
    known = (await house.installation.keys.create(org, "known", PERMISSIONS)).key.id
    made = guesses(known, GUESSES)
    chunks = [made[start::CONNECTIONS] for start in range(CONNECTIONS)]
    answers = [answer for some in await asyncio.gather(*(ask(house, chunk) for chunk in chunks)) for answer in some]
    assert len(answers) == GUESSES
    assert len(set(answers)) == 1, "an unknown id and a wrong secret are answered alike, to the octet"
    assert answers[0].startswith(b"HTTP/1.1 401 ")
    assert known.encode() not in answers[0]


@on_one_loop
async def test_keys_that_no_longer_work_are_told_apart_from_none_by_nobody(house: Story) -> None:
    keys, org = house.installation.keys, house.installation.catalogue.orgs["default"].id
    revoked = await keys.create(org, "revoked", PERMISSIONS)
    rotated = await keys.create(org, "rotated", PERMISSIONS)
    await house.installation.database.write(lambda conn: conn.execute("INSERT INTO orgs VALUES (77, 'gone', 0)"))
    orphan = await keys.create(OrgId(77), "of an org that has gone", PERMISSIONS)
    good = await keys.create(org, "good", PERMISSIONS)
    assert await keys.revoke(org, revoked.key.id)
    assert await keys.rotate(org, rotated.key.id, timedelta(0))
    house.clock.advance(timedelta(seconds=1))
    id, _, secret = good.token.rpartition("_")
    tokens = [
        "gwk_0123456789_" + "0" * 64,
        *(revoked.token, rotated.token, orphan.token),
        *(f"{id}_{secret[:-1]}", f"{id}_{secret}0", f"{id}_{secret.upper()}", f"{id}_", id, secret, f"{id}__{secret}"),
        *(f"{id}_%", f"{id}_*", f"{id.upper()}_{secret}", f"{id[:-1]}%_{secret}", f"gwk_' OR '1'='1_{secret}"),
        *("", "null", "0", "gwk_", "x" * 7_000),
    ]
    answers = await ask(house, tokens)
    assert len(set(answers)) == 1
    assert answers[0].startswith(b"HTTP/1.1 401 ")
    assert (await ask(house, [good.token]))[0].startswith(b"HTTP/1.1 200 ")


@on_one_loop
async def test_no_secret_is_written_down_told_or_logged(house: Story, written: io.StringIO, tmp_path: Path) -> None:
    """Every secret that exists is looked for in everything that leaves the process, and in what it leaves behind."""
    made = await house.call("POST", "/v1/keys", {"name": "new", "permissions": ["messaging.read"]})
    token = str(made.json["secret"])
    rotated = (await house.call("POST", f"/v1/keys/{made.json['id']}/rotate", {"overlap": "1h"})).json["secret"]
    hook = await house.call("POST", "/v1/webhooks", {"url": "http://127.0.0.1:9/x"})
    told = [reply.raw for reply in [await house.call("GET", path) for path in PATHS]]
    told += [(await house.call("GET", "/v1/me", token=wrong)).raw for wrong in (f"{token}x", token[:-1])]
    await house.call("POST", f"/v1/keys/{token}/rotate", {})  # a whole key where its id is asked for
    await house.contacts(1)
    await house.mail_all()
    assert house.mails() == {"m-1@example.org": 1}, "the password was used"
    copy = tmp_path / "backup.db"
    store = house.installation.config.store_file
    copy_to(store, copy)

    secrets = [text.rpartition("_")[2] for text in (token, rotated, house.token)]
    left = [path.read_bytes() for path in store.parent.glob("gateway.db*")] + [copy.read_bytes()]
    assert any(hashlib.sha256(secrets[0].encode()).digest() in raw for raw in left), "it would be found"
    for secret in (*secrets, PASSWORD):
        for raw in (*left, *told, written.getvalue().encode(), repr(house.installation.config).encode()):
            assert secret.encode() not in raw
            assert bytes.fromhex(secret) not in raw if secret != PASSWORD else True
    signing = str(hook.json["secret"])
    for raw in (*told, written.getvalue().encode()):
        assert signing.encode() not in raw, "it stands in the database, and nowhere else"


PATHS = (
    "/v1/me", "/v1/keys", "/v1/channels", "/v1/webhooks", "/v1/openapi.json", "/v1/events", "/metrics", "/readyz",
    "/healthz", "/v1/nothing",
)  # fmt: skip


@on_one_loop
async def test_a_backup_shows_hashes_of_keys_only(house: Story, tmp_path: Path) -> None:
    copy = tmp_path / "backup.db"
    copy_to(house.installation.config.store_file, copy)
    with sqlite3.connect(copy) as conn:
        columns = [name for _, name, *_ in conn.execute("PRAGMA table_info(api_keys)")]
        rows = conn.execute("SELECT * FROM api_keys").fetchall()
    conn.close()
    assert "secret_hash" in columns
    assert rows
    for row in rows:
        assert all(len(value) == 32 for value in row if isinstance(value, bytes)), "SHA-256 and nothing else"


@on_one_loop
async def test_a_thousand_failures_fill_no_log(house: Story, written: io.StringIO) -> None:
    await ask(house, guesses("gwk_0123456789", 1_000))
    levels = {json.loads(line)["level"] for line in written.getvalue().splitlines()}
    assert levels <= {"debug"}
