"""The schema, as a numbered list of migrations. Instants are integers: microseconds since 1970, UTC.

A migration is never edited once it has been released; a change is a new one. `PRAGMA user_version` holds the number of
the newest migration that has run, so that an older program can refuse a newer file before it reads anything else.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlite_utils import Database, Migrations

MIGRATIONS = Migrations("gateway")
NEWEST = 3


@MIGRATIONS()
def m001_foundation(db: Database) -> None:
    for statement in FOUNDATION:
        db.execute(statement)
    db.execute("PRAGMA user_version = 1")


@MIGRATIONS()
def m002_conversations(db: Database) -> None:
    for statement in CONVERSATIONS:
        db.execute(statement)
    db.execute("PRAGMA user_version = 2")


@MIGRATIONS()
def m003_events(db: Database) -> None:
    for statement in EVENTS:
        db.execute(statement)
    db.execute("PRAGMA user_version = 3")


def pending(path: Path) -> list[str]:
    """The names of the migrations that the file at `path` still needs; all of them if there is no file."""
    if not path.exists():
        return [migration.name for migration in MIGRATIONS.pending(Database(memory=True, execute_plugins=False))]
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as conn:
        return [migration.name for migration in MIGRATIONS.pending(Database(conn, execute_plugins=False))]


FOUNDATION = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE orgs (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT",
    # A sender of gateway.toml and what must survive a restart: its hold, its token bucket, its days' totals.
    """CREATE TABLE senders (
        id INTEGER PRIMARY KEY, org INTEGER NOT NULL REFERENCES orgs (id), name TEXT NOT NULL UNIQUE,
        channel TEXT NOT NULL, adapter TEXT NOT NULL, in_flight_limit INTEGER NOT NULL,
        held TEXT, held_detail TEXT, held_at INTEGER,
        tokens REAL, tokens_at INTEGER
    ) STRICT""",
    """CREATE TABLE sender_days (
        sender INTEGER NOT NULL REFERENCES senders (id), day TEXT NOT NULL, sent INTEGER NOT NULL,
        PRIMARY KEY (sender, day)
    ) STRICT, WITHOUT ROWID""",
    # `bad` is a JSON array of the channels whose spelling rules refuse this contact's address.
    """CREATE TABLE contacts (
        id INTEGER PRIMARY KEY, org INTEGER NOT NULL REFERENCES orgs (id), public_id TEXT NOT NULL,
        name TEXT, first_name TEXT, last_name TEXT, email TEXT, phone TEXT, whatsapp TEXT, addresses TEXT, bad TEXT,
        time_zone TEXT, language TEXT, attributes TEXT,
        created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, seen_at INTEGER NOT NULL, deleted_at INTEGER
    ) STRICT""",
    "CREATE UNIQUE INDEX contacts_public_id ON contacts (org, public_id)",
    "CREATE INDEX contacts_email ON contacts (org, email) WHERE email IS NOT NULL",
    "CREATE INDEX contacts_phone ON contacts (org, phone) WHERE phone IS NOT NULL",
    "CREATE INDEX contacts_whatsapp ON contacts (org, whatsapp) WHERE whatsapp IS NOT NULL",
    """CREATE TABLE contact_tags (
        contact INTEGER NOT NULL REFERENCES contacts (id) ON DELETE CASCADE, tag TEXT NOT NULL, org INTEGER NOT NULL,
        PRIMARY KEY (contact, tag)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX contact_tags_tag ON contact_tags (org, tag, contact)",
    # The addresses on channels that have no column of their own, for finding people by them.
    """CREATE TABLE contact_addresses (
        org INTEGER NOT NULL, channel TEXT NOT NULL, address TEXT NOT NULL,
        contact INTEGER NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
        PRIMARY KEY (org, channel, address, contact)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX contact_addresses_contact ON contact_addresses (contact)",
    # One wish not to be written to. It holds for an address, or for a contact whatever its address becomes. Who left as
    # ada@example.org must not be written to as Ada@example.org either: addresses are compared without regard to case.
    """CREATE TABLE opt_outs (
        id INTEGER PRIMARY KEY, org INTEGER NOT NULL REFERENCES orgs (id), channel TEXT NOT NULL,
        address TEXT COLLATE NOCASE, contact INTEGER REFERENCES contacts (id), category TEXT NOT NULL DEFAULT 'all',
        reason TEXT, source TEXT NOT NULL, message INTEGER, created_at INTEGER NOT NULL, created_by TEXT,
        CHECK (address IS NOT NULL OR contact IS NOT NULL)
    ) STRICT""",
    "CREATE UNIQUE INDEX opt_outs_address ON opt_outs (org, channel, address, category) WHERE address IS NOT NULL",
    "CREATE UNIQUE INDEX opt_outs_contact ON opt_outs (org, channel, contact, category) WHERE contact IS NOT NULL",
    # Append-only: what was wished, when, and what proves it.
    """CREATE TABLE consent_ledger (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, org INTEGER NOT NULL, wish TEXT NOT NULL, channel TEXT NOT NULL,
        address TEXT, contact INTEGER, category TEXT NOT NULL, source TEXT NOT NULL, reason TEXT, message INTEGER,
        at INTEGER NOT NULL, by TEXT
    ) STRICT""",
    # The wide, quiet half of a bulk action. `work`: what the sweeper still has to do with its rows (store/sweeps.py).
    # `look_at`: when the scheduler must look at it again; 0 at once, NULL not before somebody changes it. So that
    # waiting actions cost nothing, whoever changes what the scheduler decides by sets it to 0 in the same transaction.
    # `settled`: the pass over the unreachable before the first batch is done.
    """CREATE TABLE bulk_actions (
        id INTEGER PRIMARY KEY, org INTEGER NOT NULL REFERENCES orgs (id), label TEXT, operation TEXT NOT NULL,
        channel TEXT, sender INTEGER REFERENCES senders (id), status TEXT NOT NULL,
        paused_from TEXT, pause_reason TEXT, pause_detail TEXT, failure_kind TEXT,
        work TEXT, work_position INTEGER NOT NULL DEFAULT 0, work_argument TEXT,
        contact_bound INTEGER NOT NULL DEFAULT 0,
        selection TEXT NOT NULL, message TEXT, parameters TEXT NOT NULL DEFAULT '{}', schedule TEXT NOT NULL,
        warnings TEXT NOT NULL DEFAULT '[]',
        revision INTEGER NOT NULL DEFAULT 1, round INTEGER NOT NULL DEFAULT 0, rerun_of INTEGER, origin TEXT NOT NULL,
        created_by TEXT, requested_by TEXT,
        created_at INTEGER NOT NULL, started_at INTEGER, resumed_at INTEGER, completed_at INTEGER,
        wait_reason TEXT, next_batch_at INTEGER,
        settled INTEGER NOT NULL DEFAULT 0, look_at INTEGER DEFAULT 0
    ) STRICT""",
    "CREATE INDEX bulk_actions_org ON bulk_actions (org, id)",
    "CREATE INDEX bulk_actions_look ON bulk_actions (look_at) WHERE look_at IS NOT NULL",
    "CREATE INDEX bulk_actions_work ON bulk_actions (id) WHERE work IS NOT NULL",
    "CREATE INDEX bulk_actions_processing ON bulk_actions (sender, id) WHERE status = 'processing'",
    # The narrow, busy half: moved in the transaction that moves the rows. `unreleased`: pending in no batch.
    """CREATE TABLE action_counts (
        action INTEGER PRIMARY KEY REFERENCES bulk_actions (id),
        pending INTEGER NOT NULL DEFAULT 0, in_flight INTEGER NOT NULL DEFAULT 0,
        handed_over INTEGER NOT NULL DEFAULT 0,
        succeeded INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0, skipped INTEGER NOT NULL DEFAULT 0,
        unknown INTEGER NOT NULL DEFAULT 0, cancelled INTEGER NOT NULL DEFAULT 0,
        unconfirmed INTEGER NOT NULL DEFAULT 0, unreleased INTEGER NOT NULL DEFAULT 0,
        failing INTEGER NOT NULL DEFAULT 0
    ) STRICT""",
    # The actions with somebody released and waiting: so that drips that wait for their next batch cost nothing.
    "CREATE INDEX action_counts_ready ON action_counts (action) WHERE pending > unreleased",
    # A selection that was given as a list, in pieces of about 5,000 entries: JSON arrays in the order of the list.
    """CREATE TABLE selection_chunks (
        action INTEGER NOT NULL, position INTEGER NOT NULL, entries TEXT NOT NULL, PRIMARY KEY (action, position)
    ) STRICT, WITHOUT ROWID""",
    # `given`: a bare address in its one spelling, or the id of a contact that does not exist. `zone` is set for drips
    # in the recipients' own time zones only. `batch` is NULL until released; an undripped action has one batch, 1, and
    # writes it with the intent.
    """CREATE TABLE recipients (
        action INTEGER NOT NULL, seq INTEGER NOT NULL, contact INTEGER, given TEXT, variables TEXT, zone TEXT,
        state INTEGER NOT NULL DEFAULT 0, batch INTEGER, round INTEGER NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0, not_before INTEGER, code TEXT, reason TEXT, message INTEGER,
        PRIMARY KEY (action, seq)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX recipients_ended ON recipients (action, state, seq) WHERE state >= 4",
    "CREATE INDEX recipients_later ON recipients (action, not_before) WHERE not_before IS NOT NULL",
    "CREATE INDEX recipients_given ON recipients (action, given, seq) WHERE given IS NOT NULL",
    """CREATE INDEX recipients_zone ON recipients (action, zone, seq)
        WHERE zone IS NOT NULL AND state = 0 AND batch IS NULL""",
    """CREATE TABLE batches (
        action INTEGER NOT NULL REFERENCES bulk_actions (id), number INTEGER NOT NULL, round INTEGER NOT NULL,
        planned_at INTEGER NOT NULL, released_at INTEGER NOT NULL, finished_at INTEGER, quantity INTEGER NOT NULL,
        revision INTEGER NOT NULL, untried INTEGER NOT NULL, first_seq INTEGER NOT NULL DEFAULT 0,
        pending INTEGER NOT NULL DEFAULT 0, in_flight INTEGER NOT NULL DEFAULT 0,
        handed_over INTEGER NOT NULL DEFAULT 0,
        succeeded INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0, skipped INTEGER NOT NULL DEFAULT 0,
        unknown INTEGER NOT NULL DEFAULT 0, cancelled INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (action, number)
    ) STRICT, WITHOUT ROWID""",
    # The communication log. `content`: the text of a single message; a bulk one is its action's template over
    # `variables`.
    # `due_at`: when the reconciler must look at it again. `not_before`: when a waiting single message may go.
    """CREATE TABLE messages (
        id INTEGER PRIMARY KEY, org INTEGER NOT NULL, direction INTEGER NOT NULL DEFAULT 0, channel TEXT NOT NULL,
        sender INTEGER NOT NULL, address TEXT NOT NULL, contact INTEGER, source INTEGER NOT NULL,
        status INTEGER NOT NULL,
        action INTEGER, seq INTEGER, round INTEGER NOT NULL DEFAULT 0, attempt INTEGER NOT NULL DEFAULT 0,
        category TEXT, content TEXT, variables TEXT, template TEXT, dry_run INTEGER NOT NULL DEFAULT 0,
        code TEXT, reason TEXT, provider_code TEXT, provider_ids TEXT, segments INTEGER, requested_by TEXT,
        node TEXT, lease_until INTEGER, not_before INTEGER, due_at INTEGER,
        created_at INTEGER NOT NULL, attempted_at INTEGER, accepted_at INTEGER, sent_at INTEGER, delivered_at INTEGER,
        read_at INTEGER
    ) STRICT""",
    "CREATE INDEX messages_sending ON messages (sender) WHERE status = 1",
    "CREATE INDEX messages_waiting ON messages (sender, not_before) WHERE status = 0",
    "CREATE INDEX messages_due ON messages (due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX messages_action ON messages (action, id) WHERE action IS NOT NULL",
    "CREATE INDEX messages_contact ON messages (contact, id) WHERE contact IS NOT NULL",
    "CREATE INDEX messages_stranger ON messages (org, address, id) WHERE contact IS NULL",
    # What the message row itself no longer shows: earlier attempts, receipts, a person's resolve.
    """CREATE TABLE message_history (
        message INTEGER NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL, status TEXT NOT NULL, detail TEXT
    ) STRICT""",
    "CREATE INDEX message_history_message ON message_history (message, at)",
    """CREATE TABLE api_keys (
        id TEXT PRIMARY KEY, org INTEGER NOT NULL REFERENCES orgs (id), name TEXT NOT NULL, secret_hash BLOB NOT NULL,
        old_hash BLOB, old_until INTEGER, permissions TEXT NOT NULL, roles TEXT NOT NULL,
        created_at INTEGER NOT NULL, revoked_at INTEGER, last_used_at INTEGER
    ) STRICT, WITHOUT ROWID""",
    # `made`: what was created, written by the creation itself. `status` is NULL until its answer has been kept too.
    """CREATE TABLE idempotency (
        org INTEGER NOT NULL, key TEXT NOT NULL, fingerprint BLOB NOT NULL, made TEXT,
        status INTEGER, headers TEXT, body BLOB,
        created_at INTEGER NOT NULL, PRIMARY KEY (org, key)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX idempotency_age ON idempotency (created_at)",
    # One row for each creation or retry of a bulk action, kept for the minute that the limit looks back.
    "CREATE TABLE creations (org INTEGER NOT NULL, at INTEGER NOT NULL) STRICT",
    "CREATE INDEX creations_at ON creations (org, at)",
)

CONVERSATIONS = (
    # What providers called back with, as it came: `state` 0 waits to be read, 1 was read, 2 could not be (`problem`).
    # `request`: JSON of everything but the body.
    """CREATE TABLE callbacks (
        id INTEGER PRIMARY KEY, sender INTEGER NOT NULL, received_at INTEGER NOT NULL, request TEXT NOT NULL,
        body BLOB NOT NULL, state INTEGER NOT NULL DEFAULT 0, events INTEGER, problem TEXT
    ) STRICT""",
    "CREATE INDEX callbacks_waiting ON callbacks (id) WHERE state = 0",
    # Which message, of either direction, a provider knows by which id.
    """CREATE TABLE provider_ids (
        sender INTEGER NOT NULL, provider_id TEXT NOT NULL, message INTEGER NOT NULL, PRIMARY KEY (sender, provider_id)
    ) STRICT, WITHOUT ROWID""",
    # Receipts that overtook the record of their message's hand-over; JSON of contract.Receipt.
    """CREATE TABLE parked_receipts (
        id INTEGER PRIMARY KEY, sender INTEGER NOT NULL, provider_id TEXT NOT NULL, receipt TEXT NOT NULL,
        received_at INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX parked_receipts_provider_id ON parked_receipts (sender, provider_id)",
    # All messages between one sender and one address. It begins when that address writes; `candidates` are the contacts
    # that share the address (JSON array of keys), `contact` is the one last written to.
    """CREATE TABLE conversations (
        id INTEGER PRIMARY KEY, org INTEGER NOT NULL REFERENCES orgs (id), channel TEXT NOT NULL,
        sender INTEGER NOT NULL REFERENCES senders (id), address TEXT NOT NULL, name TEXT,
        contact INTEGER REFERENCES contacts (id), candidates TEXT NOT NULL DEFAULT '[]',
        last_message INTEGER NOT NULL, last_inbound_at INTEGER NOT NULL, unread INTEGER NOT NULL DEFAULT 0,
        read_up_to INTEGER NOT NULL DEFAULT 0, assigned_to TEXT, created_at INTEGER NOT NULL
    ) STRICT""",
    "CREATE UNIQUE INDEX conversations_address ON conversations (sender, address)",
    "CREATE INDEX conversations_recent ON conversations (org, last_message)",
    "CREATE INDEX conversations_unread ON conversations (org, last_message) WHERE unread > 0",
    "CREATE INDEX conversations_contact ON conversations (contact) WHERE contact IS NOT NULL",
    # Other ids of the same person on a channel, such as a WhatsApp user's id beside the telephone number.
    """CREATE TABLE address_aliases (
        org INTEGER NOT NULL, channel TEXT NOT NULL, alias TEXT NOT NULL, address TEXT NOT NULL,
        PRIMARY KEY (org, channel, alias)
    ) STRICT, WITHOUT ROWID""",
    "ALTER TABLE messages ADD COLUMN in_reply_to INTEGER",
    "ALTER TABLE messages ADD COLUMN link_reason TEXT",
    # Templates that providers keep, as they were when they were last asked for. `details`: for the adapter alone.
    """CREATE TABLE templates (
        id INTEGER PRIMARY KEY, org INTEGER NOT NULL REFERENCES orgs (id), channel TEXT NOT NULL,
        sender INTEGER NOT NULL REFERENCES senders (id), name TEXT NOT NULL, language TEXT NOT NULL,
        status TEXT NOT NULL, category TEXT, text TEXT NOT NULL, parameters TEXT NOT NULL, media TEXT, reason TEXT,
        details TEXT NOT NULL, synced_at INTEGER NOT NULL
    ) STRICT""",
    "CREATE UNIQUE INDEX templates_name ON templates (sender, name, language)",
)

EVENTS = (
    # Signs what people carry away from here, such as links to unsubscribe; it stays as long as the database.
    "INSERT INTO meta (name, value) VALUES ('secret', lower(hex(randomblob(32))))",
    # What happened, for whoever wants to know: an outbox, written in the transaction of the fact. Numbers grow in the
    # order of commits, without gaps, in each org. One row is `number` events up to `last`: alike in type, instant and
    # `data`, each about one of `subjects` (JSON array; NULL: the row is one event).
    "ALTER TABLE orgs ADD COLUMN last_event INTEGER NOT NULL DEFAULT 0",
    """CREATE TABLE events (
        org INTEGER NOT NULL, last INTEGER NOT NULL, number INTEGER NOT NULL, type TEXT NOT NULL, at INTEGER NOT NULL,
        data TEXT NOT NULL, subjects TEXT, PRIMARY KEY (org, last)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX events_age ON events (at)",
    # The callback that brought a wish, for as long as it is kept.
    "ALTER TABLE consent_ledger ADD COLUMN callback INTEGER",
    "CREATE INDEX consent_ledger_org ON consent_ledger (org, seq)",
    # Opt-outs of people who were forgotten: a keyed hash of the address (gateway.store.erasure).
    """CREATE TABLE erased_opt_outs (
        org INTEGER NOT NULL, channel TEXT NOT NULL, hash TEXT NOT NULL, category TEXT NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (org, channel, hash, category)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX contacts_deleted ON contacts (deleted_at) WHERE deleted_at IS NOT NULL",
    # When an action last told how far it has come.
    "ALTER TABLE action_counts ADD COLUMN told_at INTEGER NOT NULL DEFAULT 0",
    # Receivers of events. `types`: JSON array of patterns. `position`: everything up to this number was delivered, or
    # stands among the retries. `disabled`: why nothing is delivered any more; NULL while it is enabled. `probe_at`:
    # it failed several times in a row, and is tried with one event then (core/delivery.py).
    """CREATE TABLE webhooks (
        id INTEGER PRIMARY KEY, org INTEGER NOT NULL REFERENCES orgs (id), url TEXT NOT NULL, types TEXT NOT NULL,
        description TEXT, secret TEXT NOT NULL, old_secret TEXT, old_until INTEGER,
        disabled TEXT, disabled_at INTEGER, position INTEGER NOT NULL,
        failures INTEGER NOT NULL DEFAULT 0, failing_since INTEGER, probe_at INTEGER,
        probes INTEGER NOT NULL DEFAULT 0, last_success_at INTEGER, last_failure_at INTEGER,
        revision INTEGER NOT NULL DEFAULT 1, created_at INTEGER NOT NULL, created_by TEXT
    ) STRICT""",
    "CREATE INDEX webhooks_org ON webhooks (org, id)",
    # Events that a receiver did not take at their turn. `attempts`: failed ones that count.
    """CREATE TABLE webhook_retries (
        webhook INTEGER NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE, seq INTEGER NOT NULL,
        attempts INTEGER NOT NULL, tried_at INTEGER NOT NULL, due_at INTEGER NOT NULL, PRIMARY KEY (webhook, seq)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX webhook_retries_due ON webhook_retries (webhook, due_at)",
    # The last attempts of each webhook, successes and failures bounded apart.
    """CREATE TABLE webhook_deliveries (
        id INTEGER PRIMARY KEY, webhook INTEGER NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
        seq INTEGER NOT NULL, type TEXT NOT NULL, at INTEGER NOT NULL, attempt INTEGER NOT NULL, result TEXT NOT NULL,
        status INTEGER, milliseconds INTEGER NOT NULL, detail TEXT NOT NULL, again_at INTEGER
    ) STRICT""",
    "CREATE INDEX webhook_deliveries_result ON webhook_deliveries (webhook, result, id)",
    "CREATE INDEX webhook_deliveries_age ON webhook_deliveries (at)",
    # Templates of an org's own. `latest`: the newest version; `in_use`: the one that messages are made from. Versions
    # are never changed; `content` and `checks`: JSON of core/message_template.py.
    """CREATE TABLE message_templates (
        id INTEGER PRIMARY KEY, org INTEGER NOT NULL REFERENCES orgs (id), channel TEXT NOT NULL, name TEXT NOT NULL,
        description TEXT, latest INTEGER NOT NULL, in_use INTEGER, revision INTEGER NOT NULL DEFAULT 1,
        created_at INTEGER NOT NULL, created_by TEXT, updated_at INTEGER NOT NULL, requested_by TEXT,
        deleted_at INTEGER
    ) STRICT""",
    "CREATE UNIQUE INDEX message_templates_name ON message_templates (org, channel, name) WHERE deleted_at IS NULL",
    """CREATE TABLE template_versions (
        template INTEGER NOT NULL REFERENCES message_templates (id), number INTEGER NOT NULL, status TEXT NOT NULL,
        reason TEXT, content TEXT NOT NULL, checks TEXT NOT NULL, created_at INTEGER NOT NULL, created_by TEXT,
        requested_by TEXT, decided_at INTEGER, decided_by TEXT, PRIMARY KEY (template, number)
    ) STRICT, WITHOUT ROWID""",
)
