"""Plugins are found by their entry points, and every contradiction names whose it is."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import EntryPoint
from typing import Any

import msgspec
import pytest

import gateway
from gateway import registry
from gateway.errors import PluginError


class Nothing(msgspec.Struct, frozen=True):
    """No settings."""


PIGEON = gateway.Channel(name="pigeon", title="Pigeon", normalise=lambda text, region: text)


class Post(gateway.Adapter[Nothing]):
    channel = "pigeon"
    name = "post"
    settings_type = Nothing

    async def send(self, message: gateway.Outbound) -> gateway.Outcome:
        return gateway.Accepted()


class Sleepy(gateway.SendPolicy[Nothing]):
    name = "sleepy"
    settings_type = Nothing

    def judge(self, facts: gateway.Facts) -> gateway.Verdict:
        return gateway.Allow()


class Wave(gateway.Operation[Nothing]):
    name = "wave"
    title = "Wave"
    parameters_type = Nothing

    def apply(self, contact: gateway.ContactView, parameters: Nothing) -> gateway.ContactEdit | gateway.Refusal:
        return gateway.ContactEdit()


Install = Callable[..., EntryPoint]


@pytest.fixture
def install() -> Iterator[Install]:
    """Makes a module with these members importable, as an installed plugin."""
    made: list[str] = []

    def make(name: str, **members: Any) -> EntryPoint:
        module = types.ModuleType(f"plugin_{name}")
        for member, value in members.items():
            setattr(module, member, value)
        sys.modules[module.__name__] = module
        made.append(module.__name__)
        return EntryPoint(name, module.__name__, registry.GROUP)

    yield make
    for name in made:
        del sys.modules[name]


def hook(answer: Any) -> Any:
    return gateway.hookimpl(lambda: answer)


def load(*points: EntryPoint, disabled: Sequence[str] = ()) -> registry.Plugins:
    return registry.load(disabled, points)


def test_what_plugins_offer_is_joined_and_its_source_known(install: Install) -> None:
    plugins = load(
        install(
            "birds",
            gateway_channels=hook([PIGEON]),
            gateway_adapters=hook([Post]),
            gateway_template_filters=hook({"coo": str.lower}),
        ),
        install("rules", gateway_policies=hook([Sleepy]), gateway_operations=hook([Wave])),
    )
    assert plugins.channels == {"pigeon": PIGEON}
    assert plugins.adapters == {("pigeon", "post"): Post}
    assert plugins.send_policies == {"sleepy": Sleepy}
    assert list(plugins.operations) == ["wave"]
    assert list(plugins.filters) == ["coo"]
    birds, rules = plugins.sources
    assert (birds.name, birds.channels, birds.adapters, birds.filters) == (
        "birds",
        ("pigeon",),
        ("pigeon/post",),
        ("coo",),
    )
    assert (rules.policies, rules.operations) == (("sleepy",), ("wave",))


def test_the_in_tree_plugins_come_by_the_same_road() -> None:
    plugins = registry.load()
    assert "email" in plugins.channels
    assert ("email", "smtp") in plugins.adapters
    assert "permissions" in plugins.access_policies
    assert {
        "add_tags",
        "remove_tags",
        "set_attributes",
        "delete_contacts",
        "restore_contacts",
    } <= plugins.operations.keys()


def test_a_disabled_plugin_is_not_even_imported(install: Install) -> None:
    broken = EntryPoint("broken", "no_such_module_anywhere", registry.GROUP)
    plugins = load(broken, install("birds", gateway_channels=hook([PIGEON])), disabled=["broken"])
    assert [(source.name, source.enabled) for source in plugins.sources] == [("birds", True), ("broken", False)]


def test_disabling_what_is_not_installed_is_an_error_that_lists_what_is(install: Install) -> None:
    with pytest.raises(PluginError, match=r"names 'pigeons', installed: \['birds'\]"):
        load(install("birds"), disabled=["pigeons"])


def test_a_plugin_that_cannot_be_imported_is_named_with_the_remedy() -> None:
    with pytest.raises(PluginError, match=r"broken .*cannot be imported: ModuleNotFoundError.*disabled"):
        load(EntryPoint("broken", "no_such_module_anywhere", registry.GROUP))


def test_two_plugins_with_one_channel_are_both_named(install: Install) -> None:
    with pytest.raises(PluginError, match=r"channel 'pigeon' is offered by plugin birds .* and by plugin doves"):
        load(install("birds", gateway_channels=hook([PIGEON])), install("doves", gateway_channels=hook([PIGEON])))


@pytest.mark.parametrize(
    ("name", "members", "told"),
    [
        ("typo", {"gateway_chanels": hook([PIGEON])}, "typo.*gateway_chanels"),
        ("lost", {"gateway_adapters": hook([Post])}, "adapter 'post' is for channel 'pigeon', which no plugin offers"),
        ("late", {"CONTRACT": "1.99"}, r"written for contract 1\.99"),
        ("old", {"CONTRACT": "0.9"}, r"written for contract 0\.9"),
        (
            "shouting",
            {"gateway_channels": hook([gateway.Channel(name="LOUD", title="x", normalise=PIGEON.normalise)])},
            "'LOUD' is no name for a channel",
        ),
    ],
)
def test_what_is_wrong_with_a_plugin_is_said_with_its_name(
    install: Install, name: str, members: dict[str, Any], told: str
) -> None:
    with pytest.raises(PluginError, match=told):
        load(install(name, **members))


def test_a_hook_that_takes_arguments_is_refused(install: Install) -> None:
    with pytest.raises(PluginError, match=r"greedy.*wrong arguments"):
        load(install("greedy", gateway_channels=gateway.hookimpl(lambda config: [])))


def test_an_asynchronous_hook_is_refused(install: Install) -> None:
    async def gateway_channels() -> list[gateway.Channel]:
        return [PIGEON]

    with pytest.raises(PluginError, match=r"gateway_channels is asynchronous"):
        load(install("eager", gateway_channels=gateway.hookimpl(gateway_channels)))


def test_a_hook_that_raises_is_told_with_its_plugin(install: Install) -> None:
    def gateway_channels() -> list[gateway.Channel]:
        raise RuntimeError("no feathers")

    with pytest.raises(PluginError, match=r"bald.*gateway_channels raised RuntimeError: no feathers"):
        load(install("bald", gateway_channels=gateway.hookimpl(gateway_channels)))


def test_nobody_may_replace_the_gateways_own_operation(install: Install) -> None:
    class Sender(Wave):
        name = "send_message"

    with pytest.raises(PluginError, match=r"'send_message' is the gateway's own"):
        load(install("greedy", gateway_operations=hook([Sender])))


def test_a_policy_of_no_kind_is_refused(install: Install) -> None:
    class Vague(gateway.Policy[Nothing]):
        name = "vague"
        settings_type = Nothing

    with pytest.raises(PluginError, match=r"Vague is of no kind"):
        load(install("odd", gateway_policies=hook([Vague])))
