"""What `gateway check` says of the tables of these policies."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import load
from gateway.configured import read_plugins
from gateway.errors import ConfigError


def problems(folder: Path, text: str) -> list[str]:
    """All problems, each as its line and its setting with what is wrong."""
    path = folder / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_plugins(load(path, {}))
    return [line.partition("gateway.toml:")[2] for line in str(caught.value).splitlines()]


def test_names_of_what_there_is_not_are_told_all_at_once_with_their_lines(tmp_path: Path) -> None:
    text = """[orgs.default]
[plugins.permissions.roles]
secretary = ["members.read", "member.edit"]
[plugins.quiet_hours]
channels = { pigeon = ["21:00", "08:00"] }
[plugins.quiet_hours.orgs.acme]
between = ["21:00", "08:00"]
"""
    assert problems(tmp_path, text) == [
        "3: plugins.permissions.roles.secretary: There is no permission 'member.edit'; did you mean 'members.edit'?",
        "5: plugins.quiet_hours.channels.pigeon: There is no channel 'pigeon'; "
        "installed: ['email', 'sms', 'whatsapp'].",
        "6: plugins.quiet_hours.orgs.acme: There is no org 'acme'; configured: ['default'].",
    ]


def test_values_that_are_none_are_told_all_at_once_with_an_example(tmp_path: Path) -> None:
    text = """[plugins.quiet_hours]
between = ["9pm", "08:00"]
exempt_sources = ["reply"]
[plugins.frequency_cap]
per_day = 0
per_year = 3
"""
    found = problems(tmp_path, text)
    assert [line.partition(":")[0] for line in found] == ["2", "3", "5", "6"]
    assert 'Must be two times of the day such as ["21:00", "08:00"], or [] for none' in found[0]
