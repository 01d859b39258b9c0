"""Requests at the door for providers: one flipped bit is a stranger's, a repeated one changes nothing.

Each adapter's recorded callbacks are posted to a whole gateway, at the path and with the message that they speak of.
What `authenticate` itself promises is in the conformance suite; here is what becomes of it in the database.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest
from yarl import URL

from gateway.contract import CallbackRequest
from gateway.core.ids import MESSAGE, parse_id
from gateway.core.states import MessageStatus
from gateway.testing.cases import CallbackCase
from gateway.testing.conformance_requests import proof_of, with_proof
from tests.fuzz.test_callbacks import SUITES
from tests.stories.conftest import PUBLIC_URL, Story, story_in

REF = "msg_0c3v8h2k9m4qa"  # the message that the recorded callbacks speak of
CASES_MAX = 6  # of each adapter, spread over all that are recorded
POSITIONS_MAX = 24  # of each body and of each proof
TABLES = (
    *("messages", "message_history", "conversations", "opt_outs", "consent_ledger", "provider_ids", "parked_receipts"),
    *("events", "templates", "contacts", "senders"),
)
PARAMETRIZE = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.__name__)


@dataclass
class Door:
    """A gateway with a sender of one adapter, and the message that its callbacks speak of."""

    story: Story
    sender: str

    async def post(self, request: CallbackRequest, sender: str | None = None) -> int:
        """As the provider posts it; the status. `sender`: to another one's door."""
        path = request.url.removeprefix(PUBLIC_URL)
        path = path.replace(f"/callbacks/{self.sender}", f"/callbacks/{sender or self.sender}", 1)
        async with self.story.session.request(
            request.method,
            URL(self.story.base + path, encoded=True),
            data=request.body,
            headers=dict(request.headers),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        ) as answer:
            return answer.status

    async def state(self) -> dict[str, list[Any]]:
        """All that a callback may change."""
        await self.story.settle()
        return await self.story.installation.database.write(
            lambda conn: {table: sorted(map(repr, conn.execute(f"SELECT * FROM {table}"))) for table in TABLES}
        )

    async def kept(self) -> int:
        """How many callbacks are stored."""
        count = await self.story.installation.database.read(
            lambda conn: conn.execute("SELECT count(*) FROM callbacks").fetchone()
        )
        return int(count[0])


def lines(table: Mapping[str, object]) -> str:
    """A table of gateway.toml."""
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in table.items())


def sender_lines(name: str, suite: type[Any], settings: Mapping[str, object], org: str = "default") -> str:
    common = {"org": org, "channel": suite.channel.name, "adapter": suite.adapter_type.name, "dry_run": True}
    return f"[senders.{name}]\n{lines({**common, **settings})}"


@asynccontextmanager
async def door_of(folder: Path, suite: type[Any], **others: Mapping[str, object]) -> AsyncIterator[Door]:
    """`others`: settings of further senders of the adapter by their names."""
    own = suite.cases.callbacks[0].request.url.removeprefix(f"{PUBLIC_URL}/callbacks/").split("/")[0].split("?")[0]
    settings = {name: value for name, value in suite.settings.items() if name not in ("username", "password", "host")}
    if suite.adapter_type.name == "smtp":  # the stories' own sender, with what bounces need besides
        more = lines({name: settings[name] for name in ("bounce_address", "bounce_secret", "bounce_token")})
        settings |= {"host": "127.0.0.1", "port": 9}
    else:
        settings = dict(suite.settings)
        more = sender_lines(own, suite, settings)
    for name, changed in others.items():
        org = "theirs" if name == "theirs" else "default"
        more += sender_lines(name, suite, {**settings, **changed}, org)
    more += "[orgs.theirs]\n" if "theirs" in others else ""
    async with story_in(folder, more=more) as story:
        await send_the_message(story, own, suite)
        yield Door(story, own)


async def send_the_message(story: Story, sender: str, suite: type[Any]) -> None:
    """As if it had been handed over a moment ago."""
    catalogue, now = story.installation.catalogue, int(story.clock.now().timestamp() * 1_000_000)
    found = catalogue.senders[sender]
    row = (
        *(parse_id(MESSAGE, REF), found.org.id, suite.channel.name, found.id, suite.address, MessageStatus.ACCEPTED),
        now,
    )
    await story.installation.database.write(
        lambda conn: conn.execute(
            "INSERT INTO messages (id, org, channel, sender, address, source, status, created_at, attempted_at, "
            "accepted_at) VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?7, ?7, ?7)",
            row,
        )
    )


def genuine(suite: type[Any]) -> list[CallbackCase]:
    """Recorded callbacks that are believed, some of them if there are many."""
    cases = [case for case in suite.cases.callbacks if case.genuine and proof_of(case.request, suite.proof)]
    return cases[:: max(1, len(cases) // CASES_MAX)]


def positions(length: int, chance: random.Random) -> list[int]:
    return sorted(chance.sample(range(length), min(length, POSITIONS_MAX)))


def flipped(text: str, at: int, chance: random.Random) -> str:
    """Another bit of a character, which stays one that a header or a path may have."""
    bits = [1 << bit for bit in range(7)]
    others = [chr(ord(text[at]) ^ bit) for bit in bits]
    return text[:at] + chance.choice([other for other in others if other.isalnum() or other in "-_=+"]) + text[at + 1 :]


def forgeries(suite: type[Any], request: CallbackRequest, chance: random.Random) -> Iterator[CallbackRequest]:
    """One bit is another, of the proof and of whatever it signs."""
    proof = proof_of(request, suite.proof)
    assert proof is not None
    scheme = len("Bearer ") if proof.startswith("Bearer ") else 0  # which may be written in any letters
    for at in positions(len(proof), chance):
        if proof[at].isalnum() and at >= scheme:
            yield with_proof(request, suite.proof, flipped(proof, at, chance))
    yield with_proof(request, suite.proof, None)
    if suite.signs_body:
        for at in positions(len(request.body), chance):
            body = bytearray(request.body)
            body[at] ^= 1 << chance.randrange(8)
            changed = msgspec.structs.replace(request, body=bytes(body))
            if not means_the_same(suite, request, changed):
                yield changed


def means_the_same(suite: type[Any], one: CallbackRequest, other: CallbackRequest) -> bool:
    """Twilio signs the fields of a form, not its octets: `%2B` and `%2b` are one."""
    return suite.proof == "x-twilio-signature" and fields_of(one) == fields_of(other)


def fields_of(request: CallbackRequest) -> list[tuple[str, str]]:
    return sorted(parse_qsl(request.body.decode("latin-1"), keep_blank_values=True, encoding="latin-1"))


@PARAMETRIZE
async def test_one_flipped_bit_is_a_403_and_leaves_no_row(tmp_path: Path, suite: type[Any]) -> None:
    chance = random.Random(suite.__name__)
    async with door_of(tmp_path, suite) as door:
        before = await door.state()
        tried = 0
        for case in genuine(suite):
            for forgery in forgeries(suite, case.request, chance):
                assert await door.post(forgery) == 403, (case.name, forgery)
                tried += 1
        assert await door.kept() == 0
        assert await door.state() == before
        assert tried > 50
        for case in genuine(suite):
            assert await door.post(case.request) == 200, "what was forged is genuine without the flipped bit"
        assert await door.kept() == len(genuine(suite))
        assert await door.state() != before


@PARAMETRIZE
async def test_a_replay_changes_nothing(tmp_path: Path, suite: type[Any]) -> None:
    requests = [case.request for case in genuine(suite)]
    chance = random.Random(suite.__name__)
    async with door_of(tmp_path, suite) as door:
        for request in requests:
            assert await door.post(request) == 200
        once = await door.state()
        for _ in range(3):
            chance.shuffle(requests)
            for request in requests:
                assert await door.post(request) == 200
        assert await door.state() == once
        assert await door.kept() == 4 * len(requests), "each is kept, for whoever looks into an attack"


OTHER_SECRETS: Mapping[str, Mapping[str, object]] = {
    "smtp": {"bounce_token": "another token of these tests"},
    "kannel": {"secret": "another-path-canary-1Ab2"},
    "twilio": {"auth_token": "f" * 32},
    "cloud": {"app_secret": "another-app-secret"},
}


@PARAMETRIZE
async def test_what_is_genuine_at_one_sender_s_door_is_a_stranger_s_at_another_s(
    tmp_path: Path, suite: type[Any]
) -> None:
    async with door_of(tmp_path, suite, second=OTHER_SECRETS[suite.adapter_type.name]) as door:
        before = await door.state()
        for case in genuine(suite):
            assert await door.post(case.request, "second") == 403
            assert await door.post(case.request, "nobody") == 404
        assert await door.kept() == 0
        assert await door.state() == before


@PARAMETRIZE
async def test_a_sender_of_another_org_with_the_same_secret_moves_no_message_that_is_not_its_own(
    tmp_path: Path, suite: type[Any]
) -> None:
    """Somebody who holds an account at the same provider can sign whatever they like, and name any message of ours."""
    async with door_of(tmp_path, suite, theirs={}) as door:
        ours = await door.state()
        believed = {await door.post(case.request, "theirs") for case in genuine(suite)}
        assert believed <= {200, 403}
        after = await door.state()
        for table in ("messages", "message_history"):
            mine = [row for row in after[table] if str(parse_id(MESSAGE, REF)) in row]
            assert mine == [row for row in ours[table] if str(parse_id(MESSAGE, REF)) in row]
        org = door.story.installation.catalogue.orgs["default"].id
        told = await door.story.installation.database.read(
            lambda conn: [
                conn.execute(f"SELECT count(*) FROM {table} WHERE org = ?", (org,)).fetchone()
                for table in ("opt_outs", "consent_ledger", "conversations", "events")
            ]
        )
        assert told == [(0,)] * 4
