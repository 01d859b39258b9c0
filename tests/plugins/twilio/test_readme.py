"""The operator's page says what the code does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import gateway_twilio
from gateway_twilio.errors import ERRORS
from gateway_twilio.settings import SmsSettings, WhatsAppSettings

README = (Path(gateway_twilio.__file__).parent / "README.md").read_text()
ROWS = {
    "not written to again": {"address_dead"},
    "recorded as opted out": {"opt_out"},
    "**the sender is held**": {"sender"},
    "the bulk action pauses": {"action"},
    "the sender waits": {"transient"},
    "tried again": {"transient"},
    "only a template": {"permanent"},
    "Twenty in a row": {"permanent"},
}


def codes(text: str) -> Iterator[int]:
    """`21701 to 21705` are five."""
    for first, last in re.findall(r"\b([1-9]\d{4})(?: to ([1-9]\d{4}))?", text):
        yield from range(int(first), int(last or first) + 1)


def test_every_setting_is_described() -> None:
    for settings in (SmsSettings, WhatsAppSettings):
        for name in settings.__struct_encode_fields__:
            assert re.search(rf"^\| [^|]*`{name}`", README, re.MULTILINE), name


def test_the_table_of_errors_is_the_one_in_the_code() -> None:
    listed: set[int] = set()
    for says, verdicts in ROWS.items():
        (row,) = [line for line in README.splitlines() if line.startswith("| ") and says in line]
        found = set(codes(row.split("|")[1]))
        assert found, row
        assert {ERRORS[code].verdict for code in found} == verdicts, row
        waits = says == "the sender waits"
        assert {ERRORS[code].whole_sender for code in found} == {waits}, row
        listed |= found
    left = {ERRORS[code].verdict for code in set(ERRORS) - listed}
    assert left == {"permanent"}, "all others fail the recipient"
