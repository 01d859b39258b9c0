"""A million rows, one in twenty of them bad: NULs, lone surrogates, broken quotes, a cell of ten megabytes."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from bench.measuring import peak_memory_mb
from gateway.engine.contact_import import REJECTIONS_LISTED_MAX
from tests.faults.figures import Figures, size
from tests.processes import GatewayProcess

ROWS = size(20_000, 1_000_000)
BAD_EACH = 20  # one of so many
MEMORY_MB_MAX = 200
CHUNK_ROWS = 2_000
CELL = 10 * 1024 * 1024
SECONDS_MAX = size(100, 10_000)
HEADER: Final = b"id,first_name,email,phone,city\n"

BAD: Final[tuple[Callable[[int], bytes], ...]] = (
    lambda n: b"bad-%d,A\x00da,bad%d@example.org,,Lagos" % (n, n),
    lambda n: b"bad-%d,\xed\xa0\x80,bad%d@example.org,,Lagos" % (n, n),  # a lone surrogate
    lambda n: b"bad-%d,\xff\xfe,bad%d@example.org,,Lagos" % (n, n),  # no UTF-8 at all
    lambda n: b"bad-%d,Ada,bad%d@example.org,Lagos" % (n, n),  # a cell too few
    lambda n: b'bad-%d,"Ada"da,bad%d@example.org,,Lagos' % (n, n),  # text behind a quote
    lambda n: b",Ada,bad%d@example.org,,Lagos" % n,  # nobody
    lambda n: b"bad-%d,%s,bad%d@example.org,,Lagos" % (n, b"x" * 70_000 if n % 7 == 0 else b"y" * 9_000, n),
)


def bad_row(number: int) -> bytes:
    """A row that must be refused; the very first of them is the one of ten megabytes."""
    if number == 0:
        return b'bad-0,"' + b"x" * CELL + b'",bad0@example.org,,Lagos'
    return BAD[number // BAD_EACH % len(BAD)](number)


def good_row(number: int) -> bytes:
    """Some have quotes, line ends inside of quotes, and other people's letters."""
    city = (b"Lagos", "Ìbàdàn".encode(), b'"Sao, Paulo"', b'"The ""Hague"""')[number % 4]
    return b"m-%d,Ada%d,m%d@example.org,+23480%08d,%s" % (number, number, number, 30_000_000 + number, city)


async def rows(number: int) -> AsyncIterator[bytes]:
    """The file, piece by piece. Each row is one line, so row n is on line n + 2."""
    yield HEADER
    for start in range(0, number, CHUNK_ROWS):
        yield (
            b"\n".join(
                bad_row(n) if n % BAD_EACH == 0 else good_row(n) for n in range(start, min(number, start + CHUNK_ROWS))
            )
            + b"\n"
        )


@pytest.mark.timeout(SECONDS_MAX)
async def test_every_good_row_goes_in_and_every_bad_one_is_told_once(
    tmp_path: Path, unused_tcp_port: int, figures: Figures
) -> None:
    async with GatewayProcess(tmp_path, 25, port=unused_tcp_port) as gateway:
        await gateway.start()
        status, report = await gateway.call(
            "POST",
            "/v1/contacts/import",
            data=rows(ROWS),
            headers={"Content-Type": "text/csv"},
            timeout=aiohttp.ClientTimeout(total=SECONDS_MAX),
        )
        memory = peak_memory_mb(gateway.pid)
        assert status == 200, report
        assert await gateway.terminate() == 0
    bad_lines = [number + 2 for number in range(0, ROWS, BAD_EACH)]
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as conn:
        (stored,) = conn.execute("SELECT count(*) FROM contacts WHERE public_id LIKE 'm-%'").fetchone()
        (strange,) = conn.execute("SELECT count(*) FROM contacts WHERE public_id NOT LIKE 'm-%'").fetchone()
    good, told = ROWS - len(bad_lines), [error["line"] for error in report["errors"]]
    figures.hold(
        "F16 import of rubbish",
        f"every good row in, every bad row told once, memory < {MEMORY_MB_MAX} MB",
        f"{stored:,} of {good:,} in, {strange} bad ones in, {report['rejected']:,} of {len(bad_lines):,} told, "
        f"{memory:.0f} MB",
        (stored, report["created"], strange, report["rejected"]) == (good, good, 0, len(bad_lines))
        and told == bad_lines[:REJECTIONS_LISTED_MAX]
        and memory < MEMORY_MB_MAX,
    )
