"""Where the settings come from: the file, the environment over it, and secrets in places of their own.

The outcome is one tree of plain values in which every value still knows its origin, so that a problem can name the
line of the file or the variable of the environment.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway.config.lines import Path as Keys
from gateway.config.lines import key_lines
from gateway.contract import Secret
from gateway.errors import ConfigError, Problem
from gateway.wording import given

PREFIX: Final = "GATEWAY_"
SECRET_PLACES: Final = ("env", "file", "credential")
SECRET_BYTES_MAX: Final = 64 * 1024  # a key chain of certificates fits; a device file that never ends does not
_SYNTAX_PLACE: Final = re.compile(r"(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)")
_LITERAL: Final = re.compile(r'\s*(?:[\[{"\']|[+-]?\d|true\b|false\b)')


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """Which line or variable each setting came from."""

    file: str = "gateway.toml"
    lines: Mapping[Keys, int] = field(default_factory=dict)
    variables: Mapping[Keys, str] = field(default_factory=dict)

    def problem(self, keys: Keys, detail: str) -> Problem:
        """A problem with the setting at `keys`: named by its variable if it came from one, else by its line.

        What is missing has the line of the table in which it is missing.
        """
        variable = self.variables.get(keys)
        if variable is not None:
            return Problem(variable, detail)
        if keys not in self.lines:  # a table that variables alone made
            inner = next((name for made, name in self.variables.items() if made[: len(keys)] == keys), None)
            if inner is not None:
                return Problem(inner, detail)
        line = next((self.lines[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in self.lines), None)
        return Problem(dotted(keys), detail, line)

    def error(self, problems: Iterable[Problem]) -> ConfigError:
        """All of them as one error, in the order of the file."""
        unique = dict.fromkeys(problems)
        return ConfigError(sorted(unique, key=lambda one: one.line or 0), source=self.file)


def dotted(keys: Keys) -> str:
    """`senders.mail.rate`, with quotes around a key that needs them."""
    return ".".join(key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else given(key) for key in keys) or "the file"


def read_file(path: Path) -> tuple[dict[str, Any], Origins]:
    """The file as plain values. ConfigError if it cannot be read or is not TOML."""
    origins = Origins(file=str(path))
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as exc:
        raise origins.error([Problem("the file", "Does not exist; `gateway init` writes one.")]) from exc
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        raise origins.error([Problem("the file", "Is not UTF-8 here.", line)]) from exc
    except OSError as exc:
        raise origins.error([Problem("the file", f"Cannot be read: {exc.strerror}.")]) from exc
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise origins.error([_syntax_problem(exc, text)]) from exc
    return tree, Origins(file=str(path), lines=key_lines(text.replace("\r\n", "\n")))


def _syntax_problem(error: tomllib.TOMLDecodeError, text: str) -> Problem:
    matched = _SYNTAX_PLACE.fullmatch(str(error))
    what = matched["what"] if matched else str(error)
    line = int(matched["line"]) if matched and matched["line"] else text.count("\n") + 1
    column = f", at column {matched['column']}" if matched and matched["column"] else ""
    return Problem("the file", f"Is not TOML: {what[:1].lower()}{what[1:]}{column}.", line)


def overlay(tree: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[Keys, str]]:
    """The tree with the values of `GATEWAY_SECTION__KEY` put over it, and the variable behind each of them.

    A part of a variable's name means the key of the same spelling in the file, in which capitals and - do not count:
    `GATEWAY_SENDERS__SMS_MAIN__RATE` is `senders.sms-main.rate`. Without such a key it makes one, in small letters.
    Variables without a double underscore are not settings (`GATEWAY_CONFIG`).
    """
    merged = _copied(tree)
    variables: dict[Keys, str] = {}
    for name in sorted(environ):
        parts = name.removeprefix(PREFIX).split("__")
        if not name.startswith(PREFIX) or len(parts) < 2 or not all(parts):
            continue
        keys = _place(merged, parts, environ[name])
        variables[keys] = name
    return merged, variables


def _copied(value: Any) -> Any:
    return {key: _copied(member) for key, member in value.items()} if isinstance(value, Mapping) else value


def _place(tree: dict[str, Any], parts: list[str], value: str) -> Keys:
    keys: Keys = ()
    table = tree
    for position, part in enumerate(parts):
        key = next((known for known in table if _folded(known) == _folded(part)), part.lower())
        keys = (*keys, key)
        if position == len(parts) - 1:
            table[key] = value
        elif isinstance(table.get(key), dict):
            table = table[key]
        else:
            table[key] = {}
            table = table[key]
    return keys


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")


def literal(text: str) -> object | None:
    """What `text` is if it stands for a number, a boolean, a list or a table: the text of a variable is tried as it
    is first, and as this where text is not expected. None if it is nothing else than text.
    """
    if not _LITERAL.match(text):
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"] if "\n" not in text.strip() else None
    except tomllib.TOMLDecodeError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretReader:
    """Fetches what `{ env = "X" }`, `{ file = "path" }` and `{ credential = "x" }` point to."""

    folder: Path  # of the configuration file: relative paths start there
    environ: Mapping[str, str]

    def resolve(self, tree: Mapping[str, Any], origins: Origins) -> tuple[dict[str, Any], list[Problem]]:
        """The tree with every such table replaced by a `Secret`, and what could not be fetched."""
        problems: list[Problem] = []
        resolved = self._resolved(tree, (), origins, problems)
        return dict(resolved), problems

    def _resolved(self, value: Any, keys: Keys, origins: Origins, problems: list[Problem]) -> Any:
        if isinstance(value, list):
            return [self._resolved(one, (*keys, str(i)), origins, problems) for i, one in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if len(value) == 1 and next(iter(value)) in SECRET_PLACES and isinstance(next(iter(value.values())), str):
            place, name = next(iter(value.items()))
            secret = self._fetch(place, name)
            if isinstance(secret, Secret):
                return secret
            problems.append(origins.problem(keys, secret))
            return Secret("")
        return {key: self._resolved(member, (*keys, key), origins, problems) for key, member in value.items()}

    def _fetch(self, place: str, name: str) -> Secret | str:
        """The secret, or a sentence that says why there is none."""
        if place == "env":
            found = self.environ.get(name)
            return Secret(found) if found else f"The environment variable {name} is not set."
        if place == "file":
            return _read_secret(self.folder / name)
        folder = self.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            return f"The credential {given(name)} needs systemd's LoadCredential=; CREDENTIALS_DIRECTORY is not set."
        if "/" in name or name in ("", ".", ".."):
            return f"A credential is a name without slashes, not {given(name)}."
        return _read_secret(Path(folder) / name)


def _read_secret(path: Path) -> Secret | str:
    try:
        with path.open("rb") as file:
            raw = file.read(SECRET_BYTES_MAX + 1)
        text = raw.decode().rstrip("\r\n")
    except OSError as exc:
        return f"The file {path} cannot be read: {exc.strerror}."
    except UnicodeDecodeError:
        return f"The file {path} is not UTF-8."
    if len(raw) > SECRET_BYTES_MAX:
        return f"The file {path} is over {SECRET_BYTES_MAX:,} bytes: no secret is that long."
    return Secret(text) if text else f"The file {path} is empty."


def pointer_keys(pointer: str) -> Keys:
    """The keys of a JSON pointer."""
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])
