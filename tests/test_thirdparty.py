"""A distribution by somebody else: built, installed, tested by its own suite, and used by a running daemon."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.thirdparty.installed import BIN, Installed, copied, get, install

SOURCE = Path(__file__).parent / "thirdparty" / "gateway-carrier-pigeon"
PATIENCE_SECONDS = 20.0

CONFIG = """
[server]
listen = "127.0.0.1:{port}"
public_url = "https://gateway.example"

[orgs.default]
time_zone = "UTC"

[senders.birds]
org = "default"
channel = "pigeon"
adapter = "loft"
default = true
rate = "100/s"
url = "{url}"
token = "{token}"
seal_secret = "{secret}"
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stranger's folder."""
    return copied(SOURCE, tmp_path_factory.mktemp("theirs"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Installed:
    """The gateway and the stranger's plugin, from their wheels."""
    return install(tmp_path_factory.mktemp("machine"), source)


@pytest.fixture
def loft(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ModuleType, Any]]:
    """The stranger's own simulator of a loft."""
    monkeypatch.syspath_prepend(SOURCE / "src")
    spec = importlib.util.spec_from_file_location("loft_of_a_stranger", SOURCE / "tests" / "loft.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.Loft() as running:
        yield module, running
    for name in [name for name in sys.modules if name.partition(".")[0] == "carrier_pigeon"]:
        del sys.modules[name]


def test_its_suite_is_green_where_it_is_installed(installed: Installed, source: Path) -> None:
    told = installed.pytest(source)
    assert " passed" in told
    assert "failed" not in told


def test_it_passes_its_linter_and_strict_types(installed: Installed, source: Path, tmp_path: Path) -> None:
    installed.run(source, BIN / "ruff", "check", "--no-cache", ".")
    installed.run(source, BIN / "ruff", "format", "--check", "--no-cache", ".")
    assert "Success" in installed.run(source, BIN / "mypy", "--cache-dir", str(tmp_path))


def test_it_is_listed_beside_our_own(installed: Installed, tmp_path: Path) -> None:
    sources = {source["name"]: source for source in installed.told(tmp_path, "plugin", "list")}
    pigeon = sources["pigeon"]
    assert (pigeon["distribution"], pigeon["version"]) == ("gateway-carrier-pigeon", "2.3.0")
    assert (pigeon["channels"], pigeon["adapters"]) == (["pigeon"], ["pigeon/loft"])
    assert {"email", "sms", "whatsapp", "permissions"} < sources.keys()


def test_it_keeps_its_promises(installed: Installed, tmp_path: Path) -> None:
    write_config(tmp_path, 1, "http://127.0.0.1:1")
    checks = installed.told(tmp_path, "plugin", "test", "pigeon")["pigeon"]
    assert {check["result"] for check in checks} == {"passed"}
    assert len(checks) == 10


def test_a_package_begun_from_the_installed_gateway_is_green(installed: Installed, tmp_path: Path) -> None:
    folder = Path(installed.told(tmp_path, "plugin", "new", "dove", "--kind", "channel")["folder"])
    assert " passed" in installed.pytest(tmp_path / folder)


def test_a_wrong_setting_of_its_own_is_told_by_check(installed: Installed, tmp_path: Path) -> None:
    write_config(tmp_path, 1, "ftp://loft.example", more="brids = 3\n")
    told = installed.gateway(tmp_path, "check", code=1)
    assert "senders.birds.url" in told
    assert 'did you mean "birds"' in told


def test_a_note_is_flown_and_its_receipt_and_answer_come_back(
    installed: Installed, tmp_path: Path, unused_tcp_port: int, loft: tuple[ModuleType, Any]
) -> None:
    module, running = loft
    port = unused_tcp_port
    write_config(tmp_path, port, running.url, token=module.TOKEN, secret=module.SEAL_SECRET)
    installed.gateway(tmp_path, "check")
    key = installed.told(tmp_path, "key", "create", "--name", "test", "--permission", "messaging.read")["key"]
    with installed.daemon(tmp_path, port):
        sent = installed.told(tmp_path, "send", "--channel", "pigeon", "--to", "coop 17, LAGOS", "--body", "Coo?")
        assert sent["status"] == "accepted"
        (flight,) = running.flights.values()
        assert (flight["coop"], flight["note"]) == ("Coop-17 Lagos", "Coo?")
        assert running.land(flight["ring"], f"http://127.0.0.1:{port}") == 200
        until = time.monotonic() + PATIENCE_SECONDS
        while (shown := get(port, key, f"/v1/messages/{sent['id']}"))["status"] != "delivered":
            assert time.monotonic() < until, shown
        (conversation,) = get(port, key, "/v1/conversations")["items"]
        assert conversation["address"] == "Coop-17 Lagos"
        messages = get(port, key, f"/v1/conversations/{conversation['id']}/messages")["items"]
        assert [message["direction"] for message in messages] == ["inbound", "outbound"]


def write_config(
    folder: Path, port: int, url: str, *, token: str = "a canary", secret: str = "another canary", more: str = ""
) -> None:
    (folder / "gateway.toml").write_text(CONFIG.format(port=port, url=url, token=token, secret=secret) + more)
