"""The operator's page says what the code does."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway_whatsapp
from gateway.testing.doubles import make_settings
from gateway_whatsapp.callbacks import STATUSES
from gateway_whatsapp.cloud import CONCURRENCY, RATE
from gateway_whatsapp.errors import ERRORS, PAIR_BASE, Meaning
from gateway_whatsapp.media import MEGABYTE, SIZE_MAX, Kind, kind_of
from gateway_whatsapp.messages import CAPTION_MAX, PARAMETER_MAX, TEXT_MAX
from gateway_whatsapp.settings import CloudSettings
from gateway_whatsapp.template_use import BUTTON_PREFIX, HEADER_PREFIX
from tests.plugins.whatsapp.harness import SETTINGS
from tests.plugins.whatsapp.test_media import file

README = (Path(gateway_whatsapp.__file__).parent / "README.md").read_text()
COMMON = {"channel", "adapter", "daily_cap"}


def row(says: str) -> str:
    """The one row of a table that says so."""
    (found,) = [line for line in README.splitlines() if line.startswith("| ") and says in line]
    return found


def codes(says: str) -> set[int]:
    """The codes in the first cell of a row; `200 to 299` are a hundred."""
    return set(_codes(row(says).split("|")[1]))


def _codes(cell: str) -> Iterator[int]:
    for first, last in re.findall(r"\b(\d+)(?: to (\d+))?", cell):
        yield from range(int(first), int(last or first) + 1)


def having(**traits: object) -> set[int]:
    return {code for code, meaning in ERRORS.items() if _has(meaning, traits)}


def _has(meaning: Meaning, traits: dict[str, object]) -> bool:
    return all(getattr(meaning, name) == value for name, value in traits.items())


def test_every_setting_is_described_with_its_default() -> None:
    usual = make_settings(SETTINGS, CloudSettings)
    for name in CloudSettings.__struct_encode_fields__:
        shown = row(f"| `{name}` |").split("|")[2].strip(" `")
        value = getattr(usual, name)
        expected = "none" if value is None or value == {} else str(value).lower()
        assert shown == ("" if name in SETTINGS else expected), name


def test_the_sample_is_a_sender() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    table = tomllib.loads(block)["senders"]["whatsapp"]
    assert (table["channel"], table["adapter"]) == ("whatsapp", "cloud")
    own = {name: "x" if isinstance(value, dict) else value for name, value in table.items() if name not in COMMON}
    assert make_settings(own, CloudSettings).phone_number_id == "106540352242922"


@pytest.mark.parametrize(
    ("says", "traits"),
    [
        ("recorded as opted out", {"verdict": "opt_out"}),
        ("**the sender is held**", {"verdict": "sender"}),
        ("the bulk action pauses", {"verdict": "action"}),
        ("the sender waits", {"verdict": "transient", "whole_sender": True}),
        ("waits four times as long", {"verdict": "transient", "per_recipient": True}),
    ],
)
def test_a_row_of_errors_names_all_codes_that_mean_so(says: str, traits: dict[str, object]) -> None:
    assert codes(says) == having(**traits)


def test_what_is_tried_again_is_told_from_what_is_tried_a_few_times() -> None:
    again = having(verdict="transient", whole_sender=False, per_recipient=False)
    endless = having(verdict="transient", tries_max=None)
    assert codes("tried again, for `retry_for`") == again & endless
    assert codes("tried again, a few times") == again - endless


@pytest.mark.parametrize(
    "says", ["only a template may be sent", "not on WhatsApp", "too much marketing", "Twenty in a row"]
)
def test_the_other_codes_that_are_named_fail_the_recipient(says: str) -> None:
    assert codes(says)
    assert {ERRORS[code].verdict for code in codes(says)} == {"permanent"}


def test_the_limits_are_those_of_the_code() -> None:
    assert f"| {RATE:.0f} messages/s" in row("| throughput |")
    assert f"| {CONCURRENCY} |" in row("| in flight |")
    assert ", ".join(str(PAIR_BASE**attempt) for attempt in (1, 2, 3)) in row("| one person |")
    assert f"{TEXT_MAX:,} characters" in row("| free text |")
    assert f"{CAPTION_MAX:,} characters" in row("| text under a file |")
    assert f"{PARAMETER_MAX:,} characters" in row("| parameter of a template |")


@pytest.mark.parametrize(
    ("says", "kind"), [("picture", "image"), ("film", "video"), ("recording", "audio"), ("document", "document")]
)
def test_the_sizes_of_files_are_those_of_the_code(says: str, kind: Kind) -> None:
    cell = row(f"| {says} |").split("|")[2]
    assert f"{SIZE_MAX[kind] // MEGABYTE} MB" in cell
    endings = re.findall(r"\b(?:jpeg|png|mp4|3gp|mp3|m4a|aac|amr|ogg)\b", cell)
    assert {kind_of(file(url=f"https://files.example/a.{ending}")) for ending in endings} <= {kind}


def test_stickers_have_their_size() -> None:
    assert f"{SIZE_MAX['sticker'] // 1024} kB" in row("| sticker |")


def test_the_fields_to_subscribe_to_are_those_that_are_read() -> None:
    source = (Path(gateway_whatsapp.__file__).parent / "callbacks.py").read_text()
    read = set(re.findall(r'get\("field"\) == "(\w+)"', source))
    assert read == {"messages", "message_template_status_update", "user_preferences"}
    (step,) = re.findall(r"^4\. Subscribe.*?^5\.", README, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`(\w+)`", step)) == read


def test_parameters_of_templates_are_named_as_the_code_names_them() -> None:
    assert f"`{HEADER_PREFIX}1`" in row("in a header of text")
    assert f"`{BUTTON_PREFIX}0`" in row("the code to copy")


def test_the_names_that_operators_look_for_are_the_code_s() -> None:
    source = "".join(path.read_text() for path in Path(gateway_whatsapp.__file__).parent.glob("*.py"))
    for name in ("template_held_back", "biz_opaque_callback_data"):
        assert name in README
        assert f'"{name}"' in source
    assert "sent" in STATUSES
