"""`gateway plugin test`: what can be said of an installed plugin without its author's tests.

It needs neither pytest nor Hypothesis, asks no provider, and sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec

from gateway.config import Config
from gateway.contract import (
    AccessPolicy,
    Adapter,
    Allow,
    Channel,
    ContactEdit,
    ContentPolicy,
    Defer,
    Deny,
    InboundPolicy,
    Operation,
    Outbound,
    Policy,
    Reaction,
    Refusal,
    SendPolicy,
)
from gateway.errors import ConfigError, Invalid
from gateway.registry import Plugins, Source, load
from gateway.testing.cases import callback
from gateway.testing.conformance_checks import (
    NO_ADDRESS,
    Broken,
    check_capabilities,
    check_channel,
    check_common_keys,
    check_name,
    check_one_spelling,
    check_refuses,
    check_secrets_are_hidden,
    is_text,
    promise,
    undocumented,
)
from gateway.testing.conformance_network import loopback
from gateway.testing.conformance_provider import BODIES
from gateway.testing.conformance_samples import ARRIVALS, CALLERS, CONTACTS, CONTENT_FACTS, FACTS, INBOUNDS, OUTBOUNDS
from gateway.testing.doubles import make_tools
from gateway.validation import convert

ADDRESSES: Final = (
    "ada@Example.org",
    "+1 (555) 123-0000",
    "Ada",
    " ada ",
    "@ada",
    "coop-17",
    "\u00e4da@b\u00fccher.example",
)


class NotTested(Exception):
    """A promise that cannot be tried here, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise: kept, broken (with what to do), or not tested (with the reason)."""

    subject: str
    promise: str
    result: str  # passed | failed | skipped
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """What one installed plugin brings."""

    source: Source
    channels: tuple[Channel, ...]
    adapters: tuple[type[Adapter[Any]], ...]
    policies: tuple[type[Policy[Any]], ...]
    operations: tuple[Operation[Any], ...]
    filters: Mapping[str, Callable[[Any], str]]


def installed_plugin(name: str) -> Offers:
    """What the installed plugin of that name brings, found and loaded as the gateway does it.

    PluginError: it cannot be loaded. LookupError: it is not installed.
    """
    plugins = load()
    for source in plugins.sources:
        if source.name == name:
            return offers_of(plugins, source)
    raise LookupError(f"No plugin {name!r} is installed; there are: {[source.name for source in plugins.sources]}")


def offers_of(plugins: Plugins, source: Source) -> Offers:
    """What one of several plugins brings."""
    policies: Mapping[str, type[Policy[Any]]] = {
        **plugins.send_policies,
        **plugins.access_policies,
        **plugins.inbound_policies,
        **plugins.content_policies,
    }
    places = (place.split("/") for place in source.adapters)
    return Offers(
        source=source,
        channels=tuple(plugins.channels[name] for name in source.channels),
        adapters=tuple(plugins.adapters[channel, name] for channel, name in places),
        policies=tuple(policies[name] for name in source.policies),
        operations=tuple(plugins.operations[name] for name in source.operations),
        filters={name: plugins.filters[name] for name in source.filters},
    )


Try = tuple[str, str, Callable[[], object]]


def examine(plugins: Plugins, source: Source, config: Config | None) -> list[Check]:
    """Try every promise of one plugin. `config` brings the settings of its senders and policies, if there are any."""
    return [_result(*one) for one in _tries(plugins, source, config)]


def _result(subject: str, what: str, test: Callable[[], object]) -> Check:
    try:
        with loopback():
            test()
    except NotTested as exc:
        return Check(subject=subject, promise=what, result="skipped", detail=str(exc))
    except Broken as exc:
        return Check(subject=subject, promise=what, result="failed", detail=str(exc))
    # A stranger's code: whatever it raises is what there is to tell.
    except Exception as exc:  # noqa: BLE001
        return Check(subject=subject, promise=what, result="failed", detail=f"It raises {type(exc).__name__}: {exc}")
    return Check(subject=subject, promise=what, result="passed")


def _tries(plugins: Plugins, source: Source, config: Config | None) -> Iterator[Try]:
    offers = offers_of(plugins, source)
    yield "the plugin", "offers something", partial(_offers_something, source)
    for channel in offers.channels:
        yield from _channel(channel)
    for adapter in offers.adapters:
        yield from _adapter(adapter, config)
    for policy in offers.policies:
        yield from _policy(policy, config)
    for operation in offers.operations:
        yield from _operation(operation)
    for name, function in offers.filters.items():
        yield f"filter {name}", "gives a text for a text", partial(_filter, function)


def _offers_something(source: Source) -> None:
    offers = (source.channels, source.adapters, source.policies, source.operations, source.filters)
    promise(
        any(offers), f"{source} offers nothing: are its hooks named as in gateway.hookspecs, and marked `@hookimpl`?"
    )


def _channel(channel: Channel) -> Iterator[Try]:
    subject = f"channel {channel.name}"
    yield subject, "says what it is", partial(check_channel, channel)
    yield subject, "refuses what is no address", partial(_refuses_rubbish, channel)
    yield subject, "has one spelling for an address", partial(_spells, channel)


def _refuses_rubbish(channel: Channel) -> None:
    for rubbish in NO_ADDRESS:
        check_refuses(channel, rubbish)


def _spells(channel: Channel) -> None:
    for address in ADDRESSES:
        for region in (None, "US"):
            check_one_spelling(channel, address, region)


def _adapter(adapter: type[Adapter[Any]], config: Config | None) -> Iterator[Try]:
    subject = f"adapter {adapter.channel}/{adapter.name}"
    yield subject, "describes each setting", partial(_described, adapter.settings_type)
    yield subject, "has settings of its own names", partial(check_common_keys, adapter.settings_type)
    settings = partial(_sender_settings, adapter, config)
    yield subject, "refuses unknown settings", partial(_refuses_unknown, adapter.settings_type)
    yield subject, "hides its secrets", lambda: check_secrets_are_hidden(settings())
    yield (
        subject,
        "has the methods that its capabilities promise",
        lambda: check_capabilities(_made(adapter, settings())),
    )
    yield subject, "reads rubbish as nothing", lambda: _parses(_made(adapter, settings()))


def _described(into: type[msgspec.Struct]) -> None:
    silent = undocumented(into)
    promise(
        not silent, f"{into.__name__}: nothing is said of {silent}. Write a text under each field: operators need it."
    )


def _refuses_unknown(into: type[msgspec.Struct]) -> None:
    strict = into.__struct_config__.forbid_unknown_fields
    promise(strict, f"{into.__name__} takes unknown keys: give it `forbid_unknown_fields=True`.")


def _sender_settings(adapter: type[Adapter[Any]], config: Config | None) -> msgspec.Struct:
    """Those of the first sender that uses the adapter, else its defaults."""
    kind: type[msgspec.Struct] = adapter.settings_type
    senders = () if config is None else config.senders.values()
    for sender in senders:
        if (sender.channel, sender.adapter) == (adapter.channel, adapter.name):
            assert config is not None
            try:
                return config.sender_settings(sender.name, kind)
            except ConfigError as exc:
                raise Broken(str(exc)) from exc
    try:
        return convert({}, kind)
    except Invalid as exc:
        raise NotTested("it needs settings: name a gateway.toml with a sender that uses it, by --config") from exc


def _made(adapter: type[Adapter[Any]], settings: msgspec.Struct) -> Adapter[Any]:
    return adapter(settings, make_tools())


def _parses(adapter: Adapter[Any]) -> None:
    for name, body in BODIES.items():
        for content_type in ("application/json", "application/x-www-form-urlencoded", "message/rfc822"):
            request = callback("https://gateway.example/callbacks/main", body, content_type=content_type)
            try:
                events = list(adapter.parse(request))
            # Whatever it raises, the gateway would never understand this callback.
            except Exception as exc:
                raise Broken(f"parse raises {exc!r} for {name}: it leaves out what it cannot read.") from exc
            promise(list(adapter.parse(request)) == events, f"parse reads {name} in two ways: it is pure.")


def _policy(policy: type[Policy[Any]], config: Config | None) -> Iterator[Try]:
    subject = f"policy {policy.name}"
    yield subject, "has a name", partial(check_name, policy.name)
    yield subject, "describes each setting", partial(_described, policy.settings_type)
    yield subject, "refuses unknown settings", partial(_refuses_unknown, policy.settings_type)
    yield subject, "answers what it is asked, the same each time", partial(_answers, policy, config)


def _answers(policy: type[Policy[Any]], config: Config | None) -> None:
    made = policy(_policy_settings(policy, config))
    if isinstance(made, SendPolicy):
        asked: list[Callable[[], object]] = [partial(made.judge, facts) for facts in FACTS]
        expected: Any = Allow | Defer | Deny
    elif isinstance(made, AccessPolicy):
        asked = [partial(made.permits, caller, "messaging.send") for caller in CALLERS]
        expected = bool
    elif isinstance(made, InboundPolicy):
        asked = [partial(made.read, inbound, ARRIVALS[0]) for inbound in INBOUNDS]
        expected = Reaction | None
    else:
        assert isinstance(made, ContentPolicy)
        asked = [partial(made.finish, outbound, CONTENT_FACTS[0]) for outbound in OUTBOUNDS]
        expected = Outbound
    for ask in asked:
        answer = ask()
        promise(isinstance(answer, expected), f"{policy.__name__} answered {answer!r}, expected {expected}.")
        promise(ask() == answer, f"{policy.__name__} answers the same question in two ways.")


def _policy_settings(policy: type[Policy[Any]], config: Config | None) -> msgspec.Struct:
    kind: type[msgspec.Struct] = policy.settings_type
    try:
        return convert({}, kind) if config is None else config.plugin_settings(policy.name, kind)
    except Invalid as exc:
        raise NotTested(f"it needs settings: name a gateway.toml with [plugins.{policy.name}], by --config") from exc
    except ConfigError as exc:
        raise Broken(str(exc)) from exc


def _operation(operation: Operation[Any]) -> Iterator[Try]:
    subject = f"operation {operation.name}"
    kind = operation.parameters_type
    yield subject, "has a title", lambda: promise(is_text(operation.title), f"{type(operation).__name__} has no title.")
    yield subject, "refuses unknown parameters", partial(_refuses_unknown, kind)
    yield subject, "has a JSON Schema", partial(msgspec.json.schema, kind)
    yield subject, "answers for every contact, the same each time", partial(_applies, operation)


def _applies(operation: Operation[Any]) -> None:
    try:
        parameters = convert({}, operation.parameters_type)
    except Invalid as exc:
        raise NotTested("it needs parameters: OperationConformance tests it with the author's") from exc
    for contact in CONTACTS:
        edit = operation.apply(contact, parameters)
        promise(isinstance(edit, ContactEdit | Refusal), f"apply answered {edit!r}: a ContactEdit or a Refusal.")
        promise(operation.apply(contact, parameters) == edit, "apply answers the same contact in two ways.")


def _filter(function: Callable[[Any], str]) -> None:
    text = function("Ada")
    promise(isinstance(text, str), f"It gives {text!r} for 'Ada': a filter gives a text.")
