"""Where the databases of the simulation live: in memory, if the machine has a place for that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

MEMORY: Final = Path("/dev/shm")


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder that is removed afterwards."""
    with TemporaryDirectory(prefix="gateway-simulation-", dir=MEMORY if MEMORY.is_dir() else None) as name:
        yield Path(name)
