"""CSV for people with a spreadsheet: nothing in it is run as a formula, and our own import reads it back as it was."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import date
from typing import Final

# OWASP, "CSV Injection" (2024): a cell must not begin with these. Phone numbers do, and get an apostrophe too.
_DANGEROUS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_GUARD: Final = "'"


def guarded(value: object) -> str:
    """A cell that a spreadsheet shows as text. None is empty, an instant is ISO 8601."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value.isoformat().replace("+00:00", "Z") if isinstance(value, date) else str(value)
    return f"{_GUARD}{text}" if text.startswith(_DANGEROUS) else text


def unguarded(cell: str) -> str:
    """What `guarded` was given, for texts."""
    return cell[1:] if cell.startswith(_GUARD) and cell[1:].startswith(_DANGEROUS) else cell


def csv_lines(rows: Sequence[Sequence[object]]) -> bytes:
    """Rows as UTF-8 lines that end with CRLF (RFC 4180)."""
    buffer = io.StringIO()
    csv.writer(buffer).writerows([guarded(value) for value in row] for row in rows)
    return buffer.getvalue().encode()
