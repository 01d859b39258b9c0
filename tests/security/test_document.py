"""`docs/security.md` is held to the code: what it names exists, and what shows a defence is named there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| threat ")]
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


def functions_of(path: Path) -> set[str]:
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)
    ]
    return {node.name for node in functions if node.name.startswith("test_")}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_every_defence_names_its_module_and_its_tests(row: str) -> None:
    threat, defence, where, tests = (cell.strip() for cell in row.strip("| ").split(" | "))
    assert threat
    assert defence
    assert [
        path for path in re.findall(r"`([\w/]+(?:\.\w+)?)`", where) if "/" in path and not (ROOT / path).exists()
    ] == []
    assert re.search(r"`(gateway|plugins|contrib)/", where)
    assert re.search(r"`tests/[\w/]+\.py::test_\w+`", tests)


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)))
def test_every_test_that_is_named_exists(path: str, name: str) -> None:
    assert name in functions_of(ROOT / path)


def test_every_module_of_these_tests_stands_in_the_table() -> None:
    modules = {path.relative_to(ROOT).as_posix() for path in Path(__file__).parent.glob("test_*.py")}
    assert modules - {path for path, _ in NAMED} == {Path(__file__).relative_to(ROOT).as_posix()}
    assert len(ROWS) > 20


def test_what_is_not_defended_is_said() -> None:
    section = PAGE.partition("## What is not defended")[2].partition("\n## ")[0]
    assert len(re.findall(r"^- \*\*", section, re.MULTILINE)) >= 10
