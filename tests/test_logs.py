"""What is written to the log, and what must never be."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway import logs
from gateway.contract import Secret

ROOT = Path(__file__).parent.parent


class Stream(io.StringIO):
    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def stream() -> Iterator[Stream]:
    """A stream that everything is logged to until the test ends."""
    made = Stream()
    before, level = list(logging.getLogger().handlers), logging.getLogger().level
    logs.configure("info", "auto", made)
    yield made
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = before
    logging.getLogger().setLevel(level)


def test_an_event_is_one_line_of_json_with_time_level_and_logger(stream: Stream) -> None:
    structlog.get_logger("gateway.scheduler").info("batch_released", number=3, action="ba_0c3v8h2k9m4qa")
    (event,) = stream.events()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", event.pop("time"))
    assert event == {
        "level": "info",
        "event": "batch_released",
        "logger": "gateway.scheduler",
        "number": 3,
        "action": "ba_0c3v8h2k9m4qa",
    }


def test_a_terminal_gets_lines_for_people() -> None:
    stream = Stream(terminal=True)
    logs.configure("info", "auto", stream)
    structlog.get_logger("gateway").info("batch_released", number=3)
    structlog.reset_defaults()
    assert "batch_released" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_lines_below_the_level_are_not_written(stream: Stream) -> None:
    structlog.get_logger("gateway").debug("claim_judged")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("name", sorted(logs.HIDDEN_ALWAYS | logs.HIDDEN_FROM_INFO))
def test_fields_about_people_and_secrets_are_left_out_at_any_depth(stream: Stream, name: str) -> None:
    structlog.get_logger("gateway").warning("sender_held", **{name: "Ann"}, inner={"list": [{name: "Ann"}]}, kept=1)
    (event,) = stream.events()
    assert "Ann" not in stream.getvalue()
    assert event["kept"] == 1


@pytest.mark.parametrize(
    "said",
    [
        "550 5.1.1 <ann.bee+news@mail.example.org>: no such user",
        "The number +15551230000 is not valid",
        "21610: 15551230000 replied STOP",
        "to +1 (555) 123-0000",
    ],
)
def test_addresses_in_the_answers_of_providers_are_masked(stream: Stream, said: str) -> None:
    structlog.get_logger("gateway").warning("sender_held", detail=said, deep={"x": [said]})
    written = stream.getvalue()
    assert "***" in written
    assert "ann.bee" not in written
    assert "0000" not in written


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("GET /Lookups?To=%2B15551230000&x=1", "GET /Lookups?To=***&x=1"),
        ("whatsapp%3A%2B15551230000", "whatsapp%3A***"),
        ("no route to +15551230000.", "no route to ***."),
        ("no route to 15551230000.", "no route to ***."),
        ("mail=ann%40example.org", "***"),
        ('550 "ann bee"@example.org', "550 ***"),
    ],
)
def test_addresses_are_masked_however_they_are_written(stream: Stream, said: str, written: str) -> None:
    structlog.get_logger("gateway").warning("sender_held", detail=said)
    assert stream.events()[0]["detail"] == written


@pytest.mark.parametrize("level", ["debug", "info"])
@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("b'Authorization: Bearer gwk_53d96f_0099\\x00'", "b'Authorization: Bearer ***\\x00'"),
        ("key gwk_53d96f_0099", "key gwk_53d96f_***"),
        ("whsec_c2Vj+/cg==", "whsec_***"),
        ("https://gateway.example/u/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "https://gateway.example/u/***"),
        ("POST /callbacks/sms/path-secret/dlr?x=1", "POST /callbacks/sms/***"),
        ("POST /callbacks/mail?token=path-secret", "POST /callbacks/mail?***"),
        ("https://ann:hunter2@example.org/", "https://example.org/"),
    ],
)
def test_what_lets_somebody_in_is_masked_at_every_level(level: logs.Level, said: str, written: str) -> None:
    stream = Stream()
    logs.configure("debug", "json", stream)
    log = structlog.get_logger("gateway")
    (log.debug if level == "debug" else log.info)("library_message", said=said)
    structlog.reset_defaults()
    assert stream.events()[0]["said"] == written


def raise_quoting(text: str) -> None:
    try:
        raise ValueError(f"cannot send {text!r}")
    except ValueError as exc:
        raise RuntimeError(text) from exc


@pytest.mark.parametrize("terminal", [True, False])
def test_exceptions_that_may_quote_a_message_lose_their_words_and_keep_their_place(terminal: bool) -> None:
    stream = Stream(terminal=terminal)
    logs.configure("info", "auto", stream)
    text = "Dear Ann"
    try:
        raise_quoting(text)
    except RuntimeError as exc:
        structlog.get_logger("gateway").error("adapter_raised", exc_info=exc, may_quote=True)
    structlog.reset_defaults()
    written = stream.getvalue()
    assert "in raise_quoting" in written
    assert "RuntimeError" in written
    assert "ValueError" in written
    assert text not in written


def test_of_a_group_of_exceptions_each_keeps_its_place() -> None:
    stream = Stream()
    logs.configure("info", "json", stream)
    gathered = []
    for text in ("Dear Ann", "Dear Bob"):
        try:
            raise_quoting(text)
        except RuntimeError as exc:
            gathered.append(exc)
    group = ExceptionGroup("two loops", gathered)
    structlog.get_logger("gateway").error("loop_failed", exc_info=group, may_quote=True)
    structlog.reset_defaults()
    (event,) = stream.events()
    assert event["exception"].count("in raise_quoting") == 4  # both, and what they were raised from
    assert "Dear" not in event["exception"]


def test_at_debug_they_keep_their_words() -> None:
    stream = Stream()
    logs.configure("debug", "json", stream)
    try:
        raise_quoting("Dear Ann")
    except RuntimeError as exc:
        structlog.get_logger("gateway").error("adapter_raised", exc_info=exc, may_quote=True)
    structlog.reset_defaults()
    (event,) = stream.events()
    assert event["exception"].endswith("RuntimeError: Dear Ann")
    assert "may_quote" not in event


@pytest.mark.parametrize("piece", ["a", "1", "%40", "@", "+1", "/u/", "a@", '"', "gwk_a", "://", "Bearer ", "@a."])
def test_long_texts_of_strangers_are_searched_in_linear_time(piece: str) -> None:
    stream = Stream()
    logs.configure("info", "json", stream)
    began = time.process_time()
    structlog.get_logger("gateway").warning("sender_held", detail=piece * (200_000 // len(piece)))
    structlog.reset_defaults()
    assert time.process_time() - began < 5  # 0.1 s; the quadratic search of ours that this replaced: 4 minutes


@pytest.mark.parametrize("said", ["msg_0000000000005", "2026-12-01T09:00:00+00:00", "took 12345 ms", "127.0.0.1:8080"])
def test_ids_times_and_small_numbers_are_no_addresses(stream: Stream, said: str) -> None:
    structlog.get_logger("gateway").info("sender_probed", detail=said)
    assert stream.events()[0]["detail"] == said


def test_addresses_in_tracebacks_are_masked(stream: Stream) -> None:
    try:
        raise RuntimeError("cannot send to ann@example.org")
    except RuntimeError:
        structlog.get_logger("gateway").exception("adapter_raised")
    (event,) = stream.events()
    assert "RuntimeError: cannot send to ***" in event["exception"]


@pytest.mark.parametrize("level", ["debug", "info"])
def test_secrets_are_masked_at_every_level(level: logs.Level) -> None:
    stream = Stream()
    logs.configure("debug", "json", stream)
    structlog.get_logger("gateway").log(
        logging.DEBUG if level == "debug" else logging.INFO,
        "settings_read",
        setting=Secret("hunter2"),
        password="hunter2",
    )
    structlog.reset_defaults()
    assert stream.events()[0]["setting"] == "***"
    assert "hunter2" not in stream.getvalue()


def test_debug_shows_addresses_to_whoever_asks_for_it() -> None:
    stream = Stream()
    logs.configure("debug", "json", stream)
    structlog.get_logger("gateway").debug("claim_judged", address="ann@example.org")
    structlog.reset_defaults()
    assert stream.events()[0]["address"] == "ann@example.org"


def test_what_cannot_be_written_is_spelled_out(stream: Stream) -> None:
    structlog.get_logger("gateway").info("row_rejected", detail="a\ud800b", other=Path("/x"))
    (event,) = stream.events()
    assert event["event"] == "row_rejected"
    assert "ud800" in event["unreadable"]


def test_libraries_warnings_become_events_and_their_chatter_does_not(stream: Stream) -> None:
    logging.getLogger("aiohttp.server").warning("Error handling request from %s", "ann@example.org")
    logging.getLogger("aiohttp.server").info("chatter")
    (event,) = stream.events()
    assert (event["event"], event["logger"], event["level"]) == ("library_message", "aiohttp.server", "warning")
    assert event["said"] == "Error handling request from ***"


def test_a_stream_that_is_gone_takes_nothing_with_it() -> None:
    stream = Stream()
    logs.configure("info", "json", stream)
    stream.close()
    structlog.get_logger("gateway").info("batch_released")
    structlog.reset_defaults()
    assert stream.closed


def test_configuring_twice_forwards_libraries_once(stream: Stream) -> None:
    logs.configure("info", "json", stream)
    logging.getLogger("library").warning("once")
    assert len(stream.events()) == 1


def test_the_journal_is_told_the_priority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "journal").open("w+") as journal:
        status = (tmp_path / "journal").stat()
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        logs.configure("info", "auto", journal)
        structlog.get_logger("gateway").warning("sender_held")
        structlog.reset_defaults()
        journal.seek(0)
        assert journal.read().startswith('<4>{"time":')


def test_a_line_for_people_has_no_warning_about_tracebacks() -> None:
    stream = Stream(terminal=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logs.configure("info", "console", stream)
        try:
            raise ValueError("ann@example.org")
        except ValueError:
            structlog.get_logger("gateway").exception("adapter_raised")
    structlog.reset_defaults()
    assert "ValueError: ***" in stream.getvalue()


METHODS = {"debug", "info", "warning", "error", "exception", "critical"}


def logged_events(path: Path) -> Iterator[tuple[str, ast.expr]]:
    """Every first argument of a call such as `self._log.info(...)` or `structlog.get_logger(...).info(...)`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS):
            continue
        receiver = ast.unparse(node.func.value)
        if node.args and re.search(r"\blog(ger)?$|_log$|get_logger\(", receiver):
            yield f"{path.relative_to(ROOT)}:{node.lineno}", node.args[0]


def test_events_are_constants_of_a_noun_and_a_verb() -> None:
    found = [event for path in sorted((ROOT / "gateway").rglob("*.py")) for event in logged_events(path)]
    assert len(found) > 10
    wrong = [
        f"{where}: {ast.unparse(event)}"
        for where, event in found
        if not (isinstance(event, ast.Constant) and re.fullmatch(r"[a-z]+(_[a-z]+)+", str(event.value)))
    ]
    assert wrong == []
