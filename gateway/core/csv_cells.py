"""CSV for people with a spreadsheet: nothing in it is run as a formula, and our own import reads it back as it was."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from datetime import date
from typing import Final

_GUARD: Final = "'"
# OWASP, "CSV Injection" (2025): a cell must not begin with these, nor with their wide forms. Phone numbers do, and get
# an apostrophe too; so do apostrophes before one of these, or they would be one less on the way back.
_DANGEROUS: Final = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def guarded(value: object) -> str:
    """A cell that a spreadsheet shows as text. None is empty, an instant is ISO 8601."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value.isoformat().replace("+00:00", "Z") if isinstance(value, date) else str(value)
    return f"{_GUARD}{text}" if _DANGEROUS.match(text) else text


def unguarded(cell: str) -> str:
    """What `guarded` was given, for texts."""
    return cell[1:] if cell.startswith(_GUARD) and _DANGEROUS.match(cell, 1) else cell


def csv_lines(rows: Sequence[Sequence[object]]) -> bytes:
    """Rows as UTF-8 lines that end with CRLF (RFC 4180)."""
    buffer = io.StringIO()
    csv.writer(buffer).writerows([guarded(value) for value in row] for row in rows)
    return buffer.getvalue().encode()
