"""What a plugin author may import is listed, complete and documented, and costs little."""

from __future__ import annotations

import inspect
import subprocess
import sys
import types

import gateway
from gateway import contract

ALIASES = {"Answer", "Event", "Outcome", "Verdict", "Deliver", "CONTRACT_VERSION"}
INNER = {"S", "Value"}


def test_every_type_of_the_contract_is_a_public_name() -> None:
    defined = {
        name
        for name, value in vars(contract).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == contract.__name__
        and inspect.isclass(value)
    }
    assert defined | ALIASES - INNER <= set(gateway.__all__) | INNER


def test_everything_public_exists_and_is_documented() -> None:
    for name in gateway.__all__:
        value = getattr(gateway, name)
        if name not in ALIASES and isinstance(value, type | types.FunctionType):
            assert inspect.getdoc(value), f"{name} has no docstring"


def test_every_method_of_the_contract_is_documented() -> None:
    for name in ("Adapter", "SendPolicy", "AccessPolicy", "InboundPolicy", "Operation"):
        for attribute, value in vars(getattr(contract, name)).items():
            if not attribute.startswith("_") and isinstance(value, types.FunctionType | property):
                assert value.__doc__, f"{name}.{attribute} has no docstring"


def test_importing_the_public_names_brings_in_neither_servers_nor_databases() -> None:
    program = "import sys, gateway; print(*sorted({'aiohttp', 'sqlite_utils', 'structlog', 'rich'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""
