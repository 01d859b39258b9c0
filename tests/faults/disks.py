"""Small disks that a test may fill and break, seen by nobody but the processes that are started on them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

MEGABYTE = 1_000_000
PAGE = 4_096
READY = "mounted"

# The shell stays until its input ends, which is when this process is gone; with it goes what it mounted.
TMPFS = 'mount -t tmpfs -o size="$1" tmpfs "$2" && echo mounted && cat'
EXT4 = 'truncate -s "$1" "$2.img" && mkfs.ext4 -q -F "$2.img" && mount -o loop "$2.img" "$2" && echo mounted && cat'


class Disk:
    """A file system of its own in `folder`, in a mount namespace of its own. Skips where that is not permitted."""

    def __init__(self, folder: Path, bytes_max: int, script: str = TMPFS) -> None:
        self.folder = folder
        self._bytes_max = bytes_max
        self._script = script
        self._holder: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self.folder.mkdir()
        arguments = ("sh", "-c", self._script, "sh", str(self._bytes_max), str(self.folder))
        pipe = asyncio.subprocess.PIPE
        try:
            self._holder = await asyncio.create_subprocess_exec(
                "unshare", "-m", "--propagation", "private", *arguments, stdin=pipe, stdout=pipe, stderr=pipe
            )
        except FileNotFoundError:
            pytest.skip("there is no unshare, which gives a test a disk of its own")
        assert self._holder.stdout is not None
        if (await self._holder.stdout.readline()).decode().strip() != READY:
            _, told = await self._holder.communicate()
            pytest.skip(f"no right to mount a disk for the test: {told.decode().strip()}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._holder is not None
        await self._holder.communicate(b"")  # the end of its input

    @property
    def within(self) -> tuple[str, ...]:
        """The prefix of commands that shall see the disk."""
        assert self._holder is not None
        return ("nsenter", "-t", str(self._holder.pid), "-m", "--")

    @property
    def path(self) -> Path:
        """The disk as this process can reach it."""
        assert self._holder is not None
        return Path(f"/proc/{self._holder.pid}/root{self.folder}")

    @property
    def free(self) -> int:
        """Bytes."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, leave: int) -> None:
        """Take all but about `leave` bytes away, until `clear`."""
        with (self.path / "ballast").open("ab") as ballast:
            wanted = self.free - leave
            while wanted >= PAGE:
                try:
                    os.posix_fallocate(ballast.fileno(), os.fstat(ballast.fileno()).st_size, wanted)
                except OSError:  # somebody else was quicker with the last of it
                    wanted //= 2
                else:
                    wanted = self.free - leave

    def clear(self) -> None:
        """Give it back."""
        (self.path / "ballast").unlink()

    async def run(self, *command: str) -> None:
        """A command that sees the disk and must succeed."""
        process = await asyncio.create_subprocess_exec(*self.within, *command)
        assert await process.wait() == 0, command
