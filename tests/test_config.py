"""gateway.toml, the environment and secrets: what is right becomes settings, what is wrong is told all at once."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec import Meta

from gateway.config import Config, Duration, Listen, PublicUrl, Rate, combined, load
from gateway.config.lines import key_lines
from gateway.config.settings import Common, Document
from gateway.contract import Secret
from gateway.errors import ConfigError, Problem
from gateway.validation import convert
from gateway_permissions.access import PermissionSettings
from gateway_permissions.frequency_cap import FrequencyCapSettings
from gateway_permissions.quiet_hours import QuietHoursSettings

Load = Callable[..., Config]

SMALLEST = """
[server]
listen = "127.0.0.1:8080"
public_url = "http://127.0.0.1:8080/"

[store]
url = "sqlite:data/gateway.db"

[orgs.default]
time_zone = "Africa/Lagos"
default_region = "NG"

[senders.mail]
org = "default"
channel = "email"
adapter = "smtp"
default = true
rate = "50/s"
concurrency = 20
host = "127.0.0.1"
port = 2525
from = "Grace Church <news@grace.example>"
"""


class SmtpSettings(msgspec.Struct, frozen=True, kw_only=True):
    host: str
    port: Annotated[int, Meta(ge=1, le=65_535)] = 25
    sender: str = msgspec.field(name="from")
    password: Secret | None = None
    verify: bool = True


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    def write_and_load(text: str, environ: Mapping[str, str] | None = None) -> Config:
        path = tmp_path / "gateway.toml"
        path.write_text(text)
        return load(path, environ or {})

    return write_and_load


@pytest.fixture
def problems(loaded: Load) -> Callable[..., list[Problem]]:
    def load_and_fail(text: str, environ: Mapping[str, str] | None = None) -> list[Problem]:
        with pytest.raises(ConfigError) as caught:
            loaded(text, environ)
        return list(caught.value.problems)

    return load_and_fail


def test_the_least_that_runs_is_read(loaded: Load, tmp_path: Path) -> None:
    config = loaded(SMALLEST)
    assert (config.server.listen.host, config.server.listen.port) == ("127.0.0.1", 8080)
    assert config.server.public_url == "http://127.0.0.1:8080"
    assert config.store_file == tmp_path / "data" / "gateway.db"
    assert config.orgs["default"].time_zone == "Africa/Lagos"
    mail = config.senders["mail"]
    assert (mail.name, mail.org, mail.channel, mail.adapter, mail.default) == ("mail", "default", "email", "smtp", True)
    assert (mail.rate, mail.concurrency) == (50.0, 20)
    assert (mail.deadline, mail.retry_for) == (timedelta(seconds=30), timedelta(hours=12))
    assert mail.settings == {"host": "127.0.0.1", "port": 2525, "from": "Grace Church <news@grace.example>"}


def test_an_empty_file_means_the_defaults(loaded: Load) -> None:
    config = loaded("")
    assert config.server.listen == "127.0.0.1:8080"
    assert list(config.orgs) == ["default"]
    assert config.orgs["default"].time_zone == "UTC"
    assert (config.server.drain_seconds, config.limits.creations_per_minute) == (10.0, 10)
    assert (config.logging.level, config.logging.format, config.reconcile.schedule) == ("info", "auto", "*/5 * * * *")


def test_every_problem_is_told_at_once_with_its_line_and_what_was_probably_meant(
    problems: Callable[..., list[Problem]],
) -> None:
    found = problems(
        """[server]
lisen = "127.0.0.1:8080"
drain_seconds = "x"
[orgs.default]
time_zone = "Lagos"
[senders.mail]
channel = "email"
adapter = "smtp"
org = "defualt"
rate = 50
[senders.sms]
channel = "sms"
deadline = "30 seconds"
[operator]
notify = { sender = "mial", to = "ops@example.org" }
[reconcil]
"""
    )
    assert [(problem.line, problem.pointer, problem.detail) for problem in found] == [
        (2, "server.lisen", 'There is no such setting; did you mean "listen"?'),
        (3, "server.drain_seconds", 'Must be a number from 0 to 300, not "x".'),
        (
            5,
            "orgs.default.time_zone",
            'Must be a time zone such as "Africa/Lagos" or "UTC", not "Lagos". '
            'There is no such time zone; did you mean "Africa/Lagos"?',
        ),
        (9, "senders.mail.org", 'There is no such org; did you mean "default"?'),
        (10, "senders.mail.rate", 'Must be a rate such as "50/s", "600/m" or "1000/h", not 50.'),
        (11, "senders.sms.adapter", "Is missing; it must be text that is not empty."),
        (
            13,
            "senders.sms.deadline",
            'Must be a duration such as "30s", "15m", "24h" or "1d", not "30 seconds".',
        ),
        (15, "operator.notify.sender", 'There is no such sender; did you mean "mail"?'),
        (16, "reconcil", 'There is no such setting; did you mean "reconcile"?'),
    ]


def test_the_error_reads_like_a_compiler_s(loaded: Load, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded('[store]\nurl = "postgres:x"\n')
    assert str(caught.value) == (
        f'{tmp_path}/gateway.toml:2: store.url: Must be a database such as "sqlite:gateway.db", not "postgres:x".'
    )


WRONG: list[tuple[str, str, str]] = [
    ("[server]\nlisten = 8080", "server.listen", "not 8080"),
    ('[server]\nlisten = "8080"', "server.listen", 'not "8080"'),
    ('[server]\nlisten = "127.0.0.1:70000"', "server.listen", "70000"),
    ('[server]\nlisten = "127.0.0.1:http"', "server.listen", "http"),
    ('[server]\nlisten = "unix:relative"', "server.listen", "unix:/run"),
    ('[server]\nlisten = "::1:8080"', "server.listen", "::1:8080"),
    ('[server]\npublic_url = "gateway.example"', "server.public_url", "https://gateway.example"),
    ('[server]\npublic_url = "https://u:p@gateway.example"', "server.public_url", "without user name"),
    ('[server]\npublic_url = "https://gateway.example:x"', "server.public_url", ":x"),
    ('[server]\npublic_url = "https://[::1"', "server.public_url", "[::1"),
    ("[server]\ndrain_seconds = -1", "server.drain_seconds", "from 0 to 300"),
    ("[server]\ndrain_seconds = nan", "server.drain_seconds", "from 0 to 300"),
    ("server = 5", "server", "Must be a table, not 5."),
    ("[[server]]", "server", "Must be a table, not a list."),
    ('[store]\nurl = "sqlite::memory:"', "store.url", "sqlite:gateway.db"),
    ("[orgs.'Grace Church']", 'orgs."Grace Church"', "small letters"),
    ('[orgs.default]\ntime_zone = "../../etc/passwd"', "orgs.default.time_zone", "time zone"),
    ('[orgs.default]\ndefault_region = "Nigeria"', "orgs.default.default_region", '"NG"'),
    ("[senders.mail]\nconcurrency = 0", "senders.mail.concurrency", "from 1 to 1,000"),
    ("[senders.mail]\nconcurrency = true", "senders.mail.concurrency", "not true"),
    ('[senders.mail]\nrate = "0/s"', "senders.mail.rate", "more than nothing"),
    ('[senders.mail]\ndeadline = "0s"', "senders.mail.deadline", "longer than nothing"),
    ('[senders.mail]\nretry_for = "9999d"', "senders.mail.retry_for", "at most 366d"),
    ('[senders.mail]\non_unknown = "resent"', "senders.mail.on_unknown", '"hold" or "resend"'),
    ("[senders]\nmail = 5", "senders.mail", "Must be a table"),
    ('[orgs.church]\n[senders.mail]\nadapter = "smtp"', "senders.mail.org", 'there is "church"'),
    ("[plugins]\ndisable = ['sms']", "plugins.disable", 'did you mean "disabled"'),
    ("[plugins]\ndisabled = 'sms'", "plugins.disabled", "Must be a list"),
    ("[operator]\nnotify = { sender = 'sms', to = '+1' }", "operator.notify.sender", "has no [senders.sms]"),
    ("[reconcile]\nschedule = '61 * * * *'", "reconcile.schedule", "cron"),
    ("[logging]\nlevel = 'verbose'", "logging.level", '"debug"'),
]


@pytest.mark.parametrize(("text", "pointer", "said"), WRONG, ids=[text.replace("\n", " ") for text, _, _ in WRONG])
def test_a_wrong_setting_is_named_with_what_it_should_be(
    problems: Callable[..., list[Problem]], text: str, pointer: str, said: str
) -> None:
    told = {problem.pointer: problem for problem in problems(text)}
    assert said in told[pointer].detail
    assert told[pointer].line is not None


def test_two_default_senders_of_one_channel_and_org_are_refused(problems: Callable[..., list[Problem]]) -> None:
    sender = '[senders.{}]\norg = "{}"\nchannel = "sms"\nadapter = "x"\ndefault = true\n'
    found = problems(
        "[orgs.default]\n[orgs.other]\n"
        + sender.format("a", "default")
        + sender.format("b", "other")
        + sender.format("c", "default")
    )
    assert [(problem.pointer, problem.detail) for problem in found] == [
        ("senders.c.default", "The default sender of this channel is a already.")
    ]


@pytest.mark.parametrize(
    ("raw", "line", "said"),
    [
        (b'[server]\nlisten = "x\n', 2, "Is not TOML"),
        (b"[server]\nlisten = \n", 2, "Is not TOML"),
        (b"[a]\n[a]\n", 2, "Is not TOML"),
        (b"a = 1\nb = {", 2, "Is not TOML"),
        (b'a = 1\nb = "\xff"', 2, "Is not UTF-8"),
    ],
)
def test_a_file_that_is_not_toml_is_refused_with_the_line(tmp_path: Path, raw: bytes, line: int, said: str) -> None:
    path = tmp_path / "gateway.toml"
    path.write_bytes(raw)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    (problem,) = caught.value.problems
    assert (problem.line, said in problem.detail) == (line, True)


def test_a_missing_file_says_what_writes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gateway init"):
        load(tmp_path / "gateway.toml", {})
    with pytest.raises(ConfigError, match="Cannot be read"):
        load(tmp_path, {})


def test_the_environment_goes_over_the_file(loaded: Load) -> None:
    config = loaded(
        SMALLEST + "[senders.sms-main]\nchannel = 'sms'\nadapter = 'twilio'\n",
        {
            "GATEWAY_SERVER__LISTEN": "127.0.0.1:9",
            "GATEWAY_SERVER__DRAIN_SECONDS": "2.5",
            "GATEWAY_SENDERS__MAIL__CONCURRENCY": "7",
            "GATEWAY_SENDERS__MAIL__DEFAULT": "false",
            "GATEWAY_SENDERS__MAIL__PORT": "587",
            "GATEWAY_SENDERS__SMS_MAIN__RATE": "60/m",
            "GATEWAY_PLUGINS__DISABLED": '["whatsapp"]',
            "GATEWAY_CONFIG": "not a setting",
            "GATEWAY_CRASH_AT": "not a setting",
            "HOME": "/root",
        },
    )
    assert config.server.listen.port == 9
    assert config.server.drain_seconds == 2.5
    assert (config.senders["mail"].concurrency, config.senders["mail"].default) == (7, False)
    assert config.senders["sms-main"].rate == 1.0
    assert config.plugins.disabled == ("whatsapp",)
    assert config.sender_settings("mail", SmtpSettings).port == 587


def test_a_text_setting_stays_text_whatever_it_looks_like(loaded: Load) -> None:
    config = loaded(SMALLEST, {"GATEWAY_SENDERS__MAIL__HOST": "12345", "GATEWAY_SENDERS__MAIL__PASSWORD": "007"})
    settings = config.sender_settings("mail", SmtpSettings)
    assert (settings.host, settings.password) == ("12345", "007")


def test_a_problem_with_a_variable_names_the_variable(problems: Callable[..., list[Problem]]) -> None:
    found = problems(
        SMALLEST,
        {
            "GATEWAY_LIMITS__CREATIONS_PER_MINUTE": "0",
            "GATEWAY_LOGGING__LEVEL": "loud",
            "GATEWAY_SEVRER__LISTEN": "127.0.0.1:1",
        },
    )
    assert {problem.pointer: problem.line for problem in found} == {
        "GATEWAY_LIMITS__CREATIONS_PER_MINUTE": None,
        "GATEWAY_LOGGING__LEVEL": None,
        "GATEWAY_SEVRER__LISTEN": None,
    }


def test_secrets_come_from_the_environment_files_and_credentials_and_are_never_shown(
    loaded: Load, tmp_path: Path
) -> None:
    (tmp_path / "password.txt").write_text("from a file\n")
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "token").write_text("from systemd")
    config = loaded(
        SMALLEST
        + """
a = { env = "MAIL_PASSWORD" }
b = { file = "password.txt" }
c = { credential = "token" }
d = [{ env = "MAIL_PASSWORD" }]
e = { env = "not alone", other = 1 }
""",
        {"MAIL_PASSWORD": "from the environment", "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")},
    )
    settings = config.senders["mail"].settings
    assert (settings["a"], settings["b"], settings["c"]) == ("from the environment", "from a file", "from systemd")
    assert settings["d"] == ["from the environment"]
    assert settings["e"] == {"env": "not alone", "other": 1}
    assert "from " not in repr(config)


def test_secrets_that_cannot_be_fetched_are_told_where_they_stand(
    problems: Callable[..., list[Problem]], tmp_path: Path
) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "long").write_bytes(b"x" * 70_000)
    found = problems(
        SMALLEST
        + """a = { env = "NOT_SET" }
b = { file = "not-there" }
c = { file = "empty" }
d = { file = "binary" }
e = { file = "long" }
f = { credential = "token" }
"""
    )
    base = SMALLEST.count("\n")
    assert [(problem.pointer, (problem.line or 0) - base) for problem in found] == [
        (f"senders.mail.{letter}", number) for number, letter in enumerate("abcdef", start=1)
    ]
    said = [problem.detail for problem in found]
    assert "NOT_SET is not set" in said[0]
    assert "No such file" in said[1]
    assert "is empty" in said[2]
    assert "not UTF-8" in said[3]
    assert "65,536 bytes" in said[4]
    assert "LoadCredential" in said[5]


def test_a_credential_cannot_leave_its_folder(problems: Callable[..., list[Problem]], tmp_path: Path) -> None:
    found = problems(SMALLEST + 'a = { credential = "../x" }', {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert "without slashes" in found[0].detail


def test_an_adapter_s_own_keys_are_checked_with_its_type_and_the_common_keys_are_suggested(loaded: Load) -> None:
    config = loaded(SMALLEST.replace("port = 2525", 'port = 0\nhots = "x"\ncuncurrency = 3'))
    with pytest.raises(ConfigError) as caught:
        config.sender_settings("mail", SmtpSettings)
    lines = SMALLEST.splitlines()
    port = lines.index("port = 2525") + 1
    assert [(problem.line, problem.pointer, problem.detail) for problem in caught.value.problems] == [
        (port, "senders.mail.port", "Must be a whole number from 1 to 65,535, not 0."),
        (port + 1, "senders.mail.hots", 'There is no such setting; did you mean "host"?'),
        (port + 2, "senders.mail.cuncurrency", 'There is no such setting; did you mean "concurrency"?'),
    ]


def test_a_plugin_s_table_is_checked_with_its_type(loaded: Load) -> None:
    class Roles(msgspec.Struct, frozen=True):
        roles: dict[str, list[str]] = {}

    config = loaded('[plugins.permissions]\nroles = { helper = ["members.read"] }\n[plugins.other]\nx = 1\n')
    assert config.plugin_settings("permissions", Roles) == Roles(roles={"helper": ["members.read"]})
    assert config.plugin_settings("absent", Roles) == Roles()
    with pytest.raises(ConfigError, match=r"gateway.toml:4: plugins.other.x: There is no such setting"):
        config.plugin_settings("other", Roles)


def test_the_problems_of_several_senders_become_one_error(loaded: Load) -> None:
    mail = SMALLEST[SMALLEST.index("[senders.mail]") :]
    config = loaded(SMALLEST + mail.replace("senders.mail", "senders.other").replace("default = true\n", ""))
    errors = []
    for name in ("other", "mail"):
        with pytest.raises(ConfigError) as caught:
            config.sender_settings(name, msgspec.defstruct("Nothing", []))
        errors.append(caught.value)
    together = combined(errors)
    assert len(together.problems) == 6
    assert [problem.line for problem in together.problems] == sorted(problem.line or 0 for problem in together.problems)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("15m", 900), ("24h", 86_400), ("1d", 86_400), ("250ms", 0.25), ("1.5h", 5_400)],
)
def test_durations(text: str, seconds: float) -> None:
    assert Duration.parse(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "per_second"), [("50/s", 50), ("600/m", 10), ("3600/h", 1), ("86400/d", 1), ("0.5 / s", 0.5)]
)
def test_rates(text: str, per_second: float) -> None:
    assert Rate.parse(text) == pytest.approx(per_second)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:80", True),
        ("127.1.2.3:80", True),
        ("localhost:80", True),
        ("[::1]:80", True),
        ("unix:/run/x.sock", True),
        ("0.0.0.0:80", False),
        ("[::]:80", False),
        ("10.0.0.1:80", False),
        ("gateway.example:80", False),
    ],
)
def test_loopback_is_told_from_the_rest(text: str, loopback: bool) -> None:
    assert Listen.parse(text).is_loopback is loopback


def test_the_parts_of_an_address_to_listen_on() -> None:
    assert (Listen.parse("[::1]:80").host, Listen.parse("[::1]:80").port) == ("::1", 80)
    assert Listen.parse("unix:/run/x.sock").path == "/run/x.sock"
    assert Listen.parse("127.0.0.1:80").path is None
    assert PublicUrl.parse("https://gateway.example/base/") == "https://gateway.example/base"


# ---- the lines of keys


def test_lines_of_every_way_to_write_a_key() -> None:
    text = '''# a comment with [brackets] and = signs
plain = 1
"quoted key" = "# no comment"
dotted.key.deep = 'x = 1'

[ table . "sub.table" ]  # comment
text = """
not.a.key = 1
[not.a.table] \\""" still text
"""
list = [
    1, # one
    "]",
    { inner = 1, other.deep = 2 },
]
after = 2
[[several]]
a = 1
[[several]]
a = 2
[several.inside]
b = 3
'''
    tomllib.loads(text)
    lines = key_lines(text)
    assert lines[("plain",)] == 2
    assert lines[("quoted key",)] == 3
    assert lines[("dotted", "key", "deep")] == lines[("dotted",)] == 4
    assert lines[("table", "sub.table")] == 6
    assert lines[("table", "sub.table", "text")] == 7
    assert lines[("table", "sub.table", "list", "1")] == 13
    assert lines[("table", "sub.table", "list", "2", "other", "deep")] == 14
    assert lines[("table", "sub.table", "after")] == 16
    assert lines[("several", "0", "a")] == 18
    assert lines[("several", "1", "a")] == 20
    assert lines[("several", "1", "inside", "b")] == 22


toml_texts = st.sampled_from(
    ['"x"', "'[a]'", '"""\nk = 1\n"""', "'''\n# x\n'''", "1", "-1.5e3", "true", "1979-05-27 07:32:00Z"]
)
toml_values = st.recursive(
    toml_texts,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[" + ", # c]\n".join([*items, ""]) + "]")
        | st.lists(inner, max_size=3).map(
            lambda items: "{ " + ", ".join(f"k{number} = {item}" for number, item in enumerate(items)) + " }"
        )
    ),
    max_leaves=6,
)


@hypothesis_settings(max_examples=100)
@given(st.lists(toml_values, max_size=6))
def test_every_key_that_tomllib_reads_has_the_line_on_which_it_was_written(values: list[str]) -> None:
    text, written = "", {}
    for number, value in enumerate(values):
        written[f"key{number}"] = text.count("\n") + 1
        text += f"key{number} = {value}\n\n"
    tree = tomllib.loads(text)
    lines = key_lines(text)
    assert {name: lines[(name,)] for name in tree} == written
    assert _paths(tree) == set(lines)


def _paths(value: Any, at: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = {at} if at else set()
    for name, member in members:
        found |= _paths(member, (*at, str(name)))
    return found


# ---- the example at the top of the repository

EXAMPLE = Path(__file__).parent.parent / "gateway.toml"


def uncommented(text: str) -> str:
    """The example with its settings switched on: `#key = value` is a setting, `# Words` is an explanation."""
    return "\n".join(line[1:] if line.startswith("#") and line[1:2].strip() else line for line in text.splitlines())


def test_the_example_runs_as_it_is(tmp_path: Path) -> None:
    assert load(EXAMPLE, {}).server.listen == "127.0.0.1:8080"


def test_the_example_shows_every_setting_and_each_at_its_default(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(uncommented(EXAMPLE.read_text()))
    (tmp_path / "smtp-password").write_text("secret")
    tree = tomllib.loads(path.read_text())
    shown = load(path, {"SMTP_PASSWORD": "secret"})
    assert set(tree) == {field.encode_name for field in msgspec.structs.fields(Document)}
    plain = Config(folder=tmp_path)
    for name in ("server", "store", "reconcile", "limits", "logging"):
        section, default = getattr(shown, name), getattr(plain, name)
        for field in msgspec.structs.fields(type(section)):
            assert field.name in tree[name], f"{name}.{field.name} is not in the example"
            if getattr(default, field.name) is not None:
                assert getattr(section, field.name) == getattr(default, field.name), f"{name}.{field.name}"
    assert shown.plugin_settings("permissions", PermissionSettings).roles
    for name, kind in (("quiet_hours", QuietHoursSettings), ("frequency_cap", FrequencyCapSettings)):
        own, untouched = shown.plugin_settings(name, kind), convert({}, kind)
        for field in msgspec.structs.fields(kind):
            assert field.name in tree["plugins"][name], f"plugins.{name}.{field.name} is not in the example"
            if getattr(untouched, field.name) not in (None, {}):
                assert getattr(own, field.name) == getattr(untouched, field.name), f"plugins.{name}.{field.name}"
    mail = tree["senders"]["mail"]
    for field in msgspec.structs.fields(Common):
        assert field.name in mail, f"senders.mail.{field.name} is not in the example"
        if not field.required and field.default is not None:
            assert getattr(shown.senders["mail"], field.name) == field.default, field.name
