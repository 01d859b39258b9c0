"""SIGTERM while messages are on their way to a slow provider, again and again: each ends, and nothing is in doubt."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from gateway.testing.smtp_server import Act, Fault, SmtpProcess, Stage
from tests.faults.figures import Figures, size
from tests.faults.people import import_people, lost_and_doubled, mail_all, until_final, until_received
from tests.processes import GatewayProcess

ROUNDS = size(2, 15)
PEOPLE = size(300, 3_000)
W = 32
ANSWER_SECONDS = 0.02  # between two bytes of the provider's answer to a message
DRAIN_SECONDS_MAX = 10.0
SECONDS_MAX = size(60, 600)


def in_doubt(folder: Path) -> int:
    """Messages between intent and record, and those of which nobody knows what became."""
    with closing(sqlite3.connect(folder / "gateway.db")) as conn:
        (number,) = conn.execute("SELECT count(*) FROM messages WHERE status IN (1, 2)").fetchone()
        return int(number)


async def test_each_stop_drains_within_ten_seconds_and_leaves_nothing_unknown(
    tmp_path: Path, unused_tcp_port: int, figures: Figures
) -> None:
    slow = Fault(stage=Stage.DOT, act=Act.TRICKLE, seconds=ANSWER_SECONDS)
    drains, doubts, busy = [], 0, 0
    async with (
        SmtpProcess(tmp_path / "mails.tsv", faults=[slow]) as smtp,
        GatewayProcess(tmp_path, smtp.port, port=unused_tcp_port, concurrency=W) as gateway,
    ):
        await gateway.start()
        await import_people(gateway, PEOPLE)
        action = await mail_all(gateway)
        for _ in range(ROUNDS):
            await until_received(smtp, smtp.count() + W, SECONDS_MAX)
            busy += in_doubt(tmp_path) > 0
            started = time.monotonic()
            assert await gateway.terminate() == 0, gateway.log
            drains.append(time.monotonic() - started)
            doubts += in_doubt(tmp_path)
            await gateway.start()
        ended = await until_final(gateway, action, SECONDS_MAX)
        lost, doubled = lost_and_doubled(smtp, PEOPLE)
        assert (await gateway.cli("verify"))["faults"] == []
    figures.hold(
        "F2 SIGTERM under load",
        "drained within 10 s, 0 unknown",
        f"{ROUNDS} stops, {busy} of them with messages in flight, {max(drains):.1f} s at most, {doubts} in doubt, "
        f"{ended['counts']['succeeded']} of {PEOPLE} sent, {lost} lost, {doubled} doubled",
        max(drains) <= DRAIN_SECONDS_MAX
        and busy > 0
        and (doubts, ended["counts"]["succeeded"], lost, doubled) == (0, PEOPLE, 0, 0),
    )
