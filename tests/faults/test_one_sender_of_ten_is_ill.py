"""One of ten senders is dead or is asked to wait: the nine others do not notice, and it goes on when it is well again.

Time is virtual here, so that rates are counts and not the speed of the machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.testing.smtp_server import Act, Fault, Faults, SmtpServer, Stage
from tests.faults.figures import Figures, size
from tests.stories.conftest import Story, story_in

SECONDS = size(40, 3_600)
RATE = 2  # of each of the nine, in a second
BREAKER_SECONDS_MAX = 30
SECOND = timedelta(seconds=1)

SENDERS = """
[senders.{name}]
channel = "email"
adapter = "smtp"
rate = "{rate}/s"
burst = {rate}
concurrency = 8
host = "127.0.0.1"
port = {port}
security = "none"
from = "{name}@grace.example"
"""


@asynccontextmanager
async def ten_senders(folder: Path, ill: SmtpServer) -> AsyncIterator[Story]:
    """`m1` to `m9` have a server that is well, `m0` has the other one."""
    more = SENDERS.format(name="m0", rate=1_000, port=ill.port)
    more += "".join(SENDERS.format(name=f"m{n}", rate=RATE, port="{port}") for n in range(1, 10))
    async with story_in(folder, more=more) as story:
        yield story


async def mail_by_all(story: Story, people: int) -> list[str]:
    """Every sender has an action of its own for everybody."""
    await story.contacts(people)
    return [await story.mail_all(sender=f"m{n}") for n in range(10)]


def sent_by(story: Story) -> Counter[str]:
    """How many mails of each of the nine have arrived."""
    return Counter(mail.sender.partition("@")[0] for mail in story.smtp.messages)


async def slowest(story: Story, seconds: int, each: Callable[[int], object]) -> float:
    """Let so many seconds pass; the share of its rate that the slowest of the nine has had."""
    before = sent_by(story)
    for second in range(seconds):
        await story.advance(SECOND)
        each(second)
    now = sent_by(story)
    return min(now[f"m{n}"] - before[f"m{n}"] for n in range(1, 10)) / (RATE * seconds)


@pytest.mark.timeout(size(120, 3_600))
async def test_a_dead_sender_slows_nobody_and_is_probed_gently_until_it_is_back(
    tmp_path: Path, figures: Figures
) -> None:
    async with SmtpServer(faults=[Fault(stage=Stage.GREETING, act=Act.DISCONNECT)]) as ill:
        people = RATE * (SECONDS + 10)
        async with ten_senders(tmp_path, ill) as story:
            actions = await mail_by_all(story, people)
            probes: list[int] = []
            opened = (await story.sender("m0"))["held"]
            waited = 0
            while opened is None and waited < BREAKER_SECONDS_MAX * 2:
                await story.advance(SECOND)
                waited += 1
                opened = (await story.sender("m0"))["held"]
            seen = ill.connections

            def count(second: int) -> None:
                nonlocal seen
                probes.append(ill.connections - seen)
                seen = ill.connections

            share = await slowest(story, SECONDS - waited, count)
            figures.hold(
                "F7 one of ten dead",
                "the others at >= 95 %, breaker open within 30 s, probes at most 1/s",
                f"{share:.1%} for {SECONDS - waited} s, open after {waited} s, at most {max(probes)} probes in a "
                f"second, {sum(probes)} in all",
                share >= 0.95
                and opened == "outage"
                and waited <= BREAKER_SECONDS_MAX
                and sum(probes) > 0
                and max(probes) <= 1,
            )
            ill.faults = Faults()
            healed = 0
            while (await story.books(actions[0]))["status"] != "completed" and healed < 120:
                await story.advance(SECOND)
                healed += 1
            figures.hold(
                "F7 alive again",
                "its backlog drains",
                f"{ill.count} of {people} sent within {healed} s",
                ill.count == people and not ill.duplicates,
            )


@pytest.mark.timeout(120)
async def test_a_sender_that_is_asked_to_come_back_later_slows_nobody(tmp_path: Path, figures: Figures) -> None:
    async with SmtpServer(faults=[Fault(stage=Stage.RCPT, reply="450 4.2.1 Come back later")]) as ill:
        people = 2 * RATE * 20
        async with ten_senders(tmp_path, ill) as story:
            actions = await mail_by_all(story, people)
            share = await slowest(story, 20, lambda second: None)
            again = await story.installation.database.read(
                lambda conn: conn.execute(
                    "SELECT r.not_before / 1000000 FROM recipients AS r JOIN bulk_actions AS b ON b.id = r.action "
                    "WHERE r.state = 0 AND r.not_before IS NOT NULL"
                ).fetchall()
            )
            seconds = {at for (at,) in again}
            ill.faults = Faults()
            await story.advance(timedelta(minutes=10), timedelta(seconds=30))
            books = await story.books(actions[0])
            figures.hold(
                "F4 asked to wait (450)",
                "retried with jitter; other senders keep >= 95 % of their rate",
                f"{share:.1%}, {len(again)} retries over {len(seconds)} different seconds, "
                f"{books['counts'].get('succeeded', 0)} of {people} sent in the end",
                share >= 0.95 and len(seconds) > 10 and books["counts"] == {"total": people, "succeeded": people},
            )
