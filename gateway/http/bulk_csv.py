"""Recipients as CSV, for a spreadsheet: in pieces, and with nothing in it that a spreadsheet would run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

import msgspec

from gateway.contract import Channel
from gateway.core.csv_cells import csv_lines
from gateway.http.bulk_wire import RecipientWire, show_recipient
from gateway.store.recipient_reads import RecipientView

PIECE_ROWS: Final = 2_000  # read and sent at once: some 300 kB
COLUMNS: Final = tuple(field.name for field in msgspec.structs.fields(RecipientWire))

ReadPage = Callable[[int, int], Awaitable[Sequence[RecipientView]]]


async def recipients_csv(read: ReadPage, channel: Channel | None) -> AsyncIterator[bytes]:
    """The whole list, header first. `read(after, limit)` gives the next rows behind a seq."""
    yield csv_lines([COLUMNS])
    after = 0
    while rows := await read(after, PIECE_ROWS):
        shown = [show_recipient(row, channel) for row in rows]
        yield csv_lines([[getattr(each, name) for name in COLUMNS] for each in shown])
        after = rows[-1].seq
