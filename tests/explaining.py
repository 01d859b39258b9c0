"""How SQLite answers what it is asked: for tests of statements that must not walk through tables."""

from __future__ import annotations

from typing import Any


class Explaining:
    """A connection that notes, for each statement that selects, the lines of its plan."""

    def __init__(self, conn: Any, plans: dict[str, list[str]]) -> None:
        self._conn = conn
        self._plans = plans

    def execute(self, statement: str, parameters: Any = ()) -> Any:
        if "SELECT" in statement and statement not in self._plans:
            explained = self._conn.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            self._plans[statement] = [line for _, _, _, line in explained]
        return self._conn.execute(statement, parameters)
