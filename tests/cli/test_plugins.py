"""`gateway plugin`: what is listed, which promises are tried, and how broken ones are told."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main

Install = Callable[[str, str], None]

GOOD = """
import msgspec
from gateway import Allow, SendPolicy, hookimpl

class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass

class Sleepy(SendPolicy[Nothing]):
    name = "sleepy"
    settings_type = Nothing

    def judge(self, facts):
        return Allow()

@hookimpl
def gateway_policies():
    return [Sleepy]

@hookimpl
def gateway_template_filters():
    return {"shout": lambda text: f"{text}!".upper()}
"""

BAD = """
import msgspec
from gateway import Adapter, Accepted, Capabilities, Channel, Misconfigured, Operation, SendPolicy, hookimpl

class Loose(msgspec.Struct):
    password: str = "a canary of passwords"
    rate: int = 1

class Post(Adapter[Loose]):
    channel = "bottle"
    name = "post"
    settings_type = Loose

    @property
    def capabilities(self):
        return Capabilities(lookup=True)

    async def send(self, message):
        return Accepted()

    def parse(self, request):
        return [request.body.decode()]

class Moody(SendPolicy[Loose]):
    name = "moody"
    settings_type = Loose

    def judge(self, facts):
        return True

class Wave(Operation[Loose]):
    name = "wave"
    title = ""
    parameters_type = Loose

    def apply(self, contact, parameters):
        raise KeyError("phone")

@hookimpl
def gateway_channels():
    return [Channel(name="bottle", title="", normalise=lambda text, region: text + "!")]

@hookimpl
def gateway_adapters():
    return [Post]

@hookimpl
def gateway_policies():
    return [Moody]

@hookimpl
def gateway_operations():
    return [Wave]

@hookimpl
def gateway_template_filters():
    return {"whisper": len}
"""

CURIOUS = """
import socket
from gateway import Channel, hookimpl

def ask(address, region):
    socket.create_connection(("192.0.2.1", 80), timeout=1)
    return address

@hookimpl
def gateway_channels():
    return [Channel(name="curious", title="Curious", normalise=ask)]
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Makes a module an installed plugin of a distribution of its own."""
    site = tmp_path / "site"
    made: list[str] = []

    def make(name: str, code: str) -> None:
        info = site / f"gateway_{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"gateway_{name}.py").write_text(textwrap.dedent(code))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: gateway-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[gateway.plugins]\n{name} = gateway_{name}\n")
        made.append(f"gateway_{name}")
        monkeypatch.syspath_prepend(site)

    yield make
    for module in made:
        sys.modules.pop(module, None)


def call(*arguments: str, code: int = 0, config: Path | None = None) -> Result:
    options = ["--config", str(config or "/nowhere/gateway.toml")]
    result = CliRunner().invoke(main, ["plugin", *arguments, *options])
    assert result.exit_code == code, f"{result.output}{result.exception!r}"
    return result


def checks(name: str, code: int = 0, config: Path | None = None) -> dict[str, dict[str, Any]]:
    """The checks of one plugin, by what they are about and what they try."""
    told = json.loads(call("test", name, "--json", code=code, config=config).stdout)
    assert list(told) == [name]
    return {f"{check['subject']} {check['promise']}": check for check in told[name]}


def test_list_shows_a_strangers_plugin_beside_our_own(install: Install) -> None:
    install("sleepy", GOOD)
    sources = {source["name"]: source for source in json.loads(call("list", "--json").stdout)}
    assert sources["sleepy"]["distribution"] == "gateway-sleepy"
    assert sources["sleepy"]["policies"] == ["sleepy"]
    assert sources["email"]["adapters"] == ["email/smtp"]


def test_a_good_plugin_keeps_its_promises(install: Install) -> None:
    install("sleepy", GOOD)
    results = {what: check["result"] for what, check in checks("sleepy").items()}
    assert set(results.values()) == {"passed"}
    assert len(results) == 6


def test_each_broken_promise_is_told_with_what_to_do(install: Install) -> None:
    install("bad", BAD)
    details = {what: check["detail"] for what, check in checks("bad", code=1).items() if check["result"] == "failed"}
    expected = {
        "channel bottle says what it is": "has no title",
        "channel bottle refuses what is no address": "raise ValueError",
        "channel bottle has one spelling for an address": "would have two addresses",
        "adapter bottle/post describes each setting": "['password', 'rate']",
        "adapter bottle/post has settings of its own names": "['rate']",
        "adapter bottle/post refuses unknown settings": "forbid_unknown_fields",
        "adapter bottle/post hides its secrets": "make them `Secret`",
        "adapter bottle/post has the methods that its capabilities promise": "no method `lookup`",
        "adapter bottle/post reads rubbish as nothing": "parse raises UnicodeDecodeError",
        "policy moody describes each setting": "['password', 'rate']",
        "policy moody refuses unknown settings": "forbid_unknown_fields",
        "policy moody answers what it is asked, the same each time": "answered True",
        "operation wave has a title": "has no title",
        "operation wave refuses unknown parameters": "forbid_unknown_fields",
        "operation wave answers for every contact, the same each time": "raises KeyError",
        "filter whisper gives a text for a text": "gives 3",
    }
    assert details.keys() == expected.keys()
    assert [what for what, words in expected.items() if words not in details[what]] == []


def test_a_plugin_that_reaches_beyond_this_machine_is_caught(install: Install) -> None:
    install("curious", CURIOUS)
    failed = [check for check in checks("curious", code=1).values() if check["result"] == "failed"]
    assert failed
    assert all("192.0.2.1" in check["detail"] for check in failed)


def test_a_person_reads_lines_and_a_sum(install: Install) -> None:
    install("bad", BAD)
    told = call("test", "bad", code=1).output
    assert "  FAILED   operation wave has a title\n" in told
    assert "  passed   policy moody has a name\n" in told
    assert "16 failed" in told.splitlines()[-1]


def test_our_own_plugins_keep_their_promises_with_the_settings_of_a_file(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(
        '[orgs.default]\n[senders.mail]\nchannel = "email"\nadapter = "smtp"\nhost = "127.0.0.1"\n'
        'from = "Grace Church <news@grace.example>"\nusername = "u"\npassword = "a canary of passwords"\n'
    )
    results = {check["result"] for check in checks("email", config=config).values()}
    assert results == {"passed"}
    assert "0 failed" in call("test", config=config).output.splitlines()[-1]


def test_a_secret_that_is_a_part_of_a_name_is_not_taken_for_shown(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(
        '[orgs.default]\n[senders.mail]\nchannel = "email"\nadapter = "smtp"\nhost = "127.0.0.1"\n'
        'from = "news@grace.example"\nusername = "u"\npassword = "pass"\n'
    )
    assert checks("email", config=config)["adapter email/smtp hides its secrets"]["result"] == "passed"


def test_a_plugin_that_needs_settings_says_so(tmp_path: Path) -> None:
    check = checks("email")["adapter email/smtp hides its secrets"]
    assert check["result"] == "skipped"
    assert "--config" in check["detail"]


def test_a_name_that_is_not_installed_is_told_with_those_that_are() -> None:
    told = call("test", "pigeon", code=1)
    assert "No plugin 'pigeon' is installed; there are: [" in told.stderr
    assert "'email'" in told.stderr


def test_a_disabled_plugin_is_not_tested(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text('[plugins]\ndisabled = ["permissions"]\n')
    assert "disabled" in call("test", "permissions", code=1, config=config).stderr
    assert "permissions" not in json.loads(call("test", "--json", config=config).stdout)


def test_a_plugin_that_cannot_be_loaded_is_named(install: Install) -> None:
    install("broken", "import nothing_of_that_name")
    assert "Plugin broken (gateway-broken 1.0) cannot be imported" in call("test", code=1).stderr
