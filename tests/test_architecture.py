"""The shape of the code: layers, sizes, names. What a reviewer would otherwise have to count."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 400
LONG_MODULES = {
    "gateway/contract.py": "one document, which a plugin author reads from top to bottom",
}
DRAWERS = {"common", "helper", "helpers", "manager", "managers", "misc", "models", "tools", "util", "utils"}
MUTABLE_CALLS = {"list", "dict", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict", "Queue", "Lock"}
MUTABLE_DISPLAYS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)


@dataclass(frozen=True)
class Module:
    path: Path
    tree: ast.Module
    lines: int

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    def at(self, node: ast.AST) -> str:
        return f"{self.name}:{getattr(node, 'lineno', 1)}"

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


@pytest.fixture(scope="module")
def modules() -> list[Module]:
    found = []
    for folder in ("gateway", "plugins"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text()
            found.append(Module(path=path, tree=ast.parse(text), lines=text.count("\n")))
    assert len(found) > 20
    return found


def test_imports_point_one_way() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_functions_fit_on_a_screen(modules: list[Module]) -> None:
    long = [
        f"{module.at(function)} {function.name}: {lines} lines"
        for module in modules
        for function in module.functions()
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_modules_are_short(modules: list[Module]) -> None:
    long = {module.name: module.lines for module in modules if module.lines > MODULE_LINES_MAX}
    assert {name: lines for name, lines in long.items() if name not in LONG_MODULES} == {}


def test_every_module_says_what_it_is_for(modules: list[Module]) -> None:
    silent = [module.name for module in modules if module.tree.body and not ast.get_docstring(module.tree)]
    assert silent == []


def test_imports_stand_at_the_top(modules: list[Module]) -> None:
    """The command line excepted: its commands import what they need, so that `gateway --version` is quick."""
    hidden = [
        f"{module.at(node)} in {function.name}"
        for module in modules
        if not module.name.startswith("gateway/cli/")
        for function in module.functions()
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert hidden == []


def test_nothing_is_a_drawer_for_odd_things(modules: list[Module]) -> None:
    names = {module.name: set(re.split(r"[/_.]", module.name)) for module in modules}
    assert {name for name, words in names.items() if words & DRAWERS} == set()


def test_modules_hold_no_state(modules: list[Module]) -> None:
    """Two daemons live in one process. Tables that never change are `Final`."""
    found = [
        f"{module.at(statement)} {ast.unparse(statement)[:60]}"
        for module in modules
        for statement in module.tree.body
        if _is_state(statement)
    ]
    assert found == []


def test_nothing_rebinds_a_module_s_names(modules: list[Module]) -> None:
    found = [module.at(node) for module in modules for node in ast.walk(module.tree) if isinstance(node, ast.Global)]
    assert found == []


def _is_state(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assign):
        named_all = any(isinstance(target, ast.Name) and target.id == "__all__" for target in statement.targets)
        return not named_all and _is_mutable(statement.value)
    if isinstance(statement, ast.AnnAssign):
        final = "Final" in ast.unparse(statement.annotation)
        return not final and statement.value is not None and _is_mutable(statement.value)
    return False


def _is_mutable(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).rpartition(".")[2] in MUTABLE_CALLS
    return isinstance(value, MUTABLE_DISPLAYS)
