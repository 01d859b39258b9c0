"""`docs/plugins.md`, followed from an empty folder: its files are written, its commands run, its promises seen."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.thirdparty.installed import BIN, POLL_SECONDS, ROOT, SECONDS_MAX, START_SECONDS, Installed, install, pip

PAGE = (ROOT / "docs" / "plugins.md").read_text()
BLOCK = re.compile(r"^```(?P<kind>\w+)(?: (?P<path>\S+))?\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
PORTS = ("8017", "8080")  # of the page; others take their place
OPTIONS = ("-p", "no:cacheprovider", "-W", "error")


@dataclass(frozen=True)
class Block:
    kind: str
    path: str | None
    text: str


def blocks() -> list[Block]:
    tutorial = PAGE.partition("\n# Reference\n")[0]
    return [Block(found["kind"], found["path"], found["text"]) for found in BLOCK.finditer(tutorial)]


class Reader:
    """Somebody who types what the page says, in a folder of their own."""

    def __init__(self, folder: Path, machine: Installed, ports: dict[str, str]) -> None:
        self.folder = folder
        self._machine = machine
        self._ports = ports
        self._background: list[subprocess.Popen[bytes]] = []
        self.typed: list[str] = []

    def follow(self, block: Block) -> None:
        text = block.text
        for written, free in self._ports.items():
            text = text.replace(written, free)
        if block.kind == "console":
            self._type(text)
        elif block.path is not None:
            target = self.folder / block.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(changed(target.read_text(), text) if block.kind == "diff" else text)

    def _type(self, text: str) -> None:
        """Commands begin with $; what follows one must be in what it prints, with anything where three dots are."""
        for command, _, shown in (entry.partition("\n") for entry in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]):
            printed = self._do(command.strip())
            self.typed.append(command.strip())
            for line in filter(None, shown.splitlines()):
                pattern = ".*".join(map(re.escape, line.strip().split("...")))
                assert re.search(pattern, printed), f"$ {command}\nprints\n{printed}\nand not\n{line}"

    def _do(self, command: str) -> str:
        words = shlex.split(command.removesuffix("&"))
        if words[:2] == ["pip", "install"]:
            wheels = self.folder / "dist"
            pip(self.folder, "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(wheels), *words[2:])
            pip(
                self.folder,
                "install",
                "--no-deps",
                "--target",
                str(self._machine.site),
                *map(str, wheels.glob("*.whl")),
            )
            return ""
        program = {"gateway": ("-m", "gateway"), "pytest": ("-m", "pytest", *OPTIONS), "python": ()}[words[0]]
        if command.endswith("&"):
            self._start([sys.executable, *program, *words[1:]])
            return ""
        return self._machine.run(self.folder, sys.executable, *program, *words[1:])

    def _start(self, command: list[str]) -> None:
        """Start something that listens, and wait until it does."""
        port = int(list(self._ports.values())[len(self._background)])
        process = subprocess.Popen(command, cwd=self.folder, env=self._machine.environment)
        self._background.append(process)
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"{command} does not listen")

    def leave(self) -> None:
        for process in self._background:
            process.terminate()
        for process in self._background:
            process.wait(SECONDS_MAX)


def changed(before: str, diff: str) -> str:
    """A file with the hunks of a diff applied; each must fit at exactly one place."""
    for hunk in re.split(r"^@@\n", diff, flags=re.MULTILINE):
        lines = hunk.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] in " -")
        new = "".join(line[1:] for line in lines if line[0] in " +")
        assert before.count(old) == 1, f"this fits at {before.count(old)} places:\n{old}"
        before = before.replace(old, new)
    return before


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    machine = install(tmp_path_factory.mktemp("machine"))
    with socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.bind(("127.0.0.1", 0))
        ports = dict(zip(PORTS, (str(one.getsockname()[1]) for one in (first, second)), strict=True))
    someone = Reader(tmp_path_factory.mktemp("gateway-pigeon"), machine, ports)
    try:
        yield someone
    finally:
        someone.leave()


def test_the_tutorial_ends_with_an_installed_channel_that_sends(reader: Reader, tmp_path: Path) -> None:
    for block in blocks():
        reader.follow(block)
    assert reader.typed.count("pytest -q") == 2
    assert [command.split()[:2] for command in reader.typed[-2:]] == [["gateway", "sender"], ["gateway", "send"]]
    machine = Installed(reader._machine.site)
    machine.run(reader.folder, BIN / "ruff", "check", "--isolated", "--no-cache", "--ignore=RUF012", ".")
    assert "Success" in machine.run(reader.folder, BIN / "mypy", "--strict", "--cache-dir", str(tmp_path), "src")


def test_the_tutorial_has_the_parts_that_are_followed() -> None:
    kinds = [block.kind for block in blocks()]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"toml": 2, "python": 7, "diff": 3, "console": 4}
