"""Distributions built as wheels and installed beside the gateway's own, as on a stranger's machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SECONDS_MAX = 100.0  # for one command
START_SECONDS = 20.0
POLL_SECONDS = 0.05
LEFT_OUT = shutil.ignore_patterns(".*_cache", ".hypothesis", "__pycache__", "build", "dist", "*.egg-info")


class Installed:
    """A folder with the gateway and other distributions in it, and commands that see it before everything else."""

    def __init__(self, site: Path) -> None:
        self.site = site

    def run(self, folder: Path, *command: str | Path, code: int = 0) -> str:
        """Run a command in a folder, and return what it printed, with another `code` than 0 as errors."""
        done = subprocess.run(
            command, cwd=folder, env=self.environment, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
        )
        assert done.returncode == code, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stderr if code else done.stdout

    def gateway(self, folder: Path, *arguments: str, code: int = 0) -> str:
        """Run the command line."""
        return self.run(folder, sys.executable, "-m", "gateway", *arguments, code=code)

    def told(self, folder: Path, *arguments: str) -> Any:
        """Run the command line, and return its JSON."""
        return json.loads(self.gateway(folder, *arguments, "--json"))

    def pytest(self, folder: Path) -> str:
        """Run a suite with no plugin of pytest but the gateway's, found by its entry point."""
        options = ("-q", "-W", "error", "-p", "no:cacheprovider", "-p", "gateway")
        return self.run(folder, sys.executable, "-m", "pytest", *options)

    @contextmanager
    def daemon(self, folder: Path, port: int) -> Iterator[None]:
        """A running daemon, with the gateway.toml of a folder. It ends with the block, in good order."""
        with (folder / "gateway.log").open("wb") as log:
            command = [sys.executable, "-m", "gateway", "serve"]
            process = subprocess.Popen(command, cwd=folder, env=self.environment, stdout=log, stderr=log)
            try:
                self._wait_until_ready(folder, process, port)
                yield
                process.terminate()
                assert process.wait(START_SECONDS) == 0, (folder / "gateway.log").read_text()
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()

    def _wait_until_ready(self, folder: Path, process: subprocess.Popen[bytes], port: int) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(POLL_SECONDS)
        raise AssertionError(f"the daemon did not start:\n{(folder / 'gateway.log').read_text()}")

    @property
    def environment(self) -> dict[str, str]:
        """Without whatever the tests themselves run with."""
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "PATH", "TMPDIR") if name in os.environ}
        return {
            **kept,
            "PYTHONPATH": str(self.site),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }


def install(into: Path, *sources: Path) -> Installed:
    """Build a wheel of each source and of the gateway, and install them all into a folder, without any network."""
    wheels, site = into / "wheels", into / "site"
    for source in (ROOT, *sources):
        pip(into, "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(wheels), str(source))
    pip(into, "install", "--no-deps", "--target", str(site), *map(str, sorted(wheels.glob("*.whl"))))
    return Installed(site)


def pip(folder: Path, command: str, *arguments: str) -> None:
    """Run pip without an index."""
    options = ("--no-index", "--disable-pip-version-check", "--no-input", "--quiet")
    done = subprocess.run(
        [sys.executable, "-m", "pip", command, *options, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def copied(source: Path, into: Path) -> Path:
    """A copy of a source tree, so that nothing is written beside the original."""
    shutil.copytree(source, into / source.name, ignore=LEFT_OUT)
    return into / source.name


def get(port: int, key: str, path: str) -> Any:
    """Ask the API of a daemon on this machine."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)
