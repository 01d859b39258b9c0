"""`load`: from a file and an environment to one checked `Config`, or to one error that has every problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from gateway.config.lines import Path as Keys
from gateway.config.settings import (
    Common,
    Conversations,
    Document,
    Files,
    Limits,
    Logging,
    Operator,
    Org,
    Plugins,
    Reconcile,
    Retention,
    Sender,
    Server,
    Store,
    Webhooks,
)
from gateway.config.source import Origins, SecretReader, literal, overlay, pointer_keys, read_file
from gateway.errors import ConfigError, Invalid, Problem
from gateway.validation import convert
from gateway.wording import TOML, unknown

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

_COMMON: Final = tuple(name.encode_name for name in msgspec.structs.fields(Common))
_PLUGINS: Final = tuple(name.encode_name for name in msgspec.structs.fields(Plugins))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that is configured, checked as far as it can be without the plugins that it names.

    What a plugin alone understands is kept as it was written and read, with the plugin's own type, by
    `sender_settings` and `plugin_settings`.
    """

    folder: Path  # of the configuration file: relative paths start there
    server: Server = field(default_factory=Server)
    store: Store = field(default_factory=Store)
    orgs: Mapping[str, Org] = field(default_factory=lambda: {"default": Org()})
    senders: Mapping[str, Sender] = field(default_factory=dict)
    plugins: Plugins = field(default_factory=Plugins)
    plugin_tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # [plugins.NAME] as written
    operator: Operator = field(default_factory=Operator)
    reconcile: Reconcile = field(default_factory=Reconcile)
    limits: Limits = field(default_factory=Limits)
    conversations: Conversations = field(default_factory=Conversations)
    files: Files = field(default_factory=Files)
    retention: Retention = field(default_factory=Retention)
    webhooks: Webhooks = field(default_factory=Webhooks)
    logging: Logging = field(default_factory=Logging)
    origins: Origins = field(default_factory=Origins)

    @property
    def store_file(self) -> Path:
        """The SQLite file, as an absolute path."""
        return (self.folder / self.store.url.file).absolute()

    def sender_settings(self, name: str, settings_type: type[S]) -> S:
        """The adapter's own keys of `[senders.NAME]`. ConfigError with all that is wrong with them."""
        return self._settings(("senders", name), self.senders[name].settings, settings_type, _COMMON)

    def plugin_settings(self, name: str, settings_type: type[S]) -> S:
        """The table `[plugins.NAME]`, or the defaults if there is none. ConfigError with all that is wrong with it."""
        return self._settings(("plugins", name), self.plugin_tables.get(name, {}), settings_type, ())

    def problem(self, keys: Keys, detail: str) -> Problem:
        """A problem with the setting at `keys` (`("senders", "mail", "adapter")`), with its line or its variable."""
        return self.origins.problem(keys, detail)

    def _settings(self, keys: Keys, table: Mapping[str, Any], into: type[S], also_known: Sequence[str]) -> S:
        reading = _Reading(self.origins)
        known = [one.encode_name for one in msgspec.structs.fields(into)]
        reading.check_names(table, [*known, *also_known], keys)
        converted = reading.read({name: table[name] for name in table if name in known}, into, keys)
        if converted is None or reading.problems:
            raise self.origins.error(reading.problems)
        return converted


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """The configuration in the file `path` with the settings of `environ` over it and every secret fetched.

    ConfigError: all problems of all sections at once. Nothing else is read than the file and the secrets' files.
    """
    written, origins = read_file(path)
    merged, variables = overlay(written, environ)
    origins = replace(origins, variables=variables)
    folder = path.absolute().parent
    tree, problems = SecretReader(folder=folder, environ=environ).resolve(merged, origins)
    reading = _Reading(origins)
    reading.problems += problems
    document = reading.sections(tree)
    senders = reading.senders(document.senders)
    plugins, plugin_tables = reading.plugins(document.plugins)
    reading.check_senders(tree)
    if reading.problems:
        raise origins.error(reading.problems)
    return Config(
        folder=folder,
        server=document.server,
        store=document.store,
        orgs=document.orgs,
        senders=senders,
        plugins=plugins,
        plugin_tables=plugin_tables,
        operator=document.operator,
        reconcile=document.reconcile,
        limits=document.limits,
        conversations=document.conversations,
        files=document.files,
        retention=document.retention,
        webhooks=document.webhooks,
        logging=document.logging,
        origins=origins,
    )


def combined(errors: Sequence[ConfigError]) -> ConfigError:
    """Several errors of one file as one: what all senders and plugins have to say."""
    problems = {problem: None for error in errors for problem in error.problems}
    return ConfigError(sorted(problems, key=lambda one: one.line or 0), source=errors[0].source)


class _Reading:
    """One reading of one tree: converts section by section and collects what is wrong."""

    def __init__(self, origins: Origins) -> None:
        self.problems: list[Problem] = []
        self._origins = origins

    def read(self, value: Any, into: type[T], keys: Keys) -> T | None:
        """`value` converted, or None with its problems noted. A text from the environment may stand for a number."""
        try:
            return convert(value, into, words=TOML)
        except Invalid as exc:
            refused = exc
        amended = value
        for problem in refused.problems:
            amended = self._amended(amended, pointer_keys(problem.pointer), keys)
        if amended is not value:
            try:
                return convert(amended, into, words=TOML)
            except Invalid as exc:
                refused = exc
        for problem in refused.problems:
            self._note((*keys, *pointer_keys(problem.pointer)), problem.detail)
        return None

    def _amended(self, value: Any, inner: Keys, keys: Keys) -> Any:
        """`value` with the text at `inner` read as a literal, if it is one and came from the environment."""
        if (*keys, *inner) not in self._origins.variables:
            return value
        return _with_literal(value, inner)

    def sections(self, tree: Mapping[str, Any]) -> Document:
        """Each section on its own, with its defaults where it cannot be used: the others are looked at as well."""
        fields = {one.encode_name: one for one in msgspec.structs.fields(Document)}
        self.check_names(tree, list(fields), ())
        found = {name: self.read(tree[name], one.type, (name,)) for name, one in fields.items() if name in tree}
        return Document(**{name: section for name, section in found.items() if section is not None})

    def senders(self, tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Sender]:
        """Every sender whose common keys are in order."""
        senders = {}
        for name, table in tables.items():
            common = self.read({key: table[key] for key in table if key in _COMMON}, Common, ("senders", name))
            if common is not None:
                own = {key: value for key, value in table.items() if key not in _COMMON}
                senders[name] = Sender(name=name, settings=own, **msgspec.structs.asdict(common))
        return senders

    def plugins(self, table: Mapping[str, Any]) -> tuple[Plugins, dict[str, Mapping[str, Any]]]:
        """`[plugins]` itself, and the tables of single plugins."""
        tables: dict[str, Mapping[str, Any]] = {}
        for name, value in table.items():
            if name in _PLUGINS:
                continue
            if isinstance(value, dict):
                tables[name] = value
            else:
                self._note(("plugins", name), unknown(name, _PLUGINS, TOML.member))
        own = self.read({key: table[key] for key in table if key in _PLUGINS}, Plugins, ("plugins",))
        return own or Plugins(), tables

    def check_names(self, table: Mapping[str, Any], known: Sequence[str], keys: Keys) -> None:
        """Note every key that nobody knows."""
        for name in table:
            if name not in known:
                self._note((*keys, name), unknown(name, known, TOML.member))

    def check_senders(self, tree: Mapping[str, Any]) -> None:
        """What senders say of each other and of orgs, by the tree as it was written: also where a section is wrong."""
        senders = {name: table for name, table in _table(tree, "senders").items() if isinstance(table, dict)}
        orgs = list(_table(tree, "orgs")) if "orgs" in tree else ["default"]
        defaults: dict[object, str] = {}
        for name, table in senders.items():
            org = str(table.get("org", "default"))
            if org not in orgs:
                self._note(("senders", name, "org"), _no_such(org, orgs, "org", "orgs"))
            if table.get("default") not in (True, "true"):
                continue
            first = defaults.setdefault((org, str(table.get("channel"))), name)
            if first != name:
                self._note(("senders", name, "default"), f"The default sender of this channel is {first} already.")
        notify = _table(_table(tree, "operator"), "notify")
        if isinstance(notify.get("sender"), str) and notify["sender"] not in senders:
            told = _no_such(notify["sender"], list(senders), "sender", "senders")
            self._note(("operator", "notify", "sender"), told)

    def _note(self, keys: Keys, detail: str) -> None:
        self.problems.append(self._origins.problem(keys, detail))


def _table(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = tree.get(name)
    return found if isinstance(found, Mapping) else {}


def _no_such(name: str, known: Sequence[str], what: str, table: str) -> str:
    told = unknown(name, known, what)
    return told if known else f"{told[:-1]}: the file has no [{table}.{name}]."


def _with_literal(value: Any, inner: Keys) -> Any:
    if not inner:
        found = literal(value) if isinstance(value, str) else None
        return value if found is None else found
    head, *rest = inner
    if not isinstance(value, Mapping) or head not in value:
        return value
    return {**value, head: _with_literal(value[head], tuple(rest))}
