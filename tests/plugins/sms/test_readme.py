"""The operator's page says what the code does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import gateway_sms
from gateway.validation import convert
from gateway_sms.answers import MEANINGS
from gateway_sms.settings import KannelSettings

README = (Path(gateway_sms.__file__).parent / "README.md").read_text()


def test_every_setting_is_described() -> None:
    for name in KannelSettings.__struct_encode_fields__:
        assert re.search(rf"^\| [^|]*`{name}`", README, re.MULTILINE), name


def test_the_words_of_the_table_are_words_of_the_code() -> None:
    named = set(re.findall(r"`([a-z]+_[a-z]+|[A-Z]{7}|0x[0-9A-F]{2})`", README.partition("## What the errors mean")[2]))
    named -= {"opt_out", "address_dead"}
    assert named
    assert named <= MEANINGS.keys()


def test_the_example_is_one() -> None:
    found = re.search(r"```toml\n(.*?)```", README, re.DOTALL)
    assert found is not None
    table = tomllib.loads(found[1])["senders"]["texts"]
    own = {name: value for name, value in table.items() if name not in ("channel", "adapter")}
    settings = convert({**own, "password": "p", "secret": "a" * 16}, KannelSettings)
    assert settings.from_ == "13013"
