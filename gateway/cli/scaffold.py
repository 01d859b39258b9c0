"""What `gateway plugin new` writes: a package that is green at once, from the templates in the folder `scaffold`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from gateway.contract import CONTRACT_VERSION
from gateway.errors import GatewayError
from gateway.registry import installed

KINDS: Final = ("channel", "policy", "operation")
NAME_CHARACTERS_MAX: Final = 40
TEMPLATES: Final = Path(__file__).parent / "scaffold"
DESCRIPTIONS: Final[Mapping[str, str]] = {
    "channel": "The channel {name} for dripgate.",
    "policy": "The send policy {name} for dripgate.",
    "operation": "The operation {name} for dripgate.",
}
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_MARK: Final = re.compile(r"@@(\w+)@@")


class CannotScaffold(GatewayError):
    """The package cannot be written: a name that will not do, or a folder that is there."""


def write(kind: str, name: str, into: Path) -> Path:
    """Write the package `gateway-NAME` into a new folder of that name, and return the folder. CannotScaffold."""
    words = words_of(kind, name)
    folder = into / words["distribution"]
    if folder.exists():
        raise CannotScaffold(f"{folder} exists already: choose another name, or another folder with --into.")
    try:
        for path, text in files_of(kind, words).items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
    except OSError as exc:
        raise CannotScaffold(f"{exc.filename} cannot be written: {exc.strerror}.") from exc
    return folder


def words_of(kind: str, name: str) -> Mapping[str, str]:
    """What the marks of the templates stand for. CannotScaffold: the name will not do, and why."""
    if not _NAME.fullmatch(name) or len(name) > NAME_CHARACTERS_MAX:
        raise CannotScaffold(
            f"{name!r} is no name for a plugin: small letters, digits and single - between them, beginning with a "
            f"letter, at most {NAME_CHARACTERS_MAX} characters, such as 'carrier-pigeon'."
        )
    if name.startswith(("gateway-", "gateway_")):
        raise CannotScaffold(f"Leave the 'gateway-' of {name!r} out: it is added.")
    plugin = name.replace("-", "_")
    module = f"gateway_{plugin}"
    for point in installed():
        if point.name == plugin:
            raise CannotScaffold(f"A plugin {plugin!r} is installed already, from {point.value}: choose another name.")
    if find_spec(module) is not None:
        raise CannotScaffold(f"There is a package {module} already: choose another name.")
    spoken = plugin.replace("_", " ")
    return {
        "plugin": plugin,
        "module": module,
        "distribution": f"gateway-{plugin.replace('_', '-')}",
        "host": plugin.replace("_", "-"),
        "class": spoken.title().replace(" ", ""),
        "constant": plugin.upper(),
        "title": spoken.capitalize(),
        "contract": CONTRACT_VERSION,
        "description": DESCRIPTIONS[kind].format(name=plugin),
    }


def files_of(kind: str, words: Mapping[str, str]) -> Mapping[str, str]:
    """The text of every file, by its path in the package."""
    package = f"src/{words['module']}"
    files = {
        "pyproject.toml": "shared/pyproject.toml",
        ".gitignore": "shared/gitignore",
        "README.md": f"{kind}/README.md",
    }
    for template in sorted((TEMPLATES / kind).glob("*.py.tmpl")):
        name = template.name.removesuffix(".tmpl")
        if name == "test.py":
            files[f"tests/test_{words['plugin']}.py"] = f"{kind}/{name}"
        else:
            files[f"tests/{name}" if name == "cases.py" else f"{package}/{name}"] = f"{kind}/{name}"
    written = {path: _filled(TEMPLATES / f"{template}.tmpl", words) for path, template in files.items()}
    return {**written, f"{package}/py.typed": ""}


def _filled(template: Path, words: Mapping[str, str]) -> str:
    return _MARK.sub(lambda mark: words[mark[1]], template.read_text())
