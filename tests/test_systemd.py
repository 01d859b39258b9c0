"""The unit, and how the daemon speaks to systemd."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from gateway.systemd import ALIVE, READY, notify, watchdog_seconds

FOLDER = Path(__file__).parent.parent / "contrib" / "systemd"
UNIT = FOLDER / "gateway.service"
EXPOSURE_MAX = 20  # tenths: 2.0 is "OK"; a unit without hardening has 92


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_states_arrive_at_the_socket_that_systemd_names(tmp_path: Path, abstract: bool) -> None:
    name = f"@{tmp_path}/notify" if abstract else f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name.replace("@", "\0"))
        systemd.settimeout(5)
        assert notify(READY, {"NOTIFY_SOCKET": name})
        assert notify(ALIVE, {"NOTIFY_SOCKET": name})
        assert [systemd.recv(100), systemd.recv(100)] == [b"READY=1", b"WATCHDOG=1"]


@pytest.mark.parametrize("path", [None, "", "relative", "/nowhere/at/all"])
def test_without_a_listener_nothing_happens(path: str | None) -> None:
    assert notify(READY, {} if path is None else {"NOTIFY_SOCKET": path}) is False


def test_a_socket_that_nobody_reads_does_not_block(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"{tmp_path}/notify")
        answers = [notify(ALIVE, {"NOTIFY_SOCKET": f"{tmp_path}/notify"}) for _ in range(2_000)]
    assert answers[0] is True
    assert answers[-1] is False


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_s_time_is_read_if_it_is_meant_for_this_process(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert watchdog_seconds(environ, pid=7) == seconds


def test_every_directive_of_the_unit_is_explained() -> None:
    lines = UNIT.read_text().splitlines()
    unexplained = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if re.match(r"[A-Z]\w+=", line) and not before.startswith("#") and not re.match(r"[A-Z]\w+=", before)
    ]
    assert unexplained == []


def test_the_unit_is_hardened() -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed here; Debian has it in the package systemd")
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_MAX}", str(UNIT)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
