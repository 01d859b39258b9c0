"""The send path's transaction: one turn of a sender records what came back and writes the next intents.

Many rows come back as one, an array in JSON: each row by itself would give up the interpreter and wait for it anew.

Everything that a turn does stands or falls together: the results that came in since the last one, the recipients that
the gate refused, the next intents, the books, the token bucket and the day's total. After its commit, and not before,
the engine may call the provider for the granted intents, and the places of the recorded results are free again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

from gateway.contract import Channel
from gateway.core.ids import ActionId, MessageId
from gateway.core.progress import FAILURES_MAX
from gateway.core.states import RECIPIENTS, MessageStatus, RecipientEvent, RecipientState
from gateway.store.addresses import holders_sql
from gateway.store.allowances import sent_by_org
from gateway.store.codec import from_json, to_json
from gateway.store.consent import opted_out_sql, suppress
from gateway.store.counters import Moves
from gateway.store.outbox import publish_statuses
from gateway.store.receipts import name_messages
from gateway.store.turn import ActionIntents, Granted, Intent, Result, Ruling, Turn

_UNLIMITED: Final = 1 << 62


def take_turn(conn: sqlite3.Connection, turn: Turn) -> Granted:
    """Record, settle, grant; one transaction. An action that stopped meanwhile is granted nothing."""
    moves = Moves()
    record_results(conn, turn, moves)
    changed = _settle_refused(conn, turn, moves) | _defer(conn, turn, moves)
    org_sent = 0 if turn.org_cap is None else sent_by_org(conn, turn.org, turn.day)
    room = _UNLIMITED if turn.org_cap is None else max(0, turn.org_cap - org_sent)
    granted = _start_singles(conn, turn, room)
    for wanted in turn.bulk:
        granted |= _write_intents(conn, turn, wanted, moves, room - len(granted))
    look = moves.write(conn, turn.now)
    _store_pace(conn, turn, len(granted))
    return Granted(messages=frozenset(granted), look=look, changed=changed, org_sent=org_sent + len(granted))


def record_results(conn: sqlite3.Connection, turn: Turn, moves: Moves) -> None:
    """Write what came back. A message whose fate was decided meanwhile (by a receipt) only gets what it lacks."""
    by_ruling: dict[tuple[ActionId | None, Ruling], list[Result]] = {}
    for result in turn.results:
        by_ruling.setdefault((result.action, result.ruling), []).append(result)
    for (action, ruling), results in by_ruling.items():
        _record_messages(conn, turn, ruling, results)
        if action is not None:
            _record_recipients(conn, turn, action, ruling, results, moves)
            _count_failing(conn, action, ruling, len(results), moves)
        if ruling.suppress is not None:
            suppress(
                conn,
                [result.message for result in results],
                category=ruling.suppress_category,
                reason=ruling.reason,
                source=ruling.suppress,
                now=turn.now,
            )
    _name(conn, turn, moves)


def _record_messages(conn: sqlite3.Connection, turn: Turn, ruling: Ruling, results: Sequence[Result]) -> None:
    accepted = turn.now if ruling.status is MessageStatus.ACCEPTED else None
    due_at = None if ruling.due_after is None else turn.now + ruling.due_after
    (sending,) = conn.execute(
        "SELECT json_group_array(m.id) FROM json_each(?) AS j CROSS JOIN messages AS m ON m.id = j.value "
        "WHERE m.status = 1",
        (to_json([result.message for result in results]),),
    ).fetchone()
    conn.execute(
        "UPDATE messages SET status = ?, code = ?, reason = ?, provider_code = ?, due_at = ?, lease_until = NULL, "
        "accepted_at = COALESCE(accepted_at, ?) WHERE id IN (SELECT value FROM json_each(?))",
        (ruling.status, ruling.code, ruling.reason, ruling.provider_code, due_at, accepted, sending),
    )
    told = from_json(sending)
    publish_statuses(conn, turn.org, ruling.status, turn.now, told, action=results[0].action, code=ruling.code)
    waiting = [(result.not_before, result.message) for result in results if result.not_before is not None]
    if waiting:
        conn.executemany("UPDATE messages SET not_before = ? WHERE id = ? AND action IS NULL", waiting)
    if ruling.event in (RecipientEvent.RETURN, RecipientEvent.LOSE_SIGHT):
        word = "not_sent" if ruling.event is RecipientEvent.RETURN else "unknown"
        conn.executemany(
            "INSERT INTO message_history (message, at, kind, status, detail) VALUES (?, ?, 'attempt', ?, ?)",
            [(result.message, turn.now, word, ruling.reason) for result in results],
        )


def _name(conn: sqlite3.Connection, turn: Turn, moves: Moves) -> None:
    """After everything else is recorded, so that receipts which were quicker than their record are merged into it."""
    named = [(result.message, result.provider_ids) for result in turn.results if result.provider_ids]
    if named:
        conn.execute(
            "UPDATE messages SET provider_ids = j.value ->> 1 "
            "FROM (SELECT value FROM json_each(?) LIMIT -1) AS j WHERE id = j.value ->> 0",
            (to_json([(message, ids) for message, ids in named]),),
        )
        name_messages(conn, turn.receipts, named, turn.now, moves)


def _record_recipients(
    conn: sqlite3.Connection, turn: Turn, action: ActionId, ruling: Ruling, results: Sequence[Result], moves: Moves
) -> None:
    seqs = to_json([result.seq for result in results])
    of_results = "action = ? AND seq IN (SELECT value FROM json_each(?)) AND state = 1"
    for batch, number, untried in conn.execute(
        f"SELECT batch, count(*), sum(attempts = 0) FROM recipients WHERE {of_results} GROUP BY batch", (action, seqs)
    ):
        moves.move(action, batch, RecipientState.IN_FLIGHT, ruling.event, number)
        if ruling.counts_as_attempt and untried:
            moves.tried(action, batch, untried)
    conn.execute(
        f"UPDATE recipients SET state = ?, code = ?, reason = ?, attempts = attempts + ? WHERE {of_results}",
        (
            RECIPIENTS[RecipientState.IN_FLIGHT, ruling.event],
            ruling.code,
            ruling.reason,
            ruling.counts_as_attempt,
            action,
            seqs,
        ),
    )
    if ruling.event is RecipientEvent.RETURN:
        moves.look(action)  # the window may have closed meanwhile
        # Of a cancelled action nobody waits: the sweeper goes back for them.
        conn.execute(
            "UPDATE bulk_actions SET work_position = iif(work IS NULL, :behind, min(work_position, :behind)), "
            "work = 'cancel' WHERE id = :action AND status = 'cancelled' AND work IS NOT 'snapshot'",
            {"action": action, "behind": min(result.seq or 0 for result in results) - 1},
        )
    waiting = [(result.not_before, action, result.seq) for result in results if result.not_before is not None]
    if waiting:
        conn.executemany("UPDATE recipients SET not_before = ? WHERE action = ? AND seq = ? AND state = 0", waiting)


_NOT_THE_RECIPIENTS: Final = frozenset(
    {"content_rejected", "template_rejected", "media_rejected", "too_long", "provider_error", "gave_up"}
)


def _count_failing(conn: sqlite3.Connection, action: ActionId, ruling: Ruling, number: int, moves: Moves) -> None:
    """Failures in a row that are not the recipients' own; an accepted message starts the count again."""
    if ruling.status is MessageStatus.ACCEPTED:
        conn.execute("UPDATE action_counts SET failing = 0 WHERE action = ? AND failing > 0", (action,))
    elif ruling.event is RecipientEvent.FAIL and ruling.code in _NOT_THE_RECIPIENTS:
        (failing,) = conn.execute(
            "UPDATE action_counts SET failing = failing + ? WHERE action = ? RETURNING failing", (number, action)
        ).fetchone()
        if failing >= FAILURES_MAX:
            moves.look(action)


def _settle_refused(conn: sqlite3.Connection, turn: Turn, moves: Moves) -> frozenset[tuple[ActionId, int]]:
    """The books of a batch are moved only for who still is in it. Those who are not, or wait no more."""
    changed = set()
    for refusal in turn.refused:
        row = conn.execute(
            "UPDATE recipients SET state = ?, code = ?, reason = ?, batch = ?, not_before = NULL "
            "WHERE action = ? AND seq = ? AND state = 0 AND batch IS ? "
            "AND (SELECT round FROM bulk_actions WHERE id = action) = ? RETURNING attempts",
            (
                RECIPIENTS[RecipientState.PENDING, refusal.event],
                refusal.code,
                refusal.reason,
                refusal.batch,
                refusal.action,
                refusal.seq,
                refusal.seen_batch,
                refusal.round,
            ),
        ).fetchone()
        if row is None:
            changed.add((refusal.action, refusal.seq))
            continue
        moves.move(refusal.action, refusal.batch, RecipientState.PENDING, refusal.event)
        if row[0] == 0:
            moves.tried(refusal.action, refusal.batch)
    return frozenset(changed)


def _defer(conn: sqlite3.Connection, turn: Turn, moves: Moves) -> frozenset[tuple[ActionId, int]]:
    changed = set()
    for deferred in turn.deferred:
        row = conn.execute(
            "UPDATE recipients SET not_before = iif(?6 AND attempts = 0, NULL, ?1), "
            "batch = iif(?2 AND attempts = 0, NULL, batch) "
            "WHERE action = ?3 AND seq = ?4 AND state = 0 AND batch IS ?5 RETURNING attempts",
            (
                deferred.not_before,
                deferred.leaves,
                deferred.action,
                deferred.seq,
                deferred.batch,
                deferred.returns,
            ),
        ).fetchone()
        if row is None:
            changed.add((deferred.action, deferred.seq))
        elif row == (0,) and deferred.leaves and deferred.batch is not None:
            moves.take_back(deferred.action, deferred.batch, 1)
    return frozenset(changed)


def _write_intents(
    conn: sqlite3.Connection, turn: Turn, wanted: ActionIntents, moves: Moves, room: int
) -> set[MessageId]:
    eligible = _eligible(conn, turn, wanted) if room else set()
    granted = [intent for intent in _first_of_each_address(wanted) if intent.seq in eligible][:room]
    if not granted:
        return set()
    _insert_messages(conn, turn, wanted, [intent for intent in granted if not intent.again])
    _send_again(conn, turn, [intent.message for intent in granted if intent.again])
    by_batch = attrgetter("batch")
    for batch, of_batch in groupby(sorted(granted, key=by_batch), key=by_batch):
        intents = list(of_batch)
        conn.execute(
            "UPDATE recipients SET state = 1, batch = ?, not_before = NULL, code = NULL, reason = NULL, message = m "
            "FROM (SELECT value ->> 0 AS s, value ->> 1 AS m FROM json_each(?) LIMIT -1) WHERE action = ? AND seq = s",
            (batch, to_json([(intent.seq, intent.message) for intent in intents]), wanted.action),
        )
        moves.move(wanted.action, batch, RecipientState.PENDING, RecipientEvent.INTENT, len(intents))
    return {intent.message for intent in granted}


def _first_of_each_address(wanted: ActionIntents) -> Iterable[Intent]:
    """Within one turn the first of two equal addresses goes; the other is judged again in the next turn."""
    if not wanted.skip_duplicates:
        return wanted.intents
    first: dict[str, Intent] = {}
    for intent in wanted.intents:
        first.setdefault(intent.address, intent)
    return first.values()


def _eligible(conn: sqlite3.Connection, turn: Turn, wanted: ActionIntents) -> set[int]:
    """The recipients among `wanted` of whom all that they were prepared from still holds, read in this transaction.

    Whoever was deleted has another `updated_at` since; who was before is refused when judged.
    CROSS JOIN makes the candidates the outer loop; left to itself the planner walks through the whole action.
    """
    duplicate = f"AND NOT {duplicate_sql(turn.channel)}" if wanted.skip_duplicates else ""
    (eligible,) = conn.execute(
        f"""SELECT json_group_array(r.seq)
            FROM (SELECT value ->> 0 AS seq, value ->> 1 AS batch, value ->> 2 AS updated_at, value ->> 3 AS address
                  FROM json_each(:candidates) LIMIT -1) AS j
            CROSS JOIN recipients AS r ON r.action = :action AND r.seq = j.seq
            JOIN bulk_actions AS a ON a.id = :action
            LEFT JOIN contacts AS c ON c.id = r.contact
            WHERE a.status = 'processing' AND r.state = 0 AND a.round = :round AND r.batch IS j.batch
              AND (SELECT failing FROM action_counts WHERE action = :action) < :failures_max
              AND (r.contact IS NULL OR c.updated_at = j.updated_at)
              AND NOT {opted_out_sql("a.org", ":channel", "j.address", "r.contact", ":category")}
              {duplicate}""",
        {
            "candidates": to_json(
                [(intent.seq, intent.seen_batch, intent.seen_contact, intent.address) for intent in wanted.intents]
            ),
            "action": wanted.action,
            "round": wanted.round,  # who comes back from an earlier one, found not to have been sent, goes in this one
            "channel": turn.channel.name,
            "category": wanted.category,
            "failures_max": FAILURES_MAX,  # the scheduler is about to pause it: burn nobody meanwhile
        },
    ).fetchone()
    return set(from_json(eligible))


def duplicate_sql(channel: Channel, address: str = "j.address") -> str:
    """A SQL condition: another recipient of this action has had, or is having, the message at the same address.

    For aliases `r` (recipients) and `a` (bulk_actions). Bare addresses never change, so theirs are settled when the
    snapshot is taken; here it is about contacts that share an address. A failed message blocks nobody in a later round.
    CROSS JOIN and the named index keep the planner from walking through all messages of the action instead.
    """
    return f"""EXISTS (
        SELECT 1 FROM ({holders_sql(channel, "a.org", address)}) AS holder
        CROSS JOIN messages AS other INDEXED BY messages_contact
            ON other.contact = holder.id AND other.action = r.action
        WHERE holder.id IS NOT r.contact AND r.contact IS NOT NULL AND other.address = {address} AND other.direction = 0
          AND (other.round = r.round OR other.status NOT IN (5, 6, 7, 8, 9)))"""


def _insert_messages(conn: sqlite3.Connection, turn: Turn, wanted: ActionIntents, intents: Sequence[Intent]) -> None:
    if not intents:
        return
    conn.execute(
        """INSERT INTO messages (id, org, channel, sender, address, contact, source, status, action, seq, round,
               attempt, category, variables, dry_run, segments, node, lease_until, created_at, attempted_at)
           SELECT value ->> 0, :org, :channel, :sender, value ->> 2, value ->> 3, 0, 1, :action, value ->> 1,
               (SELECT round FROM bulk_actions WHERE id = :action), 1,
               :category, value ->> 4, :dry_run, value ->> 5, :node, :lease_until, :now, :now
           FROM json_each(:intents)""",
        {
            "org": turn.org,
            "channel": turn.channel.name,
            "sender": turn.sender,
            "action": wanted.action,
            "category": wanted.category,
            "dry_run": turn.dry_run,
            "node": turn.node,
            "lease_until": turn.lease_until,
            "now": turn.now,
            "intents": to_json(
                [
                    (intent.message, intent.seq, intent.address, intent.contact, intent.variables, intent.segments)
                    for intent in intents
                ]
            ),
        },
    )


def _send_again(conn: sqlite3.Connection, turn: Turn, messages: Sequence[MessageId]) -> set[MessageId]:
    """Existing messages that wait for a further attempt, or for their first as a single one, become `sending`."""
    if not messages:
        return set()
    rows = conn.execute(
        "UPDATE messages SET status = 1, attempt = attempt + 1, attempted_at = :now, node = :node, dry_run = :dry_run, "
        "lease_until = :lease_until, not_before = NULL, due_at = NULL, code = NULL, reason = NULL, "
        "provider_code = NULL "
        "WHERE id IN (SELECT value FROM json_each(:messages)) AND status = 0 RETURNING id",
        {
            "now": turn.now,
            "node": turn.node,
            "dry_run": turn.dry_run,
            "lease_until": turn.lease_until,
            "messages": to_json(messages),
        },
    )
    return {MessageId(message) for (message,) in rows.fetchall()}


def _start_singles(conn: sqlite3.Connection, turn: Turn, room: int) -> set[MessageId]:
    """Single messages were gated when they were accepted; an opt-out that came since then ends them here."""
    if not turn.singles:
        return set()
    left = opted_out_sql(
        "messages.org",
        "messages.channel",
        "messages.address",
        "messages.contact",
        "COALESCE(messages.category, 'general')",
    )
    refused = conn.execute(
        f"UPDATE messages SET status = ?, code = 'opted_out', not_before = NULL "
        f"WHERE id IN (SELECT value FROM json_each(?)) AND status = 0 AND source NOT IN (4, 6) AND {left} RETURNING id",
        (MessageStatus.FAILED, to_json(turn.singles)),
    ).fetchall()
    told = [id for (id,) in refused]
    publish_statuses(conn, turn.org, MessageStatus.FAILED, turn.now, told, action=None, code="opted_out")
    return _send_again(conn, turn, turn.singles[:room])


def _store_pace(conn: sqlite3.Connection, turn: Turn, granted: int) -> None:
    conn.execute("UPDATE senders SET tokens = ?, tokens_at = ? WHERE id = ?", (turn.tokens, turn.now, turn.sender))
    if granted:
        conn.execute(
            "INSERT INTO sender_days (sender, day, sent) VALUES (?, ?, ?) "
            "ON CONFLICT (sender, day) DO UPDATE SET sent = sent + excluded.sent",
            (turn.sender, turn.day, granted),
        )
