"""The table of figures at the end of a run, and what the faults share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.testing.smtp_server import SmtpProcess
from tests.faults.figures import SHARE, Figures, figures_in


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [*terminalreporter.stats.get("passed", ()), *terminalreporter.stats.get("failed", ())]
    figures = sorted(
        (figure for report in reports for figure in figures_in(report.user_properties)),
        key=lambda figure: int(figure.fault.partition(" ")[0][1:]),
    )
    if not figures:
        return
    terminalreporter.section(f"faults, {SHARE:.0%} of the full sizes" if SHARE else "faults, small sizes")
    widths = [max(len(getattr(figure, column)) for figure in figures) for column in ("fault", "to_hold", "measured")]
    for figure in figures:
        cells = [cell.ljust(width) for cell, width in zip(figure[:3], widths, strict=True)]
        terminalreporter.write_line(f"{'  '.join(cells)}  {'held' if figure.held else 'NOT HELD'}")


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Figures:
    return Figures(record_property)


@pytest.fixture
async def smtp(tmp_path: Path) -> AsyncIterator[SmtpProcess]:
    async with SmtpProcess(tmp_path / "mails.tsv") as server:
        yield server
