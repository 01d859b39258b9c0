"""The command line over a real database, beside no daemon: what it prints, what it changes, how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.store.database import Database

CONFIG = """
[orgs.default]
time_zone = "UTC"
[senders.mail]
channel = "email"
adapter = "smtp"
host = "127.0.0.1"
port = 1
security = "none"
from = "Grace Church <news@grace.example>"
"""
Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "gateway.toml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    def call(*arguments: str, code: int = 0, config: bool = True, **more: Any) -> Result:
        options = ["--config", str(folder / "gateway.toml")] if config else []
        result = CliRunner().invoke(main, [*arguments, *options], **more)
        assert result.exit_code == code, f"{result.output}{result.exception!r}"
        return result

    return call


def decoded(result: Result) -> Any:
    return json.loads(result.stdout)


def database(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / "gateway.db")


def stop_somewhere(folder: Path, run: Run) -> str:
    """A queued bulk action, as the API would have made it; its id as text."""
    run("key", "list")  # makes the database
    with database(folder) as conn:
        conn.execute(
            "INSERT INTO bulk_actions (id, org, label, operation, channel, sender, status, selection, message, "
            "schedule, origin, created_at) VALUES (5, 1, 'News', 'send_message', 'email', 1, 'queued', "
            '\'{"kind":"all","deleted":false}\', '
            '\'{"channel":"email","body":"Hi"}\', \'{"mode":"now","time_zone":"UTC"}\', \'api\', 0)'
        )
        conn.execute("INSERT INTO action_counts (action, pending, unreleased) VALUES (5, 1, 1)")
        conn.execute("INSERT INTO recipients (action, seq, given) VALUES (5, 1, 'a@b.example')")
    conn.close()
    return "ba_0000000000005"


def test_the_version_is_told_without_loading_servers_or_databases() -> None:
    program = (
        "import sys\nfrom click.testing import CliRunner\nfrom gateway.cli import main\n"
        "print(CliRunner().invoke(main, ['--version']).output)\n"
        "print(sorted({'aiohttp', 'sqlite_utils', 'rich', 'structlog'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    assert told[0].startswith("gateway ")
    assert told[2] == "[]"


def test_wrong_use_ends_with_two_and_a_suggestion(run: Run) -> None:
    assert "Did you mean bulk" in run("bulkk", code=2, config=False).output
    run("key", "create", code=2)


def test_init_writes_a_checked_file_and_the_first_key(tmp_path: Path) -> None:
    file = tmp_path / "new" / "gateway.toml"
    file.parent.mkdir()
    options = ["--channel", "email", "--sender", "mail", "--host", "127.0.0.1", "--port", "25", "--security", "none"]
    options += [
        "--username",
        "",
        "--from",
        'Grace "G" <news@grace.example>',
        "--time-zone",
        "Africa/Lagos",
        "--region",
        "NG",
        "--public-url",
        "https://gateway.example",
    ]
    made = CliRunner().invoke(main, ["init", *options, "--json", "--config", str(file)])
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["key"].startswith("gwk_")
    checked = CliRunner().invoke(main, ["check", "--json", "--config", str(file)])
    assert json.loads(checked.stdout)["senders"] == ["mail"]
    assert 'public_url = "https://gateway.example"' in file.read_text()
    for given in (options, []):  # the second would have to ask, and does not
        again = CliRunner().invoke(main, ["init", *given, "--config", str(file)])
        assert (again.exit_code, again.output.count("\n")) == (1, 1)
        assert "exists already" in again.output


def test_init_asks_for_what_it_is_not_told(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    answers = "email\nmail\n127.0.0.1\n25\nnone\n\nnews@grace.example\nUTC\n\n\n"
    made = CliRunner().invoke(main, ["init", "--config", str(file)], input=answers)
    assert made.exit_code == 0, made.output
    assert 'from = "news@grace.example"' in file.read_text()
    assert "# public_url = " in file.read_text()  # nobody is sent a link to this machine


def test_init_asks_nothing_when_it_is_told_not_to(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    options = ["init", "--yes", "--config", str(file)]
    unsaid = CliRunner().invoke(main, options)
    assert (unsaid.exit_code, file.exists()) == (2, False)
    assert "--from" in unsaid.output
    made = CliRunner().invoke(main, [*options, "--from", "news@grace.example", "--port", "25"])
    assert made.exit_code == 0, made.output
    text = file.read_text()
    assert all(line in text for line in ('host = "127.0.0.1"', "port = 25", 'security = "starttls"', "[senders.mail]"))


def test_init_with_nobody_to_ask_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    told = CliRunner().invoke(main, ["init", "--host", "127.0.0.1", "--config", str(file)], input="email\n")
    assert (told.exit_code, file.exists()) == (2, False)
    assert "no terminal to ask at for --sender" in told.output
    assert "--yes --from ADDRESS" in told.output


def test_init_with_a_wrong_answer_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    answers = "email\nmail\n127.0.0.1\n25\nnone\n\nnews@grace.example\nMars/Phobos\n\n\n"
    made = CliRunner().invoke(main, ["init", "--config", str(file)], input=answers)
    assert made.exit_code == 1
    assert "Mars/Phobos" in made.output
    assert not file.exists()


def test_check_tells_every_fault_with_its_line(folder: Path, run: Run) -> None:
    text = CONFIG.replace("port = 1\n", "prot = 1\nrate = 'fast'\n").replace('"UTC"', '"Mars"')
    (folder / "gateway.toml").write_text(text)
    told = run("check", code=1).output
    assert "gateway.toml:3: orgs.default.time_zone" in told
    assert "rate" in told
    (folder / "gateway.toml").write_text(CONFIG.replace("port = 1\n", "prot = 1\n").replace('"smtp"', '"smpt"'))
    assert "no adapter 'smpt'" in run("check", code=1).output
    (folder / "gateway.toml").write_text(CONFIG.replace("port = 1\n", "prot = 1\n"))
    assert "port" in run("check", code=1).output


def test_check_counts_as_people_do(folder: Path, run: Run) -> None:
    assert "is in order: 1 sender, 1 org." in run("check").output
    second = CONFIG.partition("[senders.mail]")[2]
    (folder / "gateway.toml").write_text(f"{CONFIG}[senders.more]{second}")
    assert "is in order: 2 senders, 1 org." in run("check").output


def test_a_missing_configuration_is_said_in_a_sentence(tmp_path: Path) -> None:
    told = CliRunner().invoke(main, ["check", "--config", str(tmp_path / "none.toml")])
    assert told.exit_code == 1
    assert "none.toml" in told.output
    assert "Traceback" not in told.output


def test_keys_are_made_listed_rotated_and_revoked(run: Run) -> None:
    made = decoded(run("key", "create", "--name", "app", "--permission", "messaging.send", "--json"))
    assert made["key"].startswith(f"{made['id']}_")
    rotated = decoded(run("key", "rotate", made["id"], "--json"))
    assert rotated["id"] == made["id"]
    assert rotated["key"] != made["key"]
    run("key", "revoke", made["id"])
    run("key", "revoke", made["id"], code=1)
    (listed,) = decoded(run("key", "list", "--json"))
    assert listed["revoked_at"] is not None
    assert "key" not in listed
    assert "no permission" in run("key", "create", "--name", "x", "--permission", "everything", code=1).output.lower()


def test_contacts_are_imported_from_a_file_and_bad_rows_named(folder: Path, run: Run) -> None:
    file = folder / "people.csv"
    file.write_text("id,email\nm-1,a@b.example\nm-2,nobody\n")
    told = run("contacts", "import", str(file), code=1).output
    assert f"{file}:3:" in told
    assert "1 created" in told
    assert decoded(run("contacts", "import", str(file), "--json", code=1))["unchanged"] == 1
    lines = folder / "people.ndjson"
    lines.write_text('{"email": "a@b.example", "first_name": "Ada"}\n')
    assert decoded(run("contacts", "import", str(lines), "--match", "email", "--json"))["updated"] == 1


def test_bulk_actions_are_listed_shown_paused_resumed_and_cancelled(folder: Path, run: Run) -> None:
    action = stop_somewhere(folder, run)
    assert [each["id"] for each in decoded(run("bulk", "list", "--json"))] == [action]
    assert decoded(run("bulk", "show", action, "--json"))["status"] == "queued"
    assert decoded(run("bulk", "pause", action, "--json"))["status"] == "paused"
    assert decoded(run("bulk", "resume", action, "--json"))["status"] == "queued"
    forecast = decoded(run("bulk", "forecast", action, "--json"))
    assert (forecast["batch_count"], forecast["batches"][0]["quantity"]) == (1, 1)
    assert "1 in all" in run("bulk", "forecast", action).output
    assert decoded(run("bulk", "cancel", action, "--json"))["status"] == "cancelled"
    assert "cancelled" in run("bulk", "watch", action).output
    assert "cannot" in run("bulk", "pause", action, code=1).output.lower()
    run("bulk", "show", "ba_0000000000006", code=1)
    assert "no id of a bulk action" in run("bulk", "show", "june", code=1).output
    assert decoded(run("bulk", "list", "--status", "queued", "--json")) == []


def test_a_sender_is_paused_resumed_and_tested(run: Run) -> None:
    run("sender", "pause", "mail")
    assert decoded(run("sender", "list", "--json"))[0]["held"] == "manual"
    run("sender", "resume", "mail")
    assert decoded(run("sender", "list", "--json"))[0]["held"] is None
    tested = decoded(run("sender", "test", "mail", "--json", code=1))
    assert not tested["healthy"]
    assert "127.0.0.1" in tested["detail"]
    assert "no sender 'male'" in run("sender", "pause", "male", code=1).output


def test_callbacks_are_listed_and_read_again(folder: Path, run: Run) -> None:
    run("sender", "list")
    with database(folder) as conn:
        conn.executemany(
            "INSERT INTO callbacks (sender, received_at, request, body, state, problem) VALUES (1, ?, '{}', x'', ?, ?)",
            [(1_000_000, 1, None), (2_000_000, 1, None), (3_000_000, 2, "parse raised KeyError")],
        )
    conn.close()

    def waiting() -> tuple[int, int]:
        (row,) = decoded(run("callbacks", "list", "--json"))
        assert (row["sender"], row["kept"]) == ("mail", 3)
        return row["waiting"], row["unreadable"]

    assert waiting() == (0, 1)
    assert decoded(run("callbacks", "replay", "mail", "--unreadable", "--json")) == {"sender": "mail", "replayed": 1}
    assert waiting() == (1, 0)
    early = ("--before", "1970-01-01T00:00:02+0000")
    assert decoded(run("callbacks", "replay", "mail", *early, "--json"))["replayed"] == 1
    assert waiting() == (2, 0)
    assert "callbacks are read again" in run("callbacks", "replay", "mail").output
    assert waiting() == (3, 0)
    assert "no sender 'male'" in run("callbacks", "replay", "male", code=1).output


def test_a_message_waits_in_the_database_where_no_daemon_runs(run: Run) -> None:
    told = decoded(
        run(
            "send",
            "--channel",
            "email",
            "--to",
            "a@b.example",
            "--body",
            "Hi",
            "--subject",
            "x",
            "--wait",
            "0",
            "--json",
        )
    )
    assert told["status"] == "pending"
    assert "No sender is configured" in run("send", "--channel", "sms", "--to", "1", "--body", "x", code=1).output


def test_the_doctor_names_what_is_wrong_and_the_remedy(run: Run) -> None:
    told = run("doctor", code=1).output
    assert "ok    database" in told
    assert "FAIL  API keys" in told
    assert "gateway key create" in told
    assert "FAIL  sender mail" in told


def test_verify_finds_books_that_do_not_balance(folder: Path, run: Run) -> None:
    stop_somewhere(folder, run)
    assert decoded(run("verify", "--json"))["faults"] == []
    with database(folder) as conn:
        conn.execute("UPDATE action_counts SET pending = 2")
    conn.close()
    assert "1 recipients are pending, the counter says 2" in run("verify", code=1).output


def test_a_backup_is_put_back_with_every_open_action_paused(folder: Path, run: Run) -> None:
    action = stop_somewhere(folder, run)
    copy = folder / "copy.db"
    run("backup", str(copy))
    run("backup", str(copy), code=1)
    run("bulk", "cancel", action)
    assert decoded(run("restore", str(copy), "--json"))["paused"] == 1
    shown = decoded(run("bulk", "show", action, "--json"))
    assert (shown["status"], shown["pause_reason"]) == ("paused", "restored_database")
    assert (folder / "gateway.db.before-restore").exists()


def test_a_damaged_copy_is_refused_and_nothing_changes(folder: Path, run: Run) -> None:
    action = stop_somewhere(folder, run)
    damaged = folder / "damaged.db"
    damaged.write_bytes(b"no database at all" * 500)
    assert "Nothing was changed" in run("restore", str(damaged), code=1).output
    assert decoded(run("bulk", "show", action, "--json"))["status"] == "queued"


def test_migrate_says_what_it_would_do(folder: Path, run: Run) -> None:
    assert decoded(run("migrate", "--plan", "--json"))["pending"] == [
        "m001_foundation",
        "m002_conversations",
        "m003_events",
    ]
    assert not (folder / "gateway.db").exists()
    run("migrate")
    assert decoded(run("migrate", "--plan", "--json"))["pending"] == []


def test_plugins_are_listed_with_their_distribution(run: Run) -> None:
    sources = {source["name"]: source for source in decoded(run("plugin", "list", "--json"))}
    assert sources["email"]["adapters"] == ["email/smtp"]
    assert sources["email"]["distribution"] == "dripgate"


@pytest.mark.parametrize("content", [b"this is a text file, not a database\n" * 100, b""])
def test_a_file_that_is_no_database_or_empty_gives_a_sentence(folder: Path, run: Run, content: bytes) -> None:
    (folder / "gateway.db").write_bytes(content)
    told = run("verify", code=1 if content else 0).output
    assert "Traceback" not in told


def test_a_database_of_a_newer_version_is_refused(folder: Path, run: Run) -> None:
    with database(folder) as conn:
        conn.execute("PRAGMA user_version = 4711")
    conn.close()
    assert "4711" in run("verify", code=1).output


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_database_that_cannot_be_written_gives_a_sentence(folder: Path, run: Run) -> None:
    run("key", "list")
    (folder / "gateway.db").chmod(0o400)
    assert "Traceback" not in run("key", "create", "--name", "x", code=1).output


async def test_commands_work_beside_whoever_writes(folder: Path, run: Run) -> None:
    await asyncio.to_thread(run, "key", "list")
    async with Database(folder / "gateway.db") as other:
        await asyncio.to_thread(run, "key", "create", "--name", "x")
        rows = await other.read(lambda conn: conn.execute("SELECT name FROM api_keys").fetchall())
    assert rows == [("x",)]
