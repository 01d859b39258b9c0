"""The documentation is held to the code: what there is appears in it, and what it names exists."""

from __future__ import annotations

import re
import sys
import time
import types
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from gateway import contract, hookspecs, registry
from gateway.cli import main
from gateway.config import settings
from gateway.core.drip import WaitReason
from gateway.core.event_types import EVENT_TYPES
from gateway.core.webhook_signing import headers, secret_text
from gateway.http.problems import CODES
from gateway.testing.diagrams import states_page
from tests.http.everything import every_route

ROOT = Path(__file__).parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
}
API, OPERATORS, PLUGINS = (PAGES[f"docs/{name}.md"] for name in ("api", "operators", "plugins"))


def test_the_diagrams_are_those_of_the_tables() -> None:
    assert PAGES["docs/states.md"] == states_page()


def test_every_route_is_described() -> None:
    paths = {route.path for route in every_route()}
    missing = [path for path in paths if path not in API and f"/{path.rpartition('/')[2]}`" not in API]
    assert missing == []


def test_every_path_that_is_described_exists() -> None:
    known = {re.sub(r"\{\w+\}", "{}", route.path) for route in every_route()} | {"/healthz", "/readyz", "/metrics"}
    named = re.findall(r"`(?:GET|PUT|POST|PATCH|DELETE) (/[^`?]*?)`", API)
    assert {re.sub(r"\{\w+\}", "{}", path) for path in named} - known - {"/v1/openapi.json"} == set()
    assert len(named) > 30


def test_every_error_code_is_listed() -> None:
    assert [code for code in CODES if f"`{code}`" not in API] == []


def test_every_type_of_event_is_described() -> None:
    shown = re.findall(r"`([\w.]+)`", API)
    assert [name for name in EVENT_TYPES if name not in shown and f".{name.partition('.')[2]}" not in shown] == []


def test_the_code_that_checks_deliveries_tells_genuine_ones_from_others() -> None:
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", API, re.DOTALL) if "is_genuine" in block)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/api.md", "exec"), names)
    old, new = (secret_text(bytes([number] * 32)) for number in (1, 2))
    body, now = b'{"type":"message.read"}', int(time.time())
    for secrets, at, genuine in (
        ([new], now, True),
        ([old, new], now, True),
        ([old], now, False),
        ([new], now - 301, False),
    ):
        assert names["is_genuine"](new, headers(secrets, "evt_1", at, body), body) is genuine
    assert not names["is_genuine"](new, headers([new], "evt_1", now, body), body + b" ")


def test_every_wait_reason_is_listed() -> None:
    assert [reason for reason in WaitReason if f"`{reason}`" not in API] == []


def test_every_setting_is_described() -> None:
    sections: list[type[msgspec.Struct]] = [
        settings.Server,
        settings.Store,
        settings.Org,
        settings.Common,
        settings.Operator,
        settings.Notify,
        settings.Conversations,
        settings.Files,
        settings.Webhooks,
    ]
    sections += [settings.Reconcile, settings.Limits, settings.Logging, settings.Plugins]
    names = {field.encode_name for section in sections for field in msgspec.structs.fields(section)}
    assert [name for name in sorted(names) if f"`{name}`" not in OPERATORS] == []


def commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{prefix}{name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")


def test_every_command_is_described_and_has_help() -> None:
    for name, command in commands(main):
        first, _, second = name.partition(" ")
        assert f"gateway {first}" in OPERATORS, name
        assert second in OPERATORS, name
        assert command.help, name


def test_every_hook_and_type_of_the_contract_is_named_in_the_guide() -> None:
    hooks = [name for name in vars(hookspecs) if name.startswith("gateway_")]
    assert [hook for hook in hooks if hook not in PLUGINS] == []
    inner = {"Value", "Log", "Http", "HttpResponse", "Status", "Media", "TemplateUse", "Tools", "Policy"}
    types_ = [
        name
        for name, value in vars(contract).items()
        if isinstance(value, type) and value.__module__ == contract.__name__
    ]
    assert [name for name in types_ if name not in inner and name not in PLUGINS] == []


@pytest.mark.parametrize("number", range(3))
def test_the_code_of_the_guide_is_a_plugin_that_loads(number: int) -> None:
    code = re.findall(r"```python\n(.*?)```", PLUGINS, re.DOTALL)[number]
    module = types.ModuleType(f"guide_{number}")
    sys.modules[module.__name__] = module
    try:
        exec(compile(code, f"docs/plugins.md block {number}", "exec"), vars(module))
        plugins = registry.load((), [EntryPoint(module.__name__, module.__name__, registry.GROUP)])
    finally:
        del sys.modules[module.__name__]
    (source,) = plugins.sources
    assert source.channels or source.policies or source.operations


def test_every_link_leads_somewhere() -> None:
    for page, text in PAGES.items():
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            if "://" not in target:
                assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


def test_every_file_that_is_named_exists() -> None:
    for page, text in PAGES.items():
        for path in re.findall(r"`((?:gateway|plugins|tests|contrib|docs|bench)/[\w./-]+\.\w+)`", text):
            assert (ROOT / path).exists(), f"{page} names {path}"


def test_the_promise_stands_in_the_readme() -> None:
    assert "at most W messages" in PAGES["README.md"]
    assert "make demo" in PAGES["README.md"].split("\n## ")[0]
