"""The fixtures that authors of plugins get, in a run of pytest of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = """
import socket
import urllib.request

import pytest
from gateway import Tools


def test_tools_are_those_of_an_adapter(gateway_tools):
    assert isinstance(gateway_tools(sender="backup"), Tools)
    assert gateway_tools(sender="backup").sender == "backup"


def test_a_plugin_is_found_by_its_name(gateway_plugin):
    offers = gateway_plugin("email")
    assert [adapter.name for adapter in offers.adapters] == ["smtp"]
    assert [channel.name for channel in offers.channels] == ["email"]


def test_a_plugin_that_is_not_installed_is_told(gateway_plugin):
    with pytest.raises(LookupError, match="No plugin 'pigeon' is installed; there are: .*'email'"):
        gateway_plugin("pigeon")


def test_this_machine_can_be_reached(loopback_only):
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()[:2], timeout=5):
            pass
        with socket.create_connection(("localhost", server.getsockname()[1]), timeout=5):
            pass
    assert loopback_only == []


@pytest.mark.parametrize("where", ["http://192.0.2.1/", "http://provider.example/", "http://[2001:db8::1]/"])
def test_leaves(loopback_only, where):
    with pytest.raises(OSError, match="beyond this machine"):
        urllib.request.urlopen(where, timeout=1)


def test_sends_a_datagram(loopback_only):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        with pytest.raises(ConnectionRefusedError):
            sender.sendto(b"hello", ("192.0.2.1", 9))
        with pytest.raises(ConnectionRefusedError):
            sender.sendto(b"hello", 0, ("192.0.2.1", 9))
"""
COSTLY = (
    "aiohttp",
    "hypothesis",
    "gateway.registry",
    "gateway.config",
    "gateway.testing.conformance",
)


def pytest_run(folder: Path, text: str, *options: str) -> str:
    (folder / "test_theirs.py").write_text(text)
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "gateway.testing.pytest_plugin",
        "-p",
        "no:cacheprovider",
        *options,
    ]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    return done.stdout + done.stderr


def test_the_fixtures_do_what_they_say(tmp_path: Path) -> None:
    told = pytest_run(tmp_path, TESTS)
    assert "8 passed, 4 errors" in told  # the errors are those of the guard, at the end of each test that left
    # once for each test; a wide terminal or CI=1 repeats it in the summary
    errors = [line for line in told.splitlines() if line.startswith("E ")]
    assert sum("tried to reach ['192.0.2.1']" in line for line in errors) == 2
    assert "tried to reach ['provider.example']" in told


def test_whoever_uses_none_of_it_imports_none_of_it(tmp_path: Path) -> None:
    told = pytest_run(tmp_path, "import sys\ndef test_theirs():\n    print(sorted(sys.modules))\n", "-s")
    assert "1 passed" in told
    assert "'gateway.testing.pytest_plugin'" in told
    assert [name for name in COSTLY if f"'{name}'" in told] == []
