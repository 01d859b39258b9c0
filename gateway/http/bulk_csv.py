"""Recipients as CSV, for a spreadsheet: in pieces, and with nothing in it that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

import msgspec

from gateway.contract import Channel
from gateway.http.bulk_wire import RecipientWire, show_recipient
from gateway.store.recipient_reads import RecipientView

PIECE_ROWS: Final = 2_000  # read and sent at once: some 300 kB
COLUMNS: Final = tuple(field.name for field in msgspec.structs.fields(RecipientWire))

_DANGEROUS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")

ReadPage = Callable[[int, int], Awaitable[Sequence[RecipientView]]]


async def recipients_csv(read: ReadPage, channel: Channel | None) -> AsyncIterator[bytes]:
    """The whole list, header first. `read(after, limit)` gives the next rows behind a seq."""
    yield _lines([COLUMNS])
    after = 0
    while rows := await read(after, PIECE_ROWS):
        yield _lines(
            [
                [_cell(getattr(shown, name)) for name in COLUMNS]
                for shown in (show_recipient(row, channel) for row in rows)
            ]
        )
        after = rows[-1].seq


def _cell(value: object) -> str:
    """A cell that a spreadsheet shows as text: one that it would take for a formula gets an apostrophe in front.

    OWASP, "CSV Injection" (2024): a cell must not begin with = + - @, tab or line ends. Phone numbers get it too.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value if isinstance(value, str) else str(msgspec.to_builtins(value))
    return f"'{text}" if text.startswith(_DANGEROUS) else text


def _lines(rows: Sequence[Sequence[str]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue().encode()
