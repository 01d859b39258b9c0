"""Whether the disk takes what is still to be written: asked before something new is begun, not found out halfway."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

MEGABYTE: Final = 1_000_000


class Space:
    """The room that is left where the database lies.

    Nothing new is begun while less than `free_min` bytes are free: what is left then is for the results of what is in
    flight, for receipts and for an operator's hand. 0: it is not looked at.
    """

    def __init__(self, file: Path, free_min: int) -> None:
        self._folder = file.parent
        self._free_min = free_min

    def shortage(self) -> str | None:
        """None if there is room; else a sentence. Some microseconds; nothing is remembered, so it is over by itself."""
        if not self._free_min:
            return None
        try:
            found = os.statvfs(self._folder)
        except OSError as exc:
            return f"The disk of {self._folder} cannot be looked at: {exc.strerror}."
        if found.f_flag & os.ST_RDONLY:
            return f"The file system of {self._folder} is read-only."
        free = found.f_bavail * found.f_frsize
        if free >= self._free_min:
            return None
        wanted = self._free_min // MEGABYTE
        return f"The disk of {self._folder} is nearly full: {free // MEGABYTE:,} MB are free, {wanted:,} must be."

    async def probe(self) -> str | None:
        """The same, for readiness."""
        return self.shortage()
