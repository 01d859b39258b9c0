"""A stream of bytes as numbered lines of text, each checked by itself: what one line breaks, others do not feel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LINE_BYTES_MAX: Final = 64 * 1024  # also of a row over several lines, in characters


@dataclass(frozen=True, slots=True)
class BadLine:
    """Why a line cannot be read."""

    detail: str


class Lines:
    """Cuts a stream into numbered lines. None instead of a line that is too long; it is not kept."""

    def __init__(self) -> None:
        self._rest = b""
        self._number = 0
        self._too_long = False

    def feed(self, chunk: bytes) -> list[tuple[int, bytes | None]]:
        """The lines that end in this piece."""
        parts = (self._rest + chunk).split(b"\n")
        self._rest = parts.pop()
        lines = [self._line(part) for part in parts]
        if len(self._rest) > LINE_BYTES_MAX:
            self._too_long, self._rest = True, b""
        return lines

    def end(self) -> list[tuple[int, bytes | None]]:
        """The last line, if nothing ends it."""
        return [self._line(self._rest)] if self._rest or self._too_long else []

    def _line(self, part: bytes) -> tuple[int, bytes | None]:
        self._number += 1
        too_long = self._too_long or len(part) > LINE_BYTES_MAX
        self._too_long = False
        return self._number, None if too_long else part


def decoded(number: int, raw: bytes | None) -> str | BadLine:
    """The text of line `number`, without its end."""
    if raw is None:
        return BadLine(f"The line has more than {LINE_BYTES_MAX:,} bytes.")
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as exc:
        return BadLine(f"The line is not UTF-8, from its byte {exc.start + 1} on.")
    if "\x00" in text:
        return BadLine("The line has a NUL.")
    return text.removesuffix("\r")
