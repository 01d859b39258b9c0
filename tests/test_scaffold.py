"""`gateway plugin new` writes packages that are green at once, and refuses what would not be one."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.cli.scaffold import KINDS
from gateway.registry import GROUP, load

BIN = Path(sys.executable).parent
LONG = "a-rather-long-name-of-a-thing-in-here"
NAMES = {"channel": ["pigeon", LONG], "policy": ["send", LONG], "operation": ["add-points", LONG]}


def new(folder: Path, name: str, *options: str) -> Result:
    return CliRunner().invoke(main, ["plugin", "new", name, *options, "--into", str(folder)])


def run(folder: Path, *command: str | Path) -> str:
    """Run a tool in the folder, as somebody would who has none of our plugins of pytest. Its failure is the test's."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def written(folder: Path, kind: str, name: str) -> Path:
    result = new(folder, name, "--kind", kind)
    assert result.exit_code == 0, result.output
    return folder / f"gateway-{name}"


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in NAMES[kind]])
def test_a_new_package_is_green_at_once(kind: str, name: str, tmp_path: Path) -> None:
    folder = written(tmp_path, kind, name)
    said = run(folder, sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert " passed" in said
    assert "failed" not in said


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in NAMES[kind]])
def test_a_new_package_passes_ruff_and_strict_types(kind: str, name: str, tmp_path: Path) -> None:
    folder = written(tmp_path, kind, name)
    run(folder, BIN / "ruff", "check", "--isolated", "--no-cache", ".")
    if name != LONG:  # whose lines ruff would break elsewhere
        run(folder, BIN / "ruff", "format", "--check", "--diff", "--isolated", "--no-cache", ".")
    assert "Success" in run(folder, BIN / "mypy", "--cache-dir", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", ["", "Pigeon", "7up", "a--b", "a-", "my pigeon", "../x", "päge", "a" * 41, "a.b"])
def test_a_name_that_will_not_do_is_refused_with_the_rule(name: str, tmp_path: Path) -> None:
    result = new(tmp_path, name, "--kind", "channel")
    assert result.exit_code == 1
    assert "is no name for a plugin" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("email", "A plugin 'email' is installed already"),
        ("gateway-pigeon", "Leave the 'gateway-'"),
    ],
)
def test_a_name_that_is_taken_is_refused_with_the_reason(name: str, reason: str, tmp_path: Path) -> None:
    result = new(tmp_path, name, "--kind", "policy")
    assert result.exit_code == 1
    assert reason in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "gateway-pigeon" / "notes.txt"
    theirs.parent.mkdir()
    theirs.write_text("mine")
    result = new(tmp_path, "pigeon", "--kind", "channel")
    assert result.exit_code == 1
    assert "exists already" in result.stderr
    assert [path.name for path in theirs.parent.iterdir()] == ["notes.txt"]
    assert theirs.read_text() == "mine"


def test_a_place_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = new(tmp_path / "file" / "deeper", "pigeon", "--kind", "channel")
    assert result.exit_code != 0
    assert "Traceback" not in result.output


def test_an_unknown_kind_is_told_with_those_there_are(tmp_path: Path) -> None:
    result = new(tmp_path, "pigeon", "--kind", "bird")
    assert result.exit_code == 2
    assert "channel" in result.stderr
    assert "operation" in result.stderr


def test_what_was_written_is_told_and_what_comes_next(tmp_path: Path) -> None:
    told = new(tmp_path, "pigeon", "--kind", "channel").stdout
    folder = tmp_path / "gateway-pigeon"
    for path in folder.rglob("*"):
        if path.is_file():
            assert path.relative_to(folder).as_posix() in told
    assert "pip install -e" in told


def test_no_mark_of_the_templates_is_left(tmp_path: Path) -> None:
    for kind in KINDS:
        folder = written(tmp_path, kind, f"some-{kind}")
        assert [path for path in folder.rglob("*") if path.is_file() and "@@" in path.read_text()] == []


def test_a_new_package_is_a_plugin_that_the_gateway_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, offered in (("channel", "adapters"), ("policy", "policies"), ("operation", "operations")):
        folder = written(tmp_path, kind, f"loaded-{kind}")
        monkeypatch.syspath_prepend(folder / "src")
        point = EntryPoint(f"loaded_{kind}", f"gateway_loaded_{kind}", GROUP)
        assert getattr(load((), [point]).sources[0], offered)
